//! Merging dimensions.

use tensor::{Result, Tensor};

use crate::label::called;
use crate::{Forward, Module};

/// Merges the dimensions from `start_dim` to `end_dim` into one. PyTorch: `torch.nn.Flatten`.
///
/// The bare value `Flatten` keeps the first dimension and merges all others.
///
/// ```
/// use gabor_nn::{Flatten, Forward};
/// use tensor::Tensor;
/// let x = Tensor::zeros([8, 16, 5, 5])?;
/// assert_eq!(Flatten.forward(&x)?.shape(), &[8, 400]);
/// assert_eq!(Flatten::new(0, 1).forward(&x)?.shape(), &[128, 5, 5]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Flatten {
    /// The first of the dimensions to merge.
    pub start_dim: isize,
    /// The last of them.
    pub end_dim: isize,
}

/// [`struct@Flatten`] of all dimensions but the first.
#[allow(non_upper_case_globals, reason = "it stands where a unit struct would")]
pub const Flatten: Flatten = Flatten { start_dim: 1, end_dim: -1 };

impl Flatten {
    /// Merges the dimensions from `start_dim` to `end_dim`, both included; negative ones count from the end.
    pub fn new(start_dim: isize, end_dim: isize) -> Self {
        Flatten { start_dim, end_dim }
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Flatten
    }
}

impl Module for Flatten {}

impl Forward for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        called(x.flatten(self.start_dim, self.end_dim))
    }

    fn per_image(&self) -> bool {
        self.start_dim >= 1
    }
}
