//! Each layer: its derivatives against differences, its keys and shapes, its options and what they refuse.

use gabor_nn::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, ConvTranspose2d, Dropout,
    Dropout2d, ELU, Flatten, Forward, GELU, GroupNorm, Hardtanh, Identity, IntoLayer, Layer, LayerNorm, LeakyReLU,
    Linear, LogSoftmax, MaxPool2d, Module, PaddingMode, ReLU, SiLU, Sigmoid, Softmax, Softplus, Tanh, Unflatten, seq,
};
use tensor::{DType, Generator, Padding, Parameter, Result, Tensor, gradcheck, gradgradcheck, manual_seed};

fn names(module: &dyn Module) -> Vec<String> {
    module.state_dict().into_iter().map(|(name, _)| name).collect()
}

/// Numbers between -2 and 2, none of them near another or near 0.
fn numbers(shape: &[usize]) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let order = Generator::new(n as u64).randperm(n)?.to_dtype(DType::F64)?;
    let spread = order.add_scalar(0.37)?.mul_scalar(4.0 / n as f64)?.sub_scalar(2.0)?;
    spread.reshape(tensor::Shape::from(shape))
}

/// First and second derivatives with respect to the input, and first ones with respect to each parameter.
fn check(layer: impl IntoLayer, shape: &[usize]) -> Result<()> {
    let layer: Layer = layer.into_layer()?;
    let name = layer.type_name();
    layer.to_dtype(DType::F64)?;
    let x = numbers(shape)?;
    gradcheck(|xs| layer.forward(&xs[0]), std::slice::from_ref(&x)).unwrap_or_else(|e| panic!("{name}: {e}"));
    gradgradcheck(|xs| layer.forward(&xs[0]), std::slice::from_ref(&x)).unwrap_or_else(|e| panic!("{name}: {e}"));

    let y = layer.forward(&x)?;
    let direction = Generator::new(3).uniform(0.5, 1.5, y.shape(), DType::F64)?;
    layer.zero_grad();
    if !layer.parameters().is_empty() {
        y.mul(&direction)?.sum()?.backward()?;
    }
    for (key, parameter) in layer.named_parameters() {
        let grad = parameter.grad().unwrap_or_else(|| panic!("{name}: no gradient of {key}")).to_vec::<f64>()?;
        let start = parameter.tensor().to_vec::<f64>()?;
        for (i, &g) in grad.iter().enumerate() {
            let at = |by: f64| -> Result<f64> {
                let mut values = start.clone();
                values[i] += by;
                parameter.set(&Tensor::from_vec(values, parameter.shape())?)?;
                layer.forward(&x)?.detach().mul(&direction)?.sum()?.item()
            };
            let numeric = (at(1e-6)? - at(-1e-6)?) / 2e-6;
            assert!((g - numeric).abs() <= 1e-5 + 1e-3 * numeric.abs(), "{name}: {key}[{i}]: {g} and {numeric}");
        }
        parameter.set(&Tensor::from_vec(start, parameter.shape())?)?;
    }
    Ok(())
}

#[test]
fn convolutions_have_the_right_derivatives() -> Result<()> {
    manual_seed(7);
    let image = [2, 2, 5, 4];
    check(Conv2d::new(2, 3, (3, 2)).padding((1, 0)).stride((2, 1)), &image)?;
    check(Conv2d::new(2, 4, 2).groups(2).dilation((1, 2)).bias(false), &image)?;
    check(Conv2d::new(2, 1, (3, 2)).padding(Padding::Same), &image)?;
    check(Conv2d::new(2, 1, 2).padding(Padding::Valid), &image[1..])?;
    for mode in [PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular] {
        check(Conv2d::new(2, 2, 3).padding((2, 1)).padding_mode(mode), &image)?;
        check(Conv2d::new(2, 1, (2, 3)).padding(Padding::Same).padding_mode(mode), &image)?;
    }
    check(ConvTranspose2d::new(2, 4, (3, 2)).stride(2).padding((1, 0)).output_padding(1).groups(2), &[2, 2, 3, 3])?;
    check(Linear::new(4, 3), &[2, 5, 4])?;
    check(Linear::new(4, 3).bias(false), &[4])
}

