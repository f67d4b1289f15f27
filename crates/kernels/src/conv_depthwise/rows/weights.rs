//! The gradient of depthwise convolutions by the weights, row by row.
//!
//! The plain loop: `gw[r, s] += gy[i, j] * x[i * stride + r * dilation - top, ..]` over pixels, for each plane.
//!
//! The tricks: those of [`super`], with rows of gradients in registers instead of rows of results. Sums over an image are there too, for
//! as many columns of the kernel at a time as there is room for.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use super::{Ahead, Inside, Part, Planes, next_row, strided};
use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{self, Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use std::ops::Range;

/// So many planes, which are neighbours in memory, are taken from each image.
const NEIGHBOURS: usize = 32;

/// [`crate::conv::conv2d_weight`] where it [`fits`](super::fits).
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let planes = Planes::forward::<T>(g, isa);
    let ((plane, out), taps) = (planes.sizes(), planes.kernel.0 * planes.kernel.1);
    let (step_x, step_g) = (g.in_channels * plane, g.in_channels * out);
    assert_eq!((x.len(), gy.len()), (g.batch * step_x, g.batch * step_g), "the arrays fit the geometry");
    assert_eq!(gw.len(), g.in_channels * taps, "the result has all taps");
    let vector = if planes.narrow { lanes::<T>(isa) / 2 } else { lanes::<T>(isa) };
    let (gw, parts) = (Shared(gw.as_mut_ptr()), &planes.parts());
    par::for_each_range(g.in_channels, g.batch.saturating_mul(2 * out * taps), |range| {
        let mut sums = Buffer::<T>::unfilled(NEIGHBOURS * taps * vector);
        let sums = sums.make_mut();
        for first in range.clone().step_by(NEIGHBOURS) {
            let channels = first..range.end.min(first + NEIGHBOURS);
            let sums = &mut sums[..channels.len() * taps * vector];
            sums.fill(T::ZERO);
            let (steps, count) = ((step_x, step_g), channels.len());
            let job = WeightJob { planes, parts, images: g.batch, steps, channels, x, gy, sums };
            // SAFETY: the set comes from detection; the arrays have the planes, and the sums a vector for each tap of a channel.
            unsafe { T::simd(isa, job) };
            // SAFETY: these channels are this range's own.
            let gw = unsafe { std::slice::from_raw_parts_mut(gw.get().add(first * taps), count * taps) };
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

/// Some channels of all images, in the order of memory.
struct WeightJob<'a, T> {
    planes: Planes,
    parts: &'a [Part],
    images: usize,
    steps: (usize, usize),
    channels: Range<usize>,
    x: &'a [T],
    gy: &'a [T],
    sums: &'a mut [T],
}

/// One plane, whose products are added to vectors of sums, for some columns of the kernel from the first one on.
#[derive(Clone, Copy)]
pub(super) struct Correlated<'a, S: Simd> {
    pub(super) planes: Planes,
    pub(super) parts: &'a [Part],
    pub(super) inside: &'a [S::M],
    pub(super) first: usize,
    pub(super) x: *const S::T,
    pub(super) gy: *const S::T,
    pub(super) sums: *mut S::T,
}

impl<S: Simd> Correlated<'_, S> {
    #[inline(always)]
    pub(super) unsafe fn total<const KH: usize, const KW: usize>(&self, sums: &[[S::V; KW]; KH]) {
        for r in 0..KH {
            for s in 0..KW {
                // SAFETY: the caller's promise: there is a vector for each element of the kernel.
                unsafe {
                    let total = self.sums.add((r * self.planes.kernel.1 + self.first + s) * S::N);
                    S::store(total, S::add(S::load(total), sums[r][s]));
                }
            }
        }
    }
}

impl<T: Float> SimdBody<T> for WeightJob<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What does not fit is not compiled.
        if const { size_of::<T>() == 4 && S::REGISTERS > 8 } {
            isa::align_stack();
            // SAFETY: the caller's promise.
            unsafe {
                if const { S::REGISTERS == 32 } && self.planes.narrow {
                    kernels::<H, true>(self);
                } else {
                    kernels::<S, false>(self);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn kernels<S: Simd, const NARROW: bool>(job: WeightJob<'_, S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        match job.planes.kernel.0 {
            3 => each_weight::<S, 3>(job),
            5 => each_weight::<S, 5>(job),
            _ if NARROW => unreachable!("other kernels have full vectors"),
            1 => each_weight::<S, 1>(job),
            2 => each_weight::<S, 2>(job),
            4 => each_weight::<S, 4>(job),
            _ => unreachable!("kernels have fewer rows"),
        }
    }
}

#[inline(always)]
unsafe fn each_weight<S: Simd, const KH: usize>(job: WeightJob<'_, S::T>) {
    // Pixels for results that are not there are left out: with a stride they are multiplied by zero.
    let end = if job.planes.stride == 1 { job.planes.out_w.min(S::N) } else { S::N };
    // SAFETY: the caller's promise: the set is enabled.
    let inside = &unsafe { job.planes.inside::<S>(end) };
    let (plane, out) = job.planes.sizes();
    let columns = job.planes.kernel.1;
    for image in 0..job.images {
        let mut sums = job.sums.as_mut_ptr();
        for c in job.channels.clone() {
            let (at_x, at_g) = (image * job.steps.0 + c * plane, image * job.steps.1 + c * out);
            let (x, gy) = (job.x.as_ptr().wrapping_add(at_x), job.gy.as_ptr().wrapping_add(at_g));
            let mut one = Correlated::<S> { planes: job.planes, parts: job.parts, inside, first: 0, x, gy, sums };
            // As many columns of the kernel at a time as there are registers for their sums.
            while one.first < columns {
                // SAFETY: the caller's promise.
                one.first += unsafe {
                    match columns - one.first {
                        5.. if const { KH == 5 && S::REGISTERS == 32 } => strip::<S, KH, 5>(one),
                        3.. if const { KH == 3 } => strip::<S, KH, 3>(one),
                        2.. => strip::<S, KH, 2>(one),
                        _ => strip::<S, KH, 1>(one),
                    }
                }
            }
            sums = sums.wrapping_add(KH * columns * S::N);
        }
    }
}

/// The sums of KW columns of the kernel, and KW.
#[inline(always)]
unsafe fn strip<S: Simd, const KH: usize, const KW: usize>(one: Correlated<'_, S>) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        match one.planes.stride {
            3 if const { matches!((KH, KW), (2, 2) | (3, 3)) } => strided::weight_sums::<S, KH, KW, 3>(one),
            2 => strided::weight_sums::<S, KH, KW, 2>(one),
            _ => weight_sums::<S, KH, KW>(one),
        }
    }
    KW
}

