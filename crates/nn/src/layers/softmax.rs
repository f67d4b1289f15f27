//! Softmax.

use tensor::{Result, Tensor};

use crate::label::called;
use crate::{Forward, Module};

/// `exp(x) / sum(exp(x))` along `dim`. PyTorch: `torch.nn.Softmax`.
///
/// ```
/// use gabor_nn::{Forward, Softmax};
/// use tensor::Tensor;
/// let y = Softmax::new(1).forward(&Tensor::zeros([3, 1])?)?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0; 3]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    /// The dimension of the classes; negative ones count from the end.
    pub dim: isize,
}

impl Softmax {
    /// Along `dim`.
    pub fn new(dim: isize) -> Self {
        Softmax { dim }
    }
}

impl Module for Softmax {}

impl Forward for Softmax {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        called(x.softmax(self.dim))
    }
}
