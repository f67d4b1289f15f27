//! Whole training steps (zero_grad, forward, cross entropy, backward, optimizer step) and inference, in images a second.
#![forbid(unsafe_code)]

use std::hint::black_box;

use benches::{Arguments, Refusal, net, optimizer};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gabor::nn::functional::cross_entropy;
use gabor::nn::{Forward, Module};
use gabor::{Tensor, no_grad};
use serde_json::{Value, json};

struct Case {
    /// What the net is.
    name: &'static str,
    layers: fn() -> Value,
    /// Batch, channels, height, width.
    input: [usize; 4],
}

const CASES: &[Case] = &[
    Case { name: "digits", layers: digits, input: [32, 1, 8, 8] },
    Case { name: "lenet with sigmoid and average", layers: || lenet("Sigmoid", "AvgPool2d"), input: [64, 1, 28, 28] },
    Case { name: "lenet with relu and max", layers: || lenet("ReLU", "MaxPool2d"), input: [64, 1, 28, 28] },
];

fn digits() -> Value {
    json!([
        {"type": "Conv2d", "in_channels": 1, "out_channels": 16, "kernel_size": 3, "padding": 1}, {"type": "ReLU"},
        {"type": "MaxPool2d", "kernel_size": 2},
        {"type": "Conv2d", "in_channels": 16, "out_channels": 32, "kernel_size": 3, "padding": 1}, {"type": "ReLU"},
        {"type": "MaxPool2d", "kernel_size": 2},
        {"type": "Flatten"}, {"type": "Linear", "in_features": 128, "out_features": 10},
    ])
}

fn lenet(activation: &str, pool: &str) -> Value {
    json!([
        {"type": "Conv2d", "in_channels": 1, "out_channels": 6, "kernel_size": 5, "padding": 2}, {"type": activation},
        {"type": pool, "kernel_size": 2, "stride": 2},
        {"type": "Conv2d", "in_channels": 6, "out_channels": 16, "kernel_size": 5}, {"type": activation},
        {"type": pool, "kernel_size": 2, "stride": 2},
        {"type": "Flatten"}, {"type": "Linear", "in_features": 400, "out_features": 120}, {"type": activation},
        {"type": "Linear", "in_features": 120, "out_features": 84}, {"type": activation},
        {"type": "Linear", "in_features": 84, "out_features": 10},
    ])
}

fn train_step(c: &mut Criterion) -> Result<(), Refusal> {
    let options = json!({"lr": 0.01, "momentum": 0.9});
    let options = Arguments::new(options.as_object().expect("an object"));
    for case in CASES {
        let net = net(&(case.layers)())?;
        let mut optimizer = optimizer("SGD", &options, net.parameters())?;
        let (x, y) = (Tensor::randn(case.input)?, Tensor::randint(0, 10, case.input[0])?);
        let mut step = || {
            optimizer.zero_grad();
            cross_entropy(&net.forward(&x)?, &y)?.backward()?;
            optimizer.step()
        };
        step()?;
        let mut group = c.benchmark_group("net");
        group.throughput(Throughput::Elements(case.input[0] as u64));
        group.bench_function(BenchmarkId::new("train_step", case.name), |bench| {
            bench.iter(|| step().expect("it ran before"));
        });
        net.eval();
        group.bench_function(BenchmarkId::new("inference", case.name), |bench| {
            bench.iter(|| no_grad(|| black_box(net.forward(&x).expect("it ran before"))));
        });
        group.finish();
    }
    Ok(())
}

fn benches(c: &mut Criterion) {
    train_step(c).expect("the cases are well formed");
}

criterion_group!(all, benches);
criterion_main!(all);
