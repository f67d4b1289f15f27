//! The tape: how a result remembers where it came from, and how gradients flow back.
//!
//! Read from top to bottom. A `Tensor` is a value and, perhaps, a `Node`. A `Node` is a `Rule` and its parents.
//! `record` makes nodes, `run` visits them from the newest to the oldest. That is all.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::dtype::{DType, dispatch};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::value::Value;

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
    pub(crate) node: Option<Arc<Node>>,
}

/// How a gradient goes back through one recorded operation.
///
/// The fields of the implementing struct are exactly what the rule needs, and nothing else is kept alive. A saved
/// *input* is a `Tensor`, so that the rule can itself be differentiated. A saved *output* is a `Value`, turned back
/// into a tensor by [`Cx::output`]: a node that owned its own output would never be freed.
pub(crate) trait Rule: fmt::Debug + Send + Sync {
    /// One gradient for each input, where [`Cx::needs`] it.
    fn backward(&self, cx: &Cx<'_>, grad: &Tensor) -> Result<Grads>;
}

/// The gradients of the inputs of an operation, in order.
pub(crate) type Grads = SmallVec<[Option<Tensor>; 3]>;

/// What a rule may know about the pass that it runs in.
pub(crate) struct Cx<'a> {
    node: &'a Arc<Node>,
    parents: &'a [Option<Arc<Node>>],
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
        gradients.iter().enumerate().map(|(i, f)| if self.needs(i) { f().map(Some) } else { Ok(None) }).collect()
    }
}

/// One recorded operation, or a leaf.
pub(crate) struct Node {
    /// Greater than the id of every parent.
    id: u64,
    shape: Shape,
    dtype: DType,
    kind: Kind,
}

enum Kind {
    Leaf { grad: Mutex<Option<Value>> },
    Op { rule: Mutex<Option<Arc<dyn Rule>>>, parents: SmallVec<[Option<Arc<Node>>; 3]> },
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Node {
    fn new(value: &Value, kind: Kind) -> Arc<Node> {
        // Relaxed is enough: a parent exists before its child, and one atomic has one order.
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Node { id, shape: value.shape().clone(), dtype: value.dtype(), kind })
    }

    pub(crate) fn leaf(value: &Value) -> Arc<Node> {
        Node::new(value, Kind::Leaf { grad: Mutex::new(None) })
    }

    fn is_leaf(&self) -> bool {
        matches!(self.kind, Kind::Leaf { .. })
    }

    /// The slot for the gradient of a leaf.
    pub(crate) fn slot(&self) -> Option<MutexGuard<'_, Option<Value>>> {
        match &self.kind {
            Kind::Leaf { grad } => Some(lock(grad)),
            Kind::Op { .. } => None,
        }
    }

    /// Adds to the stored gradient of a leaf.
    fn accumulate(&self, grad: Tensor) -> Result<()> {
        if let Some(mut slot) = self.slot() {
            *slot = Some(match slot.take() {
                None => grad.value.contiguous()?,
                Some(sum) => sum.plus(&grad.value)?,
            });
        }
        Ok(())
    }

    /// Takes the node apart: the saved tensors go while the parents are still held, then the parents are handed over.
    /// A saved tensor is an input or has no node, so nothing below is freed recursively.
    fn dismantle(&mut self) -> SmallVec<[Option<Arc<Node>>; 3]> {
        match &mut self.kind {
            Kind::Leaf { .. } => SmallVec::new(),
            Kind::Op { rule, parents } => {
                drop(lock(rule).take());
                std::mem::take(parents)
            }
        }
    }
}

/// Long chains must not overflow the stack when they are freed.
impl Drop for Node {
    fn drop(&mut self) {
        let mut last: Vec<Arc<Node>> = self.dismantle().into_iter().flatten().collect();
        while let Some(parent) = last.pop() {
            if let Some(mut node) = Arc::into_inner(parent) {
                last.extend(node.dismantle().into_iter().flatten());
            }
        }
    }
}

