//! A training that is stopped, stored and resumed ends with the same bits as one that is not.

use gabor_io::{Archive, Checkpoint, load, load_optimizer, save, save_optimizer};
use nn::{Forward, Linear, Module, Sequential, Sigmoid, seq};
use optim::{Adam, CosineAnnealingLR, Optimizer, ReduceLROnPlateau, SGD, Schedule};
use tensor::{Generator, Result, Tensor};

fn net() -> Sequential {
    seq![Linear::new(4, 8), Sigmoid, Linear::new(8, 2)].unwrap()
}

fn values(net: &dyn Module) -> Vec<f32> {
    net.parameters().iter().flat_map(|p| p.tensor().to_vec::<f32>().unwrap()).collect()
}

fn train(net: &Sequential, optimizer: &mut dyn Optimizer, steps: std::ops::Range<u64>) -> Result<()> {
    for step in steps {
        let x = Generator::new(step).randn([16, 4], tensor::DType::F32)?;
        optimizer.zero_grad();
        net.forward(&x)?.square()?.mean()?.backward()?;
        optimizer.step()?;
    }
    Ok(())
}

#[test]
fn a_resumed_training_is_the_uninterrupted_one() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let first = net();
    let mut adam = Adam::new(first.parameters(), 0.01).amsgrad(true).build()?;
    let mut schedule = CosineAnnealingLR::new(&adam, 9).build()?;
    for epoch in 0..3 {
        train(&first, &mut adam, epoch * 5..epoch * 5 + 5)?;
        schedule.step(&mut adam)?;
    }
    let plateau = ReduceLROnPlateau::new(&adam).build()?;
    Checkpoint::new(&first)
        .with_state("optimizer", adam.state_dict()?)
        .with_state("schedule", schedule.state_dict())
        .with_state("plateau", plateau.state_dict())
        .with_note("epoch", 3)
        .save(&path)?;
    train(&first, &mut adam, 15..20)?;
    schedule.step(&mut adam)?;
    train(&first, &mut adam, 20..25)?;

    let second = net();
    let mut resumed = Adam::new(second.parameters(), 0.5).build()?;
    let mut again = CosineAnnealingLR::new(&resumed, 9).build()?;
    let mut flat = ReduceLROnPlateau::new(&resumed).build()?;
    let checkpoint = Checkpoint::open(&path)?;
    checkpoint.load_model(&second)?;
    resumed.load_state_dict(checkpoint.state("optimizer")?)?;
    again.load_state_dict(checkpoint.state("schedule")?)?;
    flat.load_state_dict(checkpoint.state("plateau")?)?;
    assert_eq!(flat.best(), f64::INFINITY);
    train(&second, &mut resumed, 15..20)?;
    again.step(&mut resumed)?;
    train(&second, &mut resumed, 20..25)?;
    assert_eq!(values(&second), values(&first));
    assert_eq!(resumed.lr(), adam.lr());

    let text = checkpoint.state("scheduler").unwrap_err().to_string();
    assert!(
        text.ends_with("no state is called \"scheduler\"; there are [\"optimizer\", \"plateau\", \"schedule\"]"),
        "{text}"
    );
    assert!(Checkpoint::new(&second).with_state("a.b", adam.state_dict()?).save(&path).is_err());
    save(&path, &second)?;
    assert!(Checkpoint::open(&path).unwrap_err().to_string().contains("no checkpoint"));
    Ok(())
}

#[test]
fn model_and_optimizer_in_files_of_their_own() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let (model, memory) = (folder.path().join("net.safetensors"), folder.path().join("sgd.safetensors"));
    let first = net();
    let mut sgd = SGD::new(first.parameters(), 0.1).momentum(0.9).build()?;
    train(&first, &mut sgd, 0..3)?;
    save(&model, &first)?;
    save_optimizer(&memory, &sgd)?;
    let names: Vec<String> = Archive::read(&model)?.tensors.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["0.weight", "0.bias", "2.weight", "2.bias"]);
    train(&first, &mut sgd, 3..6)?;

    let second = net();
    let mut resumed = SGD::new(second.parameters(), 0.7).build()?;
    load(&model, &second)?;
    load_optimizer(&memory, &mut resumed)?;
    train(&second, &mut resumed, 3..6)?;
    assert_eq!(values(&second), values(&first));

    let mut other = Adam::new(second.parameters(), 0.1).build()?;
    let text = load_optimizer(&memory, &mut other).unwrap_err().to_string();
    assert!(text.contains("sgd.safetensors") && text.contains("that of SGD"), "{text}");
    assert!(load_optimizer(&model, &mut resumed).unwrap_err().to_string().contains("no state of an optimizer"));
    Ok(())
}

#[test]
fn a_file_that_does_not_fit_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let mut archive = Archive::new(net().state_dict());
    archive.tensors[0].0 = "0.wieght".into();
    archive.tensors[3].1 = Tensor::zeros([5])?;
    archive.write(&path)?;
    let own = net();
    let before = values(&own);
    let text = load(&path, &own).unwrap_err().to_string();
    for part in ["net.safetensors", "missing 0.weight", "unexpected 0.wieght", "2.bias"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(values(&own), before);

    // Numbers of another type are converted.
    let doubled: Result<Vec<_>> =
        net().state_dict().into_iter().map(|(name, t)| Ok((name, t.to_dtype(tensor::DType::F64)?))).collect();
    gabor_io::write_tensors(&path, &doubled?)?;
    load(&path, &own)?;
    assert_ne!(values(&own), before);
    Ok(())
}
