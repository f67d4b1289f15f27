//! SiLU.

use tensor::{Result, Tensor};

use crate::{Forward, Module};

/// `x * sigmoid(x)`, element by element, also called swish. PyTorch: `torch.nn.SiLU`.
///
/// ```
/// use gabor_nn::{Forward, SiLU};
/// use tensor::Tensor;
/// assert_eq!(SiLU.forward(&Tensor::new([0f32])?)?.to_vec::<f32>()?, [0.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SiLU;

impl Module for SiLU {}

impl Forward for SiLU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.silu()
    }

    fn per_image(&self) -> bool {
        true
    }
}
