//! A learning rate that goes up and down again and again: CyclicLR.

use tensor::{Error, Result};

use super::{Progress, Rate, Schedule, ScheduleBuilder, demand, demand_epochs, demand_factor};
use crate::optimizer::Optimizer;

/// How the height of the cycles of [`CyclicLR`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum CycleMode {
    /// It stays.
    #[default]
    Triangular,
    /// Each cycle is half as high as the one before.
    Triangular2,
    /// It is multiplied by this number in every step.
    ExpRange(f64),
}

/// Raises the learning rate from `base_lr` to `max_lr` along a line and lowers it again, cycle after cycle: Smith, 2017. Step
/// it after every batch. Meanwhile the momentum (or Adam's beta1) falls and rises.
///
/// ```
/// use gabor_optim::{CyclicLR, Optimizer, SGD, Schedule};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 0.1).momentum(0.9).build()?;
/// let mut schedule = CyclicLR::new(&mut sgd, 1.0, 3.0).step_size_up(2).build()?;
/// let mut rates = vec![];
/// for _batch in 0..6 {
///     rates.push(sgd.lr());
///     schedule.step(&mut sgd)?;
/// }
/// assert_eq!(rates, [1.0, 2.0, 3.0, 2.0, 1.0, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CyclicLR {
    progress: Progress,
    base_lr: f64,
    max_lr: f64,
    step_size_up: u64,
    step_size_down: Option<u64>,
    mode: CycleMode,
    cycle_momentum: bool,
    base_momentum: f64,
    max_momentum: f64,
}

impl CyclicLR {
    /// PyTorch's cycles: 2000 steps up, as many down, all of one height, momentum between 0.8 and 0.9, unless set.
    /// Building it sets the rate and the momentum of the first step.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &mut dyn Optimizer, base_lr: f64, max_lr: f64) -> ScheduleBuilder<'_, Self> {
        let schedule = CyclicLR {
            progress: Progress::new("CyclicLR", optimizer),
            base_lr,
            max_lr,
            step_size_up: 2000,
            step_size_down: None,
            mode: CycleMode::Triangular,
            cycle_momentum: true,
            base_momentum: 0.8,
            max_momentum: 0.9,
        };
        ScheduleBuilder { schedule, optimizer: Some(optimizer) }
    }

    /// Where between low (0) and high (1) a step is.
    fn height(&self, step: u64) -> f64 {
        let (up, step) = (self.step_size_up as f64, step as f64);
        let total = up + self.step_size_down.unwrap_or(self.step_size_up) as f64;
        let cycle = libm::floor(1.0 + step / total);
        let (x, top) = (1.0 + step / total - cycle, up / total);
        let scale = if x <= top { x / top } else { (x - 1.0) / (top - 1.0) };
        scale
            * match self.mode {
                CycleMode::Triangular => 1.0,
                CycleMode::Triangular2 => 1.0 / libm::pow(2.0, cycle - 1.0),
                CycleMode::ExpRange(gamma) => libm::pow(gamma, step),
            }
    }

    fn set_momentum(&self, optimizer: &mut dyn Optimizer) -> Result<()> {
        if !self.cycle_momentum {
            return Ok(());
        }
        let range = self.max_momentum - self.base_momentum;
        let momentum = self.max_momentum - range * self.height(self.progress.epoch);
        for group in optimizer.groups_mut() {
            let name = if group.option("beta1").is_some() { "beta1" } else { "momentum" };
            group.set_option(name, momentum)?;
        }
        Ok(())
    }
}

impl ScheduleBuilder<'_, CyclicLR> {
    /// The steps on the way up; 2000 unless set.
    pub fn step_size_up(self, steps: u64) -> Self {
        self.with(|s| s.step_size_up = steps)
    }

    /// The steps on the way down; as many as up unless set.
    pub fn step_size_down(self, steps: u64) -> Self {
        self.with(|s| s.step_size_down = Some(steps))
    }

    /// How the height of the cycles changes; it stays unless set.
    pub fn mode(self, mode: CycleMode) -> Self {
        self.with(|s| s.mode = mode)
    }

    /// Whether the momentum moves too; `true` unless set.
    pub fn cycle_momentum(self, on: bool) -> Self {
        self.with(|s| s.cycle_momentum = on)
    }

    /// The momentum at the highest rate; 0.8 unless set.
    pub fn base_momentum(self, momentum: f64) -> Self {
        self.with(|s| s.base_momentum = momentum)
    }

    /// The momentum at the lowest rate; 0.9 unless set.
    pub fn max_momentum(self, momentum: f64) -> Self {
        self.with(|s| s.max_momentum = momentum)
    }
}

impl Schedule for CyclicLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        self.base_lr + (self.max_lr - self.base_lr) * self.height(now.epoch)
    }

    fn check(&self) -> Result<()> {
        let kind = "CyclicLR";
        demand_factor(kind, "base_lr", self.base_lr)?;
        demand_factor(kind, "max_lr", self.max_lr)?;
        demand_epochs(kind, "step_size_up", self.step_size_up)?;
        if let Some(steps) = self.step_size_down {
            demand_epochs(kind, "step_size_down", steps)?;
        }
        if let CycleMode::ExpRange(gamma) = self.mode {
            demand_factor(kind, "gamma", gamma)?;
        }
        for (name, value) in [("base_momentum", self.base_momentum), ("max_momentum", self.max_momentum)] {
            demand(kind, (0.0..1.0).contains(&value), name, value, "use a number from 0 up to, without, 1")?;
        }
        Ok(())
    }

    fn start(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        let lacks = |group: &crate::Group| group.option("momentum").is_none() && group.option("beta1").is_none();
        if self.cycle_momentum && optimizer.groups().iter().any(lacks) {
            let message = "the optimizer has neither momentum nor beta1; set cycle_momentum(false)";
            return Err(Error::argument("CyclicLR", message));
        }
        super::set_rates(self, optimizer)?;
        self.set_momentum(optimizer)
    }

    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        let epoch = self.progress.epoch;
        self.progress.epoch = epoch + 1;
        let done = super::set_rates(self, optimizer).and_then(|()| self.set_momentum(optimizer));
        if done.is_err() {
            self.progress.epoch = epoch;
        }
        done
    }
}
