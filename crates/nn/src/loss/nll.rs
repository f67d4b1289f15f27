//! The negative log likelihood: the loss of classes, given the logarithms of their probabilities.

use tensor::{DType, Error, Lint, Result, State, Tensor, is_anomaly_enabled, unrecorded};

use super::{Reduction, lint};
use crate::Module;

/// The mean of `-input[n, target[n]]`; targets of -100 are left out.
///
/// # Errors
/// As [`NLLLoss::forward`].
#[track_caller]
pub fn nll_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    NLLLoss::new().forward(input, target)
}

/// `-weight[c] * input[n, c, ...]` with `c = target[n, ...]`. PyTorch: `torch.nn.NLLLoss`.
///
/// The mean divides by the sum of the weights of the targets.
///
/// ```
/// use gabor_nn::NLLLoss;
/// use tensor::Tensor;
/// let log_probabilities = Tensor::new([[-1f32, -2.0], [-3.0, -4.0]])?;
/// assert_eq!(NLLLoss::new().forward(&log_probabilities, &Tensor::new([0i64, 1])?)?.item()?, 2.5);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct NLLLoss {
    weight: Option<State>,
    ignore_index: i64,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for NLLLoss {
    fn default() -> Self {
        NLLLoss { weight: None, ignore_index: -100, reduction: Reduction::Mean }
    }
}

impl NLLLoss {
    /// Without weights, leaving out targets of -100, with the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a weight for each class.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.weight = Some(State::new(weight));
        self
    }

    /// Sets the target that is left out.
    #[must_use]
    pub fn ignore_index(mut self, index: i64) -> Self {
        self.ignore_index = index;
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss for `[N, C, ...]` and targets `[N, ...]`, or `[C]` and a scalar.
    ///
    /// # Errors
    /// The shapes do not fit, a target is not a class, or the weights are not one for each class.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let weight = self.weight.as_ref().map(State::tensor);
        let picked = Picked::new("nll_loss", input, target, weight.as_ref(), self.ignore_index)?;
        lint::probabilities(Lint::NoLogarithm, "nll_loss", input, picked.axis as usize)?;
        picked.nll(input, self.reduction)
    }
}

/// Which class each sample asks for, and how much it counts.
pub(super) struct Picked {
    op: &'static str,
    ignore_index: i64,
    /// The dimension of the classes.
    pub(super) axis: isize,
    /// The classes; 0 where the target is left out.
    classes: Tensor,
    /// The weight of each target, in the shape of the targets, 0 where it is left out; `None` if all are 1.
    pub(super) weights: Option<Tensor>,
    /// Where the target is left out, if anywhere.
    pub(super) ignored: Option<Tensor>,
}

impl Picked {
    pub(super) fn new(
        op: &'static str,
        input: &Tensor,
        target: &Tensor,
        weight: Option<&Tensor>,
        ignore_index: i64,
    ) -> Result<Picked> {
        let (axis, classes) = class_axis(op, input)?;
        let mut expected = input.dims().to_vec();
        expected.remove(axis);
        if target.dims() != expected {
            let message = match (expected.as_slice(), target.dims()) {
                ([n], [m]) => {
                    format!(
                        "logits are {:?} ({n} samples) but there are {m} targets; take both from one batch",
                        input.shape()
                    )
                }
                ([n], [m, 1]) if n == m => {
                    format!(
                        "targets have shape {:?}, expected {expected:?}; take the last dimension away with squeeze(1)",
                        target.shape()
                    )
                }
                _ => {
                    let other = if op == "cross_entropy" { ", or that of the logits for probabilities" } else { "" };
                    format!(
                        "targets have shape {:?} and logits {:?}; expected {expected:?}{other}",
                        target.shape(),
                        input.shape()
                    )
                }
            };
            return Err(Error::shape(op, message));
        }
        if !matches!(target.dtype(), DType::I64 | DType::U8) {
            return Err(wrong_targets(op, input, target));
        }
        check_weight(op, input, weight, classes)?;
        let targets = target.to_dtype(DType::I64)?;
        let look = |t: &[i64]| {
            let valid = |t: i64| (0..classes as i64).contains(&t);
            let wrong = t.iter().position(|&t| !valid(t) && t != ignore_index).map(|i| (i, t[i]));
            (t.iter().all(|&t| t != ignore_index), wrong)
        };
        // A step that is repeated finds out itself if there is another target than the classes.
        let (clean, wrong) = unrecorded(|| targets.with_slice(look))?;
        if let Some((position, class)) = wrong {
            let last = classes.saturating_sub(1);
            let hint = match class {
                c if c == classes as i64 => "; do the labels start at 1?",
                c if c < 0 => "; to leave samples out, set ignore_index",
                _ => "; has the last layer an output for each class?",
            };
            let message =
                format!("target {class} at position {position} is not one of {classes} classes (0 to {last}){hint}");
            return Err(Error::argument(op, message));
        }
        if !clean && input.numel() > 0 {
            lint::no_targets(op, &targets, ignore_index)?;
        }
        let ignored = if clean { None } else { Some(targets.eq_scalar(ignore_index as f64)?) };
        let safe = ignored.as_ref().map_or_else(|| Ok(targets.clone()), |i| targets.masked_fill(i, 0.0))?;
        let mut weights = match weight {
            Some(weight) => Some(weight.detach().index_select(0, &safe.reshape(-1)?)?.reshape(target.shape())?),
            None if ignored.is_some() => Some(Tensor::ones(target.shape())?.to_dtype(input.dtype())?),
            None => None,
        };
        if let (Some(weights), Some(ignored)) = (&mut weights, &ignored) {
            *weights = weights.masked_fill(ignored, 0.0)?;
        }
        Ok(Picked { op, ignore_index, axis: axis as isize, classes: safe, weights, ignored })
    }

