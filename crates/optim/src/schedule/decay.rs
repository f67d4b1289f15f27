//! Schedules that multiply the learning rate now and then: StepLR, MultiStepLR, ExponentialLR.

use tensor::Result;

use super::{Progress, Rate, Schedule, ScheduleBuilder, demand_epochs, demand_factor};
use crate::optimizer::Optimizer;

/// Multiplies the learning rate by `gamma` every `step_size` epochs.
///
/// ```
/// use gabor_optim::{Optimizer, SGD, Schedule, StepLR};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = StepLR::new(&sgd, 2).gamma(0.5).build()?;
/// let mut rates = vec![];
/// for _epoch in 0..5 {
///     rates.push(sgd.lr());
///     schedule.step(&mut sgd)?;
/// }
/// assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.25]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StepLR {
    progress: Progress,
    step_size: u64,
    gamma: f64,
}

impl StepLR {
    /// A step every `step_size` epochs, with gamma 0.1 unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &dyn Optimizer, step_size: u64) -> ScheduleBuilder<'static, Self> {
        ScheduleBuilder::new(StepLR { progress: Progress::new("StepLR", optimizer), step_size, gamma: 0.1 })
    }
}

impl ScheduleBuilder<'_, StepLR> {
    /// The factor of each step; 0.1 unless set.
    pub fn gamma(self, gamma: f64) -> Self {
        self.with(|s| s.gamma = gamma)
    }
}

impl Schedule for StepLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        if now.epoch == 0 || !now.epoch.is_multiple_of(self.step_size) { now.lr } else { now.lr * self.gamma }
    }

    fn check(&self) -> Result<()> {
        demand_epochs("StepLR", "step_size", self.step_size)?;
        demand_factor("StepLR", "gamma", self.gamma)
    }
}

/// Multiplies the learning rate by `gamma` at given epochs.
///
/// ```
/// use gabor_optim::{MultiStepLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = MultiStepLR::new(&sgd, [1, 3]).gamma(0.5).build()?;
/// let mut rates = vec![];
/// for _epoch in 0..5 {
///     rates.push(sgd.lr());
///     schedule.step(&mut sgd)?;
/// }
/// assert_eq!(rates, [1.0, 0.5, 0.5, 0.25, 0.25]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiStepLR {
    progress: Progress,
    milestones: Vec<u64>,
    gamma: f64,
}

impl MultiStepLR {
    /// A step at each of the `milestones`, two if it is named twice, with gamma 0.1 unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &dyn Optimizer, milestones: impl Into<Vec<u64>>) -> ScheduleBuilder<'static, Self> {
        let (progress, milestones) = (Progress::new("MultiStepLR", optimizer), milestones.into());
        ScheduleBuilder::new(MultiStepLR { progress, milestones, gamma: 0.1 })
    }
}

impl ScheduleBuilder<'_, MultiStepLR> {
    /// The factor of each step; 0.1 unless set.
    pub fn gamma(self, gamma: f64) -> Self {
        self.with(|s| s.gamma = gamma)
    }
}

impl Schedule for MultiStepLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        match self.milestones.iter().filter(|&&at| at == now.epoch).count() {
            0 => now.lr,
            times => now.lr * libm::pow(self.gamma, times as f64),
        }
    }

    fn check(&self) -> Result<()> {
        demand_factor("MultiStepLR", "gamma", self.gamma)
    }
}

/// Multiplies the learning rate by `gamma` in every epoch.
///
/// ```
/// use gabor_optim::{ExponentialLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = ExponentialLR::new(&sgd, 0.5).build()?;
/// schedule.step(&mut sgd)?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(), 0.25);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExponentialLR {
    progress: Progress,
    gamma: f64,
}

impl ExponentialLR {
    /// The factor `gamma` in every epoch.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &dyn Optimizer, gamma: f64) -> ScheduleBuilder<'static, Self> {
        ScheduleBuilder::new(ExponentialLR { progress: Progress::new("ExponentialLR", optimizer), gamma })
    }
}

impl Schedule for ExponentialLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        if now.epoch == 0 { now.lr } else { now.lr * self.gamma }
    }

    fn check(&self) -> Result<()> {
        demand_factor("ExponentialLR", "gamma", self.gamma)
    }
}
