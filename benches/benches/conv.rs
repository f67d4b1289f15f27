//! Convolutions, forward and backward, in multiply-adds a second.
#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gabor::{Conv2dOptions, GradOptions, Result, Tensor};

struct Case {
    /// Where such a layer stands.
    name: &'static str,
    input: [usize; 4],
    weight: [usize; 4],
    stride: usize,
    padding: usize,
    groups: usize,
}

const CASES: &[Case] = &[
    Case { name: "lenet first", input: [64, 1, 28, 28], weight: [6, 1, 5, 5], stride: 1, padding: 2, groups: 1 },
    Case { name: "lenet second", input: [64, 6, 14, 14], weight: [16, 6, 5, 5], stride: 1, padding: 0, groups: 1 },
    Case { name: "resnet stem", input: [16, 3, 32, 32], weight: [16, 3, 3, 3], stride: 1, padding: 1, groups: 1 },
    Case { name: "resnet block", input: [16, 32, 16, 16], weight: [32, 32, 3, 3], stride: 1, padding: 1, groups: 1 },
    Case { name: "resnet halving", input: [16, 16, 32, 32], weight: [32, 16, 3, 3], stride: 2, padding: 1, groups: 1 },
    Case {
        name: "mobilenet depthwise",
        input: [8, 64, 16, 16],
        weight: [64, 1, 3, 3],
        stride: 1,
        padding: 1,
        groups: 64,
    },
    Case {
        name: "mobilenet pointwise",
        input: [8, 64, 16, 16],
        weight: [128, 64, 1, 1],
        stride: 1,
        padding: 0,
        groups: 1,
    },
    Case { name: "one image", input: [1, 16, 32, 32], weight: [16, 16, 3, 3], stride: 1, padding: 1, groups: 1 },
];

fn conv(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("conv2d");
    for case in CASES {
        let options = Conv2dOptions::new().stride(case.stride).padding(case.padding).groups(case.groups);
        let (x, w) = (Tensor::randn(case.input)?, Tensor::randn(case.weight)?);
        let b = Tensor::randn(case.weight[0])?;
        let y = x.conv2d(&w, Some(&b), &options)?;
        let gy = Tensor::randn(y.shape())?;
        let products = y.numel() * w.numel() / case.weight[0];
        group.throughput(Throughput::Elements(products as u64));
        group.bench_function(BenchmarkId::new("forward", case.name), |bench| {
            bench.iter(|| black_box(x.conv2d(&w, Some(&b), &options).expect("the shapes fit")));
        });
        let back = GradOptions { gradient: Some(&gy), retain_graph: true, ..GradOptions::default() };
        let leaf = x.clone().requires_grad_()?;
        let y = leaf.conv2d(&w, Some(&b), &options)?;
        group.bench_function(BenchmarkId::new("gradient of the input", case.name), |bench| {
            bench.iter(|| black_box(gabor::grad(&y, &[&leaf], &back).expect("y depends on the input")));
        });
        let (w, b) = (w.requires_grad_()?, b.requires_grad_()?);
        let y = x.conv2d(&w, Some(&b), &options)?;
        group.bench_function(BenchmarkId::new("gradient of weight and bias", case.name), |bench| {
            bench.iter(|| black_box(gabor::grad(&y, &[&w, &b], &back).expect("y depends on both")));
        });
    }
    group.finish();
    Ok(())
}

fn benches(c: &mut Criterion) {
    conv(c).expect("the cases are well formed");
}

criterion_group!(all, benches);
criterion_main!(all);
