//! Max-pooling.

// Loops over constant ranges unroll; iterators over arrays of slices do not.
#![allow(clippy::needless_range_loop)]

use super::strip::{MAX, Strips};
use super::{PoolGeometry, halve, planes_per_chunk};
use crate::buffer::Buffer;
use crate::element::{Float, compiled_here};
use crate::isa::{Simd, SimdBody, isa_of};
use crate::math::{Arithmetic, Loops, MulAdd, vectorised};
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
        Planes { geo, x: &x[i * chunk * plane..], y, places: Places::Index(index) }.find();
    });
}

fn max_pool2d_taps_of<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], taps: &mut [u8]) {
    assert_eq!(taps.len(), y.len(), "a tap for each output");
    assert!(geo.has_taps(), "taps say where each maximum is");
    let (chunk, plane, out, work) = chunks(geo, x.len(), y.len());
    par::for_each_chunk2(y, chunk * out, taps, chunk * out, work, |i, y, taps| {
        Planes { geo, x: &x[i * chunk * plane..], y, places: Places::Taps(taps) }.find();
    });
}

fn max_pool2d_values_of<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T]) {
    let (chunk, plane, out, work) = chunks(geo, x.len(), y.len());
    par::for_each_chunk(y, chunk * out, work, |i, y| {
        Planes { geo, x: &x[i * chunk * plane..], y, places: Places::None }.find();
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
    fn run<M: MulAdd>(self) {
        match self.places {
            Places::None => halve::max(self.geo, self.x, self.y),
            Places::Taps(taps) => halve::max_taps(self.geo, self.x, self.y, taps),
            Places::Index(index) => halve::max_index(self.geo, self.x, self.y, index),
        }
    }
}

impl<T: Float> Planes<'_, T> {
    #[inline(never)]
    fn find(self) {
        if halve::fits(self.geo) {
            return vectorised::<T, _>(self);
        }
        // SAFETY: isa_of never says more than what was detected.
        unsafe { T::simd(isa_of::<T>(), self) };
    }
}

impl<T: Float> SimdBody<T> for Planes<'_, T> {
    type Output = ();
    const DOUBLE: bool = false;
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(mut self) {
        let geo = self.geo;
        let ((plane, out), window) = (geo.plane(), geo.kernel_h * geo.kernel_w);
        let wanted = !matches!(self.places, Places::None);
        // Ranks are whole numbers, exact in single precision.
        let Some(strips) = Strips::new(geo).filter(|_| !wanted || window <= 1 << 16) else {
            (0..self.y.len() / out).for_each(|p| self.mend(&self.x[p * plane..], p * out, |_| true));
            return;
        };
        let buffer = |wanted: bool, v: T| if wanted { strips.buffer(v) } else { Buffer::filled(0, v) };
        let [mut strip, mut sorted] = [(); 2].map(|()| strips.buffer(T::LOWEST));
        let [mut ranks, mut sorted_ranks] = [(); 2].map(|()| buffer(wanted, T::ONE));
        let (strip, sorted) = (strip.make_mut(), sorted.make_mut());
        let mut found = Buffer::filled(strips.rows * geo.out_w, T::ZERO);
        let found = found.make_mut();
        // How far each tap is from the first one of its window.
        let mut offsets = Buffer::zeroed(if wanted { window } else { 0 });
        for (tap, offset) in offsets.make_mut().iter_mut().enumerate() {
            let (h, w) = (tap / geo.kernel_w * geo.dilation.0, tap % geo.kernel_w * geo.dilation.1);
            *offset = (h * geo.in_w + w) as i64;
        }
        for p in 0..self.y.len() / out {
            let x = &self.x[p * plane..];
            // NaN is larger than everything, which no comparison says.
            // SAFETY: the set of S and H is enabled here.
            if unsafe { may_have_nan::<S>(&x[..plane]) } && x[..plane].iter().any(|v| v.nan()) {
                self.mend(x, p * out, |_| true);
                continue;
            }
            for first in (0..geo.out_h).step_by(strips.rows) {
                let ranks = wanted.then(|| ranks.make_mut());
                // SAFETY: as above; x has a plane, and the buffers are the strips'.
                let (sorted, sorted_ranks) = unsafe {
                    match ranks {
                        None => {
                            strips.down::<S, H, MAX>(geo, x, first, T::LOWEST, strip, None);
                            (strips.sort::<S>(strip, sorted), &[][..])
                        }
                        Some(ranks) => {
                            strips.down::<S, H, MAX>(geo, x, first, T::LOWEST, strip, Some(ranks));
                            (strips.sort::<S>(strip, sorted), strips.sort::<S>(ranks, sorted_ranks.make_mut()))
                        }
                    }
                };
                let rows = strips.rows.min(geo.out_h - first);
                let part = p * out + first * geo.out_w..p * out + (first + rows) * geo.out_w;
                let y = self.y[part.clone()].chunks_exact_mut(geo.out_w);
                for (i, (y, ranks)) in y.zip(found.chunks_exact_mut(geo.out_w)).enumerate() {
                    // SAFETY: as above.
                    unsafe {
                        if wanted {
                            strips.ranks::<S, H>(i, (sorted, sorted_ranks), y, ranks);
                        } else {
                            strips.across::<S, H, MAX>(i, sorted, y);
                        }
                    }
                }
                match &mut self.places {
                    Places::None => {}
                    Places::Taps(taps) => {
                        for (tap, &rank) in taps[part].iter_mut().zip(&*found) {
                            // SAFETY: ranks are at most `window`.
                            *tap = (window as i32 - unsafe { rank.whole() }) as u8;
                        }
                    }
                    Places::Index(index) => {
                        for (i, (index, &rank)) in index[part].iter_mut().zip(&*found).enumerate() {
                            let (oh, ow) = (first + i / geo.out_w, i % geo.out_w);
                            let row = (oh * geo.stride.0) as i64 - geo.padding.0 as i64;
                            let column = (ow * geo.stride.1) as i64 - geo.padding.1 as i64;
                            // SAFETY: as above.
                            let offset = offsets[window - unsafe { rank.whole() } as usize];
                            *index = row * geo.in_w as i64 + column + offset;
                        }
                    }
                }
            }
            // What lies around is minus infinity: where that is the result, the place may lie outside.
            let lowest = |any: bool, &v: &T| any | (v == T::LOWEST);
            if wanted && self.y[p * out..(p + 1) * out].iter().fold(false, lowest) {
                self.mend(x, p * out, |v| v == T::LOWEST);
            }
        }
    }
}

/// Whether there may be NaN: surely not if this is false.
#[inline(always)]
unsafe fn may_have_nan<S: Simd>(x: &[S::T]) -> bool {
    let (whole, rest) = x.split_at(x.len() / (4 * S::N) * (4 * S::N));
    // SAFETY: the caller has the set enabled, and whole vectors are read.
    let sum = unsafe {
        // The products are 0, or NaN if a factor is infinite or NaN.
        let mut sums = [S::zero(); 4];
        for x in whole.chunks_exact(4 * S::N) {
            for i in 0..4 {
                sums[i] = S::fma(S::load(x.as_ptr().add(i * S::N)), S::zero(), sums[i]);
            }
        }
        S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])))
    };
    rest.iter().fold(sum.nan(), |any, &v| any | v.nan())
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
