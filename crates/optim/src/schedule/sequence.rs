//! Schedules made of schedules: one after the other (SequentialLR), or all at once (ChainedScheduler).

use tensor::{Error, Result};

use super::{Progress, Rate, Schedule, ScheduleBuilder};
use crate::optimizer::Optimizer;
use crate::state::{StateDict, mismatch};

/// Schedules one after the other, for instance a warm-up and what follows it. PyTorch: `SequentialLR`.
///
/// ```
/// use gabor_optim::{CosineAnnealingLR, LinearLR, Optimizer, SGD, Schedule, SequentialLR};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let warm_up = LinearLR::new(&mut sgd).start_factor(0.25).total_iters(3).build()?;
/// let decay = CosineAnnealingLR::new(&sgd, 4).build()?;
/// let mut schedule = SequentialLR::new(&mut sgd, vec![Box::new(warm_up), Box::new(decay)], [3]).build()?;
/// let mut rates = vec![];
/// for _epoch in 0..6 {
///     rates.push((sgd.lr() * 1e3).round() / 1e3);
///     schedule.step(&mut sgd)?;
/// }
/// assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 0.854, 0.5]);
/// # Ok::<(), tensor::Error>(())
/// ```
pub struct SequentialLR {
    progress: Progress,
    schedules: Vec<Box<dyn Schedule>>,
    milestones: Vec<u64>,
}

impl SequentialLR {
    /// The first schedule up to the first of the `milestones`, the second from then on, and so forth. Each starts at its own
    /// epoch 0, from the rates that the groups had before all schedules. Building it sets the rates of epoch 0.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        optimizer: &mut dyn Optimizer,
        schedules: Vec<Box<dyn Schedule>>,
        milestones: impl Into<Vec<u64>>,
    ) -> ScheduleBuilder<'_, Self> {
        let progress = Progress::new("SequentialLR", optimizer);
        let schedule = SequentialLR { progress, schedules, milestones: milestones.into() };
        ScheduleBuilder { schedule, optimizer: Some(optimizer) }
    }

    /// Which schedule sets the rates of an epoch, and whether it begins then.
    fn place(&self, epoch: u64) -> (usize, bool) {
        let at = self.milestones.partition_point(|&milestone| milestone <= epoch);
        (at, at > 0 && self.milestones[at - 1] == epoch)
    }

    fn begin(&mut self, epoch: u64, optimizer: &mut dyn Optimizer) -> Result<()> {
        let (at, begins) = self.place(epoch);
        let schedule = &mut self.schedules[at];
        if begins || epoch == 0 {
            schedule.progress_mut().epoch = 0;
            for (at, (group, &base)) in optimizer.groups_mut().iter_mut().zip(&self.progress.base).enumerate() {
                let now = Rate { epoch: 0, lr: group.lr(), base, group: at };
                group.set_lr(if epoch == 0 { base } else { schedule.take_over(now) })?;
            }
            schedule.start(optimizer)?;
        } else {
            schedule.step(optimizer)?;
        }
        self.progress.last = self.schedules[at].last_lr().to_vec();
        Ok(())
    }
}

impl Schedule for SequentialLR {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        now.lr
    }

    fn check(&self) -> Result<()> {
        let (kind, parts, marks) = ("SequentialLR", self.schedules.len(), &self.milestones);
        if parts == 0 || marks.len() != parts - 1 {
            let message = format!("{parts} schedules and milestones {marks:?}; give one milestone between any two");
            return Err(Error::argument(kind, message));
        }
        if marks.first() == Some(&0) || marks.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::argument(kind, format!("milestones are {marks:?}; they must be above 0 and ascend")));
        }
        same_groups(kind, &self.progress, &self.schedules)
    }

    fn start(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.progress.expect_groups(optimizer)?;
        self.begin(0, optimizer)
    }

    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.progress.expect_groups(optimizer)?;
        let epoch = self.progress.epoch + 1;
        self.begin(epoch, optimizer)?;
        self.progress.epoch = epoch;
        Ok(())
    }

    fn state_dict(&self) -> StateDict {
        joined(&self.progress, &self.schedules)
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        take(&mut self.progress, &mut self.schedules, state)
    }
}

/// Schedules that change the rate one after the other in every epoch. PyTorch: `ChainedScheduler`.
///
/// ```
/// use gabor_optim::{ChainedScheduler, ExponentialLR, Optimizer, SGD, Schedule, StepLR};
/// use tensor::{Parameter, Tensor};
/// let mut sgd = SGD::new(vec![Parameter::new(Tensor::ones([2])?)?], 1.0).build()?;
/// let parts: Vec<Box<dyn Schedule>> =
///     vec![Box::new(StepLR::new(&sgd, 2).gamma(0.5).build()?), Box::new(ExponentialLR::new(&sgd, 0.9).build()?)];
/// let mut schedule = ChainedScheduler::new(&sgd, parts).build()?;
/// schedule.step(&mut sgd)?;
/// schedule.step(&mut sgd)?;
/// assert!((sgd.lr() - 0.5 * 0.81).abs() < 1e-12);
/// # Ok::<(), tensor::Error>(())
/// ```
pub struct ChainedScheduler {
    progress: Progress,
    schedules: Vec<Box<dyn Schedule>>,
}

