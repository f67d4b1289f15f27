//! One cycle: up to a high learning rate and far down again, with the momentum the other way round.

use std::f64::consts::PI;

use tensor::{Error, Result};

use super::{Progress, Rate, Schedule, ScheduleBuilder, demand, demand_epochs};
use crate::optimizer::Optimizer;

/// How a schedule goes from one value to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Anneal {
    /// Along half a cosine.
    #[default]
    Cos,
    /// Along a line.
    Linear,
}

/// Raises the learning rate from `max_lr / div_factor` to `max_lr`, then lowers it far below its start, in
/// `total_steps` steps. Step it after every batch. Meanwhile the momentum (or Adam's beta1) falls and rises.
///
/// ```
/// use gabor_optim::{OneCycleLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// let mut sgd = SGD::new(vec![w], 0.1).momentum(0.9).build()?;
/// let mut schedule = OneCycleLR::new(&mut sgd, 1.0, 12).pct_start(0.5).build()?;
/// assert!((sgd.lr() - 0.04).abs() < 1e-12);
/// let mut highest = 0.0f64;
/// for _batch in 0..11 {
///     schedule.step(&mut sgd)?;
///     highest = highest.max(sgd.lr());
/// }
/// assert!(highest > 0.98 && sgd.lr() < 1e-5);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OneCycleLR {
    progress: Progress,
    max_lr: f64,
    total_steps: u64,
    pct_start: f64,
    anneal: Anneal,
    cycle_momentum: bool,
    base_momentum: f64,
    max_momentum: f64,
    div_factor: f64,
    final_div_factor: f64,
    three_phase: bool,
}

impl OneCycleLR {
    /// PyTorch's cycle: 30 % up, cosines, momentum between 0.85 and 0.95, div_factor 25, final_div_factor 1e4, two
    /// phases, unless set. Building it sets the rate and the momentum of the first step.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &mut dyn Optimizer, max_lr: f64, total_steps: u64) -> ScheduleBuilder<'_, Self> {
        let schedule = OneCycleLR {
            progress: Progress::new("OneCycleLR", optimizer),
            max_lr,
            total_steps,
            pct_start: 0.3,
            anneal: Anneal::Cos,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        };
        ScheduleBuilder { schedule, optimizer: Some(optimizer) }
    }

    /// Where a step is on the way through `values`, one for each boundary of phases.
    fn value(&self, step: u64, values: &[f64]) -> f64 {
        let total = self.total_steps as f64;
        let up = self.pct_start * total - 1.0;
        let ends = if self.three_phase {
            vec![up, 2.0 * self.pct_start * total - 2.0, total - 1.0]
        } else {
            vec![up, total - 1.0]
        };
        let mut start = 0.0;
        for (i, &end) in ends.iter().enumerate() {
            let step = step as f64;
            if step <= end || i + 1 == ends.len() {
                // The step after the last batch stays at the end instead of overshooting it.
                let done = ((step - start) / (end - start)).min(1.0);
                let (from, to) = (values[i], values[i + 1]);
                return match self.anneal {
                    Anneal::Cos => to + (from - to) / 2.0 * (1.0 + libm::cos(PI * done)),
                    Anneal::Linear => (to - from) * done + from,
                };
            }
            start = end;
        }
        values[values.len() - 1]
    }

    fn set_momentum(&self, optimizer: &mut dyn Optimizer) -> Result<()> {
        if !self.cycle_momentum {
            return Ok(());
        }
        let (low, high) = (self.base_momentum, self.max_momentum);
        let values: &[f64] = if self.three_phase { &[high, low, high, high] } else { &[high, low, high] };
        let momentum = self.value(self.progress.epoch, values);
        for group in optimizer.groups_mut() {
            let name = if group.option("beta1").is_some() { "beta1" } else { "momentum" };
            group.set_option(name, momentum)?;
        }
        Ok(())
    }
}

