//! Dropout that keeps mean and variance.

use tensor::{Result, Tensor};

use super::options;
use crate::{Forward, Label, Module, Training, functional};

/// Dropout for nets of [`SELU`](crate::SELU): sets elements to its lower limit with probability `p`, then scales and shifts all so that mean 0 and
/// variance 1 stay, while training. PyTorch: `torch.nn.AlphaDropout`.
///
/// ```
/// use gabor_nn::{AlphaDropout, Forward};
/// use tensor::Tensor;
/// let y = AlphaDropout::new(0.2).forward(&Tensor::randn([10_000])?)?;
/// assert!(y.mean()?.item()?.abs() < 0.1 && (y.std(1.0)?.item()? - 1.0).abs() < 0.1);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct AlphaDropout {
    p: f64,
    training: Training,
    label: Label,
}

impl AlphaDropout {
    /// Drops a share `p` of the elements.
    pub fn new(p: f64) -> Self {
        AlphaDropout { p, training: Training::default(), label: Label::default() }
    }
}

impl Default for AlphaDropout {
    fn default() -> Self {
        Self::new(0.5)
    }
}

impl Forward for AlphaDropout {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, functional::alpha_dropout(&x, self.p, self.training.get()))
    }

    fn check(&self) -> Result<()> {
        options::probability("alpha_dropout", self.p)
    }
}
