//! Schedules of schedules, of functions, and cycles: PyTorch's rates, stored states, refusals.

use gabor_optim::*;
use tensor::{Parameter, Result, Tensor};

fn sgd(lr: f64) -> SGD {
    let parameter = Parameter::new(Tensor::zeros([1]).unwrap()).unwrap();
    SGD::new(vec![parameter], lr).momentum(0.9).build().unwrap()
}

/// Name, rates and momenta (if they move) from PyTorch, for SGD with lr 0.5 and momentum 0.9.
const CASES: &[(&str, &[f64], &[f64])] = &[
    (
        "warm-up, cosine",
        &[
            0.05,
            0.1625,
            0.275,
            0.38750000000000007,
            0.5,
            0.48135048546526527,
            0.4282411613907041,
            0.34875744092944705,
            0.255,
            0.16124255907055302,
            0.08175883860929586,
            0.02864951453473475,
            0.01,
            0.02864951453473475,
        ],
        &[],
    ),
    ("constant, exponential, step", &[0.25, 0.25, 0.25, 0.5, 0.45, 0.405, 0.5, 0.5, 0.25, 0.25, 0.125], &[]),
    (
        "step, restarts, lambda",
        &[0.5, 0.5, 0.25, 0.25, 0.5, 0.375, 0.12500000000000006, 0.5, 0.375, 0.5, 0.25, 0.16666666666666666],
        &[],
    ),
    ("exponential, multiplicative", &[0.5, 0.25, 0.125, 0.1125, 0.10237500000000001, 0.094185, 0.08759205], &[]),
    (
        "polynomial, cyclic",
        &[
            0.5,
            0.28125,
            0.125,
            0.1,
            0.3000000000000001,
            0.4999999999999999,
            0.7,
            0.5000000000000002,
            0.2999999999999998,
        ],
        &[0.9, 0.9, 0.9, 0.9, 0.8666666666666667, 0.8333333333333334, 0.8, 0.8333333333333334, 0.8666666666666667],
    ),
    (
        "chained",
        &[0.05, 0.045000000000000005, 0.4050000000000001, 0.3645000000000001, 0.3280500000000001, 0.2952450000000001],
        &[],
    ),
    (
        "chained cosine",
        &[
            0.5,
            0.45225424859373686,
            0.16362712429686843,
            0.08637287570313157,
            0.01193643785156579,
            0.0,
            0.04774575140626314,
            0.17274575140626322,
        ],
        &[],
    ),
    ("lambda", &[0.5, 0.475, 0.45125, 0.42868749999999994, 0.40725312499999994], &[]),
    ("multiplicative", &[0.5, 0.425, 0.31875, 0.20718749999999997, 0.11395312499999997], &[]),
    (
        "triangular",
        &[
            0.1,
            0.2333333333333333,
            0.3666666666666666,
            0.4999999999999999,
            0.29999999999999993,
            0.1,
            0.23333333333333348,
            0.3666666666666666,
            0.4999999999999999,
            0.30000000000000016,
            0.1,
            0.23333333333333348,
            0.3666666666666666,
        ],
        &[
            0.9,
            0.8666666666666667,
            0.8333333333333334,
            0.8,
            0.8500000000000001,
            0.9,
            0.8666666666666667,
            0.8333333333333334,
            0.8,
            0.85,
            0.9,
            0.8666666666666667,
            0.8333333333333334,
        ],
    ),
    (
        "triangular2",
        &[
            0.1,
            0.30000000000000004,
            0.5,
            0.30000000000000004,
            0.1,
            0.2,
            0.30000000000000004,
            0.2,
            0.1,
            0.15000000000000002,
            0.2,
        ],
        &[
            0.9,
            0.8500000000000001,
            0.8,
            0.8500000000000001,
            0.9,
            0.875,
            0.8500000000000001,
            0.875,
            0.9,
            0.8875000000000001,
            0.875,
        ],
    ),
    (
        "exp_range",
        &[
            0.1,
            0.27999999999999997,
            0.42399999999999993,
            0.2944,
            0.18747999999999998,
            0.1,
            0.20628820000000012,
            0.29131876,
            0.21479125599999999,
        ],
        &[0.9, 0.81, 0.738, 0.8028, 0.85626, 0.9, 0.8468559, 0.8043406200000001, 0.842604372],
    ),
    ("swa cos", &[0.5, 0.4340990257669732, 0.275, 0.11590097423302682, 0.05, 0.05, 0.05], &[]),
    ("swa linear", &[0.5, 0.35000000000000003, 0.2, 0.05, 0.05, 0.05, 0.05], &[]),
    ("swa at once", &[0.05, 0.05, 0.05, 0.05, 0.05], &[]),
];

