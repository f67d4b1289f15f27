//! LeakyReLU.

use tensor::{Error, Result, Tensor};

use crate::{Forward, Module};

/// `x` where it is positive, else `negative_slope * x`. PyTorch: `torch.nn.LeakyReLU`.
///
/// ```
/// use gabor_nn::{Forward, LeakyReLU};
/// use tensor::Tensor;
/// let layer = LeakyReLU::new(0.5);
/// assert_eq!(layer.forward(&Tensor::new([-1f32, 2.0])?)?.to_vec::<f32>()?, [-0.5, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LeakyReLU {
    /// The slope below 0; 0.01 by default.
    pub negative_slope: f64,
}

impl LeakyReLU {
    /// A rectifier with this slope below 0.
    pub fn new(negative_slope: f64) -> Self {
        LeakyReLU { negative_slope }
    }
}

impl Default for LeakyReLU {
    fn default() -> Self {
        Self::new(0.01)
    }
}

impl Module for LeakyReLU {}

impl Forward for LeakyReLU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check()?;
        x.leaky_relu(self.negative_slope)
    }

    fn check(&self) -> Result<()> {
        if self.negative_slope.is_nan() {
            return Err(Error::argument("leaky_relu", "negative_slope is NaN; it must be a number"));
        }
        Ok(())
    }

    fn per_image(&self) -> bool {
        true
    }
}
