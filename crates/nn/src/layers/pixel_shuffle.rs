//! Channels made into pixels.

use tensor::{Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// Makes an image `r` times as high and wide out of `r * r` times as many channels: `[..., C * r * r, H, W]` to `[..., C, H * r, W * r]`. PyTorch: `torch.nn.PixelShuffle`.
///
/// ```
/// use gabor_nn::{Forward, PixelShuffle};
/// use tensor::Tensor;
/// let x = Tensor::zeros([2, 9, 4, 4])?;
/// assert_eq!(PixelShuffle::new(3).forward(&x)?.shape(), &[2, 1, 12, 12]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct PixelShuffle {
    upscale_factor: usize,
    label: Label,
}

impl PixelShuffle {
    /// Larger by `upscale_factor`.
    pub fn new(upscale_factor: usize) -> Self {
        PixelShuffle { upscale_factor, label: Label::default() }
    }
}

impl Forward for PixelShuffle {
    /// # Errors
    /// The rank is below 3, or the factor does not divide the channels.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, x.pixel_shuffle(self.upscale_factor))
    }

    fn check(&self) -> Result<()> {
        options::sizes("pixel_shuffle", &[("upscale_factor", self.upscale_factor)])
    }
}
