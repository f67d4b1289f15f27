//! Softshrink.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `x` moved towards 0 by `lambd`, and 0 where that would pass 0. PyTorch: `torch.nn.Softshrink`.
///
/// ```
/// use gabor_nn::{Forward, Softshrink};
/// use tensor::Tensor;
/// assert_eq!(Softshrink::new(0.5).forward(&Tensor::new([0.5f32, 1.0])?)?.to_vec::<f32>()?, [0.0, 0.5]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Softshrink {
    /// The way towards 0; 0.5 by default.
    pub lambd: f64,
}

impl Softshrink {
    /// With `lambd`.
    pub fn new(lambd: f64) -> Self {
        Softshrink { lambd }
    }
}

impl Default for Softshrink {
    fn default() -> Self {
        Self::new(0.5)
    }
}

impl Module for Softshrink {}

impl Forward for Softshrink {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::softshrink(x, self.lambd)
    }
}
