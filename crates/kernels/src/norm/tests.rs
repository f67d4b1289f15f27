//! The kernels against their twins, and corners.

use super::*;
use crate::naive::norm as naive;

fn numbers<T: Float>(n: usize, seed: usize) -> Vec<T> {
    (0..n).map(|i| T::real(((i * 7919 + seed * 104_729) % 1009) as f64 / 100.0 - 3.0)).collect()
}

fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} and {b}");
}

fn check<T: Float>(extent: Channels, relu: bool, affine_too: bool, tolerance: f64) {
    let n = extent.numel();
    let (x, mut g): (Vec<T>, Vec<T>) = (numbers(n, 1), numbers(n, 2));
    let c = numbers::<T>(4 * extent.channels, 3);
    let (weight, bias) = c.split_at(extent.channels);
    let bias = &bias[..extent.channels];
    let given = |c| if affine_too { Some(c) } else { None };
    let how = Standard { extent, eps: 0.1, weight: given(weight), bias: given(bias), relu };
    let mut statistics = vec![0.0; 2 * extent.channels];
    let (mut y, mut z) = (vec![T::ZERO; n], vec![T::ZERO; n]);
    standardize(&x, &how, &mut statistics, &mut y);
    let expected = naive::moments(&x, extent);
    statistics.iter().zip(&expected).for_each(|(&a, &b)| close(a, b, tolerance));
    let scale = |k: usize| how.weight.map_or(1.0, |w| w[k].f()) / (expected[2 * k + 1] + 0.1).sqrt();
    let line = |k| [T::real(expected[2 * k]), T::real(scale(k)), how.bias.map_or(T::ZERO, |b| b[k])];
    naive::affine(&x, &(0..extent.channels).flat_map(line).collect::<Vec<T>>(), extent, &mut z);
    z.iter_mut().filter(|z| relu && **z < T::ZERO).for_each(|z| *z = T::ZERO);
    y.iter().zip(&z).for_each(|(a, b)| close(a.f(), b.f(), tolerance));

    let (mut sums, mut gx) = (vec![0.0; 2 * extent.channels], vec![T::ZERO; n]);
    standardize_gradient(Some(&g), &x, &how, &statistics, &mut sums, &mut gx);
    let (mut again, mut in_place) = (vec![0.0; sums.len()], g.clone());
    standardize_gradient(None, &x, &how, &statistics, &mut again, &mut in_place);
    assert!(again == sums && in_place == gx, "in place: {extent:?}, ReLU {relu}");
    // What passes is known by the result, which may be rounded to zero.
    g.iter_mut().zip(&y).filter(|(_, y)| relu && **y == T::ZERO).for_each(|(g, _)| *g = T::ZERO);
    let size = (extent.outer * extent.inner) as f64;
    let mean: Vec<T> = statistics.chunks(2).map(|s| T::real(s[0])).collect();
    let expected_sums = naive::gradient_sums(&g, &x, &mean, extent);
    sums.iter().zip(&expected_sums).for_each(|(&a, b)| close(a / size, b / size, tolerance));
    let plane = |k: usize| {
        let inverse = 1.0 / (expected[2 * k + 1] + 0.1);
        [mean[k].f(), expected_sums[2 * k] / size, expected_sums[2 * k + 1] * inverse / size, scale(k)].map(T::real)
    };
    naive::gradient(&g, &x, &(0..extent.channels).flat_map(plane).collect::<Vec<T>>(), extent, &mut z);
    gx.iter().zip(&z).for_each(|(a, b)| close(a.f(), b.f(), tolerance));

    affine(&x, c[..3 * extent.channels].as_chunks().0, extent, &mut y);
    naive::affine(&x, &c, extent, &mut z);
    y.iter().zip(&z).for_each(|(a, b)| close(a.f(), b.f(), tolerance));
}

#[test]
fn kernels_equal_their_twins() {
    for &set in isa::available() {
        isa::with(set, || {
            for inner in [1, 2, LANES - 1, LANES, LANES + 1, BLOCK / 3, BLOCK + 3] {
                for (outer, channels, relu) in [(1, 1, false), (3, 5, true), (2, 67, true), (7, 2, false)] {
                    let extent = Channels { outer, channels, inner };
                    check::<f32>(extent, relu, channels > 2, 2e-5);
                    check::<f64>(extent, relu, channels > 2, 1e-12);
                }
            }
        });
    }
}

#[test]
fn a_large_mean_costs_no_accuracy() {
    let extent = Channels { outer: 2, channels: 1, inner: 5000 };
    let x: Vec<f32> = (0..10_000).map(|i| 4096.0 + (i % 2) as f32).collect();
    let (mut statistics, mut y) = ([0.0; 2], vec![0.0; 10_000]);
    let how = Standard { extent, eps: 0.0, weight: None, bias: None, relu: false };
    standardize(&x, &how, &mut statistics, &mut y);
    assert!(y.iter().zip(&x).all(|(y, x)| (y - (x - 4096.5) * 2.0).abs() < 1e-4));
    assert!((statistics[0] - 4096.5).abs() < 1e-3 && (statistics[1] - 0.25).abs() < 1e-6, "{statistics:?}");
}

#[test]
fn threads_do_not_change_bits() {
    let extent = Channels { outer: 4, channels: 12, inner: 20_000 };
    let x: Vec<f32> = numbers(extent.numel(), 5);
    let run = |threads: usize| {
        let before = par::num_threads();
        par::set_num_threads(threads);
        let (mut statistics, mut sums) = (vec![0.0; 24], vec![0.0; 24]);
        let (mut y, mut gx, mut z) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
        let how = Standard { extent, eps: 0.1, weight: None, bias: None, relu: true };
        standardize(&x, &how, &mut statistics, &mut y);
        standardize_gradient(Some(&y), &x, &how, &statistics, &mut sums, &mut gx);
        affine(&x, numbers::<f32>(36, 6).as_chunks().0, extent, &mut z);
        par::set_num_threads(before);
        (statistics, y, sums, gx, z)
    };
    assert!(run(1) == run(3));
}

#[test]
fn nothing_is_fine() {
    check::<f32>(Channels { outer: 2, channels: 0, inner: 4 }, false, true, 0.0);
    for (outer, inner) in [(0, 4), (4, 0)] {
        let (extent, mut statistics) = (Channels { outer, channels: 1, inner }, [1.0; 2]);
        let how = Standard::<f32> { extent, eps: 0.1, weight: None, bias: None, relu: true };
        standardize(&[], &how, &mut statistics, &mut []);
        assert!(statistics[0].is_nan() && statistics[1].is_nan());
        let mut sums = [1.0; 2];
        standardize_gradient(Some(&[]), &[], &how, &statistics, &mut sums, &mut []);
        assert_eq!(sums, [0.0; 2]);
    }
}
