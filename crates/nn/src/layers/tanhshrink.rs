//! Tanhshrink.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `x - tanh(x)`, element by element. PyTorch: `torch.nn.Tanhshrink`.
///
/// ```
/// use gabor_nn::{Forward, Tanhshrink};
/// use tensor::Tensor;
/// assert_eq!(Tanhshrink.forward(&Tensor::new([0f32, 25.0])?)?.to_vec::<f32>()?, [0.0, 24.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tanhshrink;

impl Module for Tanhshrink {}

impl Forward for Tanhshrink {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::tanhshrink(x)
    }
}
