//! Hardswish.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `x * min(max(x + 3, 0), 6) / 6`, element by element. PyTorch: `torch.nn.Hardswish`.
///
/// ```
/// use gabor_nn::{Forward, Hardswish};
/// use tensor::Tensor;
/// assert_eq!(Hardswish.forward(&Tensor::new([-4f32, 4.0])?)?.to_vec::<f32>()?, [0.0, 4.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Hardswish;

impl Module for Hardswish {}

impl Forward for Hardswish {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::hardswish(x)
    }

    fn per_image(&self) -> bool {
        true
    }
}
