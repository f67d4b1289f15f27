//! Softmax and its logarithm over the middle axis of `[outer, n, inner]`.
//!
//! The plain loop: subtract the largest element, exponentiate, divide by the sum; for the logarithm subtract the logarithm
//! of the sum instead.
//! The tricks: rows are short (ten classes, say), so the differences of many rows are written first and exponentiated in one
//! go; with `inner > 1` all columns of a group advance together. Sums are accumulated in double precision.

use crate::copy::copy_slice;
use crate::element::{Float, compiled_here};
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;
use crate::reduce::{largest, total};

/// Elements that are exponentiated in one go.
const BLOCK: usize = 1024;
/// Columns that advance together.
const COLUMNS: usize = 256;

compiled_here! {
    trait SoftmaxKernels for f32, f64 = {
        fn softmax(x: &[Self], outer: usize, n: usize, inner: usize, y: &mut [Self]) = softmax_of;
        fn log_softmax(x: &[Self], outer: usize, n: usize, inner: usize, y: &mut [Self]) = log_softmax_of;
    }
}

/// `y[o, k, i] = exp(x[o, k, i] - m) / sum_k exp(x[o, k, i] - m)` with `m` the largest of the `x[o, .., i]`.
///
/// # Panics
/// A slice has not `outer * n * inner` elements.
pub fn softmax<T: Float>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    <T as SoftmaxKernels>::softmax(x, outer, n, inner, y);
}

fn softmax_of<T: Float>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    groups(false, x, outer, n, inner, y);
}

/// `y[o, k, i] = x[o, k, i] - m - ln(sum_k exp(x[o, k, i] - m))` with `m` the largest of the `x[o, .., i]`.
///
/// # Panics
/// A slice has not `outer * n * inner` elements.
pub fn log_softmax<T: Float>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    <T as SoftmaxKernels>::log_softmax(x, outer, n, inner, y);
}

fn log_softmax_of<T: Float>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    groups(true, x, outer, n, inner, y);
}

fn groups<T: Float>(log: bool, x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    assert_eq!(x.len(), outer * n * inner, "the input has outer * n * inner elements");
    assert_eq!(x.len(), y.len(), "operand and result have the same length");
    let group = n * inner;
    if group == 0 {
        return;
    }
    let chunk = (8 * 1024 / group).max(1) * group;
    par::for_each_chunk(y, chunk, 60 * chunk.min(x.len()), |i, y| {
        let x = &x[i * chunk..i * chunk + y.len()];
        if inner == 1 {
            vectorised::<T, _>(Rows { log, x, n, y });
        } else {
            vectorised::<T, _>(Columns { log, x, n, inner, y });
        }
    });
}

/// The factor that turns exponentials into the softmax, or what is subtracted for its logarithm.
#[inline(always)]
fn norm<T: Float>(log: bool, sum: f64) -> T {
    T::real(if log { libm::log(sum) } else { 1.0 / sum })
}

/// `y` less the norm, in logarithms, or the exponentials times it.
#[inline(always)]
fn settle<T: Float>(log: bool, exponentials: &[T], norm: T, y: &mut [T]) {
    if log {
        y.iter_mut().for_each(|y| *y = *y - norm);
    } else {
        y.iter_mut().zip(exponentials).for_each(|(y, &e)| *y = e * norm);
    }
}

/// Groups of neighbours.
struct Rows<'a, T> {
    log: bool,
    x: &'a [T],
    n: usize,
    y: &'a mut [T],
}

impl<T: Float> Loops for Rows<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Rows { log, x, n, y } = self;
        let mut block = [T::ZERO; BLOCK];
        let rows = (BLOCK / n).max(1) * n;
        for (x, y) in x.chunks(rows).zip(y.chunks_mut(rows)) {
            for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
                let m = largest(x);
                x.iter().zip(y).for_each(|(&x, y)| *y = x - m);
            }
            let mut sum = 0.0;
            for y in y.chunks_mut(BLOCK) {
                let e = &mut block[..y.len()];
                e.iter_mut().zip(y.iter()).for_each(|(e, v)| *e = v.exp::<M>());
                if n > BLOCK {
                    sum += total(e);
                } else {
                    for (e, y) in e.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
                        settle(log, e, norm(log, total(e)), y);
                    }
                }
                if n > BLOCK && !log {
                    copy_slice(e, y);
                }
            }
            if n > BLOCK {
                let norm = norm(log, sum);
                y.iter_mut().for_each(|y| *y = if log { *y - norm } else { *y * norm });
            }
        }
    }
}

/// Groups whose elements are `inner` apart.
struct Columns<'a, T> {
    log: bool,
    x: &'a [T],
    n: usize,
    inner: usize,
    y: &'a mut [T],
}

impl<T: Float> Loops for Columns<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Columns { log, x, n, inner, y } = self;
        let group = n * inner;
        for (x, y) in x.chunks_exact(group).zip(y.chunks_exact_mut(group)) {
            for start in (0..inner).step_by(COLUMNS) {
                let width = COLUMNS.min(inner - start);
                let row = |k: usize| k * inner + start..k * inner + start + width;
                let (mut top, mut sums, mut norms) = ([T::LOWEST; COLUMNS], [0.0; COLUMNS], [T::ZERO; COLUMNS]);
                let (top, sums, norms) = (&mut top[..width], &mut sums[..width], &mut norms[..width]);
                for k in 0..n {
                    for (m, &v) in top.iter_mut().zip(&x[row(k)]) {
                        *m = if *m > v || m.nan() { *m } else { v };
                    }
                }
                for k in 0..n {
                    for (((y, &v), &m), sum) in
                        y[row(k)].iter_mut().zip(&x[row(k)]).zip(top.iter()).zip(sums.iter_mut())
                    {
                        let e = (v - m).exp::<M>();
                        *sum += e.widen();
                        *y = if log { v - m } else { e };
                    }
                }
                norms.iter_mut().zip(sums).for_each(|(factor, &mut sum)| *factor = norm(log, sum));
                for k in 0..n {
                    for (y, &norm) in y[row(k)].iter_mut().zip(norms.iter()) {
                        *y = if log { *y - norm } else { *y * norm };
                    }
                }
            }
        }
    }
}
