//! Schedules by functions of your own: LambdaLR and MultiplicativeLR.

use tensor::{Error, Result};

use super::{Progress, Rate, Schedule, ScheduleBuilder};
use crate::optimizer::Optimizer;

/// A factor for an epoch.
type Factor = Box<dyn Fn(u64) -> f64 + Send + Sync>;

/// One factor for all groups, or one for each.
struct Factors(Vec<Factor>);

impl Factors {
    fn of(&self, group: usize, epoch: u64) -> f64 {
        let factor = if self.0.len() == 1 { &self.0[0] } else { &self.0[group] };
        factor(epoch)
    }

    fn check(&self, kind: &'static str, groups: usize) -> Result<()> {
        let given = self.0.len();
        if given == 1 || given == groups {
            return Ok(());
        }
        let message = format!("{given} functions for {groups} groups; give one for all, or one for each");
        Err(Error::argument(kind, message))
    }
}

impl std::fmt::Debug for Factors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} functions", self.0.len())
    }
}

/// Sets the learning rate to the first one times a function of the epoch.
///
/// ```
/// use gabor_optim::{LambdaLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 0.5).build()?;
/// let mut schedule = LambdaLR::new(&mut sgd, |epoch| 1.0 / (1.0 + epoch as f64)).build()?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(), 0.25);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct LambdaLR {
    progress: Progress,
    factors: Factors,
}

impl LambdaLR {
    /// The rate of each group at first, times `lr_lambda(epoch)`. Building it sets the rate of epoch 0.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        optimizer: &mut dyn Optimizer,
        lr_lambda: impl Fn(u64) -> f64 + Send + Sync + 'static,
    ) -> ScheduleBuilder<'_, Self> {
        Self::for_groups(optimizer, vec![Box::new(lr_lambda)])
    }

    /// As [`new`](Self::new), with a function for each group.
    pub fn for_groups(
        optimizer: &mut dyn Optimizer,
        lr_lambdas: Vec<Box<dyn Fn(u64) -> f64 + Send + Sync>>,
    ) -> ScheduleBuilder<'_, Self> {
        let schedule = LambdaLR { progress: Progress::new("LambdaLR", optimizer), factors: Factors(lr_lambdas) };
        ScheduleBuilder { schedule, optimizer: Some(optimizer) }
    }
}

impl Schedule for LambdaLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        now.base * self.factors.of(now.group, now.epoch)
    }

    fn check(&self) -> Result<()> {
        self.factors.check("LambdaLR", self.progress.base.len())
    }
}

/// Multiplies the learning rate by a function of the epoch, in every epoch but the first.
///
/// ```
/// use gabor_optim::{MultiplicativeLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = MultiplicativeLR::new(&sgd, |epoch| if epoch < 2 { 0.5 } else { 1.0 }).build()?;
/// schedule.step(&mut sgd)?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(), 0.5);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct MultiplicativeLR {
    progress: Progress,
    factors: Factors,
}

impl MultiplicativeLR {
    /// The factor `lr_lambda(epoch)` in every epoch from 1.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        optimizer: &dyn Optimizer,
        lr_lambda: impl Fn(u64) -> f64 + Send + Sync + 'static,
    ) -> ScheduleBuilder<'static, Self> {
        Self::for_groups(optimizer, vec![Box::new(lr_lambda)])
    }

    /// As [`new`](Self::new), with a function for each group.
    pub fn for_groups(
        optimizer: &dyn Optimizer,
        lr_lambdas: Vec<Box<dyn Fn(u64) -> f64 + Send + Sync>>,
    ) -> ScheduleBuilder<'static, Self> {
        let progress = Progress::new("MultiplicativeLR", optimizer);
        ScheduleBuilder::new(MultiplicativeLR { progress, factors: Factors(lr_lambdas) })
    }
}

impl Schedule for MultiplicativeLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        if now.epoch == 0 { now.lr } else { now.lr * self.factors.of(now.group, now.epoch) }
    }

    fn take_over(&self, now: Rate) -> f64 {
        now.lr * self.factors.of(now.group, 0)
    }

    fn check(&self) -> Result<()> {
        self.factors.check("MultiplicativeLR", self.progress.base.len())
    }
}
