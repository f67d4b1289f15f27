//! Max-pooling.

// Loops over constant ranges unroll; iterators over arrays of slices do not.
#![allow(clippy::needless_range_loop)]

use super::strip::{Strips, put};
use super::{PoolGeometry, halve, planes_per_chunk};
use crate::buffer::Buffer;
use crate::element::{Float, compiled_here};
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

compiled_here! {
    trait MaxKernels for f32, f64 = {
        fn max_pool2d(geo: &PoolGeometry, x: &[Self], y: &mut [Self], index: &mut [i64]) = max_pool2d_of;
        fn max_pool2d_taps(geo: &PoolGeometry, x: &[Self], y: &mut [Self], taps: &mut [u8]) = max_pool2d_taps_of;
        fn max_pool2d_values(geo: &PoolGeometry, x: &[Self], y: &mut [Self]) = max_pool2d_values_of;
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

/// [`max_pool2d`] with the position of each maximum in its window (`row * kernel_w + column`): an eighth of the bytes.
///
/// # Panics
/// As [`max_pool2d`]; or the positions do not suffice, see [`PoolGeometry::has_taps`].
pub fn max_pool2d_taps<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], taps: &mut [u8]) {
    <T as MaxKernels>::max_pool2d_taps(geo, x, y, taps);
}

/// [`max_pool2d`] without positions.
///
/// # Panics
/// As [`max_pool2d`].
pub fn max_pool2d_values<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T]) {
    <T as MaxKernels>::max_pool2d_values(geo, x, y);
}

fn max_pool2d_of<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    assert_eq!(index.len(), y.len(), "an index for each output");
    let (chunk, plane, out, work) = chunks(geo, x.len(), y.len());
    par::for_each_chunk2(y, chunk * out, index, chunk * out, work, |i, y, index| {
        vectorised::<T, _>(Planes { geo, x: &x[i * chunk * plane..], y, places: Places::Index(index) });
    });
}

fn max_pool2d_taps_of<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], taps: &mut [u8]) {
    assert_eq!(taps.len(), y.len(), "a tap for each output");
    assert!(geo.has_taps(), "taps say where each maximum is");
    let (chunk, plane, out, work) = chunks(geo, x.len(), y.len());
    par::for_each_chunk2(y, chunk * out, taps, chunk * out, work, |i, y, taps| {
        vectorised::<T, _>(Planes { geo, x: &x[i * chunk * plane..], y, places: Places::Taps(taps) });
    });
}

fn max_pool2d_values_of<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T]) {
    let (chunk, plane, out, work) = chunks(geo, x.len(), y.len());
    par::for_each_chunk(y, chunk * out, work, |i, y| {
        vectorised::<T, _>(Planes { geo, x: &x[i * chunk * plane..], y, places: Places::None });
    });
}

/// Planes of a piece of work, elements of an input plane and an output plane, and the work of a piece.
fn chunks(geo: &PoolGeometry, x: usize, y: usize) -> (usize, usize, usize, usize) {
    geo.check(x, y);
    let (plane, out) = geo.plane();
    let chunk = planes_per_chunk(plane);
    (chunk, plane, out, chunk.min(geo.planes) * (12 * plane + 4 * geo.kernel_h * geo.kernel_w * out))
}

/// Where the places of the maxima go, and which ones are wanted.
enum Places<'a> {
    None,
    /// In the window.
    Taps(&'a mut [u8]),
    /// In the plane.
    Index(&'a mut [i64]),
}

/// Some planes; `x` may have more.
struct Planes<'a, T> {
    geo: &'a PoolGeometry,
    x: &'a [T],
    y: &'a mut [T],
    places: Places<'a>,
}

