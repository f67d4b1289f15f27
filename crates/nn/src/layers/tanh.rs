//! Tanh.

use tensor::{Result, Tensor};

use crate::{Forward, Module};

/// The hyperbolic tangent, element by element. PyTorch: `torch.nn.Tanh`.
///
/// ```
/// use gabor_nn::{Forward, Tanh};
/// use tensor::Tensor;
/// assert_eq!(Tanh.forward(&Tensor::new([0f32])?)?.to_vec::<f32>()?, [0.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tanh;

impl Module for Tanh {}

impl Forward for Tanh {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.tanh()
    }

    fn per_image(&self) -> bool {
        true
    }
}