    /// The losses of the picked classes, reduced.
    #[track_caller]
    pub(super) fn nll(&self, input: &Tensor, reduction: Reduction) -> Result<Tensor> {
        self.something_counts(reduction)?;
        let index = self.classes.unsqueeze(self.axis)?;
        self.weighed(&input.gather(self.axis, &index)?.squeeze(self.axis)?.neg()?, reduction)
    }

    /// The losses of the picked classes for logits, reduced: [`nll`](Self::nll) of their `log_softmax`.
    #[track_caller]
    pub(super) fn cross_entropy(&self, logits: &Tensor, reduction: Reduction) -> Result<Tensor> {
        self.something_counts(reduction)?;
        self.weighed(&logits.class_losses(self.axis, &self.classes)?, reduction)
    }

    #[track_caller]
    fn weighed(&self, losses: &Tensor, reduction: Reduction) -> Result<Tensor> {
        let Some(weights) = &self.weights else { return reduction.of(losses) };
        self.reduce(&self.kept(&losses.mul(weights)?)?, reduction)
    }

    /// In anomaly mode, a mean over no target at all says why it is NaN.
    fn something_counts(&self, reduction: Reduction) -> Result<()> {
        if !is_anomaly_enabled() || !matches!(reduction, Reduction::Mean) {
            return Ok(());
        }
        let targets = self.classes.numel();
        let left = match &self.ignored {
            Some(ignored) => targets - ignored.sum()?.item_as::<i64>()? as usize,
            None => targets,
        };
        let message = match (targets, left) {
            (0, _) => "there are no targets, so the mean is 0 / 0; skip empty batches".to_owned(),
            (n, 0) => format!(
                "all {n} targets equal ignore_index {}, so the mean is 0 / 0; skip such batches or check the labels",
                self.ignore_index
            ),
            _ => return Ok(()),
        };
        Err(Error::Anomaly { op: self.op.into(), message })
    }

    /// 0 where the target is left out: even infinite losses do not count there.
    #[track_caller]
    pub(super) fn kept(&self, losses: &Tensor) -> Result<Tensor> {
        self.ignored.as_ref().map_or_else(|| Ok(losses.clone()), |ignored| losses.masked_fill(ignored, 0.0))
    }

    /// The mean divides by the weights of the targets.
    #[track_caller]
    pub(super) fn reduce(&self, losses: &Tensor, reduction: Reduction) -> Result<Tensor> {
        match (reduction, &self.weights) {
            (Reduction::Mean, Some(weights)) => losses.sum()?.div(&weights.sum()?),
            _ => reduction.of(losses),
        }
    }
}

#[cold]
fn wrong_targets(op: &'static str, input: &Tensor, target: &Tensor) -> Error {
    let other = match op {
        "cross_entropy" => format!(", or give probabilities of shape {:?}", input.shape()),
        _ => String::new(),
    };
    let message = format!(
        "targets are {} of shape {:?}, expected classes of type i64 or u8; convert with to_dtype(DType::I64){other}",
        target.dtype(),
        target.shape()
    );
    Error::argument(op, message)
}

/// The dimension of the classes and their number.
pub(super) fn class_axis(op: &'static str, input: &Tensor) -> Result<(usize, usize)> {
    if !input.dtype().is_float() {
        return Err(Error::DType { op, dtype: input.dtype(), expected: "f32 or f64 logits" });
    }
    match *input.dims() {
        [] => Err(Error::shape(op, "logits are a scalar; expected [C] or [N, C, ...]")),
        [classes] => Ok((0, classes)),
        [_, classes, ..] => Ok((1, classes)),
    }
}

pub(super) fn check_weight(op: &'static str, input: &Tensor, weight: Option<&Tensor>, classes: usize) -> Result<()> {
    let Some(weight) = weight else { return Ok(()) };
    if weight.dims() != [classes] {
        let message = format!("weight has shape {:?}; expected [{classes}], one for each class", weight.shape());
        return Err(Error::shape(op, message));
    }
    if weight.dtype() != input.dtype() {
        return Err(Error::DTypes { op, lhs: input.dtype(), rhs: weight.dtype() });
    }
    Ok(())
}