impl ChainedScheduler {
    /// All `schedules` at once, in this order.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(optimizer: &dyn Optimizer, schedules: Vec<Box<dyn Schedule>>) -> ScheduleBuilder<'static, Self> {
        ScheduleBuilder::new(ChainedScheduler { progress: Progress::new("ChainedScheduler", optimizer), schedules })
    }
}

impl Schedule for ChainedScheduler {
    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn rate(&self, now: Rate) -> f64 {
        now.lr
    }

    fn check(&self) -> Result<()> {
        if self.schedules.is_empty() {
            return Err(Error::argument("ChainedScheduler", "no schedules; give at least one"));
        }
        same_groups("ChainedScheduler", &self.progress, &self.schedules)
    }

    /// Each of them from its own start.
    fn start(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        for schedule in &mut self.schedules {
            schedule.progress_mut().epoch = 0;
            schedule.start(optimizer)?;
        }
        self.progress.last = optimizer.groups().iter().map(crate::Group::lr).collect();
        Ok(())
    }

    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        self.progress.expect_groups(optimizer)?;
        for schedule in &mut self.schedules {
            schedule.step(optimizer)?;
        }
        self.progress.epoch += 1;
        self.progress.last = optimizer.groups().iter().map(crate::Group::lr).collect();
        Ok(())
    }

    fn state_dict(&self) -> StateDict {
        joined(&self.progress, &self.schedules)
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        take(&mut self.progress, &mut self.schedules, state)
    }
}

impl std::fmt::Debug for SequentialLR {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {:?}", kind(&self.progress, &self.schedules), self.milestones)
    }
}

impl std::fmt::Debug for ChainedScheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&kind(&self.progress, &self.schedules))
    }
}

fn same_groups(kind: &'static str, progress: &Progress, schedules: &[Box<dyn Schedule>]) -> Result<()> {
    match schedules.iter().find(|s| s.progress().base.len() != progress.base.len()) {
        Some(other) => {
            let (here, there) = (progress.base.len(), other.progress().base.len());
            let message = format!(
                "built for {here} groups, its {} for {there}; build all from one optimizer",
                other.progress().kind
            );
            Err(Error::argument(kind, message))
        }
        None => Ok(()),
    }
}

/// The kind with those of the parts, so that a state fits only the same composition.
fn kind(progress: &Progress, schedules: &[Box<dyn Schedule>]) -> String {
    let parts: Vec<String> = schedules.iter().map(|schedule| schedule.state_dict().kind).collect();
    format!("{}({})", progress.kind, parts.join(", "))
}

fn joined(progress: &Progress, schedules: &[Box<dyn Schedule>]) -> StateDict {
    let mut state = progress.state_dict();
    state.kind = kind(progress, schedules);
    for (i, schedule) in schedules.iter().enumerate() {
        let part = schedule.state_dict();
        state.numbers.extend(part.numbers.into_iter().map(|(name, value)| (format!("_schedulers.{i}.{name}"), value)));
    }
    state
}

/// Loads all parts, or none if one does not fit.
fn take(progress: &mut Progress, schedules: &mut [Box<dyn Schedule>], state: &StateDict) -> Result<()> {
    let (own, before) = (kind(progress, schedules), joined(progress, schedules));
    if state.kind != own {
        let problem = format!("it is that of {} and this is {own}", state.kind);
        return mismatch(progress.kind, &[problem]);
    }
    let done = distribute(progress, schedules, state);
    if done.is_err() {
        // What was taken from it a moment ago fits.
        distribute(progress, schedules, &before)?;
    }
    done
}

fn distribute(progress: &mut Progress, schedules: &mut [Box<dyn Schedule>], state: &StateDict) -> Result<()> {
    for (i, schedule) in schedules.iter_mut().enumerate() {
        let prefix = format!("_schedulers.{i}.");
        let mut part = StateDict::new(schedule.state_dict().kind);
        let numbers = state.numbers.iter();
        part.numbers = numbers.filter_map(|(n, v)| Some((n.strip_prefix(&prefix)?.to_owned(), *v))).collect();
        schedule.load_state_dict(&part)?;
    }
    let mut own = StateDict::new(progress.kind);
    own.numbers = state.numbers.iter().filter(|(name, _)| !name.starts_with("_schedulers.")).cloned().collect();
    progress.load(&own)
}