fn schedule(name: &str, sgd: &mut SGD) -> Result<Box<dyn Schedule>> {
    fn boxed(schedule: impl Schedule + 'static) -> Box<dyn Schedule> {
        Box::new(schedule)
    }
    Ok(match name {
        "warm-up, cosine" => {
            let first = boxed(LinearLR::new(sgd).start_factor(0.1).total_iters(4).build()?);
            let second = boxed(CosineAnnealingLR::new(sgd, 8).eta_min(0.01).build()?);
            boxed(SequentialLR::new(sgd, vec![first, second], [4]).build()?)
        }
        "constant, exponential, step" => {
            let first = boxed(ConstantLR::new(sgd).factor(0.5).total_iters(3).build()?);
            let second = boxed(ExponentialLR::new(sgd, 0.9).build()?);
            let third = boxed(StepLR::new(sgd, 2).gamma(0.5).build()?);
            boxed(SequentialLR::new(sgd, vec![first, second, third], [3, 6]).build()?)
        }
        "step, restarts, lambda" => {
            let first = boxed(StepLR::new(sgd, 2).gamma(0.5).build()?);
            let second = boxed(CosineAnnealingWarmRestarts::new(sgd, 3).build()?);
            let third = boxed(LambdaLR::new(sgd, |epoch| 1.0 / (1.0 + epoch as f64)).build()?);
            boxed(SequentialLR::new(sgd, vec![first, second, third], [4, 9]).build()?)
        }
        "exponential, multiplicative" => {
            let first = boxed(ExponentialLR::new(sgd, 0.5).build()?);
            let second = boxed(MultiplicativeLR::new(sgd, |epoch| 0.9 + epoch as f64 / 100.0).build()?);
            boxed(SequentialLR::new(sgd, vec![first, second], [3]).build()?)
        }
        "polynomial, cyclic" => {
            let first = boxed(PolynomialLR::new(sgd).total_iters(4).power(2.0).build()?);
            let second = boxed(CyclicLR::new(sgd, 0.1, 0.7).step_size_up(3).build()?);
            boxed(SequentialLR::new(sgd, vec![first, second], [3]).build()?)
        }
        "chained" => {
            let first = boxed(ConstantLR::new(sgd).factor(0.1).total_iters(2).build()?);
            let second = boxed(ExponentialLR::new(sgd, 0.9).build()?);
            boxed(ChainedScheduler::new(sgd, vec![first, second]).build()?)
        }
        "chained cosine" => {
            let first = boxed(CosineAnnealingLR::new(sgd, 5).build()?);
            let second = boxed(MultiStepLR::new(sgd, [2, 4]).gamma(0.5).build()?);
            boxed(ChainedScheduler::new(sgd, vec![first, second]).build()?)
        }
        "lambda" => boxed(LambdaLR::new(sgd, |epoch| 0.95f64.powi(epoch as i32)).build()?),
        "multiplicative" => boxed(MultiplicativeLR::new(sgd, |epoch| 0.95 - epoch as f64 / 10.0).build()?),
        "triangular" => boxed(CyclicLR::new(sgd, 0.1, 0.5).step_size_up(3).step_size_down(2).build()?),
        "triangular2" => boxed(CyclicLR::new(sgd, 0.1, 0.5).step_size_up(2).mode(CycleMode::Triangular2).build()?),
        "exp_range" => {
            let builder = CyclicLR::new(sgd, 0.1, 0.5).step_size_up(2).step_size_down(3);
            boxed(builder.mode(CycleMode::ExpRange(0.9)).base_momentum(0.7).build()?)
        }
        "swa cos" => boxed(SWALR::new(sgd, 0.05).anneal_epochs(4).build()?),
        "swa linear" => boxed(SWALR::new(sgd, 0.05).anneal_epochs(3).anneal_strategy(Anneal::Linear).build()?),
        "swa at once" => boxed(SWALR::new(sgd, 0.05).anneal_epochs(0).build()?),
        other => panic!("no schedule is called {other}"),
    })
}

fn momentum(sgd: &SGD) -> f64 {
    sgd.groups()[0].option("momentum").unwrap()
}

fn close(found: f64, expected: f64, name: &str, epoch: usize) {
    assert!((found - expected).abs() < 1e-12, "{name}, epoch {epoch}: {found} {expected}");
}

#[test]
fn rates_and_momenta_are_pytorchs() -> Result<()> {
    for &(name, rates, momenta) in CASES {
        let mut sgd = sgd(0.5);
        let mut schedule = schedule(name, &mut sgd)?;
        for (epoch, &rate) in rates.iter().enumerate() {
            close(sgd.lr(), rate, name, epoch);
            close(momentum(&sgd), momenta.get(epoch).copied().unwrap_or(0.9), name, epoch);
            assert_eq!((schedule.epoch(), schedule.last_lr()), (epoch as u64, &[sgd.lr()][..]), "{name}");
            schedule.step(&mut sgd)?;
        }
    }
    Ok(())
}

