//! Max-pooling.

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
        // Places within a window are counted in 32 bits.
        let Some(frame) = Frame::new(geo, 4).filter(|_| plane <= i32::MAX as usize) else {
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
        for (x, (y, index)) in x.chunks_exact(plane).zip(outputs) {
            let source = frame.source(geo, x, framed);
            maxima.across(geo, source);
            if maxima.flat {
                maxima.down(geo, 0);
            }
            let rows = y.chunks_exact_mut(geo.out_w).zip(index.chunks_exact_mut(geo.out_w));
            for (oh, (y, index)) in rows.enumerate() {
                let at = oh * geo.stride.0 * maxima.pitch;
                if !maxima.flat {
                    maxima.down(geo, at);
                }
                let at = if maxima.flat { at } else { 0 };
                let start = (oh * geo.stride.0) as i64 - geo.padding.0 as i64;
                let start = start * geo.in_w as i64 - geo.padding.1 as i64;
                let found = maxima.best[at..].iter().zip(&maxima.place[at..]);
                for (ow, ((y, index), (&best, &place))) in y.iter_mut().zip(index).zip(found).enumerate() {
                    *y = best;
                    *index = start + (ow * geo.stride.1) as i64 + i64::from(place);
                }
            }
            // The frame is minus infinity: where that is the result, the place may lie outside.
            if y.iter().fold(false, |any, &v| any | (v == T::LOWEST)) {
                for (at, (y, index)) in y.iter_mut().zip(index).enumerate().filter(|(_, (v, _))| **v == T::LOWEST) {
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

/// Maxima of windows in two steps: first those of the rows of all windows, with their columns within the windows, then of
/// each window the first largest (or the last NaN) of those. A framed plane is one long row for the first step, and
/// for the second one too if its rows are short.
struct Maxima<T: Float> {
    row_best: Buffer<T>,
    row_place: Vec<i32>,
    best: Buffer<T>,
    place: Vec<i32>,
    /// Maxima from row to row.
    pitch: usize,
    /// Whether the second step takes all rows at once, even those where no window starts.
    flat: bool,
}

impl<T: Float> Maxima<T> {
    fn new(geo: &PoolGeometry, frame: &Frame) -> Maxima<T> {
        let pitch = frame.pitch / geo.stride.1;
        let rows = (frame.height - 1) * pitch + frame.columns;
        let flat = geo.stride.0 == 1 || pitch * geo.stride.0 <= 128;
        let found = if flat { (geo.out_h - 1) * geo.stride.0 * pitch + frame.columns } else { frame.columns };
        Maxima {
            row_best: Buffer::filled(rows, T::LOWEST),
            row_place: vec![0; rows],
            best: Buffer::filled(found, T::LOWEST),
            place: vec![0; found],
            pitch,
            flat,
        }
    }

    /// The first step.
    #[inline(always)]
    fn across(&mut self, geo: &PoolGeometry, x: &[T]) {
        let (best, place) = (self.row_best.make_mut(), &mut self.row_place[..]);
        let taps = (geo.kernel_w, geo.dilation.1);
        match geo.stride.1 {
            1 => row_maxima::<T, 1>(x, taps, 1, best, place),
            2 => row_maxima::<T, 2>(x, taps, 2, best, place),
            stride => row_maxima::<T, 0>(x, taps, stride, best, place),
        }
    }

    /// The second step, for the windows from position `at` of the rows on.
    #[inline(always)]
    fn down(&mut self, geo: &PoolGeometry, at: usize) {
        let (best, place) = (self.best.make_mut(), &mut self.place[..]);
        let n = best.len();
        best.copy_from_slice(&self.row_best[at..at + n]);
        place.copy_from_slice(&self.row_place[at..at + n]);
        for h in 1..geo.kernel_h {
            let below = (h * geo.dilation.0 * geo.in_w) as i32;
            let at = at + h * geo.dilation.0 * self.pitch;
            let (values, taps) = (&self.row_best[at..at + n], &self.row_place[at..at + n]);
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
