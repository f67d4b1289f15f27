//! Anomaly mode: the first NaN is an error that names the operator, the element and the line that called it.
//!
//! Off, it costs one relaxed load for each operation. On, each result and each gradient is read once more.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kernels::handle::DynHandle;

use super::{Grads, Node, Rule, Tensor, in_rule};
use crate::dtype::{Element, dispatch};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::value::Value;

/// How many guards live, and one more while the switch is on.
static WATCHERS: AtomicUsize = AtomicUsize::new(0);
static SWITCH: AtomicBool = AtomicBool::new(false);

/// Whether anomaly mode is on. PyTorch: `torch.is_anomaly_enabled()`.
pub fn is_anomaly_enabled() -> bool {
    WATCHERS.load(Ordering::Relaxed) != 0
}

/// Turns anomaly mode on or off for all threads. PyTorch: `torch.autograd.set_detect_anomaly`.
///
/// It stays on while a guard of [`detect_anomaly_guard`] lives. See [`detect_anomaly`].
pub fn set_detect_anomaly(on: bool) {
    match (SWITCH.swap(on, Ordering::Relaxed), on) {
        (false, true) => _ = WATCHERS.fetch_add(1, Ordering::Relaxed),
        (true, false) => _ = WATCHERS.fetch_sub(1, Ordering::Relaxed),
        _ => {}
    }
}

/// Keeps anomaly mode on until it is dropped; guards nest.
#[derive(Debug)]
#[must_use = "anomaly mode is on only while the guard lives"]
pub struct AnomalyGuard {
    // Made by `detect_anomaly_guard` only, which has counted it.
    _counted: (),
}

