//! Layers that take their sizes from the first input, from a dry run, or from a file.

use gabor_nn::{
    BatchNorm2d, Conv2d, Dropout, Flatten, Forward, LazyBatchNorm1d, LazyBatchNorm2d, LazyConv2d, LazyConvTranspose2d,
    LazyLinear, Linear, MaxPool2d, Module, ReLU, Sequential, init, seq,
};
use tensor::{DType, Result, Tensor, manual_seed};

fn lazy() -> Result<Sequential> {
    seq![
        LazyConv2d::new(4, 3).groups(2),
        LazyBatchNorm2d::new(),
        ReLU,
        MaxPool2d::new(2),
        LazyConvTranspose2d::new(2, 2),
        Flatten,
        Dropout::new(0.5),
        LazyLinear::new(5),
        LazyBatchNorm1d::new(),
        LazyLinear::new(3).bias(false),
    ]
}

fn shapes(module: &dyn Module) -> Vec<(String, Vec<usize>)> {
    module.state_dict().into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect()
}

#[test]
fn a_dry_run_sets_the_sizes_and_nothing_else() -> Result<()> {
    let net = lazy()?;
    assert_eq!(net.num_parameters(), 0, "biases wait too");
    assert_eq!(net.materialize(&[1, 2, 8, 8])?.to_vec(), [1, 3]);
    let state = shapes(&net);
    assert_eq!(state[0], ("0.weight".to_owned(), vec![4, 1, 3, 3]));
    assert_eq!(
        state[2..7].iter().map(|(_, s)| s.clone()).collect::<Vec<_>>(),
        [vec![4], vec![4], vec![4], vec![4], vec![]]
    );
    assert_eq!(net.get_parameter("4.weight")?.shape().to_vec(), [4, 2, 2, 2]);
    assert_eq!(net.get_parameter("7.weight")?.shape().to_vec(), [5, 2 * 4 * 4]);
    assert_eq!(net.get_parameter("9.weight")?.shape().to_vec(), [3, 5]);
    assert_eq!(net.get_buffer("1.running_mean")?.tensor().to_vec::<f32>()?, [0.0; 4]);
    assert_eq!(net.get_buffer("1.running_var")?.tensor().to_vec::<f32>()?, [1.0; 4]);
    assert_eq!(net.get_buffer("1.num_batches_tracked")?.tensor().item()?, 0.0);
    assert!(net.parameters().iter().all(|p| p.grad().is_none() && p.requires_grad() && !p.is_lazy()));
    // Still training: batch normalisation counts the next batch.
    net.forward(&Tensor::randn([4, 2, 8, 8])?)?.sum()?.backward()?;
    assert_eq!(net.get_buffer("1.num_batches_tracked")?.tensor().item()?, 1.0);
    assert!(net.parameters().iter().all(|p| p.grad().is_some()));

    net.eval();
    net.materialize(&[1, 2, 8, 8])?;
    assert!(net.forward(&Tensor::randn([1, 2, 8, 8])?).is_ok(), "evaluation stays evaluation");
    net.train();
    assert!(net.materialize(&[1, 3, 8, 8]).is_err());
    assert!(net.forward(&Tensor::randn([1, 2, 8, 8])?).is_err(), "after an error too: one value for each feature");
    Ok(())
}

#[test]
fn the_first_batch_does_it_with_the_same_numbers() -> Result<()> {
    let x = Tensor::randn([4, 2, 6, 6])?;
    manual_seed(3);
    let ready = seq![Conv2d::new(2, 4, 3), BatchNorm2d::new(4), Flatten, Linear::new(64, 3)]?;
    let expected = ready.forward(&x)?.to_vec::<f32>()?;
    manual_seed(3);
    let net = seq![LazyConv2d::new(4, 3), LazyBatchNorm2d::new(), Flatten, LazyLinear::new(3)]?;
    assert_eq!(net.forward(&x)?.to_vec::<f32>()?, expected);
    assert_eq!(shapes(&net), shapes(&ready));
    assert!(net.get_submodule("0")?.downcast_ref::<Conv2d>().is_some(), "a lazy layer is the layer that it becomes");
    Ok(())
}

