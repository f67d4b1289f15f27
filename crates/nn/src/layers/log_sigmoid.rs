//! LogSigmoid.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `log(1 / (1 + exp(-x)))`, element by element, without overflow. PyTorch: `torch.nn.LogSigmoid`.
///
/// ```
/// use gabor_nn::{Forward, LogSigmoid};
/// use tensor::Tensor;
/// assert_eq!(LogSigmoid.forward(&Tensor::new([-1000f32])?)?.item()?, -1000.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LogSigmoid;

impl Module for LogSigmoid {}

impl Forward for LogSigmoid {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::logsigmoid(x)
    }
}
