//! Poolings against their twins over many geometries, with NaN, infinities and ties; adjoints; threads.

use gabor_kernels::pool::*;
use gabor_kernels::{adaptive_pool, isa, naive, par};

/// The geometry with PyTorch's output size, if there is one.
fn geometry(
    planes: usize,
    input: (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
    dilation: (usize, usize),
    ceil: bool,
) -> Option<PoolGeometry> {
    let size = |n: usize, k: usize, s: usize, p: usize, d: usize| {
        let span = (n + 2 * p).checked_sub(d * (k - 1) + 1)?;
        let out = if ceil { span.div_ceil(s) } else { span / s } + 1;
        Some(if ceil && (out - 1) * s >= n + p { out - 1 } else { out })
    };
    Some(PoolGeometry {
        planes,
        in_h: input.0,
        in_w: input.1,
        kernel_h: kernel.0,
        kernel_w: kernel.1,
        stride,
        padding,
        dilation,
        out_h: size(input.0, kernel.0, stride.0, padding.0, dilation.0)?,
        out_w: size(input.1, kernel.1, stride.1, padding.1, dilation.1)?,
    })
}

/// Many geometries: squares and oblongs, strides around the kernel size, padding up to half of it, both roundings.
fn geometries(dilated: bool) -> Vec<PoolGeometry> {
    let mut all = Vec::new();
    for input in [(1, 1), (2, 2), (4, 5), (7, 7), (10, 10), (8, 16), (9, 35), (6, 300), (40, 150)] {
        for kernel in [(1, 1), (2, 2), (3, 3), (2, 3), (3, 2), (5, 4)] {
            for stride in [(1, 1), (2, 2), (3, 3), (2, 1), (2, 4)] {
                for padding in [(0, 0), (kernel.0 / 2, kernel.1 / 2), (0, kernel.1.min(2) - 1)] {
                    for ceil in [false, true] {
                        let dilations: &[_] = if dilated { &[(1, 1), (2, 1), (2, 2)] } else { &[(1, 1)] };
                        for &dilation in dilations {
                            all.extend(geometry(3, input, kernel, stride, padding, dilation, ceil));
                        }
                    }
                }
            }
        }
    }
    all
}

/// Small whole numbers, so that ties abound and sums are exact.
fn whole(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 31) % 23) as f32 - 11.0).collect()
}

/// Whole numbers with NaN and infinities strewn in.
fn wild(n: usize) -> Vec<f32> {
    let special = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, f32::NEG_INFINITY];
    whole(n, 1).into_iter().enumerate().map(|(i, v)| if i % 7 < 2 { special[i / 7 % 4] } else { v }).collect()
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
}

fn on_each_set(f: impl Fn()) {
    for &set in isa::available() {
        isa::with(set, &f);
    }
}

/// The positions in their planes that taps name.
fn places(g: &PoolGeometry, taps: &[u8]) -> Vec<i64> {
    let place = |(at, &tap): (usize, &u8)| {
        let (oh, ow, tap) = (at / g.out_w % g.out_h, at % g.out_w, usize::from(tap));
        let row = (oh * g.stride.0 + tap / g.kernel_w) as i64 - g.padding.0 as i64;
        row * g.in_w as i64 + (ow * g.stride.1 + tap % g.kernel_w) as i64 - g.padding.1 as i64
    };
    taps.iter().enumerate().map(place).collect()
}

#[test]
fn maxima_and_their_places_equal_the_twin() {
    on_each_set(|| {
        for geo in geometries(true) {
            for x in [whole(geo.input_len(), 2), wild(geo.input_len())] {
                let n = geo.output_len();
                let (mut y, mut index) = (vec![0.0; n], vec![-1; n]);
                let (mut truth, mut place) = (vec![0.0; n], vec![-1; n]);
                max_pool2d(&geo, &x, &mut y, &mut index);
                naive::pool::max_pool2d(&geo, &x, &mut truth, &mut place);
                assert!(same(&y, &truth), "{geo:?}\n{y:?}\n{truth:?}");
                assert_eq!(index, place, "{geo:?}");
                y.fill(0.0);
                max_pool2d_values(&geo, &x, &mut y);
                assert!(same(&y, &truth), "{geo:?}\n{y:?}\n{truth:?}");
                if geo.has_taps() {
                    y.fill(0.0);
                    let mut taps = vec![9; n];
                    max_pool2d_taps(&geo, &x, &mut y, &mut taps);
                    assert!(same(&y, &truth), "{geo:?}\n{y:?}\n{truth:?}");
                    assert_eq!(places(&geo, &taps), place, "{geo:?}");
                }
            }
        }
    });
}

