//! SELU.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `scale * elu(x, alpha)` with the numbers that keep mean 0 and variance 1. PyTorch: `torch.nn.SELU`.
///
/// ```
/// use gabor_nn::{Forward, SELU};
/// use tensor::Tensor;
/// assert_eq!(SELU.forward(&Tensor::new([0f32, 1.0])?)?.to_vec::<f32>()?, [0.0, 1.050701]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SELU;

impl Module for SELU {}

impl Forward for SELU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::selu(x)
    }
}
