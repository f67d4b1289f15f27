//! Resizing images.

use tensor::{InterpolateMode, InterpolateOptions, Pair, Result, ScaleFactor, Tensor};

use crate::{Forward, Label, Module};

/// Resizes images. PyTorch: `torch.nn.Upsample`.
///
/// ```
/// use gabor_nn::{Forward, Upsample};
/// use tensor::{InterpolateMode, Tensor};
/// let x = Tensor::zeros([1, 3, 8, 8])?;
/// assert_eq!(Upsample::scale_factor(2.0).forward(&x)?.shape(), &[1, 3, 16, 16]);
/// let layer = Upsample::size((5, 7)).mode(InterpolateMode::Bilinear).align_corners(true);
/// assert_eq!(layer.forward(&x)?.shape(), &[1, 3, 5, 7]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Upsample {
    #[module(skip)]
    options: InterpolateOptions,
    label: Label,
}

impl Upsample {
    /// To this size, by the nearest pixels.
    pub fn size(size: impl Into<Pair>) -> Self {
        Upsample { options: InterpolateOptions::size(size), label: Label::default() }
    }

    /// So many times as large, by the nearest pixels.
    pub fn scale_factor(factor: impl Into<ScaleFactor>) -> Self {
        Upsample { options: InterpolateOptions::scale_factor(factor), label: Label::default() }
    }

    /// Sets how a pixel is made.
    #[must_use]
    pub fn mode(mut self, mode: InterpolateMode) -> Self {
        self.options.mode = mode;
        self
    }

    /// Sets whether the centres of the corner pixels stay where they are; for the bilinear and bicubic modes.
    #[must_use]
    pub fn align_corners(mut self, align_corners: bool) -> Self {
        self.options.align_corners = Some(align_corners);
        self
    }
}

impl Forward for Upsample {
    /// # Errors
    /// As [`Tensor::interpolate`].
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, x.interpolate(&self.options))
    }

    fn per_image(&self) -> bool {
        true
    }
}
