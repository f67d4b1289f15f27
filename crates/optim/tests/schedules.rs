//! Schedules: PyTorch's rates, chains, stored states, refusals.

use gabor_optim::*;
use serde_json::Value;
use tensor::{Parameter, Result, Tensor};

fn parameter() -> Parameter {
    Parameter::new(Tensor::zeros([1]).unwrap()).unwrap()
}

fn sgd(lr: f64) -> SGD {
    SGD::new(vec![parameter()], lr).momentum(0.9).build().unwrap()
}

fn rates(schedule: &mut dyn Schedule, sgd: &mut SGD, epochs: usize) -> Vec<f64> {
    let one = |_| {
        let lr = sgd.lr();
        schedule.step(sgd).unwrap();
        lr
    };
    (0..epochs).map(one).collect()
}

fn close(found: &[f64], expected: &[f64], name: &str) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-14 + 1e-12 * b.abs(), "{name}: {found:?} {expected:?}");
    }
}

#[test]
fn the_rates_are_pytorchs() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/schedules.json")).unwrap();
    assert_eq!(cases.len(), 10);
    for case in &cases {
        let options = &case["options"];
        let float = |name: &str| options[name].as_f64().unwrap();
        let int = |name: &str| options[name].as_u64().unwrap();
        let list = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let expected = list(&case["lr"]);
        let mut sgd = sgd(case["lr0"].as_f64().unwrap());
        let name = case["schedule"].as_str().unwrap();
        let mut schedule: Box<dyn Schedule> = match name {
            "StepLR" => Box::new(StepLR::new(&sgd, int("step_size")).gamma(float("gamma")).build().unwrap()),
            "MultiStepLR" => {
                let milestones: Vec<u64> = list(&options["milestones"]).iter().map(|&m| m as u64).collect();
                Box::new(MultiStepLR::new(&sgd, milestones).gamma(float("gamma")).build().unwrap())
            }
            "ExponentialLR" => Box::new(ExponentialLR::new(&sgd, float("gamma")).build().unwrap()),
            "CosineAnnealingLR" => {
                Box::new(CosineAnnealingLR::new(&sgd, int("T_max")).eta_min(float("eta_min")).build().unwrap())
            }
            "CosineAnnealingWarmRestarts" => {
                let builder = CosineAnnealingWarmRestarts::new(&sgd, int("T_0"));
                Box::new(builder.t_mult(int("T_mult")).build().unwrap())
            }
            "LinearLR" => {
                let builder = LinearLR::new(&mut sgd).start_factor(float("start_factor"));
                Box::new(builder.total_iters(int("total_iters")).build().unwrap())
            }
            "ConstantLR" => {
                let builder = ConstantLR::new(&mut sgd).factor(float("factor"));
                Box::new(builder.total_iters(int("total_iters")).build().unwrap())
            }
            "PolynomialLR" => {
                let builder = PolynomialLR::new(&sgd).total_iters(int("total_iters"));
                Box::new(builder.power(float("power")).build().unwrap())
            }
            "OneCycleLR" => Box::new(OneCycleLR::new(&mut sgd, float("max_lr"), int("total_steps")).build().unwrap()),
            "ReduceLROnPlateau" => {
                let builder = ReduceLROnPlateau::new(&sgd).factor(float("factor"));
                let mut plateau = builder.patience(int("patience")).build().unwrap();
                let mut found = vec![];
                for metric in list(&case["metrics"]) {
                    found.push(sgd.lr());
                    plateau.step(metric, &mut sgd).unwrap();
                }
                close(&found, &expected, name);
                continue;
            }
            other => panic!("no schedule {other}"),
        };
        close(&rates(schedule.as_mut(), &mut sgd, expected.len()), &expected, name);
    }
}

#[test]
fn three_phases_along_lines() -> Result<()> {
    let mut sgd = sgd(0.2);
    let builder = OneCycleLR::new(&mut sgd, 0.5, 16).pct_start(0.4).anneal_strategy(Anneal::Linear);
    let mut schedule = builder.three_phase(true).build()?;
    // Phases end at steps 5.4, 10.8 and 15; rates 0.02, 0.5, 0.02, 2e-6.
    let found = rates(&mut schedule, &mut sgd, 16);
    let expected = [0.02, 0.02 + 0.48 * 3.0 / 5.4, 0.5 - 0.48 * 0.6 / 5.4, 0.02 - 0.019998 * 1.2 / 4.2, 2e-6];
    close(&[found[0], found[3], found[6], found[12], found[15]], &expected, "OneCycleLR");
    assert!(schedule.step(&mut sgd).unwrap_err().to_string().contains("the cycle has 16 steps, this is step 17"));
    Ok(())
}

