//! Images made into columns.

use tensor::{Pair, Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// The windows of an image as columns: `[N, C, H, W]` to `[N, C * h * w, places]`. PyTorch: `torch.nn.Unfold`.
///
/// ```
/// use gabor_nn::{Forward, Unfold};
/// use tensor::Tensor;
/// let x = Tensor::zeros([1, 3, 5, 5])?;
/// assert_eq!(Unfold::new(3).padding(1).stride(2).forward(&x)?.shape(), &[1, 27, 9]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Unfold {
    kernel_size: Pair,
    dilation: Pair,
    padding: Pair,
    stride: Pair,
    label: Label,
}

impl Unfold {
    /// Windows of `kernel_size` with stride and dilation 1 and no padding.
    pub fn new(kernel_size: impl Into<Pair>) -> Self {
        Unfold {
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

impl Forward for Unfold {
    /// # Errors
    /// The shape does not fit the windows.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, x.unfold(self.kernel_size, self.dilation, self.padding, self.stride))
    }

    fn check(&self) -> Result<()> {
        let pairs = [("kernel_size", self.kernel_size), ("dilation", self.dilation), ("stride", self.stride)];
        options::at_least_one("unfold", &pairs)
    }
}
