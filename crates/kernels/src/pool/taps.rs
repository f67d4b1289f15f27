//! The adjoint of max-pooling by the places of the maxima in their windows, and its own.
//!
//! The plain loop: each gradient is added to the element of its window that its tap names. Where windows are small it is turned
//! around: each element takes the gradients of the windows above it whose taps name it, which are long loops without branches.

use super::strip::put;
use super::{PoolGeometry, planes_per_chunk};
use crate::element::{Float, compiled_here};
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

compiled_here! {
    trait TapKernels for f32, f64 = {
        fn unpool_taps(geo: &PoolGeometry, g: &[Self], taps: &[u8], gx: &mut [Self]) = unpool_taps_of;
        fn pick_taps(geo: &PoolGeometry, x: &[Self], taps: &[u8], y: &mut [Self]) = pick_taps_of;
    }
}

/// The adjoint of [`pick_taps`]: adds each `g` to the element of its window that `taps` names; all others become 0.
///
/// # Panics
/// A slice has another length than the geometry says, the geometry has no [taps](PoolGeometry::has_taps), or a tap lies
/// outside of its plane.
pub fn unpool_taps<T: Float>(geo: &PoolGeometry, g: &[T], taps: &[u8], gx: &mut [T]) {
    <T as TapKernels>::unpool_taps(geo, g, taps, gx);
}

fn unpool_taps_of<T: Float>(geo: &PoolGeometry, g: &[T], taps: &[u8], gx: &mut [T]) {
    check(geo, gx.len(), g.len(), taps.len());
    let (plane, out) = geo.plane();
    let chunk = planes_per_chunk(plane);
    par::for_each_chunk(gx, chunk * plane, 12 * chunk.min(geo.planes) * plane, |i, gx| {
        let outputs = i * chunk * out..(i * chunk + gx.len() / plane) * out;
        vectorised::<T, _>(Planes { geo, g: &g[outputs.clone()], taps: &taps[outputs], gx });
    });
}

/// The elements of the windows of `x` that `taps` names.
///
/// # Panics
/// As [`unpool_taps`].
pub fn pick_taps<T: Float>(geo: &PoolGeometry, x: &[T], taps: &[u8], y: &mut [T]) {
    <T as TapKernels>::pick_taps(geo, x, taps, y);
}

fn pick_taps_of<T: Float>(geo: &PoolGeometry, x: &[T], taps: &[u8], y: &mut [T]) {
    check(geo, x.len(), y.len(), taps.len());
    let (plane, out) = geo.plane();
    let chunk = planes_per_chunk(plane);
    par::for_each_chunk(y, chunk * out, 12 * chunk.min(geo.planes) * out, |i, y| {
        let offsets = offsets(geo);
        let inputs = x[i * chunk * plane..].chunks_exact(plane).zip(taps[i * chunk * out..].chunks_exact(out));
        for (y, (x, taps)) in y.chunks_exact_mut(out).zip(inputs) {
            each_place(geo, &offsets, taps, |at, place| y[at] = x[place]);
        }
    });
}

fn check(geo: &PoolGeometry, input: usize, output: usize, taps: usize) {
    geo.check(input, output);
    assert_eq!(taps, output, "a tap for each output");
    assert!(geo.has_taps(), "taps say where each maximum is");
}

/// How far each tap is from the first one of its window.
fn offsets(geo: &PoolGeometry) -> [usize; 256] {
    let mut offsets = [0; 256];
    let places = (0..geo.kernel_h).flat_map(|h| (0..geo.kernel_w).map(move |w| h * geo.in_w + w));
    offsets.iter_mut().zip(places).for_each(|(offset, place)| *offset = place);
    offsets
}

/// Calls `f` with each output of a plane and the position that its tap names.
#[inline(always)]
fn each_place(geo: &PoolGeometry, offsets: &[usize; 256], taps: &[u8], mut f: impl FnMut(usize, usize)) {
    let before = geo.padding.0 * geo.in_w + geo.padding.1;
    for (oh, taps) in taps.chunks_exact(geo.out_w).enumerate() {
        for (ow, &tap) in taps.iter().enumerate() {
            let start = oh * geo.stride.0 * geo.in_w + ow * geo.stride.1;
            f(oh * geo.out_w + ow, (start + offsets[usize::from(tap)]).wrapping_sub(before));
        }
    }
}

/// Some planes.
struct Planes<'a, T> {
    geo: &'a PoolGeometry,
    g: &'a [T],
    taps: &'a [u8],
    gx: &'a mut [T],
}

