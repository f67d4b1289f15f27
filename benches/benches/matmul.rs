//! Matrix products, in multiply-adds a second.
#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gabor::{Result, Tensor};

struct Case {
    /// Where such a product stands.
    name: &'static str,
    /// Rows and columns of the left matrix, columns of the right one.
    size: [usize; 3],
}

const CASES: &[Case] = &[
    Case { name: "square, small", size: [64, 64, 64] },
    Case { name: "square, large", size: [512, 512, 512] },
    Case { name: "lenet first linear", size: [64, 400, 120] },
    Case { name: "classifier", size: [128, 64, 10] },
    Case { name: "one row", size: [1, 400, 120] },
    Case { name: "pointwise convolution", size: [128, 64, 1024] },
];

fn matmul(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("matmul");
    for case in CASES {
        let [m, k, n] = case.size;
        let (a, b) = (Tensor::randn([m, k])?, Tensor::randn([k, n])?);
        let flat = b.t()?.contiguous()?.t()?;
        group.throughput(Throughput::Elements((m * k * n) as u64));
        group.bench_function(BenchmarkId::new("plain", case.name), |bench| {
            bench.iter(|| black_box(a.matmul(&b).expect("the sizes agree")));
        });
        group.bench_function(BenchmarkId::new("transposed", case.name), |bench| {
            bench.iter(|| black_box(a.matmul(&flat).expect("the sizes agree")));
        });
    }
    let (a, b) = (Tensor::randn([32, 64, 64])?, Tensor::randn([32, 64, 64])?);
    group.throughput(Throughput::Elements(32 * 64 * 64 * 64));
    group.bench_function(BenchmarkId::new("bmm", "attention"), |bench| {
        bench.iter(|| black_box(a.bmm(&b).expect("the sizes agree")));
    });
    group.finish();
    Ok(())
}

fn benches(c: &mut Criterion) {
    matmul(c).expect("the cases are well formed");
}

criterion_group!(all, benches);
criterion_main!(all);
