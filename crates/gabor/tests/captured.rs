//! Training by a captured step is training without one, bit for bit.

use gabor::nn::functional::cross_entropy;
use gabor::nn::{
    AvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, Forward, Linear, MaxPool2d, Module, ReLU, Sequential, Sigmoid,
    seq,
};
use gabor::optim::{Adam, Optimizer, SGD};
use gabor::{CapturedStep, Result, Tensor, detect_anomaly_guard, manual_seed, no_grad};
use std::sync::{PoisonError, RwLock};

/// Looking for anomalies is on for the whole process, and then nothing is captured: other tests wait meanwhile.
static ANOMALIES: RwLock<()> = RwLock::new(());

fn small(relu_max: bool) -> Result<Sequential> {
    manual_seed(3);
    if relu_max {
        return seq![Conv2d::new(1, 6, 3).padding(1), ReLU, MaxPool2d::new(2), Flatten, Linear::new(96, 10)];
    }
    seq![
        Conv2d::new(1, 4, 3),
        Sigmoid,
        AvgPool2d::new(2),
        Conv2d::new(4, 8, 2).bias(false),
        Flatten,
        Linear::new(32, 12),
        ReLU,
        Linear::new(12, 10),
    ]
}

fn optimizer(net: &Sequential, adam: bool) -> Result<Box<dyn Optimizer>> {
    Ok(match adam {
        true => Box::new(Adam::new(net.parameters(), 0.01).build()?),
        false => Box::new(SGD::new(net.parameters(), 0.1).momentum(0.9).build()?),
    })
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}

/// The losses and parameters of training by batches of one tensor, the last of which is smaller.
fn trained(relu_max: bool, adam: bool, capture: bool) -> Result<Vec<Vec<u32>>> {
    let net = small(relu_max)?;
    let mut optimizer = optimizer(&net, adam)?;
    let (x, y) = (Tensor::randn([52, 1, 8, 8])?, Tensor::randint(0, 10, 52)?);
    let step = |batch: &[Tensor]| {
        let loss = cross_entropy(&net.forward(&batch[0])?, &batch[1])?;
        loss.backward()?;
        Ok(loss)
    };
    let mut captured = CapturedStep::new(step);
    let mut seen = vec![];
    for _ in 0..3 {
        for start in (0..52).step_by(16) {
            let count = 16.min(52 - start);
            let (x, y) = (x.narrow(0, start as isize, count)?, y.narrow(0, start as isize, count)?);
            optimizer.zero_grad();
            let loss = if capture { captured.run(&[&x, &y])? } else { step(&[x, y])? };
            optimizer.step()?;
            seen.push(bits(&loss));
            seen.extend(net.parameters().iter().map(|p| bits(&p.tensor())));
        }
    }
    Ok(seen)
}

#[test]
fn training_gives_the_same_bits() -> Result<()> {
    let _together = ANOMALIES.read().unwrap_or_else(PoisonError::into_inner);
    for (relu_max, adam) in [(true, false), (false, false), (true, true), (false, true)] {
        assert!(trained(relu_max, adam, true)? == trained(relu_max, adam, false)?, "relu_max {relu_max}, adam {adam}");
    }
    Ok(())
}

#[test]
fn a_target_that_is_no_class_is_an_error_each_time() -> Result<()> {
    let _together = ANOMALIES.read().unwrap_or_else(PoisonError::into_inner);
    let net = small(true)?;
    let mut captured = CapturedStep::new(|b: &[Tensor]| cross_entropy(&net.forward(&b[0])?, &b[1]));
    let x = Tensor::randn([2, 1, 8, 8])?;
    let loss = bits(&captured.run(&[&x, &Tensor::new([1i64, 9])?])?);
    for wrong in [10i64, -100, -1] {
        assert!(captured.run(&[&x, &Tensor::new([1, wrong])?]).is_err(), "{wrong}");
    }
    assert_eq!(bits(&captured.run(&[&x, &Tensor::new([1i64, 9])?])?), loss);
    Ok(())
}

#[test]
fn layers_that_differ_from_run_to_run_are_refused() -> Result<()> {
    let _together = ANOMALIES.read().unwrap_or_else(PoisonError::into_inner);
    let refused = |net: &Sequential| {
        let x = Tensor::ones([2, 3, 4, 4]).unwrap();
        CapturedStep::new(|x: &[Tensor]| net.forward(&x[0])).run(&[&x]).map(|_| ()).unwrap_err().to_string()
    };
    let message = refused(&seq![Conv2d::new(3, 3, 1), Dropout::new(0.5)]?);
    assert!(message.starts_with("captured step: ") && message.ends_with("cannot be repeated"), "{message}");
    let message = refused(&seq![Conv2d::new(3, 3, 1), BatchNorm2d::new(3)]?);
    assert!(message.starts_with("captured step: "), "{message}");
    Ok(())
}

#[test]
fn evaluation_is_captured_too_and_other_modes_run_as_they_are() -> Result<()> {
    let net = small(true)?;
    net.eval();
    let mut captured = CapturedStep::new(|x: &[Tensor]| net.forward(&x[0]));
    for i in 0..4 {
        let x = Tensor::randn([1, 1, 8, 8])?;
        let plain = bits(&no_grad(|| net.forward(&x))?);
        let y = match i {
            2 => captured.run(&[&x])?,
            3 => {
                let _alone = ANOMALIES.write().unwrap_or_else(PoisonError::into_inner);
                let _guard = detect_anomaly_guard();
                captured.run(&[&x])?
            }
            _ => no_grad(|| captured.run(&[&x]))?,
        };
        assert_eq!((bits(&y), y.requires_grad()), (plain, false));
    }
    Ok(())
}
