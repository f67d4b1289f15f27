//! Softsign.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `x / (1 + |x|)`, element by element. PyTorch: `torch.nn.Softsign`.
///
/// ```
/// use gabor_nn::{Forward, Softsign};
/// use tensor::Tensor;
/// assert_eq!(Softsign.forward(&Tensor::new([-1f32, 3.0])?)?.to_vec::<f32>()?, [-0.5, 0.75]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Softsign;

impl Module for Softsign {}

impl Forward for Softsign {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::softsign(x)
    }
}
