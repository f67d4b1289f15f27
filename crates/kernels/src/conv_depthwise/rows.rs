//! Depthwise convolution at stride 1, row by row, without a copy of the image.
//!
//! The plain loop: `y[i, j] = sum over r, s of w[r, s] * x[i + r - top, j + s - left]` for each plane.
//!
//! The tricks: a vector of pixels and its neighbours are read once and added to all the rows of results that they are part of,
//! which stay in registers; masks, the same for all rows, leave out what lies beside the image; the last vector of a row
//! overlaps the one before it. The gradient by the input is the same with the kernel turned around; that by the weights
//! keeps the rows of gradients in registers instead, and its sums over all images.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{self, Isa, Simd, SimdBody};
use crate::par::{self, Shared};

/// So many planes, which are neighbours in memory, are taken from each image for the gradient by the weights.
const NEIGHBOURS: usize = 32;

/// Whether a geometry that is depthwise is one of these, on a set that has masks.
pub(super) fn fits(isa: Isa, g: &ConvGeometry) -> bool {
    isa != Isa::Portable
        && (g.kernel_h == g.kernel_w && matches!(g.kernel_h, 3 | 5))
        && g.stride == (1, 1)
        && g.dilation == (1, 1)
        && g.padding.0 < g.kernel_h
        && g.padding.1 < g.kernel_h
        && g.padding.2 < g.kernel_w
        && g.padding.3 < g.kernel_w
}

/// A correlation of planes: their size, that of the results, and how far the first window reaches out of the plane.
#[derive(Clone, Copy)]
struct Planes {
    kernel: usize,
    height: usize,
    width: usize,
    out_h: usize,
    out_w: usize,
    top: usize,
    left: usize,
    narrow: bool,
}

impl Planes {
    fn forward<T: Float>(g: &ConvGeometry, isa: Isa) -> Planes {
        let (kernel, narrow) = (g.kernel_h, narrow::<T>(isa, g.out_w));
        let (top, left) = (g.padding.0, g.padding.2);
        Planes { kernel, height: g.in_h, width: g.in_w, out_h: g.out_h, out_w: g.out_w, top, left, narrow }
    }

    fn backward<T: Float>(g: &ConvGeometry, isa: Isa) -> Planes {
        let (kernel, narrow) = (g.kernel_h, narrow::<T>(isa, g.in_w));
        let (top, left) = (kernel - 1 - g.padding.0, kernel - 1 - g.padding.2);
        Planes { kernel, height: g.out_h, width: g.out_w, out_h: g.in_h, out_w: g.in_w, top, left, narrow }
    }

    /// Elements of a plane, and of a result.
    fn sizes(&self) -> (usize, usize) {
        (self.height * self.width, self.out_h * self.out_w)
    }

    /// The columns at which vectors begin: they overlap rather than end outside.
    #[inline(always)]
    fn columns(self, lanes: usize) -> impl Iterator<Item = usize> {
        (0..self.out_w).step_by(lanes).map(move |j| j.min(self.out_w.saturating_sub(lanes)))
    }

    /// The lanes of a vector of results at column j for which the column `j + s - left` is in the plane.
    #[inline(always)]
    unsafe fn inside<S: Simd>(self, j: usize, s: usize, end: usize) -> S::M {
        let first = self.left.saturating_sub(j + s).min(end);
        let last = (self.width + self.left).saturating_sub(j + s).min(end);
        // SAFETY: the caller's promise: the set is enabled.
        unsafe { S::mask(first, last.max(first)) }
    }
}

/// Whether the narrow vectors waste less.
fn narrow<T: Float>(isa: Isa, width: usize) -> bool {
    let full = lanes::<T>(isa);
    // Only AVX-512 writes a part of a vector quickly.
    width <= full / 2 || isa != Isa::Avx512 && width < full
}

/// [`crate::conv::conv2d`] where it [`fits`].
pub(super) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    correlate(isa, Planes::forward::<T>(g, isa), g.in_channels, x, w, bias, y);
}

/// [`crate::conv::conv2d_input`] where it [`fits`].
pub(super) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let taps = g.kernel_h * g.kernel_w;
    let turned: Vec<T> = w.chunks_exact(taps).flat_map(|kernel| kernel.iter().rev().copied()).collect();
    correlate(isa, Planes::backward::<T>(g, isa), g.in_channels, gy, &turned, None, gx);
}