#[test]
fn pools_and_shapes_have_the_right_derivatives() -> Result<()> {
    let image = [2, 2, 5, 4];
    check(MaxPool2d::new(2).stride(1).padding(1), &image)?;
    check(MaxPool2d::new((2, 1)).dilation((2, 1)).ceil_mode(true), &image)?;
    check(AvgPool2d::new(3).stride(2).padding(1).ceil_mode(true).count_include_pad(false), &image)?;
    check(AvgPool2d::new(2).divisor_override(3), &image)?;
    check(AdaptiveAvgPool2d::new((2, 3)), &image)?;
    check(AdaptiveMaxPool2d::new((2, 3)), &image)?;
    check(Flatten, &image)?;
    check(Unflatten::new(-1, [2, -1]), &image)?;
    check(Identity, &[3])
}

#[test]
fn normalisation_has_the_right_derivatives() -> Result<()> {
    check(BatchNorm2d::new(3), &[2, 3, 2, 2])?;
    check(BatchNorm2d::new(3).affine(false).eps(0.1), &[2, 3, 2, 2])?;
    check(BatchNorm1d::new(3), &[4, 3])?;
    check(BatchNorm1d::new(2).track_running_stats(false), &[2, 2, 3])?;
    check(LayerNorm::new([2, 3]), &[4, 2, 3])?;
    check(LayerNorm::new(3).bias(false), &[2, 2, 3])?;
    check(GroupNorm::new(2, 4), &[2, 4, 3])?;
    let evaluated = BatchNorm2d::new(3).build()?;
    evaluated.eval();
    check(evaluated, &[2, 3, 2, 2])
}

#[test]
fn activations_have_the_right_derivatives() -> Result<()> {
    let shape = [3, 4];
    check(ReLU, &shape)?;
    check(LeakyReLU::new(0.1), &shape)?;
    check(ELU::new(0.5), &shape)?;
    check(GELU, &shape)?;
    check(GELU::tanh(), &shape)?;
    check(SiLU, &shape)?;
    check(Sigmoid, &shape)?;
    check(Tanh, &shape)?;
    check(Softplus::new().beta(2.0).threshold(3.0), &shape)?;
    check(Hardtanh::default(), &shape)?;
    check(Softmax::new(-1), &shape)?;
    check(LogSoftmax::new(0), &shape)
}

#[test]
fn keys_and_shapes_are_pytorchs() -> Result<()> {
    let keys = |layer: &dyn Module| -> Vec<String> {
        layer.state_dict().into_iter().map(|(name, t)| format!("{name} {:?}", t.shape())).collect()
    };
    let conv = Conv2d::new(4, 6, (3, 5)).groups(2).build()?;
    assert_eq!(keys(&conv), ["weight [6, 2, 3, 5]", "bias [6]"]);
    let transposed = ConvTranspose2d::new(4, 6, 3).groups(2).bias(false).build()?;
    assert_eq!(keys(&transposed), ["weight [4, 3, 3, 3]"]);
    assert_eq!(keys(&Linear::new(2, 3).build()?), ["weight [3, 2]", "bias [3]"]);
    let norm = BatchNorm2d::new(3).build()?;
    let expected = ["weight [3]", "bias [3]", "running_mean [3]", "running_var [3]", "num_batches_tracked []"];
    assert_eq!(keys(&norm), expected);
    assert_eq!(norm.named_buffers()[2].1.tensor().dtype(), DType::I64);
    assert!(keys(&BatchNorm1d::new(3).affine(false).track_running_stats(false).build()?).is_empty());
    assert_eq!(keys(&LayerNorm::new([2, 3]).build()?), ["weight [2, 3]", "bias [2, 3]"]);
    assert_eq!(keys(&GroupNorm::new(2, 4).build()?), ["weight [4]", "bias [4]"]);
    Ok(())
}

