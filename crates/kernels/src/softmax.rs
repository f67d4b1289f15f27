//! Softmax and its logarithm over the middle axis of `[outer, n, inner]`.
//!
//! The plain loop: subtract the largest element, exponentiate, divide by the sum; for the logarithm subtract the logarithm
//! of the sum instead.

use crate::element::Float;
use crate::math::Stepwise;

/// `y[o, k, i] = exp(x[o, k, i] - m) / sum_k exp(x[o, k, i] - m)` with `m` the largest of the `x[o, .., i]`.
///
/// # Panics
/// A slice has not `outer * n * inner` elements.
pub fn softmax<T: Float>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    groups(x, outer, n, inner, y, |v, m, _, sum| (v - m).exp::<Stepwise>() / sum);
}

/// `y[o, k, i] = x[o, k, i] - m - ln(sum_k exp(x[o, k, i] - m))` with `m` the largest of the `x[o, .., i]`.
///
/// # Panics
/// A slice has not `outer * n * inner` elements.
pub fn log_softmax<T: Float>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    groups(x, outer, n, inner, y, |v, m, log, _| (v - m) - log);
}

/// Calls `f` for each element with the maximum, the logarithm of the sum and the sum of its group.
fn groups<T: Float>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T], f: impl Fn(T, T, T, T) -> T) {
    assert_eq!(x.len(), outer * n * inner, "the input has outer * n * inner elements");
    assert_eq!(x.len(), y.len(), "operand and result have the same length");
    for o in 0..outer {
        for i in 0..inner {
            let at = |k: usize| (o * n + k) * inner + i;
            let m = (0..n).fold(T::LOWEST, |m, k| if m > x[at(k)] || m.nan() { m } else { x[at(k)] });
            let sum = (0..n).fold(0.0, |s, k| s + (x[at(k)] - m).exp::<Stepwise>().widen());
            let log = T::narrow(libm::log(sum));
            for k in 0..n {
                y[at(k)] = f(x[at(k)], m, log, T::narrow(sum));
            }
        }
    }
}
