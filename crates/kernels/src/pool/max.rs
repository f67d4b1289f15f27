//! Max-pooling.

use super::{Frame, PoolGeometry, halve, planes_per_chunk};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

/// The largest element of each window and its position in the plane: ties give the first one, NaN wins (the last of
/// several), and a window with nothing but minus infinity, or nothing at all, gives minus infinity.
///
/// # Panics
/// A slice has another length than the geometry says, or kernel, stride or dilation is 0.
pub fn max_pool2d<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    geo.check(x.len(), y.len());
    assert_eq!(index.len(), y.len(), "an index for each output");
    let (plane, out) = geo.plane();
    let chunk = planes_per_chunk(plane);
    let work = chunk.min(geo.planes) * (12 * plane + 4 * geo.kernel_h * geo.kernel_w * out);
    par::for_each_chunk2(y, chunk * out, index, chunk * out, work, |i, y, index| {
        vectorised(Planes { geo, x: &x[i * chunk * plane..], y, index });
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
        // Places within a window are counted in 32 bits.
        let Some(frame) = Frame::new(geo).filter(|_| plane <= i32::MAX as usize) else {
            for (x, (y, index)) in x.chunks_exact(plane).zip(outputs) {
                for (at, (y, index)) in y.iter_mut().zip(index).enumerate() {
                    (*y, *index) = one(geo, x, at / geo.out_w, at % geo.out_w);
                }
            }
            return;
        };
        let (mut framed, mut best) = (frame.buffer(T::LOWEST), Buffer::filled(frame.columns, T::LOWEST));
        let (framed, best) = (framed.make_mut(), best.make_mut());
        let mut place = vec![0i32; frame.columns];
        let small = (geo.kernel_h, geo.kernel_w, geo.stride.1, geo.dilation) == (2, 2, 2, (1, 1));
        let mut across = Across::new(geo, &frame, !small);
        for (x, (y, index)) in x.chunks_exact(plane).zip(outputs) {
            let source = frame.source(geo, x, framed);
            if !small {
                across.run(geo, source);
            }
            let rows = y.chunks_exact_mut(geo.out_w).zip(index.chunks_exact_mut(geo.out_w));
            for (oh, (y, index)) in rows.enumerate() {
                if small {
                    pairs(&source[oh * geo.stride.0 * frame.pitch..], frame.pitch, geo.in_w, best, &mut place);
                } else {
                    across.down(geo, oh, best, &mut place);
                }
                y.copy_from_slice(&best[..geo.out_w]);
                let start = (oh * geo.stride.0) as i64 - geo.padding.0 as i64;
                let start = start * geo.in_w as i64 - geo.padding.1 as i64;
                for (ow, (index, &place)) in index.iter_mut().zip(&place).enumerate() {
                    *index = start + (ow * geo.stride.1) as i64 + i64::from(place);
                }
                // The frame is minus infinity: where that is the result, the place may lie outside.
                if y.iter().fold(false, |any, &v| any | (v == T::LOWEST)) {
                    for (ow, (y, index)) in y.iter_mut().zip(index).enumerate().filter(|(_, (v, _))| **v == T::LOWEST) {
                        (*y, *index) = one(geo, x, oh, ow);
                    }
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

/// A row of windows of 2x2 side by side; `x` starts at the first element of the first one.
#[inline(always)]
fn pairs<T: Float>(x: &[T], pitch: usize, width: usize, best: &mut [T], place: &mut [i32]) {
    assert!(x.len() >= pitch + 2 * best.len() && place.len() == best.len());
    // SAFETY: the largest offset is pitch + 2 * best.len() - 1.
    let at = |offset: usize| unsafe { *x.get_unchecked(offset) };
    for (j, (best, place)) in best.iter_mut().zip(place).enumerate() {
        let (mut top, mut tap) = (at(2 * j), 0);
        for h in 0..2 {
            for w in 0..2 {
                let v = at(h * pitch + 2 * j + w);
                let wins = (v > top) | v.nan();
                top = if wins { v } else { top };
                tap = if wins { (h * width + w) as i32 } else { tap };
            }
        }
        (*best, *place) = (top, tap);
    }
}

/// The maxima of the rows of all windows, and their columns within the windows; the maximum of a window is the first largest
/// (or the last NaN) of those. They are found for the whole framed plane in one go, as if it were one long row.
struct Across<T: Float> {
    best: Buffer<T>,
    place: Vec<i32>,
    /// Maxima from row to row.
    pitch: usize,
}

impl<T: Float> Across<T> {
    fn new(geo: &PoolGeometry, frame: &Frame, needed: bool) -> Across<T> {
        let pitch = frame.pitch / geo.stride.1;
        let len = if needed { (frame.height - 1) * pitch + frame.columns } else { 0 };
        Across { best: Buffer::filled(len, T::LOWEST), place: vec![0; len], pitch }
    }

    /// Finds the maxima.
    #[inline(always)]
    fn run(&mut self, geo: &PoolGeometry, x: &[T]) {
        let (best, place) = (self.best.make_mut(), &mut self.place[..]);
        let taps = (geo.kernel_w, geo.dilation.1);
        match geo.stride.1 {
            1 => row_maxima::<T, 1>(x, taps, 1, best, place),
            2 => row_maxima::<T, 2>(x, taps, 2, best, place),
            stride => row_maxima::<T, 0>(x, taps, stride, best, place),
        }
    }

    /// The maxima of a row of windows and their places.
    #[inline(always)]
    fn down(&self, geo: &PoolGeometry, oh: usize, best: &mut [T], place: &mut [i32]) {
        let columns = best.len();
        let at = |h: usize| (oh * geo.stride.0 + h * geo.dilation.0) * self.pitch;
        best.copy_from_slice(&self.best[at(0)..at(0) + columns]);
        place.copy_from_slice(&self.place[at(0)..at(0) + columns]);
        for h in 1..geo.kernel_h {
            let below = (h * geo.dilation.0 * geo.in_w) as i32;
            let (values, taps) = (&self.best[at(h)..at(h) + columns], &self.place[at(h)..at(h) + columns]);
            for (((best, place), &v), &tap) in best.iter_mut().zip(place.iter_mut()).zip(values).zip(taps) {
                let wins = (v > *best) | v.nan();
                *best = if wins { v } else { *best };
                *place = if wins { below + tap } else { *place };
            }
        }
    }
}

/// For each position at distance S (0: the given one) the maximum of `taps.0` elements at distance `taps.1`.
#[inline(always)]
fn row_maxima<T: Float, const S: usize>(
    x: &[T],
    taps: (usize, usize),
    stride: usize,
    best: &mut [T],
    place: &mut [i32],
) {
    let stride = if S == 0 { stride } else { S };
    best.fill(T::LOWEST);
    place.fill(0);
    for w in 0..taps.0 {
        let tap = w * taps.1;
        let x = &x[tap..tap + (best.len() - 1) * stride + 1];
        for (j, (best, place)) in best.iter_mut().zip(place.iter_mut()).enumerate() {
            // SAFETY: j is at most best.len() - 1.
            let v = unsafe { *x.get_unchecked(j * stride) };
            let wins = (v > *best) | v.nan();
            *best = if wins { v } else { *best };
            *place = if wins { tap as i32 } else { *place };
        }
    }
}
