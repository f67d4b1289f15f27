//! Softmax over the channels.

use tensor::{Error, Result, Tensor};

use crate::label::called;
use crate::{Forward, Module};

/// The softmax over the channels of `[N, C, H, W]` or `[C, H, W]`, for each place of the image. PyTorch: `torch.nn.Softmax2d`.
///
/// ```
/// use gabor_nn::{Forward, Softmax2d};
/// use tensor::Tensor;
/// assert_eq!(Softmax2d.forward(&Tensor::zeros([4, 1, 1])?)?.to_vec::<f32>()?, [0.25; 4]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Softmax2d;

impl Module for Softmax2d {}

impl Forward for Softmax2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !(3..=4).contains(&x.rank()) {
            let message = format!("input has shape {:?}; expected [N, C, H, W] or [C, H, W]", x.shape());
            return called(Err(Error::shape("softmax2d", message)));
        }
        called(x.softmax(-3))
    }
}