#[test]
fn a_file_gives_the_sizes() -> Result<()> {
    let ready = lazy()?;
    ready.materialize(&[1, 2, 8, 8])?;
    let net = lazy()?;
    net.load_state_dict(&ready.state_dict(), true)?;
    assert_eq!(shapes(&net), shapes(&ready));
    net.eval();
    ready.eval();
    let x = Tensor::randn([2, 2, 8, 8])?;
    assert_eq!(net.forward(&x)?.to_vec::<f32>()?, ready.forward(&x)?.to_vec::<f32>()?);
    let error = net.call(&Tensor::randn([2, 4, 8, 8])?).unwrap_err().to_string();
    assert!(error.contains("`0`"), "{error}");

    // What is known is checked, and one misfit changes nothing.
    let other = seq![LazyConv2d::new(4, 5), LazyBatchNorm2d::new()]?;
    let mut state = seq![Conv2d::new(2, 4, 3), BatchNorm2d::new(4)]?.state_dict();
    let error = other.load_state_dict(&state, true).unwrap_err().to_string();
    assert!(error.contains("misshapen 0.weight, the state has [4, 2, 3, 3] and the module [4, 0, 5, 5]"), "{error}");
    assert!(other.parameters().iter().all(|p| p.is_lazy()));

    // A part of the state: the rest follows, and a batch of another size is refused.
    let norm = LazyBatchNorm2d::new().build()?;
    state.truncate(3);
    let weight = [("weight".to_owned(), Tensor::full(3, 2f32)?)];
    norm.load_state_dict(&weight, false)?;
    assert!(norm.forward(&Tensor::randn([2, 4, 5, 5])?).unwrap_err().to_string().contains("this layer expects 3"));
    assert_eq!(norm.forward(&Tensor::randn([2, 3, 5, 5])?)?.shape(), &[2, 3, 5, 5]);

    // The state of a lazy module leaves a lazy module lazy.
    let (a, b) = (LazyLinear::new(2).build()?, LazyLinear::new(2).build()?);
    b.load_state_dict(&a.state_dict(), true)?;
    assert!(b.weight.is_lazy() && b.in_features() == 0);
    Ok(())
}

#[test]
fn dtype_freezing_and_sharing_are_kept() -> Result<()> {
    let layer = LazyLinear::new(2).build()?;
    let twin = layer.clone();
    layer.to_dtype(DType::F64)?;
    layer.requires_grad_(false);
    let y = layer.forward(&Tensor::ones([1, 3])?.to_dtype(DType::F64)?)?;
    assert_eq!((y.dtype(), y.requires_grad()), (DType::F64, false));
    assert_eq!(twin.weight.shape().to_vec(), [2, 3]);
    let net = seq![LazyLinear::new(2)]?;
    net.to_dtype(DType::F64)?;
    assert_eq!(net.materialize(&[1, 7])?.to_vec(), [1, 2]);
    Ok(())
}

#[test]
fn mistakes_are_errors() -> Result<()> {
    let net = seq![LazyConv2d::new(4, 3).groups(2)]?;
    let text = |shape: &[usize]| net.materialize(shape).unwrap_err().to_string();
    assert_eq!(text(&[1, 3, 8, 8]), "conv2d `0`: in_channels 3 is not divisible by groups 2; the divisors are 1, 3");
    assert!(text(&[8, 8]).starts_with("conv2d `0`: input has shape [8, 8]; expected [N, C, H, W]"));
    assert!(text(&[1, 0, 8, 8]).contains("`0`"));
    assert!(net.parameters().iter().all(|p| p.is_lazy()), "it can be tried again");
    assert!(LazyLinear::new(2).build()?.materialize(&[3, 0]).is_err());
    assert!(LazyLinear::new(2).build()?.forward(&Tensor::new(1f32)?).is_err());
    assert!(LazyLinear::new(0).build().is_err() && LazyConv2d::new(0, 3).build().is_err());
    assert!(LazyConv2d::new(2, 0).build().is_err() && LazyConv2d::new(2, usize::MAX).build().is_err());
    assert!(Conv2d::new(0, 2, 3).build().is_err() && Linear::new(0, 2).build().is_err());
    let error = init::xavier_uniform_(&net.parameters()[0], 1.0).unwrap_err().to_string();
    assert_eq!(error, "init: the parameter has open sizes (0), [4, 0, 3, 3]; materialize its module first");
    Ok(())
}
