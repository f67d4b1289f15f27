//! Warnings of optimizers and losses: once each, not for code that is right, and to a handler if there is one.

use std::sync::Mutex;

use gabor::nn::functional::cross_entropy;
use gabor::prelude::*;
use gabor::{Lint, set_warning_handler};

static SEEN: Mutex<Vec<(Lint, String)>> = Mutex::new(Vec::new());

fn seen() -> Vec<(Lint, String)> {
    std::mem::take(&mut SEEN.lock().unwrap())
}

fn backward(net: &Sequential) -> Result<()> {
    net.forward(&Tensor::ones([2, 3])?)?.square()?.sum()?.backward()
}

fn scores_of(samples: usize) -> Result<Tensor> {
    Tensor::zeros([samples, 1])
}

/// One test: what was told is remembered for the whole process.
#[test]
fn each_lint_is_told_once() -> Result<()> {
    set_warning_handler(|lint, text| SEEN.lock().unwrap().push((lint, text.to_owned())));
    let net = seq![Linear::new(3, 2)]?;
    let mut sgd = SGD::new(net.parameters(), 0.01).momentum(0.9).build()?;

    // A right loop, in both orders, with clipping, and with gradients of two batches added up.
    for _ in 0..3 {
        sgd.zero_grad();
        backward(&net)?;
        backward(&net)?;
        clip_grad_norm_(&net.parameters(), 1.0, 2.0)?;
        sgd.step()?;
    }
    for _ in 0..3 {
        net.zero_grad();
        backward(&net)?;
        sgd.step()?;
    }
    // A second optimizer of its own, as for the two nets of a GAN: what flows through the first is cleared before it steps.
    let second = seq![Linear::new(3, 2)]?;
    let mut adam = Adam::new(second.parameters(), 1e-3).build()?;
    backward(&second)?;
    adam.step()?;
    backward(&net)?;
    sgd.zero_grad();
    // Gradients set by hand are new ones.
    for _ in 0..2 {
        second.parameters().iter().try_for_each(|p| p.set_grad(&Tensor::ones(p.shape())?))?;
        adam.step()?;
    }
    // Raw scores, also positive ones; probabilities as targets.
    for _ in 0..10 {
        cross_entropy(&Tensor::new([[0.2f32, 0.3], [1.0, 2.0]])?, &Tensor::new([0i64, 1])?)?;
        cross_entropy(&Tensor::new([[1.5f32, -0.5]])?, &Tensor::new([[0.5f32, 0.5]])?)?;
    }
    functional::mse_loss(&scores_of(4)?, &scores_of(4)?)?;
    cross_entropy(&Tensor::zeros([0, 2])?, &Tensor::from_slice::<i64>(&[], [0])?)?;
    cross_entropy(&Tensor::zeros([2, 2])?, &Tensor::new([-100i64, 1])?)?;
    assert_eq!(seen(), []);

    for _ in 0..3 {
        sgd.step()?;
    }
    let text =
        "SGD: step() moves nothing, no parameter has a gradient; call zero_grad(), backward() and step() in this order";
    assert_eq!(seen(), [(Lint::NothingToStep, text.to_owned())]);

    for _ in 0..4 {
        backward(&net)?;
        clip_grad_norm_(&net.parameters(), 1e-3, 2.0)?;
        sgd.step()?;
    }
    let text = "SGD: step() uses a gradient of 0.weight [2, 3] that a step before has used; call zero_grad() before backward()";
    assert_eq!(seen(), [(Lint::GradientsNotZeroed, text.to_owned())]);

    for momentum in [1.5, 2.5] {
        SGD::new(net.parameters(), 0.01).momentum(momentum).build()?;
    }
    let text = "SGD: momentum is 1.5, steps grow without end; use a number below 1, such as 0.9";
    assert_eq!(seen(), [(Lint::MomentumAboveOne, text.to_owned())]);

    // The calls above count: only some are looked at, those whose number is a power of two among them.
    let scores = Tensor::randn([4, 3])?;
    for _ in 0..64 {
        CrossEntropyLoss::new().forward(&scores.softmax(1)?, &Tensor::new([0i64, 1, 2, 0])?)?;
    }
    let text = "cross_entropy: the logits [4, 3] look like probabilities, each sample sums to 1; leave out the softmax, cross_entropy contains it";
    assert_eq!(seen(), [(Lint::SoftmaxTwice, text.to_owned())]);

    for _ in 0..2 {
        functional::mse_loss(&scores_of(4)?, &Tensor::zeros([4])?)?;
    }
    let text = "mse_loss: input [4, 1] and target [4] differ and are broadcast; reshape one if each has a partner";
    assert_eq!(seen(), [(Lint::TargetBroadcast, text.to_owned())]);

    for _ in 0..2 {
        let nan = cross_entropy(&scores, &Tensor::full(4, -100i64)?)?.item()?;
        assert!(nan.is_nan());
    }
    let text = "cross_entropy: all 4 targets are -100 and left out, the mean of nothing is NaN; check the labels";
    assert_eq!(seen(), [(Lint::NothingCounted, text.to_owned())]);
    Ok(())
}