#[test]
fn a_stored_schedule_goes_on_where_it_stopped() -> Result<()> {
    for &(name, rates, _) in CASES {
        for stop in [1, 3, 4] {
            let mut first = sgd(0.5);
            let mut one = schedule(name, &mut first)?;
            for _ in 0..stop {
                one.step(&mut first)?;
            }
            let mut second = sgd(0.5);
            let mut other = schedule(name, &mut second)?;
            second.load_state_dict(&first.state_dict()?)?;
            other.load_state_dict(&one.state_dict())?;
            for (epoch, &rate) in rates.iter().enumerate().skip(stop) {
                close(second.lr(), rate, name, epoch);
                other.step(&mut second)?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_state_of_other_parts_is_refused_and_changes_nothing() -> Result<()> {
    let mut sgd = sgd(0.5);
    let mut one = schedule("warm-up, cosine", &mut sgd)?;
    let other = schedule("exponential, multiplicative", &mut sgd)?.state_dict();
    let text = one.load_state_dict(&other).unwrap_err().to_string();
    assert_eq!(
        text,
        "SequentialLR: the state does not fit: it is that of SequentialLR(ExponentialLR, MultiplicativeLR) and this is \
         SequentialLR(LinearLR, CosineAnnealingLR); build it as it was when saved"
    );
    one.step(&mut sgd)?;
    let before = one.state_dict();
    let mut broken = before.clone();
    broken.numbers.retain(|(name, _)| name != "_schedulers.1.last_epoch");
    broken.numbers.iter_mut().for_each(|(_, value)| *value += 1.0);
    assert!(one.load_state_dict(&broken).is_err());
    assert_eq!(one.state_dict().numbers, before.numbers);
    Ok(())
}

#[test]
fn functions_for_groups() -> Result<()> {
    let parameter = || Parameter::new(Tensor::zeros([1]).unwrap()).unwrap();
    let mut sgd =
        SGD::new(vec![parameter()], 1.0).group(vec![parameter()], GroupOptions::new().lr(0.1)).momentum(0.9).build()?;
    let half: Vec<Box<dyn Fn(u64) -> f64 + Send + Sync>> = vec![Box::new(|_| 0.5), Box::new(|epoch| epoch as f64)];
    let mut schedule = LambdaLR::for_groups(&mut sgd, half).build()?;
    assert_eq!(schedule.last_lr(), [0.5, 0.0]);
    schedule.step(&mut sgd)?;
    assert_eq!(schedule.last_lr(), [0.5, 0.1]);
    let three: Vec<Box<dyn Fn(u64) -> f64 + Send + Sync>> =
        vec![Box::new(|_| 1.0), Box::new(|_| 1.0), Box::new(|_| 1.0)];
    let error = MultiplicativeLR::for_groups(&sgd, three).build().unwrap_err().to_string();
    assert_eq!(error, "MultiplicativeLR: 3 functions for 2 groups; give one for all, or one for each");
    Ok(())
}

#[test]
fn refusals() -> Result<()> {
    let mut optimizer = sgd(0.5);
    let parts = |optimizer: &SGD, n: usize| -> Vec<Box<dyn Schedule>> {
        (0..n).map(|_| Box::new(StepLR::new(optimizer, 2).build().unwrap()) as Box<dyn Schedule>).collect()
    };
    let text = |result: Result<SequentialLR>| result.map(drop).unwrap_err().to_string();
    let two = parts(&optimizer, 2);
    assert_eq!(
        text(SequentialLR::new(&mut optimizer, two, [3, 4]).build()),
        "SequentialLR: 2 schedules and milestones [3, 4]; give one milestone between any two"
    );
    let three = parts(&optimizer, 3);
    assert_eq!(
        text(SequentialLR::new(&mut optimizer, three, [4, 4]).build()),
        "SequentialLR: milestones are [4, 4]; they must be above 0 and ascend"
    );
    assert!(SequentialLR::new(&mut optimizer, vec![], []).build().is_err());
    assert!(ChainedScheduler::new(&optimizer, vec![]).build().is_err());
    let adagrad = || Adagrad::new(vec![Parameter::new(Tensor::zeros([1]).unwrap()).unwrap()], 0.1).build().unwrap();
    let error = CyclicLR::new(&mut adagrad(), 0.1, 0.2).build().unwrap_err().to_string();
    assert_eq!(error, "CyclicLR: the optimizer has neither momentum nor beta1; set cycle_momentum(false)");
    assert!(CyclicLR::new(&mut adagrad(), 0.1, 0.2).cycle_momentum(false).build().is_ok());
    assert!(CyclicLR::new(&mut optimizer, 0.1, f64::NAN).build().is_err());
    assert!(CyclicLR::new(&mut optimizer, 0.1, 0.2).step_size_up(0).build().is_err());
    assert!(CyclicLR::new(&mut optimizer, 0.1, 0.2).max_momentum(1.0).build().is_err());
    let mut bad = LambdaLR::new(&mut optimizer, |epoch| 1.0 - epoch as f64).build()?;
    bad.step(&mut optimizer)?;
    assert!(bad.step(&mut optimizer).is_err(), "a rate below 0");
    assert_eq!((bad.epoch(), optimizer.lr()), (1, 0.0));
    Ok(())
}
