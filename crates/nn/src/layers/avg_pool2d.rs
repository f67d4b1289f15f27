//! The average pooling layer.

use tensor::{AvgPoolOptions, Error, Pair, Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// The average of each window. PyTorch: `torch.nn.AvgPool2d`.
///
/// Input `[N, C, H, W]` or without `N`. The stride is the kernel size unless it is set.
///
/// ```
/// use gabor_nn::{AvgPool2d, Forward};
/// use tensor::Tensor;
/// let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([1, 3, 3])?;
/// let pool = AvgPool2d::new(2).stride(1).build()?;
/// assert_eq!(pool.forward(&x)?.to_vec::<f32>()?, [2.0, 3.0, 5.0, 6.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct AvgPool2d {
    #[module(skip)]
    options: AvgPoolOptions,
    label: Label,
}

impl AvgPool2d {
    /// Windows of `kernel_size`, side by side.
    pub fn new(kernel_size: impl Into<Pair>) -> Self {
        AvgPool2d { options: AvgPoolOptions::new(kernel_size), label: Label::default() }
    }

    /// Sets the steps of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.options.stride = stride.into();
        self
    }

    /// Sets the zeros around the image; at most half of the window.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.options.padding = padding.into();
        self
    }

    /// Sets whether a last window may reach over the edge.
    #[must_use]
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.options.ceil_mode = ceil_mode;
        self
    }

    /// Sets whether the zeros of the padding count in the divisor; they do by default.
    #[must_use]
    pub fn count_include_pad(mut self, count_include_pad: bool) -> Self {
        self.options.count_include_pad = count_include_pad;
        self
    }

    /// Sets a divisor other than the number of elements.
    #[must_use]
    pub fn divisor_override(mut self, divisor: impl Into<Option<i64>>) -> Self {
        self.options.divisor_override = divisor.into();
        self
    }
}

impl Forward for AvgPool2d {
    /// # Errors
    /// The rank is not 3 or 4, or no window fits.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, x.avg_pool2d(&self.options))
    }

    fn check(&self) -> Result<()> {
        let (op, o) = ("avg_pool2d", &self.options);
        options::at_least_one(op, &[("kernel_size", o.kernel_size), ("stride", o.stride)])?;
        if o.divisor_override == Some(0) {
            return Err(Error::argument(op, "divisor_override is 0; leave it out to divide by the number of elements"));
        }
        options::half_of_window(op, o.kernel_size, Pair::from(1), o.padding)
    }

    fn per_image(&self) -> bool {
        true
    }
}
