//! Splitting a dimension.

use tensor::{Error, Result, Tensor};

use crate::{Forward, Label, Module};

/// Splits one dimension into several; one of the sizes may be -1. PyTorch: `torch.nn.Unflatten`.
///
/// ```
/// use gabor_nn::{Forward, Unflatten};
/// use tensor::Tensor;
/// let layer = Unflatten::new(1, [16, 5, -1]);
/// assert_eq!(layer.forward(&Tensor::zeros([8, 400])?)?.shape(), &[8, 16, 5, 5]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Unflatten {
    dim: isize,
    #[module(skip)]
    sizes: Vec<isize>,
    label: Label,
}

impl Unflatten {
    /// Splits dimension `dim` into `sizes`.
    pub fn new(dim: isize, sizes: impl Into<Vec<isize>>) -> Self {
        Unflatten { dim, sizes: sizes.into(), label: Label::default() }
    }
}

impl Forward for Unflatten {
    /// # Errors
    /// There is no such dimension, or the sizes do not multiply to it.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.split(&x))
    }
}

impl Unflatten {
    #[track_caller]
    fn split(&self, x: &Tensor) -> Result<Tensor> {
        let size = x.dim(self.dim)?;
        let at = if self.dim < 0 { self.dim + x.rank() as isize } else { self.dim } as usize;
        let known = self.sizes.iter().filter(|&&s| s != -1).try_fold(1isize, |n, &s| n.checked_mul(s));
        let fits = match known {
            Some(known) if !self.sizes.contains(&-1) => known == size as isize,
            Some(known) => known > 0 && size as isize % known == 0,
            None => false,
        };
        if !fits || self.sizes.iter().any(|&s| s < -1) || self.sizes.iter().filter(|&&s| s == -1).count() > 1 {
            let message = format!(
                "dimension {at} of size {size} (shape {:?}) cannot be split into {:?}; the sizes must multiply to it",
                x.shape(),
                self.sizes
            );
            return Err(Error::shape("unflatten", message));
        }
        let mut shape: Vec<isize> = x.dims().iter().map(|&n| n as isize).collect();
        // The unknown size is computed here, so that empty tensors leave no doubt.
        let known = known.unwrap_or(1).max(1);
        let sizes = self.sizes.iter().map(|&s| if s == -1 { size as isize / known } else { s });
        shape.splice(at..=at, sizes);
        x.reshape(shape)
    }
}
