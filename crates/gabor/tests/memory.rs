//! In the steady state nothing comes from the system: one test in a process of its own, since the pool is shared by all threads.

use gabor::nn::Module;
use gabor::nn::{
    AvgPool2d, BatchNorm2d, Conv2d, CrossEntropyLoss, Flatten, Forward, Identity, Linear, MaxPool2d, ReLU, Sequential,
    Sigmoid, seq,
};
use gabor::optim::{Optimizer, SGD};
use gabor::{CapturedStep, Result, Tensor, manual_seed, memory_stats};

fn lenet(relu_max: bool) -> Result<Sequential> {
    if relu_max {
        return seq![
            Conv2d::new(1, 6, 5).padding(2),
            ReLU,
            MaxPool2d::new(2),
            Conv2d::new(6, 16, 5),
            ReLU,
            MaxPool2d::new(2),
            Flatten,
            Linear::new(400, 120),
            ReLU,
            Linear::new(120, 84),
            ReLU,
            Linear::new(84, 10),
        ];
    }
    seq![
        Conv2d::new(1, 6, 5).padding(2),
        Sigmoid,
        AvgPool2d::new(2),
        Conv2d::new(6, 16, 5),
        Sigmoid,
        AvgPool2d::new(2),
        Flatten,
        Linear::new(400, 120),
        Sigmoid,
        Linear::new(120, 84),
        Sigmoid,
        Linear::new(84, 10),
    ]
}

fn the_second_training_step_of_lenet_allocates_no_buffer() -> Result<()> {
    manual_seed(0);
    for relu_max in [true, false] {
        let net = lenet(relu_max)?;
        let mut sgd = SGD::new(net.parameters(), 0.1).momentum(0.9).build()?;
        let (x, y) = (Tensor::rand([64, 1, 28, 28])?, Tensor::randint(0, 10, [64])?);
        let mut step = || -> Result<f64> {
            sgd.zero_grad();
            let loss = CrossEntropyLoss::new().forward(&net.forward(&x)?, &y)?;
            loss.backward()?;
            sgd.step()?;
            loss.item()
        };
        let first = step()?;
        let before = memory_stats();
        let second = step()?;
        let after = memory_stats();
        assert_eq!(after.system_allocations, before.system_allocations, "{before:?} {after:?}");
        assert!(after.reused > before.reused + 40, "{before:?} {after:?}");
        assert!(second < first, "{first} {second}");
    }
    Ok(())
}

fn a_captured_step_keeps_its_memory() -> Result<()> {
    for relu_max in [true, false] {
        let net = lenet(relu_max)?;
        let (x, y) = (Tensor::rand([8, 1, 28, 28])?, Tensor::randint(0, 10, [8])?);
        let mut step = CapturedStep::new(|batch: &[Tensor]| {
            let loss = CrossEntropyLoss::new().forward(&net.forward(&batch[0])?, &batch[1])?;
            loss.backward()?;
            Ok(loss)
        });
        let mut taken = vec![];
        for _ in 0..4 {
            net.zero_grad();
            let before = memory_stats();
            step.run(&[&x, &y])?;
            let after = memory_stats();
            taken.push((after.system_allocations - before.system_allocations, after.reused - before.reused));
        }
        // What kernels need for themselves still comes from the pool.
        assert!(taken[3].0 == 0 && taken[3].1 + 20 < taken[0].0 + taken[0].1, "{taken:?}");
    }
    Ok(())
}

fn what_is_not_used_any_more_is_written_in_place() -> Result<()> {
    let taken = || memory_stats().system_allocations + memory_stats().reused;
    let x = Tensor::rand([1000])?.mul_scalar(2.0)?;
    let before = taken();
    let y = x.relu_()?;
    assert_eq!(taken(), before, "nobody else holds the operand");
    let _held = y.clone();
    y.relu_()?;
    assert_eq!(taken(), before + 1, "somebody holds it");
    let (x, other) = (Tensor::rand([1000])?.mul_scalar(2.0)?, Tensor::rand([1000])?);
    let before = taken();
    x.add_(&other)?;
    assert_eq!(taken(), before);
    Ok(())
}

fn gradients_take_the_memory_of_those_they_come_from() -> Result<()> {
    let taken = |net: Sequential, held: bool| -> Result<u64> {
        let x = Tensor::rand([2, 3, 8, 8])?;
        let mut before = memory_stats();
        for _ in 0..2 {
            let y = net.forward(&x)?;
            if held {
                y.retain_grad()?;
            }
            let loss = y.square()?.sum()?;
            before = memory_stats();
            loss.backward()?;
        }
        let after = memory_stats();
        Ok(after.system_allocations + after.reused - before.system_allocations - before.reused)
    };
    let norm = || BatchNorm2d::new(3).affine(false);
    let conv = || Conv2d::new(3, 3, 1).bias(false);
    let one = taken(seq![conv(), Identity]?, false)?;
    assert_eq!(taken(seq![conv(), Identity, ReLU]?, false)?, one, "ReLU");
    // Batch norm has two sums for each channel.
    assert_eq!(taken(seq![conv(), norm()]?, false)?, one + 2, "batch norm");
    assert_eq!(taken(seq![conv(), norm(), ReLU]?, false)?, one + 2, "batch norm with ReLU");
    assert_eq!(taken(seq![conv(), norm(), Identity, ReLU]?, false)?, one + 2, "one after the other");
    assert_eq!(taken(seq![conv(), Sigmoid]?, false)?, one, "sigmoid");
    assert_eq!(taken(seq![conv(), Sigmoid]?, true)?, one + 1, "somebody holds the gradient");
    assert_eq!(taken(seq![conv(), norm()]?, true)?, one + 3, "somebody holds the gradient");
    Ok(())
}

fn a_relu_in_sequential_writes_over_what_nobody_holds() -> Result<()> {
    let taken = |net: &Sequential| -> Result<u64> {
        let x = Tensor::rand([2, 3, 8, 8])?;
        let before = memory_stats();
        net.forward(&x)?;
        let after = memory_stats();
        Ok(after.system_allocations + after.reused - before.system_allocations - before.reused)
    };
    let conv = || Conv2d::new(3, 3, 1).bias(false);
    assert_eq!(taken(&seq![conv(), ReLU]?)?, taken(&seq![conv()]?)?);
    // A hook may keep what it sees, and the input is the caller's.
    let hooked = seq![conv(), ReLU]?;
    let _handle = hooked.register_forward_hook("1", |_, _| Ok(None))?;
    assert_eq!(taken(&hooked)?, taken(&seq![conv()]?)? + 1);
    assert_eq!(taken(&seq![ReLU]?)?, 1);
    Ok(())
}

fn memory_that_nobody_holds_goes_back() -> Result<()> {
    let live = memory_stats().live_bytes;
    let x = Tensor::zeros([40 << 20])?;
    assert!(memory_stats().live_bytes >= live + (100 << 20));
    drop(x);
    assert!(memory_stats().live_bytes < live + (100 << 20));
    Ok(())
}

/// The counters belong to the whole process, so the checks run one after the other.
#[test]
fn the_pool_keeps_its_promises() -> Result<()> {
    the_second_training_step_of_lenet_allocates_no_buffer()?;
    a_captured_step_keeps_its_memory()?;
    what_is_not_used_any_more_is_written_in_place()?;
    gradients_take_the_memory_of_those_they_come_from()?;
    a_relu_in_sequential_writes_over_what_nobody_holds()?;
    memory_that_nobody_holds_goes_back()
}
