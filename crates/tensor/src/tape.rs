//! The tape: how a result remembers where it came from, and how gradients flow back.
//!
//! Read from top to bottom. A `Tensor` is a value and, perhaps, a `Node`. A `Node` is a `Rule` and its parents.
//! `record` makes nodes, `run` in `backward` visits them from the newest to the oldest. That is all.

mod anomaly;
mod backward;
mod hooks;
mod origin;
mod parents;
mod past;

use std::any::Any;
use std::cell::Cell;
use std::collections::HashSet;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use kernels::handle::{DynHandle, Handle};
use smallvec::SmallVec;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::label::Label;
use crate::program;
use crate::shape::Shape;
use crate::value::Value;
use crate::warning::{Lint, warn_once};

pub use anomaly::{AnomalyGuard, detect_anomaly, detect_anomaly_guard, is_anomaly_enabled, set_detect_anomaly};
pub use backward::{GradOptions, grad, gradients};
pub use hooks::HookHandle;
pub use origin::{called_from, caller};
use origin::{in_rule, inside_rule};
use parents::Parents;
pub(crate) use past::{Past, in_owner};

/// A strided array with, perhaps, a memory of how it was made.
///
/// Tensors are immutable, cheap to clone and may be sent to other threads. Methods return [`Result`]; the operators
/// `+ - * /` panic with the same text.
///
/// ```
/// use gabor_tensor::Tensor;
/// let x = Tensor::new([[1f32, 2.0], [3.0, 4.0]])?.requires_grad_()?;
/// let y = (&x * &x).sum()?;
/// y.backward()?;
/// assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [2.0, 4.0, 6.0, 8.0]);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    pub(crate) value: Value,
    pub(crate) node: Option<Handle<Node>>,
}

// It moves in registers.
const _: () = assert!(size_of::<Tensor>() == 16);

/// How a gradient goes back through one recorded operation.
///
/// The fields of the implementing struct are exactly what the rule needs, and nothing else is kept alive. A saved
/// *input* is a `Tensor`, so that the rule can itself be differentiated. A saved *output* is a `Value`, turned back
/// into a tensor by [`Cx::output`]: a node that owned its own output would never be freed.
pub(crate) trait Rule: Any + Send + Sync {
    /// One gradient for each input, where [`Cx::needs`] it.
    fn backward(&self, cx: &Cx<'_>, grad: &Tensor) -> Result<Grads>;

    /// [`backward`](Self::backward) with a gradient that is not used any more: a result may take its memory if nothing else holds it.
    fn backward_owned(&self, cx: &Cx<'_>, grad: Tensor) -> Result<Grads> {
        self.backward(cx, &grad)
    }

    /// The operator's name for messages: by default the rule's own, as methods are written.
    fn name(&self) -> String {
        operator(std::any::type_name::<Self>())
    }

    /// The rule's type, with its path.
    #[cfg(any(test, feature = "testing"))]
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// The name of the operator whose rule has this type.
fn operator(path: &str) -> String {
    let own = path.rsplit("::").next().unwrap_or(path).trim_end_matches("Rule");
    own.char_indices().fold(String::new(), |mut name, (i, c)| {
        name.extend((c.is_uppercase() && i > 0).then_some('_'));
        name.extend(c.to_lowercase());
        name
    })
}

/// The gradients of the inputs of an operation, in order.
pub(crate) type Grads = SmallVec<[Option<Tensor>; 3]>;

/// What a rule may know about the pass that it runs in.
pub(crate) struct Cx<'a> {
    node: &'a Handle<Node>,
    parents: &'a [Option<Handle<Node>>],
    useful: Option<&'a HashSet<u64>>,
}

impl Cx<'_> {
    /// Whether somebody wants the gradient of input `i`.
    pub(crate) fn needs(&self, i: usize) -> bool {
        match (&self.parents[i], self.useful) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(parent), Some(useful)) => useful.contains(&parent.id),
        }
    }

    /// The number of inputs that the operation was recorded with.
    pub(crate) fn inputs(&self) -> usize {
        self.parents.len()
    }

    /// A saved output as a tensor with its place in the graph.
    pub(crate) fn output(&self, value: &Value) -> Tensor {
        Tensor { value: value.clone(), node: Some(self.node.clone()) }
    }

    /// The gradients of all inputs, computing only those that are needed.
    pub(crate) fn each<const N: usize>(&self, gradients: [&dyn Fn() -> Result<Tensor>; N]) -> Result<Grads> {
        let mut grads = Grads::new();
        for (i, gradient) in gradients.into_iter().enumerate() {
            grads.push(if self.needs(i) { Some(gradient()?) } else { None });
        }
        Ok(grads)
    }
}

