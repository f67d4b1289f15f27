//! Speed of the convolutions and matrix products of some well-known layers, in GFLOP/s.
//!
//! `cargo run --release -p gabor-kernels --example conv_throughput [threads [part of a layer's name [direct|winograd]]]`

use gabor_kernels::conv::{
    ConvAlgorithm, ConvGeometry, Epilogue, conv2d, conv2d_input, conv2d_weight, set_conv_algorithm,
};
use gabor_kernels::gemm::{MatRef, gemm};
use gabor_kernels::{isa, par};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The shortest time of a call among many within about a third of a second.
fn shortest(mut f: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        let now = Instant::now();
        f();
        best = best.min(now.elapsed().as_secs_f64());
    }
    best
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 13) as f32 * 0.1 - 0.5).collect()
}

/// Name, images, input channels, side, output channels, kernel, stride, padding, groups.
type Layer = (&'static str, usize, usize, usize, usize, usize, usize, usize, usize);

const LAYERS: &[Layer] = &[
    ("lenet 1->6 k5 p2 28", 64, 1, 28, 6, 5, 1, 2, 1),
    ("lenet 6->16 k5 14", 64, 6, 14, 16, 5, 1, 0, 1),
    ("r20 3->16 k3 32", 8, 3, 32, 16, 3, 1, 1, 1),
    ("r20 16->16 k3 32", 8, 16, 32, 16, 3, 1, 1, 1),
    ("r20 16->32 k3 s2 32", 8, 16, 32, 32, 3, 2, 1, 1),
    ("r20 32->32 k3 16", 8, 32, 16, 32, 3, 1, 1, 1),
    ("r20 64->64 k3 8", 8, 64, 8, 64, 3, 1, 1, 1),
    ("r20 16->32 k1 s2 32", 8, 16, 32, 32, 1, 2, 0, 1),
    ("vgg 64->64 k3 32", 1, 64, 32, 64, 3, 1, 1, 1),
    ("vgg 128->128 k3 16", 1, 128, 16, 128, 3, 1, 1, 1),
    ("vgg 256->256 k3 8", 1, 256, 8, 256, 3, 1, 1, 1),
    ("vgg 512->512 k3 4", 8, 512, 4, 512, 3, 1, 1, 1),
    ("vgg 512->512 k3 2", 8, 512, 2, 512, 3, 1, 1, 1),
    ("depthwise 64 k3 16", 64, 64, 16, 64, 3, 1, 1, 64),
    ("pointwise 64->128 16", 8, 64, 16, 128, 1, 1, 0, 1),
    ("digits 16->32 k3 p1 4", 32, 16, 4, 32, 3, 1, 1, 1),
    ("vgg b32 64->64 k3 32", 32, 64, 32, 64, 3, 1, 1, 1),
    ("vgg b32 128->128 k3 16", 32, 128, 16, 128, 3, 1, 1, 1),
    ("vgg b32 256->256 k3 8", 32, 256, 8, 256, 3, 1, 1, 1),
    ("r50 b8 64->64 k3 56", 8, 64, 56, 64, 3, 1, 1, 1),
    ("r20 b128 16->16 k3 32", 128, 16, 32, 16, 3, 1, 1, 1),
    ("r20 b128 64->64 k3 8", 128, 64, 8, 64, 3, 1, 1, 1),
    ("digits 1->8 k3 p1 8", 1, 1, 8, 8, 3, 1, 1, 1),
    ("toy 1->1 k2 6", 1, 1, 6, 1, 2, 1, 0, 1),
];

fn main() {
    if let Some(threads) = std::env::args().nth(1).and_then(|v| v.parse().ok()) {
        par::set_num_threads(threads);
    }
    let wanted = std::env::args().nth(2).unwrap_or_default();
    match std::env::args().nth(3).as_deref() {
        Some("direct") => set_conv_algorithm(ConvAlgorithm::Direct),
        Some("winograd") => set_conv_algorithm(ConvAlgorithm::Winograd),
        _ => {}
    }
    println!("{:?}, {} threads", isa::isa(), par::num_threads());
    println!("{:<22} {:>10} {:>22} {:>22} {:>22}", "layer", "MFLOP", "forward", "by input", "by weight");
    for &(name, batch, c, side, k, kernel, stride, pad, groups) in LAYERS {
        if !name.contains(&wanted) {
            continue;
        }
        let weight = [k, c / groups, kernel, kernel];
        let pads = (pad, pad, pad, pad);
        let Some(g) = ConvGeometry::new([batch, c, side, side], weight, (stride, stride), pads, (1, 1), groups) else {
            continue;
        };
        let (x_len, w_len, y_len): (usize, usize, usize) =
            (batch * c * side * side, weight.iter().product(), g.output().iter().product());
        let (mut x, mut w, mut y) = (numbers(x_len), numbers(w_len), numbers(y_len));
        let flop = 2.0 * (y_len * weight[1] * kernel * kernel) as f64;
        let forward = shortest(|| conv2d(&g, black_box(&x), &w, Epilogue::NONE, &mut y));
        let by_input = shortest(|| conv2d_input(&g, &w, black_box(&y), &mut x));
        let by_weight = shortest(|| conv2d_weight(&g, black_box(&x), &y, &mut w));
        let show = |t: f64| format!("{:9.2} us {:6.1} GF", t * 1e6, flop / t / 1e9);
        println!("{name:<22} {:>10.3} {} {} {}", flop / 1e6, show(forward), show(by_input), show(by_weight));
    }
    println!("{:<22} {:>10} {:>22} {:>22} {:>22}", "product m x k x n", "MFLOP", "a b", "a bT", "aT b");
    for (m, k, n) in
        [(64, 400, 120), (64, 120, 84), (64, 84, 10), (1, 400, 120), (256, 256, 256), (512, 500, 500), (8, 8, 8)]
    {
        let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0f32; m * n]);
        let flop = 2.0 * (m * k * n) as f64;
        let run = |a: Option<MatRef<f32>>, b: Option<MatRef<f32>>, c: &mut [f32]| {
            let (Some(a), Some(b)) = (a, b) else { return 0.0 };
            shortest(|| gemm(black_box(a), b, true, c))
        };
        let plain = run(MatRef::new(&a, m, k, k, 1), MatRef::new(&b, k, n, n, 1), &mut c);
        let right = run(MatRef::new(&a, m, k, k, 1), MatRef::new(&b, k, n, 1, k), &mut c);
        let left = run(MatRef::new(&a, m, k, 1, m), MatRef::new(&b, k, n, n, 1), &mut c);
        let show = |t: f64| format!("{:9.2} us {:6.1} GF", t * 1e6, flop / t / 1e9);
        let name = format!("{m} x {k} x {n}");
        println!("{name:<22} {:>10.3} {} {} {}", flop / 1e6, show(plain), show(right), show(left));
    }
}
