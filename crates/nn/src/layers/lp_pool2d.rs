//! Pooling by a norm.

use tensor::{AvgPoolOptions, Error, Pair, Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// `(sum of x^p)^(1/p)` of each window, with `p = norm_type`. PyTorch: `torch.nn.LPPool2d`.
///
/// ```
/// use gabor_nn::{Forward, LPPool2d};
/// use tensor::Tensor;
/// let x = Tensor::new([[[3f32, 0.0], [0.0, 4.0]]])?;
/// assert_eq!(LPPool2d::new(2.0, 2).forward(&x)?.item()?, 5.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LPPool2d {
    norm_type: f64,
    #[module(skip)]
    options: AvgPoolOptions,
    label: Label,
}

impl LPPool2d {
    /// Windows of `kernel_size`, side by side.
    pub fn new(norm_type: f64, kernel_size: impl Into<Pair>) -> Self {
        LPPool2d { norm_type, options: AvgPoolOptions::new(kernel_size), label: Label::default() }
    }

    /// Sets the steps of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.options.stride = stride.into();
        self
    }

    /// Sets whether a last window may reach over the edge.
    #[must_use]
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.options.ceil_mode = ceil_mode;
        self
    }

    #[track_caller]
    fn pool(&self, x: &Tensor) -> Result<Tensor> {
        self.check()?;
        let window = self.options.kernel_size;
        let mean = x.pow_scalar(self.norm_type)?.avg_pool2d(&self.options)?;
        mean.mul_scalar(window.h as f64 * window.w as f64)?.pow_scalar(1.0 / self.norm_type)
    }
}

impl Forward for LPPool2d {
    /// # Errors
    /// The rank is not 3 or 4, or no window fits.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.pool(&x))
    }

    fn check(&self) -> Result<()> {
        if self.norm_type.is_nan() || self.norm_type == 0.0 {
            let message = format!("norm_type is {}; it must be a number other than 0", self.norm_type);
            return Err(Error::argument("lp_pool2d", message));
        }
        let o = &self.options;
        options::at_least_one("lp_pool2d", &[("kernel_size", o.kernel_size), ("stride", o.stride)])
    }
}
