//! Pooling to a given size by the average.

use tensor::{Pair, Result, Tensor};

use super::options;
use crate::{Forward, Label, Module};

/// The average of each window, with windows such that the result has a given size. PyTorch: `torch.nn.AdaptiveAvgPool2d`.
///
/// ```
/// use gabor_nn::{AdaptiveAvgPool2d, Forward};
/// use tensor::Tensor;
/// let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([1, 3, 3])?;
/// assert_eq!(AdaptiveAvgPool2d::new(1).forward(&x)?.to_vec::<f32>()?, [4.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct AdaptiveAvgPool2d {
    output_size: Pair,
    label: Label,
}

impl AdaptiveAvgPool2d {
    /// Pools to `output_size`.
    pub fn new(output_size: impl Into<Pair>) -> Self {
        AdaptiveAvgPool2d { output_size: output_size.into(), label: Label::default() }
    }
}

impl Forward for AdaptiveAvgPool2d {
    /// # Errors
    /// The rank is not 3 or 4, or a dimension is empty.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, x.adaptive_avg_pool2d(self.output_size))
    }

    fn check(&self) -> Result<()> {
        options::at_least_one("adaptive_avg_pool2d", &[("output_size", self.output_size)])
    }

    fn per_image(&self) -> bool {
        true
    }
}
