//! The passes: how gradients flow from a result back to what it was made from.

use std::collections::{HashMap, HashSet};
use std::panic::Location;

use kernels::handle::Handle;
use smallvec::SmallVec;

use super::{Cx, Grads, Kind, Node, Rule, Saved, Tensor, anomaly, attach, inside_rule, lock, no_grad_guard};
use crate::dtype::dispatch;
use crate::error::{Error, Result};
use crate::program;
use crate::value::Value;

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
    Ok(attach(value.plus(&grad.value)?, &[&sum, grad], || FanIn))
}

/// What a pass through the graph should do.
pub(super) struct Pass<'a> {
    pub(super) op: &'static str,
    /// Where it was called.
    pub(super) at: &'static Location<'static>,
    useful: Option<&'a HashSet<u64>>,
    retain_graph: bool,
}

/// Visits every node that leads to `root`, newest first. When a node is visited its gradient is complete: all its
/// consumers have greater ids, so all of them have been visited.
fn run(
    root: &Handle<Node>,
    seed: Tensor,
    pass: &Pass<'_>,
    mut visit: impl FnMut(&Handle<Node>, &Tensor) -> Result<()>,
) -> Result<()> {
    // Sorted by id; the list is short, so insertion is cheaper than a tree.
    let mut pending: SmallVec<[(Handle<Node>, Tensor); 4]> = SmallVec::new();
    pending.push((root.clone(), seed));
    let anomalies = anomaly::is_anomaly_enabled();
    if anomalies {
        anomaly::check_other(pass.op, "the gradient to start with", &pending[0].1)?;
    }
    while let Some((node, grad)) = pending.pop() {
        let grad = match node.watch.get() {
            Some(watch) => {
                if program::recording() {
                    program::refuse("hooks and retained gradients of tensors cannot be repeated");
                }
                watch.pass(&node, grad, pass)?
            }
            None => grad,
        };
        visit(&node, &grad)?;
        let Kind::Op { rule, parents } = &node.kind else {
            // `grad` hands its results back; only `backward` stores them.
            if pass.useful.is_none() {
                if program::recording() {
                    keep(&node, grad)?;
                } else {
                    node.accumulate(grad)?;
                }
            }
            continue;
        };
        let cx = Cx { node: &node, parents, useful: pass.useful };
        if pass.useful.is_some() && !(0..parents.len()).any(|i| cx.needs(i)) {
            continue;
        }
        let saved = {
            let mut slot = lock(rule);
            if pass.retain_graph { slot.clone() } else { std::mem::replace(&mut *slot, Saved::Freed(pass.at)) }
        };
        let rule = match saved {
            Saved::Rule(rule) => rule,
            Saved::Freed(first) => {
                *lock(rule) = Saved::Freed(first);
                return Err(freed(pass.op, &node, first));
            }
        };
        super::note(&*rule);
        let inside = inside_rule(node.at);
        let grads = if anomalies {
            let grads = rule.backward(&cx, &grad)?;
            anomaly::check(pass, &node, &*rule, &grad, &grads)?;
            grads
        } else {
            rule.backward_owned(&cx, grad)?
        };
        drop(inside);
        debug_assert_eq!(grads.len(), parents.len(), "{}", rule.name());
        for (i, g) in grads.into_iter().enumerate() {
            let Some(g) = g.filter(|_| cx.needs(i)) else { continue };
            let Some(parent) = &parents[i] else { continue };
            if g.value.shape() != &parent.shape || g.dtype() != parent.dtype {
                return Err(misfit(pass.op, &node, &*rule, i, &g, parent));
            }
            match pending.binary_search_by_key(&parent.id, |p| p.0.id) {
                Err(at) => pending.insert(at, (parent.clone(), g)),
                Ok(at) => {
                    let (parent, sum) = pending.remove(at);
                    let sum = fan_in(sum, &g)?;
                    if anomalies {
                        let what = format!("the sum of the gradients of {}", parent.describe());
                        anomaly::check_other(pass.op, &what, &sum)?;
                    }
                    pending.insert(at, (parent, sum));
                }
            }
        }
    }
    Ok(())
}

