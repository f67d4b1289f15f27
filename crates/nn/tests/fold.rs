//! Layers that are computed in one give the results of one after the other: convolution and batch norm in evaluation without
//! gradients, batch norm and ReLU in training, convolution and ReLU in both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gabor_nn::{BatchNorm2d, Conv2d, Forward, Identity, Module, PaddingMode, ReLU, Sequential, seq};
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

/// The result in training, the gradients by the input and by weight and bias, and the statistics afterwards.
fn trained_once(net: Result<Sequential>, x: &Tensor) -> Result<Vec<Vec<f64>>> {
    let net = net?;
    net.to_dtype(DType::F64)?;
    let norm = net.layers()[0].as_any().and_then(|layer| layer.downcast_ref::<BatchNorm2d>()).expect("a norm is first");
    for (parameter, seed) in [&norm.weight, &norm.bias].into_iter().flatten().zip(1..) {
        parameter.set(&random(&[3], seed)?)?;
    }
    let x = x.detach().requires_grad_()?;
    let y = net.forward(&x)?;
    y.mul(&random(y.dims(), 4)?)?.sum()?.backward()?;
    let mut found = vec![y.to_vec::<f64>()?, x.grad().expect("a gradient").to_vec::<f64>()?];
    for parameter in [&norm.weight, &norm.bias].into_iter().flatten() {
        // An empty batch has none, as in PyTorch.
        found.push(parameter.grad().map_or(Ok(Vec::new()), |g| g.to_vec::<f64>())?);
    }
    for state in [&norm.running_mean, &norm.running_var].into_iter().flatten() {
        found.push(state.tensor().to_vec::<f64>()?);
    }
    Ok(found)
}

#[test]
fn batch_norm_and_relu_in_one_have_the_same_bits_in_training() -> Result<()> {
    for shape in [[5, 3, 12, 11], [2, 3, 1, 1], [70, 3, 4, 4], [0, 3, 2, 2]] {
        let x = random(&shape, 7)?;
        let one = trained_once(seq![BatchNorm2d::new(3), ReLU], &x)?;
        assert_eq!(one, trained_once(seq![BatchNorm2d::new(3), Identity, ReLU], &x)?);
        assert!(shape[0] == 0 || one[0].contains(&0.0) && one[0].iter().any(|y| *y > 0.0));
        let plain = || BatchNorm2d::new(3).affine(false).track_running_stats(false);
        assert_eq!(trained_once(seq![plain(), ReLU], &x)?, trained_once(seq![plain(), Identity, ReLU], &x)?);
    }
    let net = seq![BatchNorm2d::new(3), ReLU]?;
    let error = net.forward(&Tensor::zeros([1, 3, 1, 1])?).unwrap_err().to_string();
    assert!(error.contains("batch_norm `0`") && error.contains("only 1 value"), "{error}");
    Ok(())
}

#[test]
fn hooks_see_batch_norm_and_relu_apart() -> Result<()> {
    for path in ["0", "1"] {
        let net = seq![BatchNorm2d::new(3), ReLU]?;
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let _handle = net.register_forward_hook(path, move |_, y| {
            let negative = y.to_vec::<f32>()?.iter().any(|y| *y < 0.0);
            count.fetch_add(1 + usize::from(negative), Ordering::Relaxed);
            Ok(None)
        })?;
        net.forward(&Tensor::randn([4, 3, 5, 5])?)?;
        assert_eq!(seen.load(Ordering::Relaxed), if path == "0" { 2 } else { 1 });
    }
    Ok(())
}

#[test]
fn convolution_and_relu_in_one_have_the_same_bits() -> Result<()> {
    let x = random(&[3, 4, 12, 11], 7)?;
    let layers = [
        Conv2d::new(4, 6, 3).padding(1),
        Conv2d::new(4, 6, 1).bias(false),
        Conv2d::new(4, 4, 3).groups(4).padding(1),
        Conv2d::new(4, 6, 3).stride(2).padding(1).padding_mode(PaddingMode::Circular),
    ];
    for layer in layers {
        let layer = layer.build()?;
        layer.to_dtype(DType::F64)?;
        let run = |net: Sequential| -> Result<Vec<Vec<f64>>> {
            net.zero_grad();
            let x = x.detach().requires_grad_()?;
            let y = net.forward(&x)?;
            y.mul(&random(y.dims(), 4)?)?.sum()?.backward()?;
            let evaluated = no_grad(|| net.forward(&x))?.to_vec::<f64>()?;
            let mut found = vec![y.to_vec::<f64>()?, evaluated, x.grad().expect("a gradient").to_vec::<f64>()?];
            for (_, parameter) in net.named_parameters() {
                found.push(parameter.grad().expect("a gradient").to_vec::<f64>()?);
            }
            Ok(found)
        };
        let one = run(seq![layer.clone(), ReLU]?)?;
        assert_eq!(one, run(seq![layer, Identity, ReLU]?)?);
        assert!(one[0].contains(&0.0) && one[0].iter().any(|y| *y > 0.0) && one[0] == one[1]);
    }
    Ok(())
}

#[test]
fn hooks_see_convolution_and_relu_apart() -> Result<()> {
    for path in ["0", "1", "2"] {
        let net = trained(seq![Conv2d::new(4, 6, 3), BatchNorm2d::new(6), ReLU], 4)?;
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let _handle = net.register_forward_hook(path, move |x, y| {
            let negative = [x, y].map(|t| t.to_vec::<f64>().map(|t| t.iter().any(|v| *v < 0.0)));
            count.fetch_add(1, Ordering::Relaxed);
            assert_eq!(negative.map(|n| n.ok()), [Some(true), Some(path != "2")]);
            Ok(None)
        })?;
        assert_eq!(agree(&net, &random(&[5, 4, 12, 11], 7)?)?, (true, path == "2"));
        assert_eq!(seen.load(Ordering::Relaxed), 2);
    }
    Ok(())
}
