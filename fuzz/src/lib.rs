//! What every reader of bytes must stand: one function for each, which panics if a promise is broken. The fuzzer calls them
//! with bytes of its own making, `crates/gabor/tests/corpus.rs` with those of `corpus`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use gabor::data::{Dataset, Mnist, Split, parse_idx};
use gabor::io::{Archive, Checkpoint, load, load_optimizer};
use gabor::nn::{BatchNorm2d, Conv2d, Flatten, Linear, Module, Sequential, seq};
use gabor::optim::{
    Adagrad, Adam, AdamW, AveragedModel, ChainedScheduler, ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts,
    CyclicLR, ExponentialLR, LinearLR, MultiStepLR, OneCycleLR, Optimizer, PolynomialLR, RMSprop, ReduceLROnPlateau,
    SGD, Schedule, SequentialLR, StateDict, StepLR,
};
use gabor::{DType, Parameter, Result, Tensor};

/// An IDX file: plain and gzipped bytes mean the same, and what is read fits the bytes.
pub fn idx(bytes: &[u8]) {
    let plain = parse_idx(bytes);
    if let Ok(x) = &plain {
        assert!(x.numel() > 0 && (1..=3).contains(&x.rank()));
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    let packed = parse_idx(&packed.finish().unwrap());
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return; // gzipped twice is not a format
    }
    match (plain, packed) {
        (Ok(a), Ok(b)) => {
            assert_eq!(a.shape(), b.shape());
            assert_eq!(a.to_vec::<u8>().unwrap(), b.to_vec::<u8>().unwrap());
        }
        (Err(_), Err(_)) => {}
        (a, b) => panic!("plain {a:?}, gzipped {b:?}"),
    }
}

/// The images and the labels of MNIST: the first two bytes say how long the file of images is.
pub fn mnist(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let (images, labels) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
    let folder = scratch("mnist");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("t10k-images-idx3-ubyte"), images).unwrap();
    fs::write(folder.join("t10k-labels-idx1-ubyte"), labels).unwrap();
    if let Ok(data) = Mnist::load(&folder, Split::Test) {
        let (x, y) = data.batch(&Vec::from_iter(0..data.len())).unwrap();
        assert_eq!(x.dims(), [data.len(), 1, 28, 28]);
        assert!(x.to_vec::<f32>().unwrap().iter().all(|v| (0.0..=1.0).contains(v)));
        assert!(y.to_vec::<i64>().unwrap().iter().all(|y| (0..10).contains(y)));
        assert!(data.batch(&[data.len()]).is_err());
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// A safetensors file: what is read is written and read again as the same.
pub fn archive(bytes: &[u8]) {
    let Ok(archive) = Archive::from_bytes(bytes) else { return };
    let size: usize = archive.tensors.iter().map(|(_, t)| t.numel() * t.dtype().size()).sum();
    assert!(size <= 8 * bytes.len(), "{size} bytes of {}", bytes.len());
    let written = archive.to_bytes().unwrap();
    let again = Archive::from_bytes(&written).unwrap();
    assert_eq!(again.to_bytes().unwrap(), written);
    assert_eq!(again.metadata, archive.metadata);
    for (name, tensor) in &archive.tensors {
        let _ = tensor.to_string();
        assert_eq!(again.tensor(name).unwrap().shape(), tensor.shape());
    }
}

/// A net, an optimizer and a schedule that a file may fit.
pub fn training() -> Result<(Sequential, SGD, StepLR)> {
    let net = seq![Conv2d::new(1, 2, 2), BatchNorm2d::new(2), Flatten, Linear::new(2, 2)]?;
    let sgd = SGD::new(net.parameters(), 0.1).momentum(0.9).build()?;
    let schedule = StepLR::new(&sgd, 3).build()?;
    Ok((net, sgd, schedule))
}

/// A checkpoint, a model or the state of an optimizer in a file: an error changes nothing, and what was read works.
pub fn checkpoint(bytes: &[u8]) {
    thread_local! {
        static FRESH: (Sequential, Vec<u8>) = {
            let (net, ..) = training().unwrap();
            let bytes = content(&net);
            (net, bytes)
        };
    }
    let path = scratch("checkpoint");
    fs::write(&path, bytes).unwrap();
    FRESH.with(|(net, before)| {
        let loaded = load(&path, net).is_ok();
        assert!(loaded || content(net) == *before, "an error has changed the net");
        let mut sgd = SGD::new(net.parameters(), 0.1).momentum(0.9).build().unwrap();
        let mut schedule = StepLR::new(&sgd, 3).build().unwrap();
        let mut told = load_optimizer(&path, &mut sgd).is_ok();
        assert!(told || sgd.lr() == 0.1, "an error has changed the optimizer");
        if let Ok(checkpoint) = Checkpoint::open(&path) {
            let now = content(net);
            assert!(checkpoint.load_model(net).is_ok() || content(net) == now, "an error has changed the net");
            for name in ["optimizer", "schedule", "epoch"] {
                let _ = checkpoint.note(name);
                if let Ok(state) = checkpoint.state(name) {
                    told |= sgd.load_state_dict(state).is_ok() | schedule.load_state_dict(state).is_ok();
                }
            }
        }
        if told {
            moves(&mut sgd);
            let _ = schedule.step(&mut sgd);
        }
        let old = Archive::from_bytes(before).unwrap();
        net.load_state_dict(&old.tensors, true).unwrap();
    });
    fs::remove_file(&path).unwrap();
}

fn content(net: &Sequential) -> Vec<u8> {
    Archive::new(net.state_dict()).to_bytes().unwrap()
}

/// The state of an optimizer or a schedule as text: its kind, then a line for each number (`name value`) and for each tensor
/// (`@name f32|f64|i64 size,size`).
pub fn state(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let mut state = StateDict::new(lines.next().unwrap_or(""));
    for line in lines {
        let mut words = line.split(' ');
        let (name, value) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if let Some(name) = name.strip_prefix('@') {
            let dtype = [DType::F32, DType::F64, DType::I64].into_iter().find(|t| t.to_string() == value);
            let sizes: Vec<usize> = words.next().unwrap_or("").split(',').filter_map(|s| s.parse().ok()).collect();
            if let Some(dtype) = dtype
                && sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s)).is_some_and(|n| n < 1000)
                && let Ok(tensor) = Tensor::ones(sizes.as_slice()).and_then(|t| t.to_dtype(dtype))
            {
                state.tensors.push((name.into(), tensor));
            }
        } else if let Ok(value) = value.parse() {
            state.numbers.push((name.into(), value));
        }
    }
    match optimizer(&state.kind).unwrap() {
        Some(mut optimizer) => take(&mut *optimizer, &state),
        None => schedule(&state).unwrap(),
    }
}