/// One recorded operation, or a leaf.
pub(crate) struct Node {
    /// Greater than the id of every parent.
    id: u64,
    shape: Shape,
    dtype: DType,
    /// Where the operation was called, or the leaf made.
    at: &'static Location<'static>,
    /// Hooks and their kin; most nodes have none.
    watch: OnceLock<Box<hooks::Watch>>,
    kind: Kind,
}

enum Kind {
    Leaf {
        grad: Mutex<Option<Value>>,
        /// Whether an optimizer has used the stored gradient.
        used: AtomicBool,
        /// That of the parameter whose value it is.
        label: OnceLock<Label>,
    },
    Op {
        rule: Mutex<Saved>,
        parents: Parents,
    },
}

/// A rule, or where the pass was called that has freed it.
#[derive(Clone)]
enum Saved {
    Rule(DynHandle<dyn Rule>),
    Freed(&'static Location<'static>),
}

/// Where the next stretch of ids begins.
static NEXT_STRETCH: AtomicU64 = AtomicU64::new(0);
/// Ids that a thread takes at a time.
const STRETCH: u64 = 1024;

thread_local! {
    /// The next id of this thread; a multiple of the stretch if it has to take another one.
    static NEXT_ID: Cell<u64> = const { Cell::new(0) };
}

/// An id that no other node has, greater than those of the nodes of the inputs. All stretches that were taken lie below the next.
fn next_id(inputs: &[&Tensor]) -> u64 {
    let mut id = NEXT_ID.get();
    if id.is_multiple_of(STRETCH) || inputs.iter().any(|t| t.node.as_ref().is_some_and(|node| node.id >= id)) {
        // Relaxed is enough: a parent exists before its child, and one atomic has one order.
        id = NEXT_STRETCH.fetch_add(STRETCH, Ordering::Relaxed) + 1;
    }
    NEXT_ID.set(id + 1);
    id
}

impl Node {
    /// Made in its place, so that it need not be moved.
    #[inline(always)]
    #[track_caller]
    fn new(id: u64, value: &Value, kind: impl FnOnce() -> Kind) -> Handle<Node> {
        let at = caller();
        Handle::with(|| {
            let (shape, dtype) = (value.shape().clone(), value.dtype());
            Node { id, shape, dtype, at, watch: OnceLock::new(), kind: kind() }
        })
    }

    #[track_caller]
    pub(crate) fn leaf(value: &Value) -> Handle<Node> {
        Node::new(next_id(&[]), value, || {
            let (grad, used, label) = (Mutex::new(None), AtomicBool::new(false), OnceLock::new());
            Kind::Leaf { grad, used, label }
        })
    }

    fn is_leaf(&self) -> bool {
        matches!(self.kind, Kind::Leaf { .. })
    }

    /// Hooks and their kin, with room made for them.
    fn watch(&self) -> &hooks::Watch {
        self.watch.get_or_init(Box::default)
    }

    /// The operation and the line that called it, for messages.
    fn describe(&self) -> String {
        let name = match &self.kind {
            Kind::Leaf { .. } => match self.parameter_name() {
                Some(name) => format!("the parameter {name}"),
                None => format!("the leaf {:?}", self.shape),
            },
            Kind::Op { rule, .. } => match &*lock(rule) {
                Saved::Rule(rule) => rule.name(),
                Saved::Freed(_) => format!("the operation with result {:?}", self.shape),
            },
        };
        format!("{name} at {}:{}", self.at.file(), self.at.line())
    }

