//! The promise of docs/reliability.md: 100 steps of LeNet end with the same bits, whatever the number of threads, with and
//! without reading ahead, in every process; on the portable path on every machine.

use std::path::PathBuf;
use std::process::Command;

use gabor::data::{DataLoader, Dataset, TensorDataset};
use gabor::nn::{
    AvgPool2d, Conv2d, Flatten, Forward, Linear, Module, Sequential, Sigmoid, functional::cross_entropy, init, seq,
};
use gabor::optim::{Optimizer, SGD};
use gabor::{DType, Generator, Result, Tensor, manual_seed, set_num_threads};

/// The parameters after the 100 steps on the portable path. It may only change with a line in CHANGELOG.md.
const GOLDEN: u64 = 0x5608_2552_7f5a_8a85;

fn lenet() -> Result<Sequential> {
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

/// Images of noise with the label that their brightest row gives, and new noise over them whenever they are read.
fn images() -> Result<impl Dataset + 'static> {
    let x = Generator::new(17).rand([160, 1, 28, 28], DType::F32)?;
    let y = x.mean_dim(3, false)?.reshape([160, 28])?.narrow(1, 0, 10)?.argmax(Some(1), false)?;
    Ok(TensorDataset::new(x, y)?.map(|x| x.add(&Tensor::randn(x.shape().clone())?.mul_scalar(0.1)?)))
}

/// Trains for 100 steps and hashes the bits of the parameters (FNV-1a).
fn hash_after_100_steps(prefetch: usize) -> Result<u64> {
    manual_seed(42);
    let net = lenet()?;
    for (_, parameter) in net.named_parameters().iter().filter(|(name, _)| name.ends_with("weight")) {
        init::xavier_uniform_(parameter, 1.0)?;
    }
    let mut sgd = SGD::new(net.parameters(), 0.9).momentum(0.5).build()?;
    let loader = DataLoader::new(images()?, 32).shuffle(7).prefetch(prefetch);
    let mut losses = Vec::new();
    for batch in (0..).flat_map(|_| loader.iter()).take(100) {
        let (x, y) = batch?;
        sgd.zero_grad();
        let loss = cross_entropy(&net.forward(&x)?, &y)?;
        loss.backward()?;
        sgd.step()?;
        losses.push(loss.item()?);
    }
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for parameter in net.parameters() {
        for byte in parameter.tensor().to_vec::<f32>()?.iter().flat_map(|v| v.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(hash)
}

const ANSWER: &str = "GABOR_TEST_ANSWER";

/// What a process with this environment finds.
fn in_a_process(environment: &[(&str, &str)]) -> u64 {
    let name = environment.iter().map(|(_, value)| *value).collect::<Vec<_>>().join("-");
    let path = std::env::temp_dir().join(format!("gabor-seeds-{}-{name}", std::process::id()));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_other_process"]).env_remove("GABOR_ISA").env_remove("GABOR_NUM_THREADS");
    let output = command.envs(environment.iter().copied()).env(ANSWER, &path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let hash = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    std::fs::remove_file(&path).unwrap();
    hash
}

#[test]
fn the_other_process() -> Result<()> {
    if let Some(path) = std::env::var_os(ANSWER).map(PathBuf::from) {
        std::fs::write(path, hash_after_100_steps(0)?.to_string()).unwrap();
    }
    Ok(())
}

#[test]
fn threads_prefetching_and_repetition_do_not_change_a_bit() -> Result<()> {
    set_num_threads(1);
    let first = hash_after_100_steps(0)?;
    for (threads, prefetch) in [(1, 2), (2, 0), (2, 3), (3, 1)] {
        set_num_threads(threads);
        assert_eq!(hash_after_100_steps(prefetch)?, first, "{threads} threads, prefetch {prefetch}");
    }
    Ok(())
}

#[test]
fn processes_agree() {
    let [one, two] = ["1", "2"].map(|n| in_a_process(&[("GABOR_NUM_THREADS", n)]));
    assert_eq!(one, two);
}

#[test]
fn the_portable_path_gives_the_golden_bits() {
    for threads in ["1", "2"] {
        let hash = in_a_process(&[("GABOR_ISA", "portable"), ("GABOR_NUM_THREADS", threads)]);
        assert_eq!(hash, GOLDEN, "{threads} threads: 0x{hash:016x}");
    }
}
