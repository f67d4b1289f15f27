//! Losses between distributions: divergence, Poisson and Gaussian likelihoods.

use tensor::{Error, Result, Tensor};

use super::Reduction;
use super::margin::checked;
use crate::Module;

/// The mean of `target * (log(target) - input)`.
///
/// # Errors
/// As [`KLDivLoss::forward`].
#[track_caller]
pub fn kl_div(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    KLDivLoss::new().forward(input, target)
}

/// `target * (log(target) - input)` with `input` the logarithm of a probability: the divergence from `input` to `target`. PyTorch: `torch.nn.KLDivLoss`.
///
/// ```
/// use gabor_nn::KLDivLoss;
/// use tensor::Tensor;
/// let (input, target) = (Tensor::new([[0.5f32.ln(), 0.5f32.ln()]])?, Tensor::new([[1f32, 0.0]])?);
/// let loss = KLDivLoss::new().batch_mean().forward(&input, &target)?;
/// assert!((loss.item()? - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct KLDivLoss {
    log_target: bool,
    batch_mean: bool,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for KLDivLoss {
    fn default() -> Self {
        KLDivLoss { log_target: false, batch_mean: false, reduction: Reduction::Mean }
    }
}

impl KLDivLoss {
    /// For targets that are probabilities, with the mean of all elements; see [`batch_mean`](Self::batch_mean).
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the target is a logarithm too.
    #[must_use]
    pub fn log_target(mut self, log_target: bool) -> Self {
        self.log_target = log_target;
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Divides the sum by the number of rows alone, as the divergence is defined (`reduction="batchmean"` in PyTorch).
    #[must_use]
    pub fn batch_mean(mut self) -> Self {
        self.batch_mean = true;
        self
    }

    /// The loss; both are broadcast.
    ///
    /// # Errors
    /// The shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        checked("kl_div", &[input, target])?;
        let losses = if self.log_target {
            target.exp()?.mul(&target.sub(input)?)?
        } else {
            // 0 log(0) is 0.
            let log = target.masked_fill(&target.detach().eq_scalar(0.0)?, 1.0)?.log()?;
            target.mul(&log)?.sub(&target.mul(input)?)?
        };
        if self.batch_mean {
            return losses.sum()?.div_scalar(input.dims().first().copied().unwrap_or(1) as f64);
        }
        self.reduction.of(&losses)
    }
}

/// The mean of `exp(input) - target * input`.
///
/// # Errors
/// As [`PoissonNLLLoss::forward`].
#[track_caller]
pub fn poisson_nll_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    PoissonNLLLoss::new().forward(input, target)
}

/// `exp(input) - target * input`: the negative log likelihood of counts, given the logarithms of their expected values. PyTorch: `torch.nn.PoissonNLLLoss`.
///
/// ```
/// use gabor_nn::PoissonNLLLoss;
/// use tensor::Tensor;
/// let loss = PoissonNLLLoss::new().forward(&Tensor::new([0f32])?, &Tensor::new([3f32])?)?;
/// assert_eq!(loss.item()?, 1.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct PoissonNLLLoss {
    log_input: bool,
    full: bool,
    eps: f64,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for PoissonNLLLoss {
    fn default() -> Self {
        PoissonNLLLoss { log_input: true, full: false, eps: 1e-8, reduction: Reduction::Mean }
    }
}

impl PoissonNLLLoss {
    /// For inputs that are logarithms, without the term of the target alone, with the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the input is a logarithm (`true` unless set).
    #[must_use]
    pub fn log_input(mut self, log_input: bool) -> Self {
        self.log_input = log_input;
        self
    }

    /// Sets whether Stirling's term for the factorial of the target is added.
    #[must_use]
    pub fn full(mut self, full: bool) -> Self {
        self.full = full;
        self
    }

    /// Sets what keeps the logarithm of the input from 0, if it is no logarithm.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
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
        checked("poisson_nll_loss", &[input, target])?;
        let mut losses = if self.log_input {
            input.exp()?.sub(&target.mul(input)?)?
        } else {
            input.sub(&target.mul(&input.add_scalar(self.eps)?.log()?)?)?
        };
        if self.full {
            // t log(t) - t + log(2 pi t) / 2, from 1 on.
            let large = target.detach().gt_scalar(1.0)?;
            let t = target.masked_fill(&large.logical_not()?, 1.0)?;
            let half = t.mul_scalar(std::f64::consts::TAU)?.log()?.mul_scalar(0.5)?;
            let term = t.mul(&t.log()?)?.sub(&t)?.add(&half)?.masked_fill(&large.logical_not()?, 0.0)?;
            losses = losses.add(&term)?;
        }
        self.reduction.of(&losses)
    }
}

/// The mean of `(log(var) + (input - target)^2 / var) / 2`.
///
/// # Errors
/// As [`GaussianNLLLoss::forward`].
#[track_caller]
pub fn gaussian_nll_loss(input: &Tensor, target: &Tensor, var: &Tensor) -> Result<Tensor> {
    GaussianNLLLoss::new().forward(input, target, var)
}

/// `(log(var) + (input - target)^2 / var) / 2`: the negative log likelihood of normal distributions. PyTorch: `torch.nn.GaussianNLLLoss`.
///
/// ```
/// use gabor_nn::GaussianNLLLoss;
/// use tensor::Tensor;
/// let one = Tensor::ones([1])?;
/// let loss = GaussianNLLLoss::new().forward(&Tensor::new([3f32])?, &one, &one)?;
/// assert_eq!(loss.item()?, 2.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct GaussianNLLLoss {
    full: bool,
    eps: f64,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for GaussianNLLLoss {
    fn default() -> Self {
        GaussianNLLLoss { full: false, eps: 1e-6, reduction: Reduction::Mean }
    }
}

impl GaussianNLLLoss {
    /// Without the constant, with variances of at least 1e-6, with the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the constant `log(2 pi) / 2` is added.
    #[must_use]
    pub fn full(mut self, full: bool) -> Self {
        self.full = full;
        self
    }

    /// Sets the least variance.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss; `var` has the shape of the input, or 1 in its last dimension, or lacks that.
    ///
    /// # Errors
    /// The shapes do not fit, the dtypes differ, or a variance is negative.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor, var: &Tensor) -> Result<Tensor> {
        let op = "gaussian_nll_loss";
        checked(op, &[input, target, var])?;
        let (rank, lacks) = (input.rank(), input.rank() == var.rank() + 1);
        let var = if lacks { var.unsqueeze(-1)? } else { var.clone() };
        let leading = rank.saturating_sub(1);
        let fits = var.rank() == rank
            && var.dims()[..leading] == input.dims()[..leading]
            && (rank == 0 || var.dims()[leading] == input.dims()[leading] || var.dims()[leading] == 1);
        if !fits {
            let message = format!(
                "var has shape {:?} and input {:?}; one variance for each, or for each row",
                var.shape(),
                input.shape()
            );
            return Err(Error::shape(op, message));
        }
        if var.detach().lt_scalar(0.0)?.to_vec::<bool>()?.contains(&true) {
            return Err(Error::argument(op, "a variance is below 0; let softplus or exp make it"));
        }
        // As in PyTorch the gradient does not see that small variances are raised.
        let plain = var.detach();
        let var = var.add(&plain.clamp(Some(self.eps), None)?.sub(&plain)?)?;
        let losses = var.log()?.add(&input.sub(target)?.square()?.div(&var)?)?.mul_scalar(0.5)?;
        let constant = if self.full { std::f64::consts::TAU.ln() / 2.0 } else { 0.0 };
        self.reduction.of(&losses.add_scalar(constant)?)
    }
}