    /// The slot for the gradient of a leaf, or of a result that shall keep its own.
    pub(crate) fn slot(&self) -> Option<MutexGuard<'_, Option<Value>>> {
        match &self.kind {
            Kind::Leaf { grad, .. } => Some(lock(grad)),
            Kind::Op { .. } => self.watch.get()?.retained().map(lock),
        }
    }

    /// Adds to the stored gradient of a leaf.
    fn accumulate(&self, grad: Tensor) -> Result<()> {
        if let Some(mut slot) = self.slot() {
            *slot = Some(match slot.take() {
                None => grad.value.into_contiguous()?,
                Some(sum) => sum.plus(&grad.value)?,
            });
        }
        Ok(())
    }

    /// Takes the node apart: the saved tensors go while the parents are still held, then those parents that nobody else holds
    /// are handed over. A saved tensor is an input or has no node, so nothing below is freed recursively.
    fn dismantle(&mut self, orphans: &mut Orphans) {
        match &mut self.kind {
            Kind::Leaf { .. } => {}
            Kind::Op { rule, parents } => {
                *rule.get_mut().unwrap_or_else(PoisonError::into_inner) = Saved::Freed(self.at);
                for parent in parents.iter_mut() {
                    if let Some(orphan) = parent.take().and_then(Handle::last) {
                        orphans.push(orphan);
                    }
                }
            }
        }
    }
}

/// Nodes that nothing else holds.
type Orphans = Vec<Handle<Node>>;

/// Long chains must not overflow the stack when they are freed.
impl Drop for Node {
    fn drop(&mut self) {
        let mut orphans = Orphans::new();
        self.dismantle(&mut orphans);
        while let Some(mut node) = orphans.pop() {
            if let Some(node) = node.get_mut() {
                node.dismantle(&mut orphans);
            }
        }
    }
}

/// A panic in another thread leaves no half-written state behind a lock here, so poison is ignored.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a result of these inputs gets a place in the graph.
pub(crate) fn are_tracked(inputs: &[&Tensor]) -> bool {
    inputs.iter().any(|t| t.node.is_some()) && grad_enabled()
}

/// Attaches `value` to the graph if some input is in it. `rule` runs only when it is needed.
///
/// # Errors
/// In anomaly mode, if the value holds NaN.
#[track_caller]
pub(crate) fn record<R: Rule + 'static>(value: Value, inputs: &[&Tensor], rule: impl FnOnce() -> R) -> Result<Tensor> {
    if is_anomaly_enabled() {
        return anomaly::record(value, inputs, kept(rule));
    }
    Ok(attach(value, inputs, rule))
}

/// A rule in memory of its own.
#[inline]
fn kept<R: Rule + 'static>(rule: impl FnOnce() -> R) -> DynHandle<dyn Rule> {
    DynHandle::new(rule, |rule| -> &dyn Rule { rule })
}

/// [`record`] for operations that only move elements, which makes no NaN.
#[track_caller]
pub(crate) fn attach<R: Rule + 'static>(value: Value, inputs: &[&Tensor], rule: impl FnOnce() -> R) -> Tensor {
    if is_recorded(&value, inputs) { attached(value, inputs, kept(rule)) } else { Tensor { value, node: None } }
}

/// Whether `value`, made of these inputs, gets a place in the graph.
fn is_recorded(value: &Value, inputs: &[&Tensor]) -> bool {
    value.dtype().is_float() && are_tracked(inputs)
}

/// The rest of [`attach`], compiled once for all rules.
#[inline(never)]
#[track_caller]
fn attached(value: Value, inputs: &[&Tensor], rule: DynHandle<dyn Rule>) -> Tensor {
    let rule = Mutex::new(Saved::Rule(rule));
    let node = Node::new(next_id(inputs), &value, || Kind::Op { rule, parents: Parents::of(inputs) });
    Tensor { value, node: Some(node) }
}

