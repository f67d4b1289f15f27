//! Averages of a model's weights: exponential (EMA) or equal (SWA).

use nn::Module;
use tensor::{Error, Parameter, Result, State, Tensor, no_grad};

use crate::state::{StateDict, mismatch};

/// How the next weights enter an average.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Average {
    /// `average = decay * average + (1 - decay) * weights`.
    Exponential(f64),
    /// All weights count the same.
    Equal,
}

/// An average of the weights that a model had during training; it is often better than the last ones. PyTorch:
/// `torch.optim.swa_utils.AveragedModel`.
///
/// It holds the averaged values, not a second model: [`with`](Self::with) puts them into the model for an evaluation, and
/// [`copy_to`](Self::copy_to) for good. The first update copies, as in PyTorch. Buffers are those of the model at the last
/// update, unless [`use_buffers`](Self::use_buffers) is set.
///
/// ```
/// use gabor_optim::{AveragedModel, Optimizer, SGD};
/// use nn::{Linear, Module};
/// use tensor::Tensor;
/// let net = Linear::new(1, 1).bias(false).build()?;
/// let mut ema = AveragedModel::ema(&net, 0.75)?;
/// for weight in [1f32, 5.0] {
///     net.weight.set(&Tensor::new([[weight]])?)?; // an optimizer's step
///     ema.update_parameters(&net)?;
/// }
/// let value = ema.with(&net, || net.weight.tensor().item())?;
/// assert_eq!(value, 0.75 * 1.0 + 0.25 * 5.0);
/// assert_eq!(net.weight.tensor().item()?, 5.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AveragedModel {
    average: Average,
    use_buffers: bool,
    n_averaged: u64,
    parameters: Vec<(String, Tensor)>,
    buffers: Vec<(String, Tensor)>,
}

impl AveragedModel {
    /// The exponential moving average: `average = decay * average + (1 - decay) * weights`. PyTorch's `get_ema_multi_avg_fn`.
    ///
    /// # Errors
    /// `decay` is not from 0 to 1, or a parameter waits for its sizes.
    pub fn ema(module: &dyn Module, decay: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&decay) {
            return Err(Error::argument("AveragedModel", format!("decay is {decay}; it must be from 0 to 1")));
        }
        Self::new(module, Average::Exponential(decay))
    }

    /// The average in which all updates count the same: stochastic weight averaging, the default in PyTorch.
    ///
    /// ```
    /// # use gabor_optim::AveragedModel;
    /// # use nn::{Linear, Module};
    /// # use tensor::Tensor;
    /// let net = Linear::new(1, 1).bias(false).build()?;
    /// let mut swa = AveragedModel::swa(&net)?;
    /// for weight in [1f32, 2.0, 6.0] {
    ///     net.weight.set(&Tensor::new([[weight]])?)?;
    ///     swa.update_parameters(&net)?;
    /// }
    /// swa.copy_to(&net)?;
    /// assert_eq!(net.weight.tensor().item()?, 3.0);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// A parameter waits for its sizes.
    pub fn swa(module: &dyn Module) -> Result<Self> {
        Self::new(module, Average::Equal)
    }

    fn new(module: &dyn Module, average: Average) -> Result<Self> {
        if let Some((name, _)) = module.named_parameters().iter().find(|(_, parameter)| parameter.is_lazy()) {
            let message = format!("`{name}` has open sizes, its layer is lazy; call net.materialize first");
            return Err(Error::argument("AveragedModel", message));
        }
        let (parameters, buffers) = (values(module.named_parameters()), states(module.named_buffers()));
        Ok(AveragedModel { average, use_buffers: false, n_averaged: 0, parameters, buffers })
    }

    /// Sets whether buffers of floating-point numbers, such as running statistics, are averaged too.
    #[must_use]
    pub fn use_buffers(mut self, on: bool) -> Self {
        self.use_buffers = on;
        self
    }

    /// How many updates there were.
    pub fn n_averaged(&self) -> u64 {
        self.n_averaged
    }

    /// The averaged values under the names of the model: parameters, then buffers.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.parameters.iter().chain(&self.buffers).map(|(name, value)| (name.as_str(), value))
    }

    /// Takes the weights that the model has now into the average; call it after the optimizer's step.
    ///
    /// # Errors
    /// The model has other parameters or buffers than the one that the average was made for.
    pub fn update_parameters(&mut self, module: &dyn Module) -> Result<()> {
        let (parameters, buffers) = (values(module.named_parameters()), states(module.named_buffers()));
        fits(&self.parameters, &parameters)?;
        fits(&self.buffers, &buffers)?;
        let share = match self.average {
            _ if self.n_averaged == 0 => 1.0,
            Average::Exponential(decay) => 1.0 - decay,
            Average::Equal => 1.0 / (self.n_averaged + 1) as f64,
        };
        self.parameters = averaged(&self.parameters, parameters, share)?;
        self.buffers = if self.use_buffers { averaged(&self.buffers, buffers, share)? } else { buffers };
        self.n_averaged += 1;
        Ok(())
    }

    /// Gives the model the averaged values.
    ///
    /// # Errors
    /// The model has other parameters or buffers.
    pub fn copy_to(&self, module: &dyn Module) -> Result<()> {
        self.exchange(module).map(drop)
    }

    /// Puts the averaged values into the model, runs `f`, and puts the model's own values back, whatever `f` does. Updates
    /// of parameters inside of `f` are lost.
    ///
    /// # Errors
    /// The model has other parameters or buffers; or that of `f`.
    pub fn with<T>(&self, module: &dyn Module, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = Own(Some(self.exchange(module)?));
        let result = f();
        own.put_back()?;
        result
    }

    /// Sets the model's values to the averaged ones, all or none; gives what they were.
    fn exchange(&self, module: &dyn Module) -> Result<Vec<Held>> {
        let (parameters, buffers) = (module.named_parameters(), module.named_buffers());
        fits(&self.parameters, &values(parameters.clone()))?;
        fits(&self.buffers, &states(buffers.clone()))?;
        let mut own = Vec::new();
        for ((_, parameter), (_, value)) in parameters.into_iter().zip(&self.parameters) {
            let before = parameter.tensor().detach();
            parameter.set(value)?;
            own.push(Held::Parameter(parameter, before));
        }
        for ((_, state), (_, value)) in buffers.into_iter().zip(&self.buffers) {
            let before = state.tensor();
            state.set(value)?;
            own.push(Held::Buffer(state, before));
        }
        Ok(own)
    }

    /// The average for a file, with the number of updates and the decay; names begin with `module.`, as PyTorch's.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new("AveragedModel");
        state.numbers.push(("n_averaged".into(), self.n_averaged as f64));
        if let Average::Exponential(decay) = self.average {
            state.numbers.push(("decay".into(), decay));
        }
        state.tensors = self.values().map(|(name, value)| (format!("module.{name}"), value.clone())).collect();
        state
    }

    /// Takes over a stored average.
    ///
    /// # Errors
    /// It is the average of another model or of another kind; all misfits are named, and nothing is changed.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        state.expect_kind("AveragedModel")?;
        let mut problems = Vec::new();
        let count = state.number("n_averaged").filter(|n| *n >= 0.0 && n.fract() == 0.0 && *n < 9e15);
        let count = count.unwrap_or_else(|| {
            problems.push("n_averaged is missing or no whole number".to_owned());
            0.0
        });
        let average = match (self.average, state.number("decay")) {
            (Average::Exponential(_), Some(decay)) if (0.0..=1.0).contains(&decay) => Average::Exponential(decay),
            (Average::Equal, None) => Average::Equal,
            (own, decay) => {
                problems.push(format!("the average is {own:?} here and its decay {decay:?} there"));
                own
            }
        };
        let mut taken = Vec::new();
        for (name, own) in self.values() {
            match state.tensor(&format!("module.{name}")) {
                Some(value) if value.shape() == own.shape() && value.dtype() == own.dtype() => {
                    taken.push(value.detach())
                }
                Some(value) => problems.push(format!(
                    "{name} is {} {:?} here and {} {:?} there",
                    own.dtype(),
                    own.shape(),
                    value.dtype(),
                    value.shape()
                )),
                None => problems.push(format!("{name} is missing")),
            }
        }
        if state.tensors.len() > self.parameters.len() + self.buffers.len() {
            problems.push(format!("{} tensors are too many", state.tensors.len() - self.values().count()));
        }
        mismatch("AveragedModel", &problems)?;
        for ((_, own), value) in self.parameters.iter_mut().chain(&mut self.buffers).zip(taken) {
            *own = value;
        }
        (self.average, self.n_averaged) = (average, count as u64);
        Ok(())
    }
}

