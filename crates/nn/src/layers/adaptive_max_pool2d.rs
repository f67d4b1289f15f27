//! Pooling to a given size by the maximum.

use tensor::{Pair, Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// The largest element of each window, with windows such that the result has a given size. PyTorch: `torch.nn.AdaptiveMaxPool2d`.
///
/// ```
/// use gabor_nn::{AdaptiveMaxPool2d, Forward};
/// use tensor::Tensor;
/// let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([1, 3, 3])?;
/// assert_eq!(AdaptiveMaxPool2d::new(1).forward(&x)?.to_vec::<f32>()?, [8.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct AdaptiveMaxPool2d {
    output_size: Pair,
    label: Label,
}

impl AdaptiveMaxPool2d {
    /// Pools to `output_size`.
    pub fn new(output_size: impl Into<Pair>) -> Self {
        AdaptiveMaxPool2d { output_size: output_size.into(), label: Label::default() }
    }

    /// The maxima and their positions, counted row by row in each plane (`return_indices` in PyTorch).
    ///
    /// # Errors
    /// As [`Forward::forward`].
    #[track_caller]
    pub fn forward_with_indices(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.label.named(x.adaptive_max_pool2d(self.output_size))
    }
}

impl Forward for AdaptiveMaxPool2d {
    /// # Errors
    /// The rank is not 3 or 4, or a dimension is empty.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        let pooled = x.adaptive_max_pool2d(self.output_size);
        self.label.leave(&x, pooled.map(|(maxima, _)| maxima))
    }

    fn check(&self) -> Result<()> {
        options::at_least_one("adaptive_max_pool2d", &[("output_size", self.output_size)])
    }

    fn per_image(&self) -> bool {
        true
    }
}
