//! Reductions over the middle axis of `[outer, n, inner]`, giving `[outer, inner]`.
//!
//! The plain loop: for each `o` and `i`, fold `x[o, 0..n, i]`.
//! The tricks: sums of floats are accumulated in double precision, in a fixed number of lanes and in a fixed order, so
//! the result is the same for any instruction set and any number of threads, and more accurate than pairwise summation.
//! With `inner > 1` whole rows are folded into the result, so memory is read in order.

use crate::element::{Float, Number};

pub use crate::softmax::{log_softmax, softmax};

/// The extent of a reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    outer: usize,
    n: usize,
    inner: usize,
}

impl Extent {
    /// Panics unless `x` has `outer * n * inner` elements and the result `outer * inner`.
    fn new(outer: usize, n: usize, inner: usize, x: usize, y: usize) -> Extent {
        assert_eq!(x, outer * n * inner, "the input has outer * n * inner elements");
        assert_eq!(y, outer * inner, "the result has outer * inner elements");
        Extent { outer, n, inner }
    }

    /// Calls `f` with the position in the result and the values of each fold.
    fn each<'a, T>(self, x: &'a [T], mut f: impl FnMut(usize, std::iter::StepBy<std::slice::Iter<'a, T>>)) {
        for o in 0..self.outer {
            let x = &x[o * self.n * self.inner..(o + 1) * self.n * self.inner];
            for i in 0..self.inner {
                f(o * self.inner + i, x[i.min(x.len())..].iter().step_by(self.inner));
            }
        }
    }
}

/// The sum over the middle axis; 0 if it is empty.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn sum<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    Extent::new(outer, n, inner, x.len(), y.len())
        .each(x, |at, x| y[at] = T::narrow(x.fold(T::WIDE_ZERO, |s, &v| T::wide_plus(s, v.widen()))));
}

/// The product over the middle axis; 1 if it is empty.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn prod<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    Extent::new(outer, n, inner, x.len(), y.len())
        .each(x, |at, x| y[at] = T::narrow(x.fold(T::WIDE_ONE, |s, &v| T::wide_times(s, v.widen()))));
}

/// The largest element along the middle axis and its position: the first of several, and the first NaN if there is one.
///
/// # Panics
/// A slice has another length than the extent says, or `n` is 0.
pub fn max_with_index<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, values: &mut [T], index: &mut [i64]) {
    extreme(x, Extent::new(outer, n, inner, x.len(), values.len()), values, index, |v, best| v > best);
}

/// The smallest element along the middle axis and its position: the first of several, and the first NaN if there is one.
///
/// # Panics
/// A slice has another length than the extent says, or `n` is 0.
pub fn min_with_index<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, values: &mut [T], index: &mut [i64]) {
    extreme(x, Extent::new(outer, n, inner, x.len(), values.len()), values, index, |v, best| v < best);
}

fn extreme<T: Number>(x: &[T], extent: Extent, values: &mut [T], index: &mut [i64], beats: impl Fn(T, T) -> bool) {
    assert_eq!(index.len(), values.len(), "an index for each value");
    assert!(extent.n > 0 || values.is_empty(), "an empty axis has no extreme");
    extent.each(x, |at, mut x| {
        let mut best = *x.next().expect("the axis is not empty");
        let mut place = 0;
        for (k, &v) in x.enumerate() {
            if !best.nan() && (beats(v, best) || v.nan()) {
                (best, place) = (v, k as i64 + 1);
            }
        }
        (values[at], index[at]) = (best, place);
    });
}

/// The largest element along the middle axis; NaN if there is one, minus infinity (the lowest integer) if it is empty.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn amax<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    Extent::new(outer, n, inner, x.len(), y.len())
        .each(x, |at, x| y[at] = x.fold(T::LOWEST, |m, &v| if m > v || m.nan() { m } else { v }));
}

/// The smallest element along the middle axis; NaN if there is one, infinity (the highest integer) if it is empty.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn amin<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    Extent::new(outer, n, inner, x.len(), y.len())
        .each(x, |at, x| y[at] = x.fold(T::HIGHEST, |m, &v| if m < v || m.nan() { m } else { v }));
}

/// The sum of squared distances from a given mean: `y[o, i] = sum_k (x[o, k, i] - mean[o, i])^2`.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn sum_squares_about<T: Float>(x: &[T], mean: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    assert_eq!(mean.len(), y.len(), "a mean for each result");
    Extent::new(outer, n, inner, x.len(), y.len()).each(x, |at, x| {
        let m = mean[at].widen();
        y[at] = T::narrow(x.fold(0.0, |s, &v| s + (v.widen() - m) * (v.widen() - m)));
    });
}

/// The running sums along the middle axis, in the shape of the input.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn cumsum<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    let extent = Extent::new(outer, n, inner, x.len(), outer * inner);
    assert_eq!(y.len(), x.len(), "the result has as many elements as the input");
    extent.each(x, |at, x| {
        let (start, mut s) = (at / inner * n * inner + at % inner, T::WIDE_ZERO);
        for (k, &v) in x.enumerate() {
            s = T::wide_plus(s, v.widen());
            y[start + k * inner] = T::narrow(s);
        }
    });
}
