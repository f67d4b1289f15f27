//! Pixels made into channels.

use tensor::{Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// Makes `r * r` times as many channels out of an image: `[..., C, H * r, W * r]` to `[..., C * r * r, H, W]`. PyTorch: `torch.nn.PixelUnshuffle`.
///
/// ```
/// use gabor_nn::{Forward, PixelUnshuffle};
/// use tensor::Tensor;
/// let x = Tensor::zeros([2, 1, 12, 12])?;
/// assert_eq!(PixelUnshuffle::new(3).forward(&x)?.shape(), &[2, 9, 4, 4]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct PixelUnshuffle {
    downscale_factor: usize,
    label: Label,
}

impl PixelUnshuffle {
    /// Smaller by `downscale_factor`.
    pub fn new(downscale_factor: usize) -> Self {
        PixelUnshuffle { downscale_factor, label: Label::default() }
    }
}

impl Forward for PixelUnshuffle {
    /// # Errors
    /// The rank is below 3, or the factor does not divide the image.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, x.pixel_unshuffle(self.downscale_factor))
    }

    fn check(&self) -> Result<()> {
        options::sizes("pixel_unshuffle", &[("downscale_factor", self.downscale_factor)])
    }
}
