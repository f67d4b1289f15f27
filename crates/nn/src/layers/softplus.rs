//! Softplus.

use tensor::{Error, Result, Tensor};

use crate::{Forward, Module};

/// `log(1 + exp(beta * x)) / beta`, and `x` where `beta * x` is above `threshold`. PyTorch: `torch.nn.Softplus`.
///
/// ```
/// use gabor_nn::{Forward, Softplus};
/// use tensor::Tensor;
/// assert_eq!(Softplus::new().forward(&Tensor::new([30f32])?)?.item()?, 30.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Softplus {
    /// How sharp the bend is; 1 by default.
    pub beta: f64,
    /// Where it becomes the identity; 20 by default.
    pub threshold: f64,
}

impl Softplus {
    /// `beta` 1, `threshold` 20.
    pub fn new() -> Self {
        Softplus { beta: 1.0, threshold: 20.0 }
    }

    /// Sets how sharp the bend is.
    #[must_use]
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// Sets where it becomes the identity.
    #[must_use]
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }
}

impl Default for Softplus {
    fn default() -> Self {
        Self::new()
    }
}

impl Module for Softplus {}

impl Forward for Softplus {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check()?;
        x.softplus(self.beta, self.threshold)
    }

    fn check(&self) -> Result<()> {
        if self.beta == 0.0 || self.beta.is_nan() || self.threshold.is_nan() {
            let message = format!(
                "beta is {} and threshold {}; beta must not be 0, both must be numbers",
                self.beta, self.threshold
            );
            return Err(Error::argument("softplus", message));
        }
        Ok(())
    }
}
