//! Schedules along a cosine: CosineAnnealingLR and CosineAnnealingWarmRestarts.

use std::f64::consts::PI;

use tensor::Result;

use super::{Progress, Rate, Schedule, ScheduleBuilder, demand_epochs, demand_factor};
use crate::optimizer::Optimizer;

/// Lowers the learning rate along half a cosine to `eta_min` in `t_max` epochs, and raises it again after those.
///
/// ```
/// use gabor_optim::{CosineAnnealingLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = CosineAnnealingLR::new(&sgd, 4).build()?;
/// schedule.step(&mut sgd)?;
/// schedule.step(&mut sgd)?;
/// assert!((sgd.lr() - 0.5).abs() < 1e-12);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CosineAnnealingLR {
    progress: Progress,
    t_max: u64,
    eta_min: f64,
}

impl CosineAnnealingLR {
    /// Half a cosine in `t_max` epochs, down to 0 unless `eta_min` is set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &dyn Optimizer, t_max: u64) -> ScheduleBuilder<'static, Self> {
        let progress = Progress::new("CosineAnnealingLR", optimizer);
        ScheduleBuilder::new(CosineAnnealingLR { progress, t_max, eta_min: 0.0 })
    }
}

impl ScheduleBuilder<'_, CosineAnnealingLR> {
    /// The lowest learning rate; 0 unless set.
    pub fn eta_min(self, eta_min: f64) -> Self {
        self.with(|s| s.eta_min = eta_min)
    }
}

impl Schedule for CosineAnnealingLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        let (t, lowest) = (self.t_max, self.eta_min);
        let cosine = |epoch: u64| 1.0 + libm::cos(PI * epoch as f64 / t as f64);
        if now.epoch == 0 {
            return now.lr;
        }
        // One epoch after the lowest point the ratio of two neighbours is 0 / 0.
        if now.epoch > t && (now.epoch - 1 - t).is_multiple_of(t.saturating_mul(2)) {
            return now.lr + (now.base - lowest) * (1.0 - libm::cos(PI / t as f64)) / 2.0;
        }
        cosine(now.epoch) / cosine(now.epoch - 1) * (now.lr - lowest) + lowest
    }

    fn check(&self) -> Result<()> {
        demand_epochs("CosineAnnealingLR", "t_max", self.t_max)?;
        demand_factor("CosineAnnealingLR", "eta_min", self.eta_min)
    }
}

/// Lowers the learning rate along half a cosine again and again, each time `t_mult` times as long.
///
/// ```
/// use gabor_optim::{CosineAnnealingWarmRestarts, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = CosineAnnealingWarmRestarts::new(&sgd, 2).t_mult(2).build()?;
/// let mut restarts = vec![];
/// for epoch in 0..15 {
///     if sgd.lr() == 1.0 {
///         restarts.push(epoch);
///     }
///     schedule.step(&mut sgd)?;
/// }
/// assert_eq!(restarts, [0, 2, 6, 14]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CosineAnnealingWarmRestarts {
    progress: Progress,
    t_0: u64,
    t_mult: u64,
    eta_min: f64,
}

impl CosineAnnealingWarmRestarts {
    /// A first descent in `t_0` epochs, the others as long, down to 0 unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &dyn Optimizer, t_0: u64) -> ScheduleBuilder<'static, Self> {
        let progress = Progress::new("CosineAnnealingWarmRestarts", optimizer);
        ScheduleBuilder::new(CosineAnnealingWarmRestarts { progress, t_0, t_mult: 1, eta_min: 0.0 })
    }
}

impl ScheduleBuilder<'_, CosineAnnealingWarmRestarts> {
    /// How many times as long each descent is as the one before; 1 unless set.
    pub fn t_mult(self, t_mult: u64) -> Self {
        self.with(|s| s.t_mult = t_mult)
    }

    /// The lowest learning rate; 0 unless set.
    pub fn eta_min(self, eta_min: f64) -> Self {
        self.with(|s| s.eta_min = eta_min)
    }
}

impl Schedule for CosineAnnealingWarmRestarts {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        let (mut at, mut length) = (now.epoch, self.t_0);
        if self.t_mult == 1 {
            at %= length;
        }
        while at >= length {
            at -= length;
            length = length.saturating_mul(self.t_mult);
        }
        self.eta_min + (now.base - self.eta_min) * (1.0 + libm::cos(PI * at as f64 / length as f64)) / 2.0
    }

    fn check(&self) -> Result<()> {
        let kind = "CosineAnnealingWarmRestarts";
        demand_epochs(kind, "t_0", self.t_0)?;
        demand_epochs(kind, "t_mult", self.t_mult)?;
        demand_factor(kind, "eta_min", self.eta_min)
    }
}