#[test]
fn the_momentum_cycles_too() -> Result<()> {
    let mut sgd = sgd(0.2);
    let mut schedule = OneCycleLR::new(&mut sgd, 1.0, 11).pct_start(0.5).anneal_strategy(Anneal::Linear).build()?;
    let momentum = |sgd: &SGD| sgd.groups()[0].option("momentum").unwrap();
    assert_eq!(momentum(&sgd), 0.95);
    for _ in 0..3 {
        schedule.step(&mut sgd)?;
    }
    assert!((momentum(&sgd) - (0.95 - 0.1 * 3.0 / 4.5)).abs() < 1e-12);
    let mut adam = Adam::new(vec![parameter()], 0.1).build()?;
    OneCycleLR::new(&mut adam, 1.0, 11).build()?;
    assert_eq!(adam.groups()[0].option("beta1"), Some(0.95));
    let mut adagrad = Adagrad::new(vec![parameter()], 0.1).build()?;
    assert!(OneCycleLR::new(&mut adagrad, 1.0, 11).build().is_err());
    assert!(OneCycleLR::new(&mut adagrad, 1.0, 11).cycle_momentum(false).build().is_ok());
    Ok(())
}

#[test]
fn higher_metrics_with_a_cooldown() -> Result<()> {
    let mut sgd = sgd(1.0);
    let builder = ReduceLROnPlateau::new(&sgd).mode(Mode::Max).threshold_mode(ThresholdMode::Abs).threshold(0.1);
    let mut schedule = builder.factor(0.5).patience(1).cooldown(2).min_lr(0.3).build()?;
    let mut found = vec![];
    // 0.55 is not 0.1 above 0.5; two bad epochs reduce, two cool down; then NaN is as bad as any.
    for metric in [0.5, 0.55, 0.55, 0.0, 0.0, 0.0, f64::NAN, 0.0, 0.7, 0.0, 0.0] {
        schedule.step(metric, &mut sgd)?;
        found.push(sgd.lr());
    }
    assert_eq!(found, [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3]);
    assert_eq!(schedule.best(), 0.7);

    let state = schedule.state_dict();
    let mut other = ReduceLROnPlateau::new(&sgd).mode(Mode::Max).build()?;
    other.load_state_dict(&state)?;
    assert_eq!(other.state_dict().numbers, state.numbers);
    Ok(())
}

#[test]
fn schedules_chain() -> Result<()> {
    let mut sgd = sgd(0.8);
    let mut warm_up = ConstantLR::new(&mut sgd).factor(0.5).total_iters(2).build()?;
    // Its base is the rate before the warm-up.
    let mut decay = ExponentialLR::new(&sgd, 0.5).build()?;
    assert_eq!(sgd.groups()[0].initial_lr(), 0.8);
    let mut found = vec![];
    for _ in 0..4 {
        found.push(sgd.lr());
        warm_up.step(&mut sgd)?;
        decay.step(&mut sgd)?;
    }
    assert_eq!(found, [0.4, 0.2, 0.2, 0.1]);
    assert_eq!(decay.last_lr(), [0.05]);
    Ok(())
}

#[test]
fn each_group_has_its_own_rate() -> Result<()> {
    let own = GroupOptions::new().lr(0.01);
    let mut sgd = SGD::new(vec![parameter()], 1.0).group(vec![parameter()], own).build()?;
    let mut schedule = CosineAnnealingLR::new(&sgd, 2).build()?;
    schedule.step(&mut sgd)?;
    close(&[sgd.groups()[0].lr(), sgd.groups()[1].lr()], &[0.5, 0.005], "groups");
    let mut other = self::sgd(1.0);
    let text = schedule.step(&mut other).unwrap_err().to_string();
    assert_eq!(text, "CosineAnnealingLR: built for 2 groups, the optimizer has 1; build it from this optimizer");
    assert_eq!(schedule.epoch(), 1);
    Ok(())
}