impl<T: Float> Loops for Planes<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(mut self) {
        let geo = self.geo;
        let (plane, out) = geo.plane();
        if halve::fits(geo) {
            return match self.places {
                Places::None => halve::max(geo, self.x, self.y),
                Places::Taps(taps) => halve::max_taps(geo, self.x, self.y, taps),
                Places::Index(index) => halve::max_index(geo, self.x, self.y, index),
            };
        }
        // Places within a plane are counted in 32 bits.
        let strips = Strips::new(geo).filter(|_| plane <= i32::MAX as usize / 4);
        let mut maxima = strips.as_ref().map(|strips| Maxima::new(strips, !matches!(self.places, Places::None)));
        for p in 0..self.y.len() / out {
            let x = &self.x[p * plane..];
            // NaN is larger than everything, which no comparison says.
            let nan = x[..plane].iter().fold(false, |any, &v| any | v.nan());
            let Some(maxima) = maxima.as_mut().filter(|_| !nan) else {
                self.mend(x, p * out, |_| true);
                continue;
            };
            for first in (0..geo.out_h).step_by(maxima.strips.rows) {
                match &mut self.places {
                    Places::None => {
                        maxima.find::<false>(geo, x, first, 0, 0);
                    }
                    Places::Taps(taps) => {
                        maxima.find::<true>(geo, x, first, geo.kernel_w, 1);
                        maxima.each_row(geo, first, |row, _, place| {
                            let taps = &mut taps[p * out + row * geo.out_w..][..geo.out_w];
                            taps.iter_mut().zip(place).for_each(|(tap, &place)| *tap = place as u8);
                        });
                    }
                    Places::Index(index) => {
                        maxima.find::<true>(geo, x, first, geo.dilation.0 * geo.in_w, geo.dilation.1);
                        maxima.each_row(geo, first, |row, _, place| {
                            let start = (row * geo.stride.0) as i64 - geo.padding.0 as i64;
                            let start = start * geo.in_w as i64 - geo.padding.1 as i64;
                            let index = &mut index[p * out + row * geo.out_w..][..geo.out_w];
                            for (ow, (index, &place)) in index.iter_mut().zip(place).enumerate() {
                                *index = start + (ow * geo.stride.1) as i64 + i64::from(place);
                            }
                        });
                    }
                }
                let y = &mut self.y[p * out..(p + 1) * out];
                maxima.each_row(geo, first, |row, best, _| put(best, &mut y[row * geo.out_w..][..geo.out_w]));
            }
            // The frame is minus infinity: where that is the result, the place may lie outside.
            let lowest = |any: bool, &v: &T| any | (v == T::LOWEST);
            if !matches!(self.places, Places::None) && self.y[p * out..(p + 1) * out].iter().fold(false, lowest) {
                self.mend(x, p * out, |v| v == T::LOWEST);
            }
        }
    }
}

impl<T: Float> Planes<'_, T> {
    /// Computes one by one the windows of a plane whose results, so far, are such.
    #[inline(never)]
    fn mend(&mut self, x: &[T], start: usize, odd: impl Fn(T) -> bool) {
        let g = self.geo;
        for (oh, ow) in (0..g.out_h).flat_map(|h| (0..g.out_w).map(move |w| (h, w))) {
            let at = start + oh * g.out_w + ow;
            if odd(self.y[at]) {
                let (best, (h, w)) = one(g, x, oh, ow);
                self.y[at] = best;
                match &mut self.places {
                    Places::None => {}
                    Places::Taps(taps) => {
                        let (h, w) = (h + g.padding.0 - oh * g.stride.0, w + g.padding.1 - ow * g.stride.1);
                        taps[at] = (h * g.kernel_w + w) as u8;
                    }
                    Places::Index(index) => index[at] = (h * g.in_w + w) as i64,
                }
            }
        }
    }
}

/// The maximum of one window, and its row and column.
fn one<T: Float>(geo: &PoolGeometry, x: &[T], oh: usize, ow: usize) -> (T, (usize, usize)) {
    let (rows, columns) = (geo.down().taps(oh), geo.across().taps(ow));
    let (mut best, mut place) = (T::LOWEST, (rows.clone().next().unwrap_or(0), columns.clone().next().unwrap_or(0)));
    for h in rows {
        for w in columns.clone() {
            let v = x[h * geo.in_w + w];
            if v > best || v.nan() {
                (best, place) = (v, (h, w));
            }
        }
    }
    (best, place)
}

/// Maxima of the windows of a strip in two steps: first among the columns, then among the rows. Of equals that gives the
/// one that comes first in the plane.
struct Maxima<'a, T: Float> {
    strips: &'a Strips,
    strip: Buffer<T>,
    /// Of the columns of windows one row high, with their places if these are wanted.
    row_best: Buffer<T>,
    row_place: Vec<i32>,
    best: Buffer<T>,
    place: Vec<i32>,
}

impl<'a, T: Float> Maxima<'a, T> {
    fn new(strips: &'a Strips, places: bool) -> Self {
        let (n, found) = (strips.windows(), strips.rows * strips.per_row);
        let only = |n: usize| if places { vec![0; n] } else { Vec::new() };
        Maxima {
            strips,
            strip: strips.buffer(T::LOWEST),
            row_best: Buffer::filled(n, T::LOWEST),
            row_place: only(n),
            best: Buffer::filled(found, T::LOWEST),
            place: only(found),
        }
    }

