//! Training goes on for as long as one likes with the memory that it had after the first steps. The long run:
//! `cargo test -p gabor --test soak -- --ignored --nocapture`

use std::time::Instant;

use gabor::data::{DataLoader, Dataset, TensorDataset};
use gabor::io::Checkpoint;
use gabor::nn::{
    BatchNorm2d, Conv2d, Dropout, Flatten, Forward, Linear, MaxPool2d, Module, ReLU, Sequential,
    functional::cross_entropy, seq,
};
use gabor::optim::{Adam, Optimizer, Schedule, StepLR, clip_grad_norm_};
use gabor::{DType, Generator, Result, manual_seed, memory_stats, no_grad};

/// LeNet with all that keeps something from step to step.
fn net() -> Result<Sequential> {
    seq![
        Conv2d::new(1, 6, 5).padding(2),
        BatchNorm2d::new(6),
        ReLU,
        MaxPool2d::new(2),
        Conv2d::new(6, 16, 5),
        BatchNorm2d::new(16),
        ReLU,
        MaxPool2d::new(2),
        Flatten,
        Linear::new(400, 120),
        Dropout::new(0.2),
        ReLU,
        Linear::new(120, 84),
        ReLU,
        Linear::new(84, 10),
    ]
}

/// The memory of this process in KiB that is in RAM, 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Trains, tests and saves; memory may not grow after `settled` steps.
fn soak(settled: usize, steps: usize) -> Result<()> {
    manual_seed(1);
    let x = Generator::new(2).rand([512, 1, 28, 28], DType::F32)?;
    let y = Generator::new(3).randint(0, 10, [512])?;
    let data = TensorDataset::new(x, y)?;
    let loader = DataLoader::new(data.clone(), 32).shuffle(4).prefetch(2);
    let net = net()?;
    let mut adam = Adam::new(net.parameters(), 1e-3).build()?;
    let mut schedule = StepLR::new(&adam, 5).gamma(0.999).build()?;
    let path = std::env::temp_dir().join(format!("gabor-soak-{}.safetensors", std::process::id()));
    let (start, mut before) = (Instant::now(), None);
    for (step, batch) in (0..).flat_map(|_| loader.iter()).take(steps).enumerate() {
        let (x, y) = batch?;
        adam.zero_grad();
        cross_entropy(&net.forward(&x)?, &y)?.backward()?;
        clip_grad_norm_(&net.parameters(), 5.0, 2.0)?;
        adam.step()?;
        let step = step + 1;
        if step % (settled / 2) == 0 {
            schedule.step(&mut adam)?;
            net.eval();
            no_grad(|| net.forward(&data.batch(&Vec::from_iter(0..512))?.0))?;
            net.train();
            let state = adam.state_dict()?;
            Checkpoint::new(&net).with_state("adam", state).with_note("step", step).save(&path)?;
            Checkpoint::open(&path)?.load_model(&net)?;
        }
        if step % settled == 0 {
            let (rss, stats) = (resident(), memory_stats());
            if step == settled || step % 1000 == 0 {
                let seconds = start.elapsed().as_secs_f64();
                println!("step {step:5}, {seconds:6.1} s: {rss} KiB resident, {stats:?}");
            }
            let &mut (rss_before, stats_before) = before.get_or_insert((rss, stats));
            // A thread that reads ahead takes other blocks from time to time; a leak of 1 KiB in each step would be 10 MB.
            assert!(rss <= rss_before + (4 << 10), "step {step}: {rss_before} KiB grew to {rss} KiB");
            let (live, bytes) = (stats.live_bytes, stats.system_bytes);
            assert!(live <= stats_before.live_bytes + (1 << 20), "step {step}: {stats_before:?} {stats:?}");
            assert!(bytes <= stats_before.system_bytes + (2 << 20), "step {step}: {stats_before:?} {stats:?}");
        }
    }
    assert!(before.is_some());
    std::fs::remove_file(&path).unwrap();
    Ok(())
}

#[test]
fn a_hundred_and_twenty_steps_in_constant_memory() -> Result<()> {
    soak(40, 120)
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_steps_in_constant_memory() -> Result<()> {
    soak(100, 10_000)
}
