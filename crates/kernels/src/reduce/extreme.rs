//! Extremes with their positions.

use super::Extent;
use super::fold::{self, Largest, Smallest};
use crate::element::{Number, compiled_here};
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

/// Columns that are searched together.
const COLUMNS: usize = 256;

/// Rows of at least this length are searched in two passes: for the value, then for its place.
const LONG: usize = 48;

compiled_here! {
    trait ExtremeKernels for f32, f64, i64, u8 = {
        fn max_with_index(x: &[Self], outer: usize, n: usize, inner: usize, values: &mut [Self], index: &mut [i64]) = max_with_index_of;
        fn min_with_index(x: &[Self], outer: usize, n: usize, inner: usize, values: &mut [Self], index: &mut [i64]) = min_with_index_of;
    }
}

/// The largest element along the middle axis and its position: the first of several, and the first NaN if there is one.
///
/// # Panics
/// A slice has another length than the extent says, or `n` is 0.
pub fn max_with_index<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, values: &mut [T], index: &mut [i64]) {
    <T as ExtremeKernels>::max_with_index(x, outer, n, inner, values, index);
}

fn max_with_index_of<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, values: &mut [T], index: &mut [i64]) {
    search::<T, true>(x, Extent::new(outer, n, inner, x.len(), values.len()), values, index);
}

/// The smallest element along the middle axis and its position: the first of several, and the first NaN if there is one.
///
/// # Panics
/// A slice has another length than the extent says, or `n` is 0.
pub fn min_with_index<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, values: &mut [T], index: &mut [i64]) {
    <T as ExtremeKernels>::min_with_index(x, outer, n, inner, values, index);
}

fn min_with_index_of<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, values: &mut [T], index: &mut [i64]) {
    search::<T, false>(x, Extent::new(outer, n, inner, x.len(), values.len()), values, index);
}

fn search<T: Number, const MAX: bool>(x: &[T], extent: Extent, values: &mut [T], index: &mut [i64]) {
    assert_eq!(index.len(), values.len(), "an index for each value");
    assert!(extent.n > 0 || values.is_empty(), "an empty axis has no extreme");
    let chunk = (16 * 1024 / extent.n.max(1)).max(64);
    let work = 12 * extent.n * chunk.min(values.len());
    par::for_each_chunk2(values, chunk, index, chunk, work, |i, values, index| {
        vectorised::<T, _>(Search::<T, MAX> { x, extent, start: i * chunk, values, index });
    });
}

/// The results from `start` on.
struct Search<'a, T, const MAX: bool> {
    x: &'a [T],
    extent: Extent,
    start: usize,
    values: &'a mut [T],
    index: &'a mut [i64],
}

/// Whether `v`, which comes later, takes the place of `best`.
#[inline(always)]
fn beats<T: Number, const MAX: bool>(v: T, best: T) -> bool {
    let better = if MAX { v > best } else { v < best };
    !best.nan() & (better | v.nan())
}

impl<T: Number, const MAX: bool> Loops for Search<'_, T, MAX> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Search { x, extent: Extent { n, inner, .. }, start, values, index } = self;
        if inner == 1 {
            for (i, (value, index)) in values.iter_mut().zip(index).enumerate() {
                let x = &x[(start + i) * n..(start + i + 1) * n];
                let (best, place) = if n < LONG { short::<T, MAX>(x) } else { long::<T, MAX>(x) };
                (*value, *index) = (best, place as i64);
            }
            return;
        }
        let mut done = 0;
        while done < values.len() {
            let (o, i) = ((start + done) / inner, (start + done) % inner);
            let width = (inner - i).min(values.len() - done).min(COLUMNS);
            let (values, index) = (&mut values[done..done + width], &mut index[done..done + width]);
            let x = &x[o * n * inner + i..];
            values.copy_from_slice(&x[..width]);
            index.fill(0);
            for (k, row) in x.chunks(inner).enumerate().take(n).skip(1) {
                for ((value, index), &v) in values.iter_mut().zip(index.iter_mut()).zip(&row[..width]) {
                    let wins = beats::<T, MAX>(v, *value);
                    *value = if wins { v } else { *value };
                    *index = if wins { k as i64 } else { *index };
                }
            }
            done += width;
        }
    }
}

/// One pass over a few elements.
#[inline(always)]
fn short<T: Number, const MAX: bool>(x: &[T]) -> (T, usize) {
    let (mut best, mut place) = (x[0], 0);
    for (k, &v) in x.iter().enumerate().skip(1) {
        if beats::<T, MAX>(v, best) {
            (best, place) = (v, k);
        }
    }
    (best, place)
}

/// The value by a fold, then its first place, block by block.
#[inline(always)]
fn long<T: Number, const MAX: bool>(x: &[T]) -> (T, usize) {
    let best = if MAX { fold::run::<T, Largest>(x, T::ZERO) } else { fold::run::<T, Smallest>(x, T::ZERO) };
    let hit = |v: T| if best.nan() { v.nan() } else { v == best };
    let blocks = x.chunks(64);
    let before = blocks.clone().take_while(|b| !b.iter().fold(false, |any, &v| any | hit(v))).count();
    let place = 64 * before + x[64 * before..].iter().position(|&v| hit(v)).unwrap_or(0);
    (x[place], place)
}
