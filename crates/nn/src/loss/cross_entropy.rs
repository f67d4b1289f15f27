//! The cross entropy of classes or probabilities, given logits.

use tensor::{Error, Lint, Result, State, Tensor};

use super::nll::{Picked, check_weight, class_axis};
use super::{Reduction, lint};
use crate::Module;

/// The mean of `-log(softmax(logits)[target])`; targets of -100 are left out. `logits` is `[N, C, ...]`; `target` holds
/// classes, `[N, ...]`, or probabilities in the shape of the logits.
///
/// ```
/// use gabor_nn::functional::cross_entropy;
/// use tensor::Tensor;
/// let loss = cross_entropy(&Tensor::zeros([4, 10])?, &Tensor::new([0i64, 1, 2, 3])?)?;
/// assert!((loss.item()? - 10f64.ln()).abs() < 1e-6);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// As [`CrossEntropyLoss::forward`].
#[track_caller]
pub fn cross_entropy(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    CrossEntropyLoss::new().forward(logits, target)
}

/// `-sum over c of weight[c] * target[c] * log(softmax(logits)[c])`. PyTorch: `torch.nn.CrossEntropyLoss`.
///
/// ```
/// use gabor_nn::CrossEntropyLoss;
/// use tensor::Tensor;
/// let loss = CrossEntropyLoss::new().weight(Tensor::new([1f32, 2.0])?).label_smoothing(0.1);
/// let l = loss.forward(&Tensor::zeros([1, 2])?, &Tensor::new([1i64])?)?;
/// assert!((l.item()? - 2f64.ln() * (0.9 + 0.05 * 1.5)).abs() < 1e-6);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct CrossEntropyLoss {
    weight: Option<State>,
    ignore_index: i64,
    #[module(skip)]
    reduction: Reduction,
    label_smoothing: f64,
}

impl Default for CrossEntropyLoss {
    fn default() -> Self {
        CrossEntropyLoss { weight: None, ignore_index: -100, reduction: Reduction::Mean, label_smoothing: 0.0 }
    }
}

impl CrossEntropyLoss {
    /// Without weights and smoothing, leaving out targets of -100, with the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a weight for each class.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.weight = Some(State::new(weight));
        self
    }

    /// Sets the class target that is left out.
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

    /// Sets the share of each target that is spread evenly over all classes.
    #[must_use]
    pub fn label_smoothing(mut self, share: f64) -> Self {
        self.label_smoothing = share;
        self
    }

    /// The loss for logits `[N, C, ...]` and classes `[N, ...]`, or probabilities `[N, C, ...]`; `N` may be left out.
    ///
    /// # Errors
    /// The shapes do not fit, a target is not a class, the weights are not one for each class, `label_smoothing` is not from 0
    /// to 1, or `ignore_index` is set with probabilities.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor, target: &Tensor) -> Result<Tensor> {
        let (op, smoothing) = ("cross_entropy", self.label_smoothing);
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Error::argument(op, format!("label_smoothing is {smoothing}; it must be from 0 to 1")));
        }
        let (axis, classes) = class_axis(op, logits)?;
        lint::probabilities(Lint::SoftmaxTwice, op, logits, axis)?;
        let weight = self.weight.as_ref().map(State::tensor);
        if target.shape() == logits.shape() {
            check_weight(op, logits, weight.as_ref(), classes)?;
            return self.of_probabilities(logits, target, weight.as_ref());
        }
        let picked = Picked::new(op, logits, target, weight.as_ref(), self.ignore_index)?;
        if smoothing == 0.0 {
            return picked.cross_entropy(logits, self.reduction);
        }
        let log_probabilities = logits.log_softmax(axis as isize)?;
        let nll = picked.nll(&log_probabilities, self.reduction)?;
        let weighted = along_classes(&log_probabilities, weight.as_ref(), axis)?;
        let losses = picked.kept(&weighted.sum_dim(axis as isize, false)?.neg()?)?;
        let even = picked.reduce(&losses, self.reduction)?;
        nll.mul_scalar(1.0 - smoothing)?.add(&even.mul_scalar(smoothing / classes as f64)?)
    }

    #[track_caller]
    fn of_probabilities(&self, logits: &Tensor, target: &Tensor, weight: Option<&Tensor>) -> Result<Tensor> {
        let op = "cross_entropy";
        if !target.dtype().is_float() {
            let message = format!(
                "targets have the shape of the logits {:?}, so they are read as probabilities, but they are {}; convert one-hot \
                 rows with to_dtype, or give classes without the dimension of the classes",
                logits.shape(),
                target.dtype()
            );
            return Err(Error::argument(op, message));
        }
        if target.dtype() != logits.dtype() {
            return Err(Error::DTypes { op, lhs: logits.dtype(), rhs: target.dtype() });
        }
        if self.ignore_index >= 0 {
            let message =
                format!("ignore_index is {} and the targets are probabilities; it needs classes", self.ignore_index);
            return Err(Error::argument(op, message));
        }
        let (axis, classes) = class_axis(op, logits)?;
        let smoothing = self.label_smoothing;
        let target = match smoothing {
            0.0 => target.clone(),
            s => target.mul_scalar(1.0 - s)?.add_scalar(s / classes as f64)?,
        };
        let products = logits.log_softmax(axis as isize)?.mul(&target)?;
        let products = along_classes(&products, weight, axis)?;
        match self.reduction {
            Reduction::None => products.sum_dim(axis as isize, false)?.neg(),
            Reduction::Sum => products.sum()?.neg(),
            Reduction::Mean => products.sum()?.div_scalar(-(logits.numel() as f64 / classes as f64)),
        }
    }
}

/// Each class times its weight.
#[track_caller]
fn along_classes(x: &Tensor, weight: Option<&Tensor>, axis: usize) -> Result<Tensor> {
    let Some(weight) = weight else { return Ok(x.clone()) };
    let mut shape = vec![1; x.rank()];
    shape[axis] = weight.numel();
    x.mul(&weight.reshape(&shape[..])?)
}
