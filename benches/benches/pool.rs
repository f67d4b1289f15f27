//! Pooling, forward and backward, in input elements a second.
#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gabor::{AvgPoolOptions, GradOptions, PoolOptions, Result, Tensor};

struct Case {
    /// Where such a pool stands.
    name: &'static str,
    input: [usize; 4],
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
}

const CASES: &[Case] = &[
    Case { name: "lenet", input: [64, 6, 28, 28], kernel: (2, 2), stride: (2, 2), padding: (0, 0) },
    Case { name: "resnet stem", input: [8, 64, 56, 56], kernel: (3, 3), stride: (2, 2), padding: (1, 1) },
    Case { name: "tutorial", input: [64, 16, 24, 24], kernel: (2, 3), stride: (2, 3), padding: (0, 1) },
];

type Pool<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

fn pool(c: &mut Criterion) -> Result<()> {
    for case in CASES {
        let x = Tensor::randn(case.input)?.requires_grad_()?;
        let max = PoolOptions::new(case.kernel).stride(case.stride).padding(case.padding);
        let avg = AvgPoolOptions::new(case.kernel).stride(case.stride).padding(case.padding);
        let kinds: [(&str, Pool<'_>); 2] =
            [("max_pool2d", &|x| x.max_pool2d(&max)), ("avg_pool2d", &|x| x.avg_pool2d(&avg))];
        for (kind, run) in kinds {
            let mut group = c.benchmark_group(kind);
            group.throughput(Throughput::Elements(x.numel() as u64));
            group.bench_function(BenchmarkId::new("forward", case.name), |bench| {
                bench.iter(|| black_box(run(&x).expect("the window fits")));
            });
            let y = run(&x)?;
            let gy = Tensor::randn(y.shape())?;
            let back = GradOptions { gradient: Some(&gy), retain_graph: true, ..GradOptions::default() };
            group.bench_function(BenchmarkId::new("backward", case.name), |bench| {
                bench.iter(|| black_box(gabor::grad(&y, &[&x], &back).expect("y depends on x")));
            });
            group.finish();
        }
    }
    Ok(())
}

fn benches(c: &mut Criterion) {
    pool(c).expect("the cases are well formed");
}

criterion_group!(all, benches);
criterion_main!(all);
