//! Max-pooling.

use std::ops::Range;

use super::{Frame, PoolGeometry, halve, planes_per_chunk};
use crate::buffer::Buffer;
use crate::element::{Float, compiled_here};
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

compiled_here! {
    trait MaxKernels for f32, f64 = {
        fn max_pool2d(geo: &PoolGeometry, x: &[Self], y: &mut [Self], index: &mut [i64]) = max_pool2d_of;
    }
}

/// The largest element of each window and its position in the plane: ties give the first one, NaN wins (the last of
/// several), and a window with nothing but minus infinity, or nothing at all, gives minus infinity.
///
/// # Panics
/// A slice has another length than the geometry says, or kernel, stride or dilation is 0.
pub fn max_pool2d<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    <T as MaxKernels>::max_pool2d(geo, x, y, index);
}

fn max_pool2d_of<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    geo.check(x.len(), y.len());
    assert_eq!(index.len(), y.len(), "an index for each output");
    let (plane, out) = geo.plane();
    let chunk = planes_per_chunk(plane);
    let work = chunk.min(geo.planes) * (12 * plane + 4 * geo.kernel_h * geo.kernel_w * out);
    par::for_each_chunk2(y, chunk * out, index, chunk * out, work, |i, y, index| {
        vectorised::<T, _>(Planes { geo, x: &x[i * chunk * plane..], y, index });
    });
}

/// Some planes; `x` may have more.
struct Planes<'a, T> {
    geo: &'a PoolGeometry,
    x: &'a [T],
    y: &'a mut [T],
    index: &'a mut [i64],
}

impl<T: Float> Loops for Planes<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Planes { geo, x, y, index } = self;
        let (plane, out) = geo.plane();
        if halve::fits(geo) {
            return halve::max(geo, x, y, index);
        }
        let outputs = y.chunks_exact_mut(out).zip(index.chunks_exact_mut(out));
        // Places within a frame, of up to three planes and a little, are counted in 32 bits.
        let Some(frame) = Frame::new(geo, 4).filter(|_| plane <= i32::MAX as usize / 4) else {
            for (x, (y, index)) in x.chunks_exact(plane).zip(outputs) {
                for (at, (y, index)) in y.iter_mut().zip(index).enumerate() {
                    (*y, *index) = one(geo, x, at / geo.out_w, at % geo.out_w);
                }
            }
            return;
        };
        let mut framed = frame.buffer(T::LOWEST);
        let framed = framed.make_mut();
        let mut maxima = Maxima::new(geo, &frame);
        let (rows, per_row) = (maxima.rows, frame.pitch / geo.stride.1);
        for (x, (y, index)) in x.chunks_exact(plane).zip(outputs) {
            let source = frame.source(geo, x, framed);
            let blocks = y.chunks_mut(rows * geo.out_w).zip(index.chunks_mut(rows * geo.out_w));
            for (block, (y, index)) in blocks.enumerate() {
                let first = block * rows;
                maxima.down(geo, source, first..first + y.len() / geo.out_w);
                maxima.across(geo, y.len() / geo.out_w * per_row);
                let rows = y.chunks_exact_mut(geo.out_w).zip(index.chunks_exact_mut(geo.out_w));
                let found = maxima.best.chunks_exact(per_row).zip(maxima.place.chunks_exact(per_row));
                for ((row, (y, index)), (best, place)) in rows.enumerate().zip(found) {
                    y.copy_from_slice(&best[..geo.out_w]);
                    let start = ((first + row) * geo.stride.0) as i64 - geo.padding.0 as i64;
                    let start = start * geo.in_w as i64 - geo.padding.1 as i64;
                    for (ow, (index, &place)) in index.iter_mut().zip(place).enumerate() {
                        *index = start + (ow * geo.stride.1) as i64 + i64::from(place);
                    }
                }
            }
            // The frame is minus infinity: where that is the result, the place may lie outside. Of NaNs the last one counts.
            let odd = |v: T| (v == T::LOWEST) | v.nan();
            if y.iter().fold(false, |any, &v| any | odd(v)) {
                for (at, (y, index)) in y.iter_mut().zip(index).enumerate().filter(|(_, (v, _))| odd(**v)) {
                    (*y, *index) = one(geo, x, at / geo.out_w, at % geo.out_w);
                }
            }
        }
    }
}

/// One window.
#[inline(never)]
fn one<T: Float>(geo: &PoolGeometry, x: &[T], oh: usize, ow: usize) -> (T, i64) {
    let (rows, columns) = (geo.down().taps(oh), geo.across().taps(ow));
    let first = rows.clone().next().unwrap_or(0) * geo.in_w + columns.clone().next().unwrap_or(0);
    let (mut best, mut place) = (T::LOWEST, first);
    for h in rows {
        for w in columns.clone() {
            let v = x[h * geo.in_w + w];
            if v > best || v.nan() {
                (best, place) = (v, h * geo.in_w + w);
            }
        }
    }
    (best, place as i64)
}