/// Two parameters of different types.
fn parameters() -> Result<Vec<Parameter>> {
    let w = Parameter::new(Tensor::ones([2, 3])?)?;
    let b = Parameter::new(Tensor::ones([3])?.to_dtype(DType::F64)?)?;
    Ok(vec![w, b])
}

/// The optimizers.
pub const OPTIMIZERS: [&str; 5] = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"];
/// The schedules whose states have the same form.
pub const SCHEDULES: [&str; 9] = [
    "StepLR",
    "MultiStepLR",
    "ExponentialLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "LinearLR",
    "ConstantLR",
    "PolynomialLR",
    "OneCycleLR",
];

/// The optimizer of this kind, with all that it can remember.
pub fn optimizer(kind: &str) -> Result<Option<Box<dyn Optimizer>>> {
    Ok(Some(match kind {
        "SGD" => Box::new(SGD::new(parameters()?, 0.1).momentum(0.9).build()?),
        "Adam" => Box::new(Adam::new(parameters()?, 0.1).amsgrad(true).build()?),
        "AdamW" => Box::new(AdamW::new(parameters()?, 0.1).amsgrad(true).build()?),
        "RMSprop" => Box::new(RMSprop::new(parameters()?, 0.1).momentum(0.9).centered(true).build()?),
        "Adagrad" => Box::new(Adagrad::new(parameters()?, 0.1).build()?),
        _ => return Ok(None),
    }))
}

fn take(optimizer: &mut dyn Optimizer, state: &StateDict) {
    let lr = optimizer.lr();
    match optimizer.load_state_dict(state) {
        Ok(()) => {
            let own = optimizer.state_dict().unwrap();
            optimizer.load_state_dict(&own).unwrap();
        }
        Err(_) => assert_eq!(optimizer.lr(), lr),
    }
    moves(optimizer);
}

/// A step works, whatever the state holds, and the rate is a number.
fn moves(optimizer: &mut dyn Optimizer) {
    assert!(optimizer.lr().is_finite() && optimizer.lr() >= 0.0);
    optimizer.zero_grad();
    for parameter in optimizer.groups()[0].parameters() {
        parameter.tensor().square().unwrap().sum().unwrap().backward().unwrap();
    }
    optimizer.step().unwrap();
}