enum Held {
    Parameter(Parameter, Tensor),
    Buffer(State, Tensor),
}

/// The model's own values while the average is in it; they go back when this is dropped, also by a panic.
struct Own(Option<Vec<Held>>);

impl Own {
    fn put_back(mut self) -> Result<()> {
        put_back(self.0.take().unwrap_or_default())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Only after a panic is anything left, and shapes that fitted before fit now.
        let _ = put_back(self.0.take().unwrap_or_default());
    }
}

fn put_back(own: Vec<Held>) -> Result<()> {
    own.into_iter().try_for_each(|held| match held {
        Held::Parameter(parameter, before) => parameter.set(&before),
        Held::Buffer(state, before) => state.set(&before),
    })
}

fn values(parameters: Vec<(String, Parameter)>) -> Vec<(String, Tensor)> {
    parameters.into_iter().map(|(name, parameter)| (name, parameter.tensor().detach())).collect()
}

fn states(buffers: Vec<(String, State)>) -> Vec<(String, Tensor)> {
    buffers.into_iter().map(|(name, state)| (name, state.tensor())).collect()
}

fn fits(own: &[(String, Tensor)], given: &[(String, Tensor)]) -> Result<()> {
    let differs = |(a, b): &(&(String, Tensor), &(String, Tensor))| {
        a.0 != b.0 || a.1.shape() != b.1.shape() || a.1.dtype() != b.1.dtype()
    };
    if let Some((a, b)) = own.iter().zip(given).find(differs) {
        let described = |(name, t): &(String, Tensor)| format!("`{name}` {} {:?}", t.dtype(), t.shape());
        let message = format!(
            "the model has {} where the average has {}; it belongs to another model",
            described(b),
            described(a)
        );
        return Err(Error::argument("AveragedModel", message));
    }
    if own.len() != given.len() {
        let message =
            format!("the model has {} tensors and the average {}; it belongs to another model", given.len(), own.len());
        return Err(Error::argument("AveragedModel", message));
    }
    Ok(())
}

/// `own + share * (given - own)`; whole numbers, such as counts of batches, are those given.
fn averaged(own: &[(String, Tensor)], given: Vec<(String, Tensor)>, share: f64) -> Result<Vec<(String, Tensor)>> {
    let one = |((_, own), (name, value)): (&(String, Tensor), (String, Tensor))| {
        if share == 1.0 || !value.dtype().is_float() {
            return Ok((name, value));
        }
        let average = no_grad(|| own.add(&value.sub(own)?.mul_scalar(share)?))?;
        Ok((name, average))
    };
    own.iter().zip(given).map(one).collect()
}
