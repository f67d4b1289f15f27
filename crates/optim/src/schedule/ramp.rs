//! Schedules over a first stretch of epochs: LinearLR, ConstantLR, PolynomialLR.

use tensor::Result;

use super::{Progress, Rate, Schedule, ScheduleBuilder, demand, demand_epochs, demand_factor};
use crate::optimizer::Optimizer;

const SHARE: &str = "use a number above 0, up to 1";

/// Moves the learning rate linearly from a share of itself to another: a warm-up.
///
/// ```
/// use gabor_optim::{LinearLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = LinearLR::new(&mut sgd).start_factor(0.25).total_iters(3).build()?;
/// assert_eq!(sgd.lr(), 0.25);
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(), 0.5);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LinearLR {
    progress: Progress,
    start_factor: f64,
    end_factor: f64,
    total_iters: u64,
}

impl LinearLR {
    /// From 1/3 to 1 in 5 epochs unless set. Building it sets the rate of the first epoch.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &mut dyn Optimizer) -> ScheduleBuilder<'_, Self> {
        let progress = Progress::new("LinearLR", optimizer);
        let schedule = LinearLR { progress, start_factor: 1.0 / 3.0, end_factor: 1.0, total_iters: 5 };
        ScheduleBuilder { schedule, optimizer: Some(optimizer) }
    }
}

impl ScheduleBuilder<'_, LinearLR> {
    /// The share in the first epoch; 1/3 unless set.
    pub fn start_factor(self, start_factor: f64) -> Self {
        self.with(|s| s.start_factor = start_factor)
    }

    /// The share at the end; 1 unless set.
    pub fn end_factor(self, end_factor: f64) -> Self {
        self.with(|s| s.end_factor = end_factor)
    }

    /// The number of epochs; 5 unless set.
    pub fn total_iters(self, total_iters: u64) -> Self {
        self.with(|s| s.total_iters = total_iters)
    }
}

impl Schedule for LinearLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        if now.epoch == 0 {
            return now.lr * self.start_factor;
        }
        if now.epoch > self.total_iters {
            return now.lr;
        }
        let rise = self.end_factor - self.start_factor;
        let before = self.total_iters as f64 * self.start_factor + (now.epoch - 1) as f64 * rise;
        now.lr * (1.0 + rise / before)
    }

    fn check(&self) -> Result<()> {
        demand_epochs("LinearLR", "total_iters", self.total_iters)?;
        let (start, end) = (self.start_factor, self.end_factor);
        demand("LinearLR", start > 0.0 && start <= 1.0, "start_factor", start, SHARE)?;
        demand("LinearLR", (0.0..=1.0).contains(&end), "end_factor", end, "use a number from 0 to 1")
    }
}

/// Multiplies the learning rate by `factor` in the first epochs.
///
/// ```
/// use gabor_optim::{ConstantLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = ConstantLR::new(&mut sgd).factor(0.5).total_iters(1).build()?;
/// assert_eq!(sgd.lr(), 0.5);
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(), 1.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConstantLR {
    progress: Progress,
    factor: f64,
    total_iters: u64,
}

impl ConstantLR {
    /// A third in the first 5 epochs unless set. Building it sets the rate of the first epoch.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &mut dyn Optimizer) -> ScheduleBuilder<'_, Self> {
        let progress = Progress::new("ConstantLR", optimizer);
        let schedule = ConstantLR { progress, factor: 1.0 / 3.0, total_iters: 5 };
        ScheduleBuilder { schedule, optimizer: Some(optimizer) }
    }
}

impl ScheduleBuilder<'_, ConstantLR> {
    /// The share in the first epochs; 1/3 unless set.
    pub fn factor(self, factor: f64) -> Self {
        self.with(|s| s.factor = factor)
    }

    /// The number of those epochs; 5 unless set.
    pub fn total_iters(self, total_iters: u64) -> Self {
        self.with(|s| s.total_iters = total_iters)
    }
}

impl Schedule for ConstantLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        match now.epoch {
            0 => now.lr * self.factor,
            epoch if epoch == self.total_iters => now.lr * (1.0 / self.factor),
            _ => now.lr,
        }
    }

    fn check(&self) -> Result<()> {
        demand_epochs("ConstantLR", "total_iters", self.total_iters)?;
        demand("ConstantLR", self.factor > 0.0 && self.factor <= 1.0, "factor", self.factor, SHARE)
    }
}

/// Lowers the learning rate to 0 along `(1 - epoch / total_iters) ^ power`.
///
/// ```
/// use gabor_optim::{Optimizer, PolynomialLR, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = PolynomialLR::new(&sgd).total_iters(4).power(2.0).build()?;
/// schedule.step(&mut sgd)?;
/// schedule.step(&mut sgd)?;
/// assert!((sgd.lr() - 0.25).abs() < 1e-12);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PolynomialLR {
    progress: Progress,
    total_iters: u64,
    power: f64,
}

impl PolynomialLR {
    /// A straight line to 0 in 5 epochs unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &dyn Optimizer) -> ScheduleBuilder<'static, Self> {
        let progress = Progress::new("PolynomialLR", optimizer);
        ScheduleBuilder::new(PolynomialLR { progress, total_iters: 5, power: 1.0 })
    }
}

impl ScheduleBuilder<'_, PolynomialLR> {
    /// The number of epochs; 5 unless set.
    pub fn total_iters(self, total_iters: u64) -> Self {
        self.with(|s| s.total_iters = total_iters)
    }

    /// The power; 1 unless set.
    pub fn power(self, power: f64) -> Self {
        self.with(|s| s.power = power)
    }
}

impl Schedule for PolynomialLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        if now.epoch == 0 || now.epoch > self.total_iters {
            return now.lr;
        }
        let left = |epoch: u64| 1.0 - epoch as f64 / self.total_iters as f64;
        now.lr * libm::pow(left(now.epoch) / left(now.epoch - 1), self.power)
    }

    fn check(&self) -> Result<()> {
        demand_epochs("PolynomialLR", "total_iters", self.total_iters)?;
        demand_factor("PolynomialLR", "power", self.power)
    }
}
