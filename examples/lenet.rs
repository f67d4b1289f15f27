//! LeNet on MNIST or Fashion-MNIST: the whole program in 35 lines, and a command line around it.
//!
//! `cargo run --release --example lenet -- --data-dir DIR` reads torchvision's layout, `DIR/MNIST/raw/train-images-idx3-ubyte.gz`.

use std::process::ExitCode;
use std::time::Instant;

use gabor::io;
use gabor::prelude::*;

mod options;
use options::{CommandLine, report};

const USAGE: &str = "--data mnist|fashion-mnist --data-dir DIR --epochs N --batch-size B --lr L \
    --variant sigmoid-avg|relu-max --seed S --save FILE --load FILE";

#[rustfmt::skip]
fn lenet(options: &Options) -> Result<()> {
    let train = DataLoader::new(options.images(Split::Train)?, options.batch_size).shuffle(options.seed);
    let test = DataLoader::new(options.images(Split::Test)?, 500);
    let (act, pool) = (options.activation, options.pool);
    let net = seq![
        Conv2d::new(1, 6, 5).padding(2), act(), pool(),
        Conv2d::new(6, 16, 5), act(), pool(),
        Flatten, Linear::new(400, 120), act(), Linear::new(120, 84), act(), Linear::new(84, 10),
    ]?;
    options.start(&net)?;
    let mut sgd = SGD::new(net.parameters(), options.lr).momentum(options.momentum).build()?;
    let mut schedule = ExponentialLR::new(&sgd, options.gamma).build()?;
    for epoch in 1..=options.epochs {
        let (start, mut seen, mut loss_sum, mut right) = (Instant::now(), 0.0, 0.0, 0.0);
        for batch in train.iter() {
            let (x, y) = batch?;
            let y_hat = net.forward(&x)?;
            let loss = functional::cross_entropy(&y_hat, &y)?;
            sgd.zero_grad();
            loss.backward()?;
            sgd.step()?;
            seen += y.numel() as f64;
            loss_sum += loss.item()? * y.numel() as f64;
            right += count_right(&y_hat, &y)?;
        }
        let (loss, train_acc, rate) = (loss_sum / seen, right / seen, seen / start.elapsed().as_secs_f64());
        schedule.step(&mut sgd)?;
        let test_acc = evaluate(&net, &test)?;
        println!("epoch {epoch}, loss {loss:.3}, train acc {train_acc:.3}, test acc {test_acc:.3}, {rate:.1} images/sec");
    }
    println!("test accuracy {:.3}", evaluate(&net, &test)?);
    options.finish(&net)
}

fn count_right(y_hat: &Tensor, y: &Tensor) -> Result<f64> {
    y_hat.detach().argmax(Some(1), false)?.eq(y)?.to_dtype(DType::F32)?.sum()?.item()
}

fn evaluate(net: &Sequential, test: &DataLoader) -> Result<f64> {
    let _off = no_grad_guard();
    let right = test.iter().map(|batch| batch.and_then(|(x, y)| count_right(&net.forward(&x)?, &y)));
    Ok(right.sum::<Result<f64>>()? / test.dataset().len() as f64)
}

struct Options {
    data: String,
    data_dir: String,
    epochs: usize,
    batch_size: usize,
    lr: f64,
    momentum: f64,
    gamma: f64,
    activation: fn() -> Layer,
    pool: fn() -> Layer,
    xavier: bool,
    seed: u64,
    save: Option<String>,
    load: Option<String>,
}

impl Options {
    fn read() -> Result<Self> {
        let line = CommandLine::read(USAGE)?;
        // The tutorial's LeNet (sigmoid, average pooling, Xavier's weights, plain SGD), or a modern
        // one (ReLU, maximum, momentum, and a rate that falls to a twentieth).
        let variant = line.text("--variant").unwrap_or("sigmoid-avg");
        let sigmoid = match variant {
            "sigmoid-avg" => true,
            "relu-max" => false,
            other => return Err(Error::custom(format!("unknown variant {other}\noptions: {USAGE}"))),
        };
        let epochs = line.number("--epochs", if sigmoid { 10 } else { 3 })?;
        Ok(Options {
            data: line.text("--data").unwrap_or("mnist").into(),
            data_dir: line.text("--data-dir").unwrap_or("data").into(),
            epochs,
            batch_size: line.number("--batch-size", if sigmoid { 256 } else { 64 })?,
            lr: line.number("--lr", if sigmoid { 0.9 } else { 0.05 })?,
            momentum: if sigmoid { 0.0 } else { 0.9 },
            gamma: if sigmoid { 1.0 } else { 0.05f64.powf(1.0 / epochs.max(1) as f64) },
            activation: if sigmoid { || Box::new(Sigmoid) } else { || Box::new(ReLU) },
            pool: if sigmoid { || Box::new(AvgPool2d::new(2)) } else { || Box::new(MaxPool2d::new(2)) },
            xavier: sigmoid,
            seed: line.number("--seed", 0)?,
            save: line.text("--save").map(String::from),
            load: line.text("--load").map(String::from),
        })
    }

    /// One part of the data set, from the folder or, with the feature `download`, from its mirrors.
    fn images(&self, split: Split) -> Result<LabelledImages> {
        match self.data.as_str() {
            "mnist" => Mnist::load(&self.data_dir, split),
            "fashion-mnist" => FashionMnist::load(&self.data_dir, split),
            other => Err(Error::custom(format!("unknown data set {other}\noptions: {USAGE}"))),
        }
    }

    /// Starting weights: from a file, Xavier's for sigmoids, or PyTorch's, which the layers have anyway.
    fn start(&self, net: &Sequential) -> Result<()> {
        if let Some(file) = &self.load {
            return io::load(file, net);
        }
        let weights = net.named_parameters().into_iter().filter(|(name, _)| self.xavier && name.ends_with("weight"));
        for (_, weight) in weights {
            init::xavier_uniform_(&weight, 1.0)?;
        }
        Ok(())
    }

    fn finish(&self, net: &Sequential) -> Result<()> {
        self.save.as_ref().map_or(Ok(()), |file| io::save(file, net))
    }
}

fn run() -> Result<()> {
    let options = Options::read()?;
    println!("{}, seed {}, lr {}, batches of {}", options.data, options.seed, options.lr, options.batch_size);
    manual_seed(options.seed);
    lenet(&options)
}

fn main() -> ExitCode {
    report(run())
}
