//! The learning rate while weights are averaged: SWALR.

use std::f64::consts::PI;

use tensor::Result;

use super::one_cycle::Anneal;
use super::{Progress, Rate, Schedule, ScheduleBuilder, demand_factor};
use crate::optimizer::Optimizer;

/// Moves the learning rate from where it is to `swa_lr` and keeps it there, for [`AveragedModel::swa`](crate::AveragedModel::swa).
///
/// ```
/// use gabor_optim::{Anneal, Optimizer, SGD, SWALR, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = SWALR::new(&mut sgd, 0.5).anneal_epochs(2).anneal_strategy(Anneal::Linear).build()?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(), 0.75);
/// schedule.step(&mut sgd)?;
/// schedule.step(&mut sgd)?;
/// assert_eq!(sgd.lr(), 0.5);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SWALR {
    progress: Progress,
    swa_lr: f64,
    anneal_epochs: u64,
    anneal: Anneal,
}

impl SWALR {
    /// To `swa_lr` in 10 epochs along half a cosine unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &mut dyn Optimizer, swa_lr: f64) -> ScheduleBuilder<'_, Self> {
        let progress = Progress::new("SWALR", optimizer);
        let schedule = SWALR { progress, swa_lr, anneal_epochs: 10, anneal: Anneal::Cos };
        ScheduleBuilder { schedule, optimizer: Some(optimizer) }
    }

    /// How much of the way is done after so many epochs.
    fn done(&self, epochs: u64) -> f64 {
        let share = (epochs as f64 / self.anneal_epochs.max(1) as f64).min(1.0);
        match self.anneal {
            Anneal::Cos => (1.0 - libm::cos(PI * share)) / 2.0,
            Anneal::Linear => share,
        }
    }
}

impl ScheduleBuilder<'_, SWALR> {
    /// The number of epochs on the way, 0 for none; 10 unless set.
    pub fn anneal_epochs(self, epochs: u64) -> Self {
        self.with(|s| s.anneal_epochs = epochs)
    }

    /// The form of the way; half a cosine unless set.
    pub fn anneal_strategy(self, anneal: Anneal) -> Self {
        self.with(|s| s.anneal = anneal)
    }
}

impl Schedule for SWALR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        let epoch = if self.anneal_epochs == 0 { now.epoch.max(1) } else { now.epoch };
        if epoch == 0 {
            return now.lr;
        }
        // Where the way began follows from the rate so far.
        let before = self.done(epoch - 1);
        let start = if before == 1.0 { self.swa_lr } else { (now.lr - self.swa_lr * before) / (1.0 - before) };
        let done = self.done(epoch);
        self.swa_lr * done + start * (1.0 - done)
    }

    fn check(&self) -> Result<()> {
        demand_factor("SWALR", "swa_lr", self.swa_lr)
    }
}
