//! ReLU6.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `min(max(x, 0), 6)`, element by element. PyTorch: `torch.nn.ReLU6`.
///
/// ```
/// use gabor_nn::{Forward, ReLU6};
/// use tensor::Tensor;
/// assert_eq!(ReLU6.forward(&Tensor::new([-1f32, 9.0])?)?.to_vec::<f32>()?, [0.0, 6.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ReLU6;

impl Module for ReLU6 {}

impl Forward for ReLU6 {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::relu6(x)
    }

    fn per_image(&self) -> bool {
        true
    }
}
