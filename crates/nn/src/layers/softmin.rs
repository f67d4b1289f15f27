//! Softmin.

use tensor::{Result, Tensor};

use crate::label::called;
use crate::{Forward, Module};

/// The softmax of `-x` along `dim`. PyTorch: `torch.nn.Softmin`.
///
/// ```
/// use gabor_nn::{Forward, Softmin};
/// use tensor::Tensor;
/// assert_eq!(Softmin::new(0).forward(&Tensor::zeros([4])?)?.to_vec::<f32>()?, [0.25; 4]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Softmin {
    /// The dimension; negative ones count from the end.
    pub dim: isize,
}

impl Softmin {
    /// With `dim`.
    pub fn new(dim: isize) -> Self {
        Softmin { dim }
    }
}

impl Module for Softmin {}

impl Forward for Softmin {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        called(x.neg().and_then(|x| x.softmax(self.dim)))
    }
}
