//! Identity.

use tensor::{Result, Tensor};

use crate::{Forward, Module};

/// Its input. Stands where a layer may be but is not. PyTorch: `torch.nn.Identity`.
///
/// ```
/// use gabor_nn::{Forward, Identity};
/// use tensor::Tensor;
/// assert_eq!(Identity.forward(&Tensor::new([1f32, 2.0])?)?.to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Module for Identity {}

impl Forward for Identity {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }

    fn per_image(&self) -> bool {
        true
    }
}
