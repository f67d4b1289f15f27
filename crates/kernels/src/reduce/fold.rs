//! Folds: the loops of the reductions that keep one number for each result.

use std::marker::PhantomData;

use super::Extent;
use crate::element::{Element, Number};
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

/// Accumulators of a fold along a run of neighbours; a fixed number, so that the order does not depend on the machine.
const LANES: usize = 32;
/// Elements of one piece of work, and the longest fold that is not cut into pieces.
const PIECE: usize = 32 * 1024;
/// Columns that are folded together.
const COLUMNS: usize = 512;

/// What is done with the elements.
pub(super) trait Fold<T>: Copy + Send + Sync {
    /// What is kept while folding.
    type Kept: Element;
    /// The result of no elements.
    const START: Self::Kept;
    /// Takes in an element; `centre` belongs to the result.
    fn take(kept: Self::Kept, v: T, centre: T) -> Self::Kept;
    /// Joins two folds.
    fn join(a: Self::Kept, b: Self::Kept) -> Self::Kept;
    /// The result.
    fn end(kept: Self::Kept) -> T;
}

/// The fold of neighbours, in lanes.
#[inline(always)]
pub(super) fn run<T: Number, F: Fold<T>>(x: &[T], centre: T) -> F::Kept {
    if x.len() <= LANES / 2 {
        return x.iter().fold(F::START, |kept, &v| F::take(kept, v, centre));
    }
    let (whole, rest) = x.as_chunks::<LANES>();
    // These stay in registers: no index into them is variable.
    let mut steady = [F::START; LANES];
    for x in whole {
        for l in 0..LANES {
            steady[l] = F::take(steady[l], x[l], centre);
        }
    }
    let mut lanes = steady;
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = F::take(*lane, v, centre);
    }
    let mut n = LANES / 2;
    while n > 0 {
        for l in 0..n {
            lanes[l] = F::join(lanes[l], lanes[l + n]);
        }
        n /= 2;
    }
    lanes[0]
}

/// Folds `rows` rows of `x`, which are `pitch` apart, into the `kept` columns.
#[inline(always)]
fn columns<T: Number, F: Fold<T>>(x: &[T], rows: usize, pitch: usize, kept: &mut [F::Kept], centre: Option<&[T]>) {
    kept.fill(F::START);
    for row in x.chunks(pitch).take(rows) {
        let row = &row[..kept.len()];
        match centre {
            None => {
                for (kept, &v) in kept.iter_mut().zip(row) {
                    *kept = F::take(*kept, v, T::ZERO);
                }
            }
            Some(centre) => {
                for ((kept, &v), &c) in kept.iter_mut().zip(row).zip(centre) {
                    *kept = F::take(*kept, v, c);
                }
            }
        }
    }
}

/// The results from `start` on, each folded in one go.
struct Direct<'a, T, F> {
    fold: PhantomData<F>,
    extent: Extent,
    x: &'a [T],
    centre: Option<&'a [T]>,
    start: usize,
    y: &'a mut [T],
}

impl<T: Number, F: Fold<T>> Loops for Direct<'_, T, F> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Direct { extent: Extent { n, inner, .. }, x, centre, start, y, .. } = self;
        if inner == 1 {
            for (i, y) in y.iter_mut().enumerate() {
                let at = start + i;
                let centre = centre.map_or(T::ZERO, |c| c[at]);
                *y = F::end(run::<T, F>(&x[at * n..(at + 1) * n], centre));
            }
            return;
        }
        let mut kept = [F::START; COLUMNS];
        let mut done = 0;
        while done < y.len() {
            let (o, i) = ((start + done) / inner, (start + done) % inner);
            let width = (inner - i).min(y.len() - done).min(COLUMNS);
            let kept = &mut kept[..width];
            let centre = centre.map(|c| &c[start + done..start + done + width]);
            columns::<T, F>(&x[(o * n * inner + i).min(x.len())..], n, inner, kept, centre);
            for (y, &kept) in y[done..].iter_mut().zip(kept.iter()) {
                *y = F::end(kept);
            }
            done += width;
        }
    }
}

/// The fold of some rows of one group.
struct Partial<'a, T, F: Fold<T>> {
    x: &'a [T],
    inner: usize,
    centre: Option<&'a [T]>,
    kept: &'a mut [F::Kept],
}

impl<T: Number, F: Fold<T>> Loops for Partial<'_, T, F> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Partial { x, inner, centre, kept } = self;
        if inner == 1 {
            kept[0] = run::<T, F>(x, centre.map_or(T::ZERO, |c| c[0]));
        } else {
            columns::<T, F>(x, x.len() / inner, inner, kept, centre);
        }
    }
}

