//! Dropout of whole channels of sequences.

use tensor::{Error, Result, Tensor};

use super::options;
use crate::{Forward, Label, Module, Training, functional};

/// Sets each channel of `[N, C, L]` or `[C, L]` to 0 with probability `p` and scales the others by `1 / (1 - p)`, while training.
/// PyTorch: `torch.nn.Dropout1d`.
///
/// ```
/// use gabor_nn::{Dropout1d, Forward};
/// use tensor::Tensor;
/// let y = Dropout1d::new(0.5).forward(&Tensor::ones([1, 100, 2])?)?.to_vec::<f32>()?;
/// assert!(y.chunks(2).all(|channel| channel[0] == channel[1]));
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Dropout1d {
    p: f64,
    training: Training,
    label: Label,
}

impl Dropout1d {
    /// Drops a share `p` of the channels.
    pub fn new(p: f64) -> Self {
        Dropout1d { p, training: Training::default(), label: Label::default() }
    }

    #[track_caller]
    fn drop_channels(&self, x: &Tensor) -> Result<Tensor> {
        match x.rank() {
            2 => functional::dropout2d(&x.unsqueeze(0)?, self.p, self.training.get())?.squeeze(0),
            3 => functional::dropout2d(x, self.p, self.training.get()),
            _ => {
                let message = format!("input has shape {:?}; expected [N, C, L] or [C, L]", x.shape());
                Err(Error::shape("dropout1d", message))
            }
        }
    }
}

impl Default for Dropout1d {
    fn default() -> Self {
        Self::new(0.5)
    }
}

impl Forward for Dropout1d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.drop_channels(&x))
    }

    fn check(&self) -> Result<()> {
        options::probability("dropout1d", self.p)
    }
}
