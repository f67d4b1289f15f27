//! Mish.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `x * tanh(softplus(x))`, element by element. PyTorch: `torch.nn.Mish`.
///
/// ```
/// use gabor_nn::{Forward, Mish};
/// use tensor::Tensor;
/// assert_eq!(Mish.forward(&Tensor::new([0f32, 25.0])?)?.to_vec::<f32>()?, [0.0, 25.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Mish;

impl Module for Mish {}

impl Forward for Mish {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::mish(x)
    }
}
