//! What optimizers and schedules remember, as named numbers and tensors.

use tensor::{Error, Result, Tensor};

/// The state of an optimizer or a schedule, ready to be stored.
///
/// Names follow PyTorch's state dicts: `param_groups.0.lr`, `state.3.step`, `state.3.exp_avg`. Flags are 0 and 1.
///
/// ```
/// use gabor_optim::{Optimizer, SGD};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// let sgd = SGD::new(vec![w], 0.1).momentum(0.9).build()?;
/// let state = sgd.state_dict()?;
/// assert_eq!(state.kind, "SGD");
/// assert_eq!(state.number("param_groups.0.momentum"), Some(0.9));
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    /// What the state belongs to: `SGD`, `StepLR`.
    pub kind: String,
    /// Numbers by name.
    pub numbers: Vec<(String, f64)>,
    /// Tensors by name.
    pub tensors: Vec<(String, Tensor)>,
}

impl StateDict {
    /// Empty state of something called `kind`.
    pub fn new(kind: impl Into<String>) -> Self {
        StateDict { kind: kind.into(), ..Self::default() }
    }

    /// The number of this name.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(own, _)| own == name).map(|&(_, value)| value)
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor)
    }

    /// Refuses the state of something else.
    pub(crate) fn expect_kind(&self, kind: &'static str) -> Result<()> {
        if self.kind == kind {
            return Ok(());
        }
        let message = format!("the state is that of {}; load it into the kind that saved it", self.kind);
        Err(Error::format(kind, message))
    }
}

/// One error for all that does not fit.
pub(crate) fn mismatch(kind: &'static str, problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let message = format!("the state does not fit: {}; build it as it was when saved", problems.join(", "));
    Err(Error::format(kind, message))
}
