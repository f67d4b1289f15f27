//! Parameter groups: parameters that share the values of their options.

use tensor::{Error, Lint, Parameter, Result};

/// Parameters that an optimizer moves with the same options.
///
/// ```
/// use gabor_optim::{GroupOptions, Optimizer, SGD};
/// use tensor::{Parameter, Tensor};
///
/// let (w, b) = (Parameter::new(Tensor::ones([2])?)?, Parameter::new(Tensor::ones([2])?)?);
/// let sgd = SGD::new(vec![w], 0.1).group(vec![b], GroupOptions::new().lr(0.01)).weight_decay(5e-4).build()?;
/// assert_eq!(sgd.groups()[0].lr(), 0.1);
/// assert_eq!(sgd.groups()[1].lr(), 0.01);
/// assert_eq!(sgd.groups()[1].option("weight_decay"), Some(5e-4));
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Group {
    op: &'static str,
    parameters: Vec<Parameter>,
    options: Vec<(&'static str, f64)>,
    initial_lr: Option<f64>,
}

impl Group {
    /// A group of the optimizer `op` with its options by name; flags are 0 and 1. For optimizers of your own.
    ///
    /// ```
    /// use gabor_optim::Group;
    /// use tensor::{Parameter, Tensor};
    /// let w = Parameter::new(Tensor::ones([2])?)?;
    /// let group = Group::new("Lion", vec![w.clone()], &[("lr", 1e-4), ("beta1", 0.9)])?;
    /// assert_eq!(group.option("beta1"), Some(0.9));
    /// let error = Group::new("Lion", vec![w], &[("lr", f64::NAN)]).unwrap_err();
    /// assert_eq!(error.to_string(), "Lion: lr is NaN; use a finite number that is not negative");
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There are no parameters, one appears twice, there is no `lr`, or an option has a value that makes no sense.
    pub fn new(op: &'static str, parameters: Vec<Parameter>, options: &[(&'static str, f64)]) -> Result<Group> {
        if parameters.is_empty() {
            return Err(Error::argument(
                op,
                "no parameters; is the module empty, or are all of its parameters frozen?",
            ));
        }
        if options.iter().all(|(name, _)| *name != "lr") {
            return Err(Error::argument(op, "no option is called lr; every group needs a learning rate"));
        }
        options.iter().try_for_each(|&(name, value)| check(op, name, value))?;
        let group = Group { op, parameters, options: options.to_vec(), initial_lr: None };
        distinct(op, std::slice::from_ref(&group))?;
        Ok(group)
    }

    /// The parameters, in the order given.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.get("lr")
    }

    /// Changes the learning rate.
    ///
    /// ```
    /// # use gabor_optim::{Optimizer, SGD};
    /// # use tensor::{Parameter, Tensor};
    /// # let w = Parameter::new(Tensor::ones([2])?)?;
    /// let mut sgd = SGD::new(vec![w], 0.1).build()?;
    /// sgd.groups_mut()[0].set_lr(0.05)?;
    /// assert_eq!(sgd.lr(), 0.05);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `lr` is negative, NaN or infinite.
    pub fn set_lr(&mut self, lr: f64) -> Result<()> {
        self.set_option("lr", lr)
    }

    /// The learning rate that schedules start from: the one at the first schedule's construction, even when that
    /// schedule has changed it since.
    pub fn initial_lr(&self) -> f64 {
        self.initial_lr.unwrap_or_else(|| self.lr())
    }

    /// Makes `lr` the start of schedules; the rate itself stays free to be changed before the first of them.
    pub(crate) fn set_initial_lr(&mut self, lr: f64) {
        self.initial_lr = (lr != self.lr()).then_some(lr);
    }

    /// Remembers `lr` as the start of schedules unless an earlier schedule did.
    pub(crate) fn keep_initial_lr(&mut self, lr: f64) {
        self.initial_lr.get_or_insert(lr);
    }

    /// The options by name, in PyTorch's order; flags are 0 and 1, `betas` are `beta1` and `beta2`.
    pub fn options(&self) -> &[(&'static str, f64)] {
        &self.options
    }

    /// The value of an option, if the optimizer has it.
    pub fn option(&self, name: &str) -> Option<f64> {
        self.options.iter().find(|(own, _)| *own == name).map(|&(_, value)| value)
    }

    /// The value of an option that the optimizer is known to have.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.option(name).unwrap_or(0.0)
    }

    /// Whether a flag is set.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name) != 0.0
    }

    /// Changes an option; flags are 0 and 1.
    ///
    /// ```
    /// # use gabor_optim::{Optimizer, SGD};
    /// # use tensor::{Parameter, Tensor};
    /// # let w = Parameter::new(Tensor::ones([2])?)?;
    /// let mut sgd = SGD::new(vec![w], 0.1).build()?;
    /// sgd.groups_mut()[0].set_option("momentum", 0.9)?;
    /// assert!(sgd.groups_mut()[0].set_option("eps", 1e-8).is_err());
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The optimizer has no such option, or the value makes no sense for it.
    pub fn set_option(&mut self, name: &str, value: f64) -> Result<()> {
        let Some(at) = self.options.iter().position(|(own, _)| *own == name) else {
            return Err(Error::argument(
                self.op,
                format!("there is no option {name}; the options are {}", self.names()),
            ));
        };
        check(self.op, name, value)?;
        self.options[at].1 = value;
        Ok(())
    }

    fn names(&self) -> String {
        self.options.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// Options of one parameter group that differ from the optimizer's.
///
/// ```
/// use gabor_optim::GroupOptions;
/// let no_decay = GroupOptions::new().weight_decay(0.0).lr(1e-3);
/// # let _ = no_decay;
/// ```
#[derive(Clone, Debug, Default)]
pub struct GroupOptions {
    pub(crate) set: Vec<(&'static str, f64)>,
}

macro_rules! group_options {
    ($($(#[$doc:meta])+ $name:ident),+) => {$(
        $(#[$doc])+
        #[must_use]
        pub fn $name(self, $name: f64) -> Self {
            self.with(stringify!($name), $name)
        }
    )+};
}

impl GroupOptions {
    /// Nothing differs yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, name: &'static str, value: f64) -> Self {
        self.set.push((name, value));
        self
    }

    group_options! {
        /// The learning rate.
        lr,
        /// The L2 penalty (AdamW: the decay of the weights themselves).
        weight_decay,
        /// The share of the previous step that is kept.
        momentum,
        /// The share of the gradient that momentum leaves out.
        dampening,
        /// The term that keeps denominators from 0.
        eps,
        /// RMSprop's smoothing constant.
        alpha,
        /// Adagrad's decay of the learning rate.
        lr_decay,
        /// Where Adagrad's sums of squares start.
        initial_accumulator_value
    }

    /// Adam's smoothing constants of the gradient and of its square.
    #[must_use]
    pub fn betas(self, betas: (f64, f64)) -> Self {
        self.with("beta1", betas.0).with("beta2", betas.1)
    }

    /// Whether SGD looks ahead along the momentum.
    #[must_use]
    pub fn nesterov(self, on: bool) -> Self {
        self.with("nesterov", f64::from(u8::from(on)))
    }

    /// Whether Adam divides by the largest average of squares so far.
    #[must_use]
    pub fn amsgrad(self, on: bool) -> Self {
        self.with("amsgrad", f64::from(u8::from(on)))
    }

    /// Whether RMSprop subtracts the square of the average gradient.
    #[must_use]
    pub fn centered(self, on: bool) -> Self {
        self.with("centered", f64::from(u8::from(on)))
    }

    /// Whether steps go up the gradient instead of down.
    #[must_use]
    pub fn maximize(self, on: bool) -> Self {
        self.with("maximize", f64::from(u8::from(on)))
    }
}

/// The parameters and options that a builder collects.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) options: Vec<(&'static str, f64)>,
    pub(crate) groups: Vec<(Vec<Parameter>, GroupOptions)>,
}

impl Plan {
    pub(crate) fn new(parameters: Vec<Parameter>, options: &[(&'static str, f64)]) -> Plan {
        Plan { options: options.to_vec(), groups: vec![(parameters, GroupOptions::new())] }
    }

    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        if let Some(option) = self.options.iter_mut().find(|(own, _)| *own == name) {
            option.1 = value;
        }
    }

    pub(crate) fn build(self, op: &'static str) -> Result<Vec<Group>> {
        // A mistake in the common options is told even where every group has its own.
        self.options.iter().try_for_each(|&(name, value)| check(op, name, value))?;
        let many = self.groups.len() > 1;
        let mut groups = Vec::new();
        for (at, (parameters, own)) in self.groups.into_iter().enumerate() {
            let named = |error: Error| match error {
                Error::Argument { op, message } if many => Error::argument(op, format!("group {at}: {message}")),
                error => error,
            };
            let mut group = Group::new(op, parameters, &self.options).map_err(named)?;
            own.set.iter().try_for_each(|&(name, value)| group.set_option(name, value)).map_err(named)?;
            groups.push(group);
        }
        distinct(op, &groups)?;
        Ok(groups)
    }
}

/// Refuses a parameter that appears twice: it would be moved twice in each step.
fn distinct(op: &'static str, groups: &[Group]) -> Result<()> {
    let mut seen = std::collections::HashMap::new();
    for (g, group) in groups.iter().enumerate() {
        for (i, parameter) in group.parameters.iter().enumerate() {
            if parameter.is_lazy() {
                let message = format!(
                    "{} has open sizes (0), its layer is lazy; call net.materialize(&[1, 1, 28, 28]), with the shape of your input, or run a batch first",
                    described(parameter)
                );
                return Err(Error::argument(op, message));
            }
            if let Some((h, j)) = seen.insert(parameter.id(), (g, i)) {
                return Err(Error::argument(
                    op,
                    format!(
                        "{} is parameter {j} of group {h} and parameter {i} of group {g}; name each parameter once",
                        described(parameter)
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// A parameter in messages: `conv1.weight [6, 1, 5, 5]`, or its shape alone if it belongs to no model.
pub(crate) fn described(parameter: &Parameter) -> String {
    match parameter.name() {
        Some(name) => format!("{name} {:?}", parameter.shape()),
        None => format!("the parameter of shape {:?}", parameter.shape()),
    }
}

/// Refuses values that no option of this name can have.
fn check(op: &'static str, name: &str, value: f64) -> Result<()> {
    let (fine, fix) = match name {
        "lr" | "momentum" | "weight_decay" | "eps" | "alpha" | "lr_decay" | "initial_accumulator_value" => {
            (value.is_finite() && value >= 0.0, "use a finite number that is not negative")
        }
        "beta1" | "beta2" => ((0.0..1.0).contains(&value), "use a number from 0 up to, without, 1"),
        "nesterov" | "maximize" | "amsgrad" | "centered" => (value == 0.0 || value == 1.0, "use 0 or 1"),
        _ => (value.is_finite(), "use a finite number"),
    };
    if name == "momentum" && value > 1.0 {
        tensor::warn_once(Lint::MomentumAboveOne, || {
            format!("{op}: momentum is {value}, steps grow without end; use a number below 1, such as 0.9")
        });
    }
    if fine { Ok(()) } else { Err(Error::argument(op, format!("{name} is {value}; {fix}"))) }
}