#[test]
fn the_gradient_of_a_maximum_goes_to_one_element() {
    let empty = |g: &PoolGeometry| (0..g.out_h).any(|h| (0..g.out_w).any(|w| naive::pool::window(g, h, w).is_empty()));
    for geo in geometries(true).into_iter().filter(|g| !empty(g)) {
        let x = wild(geo.input_len());
        let g = whole(geo.output_len(), 3);
        let (mut y, mut index) = (vec![0.0; g.len()], vec![0; g.len()]);
        max_pool2d(&geo, &x, &mut y, &mut index);
        let plane = geo.in_h * geo.in_w;
        let mut gx = vec![f32::NAN; x.len()];
        unpool(geo.planes, plane, &g, &index, &mut gx);
        assert_eq!(gx.iter().sum::<f32>(), g.iter().sum::<f32>(), "{geo:?}");
        // <unpool(g), v> = <g, pick(v)>
        let v = whole(x.len(), 4);
        let mut picked = vec![0.0; g.len()];
        pick(geo.planes, plane, &v, &index, &mut picked);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert_eq!(dot(&gx, &v), dot(&g, &picked), "{geo:?}");
        let mut again = vec![0.0; g.len()];
        pick(geo.planes, plane, &x, &index, &mut again);
        assert!(same(&again, &y), "{geo:?}");
        if geo.has_taps() {
            on_each_set(|| {
                let mut taps = vec![0; g.len()];
                max_pool2d_taps(&geo, &x, &mut y.clone(), &mut taps);
                let (mut spread, mut taken) = (vec![f32::NAN; x.len()], vec![0.0; g.len()]);
                unpool_taps(&geo, &g, &taps, &mut spread);
                pick_taps(&geo, &v, &taps, &mut taken);
                assert!(spread == gx && taken == picked, "{geo:?}\n{spread:?}\n{gx:?}");
            });
        }
    }
}

#[test]
fn windows_of_nan_and_of_minus_infinity() {
    let geo = geometry(1, (2, 2), (2, 2), (2, 2), (0, 0), (1, 1), false).unwrap();
    let (mut y, mut index) = ([0.0], [9]);
    max_pool2d(&geo, &[f32::NEG_INFINITY; 4], &mut y, &mut index);
    assert_eq!((y, index), ([f32::NEG_INFINITY], [0]));
    max_pool2d(&geo, &[f32::NAN, 1.0, f32::NAN, 2.0], &mut y, &mut index);
    assert!(y[0].is_nan() && index == [2], "the last NaN");
    max_pool2d(&geo, &[1.0, 3.0, 3.0, 3.0], &mut y, &mut index);
    assert_eq!((y, index), ([3.0], [1]), "the first of equals");
}

#[test]
fn means_and_their_adjoint_equal_the_twins() {
    on_each_set(|| {
        for geo in geometries(false) {
            for (include, fixed) in [(true, None), (false, None), (true, Some(3))] {
                let (x, g) = (whole(geo.input_len(), 5), whole(geo.output_len(), 6));
                let (mut y, mut truth) = (vec![9.0; g.len()], vec![0.0; g.len()]);
                avg_pool2d(&geo, include, fixed, &x, &mut y);
                naive::pool::avg_pool2d(&geo, include, fixed, &x, &mut truth);
                assert!(y.iter().zip(&truth).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()), "{geo:?}");
                let (mut gx, mut truth) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
                avg_pool2d_grad(&geo, include, fixed, &g, &mut gx);
                naive::pool::avg_pool2d_grad(&geo, include, fixed, &g, &mut truth);
                let close = gx.iter().zip(&truth).all(|(a, b)| (a - b).abs() <= 1e-5);
                assert!(close, "{geo:?} {include} {fixed:?}\n{gx:?}\n{truth:?}");
            }
        }
    });
}

#[test]
fn the_divisor_of_a_window_that_starts_on_padding() {
    // ONNX's case: a 2x2 input, kernel and stride 3, padding 1, rounded up, padding included.
    let geo = geometry(1, (2, 2), (3, 3), (3, 3), (1, 1), (1, 1), true).unwrap();
    assert_eq!((geo.out_h, geo.out_w), (1, 1));
    let x = [0.8580, 0.4786, 0.2279, -0.2050f32];
    let mut y = [0.0];
    avg_pool2d(&geo, true, None, &x, &mut y);
    assert!((y[0] - x.iter().sum::<f32>() / 9.0).abs() < 1e-6);
}

#[test]
fn a_stride_far_beyond_the_plane_has_one_window() {
    let all = 1 << 40;
    let geo = geometry(2, (5, 6), (3, 2), (all, all), (1, 1), (1, 1), false).unwrap();
    assert_eq!((geo.out_h, geo.out_w), (1, 1));
    let near = PoolGeometry { stride: (8, 8), ..geo };
    on_each_set(|| {
        let x = whole(geo.input_len(), 3);
        let (mut y, mut same) = (vec![0.0; 2], vec![0.0; 2]);
        avg_pool2d(&geo, true, None, &x, &mut y);
        avg_pool2d(&near, true, None, &x, &mut same);
        assert_eq!(y, same);
        let (mut gx, mut same) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
        avg_pool2d_grad(&geo, true, None, &[6.0, 12.0], &mut gx);
        avg_pool2d_grad(&near, true, None, &[6.0, 12.0], &mut same);
        assert_eq!(gx, same);
        assert_eq!(gx[..3], [1.0, 0.0, 0.0]);
    });
}