fn correlate<T: Float>(isa: Isa, planes: Planes, channels: usize, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    let ((plane, out), taps) = (planes.sizes(), planes.kernel * planes.kernel);
    assert_eq!((w.len(), x.len() * out), (channels * taps, y.len() * plane), "the arrays fit each other");
    let (count, y) = (y.len() / out, Shared(y.as_mut_ptr()));
    par::for_each_range(count, 2 * out * taps, |range| {
        for i in range {
            let at = i % channels;
            let start = bias.map_or(T::ZERO, |bias| bias[at]);
            let x = x[i * plane..(i + 1) * plane].as_ptr();
            // SAFETY: plane i of the result is this range's own.
            let y = unsafe { y.get().add(i * out) };
            let body = Correlate { planes, x, w: w[at * taps..(at + 1) * taps].as_ptr(), start, y };
            // SAFETY: the set comes from detection, and the arrays have the sizes of planes, results and kernels.
            unsafe { T::simd(isa, body) };
        }
    });
}

/// One plane.
struct Correlate<T> {
    planes: Planes,
    x: *const T,
    w: *const T,
    start: T,
    y: *mut T,
}

impl<T: Float> SimdBody<T> for Correlate<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match (self.planes.kernel, self.planes.narrow) {
                (3, false) => correlate_plane::<S, 3>(self),
                (3, true) => correlate_plane::<H, 3>(self),
                (5, false) => correlate_plane::<S, 5>(self),
                (5, true) => correlate_plane::<H, 5>(self),
                (k, _) => unreachable!("there is no kernel of {k}x{k}"),
            }
        }
    }
}

#[inline(always)]
unsafe fn correlate_plane<S: Simd, const K: usize>(c: Correlate<S::T>) {
    let p = c.planes;
    // SAFETY: the caller's promise: all rows are of planes and results, and masks leave out what is beside them.
    unsafe {
        let start = S::splat(c.start);
        let mut w = [[S::zero(); K]; K];
        for r in 0..K {
            for s in 0..K {
                w[r][s] = S::splat(*c.w.add(r * K + s));
            }
        }
        let written = S::mask(0, p.out_w.min(S::N));
        for j in p.columns(S::N) {
            let mut inside = [S::mask(0, 0); K];
            for s in 0..K {
                inside[s] = p.inside::<S>(j, s, S::N);
            }
            let mut x = c.x.wrapping_add(j).wrapping_sub(p.left);
            let mut y = c.y.wrapping_add(j);
            // Row i of the plane is row r of the window of row i + top - r of the results, whose sums are rows[r].
            let mut rows = [start; K];
            for i in 0..p.out_h + K - 1 - p.top {
                if i < p.height {
                    // A sum of its own for each row: the long chain through all of them has additions only.
                    let mut sums = [S::zero(); K];
                    for s in 0..K {
                        let b = S::load_where(x.wrapping_add(s), inside[s]);
                        for r in 0..K {
                            sums[r] = S::fma(w[r][s], b, sums[r]);
                        }
                    }
                    for r in 0..K {
                        rows[r] = S::add(rows[r], sums[r]);
                    }
                    x = x.wrapping_add(p.width);
                }
                if i + p.top + 1 >= K {
                    if p.out_w >= S::N {
                        S::store(y, rows[K - 1]);
                    } else {
                        S::store_where(y, written, rows[K - 1]);
                    }
                    y = y.wrapping_add(p.out_w);
                }
                rows = next_row::<S, K>(rows, start);
            }
        }
    }
}

/// Each row takes the place of the one below it.
#[inline(always)]
fn next_row<S: Simd, const K: usize>(rows: [S::V; K], first: S::V) -> [S::V; K] {
    let mut next = [first; K];
    for r in 1..K {
        next[r] = rows[r - 1];
    }
    next
}