/// Maxima of windows in two steps, for some rows of windows at a time: first those of the columns of a row of windows,
/// with the offsets of their rows, then of each window the largest of those, of equals the one that comes first in the plane.
/// The rows of windows follow each other without gaps for the second step, which takes all of them as one long row.
struct Maxima<T: Float> {
    /// Rows of windows at a time.
    rows: usize,
    column_best: Buffer<T>,
    column_place: Vec<i32>,
    best: Buffer<T>,
    place: Vec<i32>,
    pitch: usize,
}

impl<T: Float> Maxima<T> {
    fn new(geo: &PoolGeometry, frame: &Frame) -> Maxima<T> {
        let rows = (4096 / frame.pitch).clamp(1, geo.out_h);
        // The last windows of the long row reach beyond it.
        let columns = rows * frame.pitch + (geo.kernel_w - 1) * geo.dilation.1;
        let found = rows * (frame.pitch / geo.stride.1);
        Maxima {
            rows,
            column_best: Buffer::filled(columns, T::LOWEST),
            column_place: vec![0; columns],
            best: Buffer::filled(found, T::LOWEST),
            place: vec![0; found],
            pitch: frame.pitch,
        }
    }

    /// The first step, for these rows of windows.
    #[inline(always)]
    fn down(&mut self, geo: &PoolGeometry, x: &[T], rows: Range<usize>) {
        let best = self.column_best.make_mut().chunks_exact_mut(self.pitch);
        let columns = best.zip(self.column_place.chunks_exact_mut(self.pitch));
        let (pitch, below) = (self.pitch, (geo.dilation.0 * geo.in_w) as i32);
        for (oh, (best, place)) in rows.zip(columns) {
            let x = &x[oh * geo.stride.0 * pitch..];
            match geo.kernel_h {
                2 => column_maxima::<T, 2>(x, 2, geo.dilation.0 * pitch, below, best, place),
                3 => column_maxima::<T, 3>(x, 3, geo.dilation.0 * pitch, below, best, place),
                n => column_maxima::<T, 0>(x, n, geo.dilation.0 * pitch, below, best, place),
            }
        }
    }

    /// The second step, for so many windows.
    #[inline(always)]
    fn across(&mut self, geo: &PoolGeometry, windows: usize) {
        let (x, from) = (&self.column_best[..], &self.column_place[..]);
        let (best, place) = (&mut self.best.make_mut()[..windows], &mut self.place[..windows]);
        match geo.stride.1 {
            1 => row_maxima::<T, 1>(geo, x, from, best, place),
            2 => row_maxima::<T, 2>(geo, x, from, best, place),
            3 => row_maxima::<T, 3>(geo, x, from, best, place),
            _ => row_maxima::<T, 0>(geo, x, from, best, place),
        }
    }
}

/// For each column the maximum of `N` (0: `n`) elements at distance `step`, and `below` times its number.
#[inline(always)]
fn column_maxima<T: Float, const N: usize>(
    x: &[T],
    n: usize,
    step: usize,
    below: i32,
    best: &mut [T],
    place: &mut [i32],
) {
    if N == 0 {
        best.copy_from_slice(&x[..best.len()]);
        place.fill(0);
        for h in 1..n {
            let x = &x[h * step..][..best.len()];
            for ((best, place), &v) in best.iter_mut().zip(place.iter_mut()).zip(x) {
                let wins = (v > *best) | v.nan();
                *best = if wins { v } else { *best };
                *place = if wins { h as i32 * below } else { *place };
            }
        }
        return;
    }
    let x: [&[T]; N] = std::array::from_fn(|h| &x[h * step..][..best.len()]);
    for (c, (best, place)) in best.iter_mut().zip(place.iter_mut()).enumerate() {
        let (mut top, mut at) = (x[0][c], 0);
        for (h, x) in x.iter().enumerate().skip(1) {
            let wins = (x[c] > top) | x[c].nan();
            top = if wins { x[c] } else { top };
            at = if wins { h as i32 * below } else { at };
        }
        (*best, *place) = (top, at);
    }
}

/// For each position at distance S (0: the geometry's) the maximum of the columns of a window, with its place.
#[inline(always)]
fn row_maxima<T: Float, const S: usize>(geo: &PoolGeometry, x: &[T], from: &[i32], best: &mut [T], place: &mut [i32]) {
    let stride = if S == 0 { geo.stride.1 } else { S };
    for w in 0..geo.kernel_w {
        let tap = w * geo.dilation.1;
        let reach = tap..tap + (best.len() - 1) * stride + 1;
        let (x, from) = (&x[reach.clone()], &from[reach]);
        for (j, (best, place)) in best.iter_mut().zip(place.iter_mut()).enumerate() {
            // SAFETY: j is at most best.len() - 1.
            let (v, at) = unsafe { (*x.get_unchecked(j * stride), *from.get_unchecked(j * stride) + tap as i32) };
            let wins = (w == 0) | (v > *best) | ((v == *best) & (at < *place)) | v.nan();
            *best = if wins { v } else { *best };
            *place = if wins { at } else { *place };
        }
    }
}
