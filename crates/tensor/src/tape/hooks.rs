//! Hooks on gradients, and gradients kept at results: what a node carries only if somebody asked for it.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::backward::Pass;
use super::{Node, Tensor, anomaly, lock};
use kernels::handle::Handle;

use crate::error::{Error, Result};
use crate::value::Value;

type Call = Arc<dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync>;

/// Hooks in the order of their registration, the gradient of a result, and, in anomaly mode, the inputs of an operation.
#[derive(Default)]
pub(super) struct Watch {
    hooks: Arc<Mutex<Hooks>>,
    retained: OnceLock<Mutex<Option<Value>>>,
    inputs: OnceLock<Vec<Value>>,
}

#[derive(Default)]
struct Hooks {
    next: u64,
    calls: Vec<(u64, Call)>,
}

impl Watch {
    pub(super) fn keep(&self, inputs: Vec<Value>) {
        let _ = self.inputs.set(inputs);
    }

    pub(super) fn input(&self, i: usize) -> Option<&Value> {
        self.inputs.get()?.get(i)
    }

    /// Where [`Tensor::retain_grad`] has made room for the gradient of a result.
    pub(super) fn retained(&self) -> Option<&Mutex<Option<Value>>> {
        self.retained.get()
    }

    fn add(&self, call: Call) -> u64 {
        let mut hooks = lock(&self.hooks);
        let id = hooks.next;
        hooks.next += 1;
        hooks.calls.push((id, call));
        id
    }

    /// The gradient of `node` as its hooks leave it. It is kept, if that was asked for, behind the last hook.
    pub(super) fn pass(&self, node: &Node, mut grad: Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        // A hook may add or remove hooks, so none runs under the lock.
        let calls: Vec<Call> = lock(&self.hooks).calls.iter().map(|(_, call)| call.clone()).collect();
        for call in calls {
            let failed = |error| Error::Hook { op: pass.op, at: node.describe(), error: Box::new(error) };
            let Some(changed) = call(&grad).map_err(failed)? else { continue };
            if changed.value.shape() != &node.shape || changed.dtype() != node.dtype {
                return Err(failed(Error::autograd(
                    "register_hook",
                    format!(
                        "the hook returned {} {:?} for a gradient of {} {:?}; return one like it, or None",
                        changed.dtype(),
                        changed.value.shape(),
                        node.dtype,
                        node.shape
                    ),
                )));
            }
            if anomaly::is_anomaly_enabled() {
                anomaly::check_other("register_hook", "the gradient that the hook returned", &changed)
                    .map_err(failed)?;
            }
            grad = changed;
        }
        if let Some(slot) = self.retained() {
            let mut slot = lock(slot);
            *slot = Some(match slot.take() {
                None => grad.value.contiguous()?.into_owned(),
                Some(sum) => sum.plus(&grad.value)?,
            });
        }
        Ok(grad)
    }
}

/// Takes a hook away again. Dropping the handle leaves the hook where it is.
#[derive(Clone)]
pub struct HookHandle {
    hooks: Weak<Mutex<Hooks>>,
    id: u64,
}

impl HookHandle {
    /// Removes the hook; does nothing if it is gone already.
    pub fn remove(&self) {
        if let Some(hooks) = self.hooks.upgrade() {
            lock(&hooks).calls.retain(|(id, _)| *id != self.id);
        }
    }
}

impl fmt::Debug for HookHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookHandle({})", self.id)
    }
}

impl Tensor {
    /// Calls `hook` with the gradient of this tensor whenever a backward pass has completed it, before it goes on to what
    /// the tensor was made from, or into the gradient of a leaf. A tensor that the hook returns takes its place. PyTorch:
    /// `Tensor.register_hook`.
    ///
    /// Hooks run in the order of their registration, each with the gradient that the one before left. They run without
    /// recording, or with it under `create_graph`. A hook that holds the tensor itself keeps it alive.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([1f32, 2.0])?.requires_grad_()?;
    /// let handle = x.register_hook(|grad| grad.mul_scalar(10.0).map(Some))?;
    /// x.sum()?.backward()?;
    /// handle.remove();
    /// x.sum()?.backward()?;
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [11.0, 11.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Nothing here requires grad. Later the pass fails if the hook does, or if it returns another shape or dtype.
    pub fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        let watch = self.watched("register_hook")?.watch();
        Ok(HookHandle { id: watch.add(Arc::new(hook)), hooks: Arc::downgrade(&watch.hooks) })
    }

    /// Keeps the gradient of this result of an operation for [`grad`](Self::grad), as leaves do anyway. PyTorch:
    /// `Tensor.retain_grad`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([1f32, 2.0])?.requires_grad_()?;
    /// let y = x.mul_scalar(3.0)?;
    /// y.retain_grad()?;
    /// y.square()?.sum()?.backward()?;
    /// assert_eq!(y.grad().unwrap().to_vec::<f32>()?, [6.0, 12.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Nothing here requires grad.
    pub fn retain_grad(&self) -> Result<()> {
        let node = self.watched("retain_grad")?;
        if !node.is_leaf() {
            node.watch().retained.get_or_init(Mutex::default);
        }
        Ok(())
    }

    fn watched(&self, op: &'static str) -> Result<&Handle<Node>> {
        self.node.as_ref().ok_or_else(|| {
            let message = format!(
                "the tensor of shape {:?} does not require grad, so it gets no gradient; call requires_grad_ first",
                self.value.shape()
            );
            Error::autograd(op, message)
        })
    }

    /// Gives the hooks of this leaf to a new one; their handles stay good.
    pub(crate) fn hand_hooks_to(&self, other: &Tensor) {
        if let (Some(from), Some(to)) = (&self.node, &other.node)
            && let Some(watch) = from.watch.get()
        {
            let _ = to.watch.set(Box::new(Watch { hooks: watch.hooks.clone(), ..Watch::default() }));
        }
    }
}