#[inline(always)]
unsafe fn weight_sums<S: Simd, const KH: usize, const KW: usize>(c: Correlated<'_, S>) {
    let (p, d) = (c.planes, c.planes.dilation);
    // SAFETY: the caller's promise: all rows are of planes and gradients, and masks leave out what is beside them.
    unsafe {
        // Sums of an image of their own: fewer numbers of one sum, smaller errors.
        let mut sums = [[S::zero(); KW]; KH];
        let (mut done, end) = (0, p.out_w.min(S::N));
        let mut ahead = Ahead::new(&p, c.x, c.gy);
        for (v, j) in p.columns(S::N).enumerate() {
            let inside = Inside::<S, KW, 1>::new(c.inside, v * p.kernel.1 + c.first, KW);
            // What the vector before has counted is left out.
            let fresh = S::mask(done - j, end);
            done = j + end;
            for part in c.parts {
                let mut x = c.x.wrapping_add(part.row * p.width + j + c.first * d.1).wrapping_sub(p.left);
                let mut g = c.gy.wrapping_add(part.result * p.out_w + j);
                // Row i - top of the plane goes with row i - r of the gradients for row r of the kernel: rows[r].
                let mut rows = [S::zero(); KH];
                for i in 0..part.top + part.height {
                    ahead.step(S::N);
                    let mut row = S::zero();
                    if i < part.out_h {
                        row = S::load_where(g, fresh);
                        g = g.wrapping_add(d.0 * p.out_w);
                    }
                    rows = next_row::<S, KH>(rows, row);
                    if i < part.top {
                        continue;
                    }
                    for s in 0..KW {
                        let b = S::load_where(x.wrapping_add(s * d.1), inside.0[s][0]);
                        for r in 0..KH {
                            sums[r][s] = S::fma(rows[r], b, sums[r][s]);
                        }
                    }
                    x = x.wrapping_add(d.0 * p.width);
                }
            }
        }
        c.total(&sums);
    }
}
