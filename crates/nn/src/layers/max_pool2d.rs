//! The max pooling layer.

use tensor::{Pair, PoolOptions, Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// The largest element of each window. PyTorch: `torch.nn.MaxPool2d`.
///
/// Input `[N, C, H, W]` or without `N`. The stride is the kernel size unless it is set.
///
/// ```
/// use gabor_nn::{Forward, MaxPool2d};
/// use tensor::Tensor;
/// let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([1, 3, 3])?;
/// let pool = MaxPool2d::new(2).stride(1).build()?;
/// assert_eq!(pool.forward(&x)?.to_vec::<f32>()?, [4.0, 5.0, 7.0, 8.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct MaxPool2d {
    #[module(skip)]
    options: PoolOptions,
    label: Label,
}

impl MaxPool2d {
    /// Windows of `kernel_size`, side by side.
    pub fn new(kernel_size: impl Into<Pair>) -> Self {
        MaxPool2d { options: PoolOptions::new(kernel_size), label: Label::default() }
    }

    /// Sets the steps of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.options.stride = stride.into();
        self
    }

    /// Sets the margins, which are never chosen; at most half of the window.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.options.padding = padding.into();
        self
    }

    /// Sets the distance of the elements of a window.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.options.dilation = dilation.into();
        self
    }

    /// Sets whether a last window may reach over the edge.
    #[must_use]
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.options.ceil_mode = ceil_mode;
        self
    }

    /// The maxima and their positions, counted row by row in each plane (`return_indices` in PyTorch).
    ///
    /// # Errors
    /// As [`Forward::forward`].
    #[track_caller]
    pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.label.named(x.max_pool2d_with_indices(&self.options))
    }
}

impl Forward for MaxPool2d {
    /// # Errors
    /// The rank is not 3 or 4, or no window fits.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, x.max_pool2d(&self.options))
    }

    fn check(&self) -> Result<()> {
        let (op, o) = ("max_pool2d", &self.options);
        let pairs = [("kernel_size", o.kernel_size), ("stride", o.stride), ("dilation", o.dilation)];
        options::at_least_one(op, &pairs)?;
        options::half_of_window(op, o.kernel_size, o.dilation, o.padding)
    }

    fn per_image(&self) -> bool {
        true
    }
}
