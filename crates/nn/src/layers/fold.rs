//! Columns made into images.

use tensor::{Pair, Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// Adds columns up to an image, each at the place of its window: `[N, C * h * w, places]` to `[N, C, H, W]`. PyTorch: `torch.nn.Fold`.
///
/// ```
/// use gabor_nn::{Forward, Fold};
/// use tensor::Tensor;
/// let columns = Tensor::ones([1, 4, 4])?;
/// let image = Fold::new(3, 2).forward(&columns)?;
/// assert_eq!(image.to_vec::<f32>()?, [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Fold {
    output_size: Pair,
    kernel_size: Pair,
    dilation: Pair,
    padding: Pair,
    stride: Pair,
    label: Label,
}

impl Fold {
    /// Windows of `kernel_size` with stride and dilation 1 and no padding, in an image of `output_size`.
    pub fn new(output_size: impl Into<Pair>, kernel_size: impl Into<Pair>) -> Self {
        Fold {
            output_size: output_size.into(),
            kernel_size: kernel_size.into(),
            dilation: Pair::from(1),
            padding: Pair::from(0),
            stride: Pair::from(1),
            label: Label::default(),
        }
    }

    /// Sets the distance of the elements of a window.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Sets the margins of zeros.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Sets the steps of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.stride = stride.into();
        self
    }
}

impl Forward for Fold {
    /// # Errors
    /// The shape does not fit the windows.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, x.fold(self.output_size, self.kernel_size, self.dilation, self.padding, self.stride))
    }

    fn check(&self) -> Result<()> {
        let pairs = [("kernel_size", self.kernel_size), ("dilation", self.dilation), ("stride", self.stride)];
        options::at_least_one("fold", &pairs)
    }
}
