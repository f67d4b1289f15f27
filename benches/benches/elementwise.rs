//! Operators on single elements and reductions, in elements a second.
#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gabor::{Gelu, Result, Tensor};

/// Where a tensor of this shape stands.
const CASES: &[(&str, [usize; 4])] =
    &[("one image", [1, 16, 8, 8]), ("lenet activation", [64, 6, 28, 28]), ("resnet activation", [64, 16, 32, 32])];

type Operator = fn(&Tensor, &Tensor) -> Result<Tensor>;

const OPERATORS: &[(&str, Operator)] = &[
    ("relu", |x, _| x.relu()),
    ("sigmoid", |x, _| x.sigmoid()),
    ("tanh", |x, _| x.tanh()),
    ("exp", |x, _| x.exp()),
    ("gelu", |x, _| x.gelu(Gelu::None)),
    ("add", |x, y| x.add(y)),
    ("add a channel's bias", |x, y| x.add(&y.narrow(0, 0, 1)?.narrow(2, 0, 1)?.narrow(3, 0, 1)?)),
    ("add a transposed one", |x, y| x.transpose(2, 3)?.add(y)),
    ("mul_scalar", |x, _| x.mul_scalar(0.5)),
    ("sum", |x, _| x.sum()),
    ("mean of each channel", |x, _| x.mean_dim([0, 2, 3], true)),
    ("max over the last dimension", |x, _| x.amax_dim(-1, false)),
    ("softmax", |x, _| x.softmax(-1)),
    ("copy of a transposed one", |x, _| x.transpose(1, 3)?.contiguous()),
];

fn elementwise(c: &mut Criterion) -> Result<()> {
    for &(operator, run) in OPERATORS {
        let mut group = c.benchmark_group(operator);
        for &(name, shape) in CASES {
            let (x, y) = (Tensor::randn(shape)?, Tensor::randn(shape)?);
            run(&x, &y)?;
            group.throughput(Throughput::Elements(x.numel() as u64));
            group.bench_function(BenchmarkId::from_parameter(name), |bench| {
                bench.iter(|| black_box(run(&x, &y).expect("it ran before")));
            });
        }
        group.finish();
    }
    Ok(())
}

fn benches(c: &mut Criterion) {
    elementwise(c).expect("the cases are well formed");
}

criterion_group!(all, benches);
criterion_main!(all);