thread_local! {
    static GRAD_ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Whether operations on this thread are recorded.
pub fn grad_enabled() -> bool {
    GRAD_ENABLED.get()
}

/// Turns recording off on this thread until it is dropped; guards nest.
#[derive(Debug)]
#[must_use = "recording is off only while the guard lives"]
pub struct NoGradGuard {
    before: bool,
}

impl Drop for NoGradGuard {
    fn drop(&mut self) {
        GRAD_ENABLED.set(self.before);
    }
}

/// Turns recording off on this thread until the guard is dropped.
///
/// ```
/// use gabor_tensor::{Tensor, no_grad_guard};
/// let x = Tensor::ones([2])?.requires_grad_()?;
/// let _guard = no_grad_guard();
/// assert!(!x.mul_scalar(2.0)?.requires_grad());
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub fn no_grad_guard() -> NoGradGuard {
    NoGradGuard { before: GRAD_ENABLED.replace(false) }
}

/// Runs `f` without recording, as `torch.no_grad()`.
///
/// ```
/// use gabor_tensor::{Tensor, no_grad};
/// let x = Tensor::ones([2])?.requires_grad_()?;
/// let y = no_grad(|| x.mul_scalar(2.0))?;
/// assert!(!y.requires_grad());
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    let _guard = no_grad_guard();
    f()
}

impl Tensor {
    /// A tensor outside of the graph.
    pub(crate) fn plain(value: Value) -> Tensor {
        Tensor { value, node: None }
    }

    /// Makes a leaf of the same elements whose gradient [`backward`](Self::backward) stores.
    ///
    /// # Errors
    /// The dtype is not floating point, or the tensor is the result of a recorded operation.
    #[track_caller]
    pub fn requires_grad_(self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::DType { op: "requires_grad_", dtype: self.dtype(), expected: "f32 or f64" });
        }
        match &self.node {
            Some(node) if node.is_leaf() => Ok(self),
            Some(_) => Err(Error::autograd(
                "requires_grad_",
                "only leaves can be changed, this is a result; call detach() first",
            )),
            None => Ok(Tensor { node: Some(Node::leaf(&self.value)), value: self.value }),
        }
    }

    /// Whether operations on this tensor are recorded.
    pub fn requires_grad(&self) -> bool {
        self.node.is_some()
    }

    /// Whether this tensor was not made by a recorded operation.
    pub fn is_leaf(&self) -> bool {
        self.node.as_ref().is_none_or(|n| n.is_leaf())
    }

    /// The gradient that was stored for this leaf, if any. Results of operations store one after [`retain_grad`](Self::retain_grad).
    pub fn grad(&self) -> Option<Tensor> {
        let node = self.node.as_ref()?;
        if program::recording() {
            program::refuse("the step reads a stored gradient, which grows from run to run; do that outside");
        }
        let Some(slot) = node.slot() else {
            warn_once(Lint::GradOfResult, || {
                let (shape, line) = (&node.shape, node.at);
                format!(
                    "grad: results keep no gradient, this one of shape {shape:?} was made at {}:{}; call retain_grad() before backward()",
                    line.file(),
                    line.line()
                )
            });
            return None;
        };
        slot.clone().map(Tensor::plain)
    }

    /// Forgets the stored gradient.
    pub fn zero_grad(&self) {
        self.set_grad(None);
    }

    pub(crate) fn set_grad(&self, grad: Option<Value>) {
        if program::recording() {
            program::refuse("stored gradients change in other ways than by backward; call zero_grad outside");
        }
        if let Some(mut slot) = self.node.as_ref().and_then(|n| n.slot()) {
            *slot = grad;
        }
        if let Some(Kind::Leaf { used, .. }) = self.node.as_ref().map(|node| &node.kind) {
            used.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the stored gradient, or what it has grown from, was used before; from now on it is.
    pub(crate) fn use_grad(&self) -> bool {
        match self.node.as_ref().map(|node| &node.kind) {
            Some(Kind::Leaf { used, .. }) => used.swap(true, Ordering::Relaxed),
            _ => false,
        }
    }

    /// The same elements outside of the graph; shares memory.
    pub fn detach(&self) -> Tensor {
        Tensor { value: self.value.clone(), node: None }
    }
}

/// Notes that a rule ran, for the test that no rule is left out.
#[cfg(any(test, feature = "testing"))]
fn note(rule: &dyn Rule) {
    lock(&RULES_RUN).insert(rule.type_name());
}

#[cfg(not(any(test, feature = "testing")))]
fn note(_: &dyn Rule) {}

/// The types of the rules that have run in this process.
#[cfg(any(test, feature = "testing"))]
pub(crate) static RULES_RUN: Mutex<std::collections::BTreeSet<&'static str>> =
    Mutex::new(std::collections::BTreeSet::new());
