//! CELU.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`. PyTorch: `torch.nn.CELU`.
///
/// ```
/// use gabor_nn::{Forward, CELU};
/// use tensor::Tensor;
/// assert_eq!(CELU::new(2.0).forward(&Tensor::new([-50f32, 3.0])?)?.to_vec::<f32>()?, [-2.0, 3.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CELU {
    /// How far below 0 the result goes; 1 by default.
    pub alpha: f64,
}

impl CELU {
    /// With `alpha`.
    pub fn new(alpha: f64) -> Self {
        CELU { alpha }
    }
}

impl Default for CELU {
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl Module for CELU {}

impl Forward for CELU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::celu(x, self.alpha)
    }
}
