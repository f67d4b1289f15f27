//! LogSoftmax.

use tensor::{Result, Tensor};

use crate::label::called;
use crate::{Forward, Module};

/// `log(exp(x) / sum(exp(x)))` along `dim`, computed without overflow. PyTorch: `torch.nn.LogSoftmax`.
///
/// ```
/// use gabor_nn::{Forward, LogSoftmax};
/// use tensor::Tensor;
/// let y = LogSoftmax::new(1).forward(&Tensor::zeros([3, 1])?)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0; 3]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LogSoftmax {
    /// The dimension of the classes; negative ones count from the end.
    pub dim: isize,
}

impl LogSoftmax {
    /// Along `dim`.
    pub fn new(dim: isize) -> Self {
        LogSoftmax { dim }
    }
}

impl Module for LogSoftmax {}

impl Forward for LogSoftmax {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        called(x.log_softmax(self.dim))
    }
}
