//! Margins of zeros.

use tensor::{PadMode, Result, Tensor};

use super::options::Margins;
use crate::{Forward, Label, Module};

/// Adds margins of zeros to an image. PyTorch: `torch.nn.ZeroPad2d`.
///
/// The padding is a number for all sides or `(left, right, top, bottom)`; negative numbers cut off.
///
/// ```
/// use gabor_nn::{Forward, ZeroPad2d};
/// use tensor::Tensor;
/// let x = Tensor::new([[[1f32, 2.0, 3.0]]])?;
/// assert_eq!(ZeroPad2d::new((1, 0, 0, 0)).forward(&x)?.to_vec::<f32>()?, [0.0, 1.0, 2.0, 3.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct ZeroPad2d {
    #[module(skip)]
    padding: Margins,

    label: Label,
}

impl ZeroPad2d {
    /// Adds margins.
    pub fn new(padding: impl Into<Margins>) -> Self {
        ZeroPad2d { padding: padding.into(), label: Label::default() }
    }
}

impl Forward for ZeroPad2d {
    /// # Errors
    /// The rank is not 3 or 4, or the margins do not fit the image.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.padding.add_to("zero_pad2d", &x, PadMode::Constant(0.0)))
    }

    fn per_image(&self) -> bool {
        true
    }
}
