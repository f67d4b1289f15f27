//! The same seed gives the same bits: from run to run, with one and with two threads, and after a trip through a file into
//! another process.

use std::path::PathBuf;
use std::process::Command;

use gabor::data::{DataLoader, Dataset, Digits, Split};
use gabor::nn::{
    Conv2d, Flatten, Forward, Linear, MaxPool2d, Module, ReLU, Sequential, functional::cross_entropy, seq,
};
use gabor::optim::{Optimizer, SGD};
use gabor::{Result, Tensor, manual_seed, no_grad, set_num_threads};

fn net() -> Result<Sequential> {
    seq![
        Conv2d::new(1, 16, 3).padding(1),
        ReLU,
        MaxPool2d::new(2),
        Conv2d::new(16, 32, 3).padding(1),
        ReLU,
        MaxPool2d::new(2),
        Flatten,
        Linear::new(128, 10),
    ]
}

fn train(steps: usize) -> Result<Sequential> {
    manual_seed(3);
    let net = net()?;
    let mut sgd = SGD::new(net.parameters(), 0.1).momentum(0.9).build()?;
    let loader = DataLoader::new(Digits::load(Split::Train)?, 128).shuffle(5);
    for batch in (0..).flat_map(|_| loader.iter()).take(steps) {
        let (x, y) = batch?;
        sgd.zero_grad();
        cross_entropy(&net.forward(&x)?, &y)?.backward()?;
        sgd.step()?;
    }
    Ok(net)
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

fn state_bits(net: &Sequential) -> Vec<Vec<u32>> {
    net.state_dict().iter().map(|(_, tensor)| bits(tensor)).collect()
}

/// The logits of all test images.
fn logits(net: &Sequential) -> Result<Tensor> {
    let test = Digits::load(Split::Test)?;
    let (x, _) = test.batch(&Vec::from_iter(0..test.len()))?;
    no_grad(|| net.forward(&x))
}

#[test]
fn threads_and_repetition_do_not_change_a_bit() -> Result<()> {
    let runs: Vec<_> = [1, 2, 2]
        .into_iter()
        .map(|threads| {
            set_num_threads(threads);
            train(30).map(|net| state_bits(&net))
        })
        .collect::<Result<_>>()?;
    assert!(runs[0] == runs[1], "one and two threads");
    assert!(runs[1] == runs[2], "two runs");
    Ok(())
}

const FILE: &str = "GABOR_TEST_SAVED_NET";

#[test]
fn a_saved_net_gives_the_same_logits_in_a_fresh_process() -> Result<()> {
    if let Some(path) = std::env::var_os(FILE).map(PathBuf::from) {
        // The fresh process: other starting weights, then those of the file.
        manual_seed(99);
        let net = net()?;
        gabor::io::load(&path, &net)?;
        let words: Vec<String> = bits(&logits(&net)?).iter().map(u32::to_string).collect();
        std::fs::write(path.with_extension("logits"), words.join(" ")).unwrap();
        return Ok(());
    }
    let net = train(20)?;
    let path = std::env::temp_dir().join(format!("gabor-reproducible-{}.safetensors", std::process::id()));
    gabor::io::save(&path, &net)?;
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_saved_net_gives_the_same_logits_in_a_fresh_process"])
        .env(FILE, &path)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    let answer = path.with_extension("logits");
    let theirs: Vec<u32> = std::fs::read_to_string(&answer).unwrap().split(' ').map(|w| w.parse().unwrap()).collect();
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(&answer).unwrap();
    assert_eq!(theirs.len(), 3600);
    assert!(theirs == bits(&logits(&net)?), "the logits differ");
    Ok(())
}