#[test]
fn gradients_larger_than_the_cache_are_those_of_their_planes() {
    // 25 MiB, in planes that are not whole lines of memory.
    let few = geometry(2, (18, 14), (2, 2), (2, 2), (0, 0), (1, 1), false).unwrap();
    let geo = PoolGeometry { planes: 26_000, ..few };
    let g: Vec<f32> = whole(geo.output_len(), 5);
    on_each_set(|| {
        let mut gx = vec![f32::NAN; geo.input_len()];
        avg_pool2d_grad(&geo, true, None, &g, &mut gx);
        let mut part = vec![0.0; few.input_len()];
        for (gx, g) in gx.chunks(few.input_len()).zip(g.chunks(few.output_len())).step_by(97) {
            naive::pool::avg_pool2d_grad(&few, true, None, g, &mut part);
            assert!(gx == part);
        }
    });
    for (kernel, padding) in [((3, 3), (1, 1)), ((2, 2), (0, 0))] {
        let few = geometry(2, (18, 18), kernel, (2, 2), padding, (1, 1), false).unwrap();
        let geo = PoolGeometry { planes: 20_300, ..few };
        let (g, x) = (whole(geo.output_len(), 5), whole(geo.input_len(), 3));
        on_each_set(|| {
            let (mut y, mut taps, mut gx) = (g.clone(), vec![0; g.len()], vec![f32::NAN; x.len()]);
            max_pool2d_taps(&geo, &x, &mut y, &mut taps);
            unpool_taps(&geo, &g, &taps, &mut gx);
            let (mut part, n) = (vec![0.0; few.input_len()], few.output_len());
            for (gx, (g, taps)) in gx.chunks(few.input_len()).zip(g.chunks(n).zip(taps.chunks(n))).step_by(97) {
                unpool_taps(&few, g, taps, &mut part);
                assert!(gx == part);
            }
        });
    }
}

#[test]
fn adaptive_windows_equal_their_definition() {
    on_each_set(|| {
        for (h, w, oh, ow) in [(1, 1, 1, 1), (7, 5, 3, 2), (8, 8, 4, 4), (6, 9, 1, 1), (3, 3, 5, 7), (12, 12, 6, 3)] {
            let planes = 4;
            let (x, g) = (whole(planes * h * w, 7), whole(planes * oh * ow, 8));
            let (mut mean, mut top, mut index) = (vec![0.0; g.len()], vec![0.0; g.len()], vec![0; g.len()]);
            let (mut gx, mut sums) = (vec![f32::NAN; x.len()], vec![0f64; x.len()]);
            adaptive_pool::adaptive_avg_pool2d(planes, h, w, oh, ow, &x, &mut mean);
            adaptive_pool::adaptive_max_pool2d(planes, h, w, oh, ow, &x, &mut top, &mut index);
            adaptive_pool::adaptive_avg_pool2d_grad(planes, h, w, oh, ow, &g, &mut gx);
            for at in 0..g.len() {
                let (plane, i, j) = (at / (oh * ow), at / ow % oh, at % ow);
                let rows = i * h / oh..((i + 1) * h).div_ceil(oh);
                let columns = j * w / ow..((j + 1) * w).div_ceil(ow);
                let places: Vec<usize> = rows.flat_map(|r| columns.clone().map(move |c| r * w + c)).collect();
                let values: Vec<f32> = places.iter().map(|p| x[plane * h * w + p]).collect();
                let truth = values.iter().sum::<f32>() / values.len() as f32;
                assert!((mean[at] - truth).abs() < 1e-5);
                let best = naive::reduce::extreme(&values, |a, b| a > b);
                assert_eq!((top[at], index[at]), (values[best], places[best] as i64));
                places.iter().for_each(|p| sums[plane * h * w + p] += f64::from(g[at]) / places.len() as f64);
            }
            assert!(gx.iter().zip(&sums).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));
        }
    });
}

#[test]
fn threads_do_not_change_bits() {
    let geo = geometry(200, (33, 40), (3, 3), (2, 2), (1, 1), (1, 1), true).unwrap();
    let x: Vec<f32> = whole(geo.input_len(), 9).iter().map(|v| v / 7.0).collect();
    let results = [1, 2, 3].map(|threads| {
        par::set_num_threads(threads);
        let mut taps = vec![0; geo.output_len()];
        let n = geo.output_len();
        let (mut y, mut index, mut mean) = (vec![0.0; n], vec![0; n], vec![0.0; n]);
        let (mut gx, mut gm) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        max_pool2d(&geo, &x, &mut y, &mut index);
        avg_pool2d(&geo, false, None, &x, &mut mean);
        unpool(geo.planes, geo.in_h * geo.in_w, &mean, &index, &mut gx);
        avg_pool2d_grad(&geo, false, None, &y, &mut gm);
        max_pool2d_taps(&geo, &x, &mut y, &mut taps);
        let mut gt = vec![0.0; x.len()];
        unpool_taps(&geo, &mean, &taps, &mut gt);
        (y, index, mean, gx, gm, gt)
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}
