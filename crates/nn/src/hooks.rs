//! Functions that run before and after a layer.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tensor::{Error, Result, Tensor};

use crate::label::{Label, Walk};
use crate::module::{Module, Visitor};

type Before = dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync;
type After = dyn Fn(&Tensor, &Tensor) -> Result<Option<Tensor>> + Send + Sync;

#[derive(Clone)]
pub(crate) enum Hook {
    Before(Arc<Before>),
    After(Arc<After>),
}

/// The hooks of one layer, in the order in which they were registered.
#[derive(Default)]
pub struct Hooks {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What nearly every call reads instead of the list.
    any: AtomicBool,
    list: Mutex<Vec<(u64, Hook)>>,
}

impl Shared {
    fn list(&self) -> MutexGuard<'_, Vec<(u64, Hook)>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy, so that no lock is held while hooks run: they may register and remove hooks.
    fn all(&self) -> Vec<(u64, Hook)> {
        if self.any.load(Ordering::Acquire) { self.list().clone() } else { Vec::new() }
    }
}

impl Hooks {
    pub(crate) fn add(&self, hook: Hook) -> HookHandle {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.shared.list().push((id, hook));
        self.shared.any.store(true, Ordering::Release);
        HookHandle { hooks: Arc::downgrade(&self.shared), id }
    }

    /// Whether none are set.
    pub(crate) fn is_empty(&self) -> bool {
        !self.shared.any.load(Ordering::Acquire)
    }

    /// The input after all hooks that run before the layer.
    pub(crate) fn before<'a>(&self, x: &'a Tensor) -> Result<Cow<'a, Tensor>> {
        let mut x = Cow::Borrowed(x);
        for (_, hook) in self.shared.all() {
            if let Hook::Before(hook) = hook
                && let Some(other) = hook(&x)?
            {
                x = Cow::Owned(other);
            }
        }
        Ok(x)
    }

    /// The output after all hooks that run after the layer.
    pub(crate) fn after(&self, x: &Tensor, mut y: Tensor) -> Result<Tensor> {
        for (_, hook) in self.shared.all() {
            if let Hook::After(hook) = hook
                && let Some(other) = hook(x, &y)?
            {
                y = other;
            }
        }
        Ok(y)
    }
}

impl Clone for Hooks {
    /// A copy of a layer starts without hooks.
    fn clone(&self) -> Self {
        Hooks::default()
    }
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hooks({})", self.shared.list().len())
    }
}

/// Removes a hook. Dropping it does not: as in PyTorch, the hook stays until it is removed or the layer is gone.
///
/// ```
/// use gabor_nn::{Forward, Linear, Module};
/// use tensor::Tensor;
/// let layer = Linear::new(2, 2).build()?;
/// let handle = layer.register_forward_hook("", |_, y| Ok(Some(y.mul_scalar(0.0)?)))?;
/// let x = Tensor::ones([1, 2])?;
/// assert_eq!(layer.forward(&x)?.to_vec::<f32>()?, [0.0; 2]);
/// handle.remove();
/// assert_ne!(layer.forward(&x)?.to_vec::<f32>()?, [0.0; 2]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct HookHandle {
    hooks: Weak<Shared>,
    id: u64,
}

impl HookHandle {
    /// Removes the hook; nothing happens if it is gone already.
    pub fn remove(&self) {
        let Some(shared) = self.hooks.upgrade() else { return };
        let mut list = shared.list();
        list.retain(|(id, _)| *id != self.id);
        shared.any.store(!list.is_empty(), Ordering::Release);
    }
}

impl std::fmt::Debug for HookHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HookHandle({})", self.id)
    }
}

/// Registers `hook` where the module at `path` keeps hooks.
pub(crate) fn register(op: &'static str, module: &dyn Module, path: &str, hook: Hook) -> Result<HookHandle> {
    let names = path.split('.').filter(|_| !path.is_empty()).map(String::from).collect();
    let mut search = Search { target: names, path: Vec::new(), hook, handle: None };
    // So that errors of hooks know where they happened.
    Walk::through(module, "");
    // The last place wins: a layer's own is visited after the one that a container keeps for it.
    module.visit(&mut search);
    if let Some(handle) = search.handle {
        return Ok(handle);
    }
    let found = module.get_submodule(path).map_err(|error| match error {
        Error::Argument { message, .. } => Error::argument(op, message),
        error => error,
    })?;
    let place = if path.is_empty() { "the module".to_owned() } else { format!("`{path}`") };
    let message = format!("{place} is a {} and keeps no hooks; wrap the field in Hooked", found.type_name());
    Err(Error::argument(op, message))
}

struct Search {
    target: Vec<String>,
    path: Vec<String>,
    hook: Hook,
    handle: Option<HookHandle>,
}

impl Search {
    fn add(&mut self, hooks: &Hooks) {
        if let Some(earlier) = self.handle.take() {
            earlier.remove();
        }
        self.handle = Some(hooks.add(self.hook.clone()));
    }
}

impl Visitor for Search {
    fn enter(&mut self, name: &str) {
        self.path.push(name.to_owned());
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn label(&mut self, label: &Label) {
        // The label is a field of the layer.
        if self.path.split_last().is_some_and(|(_, path)| path == self.target) {
            self.add(label.hooks());
        }
    }

    fn hooks(&mut self, hooks: &Hooks) {
        if self.path == self.target {
            self.add(hooks);
        }
    }
}

/// A layer with a place for hooks, for layers that have none: activations, such as [`ReLU`](crate::ReLU), and
/// your own. Everything else is as with the layer alone: names, paths, fields, methods.
///
/// ```
/// use gabor_nn::{Forward, Hooked, Linear, Module, ReLU};
/// use tensor::{Result, Tensor};
/// #[derive(Module)]
/// struct Net {
///     fc: Linear,
///     act: Hooked<ReLU>,
/// }
/// impl Forward for Net {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         self.act.forward(&self.fc.forward(x)?)
///     }
/// }
/// let net = Net { fc: Linear::new(2, 2).build()?, act: Hooked::new(ReLU) };
/// net.register_forward_hook("act", |_, y| Ok(Some(y.add_scalar(1.0)?)))?;
/// assert!(net.forward(&Tensor::ones([1, 2])?)?.to_vec::<f32>()?.iter().all(|&v| v >= 1.0));
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hooked<L> {
    layer: L,
    label: Label,
}

impl<L> Hooked<L> {
    /// A layer with a place for hooks.
    pub fn new(layer: L) -> Self {
        Hooked { layer, label: Label::default() }
    }
}

impl<L> std::ops::Deref for Hooked<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.layer
    }
}

impl<L: Module> Module for Hooked<L> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.layer.visit(visitor);
        visitor.enter("label");
        visitor.label(&self.label);
        visitor.leave();
    }

    fn type_name(&self) -> &'static str {
        self.layer.type_name()
    }

    fn resolve(&self) -> &dyn Module {
        self.layer.resolve()
    }

    fn named_children(&self) -> Vec<(String, &dyn Module)> {
        self.layer.named_children()
    }
}

impl<L: crate::Forward> crate::Forward for Hooked<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.layer.forward(&x))
    }

    fn check(&self) -> Result<()> {
        self.layer.check()
    }
}
