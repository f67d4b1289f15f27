//! Reductions and softmax against their twins, on every instruction set, and the same for any number of threads.

use gabor_kernels::{isa, naive, par, reduce};

const EXTENTS: [(usize, usize, usize); 22] = [
    (0, 3, 2),
    (2, 0, 3),
    (2, 3, 0),
    (1, 1, 1),
    (3, 7, 1),
    (5, 10, 1),
    (2, 31, 1),
    (2, 32, 1),
    (2, 33, 1),
    (1, 47, 1),
    (3, 48, 1),
    (3, 1000, 1),
    (1, 1025, 1),
    (1, 100_001, 1),
    (2, 5, 3),
    (3, 4, 16),
    (2, 3, 17),
    (2, 9, 600),
    (1, 700, 70),
    (2, 2000, 33),
    (1, 3, 40_000),
    (7, 1, 5),
];

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 10_007) as f32 / 997.0 - 5.0).collect()
}

/// The numbers with NaN and infinities strewn in.
fn wild(n: usize) -> Vec<f32> {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    numbers(n).into_iter().enumerate().map(|(i, v)| if i % 41 == 9 { special[i / 41 % 4] } else { v.round() }).collect()
}

fn on_each_set(f: impl Fn()) {
    for &set in isa::available() {
        isa::with(set, &f);
    }
}

#[test]
fn sums_are_exact_to_the_last_place() {
    on_each_set(|| {
        for (outer, n, inner) in EXTENTS {
            let x = numbers(outer * n * inner);
            let (mut y, mut truth) = (vec![9.0; outer * inner], vec![0.0; outer * inner]);
            reduce::sum(&x, outer, n, inner, &mut y);
            naive::reduce::sum(&x, n, inner, &mut truth);
            for (y, t) in y.iter().zip(&truth) {
                assert!((y - t).abs() <= t.abs() * 1.2e-7, "[{outer}, {n}, {inner}]: {y}, not {t}");
            }
            let means: Vec<f32> = truth.iter().map(|t| t / n.max(1) as f32).collect();
            reduce::sum_squares_about(&x, &means, outer, n, inner, &mut y);
            for (at, y) in y.iter().enumerate() {
                let mut t = vec![0f64; outer * inner];
                naive::reduce::fold(&x, n, inner, &mut t, |g| {
                    g.iter().map(|&v| (f64::from(v) - f64::from(means[at])).powi(2)).sum()
                });
                assert!((f64::from(*y) - t[at]).abs() <= t[at] * 1e-6 + 1e-9);
                if at > 3 {
                    break;
                }
            }
        }
    });
}

#[test]
fn integer_sums_and_products_wrap() {
    let mut y = [0i64; 2];
    reduce::sum(&[i64::MAX, 1, 5, -6], 2, 2, 1, &mut y);
    assert_eq!(y, [i64::MIN, -1]);
    reduce::prod(&[i64::MAX, 2, 5, -6], 1, 2, 2, &mut y);
    assert_eq!(y, [i64::MAX.wrapping_mul(5), -12]);
    let mut y = [0f32];
    reduce::prod(&[1e30f32, 1e30, 1e-30, 1e-30], 1, 4, 1, &mut y);
    assert!((y[0] - 1.0).abs() < 1e-6);
    reduce::prod(&[0f32; 0], 1, 0, 1, &mut y);
    assert_eq!(y, [1.0]);
}

#[test]
fn extremes_are_the_first_and_nan_wins() {
    on_each_set(|| {
        for (outer, n, inner) in EXTENTS {
            let x = wild(outer * n * inner);
            let mut y = vec![0.0f32; outer * inner];
            let mut truth = vec![0.0f32; outer * inner];
            reduce::amax(&x, outer, n, inner, &mut y);
            let larger = |m: f32, v: f32| if m.is_nan() || v.is_nan() { f32::NAN } else { m.max(v) };
            naive::reduce::fold(&x, n, inner, &mut truth, |g| g.iter().fold(f32::NEG_INFINITY, |m, &v| larger(m, v)));
            assert!(y.iter().zip(&truth).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())));
            reduce::amin(&x, outer, n, inner, &mut y);
            let smaller = |m: f32, v: f32| if m.is_nan() || v.is_nan() { f32::NAN } else { m.min(v) };
            naive::reduce::fold(&x, n, inner, &mut truth, |g| g.iter().fold(f32::INFINITY, |m, &v| smaller(m, v)));
            assert!(y.iter().zip(&truth).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())));
            if n == 0 {
                continue;
            }
            let (mut index, mut place) = (vec![0i64; outer * inner], vec![0usize; outer * inner]);
            reduce::max_with_index(&x, outer, n, inner, &mut y, &mut index);
            naive::reduce::fold(&x, n, inner, &mut place, |g| naive::reduce::extreme(g, |a, b| a > b));
            naive::reduce::fold(&x, n, inner, &mut truth, |g| g[naive::reduce::extreme(g, |a, b| a > b)]);
            assert!(index.iter().zip(&place).all(|(&i, &p)| i == p as i64), "[{outer}, {n}, {inner}]");
            assert!(y.iter().zip(&truth).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())));
            reduce::min_with_index(&x, outer, n, inner, &mut y, &mut index);
            naive::reduce::fold(&x, n, inner, &mut place, |g| naive::reduce::extreme(g, |a, b| a < b));
            assert!(index.iter().zip(&place).all(|(&i, &p)| i == p as i64), "[{outer}, {n}, {inner}]");
        }
    });
}