/// A panic in another thread leaves no half-written state behind a lock here, so poison is ignored.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Attaches `value` to the graph if some input is in it. `rule` runs only when it is needed.
pub(crate) fn record<R: Rule + 'static>(value: Value, inputs: &[&Tensor], rule: impl FnOnce() -> R) -> Tensor {
    let wanted = inputs.iter().any(|t| t.node.is_some()) && grad_enabled() && value.dtype().is_float();
    let node = wanted.then(|| {
        let parents = inputs.iter().map(|t| t.node.clone()).collect();
        Node::new(&value, Kind::Op { rule: Mutex::new(Some(Arc::new(rule()))), parents })
    });
    Tensor { value, node }
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

/// The engine's own operation: the sum of two gradients that meet at a node.
#[derive(Debug)]
struct FanIn;
impl Rule for FanIn {
    fn backward(&self, cx: &Cx<'_>, grad: &Tensor) -> Result<Grads> {
        cx.each([&|| Ok(grad.clone()), &|| Ok(grad.clone())])
    }
}

fn fan_in(sum: Tensor, grad: &Tensor) -> Result<Tensor> {
    let Tensor { value, node } = sum;
    if node.is_none() && grad.node.is_none() {
        return Ok(Tensor { value: value.plus(&grad.value)?, node: None });
    }
    let sum = Tensor { value: value.clone(), node };
    Ok(record(value.plus(&grad.value)?, &[&sum, grad], || FanIn))
}

/// What a pass through the graph should do.
struct Pass<'a> {
    op: &'static str,
    useful: Option<&'a HashSet<u64>>,
    retain_graph: bool,
}

/// Visits every node that leads to `root`, newest first. When a node is visited its gradient is complete: all its
/// consumers have greater ids, so all of them have been visited.
fn run(
    root: &Arc<Node>,
    seed: Tensor,
    pass: &Pass<'_>,
    mut visit: impl FnMut(&Arc<Node>, &Tensor) -> Result<()>,
) -> Result<()> {
    // Sorted by id; the list is short, so insertion is cheaper than a tree.
    let mut pending: Vec<(Arc<Node>, Tensor)> = vec![(root.clone(), seed)];
    while let Some((node, grad)) = pending.pop() {
        visit(&node, &grad)?;
        let Kind::Op { rule, parents } = &node.kind else {
            // `grad` hands its results back; only `backward` stores them.
            if pass.useful.is_none() {
                node.accumulate(grad)?;
            }
            continue;
        };
        let rule = {
            let mut slot = lock(rule);
            if pass.retain_graph { slot.clone() } else { slot.take() }
        };
        let rule = rule.ok_or_else(|| freed(pass.op))?;
        let cx = Cx { node: &node, parents, useful: pass.useful };
        let grads = rule.backward(&cx, &grad)?;
        drop(grad);
        debug_assert_eq!(grads.len(), parents.len(), "{rule:?}");
        for (i, g) in grads.into_iter().enumerate() {
            let Some(g) = g.filter(|_| cx.needs(i)) else { continue };
            let Some(parent) = &parents[i] else { continue };
            if g.value.shape() != &parent.shape || g.dtype() != parent.dtype {
                return Err(misfit(pass.op, &*rule, i, &g, parent));
            }
            match pending.binary_search_by_key(&parent.id, |p| p.0.id) {
                Err(at) => pending.insert(at, (parent.clone(), g)),
                Ok(at) => {
                    let (parent, sum) = pending.remove(at);
                    pending.insert(at, (parent, fan_in(sum, &g)?));
                }
            }
        }
    }
    Ok(())
}

#[cold]
fn freed(op: &'static str) -> Error {
    Error::autograd(
        op,
        "this graph was already used and its saved tensors are freed; compute the loss again, or use backward_retain for the first pass",
    )
}

#[cold]
fn misfit(op: &'static str, rule: &dyn Rule, i: usize, got: &Tensor, want: &Node) -> Error {
    let message = format!(
        "the rule {rule:?} returned a gradient of {} {:?} for input {i}, which is {} {:?}",
        got.dtype(),
        got.value.shape(),
        want.dtype,
        want.shape
    );
    Error::autograd(op, message)
}