#[test]
fn batch_norm_learns_running_statistics() -> Result<()> {
    let norm = BatchNorm1d::new(1).momentum(0.5).build()?;
    let x = Tensor::new([[1f32], [3.0]])?;
    norm.forward(&x)?;
    let read =
        |i: usize| -> Result<f64> { norm.named_buffers()[i].1.tensor().to_dtype(DType::F64)?.reshape(())?.item() };
    // Mean 2, variance 2 when divided by n - 1; halfway from 0 and 1.
    assert_eq!((read(0)?, read(1)?, read(2)?), (1.0, 1.5, 1.0));
    norm.eval();
    let y = norm.forward(&x)?.to_vec::<f32>()?;
    assert!((y[1] - 2.0 / (1.5f32 + 1e-5).sqrt()).abs() < 1e-6);
    assert_eq!(read(2)?, 1.0, "evaluation does not count batches");

    let average = BatchNorm1d::new(1).momentum(None).build()?;
    for value in [1f32, 4.0, 7.0] {
        average.forward(&Tensor::new([[value], [value]])?)?;
    }
    assert!((average.named_buffers()[0].1.tensor().reshape(())?.item()? - 4.0).abs() < 1e-6);
    Ok(())
}

#[test]
fn a_single_value_per_channel_cannot_be_standardised() -> Result<()> {
    let net = seq![Identity, BatchNorm2d::new(16)]?;
    let error = net.forward(&Tensor::zeros([1, 16, 1, 1])?).unwrap_err();
    assert_eq!(
        error.to_string(),
        "batch_norm `1`: only 1 value per channel while training, input has shape [1, 16, 1, 1]; use a batch of at least 2 (drop_last in the loader) or call eval()"
    );
    assert_eq!(net.named_buffers()[2].1.tensor().item()?, 0.0, "a refused batch is not counted");
    net.eval();
    net.forward(&Tensor::zeros([1, 16, 1, 1])?)?;
    Ok(())
}

