//! Winograd's filtering against the naive twin.

use super::*;
use crate::isa;
use crate::naive::conv as naive;

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    let mut state = seed as u64;
    let mut next = || {
        // Weyl steps and a multiplication: no pattern that tiles could see.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The largest difference, as a share of the largest expected value.
fn error(got: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let off = got.iter().zip(expected).fold(0.0f64, |m, (&a, &b)| m.max((f64::from(a) - b).abs()));
    if got.iter().any(|v| v.is_nan()) { f64::NAN } else { off / largest.max(1e-30) }
}

fn check(g: &ConvGeometry) {
    let (x_len, w_len, y_len) = g.sizes();
    let (x, w, gy, bias) = (numbers(x_len, 1), numbers(w_len, 2), numbers(y_len, 3), numbers(g.out_channels, 4));
    let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&v| f64::from(v)).collect() };
    let (wx, ww, wgy, wbias) = (wide(&x), wide(&w), wide(&gy), wide(&bias));
    let mut y = vec![0.0; y_len];
    naive::conv2d(g, &wx, &ww, Some(&wbias), &mut y);
    let mut gx = vec![0.0; x_len];
    naive::conv2d_input(g, &ww, &wgy, &mut gx);
    let mut gw = vec![0.0; w_len];
    naive::conv2d_weight(g, &wx, &wgy, &mut gw);
    for &set in isa::available() {
        isa::with(set, || {
            let mut got = vec![f32::NAN; y_len];
            conv2d(set, g, &x, &w, Epilogue { bias: Some(&bias), relu: false }, &mut got);
            assert!(error(&got, &y) < 2e-5, "forward on {set:?}: {} of {g:?}", error(&got, &y));
            let mut above = vec![f32::NAN; y_len];
            conv2d(set, g, &x, &w, Epilogue { bias: Some(&bias), relu: true }, &mut above);
            assert!(above.iter().zip(&got).all(|(a, y)| *a == y.max(0.0)), "ReLU on {set:?} of {g:?}");
            let mut got = vec![f32::NAN; x_len];
            conv2d_input(set, g, &w, &gy, &mut got);
            assert!(error(&got, &gx) < 2e-5, "by input on {set:?}: {} of {g:?}", error(&got, &gx));
            let mut got = vec![f32::NAN; w_len];
            conv2d_weight(set, g, &x, &gy, &mut got);
            assert!(error(&got, &gw) < 2e-5, "by weight on {set:?}: {} of {g:?}", error(&got, &gw));
        });
    }
}

fn geometry([n, c, h, w]: [usize; 4], k: usize, padding: (usize, usize, usize, usize)) -> ConvGeometry {
    ConvGeometry::new([n, c, h, w], [k, c, 3, 3], (1, 1), padding, (1, 1), 1).expect("it fits")
}

/// The same with a kernel of 5x5.
fn wide([n, c, h, w]: [usize; 4], k: usize, padding: (usize, usize, usize, usize)) -> ConvGeometry {
    ConvGeometry::new([n, c, h, w], [k, c, 5, 5], (1, 1), padding, (1, 1), 1).expect("it fits")
}

#[test]
fn all_passes_agree_with_the_twin() {
    for padding in [(1, 1, 1, 1), (0, 0, 0, 0), (2, 2, 2, 2), (0, 1, 2, 0)] {
        for (c, k) in [(1, 1), (16, 16), (3, 17), (20, 33), (64, 48)] {
            for (n, h, w) in [(1, 4, 4), (2, 8, 8), (1, 3, 3), (3, 7, 10), (2, 13, 5), (1, 33, 18)] {
                check(&geometry([n, c, h, w], k, padding));
            }
        }
    }
}

#[test]
fn wide_kernels_agree_with_the_twin() {
    for padding in [(2, 2, 2, 2), (0, 0, 0, 0), (1, 1, 1, 1), (3, 3, 3, 3), (4, 4, 4, 4), (0, 1, 4, 3)] {
        for (c, k) in [(1, 1), (16, 16), (3, 17), (20, 33)] {
            for (n, h, w) in [(1, 5, 5), (2, 8, 8), (3, 7, 10), (1, 13, 6), (1, 19, 18)] {
                check(&wide([n, c, h, w], k, padding));
            }
        }
    }
    // Images smaller than the kernel, several groups of images and of rows, sums by planes.
    check(&wide([2, 5, 1, 3], 4, (2, 2, 2, 2)));
    check(&wide([50, 16, 8, 8], 16, (2, 2, 2, 2)));
    check(&wide([3, 16, 9, 130], 16, (2, 2, 2, 2)));
    check(&wide([2, 130, 8, 8], 100, (2, 2, 2, 2)));
    check(&wide([1, 64, 40, 37], 64, (2, 2, 2, 2)));
}