/// How [`grad`] should work; the default is a single first-order pass.
///
/// ```
/// use gabor_tensor::{GradOptions, Tensor, grad};
/// let x = Tensor::new(3.0)?.requires_grad_()?;
/// let y = x.mul(&x)?.mul(&x)?;
/// let again = GradOptions { create_graph: true, ..GradOptions::default() };
/// let first = grad(&y, &[&x], &again)?.remove(0).unwrap();
/// let second = grad(&first, &[&x], &GradOptions::default())?.remove(0).unwrap();
/// assert_eq!((first.item()?, second.item()?), (27.0, 18.0));
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
#[derive(Debug, Default, Clone, Copy)]
pub struct GradOptions<'a> {
    /// The gradient of the result; needed unless it is a scalar.
    pub gradient: Option<&'a Tensor>,
    /// Keep the saved tensors, so that the graph can be used again. Implied by `create_graph`.
    pub retain_graph: bool,
    /// Record the gradients, so that they can be differentiated again.
    pub create_graph: bool,
    /// Give `None` for an input that the result does not depend on, instead of an error.
    pub allow_unused: bool,
}

/// The gradients of `y` with respect to each of `xs`, as `torch.autograd.grad`; leaves' stored gradients stay as they are.
///
/// # Errors
/// `y` is not a scalar and no gradient was given, nothing is recorded, the graph is freed, or some `x` is not used.
pub fn grad(y: &Tensor, xs: &[&Tensor], options: &GradOptions<'_>) -> Result<Vec<Option<Tensor>>> {
    let (root, seed) = y.root("grad", options.gradient)?;
    let mut wanted: HashMap<u64, SmallVec<[usize; 1]>> = HashMap::new();
    for (i, x) in xs.iter().enumerate() {
        let node = x.node.as_ref().ok_or_else(|| {
            Error::autograd(
                "grad",
                format!(
                    "input {i} of shape {:?} does not require grad; call requires_grad_ on it first",
                    x.value.shape()
                ),
            )
        })?;
        wanted.entry(node.id).or_default().push(i);
    }
    let useful = leading_to(root, &wanted);
    let mut found: Vec<Option<Tensor>> = vec![None; xs.len()];
    let pass = Pass { op: "grad", useful: Some(&useful), retain_graph: options.retain_graph || options.create_graph };
    {
        let _off = (!options.create_graph).then(no_grad_guard);
        if useful.contains(&root.id) {
            run(root, seed, &pass, |node, g| {
                for &i in wanted.get(&node.id).into_iter().flatten() {
                    found[i] = Some(g.clone());
                }
                Ok(())
            })?;
        }
    }
    match found.iter().position(Option::is_none) {
        Some(i) if !options.allow_unused => Err(Error::autograd(
            "grad",
            format!(
                "the result does not depend on input {i} of shape {:?}; set allow_unused to get None for it",
                xs[i].value.shape()
            ),
        )),
        _ => Ok(found),
    }
}

/// The gradients of the scalar `y` with respect to each of `xs`: [`grad`] with its default options.
///
/// # Errors
/// As [`grad`].
pub fn gradients(y: &Tensor, xs: &[&Tensor]) -> Result<Vec<Tensor>> {
    Ok(grad(y, xs, &GradOptions::default())?.into_iter().flatten().collect())
}

/// The ids of the nodes between `root` and the wanted ones.
fn leading_to(root: &Arc<Node>, wanted: &HashMap<u64, SmallVec<[usize; 1]>>) -> HashSet<u64> {
    let oldest = wanted.keys().copied().min().unwrap_or(u64::MAX);
    let mut nodes: HashMap<u64, &Arc<Node>> = HashMap::new();
    let mut todo = vec![root];
    while let Some(node) = todo.pop() {
        if node.id < oldest || nodes.insert(node.id, node).is_some() {
            continue;
        }
        if let Kind::Op { parents, .. } = &node.kind {
            todo.extend(parents.iter().flatten());
        }
    }
    let mut order: Vec<&Arc<Node>> = nodes.into_values().collect();
    order.sort_unstable_by_key(|n| n.id);
    let mut useful = HashSet::new();
    for node in order {
        let through = match &node.kind {
            Kind::Op { parents, .. } => parents.iter().flatten().any(|p| useful.contains(&p.id)),
            Kind::Leaf { .. } => false,
        };
        if through || wanted.contains_key(&node.id) {
            useful.insert(node.id);
        }
    }
    useful
}