#[test]
fn running_sums_end_with_the_sum() {
    for (outer, n, inner) in EXTENTS {
        let x: Vec<i64> = (0..outer * n * inner).map(|i| (i * i % 101) as i64 - 50).collect();
        let mut y = vec![0i64; x.len()];
        reduce::cumsum(&x, outer, n, inner, &mut y);
        for o in 0..outer {
            for i in 0..inner {
                let mut s = 0;
                for k in 0..n {
                    s += x[(o * n + k) * inner + i];
                    assert_eq!(y[(o * n + k) * inner + i], s);
                }
            }
        }
    }
}

#[test]
fn softmax_equals_its_definition() {
    on_each_set(|| {
        for (outer, n, inner) in EXTENTS {
            let x: Vec<f32> = numbers(outer * n * inner).iter().map(|v| v * 3.0).collect();
            let (mut y, mut log) = (vec![0.0f32; x.len()], vec![0.0f32; x.len()]);
            reduce::softmax(&x, outer, n, inner, &mut y);
            reduce::log_softmax(&x, outer, n, inner, &mut log);
            for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
                let at = |k: usize| (o * n + k) * inner + i;
                let group: Vec<f64> = (0..n).map(|k| f64::from(x[at(k)])).collect();
                for (k, t) in naive::reduce::softmax(&group).into_iter().enumerate() {
                    let (y, log) = (f64::from(y[at(k)]), f64::from(log[at(k)]));
                    assert!((y - t).abs() <= t * 4e-6, "[{outer}, {n}, {inner}]: {y}, not {t}");
                    assert!((log - t.ln()).abs() <= 1e-6 * t.ln().abs().max(10.0), "{log}, not {}", t.ln());
                }
            }
        }
    });
}

#[test]
fn softmax_of_extreme_rows() {
    let inf = f32::INFINITY;
    let x = [1e4f32, -1e4, 0.0, -inf, 0.0, -inf, inf, 0.0, 1.0, f32::NAN, 1.0, 2.0, -inf, -inf, -inf];
    let (mut y, mut log) = ([0.0; 15], [0.0; 15]);
    reduce::softmax(&x, 5, 3, 1, &mut y);
    reduce::log_softmax(&x, 5, 3, 1, &mut log);
    assert_eq!(y[..6], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    assert_eq!(log[..6], [0.0, -2e4, -1e4, -inf, 0.0, -inf]);
    assert!(y[9..].iter().chain(&log[9..]).all(|v| v.is_nan()));
    assert!(y[6].is_nan(), "inf - inf, as in PyTorch");
}

#[test]
fn threads_and_instruction_sets_do_not_change_the_bits_of_sums() {
    let n = 3_000_001;
    let x = numbers(n);
    let mut results = Vec::new();
    for threads in [1, 2, 3] {
        par::set_num_threads(threads);
        on_each_set(|| ());
        for &set in isa::available() {
            isa::with(set, || {
                let mut y = vec![0.0f32; 3001];
                reduce::sum(&x, 1, n, 1, &mut y[..1]);
                reduce::sum(&x[..3_000_000], 1, 1000, 3000, &mut y[1..]);
                results.push(y);
            });
        }
    }
    assert!(results.windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn softmax_does_not_depend_on_threads_nor_on_neighbours() {
    let x = numbers(100_000);
    let results = [1, 2, 3].map(|threads| {
        par::set_num_threads(threads);
        let mut y = vec![0.0f32; x.len()];
        reduce::softmax(&x, 10_000, 10, 1, &mut y);
        y
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
    let mut row = [0.0f32; 10];
    reduce::softmax(&x[70..80], 1, 10, 1, &mut row);
    assert_eq!(row, results[0][70..80]);
}
