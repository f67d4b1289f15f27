//! The main job: a small CNN learns to read handwritten digits, from images to a saved net.
//!
//! `cargo run --release --example digits`, with `-- --save FILE` to keep the net and `-- --load FILE` to use it again.

use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::Instant;

use gabor::io;
use gabor::prelude::*;

mod options;
use options::{CommandLine, report};

/// PyTorch: nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), ...). The images have one channel and 8x8 pixels.
fn cnn() -> Result<Sequential> {
    seq![
        Conv2d::new(1, 16, 3).padding(1),
        ReLU,
        Conv2d::new(16, 32, 3).padding(1),
        ReLU,
        MaxPool2d::new(2),
        Conv2d::new(32, 32, 3).padding(1),
        ReLU,
        MaxPool2d::new(2),
        Flatten,
        Linear::new(32 * 2 * 2, 10),
    ]
}

fn train(net: &Sequential, digits: LabelledImages, epochs: u64, seed: u64) -> Result<()> {
    let loader = DataLoader::new(digits, 32).shuffle(seed);
    let mut sgd = SGD::new(net.parameters(), 0.05).momentum(0.9).weight_decay(5e-4).build()?;
    let mut schedule = CosineAnnealingLR::new(&sgd, epochs).build()?;
    for epoch in 1..=epochs {
        let (start, mut seen, mut loss_sum, mut right, mut line) = (Instant::now(), 0, 0.0, 0.0, String::new());
        for batch in loader.iter() {
            let (x, y) = batch?;
            let y_hat = net.forward(&x)?;
            let loss = functional::cross_entropy(&y_hat, &y)?;
            sgd.zero_grad();
            loss.backward()?;
            sgd.step()?;
            seen += y.numel();
            loss_sum += loss.item()? * y.numel() as f64;
            right += count_right(&y_hat, &y)?;
            let rate = seen as f64 / start.elapsed().as_secs_f64();
            let (loss, accuracy) = (loss_sum / seen as f64, right / seen as f64);
            line = format!("epoch {epoch:2}/{epochs}, loss {loss:.3}, accuracy {accuracy:.3}, {rate:.0} images/s");
            progress(&line);
        }
        println!("{}{line}", if stdout().is_terminal() { "\r" } else { "" });
        schedule.step(&mut sgd)?;
    }
    Ok(())
}

/// Shows how far the epoch is by rewriting the line; a file or a pipe gets one line for each epoch instead.
fn progress(line: &str) {
    if stdout().is_terminal() {
        print!("\r{line}");
        let _ = stdout().flush();
    }
}

fn count_right(y_hat: &Tensor, y: &Tensor) -> Result<f64> {
    y_hat.detach().argmax(Some(1), false)?.eq(y)?.to_dtype(DType::F32)?.sum()?.item()
}

fn run() -> Result<()> {
    let line = CommandLine::read("--epochs N --seed S --save FILE --load FILE")?;
    let (epochs, seed) = (line.number("--epochs", 20)?, line.number("--seed", 0)?);
    manual_seed(seed);
    let net = cnn()?;
    println!("{} parameters, seed {seed}", net.num_parameters());
    match line.text("--load") {
        Some(file) => io::load(file, &net)?,
        None => train(&net, Digits::load(Split::Train)?, epochs, seed)?,
    }
    if let Some(file) = line.text("--save") {
        io::save(file, &net)?;
        println!("saved to {file}");
    }

    let test = Digits::load(Split::Test)?;
    let (x, y) = test.batch(&Vec::from_iter(0..test.len()))?;
    net.eval();
    let y_hat = no_grad(|| net.forward(&x))?;
    let right = count_right(&y_hat, &y)?;
    // The sum of the logits' bits is the same if and when the net is the same, bit for bit.
    let bits = y_hat.to_vec::<f32>()?.iter().fold(0u64, |sum, v| sum.wrapping_mul(31).wrapping_add(v.to_bits().into()));
    println!("{right} of {} test images right, logits {bits:016x}", test.len());
    println!("test accuracy {:.3}", right / test.len() as f64);
    Ok(())
}

fn main() -> ExitCode {
    report(run())
}