impl Tensor {
    /// A tensor outside of the graph.
    pub(crate) fn plain(value: Value) -> Tensor {
        Tensor { value, node: None }
    }

    /// The node to start from and the gradient to start with.
    fn root(&self, op: &'static str, gradient: Option<&Tensor>) -> Result<(&Arc<Node>, Tensor)> {
        let node = self.node.as_ref().ok_or_else(|| {
            Error::autograd(
                op,
                "nothing to differentiate, no input of this result requires grad; was it made under no_grad, detached, or from frozen parameters?",
            )
        })?;
        let seed = match gradient {
            Some(g) if g.value.shape() != self.value.shape() => {
                let message = format!(
                    "the gradient has shape {:?} and the result {:?}; they must be equal",
                    g.value.shape(),
                    self.value.shape()
                );
                return Err(Error::shape(op, message));
            }
            Some(g) if g.dtype() != self.dtype() => {
                return Err(Error::DTypes { op, lhs: g.dtype(), rhs: self.dtype() });
            }
            Some(g) => g.clone(),
            None if self.value.layout.numel() != 1 => {
                let message = format!(
                    "needs a scalar, got {:?}; call sum() or mean() first, or use backward_with",
                    self.value.shape()
                );
                return Err(Error::autograd(op, message));
            }
            None => {
                dispatch!(float op, self.dtype(), T => Tensor::plain(Value::full::<T>(op, self.value.shape(), 1.0)?))
            }
        };
        Ok((node, seed))
    }

    /// Adds the gradient of this scalar to every leaf it depends on, and frees the graph.
    ///
    /// # Errors
    /// It is not a scalar, nothing was recorded, or the graph was already freed by a first pass.
    pub fn backward(&self) -> Result<()> {
        self.pass("backward", None, false)
    }

    /// As [`backward`](Self::backward), keeping the graph for another pass (`retain_graph=True`).
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    pub fn backward_retain(&self) -> Result<()> {
        self.pass("backward_retain", None, true)
    }

    /// As [`backward`](Self::backward) for a result of any shape, given the gradient of the loss with respect to it.
    ///
    /// # Errors
    /// As [`backward`](Self::backward); or `gradient` has another shape or dtype.
    pub fn backward_with(&self, gradient: &Tensor) -> Result<()> {
        self.pass("backward_with", Some(gradient), false)
    }

    fn pass(&self, op: &'static str, gradient: Option<&Tensor>, retain_graph: bool) -> Result<()> {
        let _off = no_grad_guard();
        let (root, seed) = self.root(op, gradient.map(Tensor::detach).as_ref())?;
        run(root, seed, &Pass { op, useful: None, retain_graph }, |_, _| Ok(()))
    }

    /// Makes a leaf of the same elements whose gradient [`backward`](Self::backward) stores.
    ///
    /// # Errors
    /// The dtype is not floating point, or the tensor is the result of a recorded operation.
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

    /// The gradient that was stored for this leaf, if any. Results of operations store none.
    pub fn grad(&self) -> Option<Tensor> {
        let slot = self.node.as_ref()?.slot()?;
        slot.clone().map(Tensor::plain)
    }

    /// Forgets the stored gradient of this leaf.
    pub fn zero_grad(&self) {
        self.set_grad(None);
    }

    pub(crate) fn set_grad(&self, grad: Option<Value>) {
        if let Some(mut slot) = self.node.as_ref().and_then(|n| n.slot()) {
            *slot = grad;
        }
    }

    /// The same elements outside of the graph; shares memory.
    pub fn detach(&self) -> Tensor {
        Tensor { value: self.value.clone(), node: None }
    }
}
