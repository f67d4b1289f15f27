//! Hardshrink.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// 0 from `-lambd` to `lambd`, `x` elsewhere. PyTorch: `torch.nn.Hardshrink`.
///
/// ```
/// use gabor_nn::{Forward, Hardshrink};
/// use tensor::Tensor;
/// assert_eq!(Hardshrink::new(0.5).forward(&Tensor::new([0.5f32, 1.0])?)?.to_vec::<f32>()?, [0.0, 1.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Hardshrink {
    /// What counts as 0; 0.5 by default.
    pub lambd: f64,
}

impl Hardshrink {
    /// With `lambd`.
    pub fn new(lambd: f64) -> Self {
        Hardshrink { lambd }
    }
}

impl Default for Hardshrink {
    fn default() -> Self {
        Self::new(0.5)
    }
}

impl Module for Hardshrink {}

impl Forward for Hardshrink {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::hardshrink(x, self.lambd)
    }
}
