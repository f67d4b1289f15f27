//! Twins of the reductions.

use crate::element::{Float, Number};

/// The elements that are folded into result `at`.
fn group<T: Copy>(x: &[T], n: usize, inner: usize, at: usize) -> Vec<T> {
    (0..n).map(|k| x[(at / inner * n + k) * inner + at % inner]).collect()
}

/// Folds each group with `f`.
pub fn fold<T: Copy, U>(x: &[T], n: usize, inner: usize, y: &mut [U], f: impl Fn(&[T]) -> U) {
    for (at, y) in y.iter_mut().enumerate() {
        *y = f(&group(x, n, inner, at));
    }
}

/// Twin of [`crate::reduce::sum`] for floats, in double precision.
pub fn sum<T: Float>(x: &[T], n: usize, inner: usize, y: &mut [T]) {
    fold(x, n, inner, y, |g| T::real(g.iter().map(|v| v.f()).sum()));
}

/// The first position of the element that `beats` all others, or of the first NaN.
pub fn extreme<T: Number>(g: &[T], beats: impl Fn(T, T) -> bool) -> usize {
    let best = |a: usize, b: usize| if beats(g[b], g[a]) { b } else { a };
    g.iter().position(|v| v.nan()).unwrap_or_else(|| (0..g.len()).fold(0, best))
}

/// Twin of [`crate::reduce::softmax`] for one group, in double precision.
pub fn softmax(g: &[f64]) -> Vec<f64> {
    let m = g.iter().fold(f64::NEG_INFINITY, |m, &v| if v > m || v.is_nan() { v } else { m });
    let e: Vec<f64> = g.iter().map(|v| libm::exp(v - m)).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}
