//! ReLU.

use std::any::Any;

use tensor::{Result, Tensor};

use crate::{Forward, Module};

/// `max(x, 0)`, element by element. PyTorch: `torch.nn.ReLU`.
///
/// ```
/// use gabor_nn::{Forward, ReLU};
/// use tensor::Tensor;
/// assert_eq!(ReLU.forward(&Tensor::new([-1f32, 2.0])?)?.to_vec::<f32>()?, [0.0, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ReLU;

impl Module for ReLU {
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl Forward for ReLU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.relu()
    }

    fn per_image(&self) -> bool {
        true
    }
}
