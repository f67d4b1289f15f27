//! Sigmoid.

use tensor::{Result, Tensor};

use crate::{Forward, Module};

/// `1 / (1 + exp(-x))`, element by element. PyTorch: `torch.nn.Sigmoid`.
///
/// ```
/// use gabor_nn::{Forward, Sigmoid};
/// use tensor::Tensor;
/// assert_eq!(Sigmoid.forward(&Tensor::new([0f32])?)?.to_vec::<f32>()?, [0.5]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sigmoid;

impl Module for Sigmoid {}

impl Forward for Sigmoid {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.sigmoid()
    }

    fn per_image(&self) -> bool {
        true
    }
}
