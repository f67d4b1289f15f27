//! Writes the seeds of the fuzz corpus anew: valid files of every kind, and hostile ones.
//! `cargo test -p gabor --test corpus -- --ignored`

use std::fs;
use std::path::Path;

use gabor::io::{Archive, Checkpoint};
use gabor::nn::{BatchNorm2d, Module};
use gabor::optim::{AveragedModel, Optimizer, ReduceLROnPlateau, Schedule, StateDict};
use gabor::{Result, Tensor};

use crate::readers;

fn write(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx(sizes: &[u32], elements: &[u8]) -> Vec<u8> {
    let sizes_bytes = sizes.iter().flat_map(|s| s.to_be_bytes());
    [0, 0, 8, sizes.len() as u8].into_iter().chain(sizes_bytes).chain(elements.iter().copied()).collect()
}

fn idx_seeds() {
    let valid = idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
    write("idx", "gzip", gzip(&valid));
    write("idx", "gzip-members", [gzip(&valid[..9]), gzip(&valid[9..])].concat());
    write("idx", "gzip-bomb", gzip(&idx(&[1 << 22], &vec![0; 1 << 22])));
    write("idx", "gzip-trailing", [gzip(&valid), b"xyz".to_vec()].concat());
    write("idx", "valid", valid);
    write("idx", "labels", idx(&[3], &[7, 0, 9]));
    write("idx", "huge", idx(&[u32::MAX; 3], &[1]));
    write("idx", "too-long", idx(&[1 << 30], &[1, 2]));
    write("idx", "zero", idx(&[1, 0], &[]));
    write("idx", "dimensions", [0, 0, 8, 255]);
    write("idx", "floats", [0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
}

fn mnist_seeds() {
    let pair = |images: &[u8], labels: &[u8]| [&(images.len() as u16).to_le_bytes()[..], images, labels].concat();
    let pixels: Vec<u8> = (0..784u32).map(|i| (i * 7) as u8).collect();
    write("mnist", "one", pair(&idx(&[1, 28, 28], &pixels), &idx(&[1], &[9])));
    write("mnist", "class-10", pair(&idx(&[1, 28, 28], &pixels), &idx(&[1], &[10])));
    write("mnist", "two-labels", pair(&gzip(&idx(&[1, 28, 28], &pixels)), &idx(&[2], &[1, 2])));
    write("mnist", "wrong-size", pair(&idx(&[1, 14, 56], &pixels), &idx(&[1], &[3])));
    write("mnist", "flat", pair(&idx(&[784], &pixels), &idx(&[1, 1], &[3])));
    write("mnist", "swapped", pair(&idx(&[1], &[3]), &idx(&[1, 28, 28], &pixels)));
    write("mnist", "empty", pair(&[], &[]));
}

fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(0..data as u8);
    bytes
}

fn archive_seeds() -> Result<()> {
    let mut archive = Archive::new(vec![
        ("w".into(), Tensor::new([[1f32, 2.0], [3.0, f32::NAN]])?),
        ("step".into(), Tensor::new([1i64 << 60, -5])?),
        ("mean".into(), Tensor::new(0.5f64)?),
        ("image".into(), Tensor::new([[0u8, 255, 7]])?),
        ("mask".into(), Tensor::new([true, false])?),
        ("empty".into(), Tensor::zeros([0, 4])?),
    ]);
    archive.metadata.insert("format".into(), "pt".into());
    write("archive", "all", archive.to_bytes()?);
    write("archive", "none", raw("{}", 0));
    for dtype in ["F16", "BF16", "I32", "I16", "I8", "U16", "U32", "BOOL", "F8_E4M3", "U64", "Q7"] {
        let size = if dtype.ends_with("32") {
            8
        } else if dtype.ends_with("16") {
            4
        } else {
            2
        };
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{size}]}}}}"#);
        write("archive", dtype, raw(&header, size));
    }
    let entry = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    write("archive", "twice", raw(&format!(r#"{{"a":{entry},"\u0061":{entry}}}"#), 1));
    write("archive", "deep", raw(&"[".repeat(1000), 0));
    let overflow = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#;
    write("archive", "overflow", raw(overflow, 0));
    let hole = r#"{"a":{"dtype":"U8","shape":[0,9223372036854775807],"data_offsets":[0,0]}}"#;
    write("archive", "zero", raw(hole, 0));
    write("archive", "length", u64::MAX.to_le_bytes());
    Ok(())
}

/// The text form of a state.
fn text(state: &StateDict) -> String {
    let numbers = state.numbers.iter().map(|(name, value)| format!("\n{name} {value}"));
    let tensors = state.tensors.iter().map(|(name, t)| {
        let sizes: Vec<_> = t.dims().iter().map(usize::to_string).collect();
        format!("\n@{name} {} {}", t.dtype(), sizes.join(","))
    });
    format!("{}{}", state.kind, numbers.chain(tensors).collect::<String>())
}

fn state_seeds() -> Result<()> {
    for kind in readers::OPTIMIZERS {
        let mut optimizer = readers::optimizer(kind)?.unwrap();
        for parameter in optimizer.groups()[0].parameters() {
            parameter.tensor().square()?.sum()?.backward()?;
        }
        optimizer.step()?;
        let state = optimizer.state_dict()?;
        write("state", &state.kind, text(&state));
    }
    let (_, sgd, mut step) = readers::training()?;
    let plateau = ReduceLROnPlateau::new(&sgd).build()?;
    write("state", "ReduceLROnPlateau", text(&plateau.state_dict()));
    step.load_state_dict(&step.state_dict())?;
    let schedule = text(&step.state_dict());
    for kind in readers::SCHEDULES {
        write("state", kind, schedule.replace("StepLR", kind));
    }
    write("state", "CyclicLR", schedule.replace("StepLR", "CyclicLR"));
    let mut sgd = sgd;
    write("state", "SequentialLR", text(&readers::sequence(&mut sgd)?.state_dict()));
    write("state", "ChainedScheduler", text(&readers::chain(&mut sgd)?.state_dict()));
    let layer = BatchNorm2d::new(2).build()?;
    write("state", "ema", text(&AveragedModel::ema(&layer, 0.9)?.state_dict()));
    write("state", "swa", text(&AveragedModel::swa(&layer)?.state_dict()));
    let far = schedule.replace("last_epoch 0", "last_epoch 9000000000000000").replace("StepLR", "LinearLR");
    write("state", "far", far);
    write("state", "infinite", schedule.replace("last_epoch 0", "last_epoch inf"));
    Ok(())
}

fn checkpoint_seeds() -> Result<()> {
    let (net, mut sgd, schedule) = readers::training()?;
    let path = std::env::temp_dir().join(format!("gabor-seeds-{}", std::process::id()));
    for parameter in net.parameters() {
        parameter.tensor().square()?.sum()?.backward()?;
    }
    sgd.step()?;
    gabor::io::save(&path, &net)?;
    write("checkpoint", "model", fs::read(&path).unwrap());
    gabor::io::save_optimizer(&path, &sgd)?;
    write("checkpoint", "optimizer", fs::read(&path).unwrap());
    let checkpoint = Checkpoint::new(&net).with_state("optimizer", sgd.state_dict()?);
    let checkpoint = checkpoint.with_state("schedule", schedule.state_dict()).with_note("epoch", 3);
    checkpoint.save(&path)?;
    let bytes = fs::read(&path).unwrap();
    write("checkpoint", "whole", &bytes);
    let mut archive = Archive::from_bytes(&bytes)?;
    archive.metadata.insert("states.optimizer.param_groups.0.lr".into(), "NaN".into());
    write("checkpoint", "rate", archive.to_bytes()?);
    archive.metadata.insert("states.schedule.last_epoch".into(), "many".into());
    write("checkpoint", "count", archive.to_bytes()?);
    archive.metadata.insert("states.a.b.kind".into(), "SGD".into());
    archive.metadata.remove("states.schedule.last_epoch");
    archive.tensors.truncate(3);
    write("checkpoint", "parts", archive.to_bytes()?);
    fs::remove_file(&path).unwrap();
    Ok(())
}

#[test]
#[ignore = "writes into the source tree"]
fn write_the_seeds() -> Result<()> {
    gabor::manual_seed(1);
    idx_seeds();
    mnist_seeds();
    archive_seeds()?;
    state_seeds()?;
    checkpoint_seeds()
}