impl<T: Float> Loops for Planes<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let geo = self.geo;
        let (plane, out) = geo.plane();
        if out == 0 {
            return self.gx.fill(T::ZERO);
        }
        match (geo.kernel_w, geo.stride.1) {
            // Short rows are not worth their set-up.
            _ if geo.kernel_h > 3 || plane > FAR || geo.in_w < SHORT => self.scatter(),
            (2, 2) => self.gather::<2, 2>(),
            (3, 1) => self.gather::<3, 1>(),
            (3, 2) => self.gather::<3, 2>(),
            (3, 3) => self.gather::<3, 3>(),
            _ => self.scatter(),
        }
    }
}

/// Elements of a row that fill a vector.
const SHORT: usize = 16;
/// Elements of a plane that is too large for whole planes of intermediate results.
const FAR: usize = 1 << 14;

impl<T: Float> Planes<'_, T> {
    #[inline(always)]
    fn scatter(self) {
        let (plane, out) = self.geo.plane();
        let outputs = self.g.chunks_exact(out).zip(self.taps.chunks_exact(out));
        self.gx.fill(T::ZERO);
        let offsets = offsets(self.geo);
        for (gx, (g, taps)) in self.gx.chunks_exact_mut(plane).zip(outputs) {
            each_place(self.geo, &offsets, taps, |at, place| gx[place] = gx[place] + g[at]);
        }
    }

    /// For windows of K columns at distance S: for each row of the windows what its elements take, then the rows of the input.
    #[inline(always)]
    fn gather<const K: usize, const S: usize>(self) {
        let geo = self.geo;
        let ((plane, out), down) = (geo.plane(), geo.down());
        // Zeros before each row of gradients stand for the windows that are not there.
        let before = K.div_ceil(S) - 1;
        let steps = (geo.in_w + geo.padding.1).div_ceil(S).max(geo.out_w);
        let pitch = before + steps;
        let n = geo.out_h * pitch;
        let (mut spaced, mut spaced_taps) = (vec![T::ZERO; before + n], vec![0; before + n]);
        let mut taken = vec![[T::ZERO; S]; geo.kernel_h * n];
        let outputs = self.g.chunks_exact(out).zip(self.taps.chunks_exact(out));
        for (gx, (g, taps)) in self.gx.chunks_exact_mut(plane).zip(outputs) {
            let (g, taps) = if pitch == geo.out_w {
                (g, taps)
            } else {
                for (oh, (g, taps)) in g.chunks_exact(geo.out_w).zip(taps.chunks_exact(geo.out_w)).enumerate() {
                    put(g, &mut spaced[oh * pitch + before..]);
                    put(taps, &mut spaced_taps[oh * pitch + before..]);
                }
                (&spaced[..], &spaced_taps[..])
            };
            for (h, taken) in taken.chunks_exact_mut(n).enumerate() {
                take::<T, K, S>((h * K) as u8, before, g, taps, taken);
            }
            for (h, gx) in gx.chunks_exact_mut(geo.in_w).enumerate() {
                let row = |oh: usize| {
                    let start = (h + geo.padding.0 - oh * geo.stride.0) * n + oh * pitch;
                    &taken[start..start + steps].as_flattened()[geo.padding.1..][..geo.in_w]
                };
                let mut covering = down.covering(h);
                match covering.next() {
                    Some(oh) => put(row(oh), gx),
                    None => gx.fill(T::ZERO),
                }
                for oh in covering {
                    gx.iter_mut().zip(row(oh)).for_each(|(gx, &g)| *gx = *gx + g);
                }
            }
        }
    }
}

/// What the columns of a row of windows take, whose first tap is `first`: of each window those from its own first column to that
/// of the next one, where also the `before` windows on the left reach.
#[inline(always)]
fn take<T: Float, const K: usize, const S: usize>(
    first: u8,
    before: usize,
    g: &[T],
    taps: &[u8],
    taken: &mut [[T; S]],
) {
    let n = taken.len();
    assert!(before < 3 && g.len() >= before + n && taps.len() >= before + n);
    for (j, taken) in taken.iter_mut().enumerate() {
        for (phase, taken) in taken.iter_mut().enumerate() {
            let mut sum = T::ZERO;
            for back in (0..K.div_ceil(S)).rev() {
                if phase + back * S < K {
                    // SAFETY: j + before - back is less than before + n.
                    let (g, tap) =
                        unsafe { (*g.get_unchecked(j + before - back), *taps.get_unchecked(j + before - back)) };
                    sum = sum + if tap == first + (phase + back * S) as u8 { g } else { T::ZERO };
                }
            }
            *taken = sum;
        }
    }
}