impl Drop for AnomalyGuard {
    fn drop(&mut self) {
        WATCHERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Turns anomaly mode on, for all threads, until the guard is dropped. See [`detect_anomaly`].
///
/// ```
/// use gabor_tensor::{Tensor, detect_anomaly_guard};
/// let _guard = detect_anomaly_guard();
/// assert!(Tensor::new(-1f32)?.sqrt().is_err());
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub fn detect_anomaly_guard() -> AnomalyGuard {
    WATCHERS.fetch_add(1, Ordering::Relaxed);
    AnomalyGuard { _counted: () }
}

/// Runs `f` in anomaly mode: an operation whose result holds NaN fails and says what it was called with and where, and so
/// does a backward pass when a rule returns NaN. PyTorch: `torch.autograd.detect_anomaly()`.
///
/// Infinities are no anomaly, as in PyTorch: masks and the logarithm of 0 make them on purpose. PyTorch checks backward
/// passes only; here results are checked too, also under `no_grad`. The mode is meant for the search, not for every run: all
/// threads are in it, each result is read once more, and the inputs of each operation are kept for the message.
///
/// ```
/// use gabor_tensor::{Tensor, detect_anomaly};
/// let x = Tensor::new([1f32, -4.0])?;
/// let error = detect_anomaly(|| x.log()?.sum()).unwrap_err().to_string();
/// assert!(error.starts_with("log: the result is NaN at [1] of [2], where input 0 is -4; called at "), "{error}");
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub fn detect_anomaly<R>(f: impl FnOnce() -> R) -> R {
    let _guard = detect_anomaly_guard();
    f()
}

/// Records an operation in anomaly mode, unless its result holds NaN.
#[cold]
#[track_caller]
pub(super) fn record(value: Value, inputs: &[&Tensor], rule: DynHandle<dyn Rule>) -> Result<Tensor> {
    // Inside of a rule only what it returns counts; `check` names the operation that the rule belongs to.
    if !in_rule()
        && let Some(at) = first_nan(&value)?
    {
        return Err(result(&value, at, inputs, &*rule)?);
    }
    if !super::is_recorded(&value, inputs) {
        return Ok(Tensor::plain(value));
    }
    let tensor = super::attached(value, inputs, rule);
    if let Some(node) = &tensor.node {
        node.watch().keep(inputs.iter().map(|t| t.value.clone()).collect());
    }
    Ok(tensor)
}

#[track_caller]
fn result(value: &Value, at: usize, inputs: &[&Tensor], rule: &dyn Rule) -> Result<Error> {
    let mut message = String::new();
    let line = super::caller();
    let place = place(value.shape(), at);
    for (i, x) in inputs.iter().enumerate() {
        if let Some(at) = first_nan(&x.value)? {
            let _ = write!(
                message,
                "input {i} of shape {:?} already holds NaN, first at {:?}; it comes from data, from parameters, or from before \
                 anomaly mode was on; called at {}:{}",
                x.value.shape(),
                self::place(x.value.shape(), at),
                line.file(),
                line.line()
            );
            return Ok(Error::Anomaly { op: rule.name(), message });
        }
    }
    let _ = write!(message, "the result is NaN at {place:?} of {:?}, where ", value.shape());
    if inputs.iter().all(|x| x.value.shape() == value.shape()) {
        for (i, x) in inputs.iter().enumerate() {
            let and = if i == 0 { "" } else { " and " };
            let _ = write!(message, "{and}input {i} is {}", element(&x.value, at)?);
        }
    } else {
        let infinite = inputs.iter().enumerate().find_map(|(i, x)| Some((i, x, first_infinite(&x.value).ok()??)));
        let _ = match infinite {
            Some((i, x, at)) => {
                write!(
                    message,
                    "no input holds NaN but input {i} is infinite at {:?}",
                    self::place(x.value.shape(), at)
                )
            }
            None => write!(message, "no input holds NaN or infinity"),
        };
    }
    let _ = write!(message, "; called at {}:{}", line.file(), line.line());
    Ok(Error::Anomaly { op: rule.name(), message })
}

/// Fails if `grads`, which the rule of `node` made from `grad`, hold NaN.
#[cold]
pub(super) fn check(
    pass: &super::backward::Pass<'_>,
    node: &Node,
    rule: &dyn Rule,
    grad: &Tensor,
    grads: &Grads,
) -> Result<()> {
    for (i, g) in grads.iter().enumerate() {
        let Some(g) = g else { continue };
        let Some(at) = first_nan(&g.value)? else { continue };
        let shape = g.value.shape();
        let mut message = format!("its gradient for input {i} is NaN at {:?} of {shape:?}", place(shape, at));
        let input = node.watch.get().and_then(|watch| watch.input(i)).filter(|x| x.shape() == shape);
        let mut joint = ", where";
        if let Some(x) = input {
            let _ = write!(message, "{joint} the input is {}", element(x, at)?);
            joint = " and";
        }
        if grad.value.shape() == shape {
            let _ = write!(message, "{joint} the gradient of its result is {}", element(&grad.value, at)?);
        } else if let Some(at) = first_infinite(&grad.value)? {
            let _ = write!(message, "; the gradient of its result is infinite at {:?}", place(grad.value.shape(), at));
        }
        let _ = write!(
            message,
            "; called at {}:{}, {} at {}:{}",
            node.at.file(),
            node.at.line(),
            pass.op,
            pass.at.file(),
            pass.at.line()
        );
        return Err(Error::Anomaly { op: rule.name(), message });
    }
    Ok(())
}

/// Fails if a gradient that no rule made holds NaN: the seed, a sum, what a hook returned.
#[cold]
pub(super) fn check_other(op: &'static str, what: &str, grad: &Tensor) -> Result<()> {
    match first_nan(&grad.value)? {
        None => Ok(()),
        Some(at) => {
            let shape = grad.value.shape();
            let message = format!("{what} is NaN at {:?} of {shape:?}", place(shape, at));
            Err(Error::Anomaly { op: op.into(), message })
        }
    }
}

fn first_nan(value: &Value) -> Result<Option<usize>> {
    first(value, f64::is_nan)
}

fn first_infinite(value: &Value) -> Result<Option<usize>> {
    first(value, f64::is_infinite)
}

/// The first element in row-major order for which `found` holds.
fn first(value: &Value, found: fn(f64) -> bool) -> Result<Option<usize>> {
    if !value.dtype().is_float() {
        return Ok(None);
    }
    let x = value.contiguous()?;
    Ok(dispatch!(x.dtype(), T => x.slice::<T>().iter().position(|&v| found(Element::to_f64(v)))))
}

/// One element, counted in row-major order.
fn element(value: &Value, at: usize) -> Result<f64> {
    let x = value.contiguous()?;
    Ok(dispatch!(x.dtype(), T => Element::to_f64(x.slice::<T>()[at])))
}

/// The indices of an element that is counted in row-major order.
fn place(shape: &Shape, mut at: usize) -> Vec<usize> {
    let mut indices = vec![0; shape.len()];
    for (index, &size) in indices.iter_mut().zip(shape.iter()).rev() {
        (*index, at) = (at % size.max(1), at / size.max(1));
    }
    indices
}
