//! GLU.

use tensor::{Result, Tensor};

use crate::label::called;
use crate::{Forward, Module, functional};

/// `a * sigmoid(b)` with the halves `a` and `b` of `x` along `dim`. PyTorch: `torch.nn.GLU`.
///
/// ```
/// use gabor_nn::{Forward, GLU};
/// use tensor::Tensor;
/// assert_eq!(GLU::new(-1).forward(&Tensor::new([4f32, 0.0])?)?.to_vec::<f32>()?, [2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GLU {
    /// The dimension that is cut into halves; the last by default.
    pub dim: isize,
}

impl GLU {
    /// With `dim`.
    pub fn new(dim: isize) -> Self {
        GLU { dim }
    }
}

impl Default for GLU {
    fn default() -> Self {
        Self::new(-1)
    }
}

impl Module for GLU {}

impl Forward for GLU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        called(functional::glu(x, self.dim))
    }
}
