//! Threshold.

use tensor::{Result, Tensor};

use crate::{Forward, Module, functional};

/// `x` where it is above `threshold`, else `value`. PyTorch: `torch.nn.Threshold`.
///
/// ```
/// use gabor_nn::{Forward, Threshold};
/// use tensor::Tensor;
/// assert_eq!(Threshold::new(1.0, 9.0).forward(&Tensor::new([0f32, 2.0])?)?.to_vec::<f32>()?, [9.0, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    /// The largest number that is replaced.
    pub threshold: f64,
    /// What stands for it.
    pub value: f64,
}

impl Threshold {
    /// With `threshold` and `value`.
    pub fn new(threshold: f64, value: f64) -> Self {
        Threshold { threshold, value }
    }
}

impl Module for Threshold {}

impl Forward for Threshold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        functional::threshold(x, self.threshold, self.value)
    }
}