/// Stores the gradient of a leaf, now and each time that a captured step is repeated.
#[cold]
fn keep(leaf: &Handle<Node>, grad: Tensor) -> Result<()> {
    let again = leaf.clone();
    program::sink(&grad.value, move |grad| again.accumulate(Tensor::plain(grad)));
    program::quietly(|| leaf.accumulate(grad))
}

#[cold]
fn freed(op: &'static str, node: &Node, first: &Location<'_>) -> Error {
    let message = format!(
        "what {} had saved was freed by the pass at {}:{}; compute the loss again, or use backward_retain (retain_graph) for the first pass",
        node.describe(),
        first.file(),
        first.line()
    );
    Error::autograd(op, message)
}

#[cold]
fn misfit(op: &'static str, node: &Node, rule: &dyn Rule, i: usize, got: &Tensor, want: &Node) -> Error {
    let message = format!(
        "the rule of {} at {}:{} returned a gradient of {} {:?} for input {i}, which is {} {:?}",
        rule.name(),
        node.at.file(),
        node.at.line(),
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
#[track_caller]
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
    let pass = Pass {
        op: "grad",
        at: Location::caller(),
        useful: Some(&useful),
        retain_graph: options.retain_graph || options.create_graph,
    };
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
#[track_caller]
pub fn gradients(y: &Tensor, xs: &[&Tensor]) -> Result<Vec<Tensor>> {
    Ok(grad(y, xs, &GradOptions::default())?.into_iter().flatten().collect())
}

/// The ids of the nodes between `root` and the wanted ones.
fn leading_to(root: &Handle<Node>, wanted: &HashMap<u64, SmallVec<[usize; 1]>>) -> HashSet<u64> {
    let oldest = wanted.keys().copied().min().unwrap_or(u64::MAX);
    let mut nodes: HashMap<u64, &Handle<Node>> = HashMap::new();
    let mut todo = vec![root];
    while let Some(node) = todo.pop() {
        if node.id < oldest || nodes.insert(node.id, node).is_some() {
            continue;
        }
        if let Kind::Op { parents, .. } = &node.kind {
            todo.extend(parents.iter().flatten());
        }
    }
    let mut order: Vec<&Handle<Node>> = nodes.into_values().collect();
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
    /// The node to start from and the gradient to start with.
    fn root(&self, op: &'static str, gradient: Option<&Tensor>) -> Result<(&Handle<Node>, Tensor)> {
        let node = self.node.as_ref().ok_or_else(|| {
            let message = if self.dtype().is_float() {
                "nothing to differentiate, no input of this result requires grad; was it made under no_grad, detached, or from frozen parameters?".to_owned()
            } else {
                format!("{} numbers have no gradient; compute the loss in f32 or f64", self.dtype())
            };
            Error::autograd(op, message)
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
            None if self.value.numel() != 1 => {
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
    #[track_caller]
    pub fn backward(&self) -> Result<()> {
        self.pass("backward", None, false)
    }

    /// As [`backward`](Self::backward), keeping the graph for another pass (`retain_graph=True`).
    ///
    /// # Errors
    /// As [`backward`](Self::backward).
    #[track_caller]
    pub fn backward_retain(&self) -> Result<()> {
        self.pass("backward_retain", None, true)
    }

    /// As [`backward`](Self::backward) for a result of any shape, given the gradient of the loss with respect to it.
    ///
    /// # Errors
    /// As [`backward`](Self::backward); or `gradient` has another shape or dtype.
    #[track_caller]
    pub fn backward_with(&self, gradient: &Tensor) -> Result<()> {
        self.pass("backward_with", Some(gradient), false)
    }

    #[track_caller]
    fn pass(&self, op: &'static str, gradient: Option<&Tensor>, retain_graph: bool) -> Result<()> {
        let _off = no_grad_guard();
        let (root, seed) = self.root(op, gradient.map(Tensor::detach).as_ref())?;
        run(root, seed, &Pass { op, at: Location::caller(), useful: None, retain_graph }, |_, _| Ok(()))
    }
}
