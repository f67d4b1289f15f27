//! Windows of 2x2 side by side that cover planes with an even number of rows and columns: the usual pooling of small images.
//!
//! Rows are short there (5 or 14 outputs, say), so a loop for each of them would spend its time on the ends. Instead a block
//! of rows is taken as one long row: a window is computed at every even position, those that straddle two pairs of rows too,
//! and the useful half is copied out.

use super::PoolGeometry;
use super::far::{settle, stream};
use super::strip::put;
use crate::element::Float;

/// Input elements that are taken together.
pub(super) const BLOCK: usize = 2048;

/// Whether a geometry is of this kind.
pub(super) fn fits(geo: &PoolGeometry) -> bool {
    let windows = (geo.kernel_h, geo.kernel_w, geo.stride, geo.padding, geo.dilation);
    let even = (geo.in_h, geo.in_w) == (2 * geo.out_h, 2 * geo.out_w);
    windows == (2, 2, (2, 2), (0, 0), (1, 1)) && even && (1..=BLOCK / 2).contains(&geo.in_w)
}

/// Output rows of a block.
#[inline(always)]
pub(super) fn rows_per_block(geo: &PoolGeometry) -> usize {
    BLOCK / (2 * geo.in_w)
}

/// The windows at every even position of a block of rows: the pairs of their upper and lower elements.
#[inline(always)]
fn windows<T>(x: &[T], pitch: usize) -> impl ExactSizeIterator<Item = (&[T; 2], &[T; 2])> {
    let upper = x[..x.len() - pitch].as_chunks::<2>().0;
    let lower = x[pitch..].as_chunks::<2>().0;
    upper.iter().zip(lower)
}

/// Maxima of whole planes, of which `x` may have more than `y`; NaN wins.
#[inline(always)]
pub(super) fn max<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T]) {
    let (rows, pitch) = (rows_per_block(geo), geo.in_w);
    let mut tops = [T::ZERO; BLOCK / 2];
    for (x, y) in x[..4 * y.len()].chunks(rows * 2 * pitch).zip(y.chunks_mut(rows * geo.out_w)) {
        for (top, (a, b)) in tops.iter_mut().zip(windows(x, pitch)) {
            let larger = |best: T, v: T| if (v > best) | v.nan() { v } else { best };
            *top = larger(larger(a[0], a[1]), larger(b[0], b[1]));
        }
        for (y, tops) in y.chunks_exact_mut(geo.out_w).zip(tops.chunks(pitch)) {
            put(&tops[..geo.out_w], y);
        }
    }
}

/// [`max`] with the places of the maxima in their windows.
#[inline(always)]
pub(super) fn max_taps<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], taps: &mut [u8]) {
    let (rows, pitch) = (rows_per_block(geo), geo.in_w);
    let (mut tops, mut found) = ([T::ZERO; BLOCK / 2], [0u8; BLOCK / 2]);
    let x = &x[..4 * y.len()];
    let outputs = y.chunks_mut(rows * geo.out_w).zip(taps.chunks_mut(rows * geo.out_w));
    for (x, (y, taps)) in x.chunks(rows * 2 * pitch).zip(outputs) {
        for ((top, tap), (a, b)) in tops.iter_mut().zip(&mut found).zip(windows(x, pitch)) {
            let (mut best, mut place) = (a[0], 0);
            for (v, at) in [(a[1], 1), (b[0], 2), (b[1], 3)] {
                let wins = (v > best) | v.nan();
                best = if wins { v } else { best };
                place = if wins { at } else { place };
            }
            (*top, *tap) = (best, place);
        }
        for (row, (y, taps)) in y.chunks_exact_mut(geo.out_w).zip(taps.chunks_exact_mut(geo.out_w)).enumerate() {
            put(&tops[row * pitch..][..geo.out_w], y);
            put(&found[row * pitch..][..geo.out_w], taps);
        }
    }
}

/// [`max`] with the places of the maxima in their planes.
#[inline(always)]
pub(super) fn max_index<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    let mut taps = [0; BLOCK / 2];
    let rows = rows_per_block(geo);
    let outputs = y.chunks_mut(rows * geo.out_w).zip(index.chunks_mut(rows * geo.out_w));
    for (block, (x, (y, index))) in x.chunks(rows * 2 * geo.in_w).zip(outputs).enumerate() {
        let taps = &mut taps[..y.len()];
        max_taps(geo, x, y, taps);
        for (row, (index, taps)) in index.chunks_exact_mut(geo.out_w).zip(taps.chunks_exact(geo.out_w)).enumerate() {
            let start = ((block * rows + row) % geo.out_h * 2 * geo.in_w) as i64;
            for (c, (index, &tap)) in index.iter_mut().zip(taps).enumerate() {
                *index = start + 2 * c as i64 + i64::from(tap / 2) * geo.in_w as i64 + i64::from(tap % 2);
            }
        }
    }
}

/// Average pooling of whole planes with this divisor; `x` may have more than `y`.
#[inline(always)]
pub(super) fn mean<T: Float>(geo: &PoolGeometry, divisor: T, x: &[T], y: &mut [T]) {
    let (rows, pitch) = (rows_per_block(geo), geo.in_w);
    let mut means = [T::ZERO; BLOCK / 2];
    for (x, y) in x[..4 * y.len()].chunks(rows * 2 * pitch).zip(y.chunks_mut(rows * geo.out_w)) {
        for (mean, (a, b)) in means.iter_mut().zip(windows(x, pitch)) {
            *mean = (a[0] + a[1] + b[0] + b[1]) / divisor;
        }
        for (y, means) in y.chunks_exact_mut(geo.out_w).zip(means.chunks(pitch)) {
            put(&means[..geo.out_w], y);
        }
    }
}

/// The adjoint of [`mean`]; `gy` may have more planes than `gx`, which is written past the cache if it is `far`.
#[inline(always)]
pub(super) fn mean_grad<T: Float>(geo: &PoolGeometry, divisor: T, gy: &[T], gx: &mut [T], far: bool) {
    let (rows, pitch) = (rows_per_block(geo), geo.in_w);
    let (mut pairs, mut block) = ([[T::ZERO; 2]; BLOCK / 4], [T::ZERO; BLOCK]);
    for (gx, gy) in gx.chunks_mut(rows * 2 * pitch).zip(gy.chunks(rows * geo.out_w)) {
        for (pair, &g) in pairs.iter_mut().zip(gy) {
            let part = g / divisor;
            *pair = [part, part];
        }
        let to = if far { &mut block[..gx.len()] } else { &mut *gx };
        for (gx, row) in to.chunks_exact_mut(2 * pitch).zip(pairs.as_flattened().chunks(pitch)) {
            let (upper, lower) = gx.split_at_mut(pitch);
            put(row, upper);
            put(row, lower);
        }
        if far {
            stream(&block[..gx.len()], gx);
        }
    }
    if far {
        settle();
    }
}
