//! Losses of distances: squared, absolute, and two that change from one to the other.

use tensor::{Error, Lint, Result, Tensor, warn_once};

use super::Reduction;
use crate::Module;

/// The mean of `(input - target)^2`; both are broadcast.
///
/// ```
/// use gabor_nn::functional::mse_loss;
/// use tensor::Tensor;
/// assert_eq!(mse_loss(&Tensor::new([1f32, 3.0])?, &Tensor::new([0f32, 0.0])?)?.item()?, 5.0);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The shapes do not broadcast, or the dtypes differ.
#[track_caller]
pub fn mse_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    MSELoss::new().forward(input, target)
}

/// The mean of `|input - target|`; both are broadcast.
///
/// # Errors
/// The shapes do not broadcast, or the dtypes differ.
#[track_caller]
pub fn l1_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    L1Loss::new().forward(input, target)
}

/// The mean of [`SmoothL1Loss`] with beta 1.
///
/// # Errors
/// The shapes do not broadcast, or the dtypes differ.
#[track_caller]
pub fn smooth_l1_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    SmoothL1Loss::new().forward(input, target)
}

/// The mean of [`HuberLoss`] with delta 1.
///
/// # Errors
/// The shapes do not broadcast, or the dtypes differ.
#[track_caller]
pub fn huber_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    HuberLoss::new().forward(input, target)
}

/// `(input - target)^2`. PyTorch: `torch.nn.MSELoss`.
///
/// ```
/// use gabor_nn::{MSELoss, Reduction};
/// use tensor::Tensor;
/// let loss = MSELoss::new().reduction(Reduction::Sum);
/// assert_eq!(loss.forward(&Tensor::new([1f32, 3.0])?, &Tensor::new([0f32, 0.0])?)?.item()?, 10.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MSELoss {
    reduction: Reduction,
}

impl MSELoss {
    /// With the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss; both are broadcast.
    ///
    /// # Errors
    /// The shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        self.reduction.of(&distance("mse_loss", input, target)?.square()?)
    }
}

/// `|input - target|`. PyTorch: `torch.nn.L1Loss`.
#[derive(Clone, Copy, Debug, Default)]
pub struct L1Loss {
    reduction: Reduction,
}

impl L1Loss {
    /// With the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss; both are broadcast.
    ///
    /// # Errors
    /// The shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        self.reduction.of(&distance("l1_loss", input, target)?.abs()?)
    }
}

/// `d^2 / (2 beta)` where the distance `d` is below `beta`, else `d - beta / 2`. PyTorch: `torch.nn.SmoothL1Loss`.
///
/// ```
/// use gabor_nn::{Reduction, SmoothL1Loss};
/// use tensor::Tensor;
/// let loss = SmoothL1Loss::new().reduction(Reduction::None).beta(2.0);
/// let losses = loss.forward(&Tensor::new([1f32, 4.0])?, &Tensor::new([0f32, 0.0])?)?;
/// assert_eq!(losses.to_vec::<f32>()?, [0.25, 3.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SmoothL1Loss {
    reduction: Reduction,
    beta: f64,
}

impl Default for SmoothL1Loss {
    fn default() -> Self {
        SmoothL1Loss { reduction: Reduction::Mean, beta: 1.0 }
    }
}

impl SmoothL1Loss {
    /// With the mean and beta 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Sets the distance at which it becomes straight; 0 makes it the absolute distance.
    #[must_use]
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// The loss; both are broadcast.
    ///
    /// # Errors
    /// `beta` is negative or NaN, the shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let op = "smooth_l1_loss";
        if self.beta.is_nan() || self.beta < 0.0 {
            return Err(Error::argument(op, format!("beta is {}; it must be at least 0", self.beta)));
        }
        let distance = distance(op, input, target)?.abs()?;
        if self.beta == 0.0 {
            return self.reduction.of(&distance);
        }
        self.reduction.of(&bent(&distance, self.beta)?.div_scalar(self.beta)?)
    }
}

/// `d^2 / 2` where the distance `d` is at most `delta`, else `delta * (d - delta / 2)`. PyTorch: `torch.nn.HuberLoss`.
#[derive(Clone, Copy, Debug)]
pub struct HuberLoss {
    reduction: Reduction,
    delta: f64,
}

impl Default for HuberLoss {
    fn default() -> Self {
        HuberLoss { reduction: Reduction::Mean, delta: 1.0 }
    }
}

impl HuberLoss {
    /// With the mean and delta 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Sets the distance at which it becomes straight.
    #[must_use]
    pub fn delta(mut self, delta: f64) -> Self {
        self.delta = delta;
        self
    }

    /// The loss; both are broadcast.
    ///
    /// # Errors
    /// `delta` is not positive, the shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let op = "huber_loss";
        if self.delta.is_nan() || self.delta <= 0.0 {
            return Err(Error::argument(op, format!("delta is {}; it must be above 0", self.delta)));
        }
        self.reduction.of(&bent(&distance(op, input, target)?.abs()?, self.delta)?)
    }
}

impl Module for MSELoss {}
impl Module for L1Loss {}
impl Module for SmoothL1Loss {}
impl Module for HuberLoss {}

#[track_caller]
fn distance(op: &'static str, input: &Tensor, target: &Tensor) -> Result<Tensor> {
    if !input.dtype().is_float() {
        return Err(Error::DType { op, dtype: input.dtype(), expected: "f32 or f64" });
    }
    if input.shape() != target.shape() {
        warn_once(Lint::TargetBroadcast, || {
            let (input, target) = (input.shape(), target.shape());
            format!(
                "{op}: input {input:?} and target {target:?} differ and are broadcast; reshape one if each has a partner"
            )
        });
    }
    input.sub(target).map_err(|error| match error {
        Error::Broadcast { lhs, rhs, .. } => Error::Broadcast { op, lhs, rhs },
        Error::DTypes { lhs, rhs, .. } => Error::DTypes { op, lhs, rhs },
        other => other,
    })
}

/// `d^2 / 2` up to `d = at`, then straight on: `m * (d - m / 2)` with `m = min(d, at)`.
#[track_caller]
fn bent(d: &Tensor, at: f64) -> Result<Tensor> {
    let low = d.clamp(None, Some(at))?;
    low.mul(&d.sub(&low.mul_scalar(0.5)?)?)
}
