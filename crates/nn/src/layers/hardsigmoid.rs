//! Hardsigmoid.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `min(max(x + 3, 0), 6) / 6`, element by element. PyTorch: `torch.nn.Hardsigmoid`.
///
/// ```
/// use gabor_nn::{Forward, Hardsigmoid};
/// use tensor::Tensor;
/// assert_eq!(Hardsigmoid.forward(&Tensor::new([-4f32, 0.0])?)?.to_vec::<f32>()?, [0.0, 0.5]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Hardsigmoid;

impl Module for Hardsigmoid {}

impl Forward for Hardsigmoid {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::hardsigmoid(x)
    }

    fn per_image(&self) -> bool {
        true
    }
}
