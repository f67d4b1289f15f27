//! Mirrored margins.

use tensor::{PadMode, Result, Tensor};

use super::options::Margins;
use crate::{Forward, Label, Module};

/// Adds margins in which the image is mirrored, without the edge itself. PyTorch: `torch.nn.ReflectionPad2d`.
///
/// The padding is a number for all sides or `(left, right, top, bottom)`; negative numbers cut off.
///
/// ```
/// use gabor_nn::{Forward, ReflectionPad2d};
/// use tensor::Tensor;
/// let x = Tensor::new([[[1f32, 2.0, 3.0]]])?;
/// assert_eq!(ReflectionPad2d::new((2, 0, 0, 0)).forward(&x)?.to_vec::<f32>()?, [3.0, 2.0, 1.0, 2.0, 3.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct ReflectionPad2d {
    #[module(skip)]
    padding: Margins,

    label: Label,
}

impl ReflectionPad2d {
    /// Adds margins.
    pub fn new(padding: impl Into<Margins>) -> Self {
        ReflectionPad2d { padding: padding.into(), label: Label::default() }
    }
}

impl Forward for ReflectionPad2d {
    /// # Errors
    /// The rank is not 3 or 4, or the margins do not fit the image.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.padding.add_to("reflection_pad2d", &x, PadMode::Reflect))
    }
}
