//! Margins of one number.

use tensor::{PadMode, Result, Tensor};

use super::options::Margins;
use crate::{Forward, Label, Module};

/// Adds margins of one number to an image. PyTorch: `torch.nn.ConstantPad2d`.
///
/// The padding is a number for all sides or `(left, right, top, bottom)`; negative numbers cut off.
///
/// ```
/// use gabor_nn::{Forward, ConstantPad2d};
/// use tensor::Tensor;
/// let x = Tensor::new([[[1f32, 2.0, 3.0]]])?;
/// assert_eq!(ConstantPad2d::new((1, -1, 0, 0), 9.0).forward(&x)?.to_vec::<f32>()?, [9.0, 1.0, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct ConstantPad2d {
    #[module(skip)]
    padding: Margins,
    value: f64,
    label: Label,
}

impl ConstantPad2d {
    /// Adds margins of `value`.
    pub fn new(padding: impl Into<Margins>, value: f64) -> Self {
        ConstantPad2d { padding: padding.into(), value, label: Label::default() }
    }
}

impl Forward for ConstantPad2d {
    /// # Errors
    /// The rank is not 3 or 4, or the margins do not fit the image.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.padding.add_to("constant_pad2d", &x, PadMode::Constant(self.value)))
    }
}
