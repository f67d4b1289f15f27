//! Training from several threads at once gives the bits of one thread after the other, and a panic in one of them leaves the
//! others, the worker threads and the panicking thread itself fit to go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use gabor::data::{DataLoader, Dataset, Digits, Split};
use gabor::nn::{
    Conv2d, Dropout, Flatten, Forward, Linear, MaxPool2d, Module, ReLU, Sequential, functional::cross_entropy, seq,
};
use gabor::optim::{Adam, Optimizer};
use gabor::{Function, Result, Tensor, apply, grad_enabled, manual_seed, no_grad, set_num_threads};

fn net() -> Result<Sequential> {
    seq![Conv2d::new(1, 16, 3).padding(1), ReLU, MaxPool2d::new(2), Dropout::new(0.2), Flatten, Linear::new(256, 10),]
}

fn bits(net: &Sequential) -> Vec<u32> {
    net.parameters().iter().flat_map(|p| p.tensor().to_vec::<f32>().unwrap()).map(f32::to_bits).collect()
}

/// Trains a net of this thread's own; batches are large enough for the worker threads.
fn train(seed: u64) -> Result<Sequential> {
    manual_seed(seed);
    let net = net()?;
    let mut adam = Adam::new(net.parameters(), 0.01).build()?;
    let loader = DataLoader::new(Digits::load(Split::Train)?, 128).shuffle(seed).prefetch(1);
    for batch in (0..).flat_map(|_| loader.iter()).take(15) {
        let (x, y) = batch?;
        adam.zero_grad();
        cross_entropy(&net.forward(&x)?, &y)?.backward()?;
        adam.step()?;
    }
    Ok(net)
}

#[test]
fn nets_trained_at_the_same_time_are_those_trained_one_after_the_other() -> Result<()> {
    set_num_threads(2);
    let alone: Vec<_> = (0..4).map(|seed| train(seed).map(|net| bits(&net))).collect::<Result<_>>()?;
    assert!(alone[0] != alone[1]);
    for count in [2, 4] {
        let barrier = Barrier::new(count);
        let together: Vec<_> = thread::scope(|scope| {
            let start = |seed| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    bits(&train(seed).unwrap())
                })
            };
            let running: Vec<_> = (0..count as u64).map(start).collect();
            running.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(together == alone[..count], "{count} threads");
    }
    Ok(())
}

#[test]
fn one_net_answers_many_threads() -> Result<()> {
    let net = train(9)?;
    net.eval();
    let test = Digits::load(Split::Test)?;
    let (x, _) = test.batch(&Vec::from_iter(0..test.len()))?;
    let logits = || no_grad(|| net.forward(&x)).unwrap().to_vec::<f32>().unwrap();
    let expected = logits();
    thread::scope(|scope| {
        let askers: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..5).all(|_| logits() == expected))).collect();
        assert!(askers.into_iter().all(|asker| asker.join().unwrap()));
    });
    Ok(())
}

/// Gradients of one net from two threads are added: which comes first does not matter for two.
#[test]
fn two_threads_share_the_gradients_of_a_net() -> Result<()> {
    let x = Tensor::ones([2, 3])?;
    let layer = Linear::new(3, 2).build()?;
    let backward = |scale| layer.forward(&x)?.sum()?.mul_scalar(scale)?.backward();
    thread::scope(|scope| {
        let other = scope.spawn(|| (0..50).try_for_each(|_| backward(1.0)));
        (0..50).try_for_each(|_| backward(2.0))?;
        other.join().unwrap()
    })?;
    // Each step adds 2 or 4 to each element: integers, exact in any order.
    let grad = layer.weight.grad().unwrap().to_vec::<f32>()?;
    assert!(grad.iter().all(|&g| g == 300.0), "{grad:?}");
    Ok(())
}

/// The identity, which panics in one of its directions.
#[derive(Debug)]
struct Faulty {
    backward: bool,
}

impl Function for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        assert!(self.backward, "a bug in somebody's forward");
        Ok(inputs[0].clone())
    }
    fn backward(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        panic!("a bug in somebody's backward")
    }
}

/// Meets a bug in the middle of a step.
fn stumble(backward: bool) {
    let caught = catch_unwind(|| {
        let net = net().unwrap();
        let x = Tensor::rand([64, 1, 8, 8]).unwrap();
        let logits = apply(Faulty { backward }, &[&net.forward(&x).unwrap()]).unwrap();
        logits.sum().unwrap().backward().unwrap();
    });
    let text = *caught.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(text, if backward { "a bug in somebody's backward" } else { "a bug in somebody's forward" });
}

#[test]
fn a_panic_in_an_operator_leaves_its_thread_and_the_others_usable() -> Result<()> {
    set_num_threads(2);
    let expected = bits(&train(5)?);
    thread::scope(|scope| {
        let steady = scope.spawn(|| bits(&train(5).unwrap()));
        let unlucky = scope.spawn(|| {
            for backward in [true, false, true] {
                stumble(backward);
                assert!(grad_enabled(), "the panic left recording switched off");
            }
            bits(&train(5).unwrap())
        });
        assert!(steady.join().unwrap() == expected, "the other thread");
        assert!(unlucky.join().unwrap() == expected, "the thread of the panic");
    });
    Ok(())
}

#[test]
fn a_parameter_survives_a_panic_of_who_changes_it() -> Result<()> {
    let layer = Linear::new(2, 1).build()?;
    layer.weight.set(&Tensor::new([[1f32, 2.0]])?)?;
    let caught = catch_unwind(AssertUnwindSafe(|| layer.weight.modify::<f32, ()>(|_| panic!("half-way"))));
    assert!(caught.is_err());
    layer.forward(&Tensor::ones([1, 2])?)?.sum()?.backward()?;
    assert_eq!(layer.weight.tensor().to_vec::<f32>()?, [1.0, 2.0]);
    assert_eq!(layer.weight.grad().unwrap().to_vec::<f32>()?, [1.0, 1.0]);
    Ok(())
}

#[test]
fn a_transform_that_panics_ends_its_epoch_and_nothing_else() -> Result<()> {
    for prefetch in [0, 2] {
        let broken = Arc::new(AtomicBool::new(true));
        let switch = broken.clone();
        let data = Digits::load(Split::Train)?.map(move |x| {
            assert!(!switch.load(Ordering::SeqCst), "a bug in a transform");
            Ok(x)
        });
        let loader = DataLoader::new(data, 100).shuffle(2).prefetch(prefetch);
        let mut batches = loader.iter();
        assert!(catch_unwind(AssertUnwindSafe(|| batches.next())).is_err(), "the panic is lost");
        drop(batches);
        broken.store(false, Ordering::SeqCst);
        loader.set_epoch(0);
        let whole = DataLoader::new(Digits::load(Split::Train)?, 100).shuffle(2);
        for (a, b) in loader.iter().zip(&whole) {
            assert_eq!(a?.0.to_vec::<f32>()?, b?.0.to_vec::<f32>()?);
        }
    }
    Ok(())
}