#[test]
fn a_restored_schedule_continues() -> Result<()> {
    let mut first = sgd(0.2);
    let mut schedule = CosineAnnealingLR::new(&first, 7).eta_min(0.01).build()?;
    rates(&mut schedule, &mut first, 3);
    let (state, options) = (schedule.state_dict(), first.state_dict()?);
    let expected = rates(&mut schedule, &mut first, 9);

    let mut second = sgd(0.7);
    let mut resumed = CosineAnnealingLR::new(&second, 7).eta_min(0.01).build()?;
    second.load_state_dict(&options)?;
    resumed.load_state_dict(&state)?;
    assert_eq!(rates(&mut resumed, &mut second, 9), expected);

    assert!(StepLR::new(&second, 1).build()?.load_state_dict(&state).is_err());
    let mut broken = state.clone();
    broken.numbers[0].1 = 0.5;
    assert!(resumed.load_state_dict(&broken).unwrap_err().to_string().contains("last_epoch is 0.5"));
    Ok(())
}

#[test]
fn refusals() {
    let mut sgd = sgd(0.1);
    let text = |error: Result<()>| error.unwrap_err().to_string();
    assert_eq!(text(StepLR::new(&sgd, 0).build().map(drop)), "StepLR: step_size is 0; use at least 1");
    let negative = "use a finite number that is not negative";
    assert_eq!(
        text(StepLR::new(&sgd, 1).gamma(f64::NAN).build().map(drop)),
        format!("StepLR: gamma is NaN; {negative}")
    );
    assert_eq!(
        text(ExponentialLR::new(&sgd, -1.0).build().map(drop)),
        format!("ExponentialLR: gamma is -1; {negative}")
    );
    assert!(MultiStepLR::new(&sgd, [1]).gamma(f64::INFINITY).build().is_err());
    assert!(CosineAnnealingLR::new(&sgd, 0).build().is_err());
    assert!(CosineAnnealingLR::new(&sgd, 1).eta_min(-1.0).build().is_err());
    assert!(CosineAnnealingWarmRestarts::new(&sgd, 1).t_mult(0).build().is_err());
    assert!(PolynomialLR::new(&sgd).power(f64::NAN).build().is_err());
    assert!(LinearLR::new(&mut sgd).start_factor(0.0).build().is_err());
    assert!(LinearLR::new(&mut sgd).end_factor(1.5).build().is_err());
    assert!(ConstantLR::new(&mut sgd).factor(f64::NAN).build().is_err());
    assert!(OneCycleLR::new(&mut sgd, 0.0, 10).build().is_err());
    assert!(OneCycleLR::new(&mut sgd, 1.0, 0).build().is_err());
    assert!(OneCycleLR::new(&mut sgd, 1.0, 10).pct_start(1.5).build().is_err());
    assert!(ReduceLROnPlateau::new(&sgd).factor(1.0).build().is_err());
    assert!(ReduceLROnPlateau::new(&sgd).threshold(f64::NAN).build().is_err());
    // A refused schedule has not touched the optimizer.
    assert_eq!(sgd.lr(), 0.1);
}

#[test]
fn extreme_epochs_do_not_overflow() -> Result<()> {
    let mut sgd = sgd(0.1);
    let mut cosine = CosineAnnealingLR::new(&sgd, u64::MAX).build()?;
    let mut restarts = CosineAnnealingWarmRestarts::new(&sgd, u64::MAX).t_mult(u64::MAX).build()?;
    for _ in 0..3 {
        cosine.step(&mut sgd)?;
        restarts.step(&mut sgd)?;
    }
    assert!((sgd.lr() - 0.1).abs() < 1e-12);
    Ok(())
}

#[test]
fn a_loaded_optimizer_has_the_initial_rates_of_the_state() -> Result<()> {
    let (fresh, mut used) = (sgd(0.1), sgd(0.4));
    let mut schedule = ExponentialLR::new(&used, 0.5).build()?;
    schedule.step(&mut used)?;
    let state = used.state_dict()?;
    // What an earlier schedule left here is gone.
    used.load_state_dict(&fresh.state_dict()?)?;
    assert_eq!((used.lr(), used.groups()[0].initial_lr()), (0.1, 0.1));
    used.load_state_dict(&state)?;
    assert_eq!((used.lr(), used.groups()[0].initial_lr()), (0.2, 0.4));
    Ok(())
}

#[test]
fn boxed_optimizers_have_schedules() -> Result<()> {
    let mut boxed: Box<dyn Optimizer> = Box::new(sgd(1.0));
    let mut schedule: Box<dyn Schedule> = Box::new(StepLR::new(&boxed, 1).build()?);
    schedule.step(&mut boxed)?;
    boxed.step()?;
    assert!((boxed.lr() - 0.1).abs() < 1e-15);
    Ok(())
}
