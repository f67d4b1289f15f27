//! Max-pooling.

use super::{Frame, PoolGeometry, planes_per_chunk};
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
        let (mut framed, mut best, mut place) =
            (frame.buffer(T::LOWEST), Buffer::filled(frame.columns, T::LOWEST), vec![0i32; frame.columns]);
        let (framed, best) = (framed.make_mut(), best.make_mut());
        for (x, (y, index)) in x.chunks_exact(plane).zip(outputs) {
            let source = frame.source(geo, x, framed);
            let rows = y.chunks_exact_mut(geo.out_w).zip(index.chunks_exact_mut(geo.out_w));
            for (oh, (y, index)) in rows.enumerate() {
                let from = &source[oh * geo.stride.0 * frame.pitch..];
                windows(geo, from, frame.pitch, best, &mut place);
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

/// A row of windows; `x` starts at the first element of the first one.
#[inline(always)]
fn windows<T: Float>(geo: &PoolGeometry, x: &[T], pitch: usize, best: &mut [T], place: &mut [i32]) {
    let plain = geo.dilation == (1, 1);
    match (geo.kernel_h, geo.kernel_w, geo.stride.1) {
        (2, 2, 2) if plain => window::<T, 2, 2>(x, pitch, geo.in_w, best, place),
        (3, 3, 2) if plain => window::<T, 3, 2>(x, pitch, geo.in_w, best, place),
        (3, 3, 1) if plain => window::<T, 3, 1>(x, pitch, geo.in_w, best, place),
        (_, _, 1) => taps::<T, 1>(geo, x, pitch, best, place),
        (_, _, 2) => taps::<T, 2>(geo, x, pitch, best, place),
        _ => taps::<T, 0>(geo, x, pitch, best, place),
    }
}

/// Square windows of side K at distance S, unrolled.
#[inline(always)]
fn window<T: Float, const K: usize, const S: usize>(
    x: &[T],
    pitch: usize,
    width: usize,
    best: &mut [T],
    place: &mut [i32],
) {
    assert!(x.len() >= (K - 1) * pitch + (best.len() - 1) * S + K && place.len() == best.len());
    // SAFETY: the largest offset is (K - 1) * pitch + (best.len() - 1) * S + K - 1.
    let at = |offset: usize| unsafe { *x.get_unchecked(offset) };
    for (j, (best, place)) in best.iter_mut().zip(place).enumerate() {
        let (mut top, mut tap) = (at(j * S), 0);
        for h in 0..K {
            for w in 0..K {
                let v = at(h * pitch + j * S + w);
                let wins = (v > top) | v.nan();
                top = if wins { v } else { top };
                tap = if wins { (h * width + w) as i32 } else { tap };
            }
        }
        (*best, *place) = (top, tap);
    }
}

/// Any windows at distance S (0: as the geometry says), one tap of all of them after the other.
#[inline(always)]
fn taps<T: Float, const S: usize>(geo: &PoolGeometry, x: &[T], pitch: usize, best: &mut [T], place: &mut [i32]) {
    let stride = if S == 0 { geo.stride.1 } else { S };
    best.fill(T::LOWEST);
    for (h, w) in (0..geo.kernel_h).flat_map(|h| (0..geo.kernel_w).map(move |w| (h, w))) {
        let (h, w) = (h * geo.dilation.0, w * geo.dilation.1);
        let tap = (h * geo.in_w + w) as i32;
        let x = &x[h * pitch + w..h * pitch + w + (best.len() - 1) * stride + 1];
        for (j, (best, place)) in best.iter_mut().zip(place.iter_mut()).enumerate() {
            // SAFETY: j is at most best.len() - 1.
            let v = unsafe { *x.get_unchecked(j * stride) };
            let wins = (v > *best) | v.nan();
            *best = if wins { v } else { *best };
            *place = if wins { tap } else { *place };
        }
    }
}