impl ScheduleBuilder<'_, OneCycleLR> {
    /// The share of the steps in which the rate rises; 0.3 unless set.
    pub fn pct_start(self, pct_start: f64) -> Self {
        self.with(|s| s.pct_start = pct_start)
    }

    /// The form of the way up and down; cosines unless set.
    pub fn anneal_strategy(self, anneal: Anneal) -> Self {
        self.with(|s| s.anneal = anneal)
    }

    /// Whether the momentum moves too; `true` unless set.
    pub fn cycle_momentum(self, on: bool) -> Self {
        self.with(|s| s.cycle_momentum = on)
    }

    /// The momentum at the highest rate; 0.85 unless set.
    pub fn base_momentum(self, momentum: f64) -> Self {
        self.with(|s| s.base_momentum = momentum)
    }

    /// The momentum at the lowest rates; 0.95 unless set.
    pub fn max_momentum(self, momentum: f64) -> Self {
        self.with(|s| s.max_momentum = momentum)
    }

    /// How many times lower the rate is at first than at its highest; 25 unless set.
    pub fn div_factor(self, div_factor: f64) -> Self {
        self.with(|s| s.div_factor = div_factor)
    }

    /// How many times lower the rate is at last than at first; 1e4 unless set.
    pub fn final_div_factor(self, final_div_factor: f64) -> Self {
        self.with(|s| s.final_div_factor = final_div_factor)
    }

    /// Whether the way down first ends at the first rate, as long as the way up, and then goes on; `false` unless set.
    pub fn three_phase(self, on: bool) -> Self {
        self.with(|s| s.three_phase = on)
    }
}

impl Schedule for OneCycleLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        let (first, high) = (self.max_lr / self.div_factor, self.max_lr);
        let last = first / self.final_div_factor;
        if self.three_phase {
            self.value(now.epoch, &[first, high, first, last])
        } else {
            self.value(now.epoch, &[first, high, last])
        }
    }

    fn check(&self) -> Result<()> {
        let kind = "OneCycleLR";
        demand_epochs(kind, "total_steps", self.total_steps)?;
        let positive = "use a finite number above 0";
        for (name, value) in
            [("max_lr", self.max_lr), ("div_factor", self.div_factor), ("final_div_factor", self.final_div_factor)]
        {
            demand(kind, value.is_finite() && value > 0.0, name, value, positive)?;
        }
        let share = (0.0..=1.0).contains(&self.pct_start);
        demand(kind, share, "pct_start", self.pct_start, "use a number from 0 to 1")?;
        for (name, value) in [("base_momentum", self.base_momentum), ("max_momentum", self.max_momentum)] {
            demand(kind, (0.0..1.0).contains(&value), name, value, "use a number from 0 up to, without, 1")?;
        }
        Ok(())
    }

    fn start(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        let lacks = |group: &crate::Group| group.option("momentum").is_none() && group.option("beta1").is_none();
        if self.cycle_momentum && optimizer.groups().iter().any(lacks) {
            let message = "the optimizer has neither momentum nor beta1; set cycle_momentum(false)";
            return Err(Error::argument("OneCycleLR", message));
        }
        // The rates of the cycle are its own: those that the groups had do not matter.
        let first = self.max_lr / self.div_factor;
        self.progress.base.fill(first);
        optimizer.groups_mut().iter_mut().for_each(|group| group.set_initial_lr(first));
        super::set_rates(self, optimizer)?;
        self.set_momentum(optimizer)
    }

    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        let (step, total) = (self.progress.epoch + 1, self.total_steps);
        if step > total {
            let message = format!("the cycle has {total} steps, this is step {step}; give it more total_steps");
            return Err(Error::argument("OneCycleLR", message));
        }
        self.progress.epoch = step;
        let done = super::set_rates(self, optimizer);
        if done.is_err() {
            self.progress.epoch = step - 1;
        }
        done?;
        self.set_momentum(optimizer)
    }
}