/// Folds the middle axis of `x` into `y`; `centre` has a number for each result.
///
/// Long folds are cut into pieces, which depend on the extent alone and are joined in order.
pub(super) fn fold<T: Number, F: Fold<T>>(extent: Extent, x: &[T], centre: Option<&[T]>, y: &mut [T]) {
    let Extent { outer, n, inner } = extent;
    if y.is_empty() {
        return;
    }
    let rows = (PIECE / inner.max(1)).max(64);
    let pieces = n.div_ceil(rows);
    // About two operations an element, at the speed of memory.
    const WORK: usize = 8;
    if pieces <= 1 {
        let chunk = (PIECE / n.max(1)).max(if inner == 1 { 1 } else { inner.min(COLUMNS) });
        par::for_each_chunk(y, chunk, WORK * n.max(1) * chunk.min(outer * inner), |i, y| {
            vectorised::<T, _>(Direct::<T, F> { fold: PhantomData, extent, x, centre, start: i * chunk, y });
        });
        return;
    }
    let mut kept = vec![F::START; outer * pieces * inner];
    par::for_each_chunk(&mut kept, inner, WORK * rows * inner, |i, kept| {
        let (o, piece) = (i / pieces, i % pieces);
        let part = (o * n + piece * rows) * inner..(o * n + ((piece + 1) * rows).min(n)) * inner;
        let centre = centre.map(|c| &c[o * inner..(o + 1) * inner]);
        vectorised::<T, _>(Partial::<T, F> { x: &x[part], inner, centre, kept });
    });
    for (o, y) in y.chunks_exact_mut(inner).enumerate() {
        for (i, y) in y.iter_mut().enumerate() {
            let parts = (0..pieces).map(|piece| kept[(o * pieces + piece) * inner + i]);
            *y = F::end(parts.fold(F::START, F::join));
        }
    }
}

/// Sums, in the wide type.
#[derive(Clone, Copy)]
pub(super) struct Sum;

impl<T: Number> Fold<T> for Sum {
    type Kept = T::Wide;
    const START: T::Wide = T::WIDE_ZERO;
    #[inline(always)]
    fn take(kept: T::Wide, v: T, _: T) -> T::Wide {
        T::wide_plus(kept, v.widen())
    }
    #[inline(always)]
    fn join(a: T::Wide, b: T::Wide) -> T::Wide {
        T::wide_plus(a, b)
    }
    #[inline(always)]
    fn end(kept: T::Wide) -> T {
        T::narrow(kept)
    }
}

/// Products, in the wide type.
#[derive(Clone, Copy)]
pub(super) struct Product;

impl<T: Number> Fold<T> for Product {
    type Kept = T::Wide;
    const START: T::Wide = T::WIDE_ONE;
    #[inline(always)]
    fn take(kept: T::Wide, v: T, _: T) -> T::Wide {
        T::wide_times(kept, v.widen())
    }
    #[inline(always)]
    fn join(a: T::Wide, b: T::Wide) -> T::Wide {
        T::wide_times(a, b)
    }
    #[inline(always)]
    fn end(kept: T::Wide) -> T {
        T::narrow(kept)
    }
}

/// Squared distances from the centre, summed in the wide type.
#[derive(Clone, Copy)]
pub(super) struct Squares;

impl<T: Number> Fold<T> for Squares {
    type Kept = T::Wide;
    const START: T::Wide = T::WIDE_ZERO;
    #[inline(always)]
    fn take(kept: T::Wide, v: T, centre: T) -> T::Wide {
        let d = v.minus(centre).widen();
        T::wide_plus(kept, T::wide_times(d, d))
    }
    #[inline(always)]
    fn join(a: T::Wide, b: T::Wide) -> T::Wide {
        T::wide_plus(a, b)
    }
    #[inline(always)]
    fn end(kept: T::Wide) -> T {
        T::narrow(kept)
    }
}

/// The largest element; NaN if there is one.
#[derive(Clone, Copy)]
pub(super) struct Largest;

impl<T: Number> Fold<T> for Largest {
    type Kept = T;
    const START: T = T::LOWEST;
    #[inline(always)]
    fn take(kept: T, v: T, _: T) -> T {
        if kept > v || kept.nan() { kept } else { v }
    }
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        if a > b || a.nan() { a } else { b }
    }
    #[inline(always)]
    fn end(kept: T) -> T {
        kept
    }
}

/// The smallest element; NaN if there is one.
#[derive(Clone, Copy)]
pub(super) struct Smallest;

impl<T: Number> Fold<T> for Smallest {
    type Kept = T;
    const START: T = T::HIGHEST;
    #[inline(always)]
    fn take(kept: T, v: T, _: T) -> T {
        if kept < v || kept.nan() { kept } else { v }
    }
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        if a < b || a.nan() { a } else { b }
    }
    #[inline(always)]
    fn end(kept: T) -> T {
        kept
    }
}
