//! Dropout.

use tensor::{Result, Tensor};

use super::options;
use crate::{Forward, Label, Module, Training, functional};

/// Sets each element to 0 with probability `p` and scales the others by `1 / (1 - p)`, while training. PyTorch: `torch.nn.Dropout`.
///
/// ```
/// use gabor_nn::{Dropout, Forward, Module};
/// use tensor::Tensor;
/// let layer = Dropout::new(0.5).build()?;
/// layer.eval();
/// assert_eq!(layer.forward(&Tensor::ones([2, 2])?)?.to_vec::<f32>()?, [1.0; 4]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Dropout {
    p: f64,
    training: Training,
    label: Label,
}

impl Dropout {
    /// Drops a share `p` of the elements.
    pub fn new(p: f64) -> Self {
        Dropout { p, training: Training::default(), label: Label::default() }
    }
}

impl Default for Dropout {
    fn default() -> Self {
        Self::new(0.5)
    }
}

impl Forward for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, functional::dropout(&x, self.p, self.training.get()))
    }

    fn check(&self) -> Result<()> {
        options::probability("dropout", self.p)
    }

    fn per_image(&self) -> bool {
        !self.training.get()
    }
}
