//! Convolution and batch norm in one, in evaluation without gradients: the same result as one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gabor_nn::{BatchNorm2d, Conv2d, Forward, Module, PaddingMode, ReLU, Sequential, seq};
use tensor::{DType, Generator, Result, Tensor, no_grad};

fn random(shape: &[usize], seed: u64) -> Result<Tensor> {
    Generator::new(seed).randn(shape, DType::F64)
}

/// In f64, with running statistics of some batches, in evaluation.
fn trained(net: Result<Sequential>, channels: usize) -> Result<Sequential> {
    let net = net?;
    net.to_dtype(DType::F64)?;
    for seed in 0..3 {
        net.forward(&random(&[4, channels, 9, 7], seed)?)?;
    }
    net.eval();
    Ok(net)
}

/// Whether both ways agree, and are not the same computation.
fn agree(net: &Sequential, x: &Tensor) -> Result<(bool, bool)> {
    let apart = net.forward(x)?.to_vec::<f64>()?;
    let together = no_grad(|| net.forward(x))?.to_vec::<f64>()?;
    let near = apart.iter().zip(&together).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + a.abs()));
    Ok((near && apart.len() == together.len(), apart != together))
}

#[test]
fn the_result_is_that_of_both_layers() -> Result<()> {
    let nets = [
        seq![Conv2d::new(4, 6, 3).padding(1), BatchNorm2d::new(6), ReLU],
        seq![Conv2d::new(4, 6, (3, 2)).stride(2).bias(false), BatchNorm2d::new(6)],
        seq![Conv2d::new(4, 8, 3).groups(4), BatchNorm2d::new(8).affine(false), ReLU],
        seq![Conv2d::new(4, 6, 1), BatchNorm2d::new(6).eps(0.1), Conv2d::new(6, 5, 3), BatchNorm2d::new(5)],
    ];
    for net in nets {
        let net = trained(net, 4)?;
        assert_eq!(agree(&net, &random(&[5, 4, 12, 11], 7)?)?, (true, true));
    }
    Ok(())
}

#[test]
fn what_cannot_be_folded_is_computed_one_after_the_other() -> Result<()> {
    let nets = [
        seq![Conv2d::new(4, 6, 3), BatchNorm2d::new(6).track_running_stats(false)],
        seq![Conv2d::new(4, 6, 3).padding(1).padding_mode(PaddingMode::Reflect), BatchNorm2d::new(6)],
        seq![Conv2d::new(4, 6, 3), ReLU, BatchNorm2d::new(6)],
    ];
    for net in nets {
        let net = trained(net, 4)?;
        assert_eq!(agree(&net, &random(&[5, 4, 12, 11], 7)?)?, (true, false));
    }
    // Wrong channels: the error of the layer that cannot go on.
    let net = seq![Conv2d::new(4, 6, 1), BatchNorm2d::new(5)]?;
    net.eval();
    let error = no_grad(|| net.forward(&Tensor::zeros([8, 4, 9, 9])?)).unwrap_err().to_string();
    assert!(error.contains("batch_norm `1`") && error.contains("input has 6 channels"), "{error}");
    let error = no_grad(|| net.forward(&Tensor::zeros([8, 3, 9, 9])?)).unwrap_err().to_string();
    assert!(error.contains("conv2d `0`"), "{error}");
    Ok(())
}

#[test]
fn training_uses_the_batch_without_gradients_too() -> Result<()> {
    let net = trained(seq![Conv2d::new(4, 6, 3), BatchNorm2d::new(6)], 4)?;
    net.train();
    let x = random(&[5, 4, 12, 11], 7)?;
    let y = no_grad(|| net.forward(&x))?;
    let means = y.mean_dim([0, 2, 3], false)?.to_vec::<f64>()?;
    assert!(means.iter().all(|mean| mean.abs() < 1e-12), "{means:?}");
    Ok(())
}

#[test]
fn a_hook_sees_what_lies_between() -> Result<()> {
    for (path, calls) in [("0", 1), ("1", 1)] {
        let net = trained(seq![Conv2d::new(4, 6, 3), BatchNorm2d::new(6)], 4)?;
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let _handle = net.register_forward_hook(path, move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        })?;
        assert_eq!(agree(&net, &random(&[5, 4, 12, 11], 7)?)?, (true, false));
        assert_eq!(seen.load(Ordering::Relaxed), 2 * calls);
    }
    Ok(())
}