#[test]
fn dropout_drops_in_training_only() -> Result<()> {
    manual_seed(5);
    let x = Tensor::ones([100, 100])?.requires_grad_()?;
    let layer = Dropout::new(0.3).build()?;
    let y = layer.forward(&x)?;
    let values = y.to_vec::<f32>()?;
    let dropped = values.iter().filter(|&&v| v == 0.0).count();
    assert!((2800..3200).contains(&dropped), "{dropped}");
    assert!(values.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
    y.sum()?.backward()?;
    assert_eq!(x.grad().map(|g| g.to_vec::<f32>()).transpose()?, Some(values), "the gradient is dropped alike");
    manual_seed(5);
    assert_eq!(layer.forward(&x)?.to_vec::<f32>()?, y.to_vec::<f32>()?, "a seed repeats the choice");
    layer.eval();
    assert_eq!(layer.forward(&x)?.to_vec::<f32>()?, vec![1.0; 10_000]);

    let planes = Dropout2d::new(0.5).build()?.forward(&Tensor::ones([4, 16, 3, 3])?)?;
    let planes = planes.reshape([64, 9])?.to_vec::<f32>()?;
    assert!(planes.chunks(9).all(|plane| plane.iter().all(|&v| v == plane[0])));
    assert!(planes.contains(&0.0) && planes.contains(&2.0));
    assert_eq!(Dropout::new(1.0).forward(&Tensor::ones([3])?)?.to_vec::<f32>()?, [0.0; 3]);
    Ok(())
}

#[test]
fn builders_refuse_options_that_make_no_sense() {
    let text = |layer: Result<Layer>| layer.err().map_or_else(|| "accepted".to_owned(), |e| e.to_string());
    let cases: Vec<(Result<Layer>, &str)> = vec![
        (Conv2d::new(0, 6, 5).into_layer(), "conv2d: in_channels is 0; it must be at least 1"),
        (Conv2d::new(1, 6, (5, 0)).into_layer(), "conv2d: kernel_size is (5, 0); it must be at least 1"),
        (Conv2d::new(1, 6, 5).stride(0).into_layer(), "conv2d: stride is 0; it must be at least 1"),
        (Conv2d::new(1, 6, 5).groups(0).into_layer(), "conv2d: groups is 0; use 1 for an ordinary convolution"),
        (
            Conv2d::new(6, 6, 5).groups(4).into_layer(),
            "conv2d: in_channels 6 is not divisible by groups 4; the divisors are 1, 2, 3, 6",
        ),
        (
            Conv2d::new(6, 4, 5).groups(3).into_layer(),
            "conv2d: out_channels 4 is not divisible by groups 3; the divisors are 1, 2, 4",
        ),
        (
            Conv2d::new(1, 1, 3).padding(Padding::Same).stride(2).into_layer(),
            "conv2d: padding 'same' needs stride 1, got 2; give the padding as numbers",
        ),
        (
            ConvTranspose2d::new(1, 1, 3).output_padding(1).into_layer(),
            "conv_transpose2d: output_padding 1 must be smaller than stride 1 or dilation 1",
        ),
        (MaxPool2d::new(0).into_layer(), "max_pool2d: kernel_size is 0; it must be at least 1"),
        (
            MaxPool2d::new(2).padding(4).into_layer(),
            "max_pool2d: padding 4 is more than half of the window (2), some windows would see only padding; at most 1 is possible",
        ),
        (
            AvgPool2d::new(2).divisor_override(0).into_layer(),
            "avg_pool2d: divisor_override is 0; leave it out to divide by the number of elements",
        ),
        (Linear::new(3, 0).into_layer(), "linear: out_features is 0; it must be at least 1"),
        (Dropout::new(f64::NAN).into_layer(), "dropout: p is NaN; a probability must be from 0 to 1"),
        (Dropout2d::new(-0.1).into_layer(), "dropout2d: p is -0.1; a probability must be from 0 to 1"),
        (BatchNorm2d::new(0).into_layer(), "batch_norm: num_features is 0; it must be at least 1"),
        (BatchNorm2d::new(3).eps(f64::NAN).into_layer(), "batch_norm: eps is NaN; it must be at least 0"),
        (BatchNorm2d::new(3).momentum(1.5).into_layer(), "batch_norm: momentum is 1.5; it must be from 0 to 1"),
        (
            GroupNorm::new(4, 6).into_layer(),
            "group_norm: num_channels 6 is not divisible by groups 4; the divisors are 1, 2, 3, 6",
        ),
        (
            LayerNorm::new(()).into_layer(),
            "layer_norm: normalized_shape is []; it needs at least one dimension, none of them 0",
        ),
        (Hardtanh::new(1.0, -1.0).into_layer(), "hardtanh: min_val is 1 and max_val -1; min_val must be below max_val"),
        (LeakyReLU::new(f64::NAN).into_layer(), "leaky_relu: negative_slope is NaN; it must be a number"),
        (
            Conv2d::new(usize::MAX, 2, 3).into_layer(),
            "conv2d: a tensor of shape [2, 18446744073709551615, 3, 3] does not fit in memory",
        ),
    ];
    for (layer, expected) in cases {
        assert_eq!(text(layer), expected);
    }
}

#[test]
fn errors_inside_a_net_name_the_layer() -> Result<()> {
    let net = seq![Conv2d::new(1, 6, 5), ReLU, Conv2d::new(8, 16, 5)]?;
    let error = net.forward(&Tensor::zeros([4, 1, 28, 28])?).unwrap_err().to_string();
    assert!(error.starts_with("conv2d `2`: input has 6 channels (shape [4, 6, 24, 24])"), "{error}");
    let error = seq![BatchNorm2d::new(3)]?.forward(&Tensor::zeros([4, 2, 5, 5])?).unwrap_err();
    assert_eq!(
        error.to_string(),
        "batch_norm `0`: input has 2 channels (shape [4, 2, 5, 5]), this layer expects 3; use BatchNorm2d::new(2) or change what comes before"
    );
    let error = BatchNorm2d::new(3).build()?.forward(&Tensor::zeros([4, 3])?).unwrap_err();
    assert_eq!(
        error.without_layer().to_string(),
        "batch_norm: input has shape [4, 3] (2 dimensions), expected [N, C, H, W]"
    );
    let error = Unflatten::new(1, [3, 5]).forward(&Tensor::zeros([2, 16])?).unwrap_err();
    assert_eq!(
        error.without_layer().to_string(),
        "unflatten: dimension 1 of size 16 (shape [2, 16]) cannot be split into [3, 5]; the sizes must multiply to it"
    );
    Ok(())
}

#[test]
fn a_frozen_layer_has_no_gradient() -> Result<()> {
    let net = seq![Linear::new(2, 2), Linear::new(2, 1)]?;
    net.layers()[0].requires_grad_(false);
    net.forward(&Tensor::ones([1, 2])?)?.sum()?.backward()?;
    let with: Vec<bool> = net.parameters().iter().map(|p: &Parameter| p.grad().is_some()).collect();
    assert_eq!(with, [false, false, true, true]);
    assert_eq!(names(&net), ["0.weight", "0.bias", "1.weight", "1.bias"]);
    Ok(())
}
