//! ELU.

use tensor::{Error, Result, Tensor};

use crate::{Forward, Module};

/// `x` where it is positive, else `alpha * (exp(x) - 1)`. PyTorch: `torch.nn.ELU`.
///
/// ```
/// use gabor_nn::{ELU, Forward};
/// use tensor::Tensor;
/// assert_eq!(ELU::new(1.0).forward(&Tensor::new([0f32, 2.0])?)?.to_vec::<f32>()?, [0.0, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ELU {
    /// How far below 0 the result goes; 1 by default.
    pub alpha: f64,
}

impl ELU {
    /// A unit that goes down to `-alpha`.
    pub fn new(alpha: f64) -> Self {
        ELU { alpha }
    }
}

impl Default for ELU {
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl Module for ELU {}

impl Forward for ELU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check()?;
        x.elu(self.alpha)
    }

    fn check(&self) -> Result<()> {
        if self.alpha.is_nan() {
            return Err(Error::argument("elu", "alpha is NaN; it must be a number"));
        }
        Ok(())
    }

    fn per_image(&self) -> bool {
        true
    }
}
