//! Folds: the loops of the reductions that keep one number for each result.

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
    // The order does not matter to integers.
    if x.len() <= LANES / 2 || !T::FLOAT {
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

/// The folds from `start` on.
struct Folds<'a, T, F: Fold<T>> {
    extent: Extent,
    x: &'a [T],
    centre: Option<&'a [T]>,
    start: usize,
    kept: &'a mut [F::Kept],
}

impl<T: Number, F: Fold<T>> Loops for Folds<'_, T, F> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Folds { extent: Extent { n, inner, .. }, x, centre, start, kept } = self;
        if inner == 1 {
            for (i, kept) in kept.iter_mut().enumerate() {
                let at = start + i;
                let centre = centre.map_or(T::ZERO, |c| c[at]);
                *kept = run::<T, F>(&x[at * n..(at + 1) * n], centre);
            }
            return;
        }
        let mut done = 0;
        while done < kept.len() {
            let (o, i) = ((start + done) / inner, (start + done) % inner);
            let width = (inner - i).min(kept.len() - done);
            let centre = centre.map(|c| &c[start + done..start + done + width]);
            let x = &x[(o * n * inner + i).min(x.len())..];
            columns::<T, F>(x, n, inner, &mut kept[done..done + width], centre);
            done += width;
        }
    }
}

/// The results from `start` on, each folded in one go, as many at a time as there is room for.
fn whole<T: Number, F: Fold<T>>(
    extent: Extent,
    x: &[T],
    centre: Option<&[T]>,
    mut start: usize,
    room: &mut [F::Kept],
    mut y: &mut [T],
) {
    let inner = extent.inner;
    while !y.is_empty() {
        // To the end of a group.
        let most = if inner > room.len() {
            room.len().min(inner - start % inner)
        } else {
            room.len() - (start + room.len()) % inner
        };
        let (now, later) = y.split_at_mut(most.min(y.len()));
        let kept = &mut room[..now.len()];
        vectorised::<T, _>(Folds::<T, F> { extent, x, centre, start, kept });
        now.iter_mut().zip(kept).for_each(|(y, kept)| *y = F::end(*kept));
        (start, y) = (start + now.len(), later);
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
            if inner == 1 {
                whole::<T, F>(extent, x, centre, i * chunk, &mut [F::START; LANES], y);
            } else {
                whole::<T, F>(extent, x, centre, i * chunk, &mut [F::START; COLUMNS], y);
            }
        });
        return;
    }
    let mut kept = vec![F::START; outer * pieces * inner];
    par::for_each_chunk(&mut kept, inner, WORK * rows * inner, |i, kept| {
        let (o, piece) = (i / pieces, i % pieces);
        let part = (o * n + piece * rows) * inner..(o * n + ((piece + 1) * rows).min(n)) * inner;
        let centre = centre.map(|c| &c[o * inner..(o + 1) * inner]);
        let extent = Extent { outer: 1, n: part.len() / inner, inner };
        vectorised::<T, _>(Folds::<T, F> { extent, x: &x[part], centre, start: 0, kept });
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
