//! A schedule that watches a metric: ReduceLROnPlateau.

use tensor::{Error, Result};

use super::{demand, demand_factor};
use crate::optimizer::Optimizer;
use crate::state::{StateDict, mismatch};

/// Which metrics are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Lower ones, such as losses.
    #[default]
    Min,
    /// Higher ones, such as accuracies.
    Max,
}

/// How a metric must differ from the best one to count as better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ThresholdMode {
    /// By a share of the best one.
    #[default]
    Rel,
    /// By an amount.
    Abs,
}

/// Multiplies the learning rate by `factor` when a metric has not become better for more than `patience` epochs.
///
/// ```
/// use gabor_optim::{Optimizer, ReduceLROnPlateau, SGD};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let mut schedule = ReduceLROnPlateau::new(&sgd).factor(0.5).patience(1).build()?;
/// for loss in [0.9, 0.5, 0.6, 0.5] {
///     schedule.step(loss, &mut sgd)?;
/// }
/// assert_eq!(sgd.lr(), 0.5);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLROnPlateau {
    options: PlateauBuilder,
    best: f64,
    bad_epochs: u64,
    cooldown_left: u64,
    epoch: u64,
}

/// Options of [`ReduceLROnPlateau`] before it is built.
///
/// ```
/// use gabor_optim::{Mode, ReduceLROnPlateau, SGD, ThresholdMode};
/// use tensor::{Parameter, Tensor};
/// let sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// // Halve when the accuracy has not risen by a thousandth for five epochs.
/// let builder = ReduceLROnPlateau::new(&sgd).mode(Mode::Max).threshold_mode(ThresholdMode::Abs);
/// let schedule = builder.threshold(1e-3).patience(5).factor(0.5).min_lr(1e-4).build()?;
/// assert_eq!(schedule.best(), f64::NEG_INFINITY);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call build"]
pub struct PlateauBuilder {
    groups: usize,
    mode: Mode,
    factor: f64,
    patience: u64,
    threshold: f64,
    threshold_mode: ThresholdMode,
    cooldown: u64,
    min_lr: f64,
    eps: f64,
}

const KIND: &str = "ReduceLROnPlateau";

impl ReduceLROnPlateau {
    /// PyTorch's defaults: lower is better, factor 0.1, patience 10, relative threshold 1e-4, no cooldown, unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &dyn Optimizer) -> PlateauBuilder {
        PlateauBuilder {
            groups: optimizer.groups().len(),
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: 0.0,
            eps: 1e-8,
        }
    }

    /// Ends an epoch with this metric. NaN is never better.
    ///
    /// # Errors
    /// The optimizer has another number of groups than the one that the schedule was built for.
    pub fn step(&mut self, metric: f64, optimizer: &mut dyn Optimizer) -> Result<()> {
        let (options, there) = (&self.options, optimizer.groups().len());
        if there != options.groups {
            let message =
                format!("built for {} groups, the optimizer has {there}; build it from this optimizer", options.groups);
            return Err(Error::argument(KIND, message));
        }
        self.epoch += 1;
        if options.better(metric, self.best) {
            self.best = metric;
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        if self.cooldown_left > 0 {
            self.cooldown_left -= 1;
            self.bad_epochs = 0;
        }
        if self.bad_epochs > options.patience {
            for group in optimizer.groups_mut() {
                let lr = group.lr();
                let lower = (lr * options.factor).max(options.min_lr);
                if lr - lower > options.eps {
                    group.keep_initial_lr(lr);
                    group.set_lr(lower)?;
                }
            }
            self.cooldown_left = options.cooldown;
            self.bad_epochs = 0;
        }
        Ok(())
    }

    /// The best metric so far.
    pub fn best(&self) -> f64 {
        self.best
    }

    /// The epochs since the best metric, or since the last reduction.
    pub fn num_bad_epochs(&self) -> u64 {
        self.bad_epochs
    }

    /// Where the schedule stands, for a file. Options are not part of it.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new(KIND);
        state.numbers = vec![
            ("best".into(), self.best),
            ("num_bad_epochs".into(), self.bad_epochs as f64),
            ("cooldown_counter".into(), self.cooldown_left as f64),
            ("last_epoch".into(), self.epoch as f64),
        ];
        state
    }

    /// Takes over a stored state.
    ///
    /// # Errors
    /// The state is that of another schedule; nothing is changed then.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        state.expect_kind(KIND)?;
        let mut problems = Vec::new();
        let mut count = |name: &str| match state.number(name) {
            Some(value) if value >= 0.0 && value.fract() == 0.0 && value <= 9e15 => value as u64,
            _ => {
                problems.push(format!("{name} is missing or no count"));
                0
            }
        };
        let (bad, cooldown, epoch) = (count("num_bad_epochs"), count("cooldown_counter"), count("last_epoch"));
        let best = state.number("best").unwrap_or_else(|| {
            problems.push("best is missing".into());
            0.0
        });
        mismatch(KIND, &problems)?;
        (self.best, self.bad_epochs, self.cooldown_left, self.epoch) = (best, bad, cooldown, epoch);
        Ok(())
    }
}

impl PlateauBuilder {
    fn better(&self, metric: f64, best: f64) -> bool {
        match (self.mode, self.threshold_mode) {
            (Mode::Min, ThresholdMode::Rel) => metric < best * (1.0 - self.threshold),
            (Mode::Min, ThresholdMode::Abs) => metric < best - self.threshold,
            (Mode::Max, ThresholdMode::Rel) => metric > best * (self.threshold + 1.0),
            (Mode::Max, ThresholdMode::Abs) => metric > best + self.threshold,
        }
    }

    /// Which metrics are better; lower ones unless set.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The factor of a reduction, below 1; 0.1 unless set.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// How many epochs without a better metric are tolerated; 10 unless set.
    pub fn patience(mut self, patience: u64) -> Self {
        self.patience = patience;
        self
    }

    /// By how much a metric must be better; 1e-4 unless set.
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// Whether the threshold is a share or an amount; a share unless set.
    pub fn threshold_mode(mut self, threshold_mode: ThresholdMode) -> Self {
        self.threshold_mode = threshold_mode;
        self
    }

    /// How many epochs after a reduction do not count; 0 unless set.
    pub fn cooldown(mut self, cooldown: u64) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// The lowest learning rate; 0 unless set.
    pub fn min_lr(mut self, min_lr: f64) -> Self {
        self.min_lr = min_lr;
        self
    }

    /// The smallest reduction that is worth making; 1e-8 unless set.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// The schedule.
    ///
    /// # Errors
    /// An option makes no sense.
    pub fn build(self) -> Result<ReduceLROnPlateau> {
        let fine = (0.0..1.0).contains(&self.factor);
        demand(KIND, fine, "factor", self.factor, "use a number from 0 up to, without, 1")?;
        demand_factor(KIND, "threshold", self.threshold)?;
        demand_factor(KIND, "min_lr", self.min_lr)?;
        demand_factor(KIND, "eps", self.eps)?;
        let best = if self.mode == Mode::Min { f64::INFINITY } else { f64::NEG_INFINITY };
        Ok(ReduceLROnPlateau { options: self, best, bad_epochs: 0, cooldown_left: 0, epoch: 0 })
    }
}