fn schedule(state: &StateDict) -> Result<()> {
    let mut sgd = SGD::new(parameters()?, 0.1).momentum(0.9).build()?;
    match &*state.kind {
        "StepLR" => walk(StepLR::new(&sgd, 2).build()?, &mut sgd, state),
        "MultiStepLR" => walk(MultiStepLR::new(&sgd, [1, 3]).build()?, &mut sgd, state),
        "ExponentialLR" => walk(ExponentialLR::new(&sgd, 0.9).build()?, &mut sgd, state),
        "CosineAnnealingLR" => walk(CosineAnnealingLR::new(&sgd, 5).build()?, &mut sgd, state),
        "CosineAnnealingWarmRestarts" => {
            walk(CosineAnnealingWarmRestarts::new(&sgd, 2).build()?, &mut sgd, state);
            walk(CosineAnnealingWarmRestarts::new(&sgd, 2).t_mult(3).build()?, &mut sgd, state);
        }
        "LinearLR" => walk(LinearLR::new(&mut sgd).build()?, &mut sgd, state),
        "ConstantLR" => walk(ConstantLR::new(&mut sgd).build()?, &mut sgd, state),
        "PolynomialLR" => walk(PolynomialLR::new(&sgd).build()?, &mut sgd, state),
        "OneCycleLR" => walk(OneCycleLR::new(&mut sgd, 1.0, 9).build()?, &mut sgd, state),
        "CyclicLR" => walk(CyclicLR::new(&mut sgd, 0.1, 1.0).build()?, &mut sgd, state),
        kind if kind.starts_with("SequentialLR") => walk(sequence(&mut sgd)?, &mut sgd, state),
        kind if kind.starts_with("ChainedScheduler") => walk(chain(&mut sgd)?, &mut sgd, state),
        "AveragedModel" => average(state)?,
        _ => {
            let mut plateau = ReduceLROnPlateau::new(&sgd).patience(1).cooldown(1).build()?;
            if plateau.load_state_dict(state).is_ok() {
                plateau.load_state_dict(&plateau.state_dict())?;
            }
            for metric in [1.0, f64::NAN, 1.0, 2.0, -1.0] {
                plateau.step(metric, &mut sgd)?;
            }
        }
    }
    moves(&mut sgd);
    Ok(())
}

/// A warm-up and what follows it.
pub fn sequence(sgd: &mut SGD) -> Result<SequentialLR> {
    let warm_up = LinearLR::new(sgd).total_iters(2).build()?;
    let decay = CosineAnnealingLR::new(sgd, 4).build()?;
    SequentialLR::new(sgd, vec![Box::new(warm_up), Box::new(decay)], [2]).build()
}

/// Two schedules at once.
pub fn chain(sgd: &mut SGD) -> Result<ChainedScheduler> {
    let parts: Vec<Box<dyn Schedule>> =
        vec![Box::new(StepLR::new(sgd, 2).build()?), Box::new(ExponentialLR::new(sgd, 0.9).build()?)];
    ChainedScheduler::new(sgd, parts).build()
}

/// The average of a small net.
fn average(state: &StateDict) -> Result<()> {
    let net = BatchNorm2d::new(2).build()?;
    for mut average in [AveragedModel::ema(&net, 0.9)?, AveragedModel::swa(&net)?] {
        if average.load_state_dict(state).is_ok() {
            average.load_state_dict(&average.state_dict())?;
        }
        average.update_parameters(&net)?;
        average.copy_to(&net)?;
    }
    Ok(())
}

fn walk(mut schedule: impl Schedule, sgd: &mut SGD, state: &StateDict) {
    if schedule.load_state_dict(state).is_ok() {
        schedule.load_state_dict(&schedule.state_dict()).unwrap();
    }
    for _ in 0..3 {
        // A rate that is no number, or a cycle that is over, is an error.
        let epoch = schedule.epoch();
        if schedule.step(sgd).is_err() {
            assert_eq!(schedule.epoch(), epoch);
        }
        assert!(sgd.lr().is_finite() && sgd.lr() >= 0.0);
    }
}

/// A place for a file of this thread.
fn scratch(name: &str) -> PathBuf {
    let thread = std::thread::current().id();
    Path::new(&std::env::temp_dir()).join(format!("gabor-corpus-{name}-{}-{thread:?}", std::process::id()))
}
