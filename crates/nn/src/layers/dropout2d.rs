//! Dropout of whole channels.

use tensor::{Result, Tensor};

use super::options;
use crate::{Forward, Label, Module, Training, functional};

/// Sets each channel `[n, c]` to 0 with probability `p` and scales the others by `1 / (1 - p)`, while training. PyTorch: `torch.nn.Dropout2d`.
///
/// ```
/// use gabor_nn::{Dropout2d, Forward, Module};
/// use tensor::Tensor;
/// let layer = Dropout2d::new(0.5).build()?;
/// layer.eval();
/// assert_eq!(layer.forward(&Tensor::ones([2, 2])?)?.to_vec::<f32>()?, [1.0; 4]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Dropout2d {
    p: f64,
    training: Training,
    label: Label,
}

impl Dropout2d {
    /// Drops a share `p` of the channels.
    pub fn new(p: f64) -> Self {
        Dropout2d { p, training: Training::default(), label: Label::default() }
    }
}

impl Default for Dropout2d {
    fn default() -> Self {
        Self::new(0.5)
    }
}

impl Forward for Dropout2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, functional::dropout2d(&x, self.p, self.training.get()))
    }

    fn check(&self) -> Result<()> {
        options::probability("dropout2d", self.p)
    }

    fn per_image(&self) -> bool {
        !self.training.get()
    }
}
