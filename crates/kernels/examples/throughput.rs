//! How fast the elementwise kernels, reductions and poolings are: nanoseconds per element and bytes per second.
//!
//! `cargo run --release -p gabor-kernels --example throughput [threads]`; `GABOR_ISA` chooses the instruction set.

use std::hint::black_box;
use std::time::Instant;

use gabor_kernels::elementwise::{Binary, Operand, Unary, binary, unary};
use gabor_kernels::optimize::{Adam, Sgd};
use gabor_kernels::pool::{PoolGeometry, avg_pool2d, avg_pool2d_grad, max_pool2d, unpool};
use gabor_kernels::{copy, isa, optimize, par, reduce};

/// The fastest of many runs, in seconds.
fn fastest(mut f: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed().as_secs_f64() < 0.15 {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
    }
    best
}

fn report(name: &str, n: usize, bytes: usize, seconds: f64) {
    println!(
        "{name:24} {n:9} elements  {:7.3} ns each  {:7.1} GB/s",
        seconds * 1e9 / n as f64,
        bytes as f64 / seconds / 1e9
    );
}

fn main() {
    if let Some(n) = std::env::args().nth(1).and_then(|n| n.parse().ok()) {
        par::set_num_threads(n);
    }
    println!("instruction set {:?}, {} threads", isa::isa(), par::num_threads());
    for n in [4 * 1024, 64 * 1024, 4 * 1024 * 1024] {
        let x: Vec<f32> = (0..n).map(|i| (i * 7919 % 10007) as f32 / 1000.0 - 5.0).collect();
        let b = x.clone();
        let mut y = vec![0f32; n];
        report("copy_from_slice", n, 8 * n, fastest(|| black_box(&mut y).copy_from_slice(black_box(&x))));
        let ops = [
            Unary::Relu,
            Unary::Exp,
            Unary::Ln,
            Unary::Sigmoid,
            Unary::Tanh,
            Unary::Erf,
            Unary::Sin,
            Unary::Expm1,
            Unary::Log1p,
            Unary::Gelu,
            Unary::Sqrt,
        ];
        for op in ops {
            report(&format!("{op:?}"), n, 8 * n, fastest(|| unary(op, black_box(&x), black_box(&mut y))));
        }
        for op in [Binary::Add, Binary::Maximum, Binary::ReluGrad] {
            let mut run = || binary(op, Operand::Slice(black_box(&x)), Operand::Slice(&b), black_box(&mut y));
            report(&format!("{op:?}"), n, 12 * n, fastest(&mut run));
        }
        let side = 64;
        let rows = n / side;
        report("sum, all", n, 4 * n, fastest(|| reduce::sum(black_box(&x), 1, n, 1, &mut y[..1])));
        report("sum, rows", n, 4 * n, fastest(|| reduce::sum(black_box(&x), rows, side, 1, &mut y[..rows])));
        report("sum, columns", n, 4 * n, fastest(|| reduce::sum(black_box(&x), 1, rows, side, &mut y[..side])));
        report("amax, all", n, 4 * n, fastest(|| reduce::amax(black_box(&x), 1, n, 1, &mut y[..1])));
        report("softmax, rows of 64", n, 8 * n, fastest(|| reduce::softmax(black_box(&x), rows, side, 1, &mut y)));
        let tens = n / 10;
        let (x10, y10) = (&x[..10 * tens], &mut y[..10 * tens]);
        report("softmax, rows of 10", n, 8 * n, fastest(|| reduce::softmax(black_box(x10), tens, 10, 1, y10)));
        report(
            "transpose",
            n,
            8 * n,
            fastest(|| copy::copy_strided(black_box(&x), 0, &[side, rows], &[1, side], black_box(&mut y))),
        );
        let mut geo = PoolGeometry {
            planes: n / 1024,
            in_h: 32,
            in_w: 32,
            kernel_h: 2,
            kernel_w: 2,
            stride: (2, 2),
            padding: (0, 0),
            dilation: (1, 1),
            out_h: 16,
            out_w: 16,
        };
        let mut index = vec![0i64; n];
        for name in ["2x2, stride 2", "3x3, stride 2, padding 1"] {
            let m = geo.output_len();
            report(
                &format!("max {name}"),
                n,
                4 * n + 12 * m,
                fastest(|| max_pool2d(&geo, black_box(&x), &mut y[..m], &mut index[..m])),
            );
            let mut gx = vec![0f32; n];
            report(
                "its adjoint",
                n,
                4 * n + 12 * m,
                fastest(|| unpool(geo.planes, 1024, black_box(&y[..m]), &index[..m], &mut gx)),
            );
            let average = fastest(|| avg_pool2d(&geo, true, None, black_box(&x), &mut y[..m]));
            report(&format!("mean {name}"), n, 4 * n + 4 * m, average);
            let adjoint = fastest(|| avg_pool2d_grad(&geo, true, None, black_box(&y[..m]), &mut gx));
            report("its adjoint", n, 4 * n + 4 * m, adjoint);
            (geo.kernel_h, geo.kernel_w, geo.padding) = (3, 3, (1, 1));
        }
        let (mut w, mut m, mut v) = (x.clone(), vec![0f32; n], vec![1f32; n]);
        let rule = Sgd { lr: 0.1, momentum: 0.9, dampening: 0.0, weight_decay: 1e-4, nesterov: false, maximize: false };
        let sgd = fastest(|| optimize::sgd(&rule, &mut w, black_box(&b), Some(&mut m), false));
        report("SGD with momentum", n, 20 * n, sgd);
        let rule =
            Adam { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false, maximize: false };
        let adam = fastest(|| optimize::adam(&rule, 9, &mut w, black_box(&b), &mut m, &mut v, None));
        report("Adam", n, 28 * n, adam);
        println!();
    }
}
