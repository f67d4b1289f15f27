//! Averaged weights: PyTorch's numbers, in and out of the model, and in files.

use gabor::prelude::*;

fn net() -> Result<Sequential> {
    let net = seq![Linear::new(2, 2), BatchNorm1d::new(2)]?;
    net.to_dtype(DType::F64)?;
    net.get_parameter("0.weight")?.set(&Tensor::new([[0.5f64, -0.25], [1.0, 0.75]])?)?;
    net.get_parameter("0.bias")?.set(&Tensor::new([f64::from(0.1f32), f64::from(-0.2f32)])?)?;
    Ok(net)
}

fn train(net: &Sequential, average: &mut AveragedModel, steps: usize) -> Result<()> {
    let x = Tensor::new([[1f64, 2.0], [3.0, -1.0], [0.0, 4.0]])?;
    let y = Tensor::new([[1f64, 0.0], [0.0, 1.0], [1.0, 1.0]])?;
    let mut sgd = SGD::new(net.parameters(), 0.1).build()?;
    for _ in 0..steps {
        sgd.zero_grad();
        nn::functional::mse_loss(&net.forward(&x)?, &y)?.backward()?;
        sgd.step()?;
        average.update_parameters(net)?;
    }
    Ok(())
}

fn close(average: &AveragedModel, name: &str, expected: &[f64]) -> Result<()> {
    let (_, value) = average.values().find(|(own, _)| *own == name).expect("it is there");
    let value = value.to_dtype(DType::F64)?.to_vec::<f64>()?;
    assert!(value.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{name}: {value:?}");
    Ok(())
}

#[test]
fn averages_are_pytorchs() -> Result<()> {
    let trained = |average: fn(&Sequential) -> Result<AveragedModel>| {
        let net = net()?;
        let mut average = average(&net)?;
        train(&net, &mut average, 4)?;
        assert_eq!(average.n_averaged(), 4);
        Ok::<_, Error>(average)
    };
    let ema = trained(|net| AveragedModel::ema(net, 0.9))?;
    close(&ema, "0.weight", &[0.4990948826517413, -0.25179905739100883, 1.1145139784648224, 0.586243032930592])?;
    close(&ema, "0.bias", &[0.10000000149011612, -0.20000000298023285])?;
    close(&ema, "1.weight", &[0.788230771827089, 0.8756569720844727])?;
    close(&ema, "1.running_mean", &[0.11887763166290025, 0.7596330961961958])?;
    close(&ema, "1.num_batches_tracked", &[4.0])?;

    let swa = trained(|net| AveragedModel::swa(net))?;
    close(&swa, "0.weight", &[0.49863433229973164, -0.25270900976609223, 1.1956433614558772, 0.4580483405134331])?;
    close(&swa, "1.bias", &[0.15081666666666668, 0.150816666666667])?;
    close(&swa, "1.running_var", &[1.3255031695044988, 0.8337229602117561])?;

    let buffers = trained(|net| Ok(AveragedModel::ema(net, 0.9)?.use_buffers(true)))?;
    close(&buffers, "1.running_mean", &[0.05122902007214103, 0.3408276780256668])?;
    close(&buffers, "1.running_var", &[1.1383894521358169, 0.8919569851151361])?;
    Ok(())
}

#[test]
fn the_models_own_values_come_back() -> Result<()> {
    let net = net()?;
    let mut ema = AveragedModel::ema(&net, 0.5)?;
    train(&net, &mut ema, 3)?;
    let weight = net.get_parameter("0.weight")?;
    let mean = net.get_buffer("1.running_mean")?;
    let own = (weight.tensor().to_vec::<f64>()?, mean.tensor().to_vec::<f64>()?);
    let held = || Ok::<_, Error>((weight.tensor().to_vec::<f64>()?, mean.tensor().to_vec::<f64>()?));
    assert_ne!(ema.with(&net, held)?.0, own.0);
    assert_eq!(held()?, own);
    assert!(ema.with(&net, || Err::<(), _>(Error::custom("stop"))).is_err());
    assert_eq!(held()?, own, "after an error");
    let panics = std::panic::AssertUnwindSafe(|| ema.with(&net, || -> Result<()> { panic!("stop") }));
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(held()?, own, "after a panic");
    ema.copy_to(&net)?;
    assert_ne!(held()?.0, own.0);
    let before = ema.with(&net, held)?;
    train(&net, &mut ema.clone(), 1)?;
    assert_eq!(ema.with(&net, held)?, before, "the average does not share memory with the model");
    Ok(())
}

#[test]
fn an_average_goes_through_a_checkpoint() -> Result<()> {
    let net = net()?;
    let mut ema = AveragedModel::ema(&net, 0.9)?;
    train(&net, &mut ema, 2)?;
    let path = std::env::temp_dir().join(format!("gabor-ema-{}.safetensors", std::process::id()));
    io::Checkpoint::new(&net).with_state("ema", ema.state_dict()).save(&path)?;
    let checkpoint = io::Checkpoint::open(&path);
    std::fs::remove_file(&path).expect("it was written");
    let mut resumed = AveragedModel::ema(&net, 0.5)?;
    resumed.load_state_dict(checkpoint?.state("ema")?)?;
    let other = self::net()?;
    resumed.copy_to(&other)?;
    ema.copy_to(&net)?;
    for ((name, a), (_, b)) in net.state_dict().into_iter().zip(other.state_dict()) {
        assert_eq!(a.to_dtype(DType::F64)?.to_vec::<f64>()?, b.to_dtype(DType::F64)?.to_vec::<f64>()?, "{name}");
    }
    assert_eq!((resumed.n_averaged(), resumed.state_dict().number("decay")), (2, Some(0.9)));

    let mut state = ema.state_dict();
    let text = AveragedModel::swa(&net)?.load_state_dict(&state).unwrap_err().to_string();
    assert!(text.contains("the average is Equal here and its decay Some(0.9) there"), "{text}");
    state.tensors.pop();
    let text = resumed.load_state_dict(&state).unwrap_err().to_string();
    assert!(text.contains("1.num_batches_tracked is missing"), "{text}");
    Ok(())
}

#[test]
fn other_models_are_refused() -> Result<()> {
    let net = net()?;
    let mut ema = AveragedModel::ema(&net, 0.9)?;
    let other = Linear::new(2, 2).build()?;
    let text = ema.update_parameters(&other).unwrap_err().to_string();
    assert_eq!(
        text,
        "AveragedModel: the model has `weight` f32 [2, 2] where the average has `0.weight` f64 [2, 2]; it belongs to another model"
    );
    assert!(ema.copy_to(&other).is_err() && ema.with(&other, || Ok(())).is_err());
    assert_eq!(ema.n_averaged(), 0);
    assert!(AveragedModel::ema(&net, 1.5).is_err() && AveragedModel::ema(&net, f64::NAN).is_err());
    let lazy = seq![LazyLinear::new(2)]?;
    let text = AveragedModel::swa(&lazy).unwrap_err().to_string();
    assert_eq!(text, "AveragedModel: `0.weight` has open sizes, its layer is lazy; call net.materialize first");
    Ok(())
}

#[test]
fn statistics_of_averaged_weights_are_computed_anew() -> Result<()> {
    let net = seq![seq![Linear::new(2, 2), BatchNorm1d::new(2).momentum(0.3)]?, Dropout::new(0.0)]?;
    net.to_dtype(DType::F64)?;
    net.get_submodule("0")?.eval();
    let mut g = Generator::new(3);
    let batches: Vec<Tensor> = (0..3).map(|_| g.normal(1.0, 2.0, [5, 2], DType::F64)).collect::<Result<_>>()?;
    net.get_buffer("0.1.running_mean")?.set(&Tensor::new([9f64, 9.0])?)?;
    nn::update_bn(batches.iter().cloned().map(Ok), &net)?;
    let linear = net.get_submodule("0.0")?.downcast_ref::<Linear>().expect("it is one");
    let (mut mean, mut var) = (Tensor::zeros([2])?.to_dtype(DType::F64)?, Tensor::zeros([2])?.to_dtype(DType::F64)?);
    for x in &batches {
        let y = linear.forward(x)?.detach();
        mean = mean.add(&y.mean_dim(0, false)?.div_scalar(3.0)?)?;
        var = var.add(&y.var_dim(0, 1.0, false)?.div_scalar(3.0)?)?;
    }
    for (name, expected) in [("0.1.running_mean", mean), ("0.1.running_var", var)] {
        let (a, b) = (net.get_buffer(name)?.tensor().to_vec::<f64>()?, expected.to_vec::<f64>()?);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12), "{name} {a:?} {b:?}");
    }
    assert_eq!(net.get_buffer("0.1.num_batches_tracked")?.tensor().item()?, 3.0);
    assert!(net.parameters().iter().all(|p| p.grad().is_none()));

    // The switches are as before, and so is the momentum.
    let kept = net.get_buffer("0.1.running_mean")?.tensor().to_vec::<f64>()?;
    net.forward(&batches[0])?;
    assert_eq!(net.get_buffer("0.1.running_mean")?.tensor().to_vec::<f64>()?, kept, "it was in evaluation");
    net.train();
    net.forward(&batches[0])?;
    let batch = linear.forward(&batches[0])?.mean_dim(0, false)?.to_vec::<f64>()?;
    let moved = net.get_buffer("0.1.running_mean")?.tensor().to_vec::<f64>()?;
    assert!((0..2).all(|i| (moved[i] - (0.7 * kept[i] + 0.3 * batch[i])).abs() < 1e-12));

    let broken = [Ok(batches[0].clone()), Err(Error::custom("no more"))];
    assert!(nn::update_bn(broken, &net).is_err());
    assert!(nn::update_bn([Err(Error::custom("not asked for"))], &Linear::new(2, 2).build()?).is_ok());
    Ok(())
}