/// Kernels of several blocks, of other shapes, and strides, whose phases are pieces of what is read or written.
#[test]
fn pieces_agree_with_the_twin() {
    let mut checked = 0;
    for kernel in [(7, 7), (6, 6), (4, 4), (3, 3), (2, 2), (3, 5), (8, 3), (11, 11), (2, 12), (9, 4), (1, 3)] {
        for stride in [(1, 1), (2, 2), (3, 3), (1, 2), (2, 1), (4, 4)] {
            for (n, c, k, h, w) in [(2, 3, 5, 14, 15), (1, 16, 17, 13, 20), (3, 20, 8, 12, 12), (1, 9, 33, 31, 18)] {
                for padding in
                    [(0, 0, 0, 0), (kernel.0 / 2, (kernel.0 - 1) / 2, 1, kernel.1 - 1), (1, 0, kernel.1 / 2, 0)]
                {
                    let weight = [k, c, kernel.0, kernel.1];
                    let g = ConvGeometry::new([n, c, h, w], weight, stride, padding, (1, 1), 1);
                    for g in g.iter().filter(|g| fits(g)) {
                        check(g);
                        checked += 1;
                        // Fewer results than there could be, as of transposed convolutions.
                        let fewer = g.cut(g.out_h - 1, g.out_w).filter(|g| g.out_h > 0 && fits(g));
                        fewer.iter().chain(&g.cut(1, 1)).for_each(check);
                    }
                }
            }
        }
    }
    assert!(checked > 300, "{checked}");
    let of = |input: [usize; 4], weight, stride, padding, dilation| {
        let g = ConvGeometry::new(input, weight, stride, padding, dilation, 1).expect("it fits");
        assert!(fits(&g), "{g:?}");
        check(&g);
    };
    // Groups of channels, also those that fill no vector.
    for (groups, c, k) in [(2, 32, 48), (3, 9, 12), (4, 20, 36), (20, 20, 40)] {
        for (kernel, stride, padding) in [(3, 1, 1), (5, 1, 2), (4, 1, 0), (7, 2, 3)] {
            let (weight, p) = ([k, c / groups, kernel, kernel], padding);
            let g = ConvGeometry::new([3, c, 13, 18], weight, (stride, stride), (p, p, p, p), (1, 1), groups);
            let g = g.expect("it fits");
            assert!(fits(&g), "{g:?}");
            check(&g);
        }
    }
    // One group of tiles, whose weights are transformed block by block, and several; channels that leave gaps between pieces.
    for (n, c, k) in [(1, 19, 200), (1, 60, 33), (9, 19, 40), (9, 60, 33)] {
        of([n, c, 9, 10], [k, c, 7, 7], (1, 1), (3, 3, 3, 3), (1, 1));
        of([n, c, 9, 10], [k, c, 5, 5], (2, 2), (2, 2, 2, 2), (1, 1));
        of([n, k, 9, 10], [c, k, 3, 3], (1, 1), (1, 1, 1, 1), (1, 1));
    }
    // Dilated, several groups of images and of rows, sums by planes.
    of([2, 5, 21, 30], [6, 5, 7, 7], (1, 1), (4, 6, 6, 2), (2, 2));
    of([1, 17, 19, 33], [9, 17, 4, 6], (1, 1), (4, 6, 6, 2), (3, 2));
    of([50, 16, 8, 8], [16, 16, 7, 7], (1, 1), (3, 3, 3, 3), (1, 1));
    of([50, 3, 16, 16], [16, 3, 5, 5], (2, 2), (2, 2, 2, 2), (1, 1));
    of([2, 32, 40, 43], [40, 32, 7, 7], (2, 2), (3, 3, 3, 3), (1, 1));
    of([2, 130, 8, 8], [100, 130, 5, 5], (2, 2), (2, 2, 2, 2), (1, 1));
    of([1, 3, 70, 64], [64, 3, 7, 7], (2, 2), (3, 3, 3, 3), (1, 1));
}

#[test]
fn many_images_and_wide_ones_agree_with_the_twin() {
    check(&geometry([50, 16, 8, 8], 16, (1, 1, 1, 1)));
    check(&geometry([3, 16, 9, 130], 16, (1, 1, 1, 1)));
    check(&geometry([2, 130, 8, 8], 100, (1, 1, 1, 1)));
}

#[test]
fn dilated_kernels_agree_with_the_twin() {
    for dilation in [(2, 2), (3, 3), (1, 2), (4, 1), (2, 5)] {
        for (n, c, k, h, w) in [(1, 3, 5, 9, 11), (3, 17, 4, 12, 16), (2, 16, 16, 10, 45), (1, 5, 20, 33, 12)] {
            let (down, right) = dilation;
            for padding in [(down, down, right, right), (0, 0, 0, 0), (2 * down, 1, 0, 2 * right)] {
                for kernel in [3, 5] {
                    let g = ConvGeometry::new([n, c, h, w], [k, c, kernel, kernel], (1, 1), padding, dilation, 1);
                    g.iter().filter(|g| fits(g)).for_each(check);
                }
            }
        }
    }
    // Several groups of rows of tiles.
    let g = ConvGeometry::new([1, 64, 40, 37], [64, 64, 3, 3], (1, 1), (2, 2, 3, 3), (2, 3), 1).expect("it fits");
    check(&g);
    let g = ConvGeometry::new([1, 64, 40, 37], [32, 64, 5, 5], (1, 1), (8, 6, 8, 7), (2, 2), 1).expect("it fits");
    check(&g);
}

