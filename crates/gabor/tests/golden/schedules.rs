//! Learning-rate schedules: the rate of each epoch.

use benches::{Arguments, Refusal};
use gabor::optim::{
    Anneal, ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, ExponentialLR, LinearLR, Mode, MultiStepLR,
    OneCycleLR, Optimizer, PolynomialLR, ReduceLROnPlateau, SGD, Schedule, StepLR, ThresholdMode,
};
use gabor::{DType, Parameter, Tensor};

use crate::compare::Tolerance;
use crate::format::{Case, Suite};

/// A schedule of epochs alone, or the one that reads a metric.
enum Any {
    Plain(Box<dyn Schedule>),
    Plateau(ReduceLROnPlateau),
}

/// The rates that are used, epoch after epoch, by an optimizer as the file's own: SGD with momentum 0.9.
pub(crate) fn check(_: &Suite, case: &Case) -> Result<(), String> {
    let expected = case.numbers("lr");
    if expected.is_empty() {
        return Err("the case has no rates".to_owned());
    }
    let metrics = case.numbers("metrics");
    let rates = run(case, expected.len(), &metrics).map_err(|refusal| refusal.to_string())?;
    Tolerance::of(DType::F64, 1).check("rates", &rates, &expected)
}

fn run(case: &Case, epochs: usize, metrics: &[f64]) -> Result<Vec<f64>, Refusal> {
    let wrong = Refusal::Type;
    let lr = case.field("lr0").and_then(serde_json::Value::as_f64).ok_or_else(|| wrong("no lr0".to_owned()))?;
    let parameter = Parameter::new(Tensor::zeros(1)?)?;
    let mut sgd = SGD::new(vec![parameter], lr).momentum(0.9).build()?;
    let options = Arguments::new(case.object("options").map_err(wrong)?);
    let mut schedule = schedule(case.text("schedule").map_err(wrong)?, &options, &mut sgd)?;
    options.finish()?;
    let mut rates = Vec::new();
    for epoch in 0..epochs {
        rates.push(sgd.lr());
        sgd.step()?;
        match &mut schedule {
            Any::Plain(schedule) => schedule.step(&mut sgd)?,
            Any::Plateau(schedule) => {
                let metric = metrics.get(epoch).ok_or_else(|| wrong(format!("no metric of epoch {epoch}")))?;
                schedule.step(*metric, &mut sgd)?;
            }
        }
    }
    Ok(rates)
}

/// Calls a builder's method for each option that is given, so that the others keep their defaults.
macro_rules! given {
    ($builder:ident, $options:ident, $read:ident: $($name:ident),+) => {
        $(if let Some(value) = $options.$read(stringify!($name))? {
            $builder = $builder.$name(value);
        })+
    };
}

fn schedule(name: &str, options: &Arguments<'_>, sgd: &mut SGD) -> Result<Any, Refusal> {
    let missing = |name: &str| Refusal::Type(format!("no {name}"));
    let count = |name: &str| options.integer::<u64>(name)?.ok_or_else(|| missing(name));
    let number = |name: &str| options.number(name)?.ok_or_else(|| missing(name));
    let made: Box<dyn Schedule> = match name {
        "StepLR" => {
            let mut builder = StepLR::new(sgd, count("step_size")?);
            given!(builder, options, number: gamma);
            Box::new(builder.build()?)
        }
        "MultiStepLR" => {
            let milestones = options.integers::<u64>("milestones")?.ok_or_else(|| missing("milestones"))?;
            let mut builder = MultiStepLR::new(sgd, milestones);
            given!(builder, options, number: gamma);
            Box::new(builder.build()?)
        }
        "ExponentialLR" => Box::new(ExponentialLR::new(sgd, number("gamma")?).build()?),
        "CosineAnnealingLR" => {
            let mut builder = CosineAnnealingLR::new(sgd, count("T_max")?);
            given!(builder, options, number: eta_min);
            Box::new(builder.build()?)
        }
        "CosineAnnealingWarmRestarts" => {
            let mut builder = CosineAnnealingWarmRestarts::new(sgd, count("T_0")?);
            if let Some(factor) = options.integer("T_mult")? {
                builder = builder.t_mult(factor);
            }
            given!(builder, options, number: eta_min);
            Box::new(builder.build()?)
        }
        "LinearLR" => {
            let mut builder = LinearLR::new(sgd);
            given!(builder, options, number: start_factor, end_factor);
            given!(builder, options, integer: total_iters);
            Box::new(builder.build()?)
        }
        "ConstantLR" => {
            let mut builder = ConstantLR::new(sgd);
            given!(builder, options, number: factor);
            given!(builder, options, integer: total_iters);
            Box::new(builder.build()?)
        }
        "PolynomialLR" => {
            let mut builder = PolynomialLR::new(sgd);
            given!(builder, options, integer: total_iters);
            given!(builder, options, number: power);
            Box::new(builder.build()?)
        }
        "OneCycleLR" => one_cycle(options, sgd, number("max_lr")?)?,
        "ReduceLROnPlateau" => return plateau(options, sgd),
        other => return Err(Refusal::Unknown(format!("schedule {other}"))),
    };
    Ok(Any::Plain(made))
}

fn one_cycle(options: &Arguments<'_>, sgd: &mut SGD, max_lr: f64) -> Result<Box<dyn Schedule>, Refusal> {
    let steps = match (options.integer("total_steps")?, options.integer::<u64>("epochs")?) {
        (Some(steps), _) => steps,
        (None, Some(epochs)) => epochs * options.integer::<u64>("steps_per_epoch")?.unwrap_or(1),
        (None, None) => return Err(Refusal::Type("no total_steps".to_owned())),
    };
    let mut builder = OneCycleLR::new(sgd, max_lr, steps);
    given!(builder, options, number: pct_start, base_momentum, max_momentum, div_factor, final_div_factor);
    given!(builder, options, flag: cycle_momentum, three_phase);
    if let Some(strategy) = options.text("anneal_strategy")? {
        builder = builder.anneal_strategy(match strategy {
            "cos" => Anneal::Cos,
            "linear" => Anneal::Linear,
            other => return Err(Refusal::Type(format!("{other} names no Anneal"))),
        });
    }
    Ok(Box::new(builder.build()?))
}

fn plateau(options: &Arguments<'_>, sgd: &SGD) -> Result<Any, Refusal> {
    let mut builder = ReduceLROnPlateau::new(sgd);
    given!(builder, options, number: factor, threshold, min_lr, eps);
    given!(builder, options, integer: patience, cooldown);
    match options.text("mode")? {
        None | Some("min") => {}
        Some("max") => builder = builder.mode(Mode::Max),
        Some(other) => return Err(Refusal::Type(format!("{other} names no Mode"))),
    }
    match options.text("threshold_mode")? {
        None | Some("rel") => {}
        Some("abs") => builder = builder.threshold_mode(ThresholdMode::Abs),
        Some(other) => return Err(Refusal::Type(format!("{other} names no ThresholdMode"))),
    }
    Ok(Any::Plateau(builder.build()?))
}
