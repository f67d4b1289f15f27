//! Reductions over the middle axis of `[outer, n, inner]`, giving `[outer, inner]`.
//!
//! The plain loop: for each `o` and `i`, fold `x[o, 0..n, i]`.
//! The tricks: sums of floats are accumulated in double precision, in a fixed number of lanes and in a fixed order, so
//! the result is the same for any instruction set and any number of threads, and more accurate than pairwise summation.
//! With `inner > 1` whole rows are folded into a row of accumulators, so memory is read in order. Long folds are cut into
//! pieces for the threads; where is decided by the extent alone.

mod extreme;
mod fold;

use crate::element::{Float, Number, compiled_here};
use crate::par;
use fold::{Largest, Product, Smallest, Squares, Sum, fold};

pub use crate::softmax::{log_softmax, softmax};
pub use extreme::{ExtremeKernels, max_with_index, min_with_index};

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
}

compiled_here! {
    trait FoldKernels for f32, f64, i64, u8 = {
        fn sum(x: &[Self], outer: usize, n: usize, inner: usize, y: &mut [Self]) = sum_of;
        fn prod(x: &[Self], outer: usize, n: usize, inner: usize, y: &mut [Self]) = prod_of;
        fn amax(x: &[Self], outer: usize, n: usize, inner: usize, y: &mut [Self]) = amax_of;
        fn amin(x: &[Self], outer: usize, n: usize, inner: usize, y: &mut [Self]) = amin_of;
        fn cumsum(x: &[Self], outer: usize, n: usize, inner: usize, y: &mut [Self]) = cumsum_of;
    }
}

/// The sum over the middle axis; 0 if it is empty.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn sum<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    <T as FoldKernels>::sum(x, outer, n, inner, y);
}

fn sum_of<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    fold::<T, Sum>(Extent::new(outer, n, inner, x.len(), y.len()), x, None, y);
}

/// The product over the middle axis; 1 if it is empty. Products of floats overflow only if the result does.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn prod<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    <T as FoldKernels>::prod(x, outer, n, inner, y);
}

fn prod_of<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    fold::<T, Product>(Extent::new(outer, n, inner, x.len(), y.len()), x, None, y);
}

/// The largest element along the middle axis; NaN if there is one, minus infinity (the lowest integer) if it is empty.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn amax<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    <T as FoldKernels>::amax(x, outer, n, inner, y);
}

fn amax_of<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    fold::<T, Largest>(Extent::new(outer, n, inner, x.len(), y.len()), x, None, y);
}

/// The smallest element along the middle axis; NaN if there is one, infinity (the highest integer) if it is empty.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn amin<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    <T as FoldKernels>::amin(x, outer, n, inner, y);
}

fn amin_of<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    fold::<T, Smallest>(Extent::new(outer, n, inner, x.len(), y.len()), x, None, y);
}

compiled_here! {
    trait SquaresKernels for f32, f64 = {
        fn sum_squares_about(x: &[Self], mean: &[Self], outer: usize, n: usize, inner: usize, y: &mut [Self]) = sum_squares_about_of;
    }
}

/// The sum of squared distances from a given mean: `y[o, i] = sum_k (x[o, k, i] - mean[o, i])^2`.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn sum_squares_about<T: Float>(x: &[T], mean: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    <T as SquaresKernels>::sum_squares_about(x, mean, outer, n, inner, y);
}

fn sum_squares_about_of<T: Float>(x: &[T], mean: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    assert_eq!(mean.len(), y.len(), "a mean for each result");
    fold::<T, Squares>(Extent::new(outer, n, inner, x.len(), y.len()), x, Some(mean), y);
}

/// The running sums along the middle axis, in the shape of the input.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn cumsum<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    <T as FoldKernels>::cumsum(x, outer, n, inner, y);
}

fn cumsum_of<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    Extent::new(outer, n, inner, x.len(), outer * inner);
    assert_eq!(y.len(), x.len(), "the result has as many elements as the input");
    par::for_each_chunk(y, n * inner, 8 * n * inner, |o, y| {
        let x = &x[o * n * inner..(o + 1) * n * inner];
        for i in 0..inner {
            let mut s = T::WIDE_ZERO;
            for (y, v) in y[i..].iter_mut().step_by(inner).zip(x[i..].iter().step_by(inner)) {
                s = T::wide_plus(s, v.widen());
                *y = T::narrow(s);
            }
        }
    });
}

/// The fold of neighbours for the softmax: their largest element.
#[inline(always)]
pub(crate) fn largest<T: Number>(x: &[T]) -> T {
    fold::run::<T, Largest>(x, T::ZERO)
}

/// The fold of neighbours for the softmax: their sum.
#[inline(always)]
pub(crate) fn total<T: Float>(x: &[T]) -> f64 {
    fold::run::<T, Sum>(x, T::ZERO)
}