/// Without padding the gradient by the input has more tiles than the result, and the direct sum as many products.
#[test]
fn each_pass_counts_the_tiles_that_it_covers() {
    for g in [geometry([64, 128, 5, 5], 128, (0, 0, 0, 0)), wide([64, 64, 6, 6], 64, (0, 0, 0, 0))] {
        for set in [isa::Isa::Avx512, isa::Isa::Avx2] {
            let pays = [Pass::Forward, Pass::Input, Pass::Weight].map(|pass| pays(&g, pass, set));
            assert_eq!(pays, [true, false, true], "{set:?}, {g:?}");
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    threads_do_not_change(&geometry([30, 16, 16, 16], 32, (1, 1, 1, 1)));
    threads_do_not_change(&wide([30, 16, 16, 16], 32, (2, 2, 2, 2)));
    // One group of tiles: each thread transforms the inputs, and the weights of its outputs.
    threads_do_not_change(&geometry([1, 48, 16, 16], 128, (1, 1, 1, 1)));
    // Pieces that are read and written, and groups.
    for (kernel, stride, groups) in [(7, 1, 1), (5, 2, 1), (3, 2, 1), (3, 1, 2)] {
        let weight = [32, 16 / groups, kernel, kernel];
        let g = ConvGeometry::new([12, 16, 20, 17], weight, (stride, stride), (1, 1, 1, 1), (1, 1), groups);
        threads_do_not_change(&g.expect("it fits"));
    }
}

fn threads_do_not_change(g: &ConvGeometry) {
    let (x_len, w_len, y_len) = g.sizes();
    let (x, w, gy) = (numbers(x_len, 1), numbers(w_len, 2), numbers(y_len, 3));
    let run = |threads: usize| {
        let before = par::num_threads();
        par::set_num_threads(threads);
        let (mut y, mut gx, mut gw) = (vec![0.0; y_len], vec![0.0; x_len], vec![0.0; w_len]);
        let set = isa::isa();
        conv2d(set, g, &x, &w, Epilogue::NONE, &mut y);
        conv2d_input(set, g, &w, &gy, &mut gx);
        conv2d_weight(set, g, &x, &gy, &mut gw);
        par::set_num_threads(before);
        (y, gx, gw)
    };
    assert!(run(1) == run(3));
}

/// The error that the documentation of [`crate::conv::ConvAlgorithm`] promises, on layers of well-known nets.
#[test]
fn the_error_is_what_the_documentation_says() {
    for (n, c, side) in [(2, 16, 32), (2, 64, 16), (1, 256, 8)] {
        let of = |kernel: usize, stride: usize| {
            let (weight, p) = ([c, c, kernel, kernel], kernel / 2);
            let g = ConvGeometry::new([n, c, side, side], weight, (stride, stride), (p, p, p, p), (1, 1), 1);
            g.expect("it fits")
        };
        for g in [of(3, 1), of(5, 1), of(4, 1), of(7, 1), of(3, 2), of(5, 2), of(7, 2)] {
            let (x_len, w_len, y_len) = g.sizes();
            let x: Vec<f32> = numbers(x_len, 5).iter().map(|v| v.max(0.0)).collect();
            let (w, gy) = (numbers(w_len, 6), numbers(y_len, 7));
            let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&v| f64::from(v)).collect() };
            let (mut y, mut gx, mut gw) = (vec![0.0; y_len], vec![0.0; x_len], vec![0.0; w_len]);
            naive::conv2d(&g, &wide(&x), &wide(&w), None, &mut y);
            naive::conv2d_input(&g, &wide(&w), &wide(&gy), &mut gx);
            naive::conv2d_weight(&g, &wide(&x), &wide(&gy), &mut gw);
            let set = isa::isa();
            let (mut got_y, mut got_x, mut got_w) = (vec![0.0; y_len], vec![0.0; x_len], vec![0.0; w_len]);
            conv2d(set, &g, &x, &w, Epilogue::NONE, &mut got_y);
            conv2d_input(set, &g, &w, &gy, &mut got_x);
            conv2d_weight(set, &g, &x, &gy, &mut got_w);
            let [forward, input, weight] = [error(&got_y, &y), error(&got_x, &gx), error(&got_w, &gw)];
            let what = format!("kernel {}, stride {}, {c} channels, side {side}", g.kernel_h, g.stride.0);
            println!("{what}: forward {forward:.1e}, by input {input:.1e}, by weight {weight:.1e}");
            // F(4x4, 3x3) and F(2x2, 5x5); pieces make longer sums.
            let whole = |pass: Pass| {
                matches!((g.kernel_h, g.stride.0), (3 | 5, 1)) && cheapest(&g, pass, lanes::<f32>(set)).0 == g.kernel_h
            };
            let sums = |pass: Pass| if whole(pass) { 5e-6 } else { 1e-5 };
            let by_weight = if g.kernel_h == 3 { 2e-6 } else { 4e-6 };
            assert!(
                forward < sums(Pass::Forward) && input < sums(Pass::Input) && weight < by_weight,
                "{what}: {forward}, {input} and {weight}"
            );
        }
    }
}