/// [`crate::conv::conv2d_weight`] where it [`fits`].
pub(super) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let planes = Planes::forward::<T>(g, isa);
    let ((plane, out), taps) = (planes.sizes(), planes.kernel * planes.kernel);
    let (step_x, step_g) = (g.in_channels * plane, g.in_channels * out);
    assert_eq!((x.len(), gy.len()), (g.batch * step_x, g.batch * step_g), "the arrays fit the geometry");
    assert_eq!(gw.len(), g.in_channels * taps, "the result has all taps");
    let vector = if planes.narrow { lanes::<T>(isa) / 2 } else { lanes::<T>(isa) };
    let gw = Shared(gw.as_mut_ptr());
    par::for_each_range(g.in_channels, g.batch.saturating_mul(2 * out * taps), |range| {
        let mut sums = Buffer::<T>::unfilled(NEIGHBOURS * taps * vector);
        let sums = sums.make_mut();
        for first in range.clone().step_by(NEIGHBOURS) {
            let channels = first..range.end.min(first + NEIGHBOURS);
            sums.fill(T::ZERO);
            for image in 0..g.batch {
                for (c, sums) in channels.clone().zip(sums.chunks_exact_mut(taps * vector)) {
                    let (at_x, at_g) = (image * step_x + c * plane, image * step_g + c * out);
                    // Two streams of short rows run dry without it.
                    let line = 64 / size_of::<T>();
                    (plane..2 * plane).step_by(line).for_each(|i| isa::prefetch(x, at_x + i));
                    (out..2 * out).step_by(line).for_each(|i| isa::prefetch(gy, at_g + i));
                    let (x, gy) = (x[at_x..][..plane].as_ptr(), gy[at_g..][..out].as_ptr());
                    let body = Correlated { planes, x, gy, sums: sums.as_mut_ptr() };
                    // SAFETY: the set comes from detection; the arrays have the sizes of the planes and of a vector for each tap.
                    unsafe { T::simd(isa, body) };
                }
            }
            // SAFETY: these channels are this range's own.
            let gw = unsafe { std::slice::from_raw_parts_mut(gw.get().add(first * taps), channels.len() * taps) };
            gw.iter_mut().zip(sums.chunks_exact_mut(vector)).for_each(|(y, v)| *y = halved(v));
        }
    });
}

/// The sum of the elements of a vector, in halves.
fn halved<T: Float>(v: &mut [T]) -> T {
    let mut n = v.len();
    while n > 1 {
        n /= 2;
        for i in 0..n {
            v[i] = v[i].plus(v[i + n]);
        }
    }
    v[0]
}

/// One plane, whose products are added to vectors of sums.
struct Correlated<T> {
    planes: Planes,
    x: *const T,
    gy: *const T,
    sums: *mut T,
}

impl<T: Float> SimdBody<T> for Correlated<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match (self.planes.kernel, self.planes.narrow) {
                (3, false) => weight_sums::<S, 3>(self),
                (3, true) => weight_sums::<H, 3>(self),
                (5, false) => weight_sums::<S, 5>(self),
                (5, true) => weight_sums::<H, 5>(self),
                (k, _) => unreachable!("there is no kernel of {k}x{k}"),
            }
        }
    }
}

#[inline(always)]
unsafe fn weight_sums<S: Simd, const K: usize>(c: Correlated<S::T>) {
    let p = c.planes;
    // SAFETY: the caller's promise: all rows are of planes and gradients, and masks leave out what is beside them.
    unsafe {
        // Sums of an image of their own: fewer numbers of one sum, smaller errors.
        let mut sums = [[S::zero(); K]; K];
        let (mut done, end) = (0, p.out_w.min(S::N));
        for j in p.columns(S::N) {
            let mut inside = [S::mask(0, 0); K];
            for s in 0..K {
                inside[s] = p.inside::<S>(j, s, end);
            }
            // What the vector before has counted is left out.
            let fresh = S::mask(done - j, end);
            done = j + end;
            let mut x = c.x.wrapping_add(j).wrapping_sub(p.left);
            let mut g = c.gy.wrapping_add(j);
            // Row i - top of the plane goes with row i - r of the gradients for row r of the kernel: rows[r].
            let mut rows = [S::zero(); K];
            for i in 0..p.top + p.height {
                let mut row = S::zero();
                if i < p.out_h {
                    row = S::load_where(g, fresh);
                    g = g.wrapping_add(p.out_w);
                }
                rows = next_row::<S, K>(rows, row);
                if i < p.top {
                    continue;
                }
                for s in 0..K {
                    let b = S::load_where(x.wrapping_add(s), inside[s]);
                    for r in 0..K {
                        sums[r][s] = S::fma(rows[r], b, sums[r][s]);
                    }
                }
                x = x.wrapping_add(p.width);
            }
        }
        for r in 0..K {
            for s in 0..K {
                let total = c.sums.add((r * K + s) * S::N);
                S::store(total, S::add(S::load(total), sums[r][s]));
            }
        }
    }
}
