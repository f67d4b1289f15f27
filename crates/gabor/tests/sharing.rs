//! Frozen layers, tied weights and accumulated gradients, with optimizers and files.

use gabor::prelude::*;

fn values(parameter: &Parameter) -> Result<Vec<f64>> {
    parameter.tensor().to_vec::<f64>()
}

fn net() -> Result<Sequential> {
    manual_seed(5);
    let net = seq![seq![Linear::new(3, 4), Tanh]?, Linear::new(4, 2)]?;
    net.to_dtype(DType::F64)?;
    Ok(net)
}

fn batch(rows: usize) -> Result<(Tensor, Tensor)> {
    let mut g = Generator::new(7);
    Ok((g.normal(0.0, 1.0, [rows, 3], DType::F64)?, g.normal(0.0, 1.0, [rows, 2], DType::F64)?))
}

#[test]
fn frozen_layers_get_no_gradient_and_stay() -> Result<()> {
    let net = net()?;
    net.get_submodule("0")?.requires_grad_(false);
    let (x, y) = batch(8)?;
    let mut sgd = SGD::new(net.parameters(), 0.1).momentum(0.9).weight_decay(0.1).build()?;
    let before: Vec<Vec<f64>> = net.parameters().iter().map(values).collect::<Result<_>>()?;
    for _ in 0..3 {
        sgd.zero_grad();
        nn::functional::mse_loss(&net.forward(&x)?, &y)?.backward()?;
        sgd.step()?;
    }
    for ((name, parameter), before) in net.named_parameters().iter().zip(&before) {
        let frozen = name.starts_with("0.");
        assert_eq!(parameter.grad().is_none(), frozen, "{name}");
        assert_eq!(&values(parameter)? == before, frozen, "{name}: not even weight decay moves a frozen one");
    }
    // A gradient from before freezing moves nothing either, and thawing makes it learn again.
    net.requires_grad_(false);
    let after = values(&net.parameters()[3])?;
    assert!(net.parameters()[3].grad().is_some());
    sgd.step()?;
    assert_eq!(values(&net.parameters()[3])?, after);
    net.requires_grad_(true);
    nn::functional::mse_loss(&net.forward(&x)?, &y)?.backward()?;
    assert!(net.parameters().iter().all(|p| p.grad().is_some()));
    Ok(())
}

#[test]
fn tied_weights_are_one_parameter_under_two_names() -> Result<()> {
    #[derive(Module)]
    struct Tied {
        encode: Linear,
        decode: Linear,
    }
    let mut tied =
        Tied { encode: Linear::new(3, 3).bias(false).build()?, decode: Linear::new(3, 3).bias(false).build()? };
    tied.decode.weight = tied.encode.weight.clone();
    tied.to_dtype(DType::F64)?;
    assert_eq!(tied.num_parameters(), 9);
    assert_eq!(tied.named_parameters().len(), 1);
    let names: Vec<String> = tied.state_dict().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["encode.weight", "decode.weight"]);

    // The gradient is the sum of what the two places give.
    let (x, _) = batch(4)?;
    tied.decode.forward(&tied.encode.forward(&x)?)?.square()?.sum()?.backward()?;
    let together = tied.encode.weight.grad().expect("learned").to_vec::<f64>()?;
    let apart = [tied.encode.weight.tensor().detach(), tied.encode.weight.tensor().detach()];
    let leaves = [apart[0].clone().requires_grad_()?, apart[1].clone().requires_grad_()?];
    x.linear(&leaves[0], None)?.linear(&leaves[1], None)?.square()?.sum()?.backward()?;
    let parts =
        [leaves[0].grad().expect("a leaf").to_vec::<f64>()?, leaves[1].grad().expect("a leaf").to_vec::<f64>()?];
    for (i, sum) in together.iter().enumerate() {
        assert!((sum - parts[0][i] - parts[1][i]).abs() < 1e-12);
    }

    // One step of the optimizer, not two, and a file that loads into tied and untied models.
    let mut sgd = SGD::new(tied.parameters(), 0.1).build()?;
    let before = values(&tied.encode.weight)?;
    sgd.step()?;
    for (i, after) in values(&tied.decode.weight)?.iter().enumerate() {
        assert!((after - (before[i] - 0.1 * together[i])).abs() < 1e-15);
    }
    let path = std::env::temp_dir().join(format!("gabor-tied-{}.safetensors", std::process::id()));
    io::save(&path, &tied)?;
    let other = Tied { encode: Linear::new(3, 3).bias(false).build()?, decode: Linear::new(3, 3).bias(false).build()? };
    other.to_dtype(DType::F64)?;
    let loaded = io::load(&path, &other);
    std::fs::remove_file(&path).expect("it was written");
    loaded?;
    assert_eq!(values(&other.decode.weight)?, values(&tied.encode.weight)?);
    Ok(())
}

#[test]
fn micro_batches_add_up_to_the_batch() -> Result<()> {
    let (net, (x, y)) = (net()?, batch(12)?);
    nn::functional::mse_loss(&net.forward(&x)?, &y)?.backward()?;
    let whole: Vec<Vec<f64>> =
        net.parameters().iter().map(|p| p.grad().expect("learned").to_vec()).collect::<Result<_>>()?;
    net.zero_grad();
    let parts = 4;
    for (x, y) in x.chunk(parts, 0)?.iter().zip(y.chunk(parts, 0)?) {
        nn::functional::mse_loss(&net.forward(x)?, &y)?.div_scalar(parts as f64)?.backward()?;
    }
    for (parameter, whole) in net.parameters().iter().zip(&whole) {
        let sum = parameter.grad().expect("learned").to_vec::<f64>()?;
        assert!(sum.iter().zip(whole).all(|(a, b)| (a - b).abs() < 1e-14), "{sum:?} {whole:?}");
    }
    let norms: Vec<f64> =
        net.parameters().iter().map(|p| optim::grad_norm(std::slice::from_ref(p), 2.0)).collect::<Result<_>>()?;
    let total = optim::grad_norm(&net.parameters(), 2.0)?;
    assert!((norms.iter().map(|n| n * n).sum::<f64>().sqrt() - total).abs() < 1e-14);
    assert_eq!(optim::clip_grad_norm_(&net.parameters(), 1e9, 2.0)?, total);
    Ok(())
}