    /// The maxima of the strip whose first row of windows is `first`. A row counts `below` and a column `beside` in places.
    #[inline(always)]
    fn find<const PLACES: bool>(&mut self, geo: &PoolGeometry, x: &[T], first: usize, below: usize, beside: usize) {
        let (below, beside) = (below as i32, beside as i32);
        self.strips.fill(geo, x, first, T::LOWEST, self.strip.make_mut());
        let (x, best, place) = (&self.strip[..], self.row_best.make_mut(), &mut self.row_place[..]);
        match (if geo.dilation.1 == 1 { geo.kernel_w } else { 0 }, geo.stride.1) {
            (2, 2) => across::<T, PLACES, 2, 2>(geo, x, beside, best, place),
            (3, 1) => across::<T, PLACES, 3, 1>(geo, x, beside, best, place),
            (3, 2) => across::<T, PLACES, 3, 2>(geo, x, beside, best, place),
            (3, 3) => across::<T, PLACES, 3, 3>(geo, x, beside, best, place),
            (_, 1) => across::<T, PLACES, 1, 1>(geo, x, beside, best, place),
            (_, 2) => across::<T, PLACES, 1, 2>(geo, x, beside, best, place),
            _ => across::<T, PLACES, 1, 0>(geo, x, beside, best, place),
        }
        let from = (&self.row_best[..], &self.row_place[..]);
        let at = |tap: usize| self.strips.below(geo, tap);
        let (best, place) = (self.best.make_mut(), &mut self.place[..]);
        match geo.kernel_h {
            2 => down::<T, PLACES, 2>(from, 0, at, below, best, place),
            3 => down::<T, PLACES, 3>(from, 0, at, below, best, place),
            n => {
                for tap in 0..n {
                    down::<T, PLACES, 1>(from, tap, at, below, best, place);
                }
            }
        }
    }

    /// Calls `f` with each row of windows of a strip, its maxima and their places.
    #[inline(always)]
    fn each_row(&self, geo: &PoolGeometry, first: usize, mut f: impl FnMut(usize, &[T], &[i32])) {
        for (i, row) in (first..geo.out_h.min(first + self.strips.rows)).enumerate() {
            let found = i * self.strips.per_row..i * self.strips.per_row + geo.out_w;
            f(row, &self.best[found.clone()], self.place.get(found).unwrap_or(&[]));
        }
    }
}

/// Maxima of columns at distance S (0: the geometry's) for all windows one row high: of K columns, or if K is 1 of one after
/// the other.
#[inline(always)]
fn across<T: Float, const PLACES: bool, const K: usize, const S: usize>(
    geo: &PoolGeometry,
    x: &[T],
    beside: i32,
    best: &mut [T],
    place: &mut [i32],
) {
    let stride = if S == 0 { geo.stride.1 } else { S };
    for first in (0..geo.kernel_w).step_by(K) {
        let x = &x[first * geo.dilation.1..];
        // Several columns only without gaps.
        assert!(x.len() >= (best.len() - 1) * stride + K && (K == 1 || geo.dilation.1 == 1));
        let place = if PLACES { &mut place[..best.len()] } else { &mut [] };
        for (j, best) in best.iter_mut().enumerate() {
            // SAFETY: j is at most best.len() - 1, k less than K, and place is as long as best if there are places.
            unsafe {
                let (mut top, mut at) = (*x.get_unchecked(j * stride), 0);
                if first > 0 {
                    let wins = top > *best;
                    top = if wins { top } else { *best };
                    at = if !PLACES || wins { first as i32 * beside } else { *place.get_unchecked(j) };
                }
                for k in 1..K {
                    let v = *x.get_unchecked(j * stride + k);
                    let wins = v > top;
                    top = if wins { v } else { top };
                    at = if wins { k as i32 * beside } else { at };
                }
                *best = top;
                if PLACES {
                    *place.get_unchecked_mut(j) = at;
                }
            }
        }
    }
}

/// Maxima of the K rows from `first` on, and of what is there already unless these are the first ones.
#[inline(always)]
fn down<T: Float, const PLACES: bool, const K: usize>(
    (from, from_place): (&[T], &[i32]),
    first: usize,
    at: impl Fn(usize) -> usize,
    below: i32,
    best: &mut [T],
    place: &mut [i32],
) {
    let n = best.len();
    let x: [&[T]; K] = std::array::from_fn(|k| &from[at(first + k)..][..n]);
    let places: [&[i32]; K] = std::array::from_fn(|k| if PLACES { &from_place[at(first + k)..][..n] } else { &[] });
    let place = if PLACES { &mut place[..n] } else { &mut [] };
    for (j, best) in best.iter_mut().enumerate() {
        // SAFETY: all slices have n elements, those of places if there are places.
        unsafe {
            let place_of = |k: usize| if PLACES { *places[k].get_unchecked(j) + (first + k) as i32 * below } else { 0 };
            let (mut top, mut at) = (*x[0].get_unchecked(j), place_of(0));
            if first > 0 {
                let wins = top > *best;
                top = if wins { top } else { *best };
                at = if !PLACES || wins { at } else { *place.get_unchecked(j) };
            }
            for k in 1..K {
                let v = *x[k].get_unchecked(j);
                let wins = v > top;
                top = if wins { v } else { top };
                at = if wins { place_of(k) } else { at };
            }
            *best = top;
            if PLACES {
                *place.get_unchecked_mut(j) = at;
            }
        }
    }
}
