//! Learning-rate schedules: what they share. They compute each rate from the one before, as PyTorch's chainable forms do,
//! so that several can work on one optimizer.

use tensor::{Error, Result};

use crate::optimizer::Optimizer;
use crate::state::{StateDict, mismatch};

pub(crate) mod cosine;
pub(crate) mod cyclic;
pub(crate) mod decay;
pub(crate) mod lambda;
pub(crate) mod one_cycle;
pub(crate) mod plateau;
pub(crate) mod ramp;
pub(crate) mod sequence;
pub(crate) mod swa_lr;

/// Changes the learning rates of an optimizer from epoch to epoch (or from step to step).
///
/// Schedules of your own say where they keep their [`Progress`] and how a rate follows from the one before:
///
/// ```
/// use gabor_optim::{Optimizer, Progress, Rate, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
///
/// /// `base / (1 + decay * epoch)`.
/// struct InverseTime(Progress, f64);
///
/// impl Schedule for InverseTime {
///     fn progress(&self) -> &Progress {
///         &self.0
///     }
///     fn progress_mut(&mut self) -> &mut Progress {
///         &mut self.0
///     }
///     fn rate(&self, now: Rate) -> f64 {
///         now.base / (1.0 + self.1 * now.epoch as f64)
///     }
/// }
///
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 0.5).build()?;
/// let mut schedule = InverseTime(Progress::new("InverseTime", &sgd), 1.0);
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(), 0.25);
/// # Ok::<(), tensor::Error>(())
/// ```
pub trait Schedule {
    /// Where the schedule stands.
    fn progress(&self) -> &Progress;

    /// Where the schedule stands, for moving on.
    fn progress_mut(&mut self) -> &mut Progress;

    /// The learning rate of a group in the epoch that begins.
    fn rate(&self, now: Rate) -> f64;

    /// Whether the options make sense; builders ask.
    ///
    /// # Errors
    /// Names the option.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The rate from which the schedule starts when a [`SequentialLR`](crate::SequentialLR) hands over to it: that of the group
    /// before all schedules. [`MultiplicativeLR`](crate::MultiplicativeLR) goes on from the rate so far instead.
    fn take_over(&self, now: Rate) -> f64 {
        now.base
    }

    /// Prepares the optimizer for epoch 0; builders that take it `&mut` ask for it. By default each group gets its
    /// [`rate`](Self::rate) of epoch 0.
    ///
    /// # Errors
    /// The optimizer lacks something that the schedule needs.
    fn start(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        set_rates(self, optimizer)
    }

    /// Begins the next epoch: sets the learning rate of each group.
    ///
    /// # Errors
    /// The optimizer has another number of groups than the one that the schedule was built for.
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        let epoch = self.progress().epoch;
        self.progress_mut().epoch = epoch + 1;
        let done = set_rates(self, optimizer);
        if done.is_err() {
            self.progress_mut().epoch = epoch;
        }
        done
    }

    /// How many times the schedule has stepped.
    fn epoch(&self) -> u64 {
        self.progress().epoch
    }

    /// The learning rates that the schedule set last, one for each group.
    fn last_lr(&self) -> &[f64] {
        &self.progress().last
    }

    /// Where the schedule stands, for a file. Options are not part of it.
    ///
    /// ```
    /// # use gabor_optim::{ExponentialLR, Optimizer, SGD, Schedule};
    /// # use tensor::{Parameter, Tensor};
    /// # let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
    /// let mut schedule = ExponentialLR::new(&sgd, 0.5).build()?;
    /// schedule.step(&mut sgd)?;
    /// let mut resumed = ExponentialLR::new(&sgd, 0.5).build()?;
    /// resumed.load_state_dict(&schedule.state_dict())?;
    /// assert_eq!(resumed.epoch(), 1);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    fn state_dict(&self) -> StateDict {
        self.progress().state_dict()
    }

    /// Takes over a stored state. The optimizer has its own, which holds the current rates.
    ///
    /// # Errors
    /// The state is that of another schedule or of another number of groups; nothing is changed then.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        self.progress_mut().load(state)
    }
}

/// What a rate may depend on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Rate {
    /// The epoch that begins: 0 at the start, 1 after the first step.
    pub epoch: u64,
    /// The learning rate so far.
    pub lr: f64,
    /// The learning rate that the group had at first.
    pub base: f64,
    /// The position of the group.
    pub group: usize,
}

/// Where a schedule stands.
#[derive(Clone, Debug)]
pub struct Progress {
    pub(crate) kind: &'static str,
    pub(crate) epoch: u64,
    pub(crate) base: Vec<f64>,
    last: Vec<f64>,
}

impl Progress {
    /// The start of a schedule called `kind`, whose base rates are those that the groups have, or had before an earlier
    /// schedule changed them.
    pub fn new(kind: &'static str, optimizer: &dyn Optimizer) -> Self {
        let base = optimizer.groups().iter().map(|group| group.initial_lr()).collect();
        let last = optimizer.groups().iter().map(|group| group.lr()).collect();
        Progress { kind, epoch: 0, base, last }
    }

    fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new(self.kind);
        state.numbers.push(("last_epoch".into(), self.epoch as f64));
        for (i, (&base, &last)) in self.base.iter().zip(&self.last).enumerate() {
            state.numbers.push((format!("base_lrs.{i}"), base));
            state.numbers.push((format!("last_lr.{i}"), last));
        }
        state
    }

    fn load(&mut self, state: &StateDict) -> Result<()> {
        state.expect_kind(self.kind)?;
        let mut problems = Vec::new();
        let mut take = |name: String| {
            let value = state.number(&name).filter(|v| v.is_finite() && *v >= 0.0);
            value.unwrap_or_else(|| {
                problems.push(format!("{name} is missing or no finite number of at least 0"));
                0.0
            })
        };
        let epoch = take("last_epoch".into());
        let base: Vec<f64> = (0..self.base.len()).map(|i| take(format!("base_lrs.{i}"))).collect();
        let last = (0..self.base.len()).map(|i| take(format!("last_lr.{i}"))).collect();
        if state.number(&format!("base_lrs.{}", base.len())).is_some() {
            problems.push(format!("it has more groups than the {} here", base.len()));
        }
        if epoch.fract() != 0.0 || epoch > 9e15 {
            problems.push(format!("last_epoch is {epoch}"));
        }
        mismatch(self.kind, &problems)?;
        (self.epoch, self.base, self.last) = (epoch as u64, base, last);
        Ok(())
    }

    /// Refuses an optimizer with another number of groups.
    pub(crate) fn expect_groups(&self, optimizer: &dyn Optimizer) -> Result<()> {
        let (here, there) = (self.base.len(), optimizer.groups().len());
        if here == there {
            return Ok(());
        }
        let message = format!("built for {here} groups, the optimizer has {there}; build it from this optimizer");
        Err(Error::argument(self.kind, message))
    }

    /// Gives each group its new rate, or none if one of them is refused.
    pub(crate) fn apply(&mut self, optimizer: &mut dyn Optimizer, rates: Vec<f64>) -> Result<()> {
        if let Some(bad) = rates.iter().find(|rate| !rate.is_finite() || **rate < 0.0) {
            let message = format!("the next lr is {bad}, epoch {}; check the options", self.epoch);
            return Err(Error::argument(self.kind, message));
        }
        for ((group, &rate), &base) in optimizer.groups_mut().iter_mut().zip(&rates).zip(&self.base) {
            group.keep_initial_lr(base);
            group.set_lr(rate)?;
        }
        self.last = rates;
        Ok(())
    }
}

fn set_rates<S: Schedule + ?Sized>(schedule: &mut S, optimizer: &mut dyn Optimizer) -> Result<()> {
    let progress = schedule.progress();
    progress.expect_groups(optimizer)?;
    let groups = optimizer.groups().iter().zip(&progress.base).enumerate();
    let rates = groups
        .map(|(at, (group, &base))| schedule.rate(Rate { epoch: progress.epoch, lr: group.lr(), base, group: at }))
        .collect();
    schedule.progress_mut().apply(optimizer, rates)
}

/// Options of a schedule before it is built.
///
/// ```
/// use gabor_optim::{SGD, StepLR};
/// use tensor::{Parameter, Tensor};
/// let sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let error = StepLR::new(&sgd, 0).build().unwrap_err();
/// assert_eq!(error.to_string(), "StepLR: step_size is 0; use at least 1");
/// # Ok::<(), tensor::Error>(())
/// ```
#[must_use = "call build"]
pub struct ScheduleBuilder<'a, S> {
    pub(crate) schedule: S,
    /// Present if the schedule sets the rate of epoch 0.
    pub(crate) optimizer: Option<&'a mut dyn Optimizer>,
}

impl<S> ScheduleBuilder<'_, S> {
    pub(crate) fn new(schedule: S) -> Self {
        ScheduleBuilder { schedule, optimizer: None }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut S)) -> Self {
        change(&mut self.schedule);
        self
    }
}

impl<S: Schedule> ScheduleBuilder<'_, S> {
    /// The schedule, at epoch 0.
    ///
    /// # Errors
    /// An option makes no sense.
    pub fn build(mut self) -> Result<S> {
        self.schedule.check()?;
        if let Some(optimizer) = self.optimizer {
            self.schedule.start(optimizer)?;
        }
        Ok(self.schedule)
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for ScheduleBuilder<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.schedule.fmt(f)
    }
}

/// Refuses values of an option that are not fine.
pub(crate) fn demand(kind: &'static str, fine: bool, option: &str, value: f64, fix: &str) -> Result<()> {
    if fine { Ok(()) } else { Err(Error::argument(kind, format!("{option} is {value}; {fix}"))) }
}

/// Refuses a factor that is negative, NaN or infinite.
pub(crate) fn demand_factor(kind: &'static str, option: &str, value: f64) -> Result<()> {
    demand(kind, value.is_finite() && value >= 0.0, option, value, "use a finite number that is not negative")
}

/// Refuses 0 epochs.
pub(crate) fn demand_epochs(kind: &'static str, option: &str, value: u64) -> Result<()> {
    demand(kind, value > 0, option, value as f64, "use at least 1")
}
