//! What the tape costs: operators on tensors of one element, in nodes a second.
#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gabor::{Result, Tensor, no_grad};

/// Shapes of graphs: how many operators, and how each is made from the last result and the leaf.
struct Case {
    name: &'static str,
    nodes: usize,
    step: fn(&Tensor, &Tensor) -> Result<Tensor>,
}

const CASES: &[Case] = &[
    Case { name: "chain of one operand", nodes: 1000, step: |y, _| y.add_scalar(1.0) },
    Case { name: "chain that meets the leaf again", nodes: 1000, step: |y, x| y.add(x) },
    Case { name: "chain that saves its inputs", nodes: 1000, step: |y, x| y.mul(x) },
    Case { name: "a step of learn-a-kernel", nodes: 5, step: |y, x| y.mul(x) },
];

fn chain(case: &Case, x: &Tensor) -> Result<Tensor> {
    let mut y = x.clone();
    for _ in 0..case.nodes {
        y = (case.step)(&y, x)?;
    }
    Ok(y)
}

fn autograd(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("autograd");
    for case in CASES {
        let x = Tensor::ones(1)?.requires_grad_()?;
        chain(case, &x)?.backward()?;
        group.throughput(Throughput::Elements(case.nodes as u64));
        group.bench_function(BenchmarkId::new("without a graph", case.name), |bench| {
            bench.iter(|| no_grad(|| black_box(chain(case, &x).expect("it ran before"))));
        });
        group.bench_function(BenchmarkId::new("build and drop", case.name), |bench| {
            bench.iter(|| black_box(chain(case, &x).expect("it ran before")));
        });
        group.bench_function(BenchmarkId::new("build and go back", case.name), |bench| {
            bench.iter(|| {
                x.zero_grad();
                chain(case, &x).and_then(|y| y.backward()).expect("it ran before");
            });
        });
    }
    group.finish();
    Ok(())
}

fn benches(c: &mut Criterion) {
    autograd(c).expect("the cases are well formed");
}

criterion_group!(all, benches);
criterion_main!(all);
