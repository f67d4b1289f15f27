//! Depthwise convolution at stride 1, dilated or not, or strides 2 and 3, row by row, without a copy of the image; in single precision.
//!
//! The plain loop: `y[i, j] = sum over r, s of w[r, s] * x[i * stride + r * dilation - top, j * stride + s * dilation - left]` for
//! each plane.
//!
//! The tricks: a vector of pixels and its neighbours are read once and added to all the rows of results that they are part of,
//! which stay in registers; masks, the same for all rows, leave out what lies beside the image; the last vector of a row
//! overlaps the one before it. With a dilation every d-th row is a plane of its own for them. The gradient by the input is the
//! same with the kernel turned around; that by the weights keeps the rows of gradients in registers instead, and its sums over
//! an image. Larger strides are in [`strided`].

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

mod strided;

use super::across::Pass;
use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{self, Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use std::ops::Range;

/// So many planes, which are neighbours in memory, are taken from each image for the gradient by the weights.
const NEIGHBOURS: usize = 32;

/// Whether a geometry that is depthwise is one of these, on a set that has masks.
pub(super) fn fits<T: Float>(isa: Isa, g: &ConvGeometry, pass: Pass) -> bool {
    let (kernel, dilation) = (g.kernel_h, g.dilation.0);
    let few = isa == Isa::Avx2;
    let most = (kernel - 1).saturating_mul(dilation);
    size_of::<T>() == 4
        && isa != Isa::Portable
        && kernel == g.kernel_w
        && (matches!(kernel, 3 | 5) || few && matches!(kernel, 2 | 4))
        && dilation == g.dilation.1
        && (dilation == 1 || few && g.stride == (1, 1))
        && (matches!(g.stride, (1, 1) | (2, 2)) || few && g.stride == (3, 3) && kernel <= 3 && pass != Pass::Input)
        && g.padding.0.max(g.padding.1).max(g.padding.2).max(g.padding.3) <= most
}

/// A correlation of planes: their size, that of the results, and how far the first window reaches out of the plane.
#[derive(Clone, Copy)]
struct Planes {
    kernel: usize,
    stride: usize,
    dilation: usize,
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
        Planes {
            kernel: g.kernel_h,
            stride: g.stride.0,
            dilation: g.dilation.0,
            height: g.in_h,
            width: g.in_w,
            out_h: g.out_h,
            out_w: g.out_w,
            top: g.padding.0,
            left: g.padding.2,
            narrow: narrow::<T>(isa, g.out_w),
        }
    }

    /// The correlation of gradients that gives the gradient by the input at stride 1.
    fn backward<T: Float>(g: &ConvGeometry, isa: Isa) -> Planes {
        Planes {
            kernel: g.kernel_h,
            stride: 1,
            dilation: g.dilation.0,
            height: g.out_h,
            width: g.out_w,
            out_h: g.in_h,
            out_w: g.in_w,
            top: (g.kernel_h - 1) * g.dilation.0 - g.padding.0,
            left: (g.kernel_w - 1) * g.dilation.1 - g.padding.2,
            narrow: narrow::<T>(isa, g.in_w),
        }
    }

    /// Elements of a plane, and of a result.
    fn sizes(&self) -> (usize, usize) {
        (self.height * self.width, self.out_h * self.out_w)
    }

    /// The parts of a plane.
    fn parts(&self) -> Vec<Part> {
        let d = self.dilation;
        let part = |result: usize| {
            let top = self.top.saturating_sub(result).div_ceil(d);
            let row = result + top * d - self.top;
            let height = self.height.saturating_sub(row).div_ceil(d);
            Part { result, out_h: (self.out_h - result).div_ceil(d), row, height, top }
        };
        (0..d.min(self.out_h)).map(part).collect()
    }

    /// The columns at which vectors begin: they overlap rather than end outside.
    #[inline(always)]
    fn columns(self, lanes: usize) -> impl Iterator<Item = usize> {
        (0..self.out_w).step_by(lanes).map(move |j| j.min(self.out_w.saturating_sub(lanes)))
    }

    /// The first `end` lanes of a vector that begins at column `j + s - left` of the plane, as far as they are in it.
    #[inline(always)]
    unsafe fn inside<S: Simd>(self, j: usize, s: usize, end: usize) -> S::M {
        // SAFETY: the caller's promise: the set is enabled.
        unsafe { within::<S>(self.left, self.width, j + s, end) }
    }
}

/// The first `end` lanes of a vector that begins at element `at - before` of `count`, as far as they are among those.
#[inline(always)]
unsafe fn within<S: Simd>(before: usize, count: usize, at: usize, end: usize) -> S::M {
    let first = before.saturating_sub(at).min(end);
    let last = (count + before).saturating_sub(at).min(end);
    // SAFETY: the caller's promise: the set is enabled.
    unsafe { S::mask(first, last.max(first)) }
}

/// Those rows of results that are a dilation apart from row `result` on, and those of the plane that they meet, from `row` on: a
/// correlation without dilation.
struct Part {
    result: usize,
    out_h: usize,
    row: usize,
    height: usize,
    top: usize,
}

/// Whether the narrow vectors waste less.
fn narrow<T: Float>(isa: Isa, width: usize) -> bool {
    let full = lanes::<T>(isa);
    // Only AVX-512 writes a part of a vector quickly.
    width <= full / 2 || isa != Isa::Avx512 && width < full
}

/// [`crate::conv::conv2d`] where it [`fits`].
pub(super) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    let planes = Planes::forward::<T>(g, isa);
    each_plane(isa, g, planes, planes.sizes(), (x, w, epilogue), y, false);
}

/// [`crate::conv::conv2d_input`] where it [`fits`].
pub(super) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    if g.stride == (2, 2) {
        let planes = Planes { narrow: narrow::<T>(isa, g.in_w.div_ceil(2)), ..Planes::forward::<T>(g, isa) };
        let (plane, out) = planes.sizes();
        return each_plane(isa, g, planes, (out, plane), (gy, w, Epilogue::NONE), gx, true);
    }
    let planes = Planes::backward::<T>(g, isa);
    let taps = g.kernel_h * g.kernel_w;
    let turned: Vec<T> = w.chunks_exact(taps).flat_map(|kernel| kernel.iter().rev().copied()).collect();
    each_plane(isa, g, planes, planes.sizes(), (gy, &turned, Epilogue::NONE), gx, false);
}

/// Computes planes of y from planes of x, which have these sizes.
fn each_plane<T: Float>(
    isa: Isa,
    g: &ConvGeometry,
    planes: Planes,
    sizes: (usize, usize),
    (x, w, epilogue): (&[T], &[T], Epilogue<T>),
    y: &mut [T],
    spread: bool,
) {
    let (channels, taps) = (g.in_channels, g.kernel_h * g.kernel_w);
    let count = g.batch * channels;
    assert_eq!((x.len(), y.len()), (count * sizes.0, count * sizes.1), "the arrays have the planes");
    assert!(
        w.len() == channels * taps && epilogue.bias.is_none_or(|b| b.len() == channels),
        "each channel has a kernel"
    );
    let (y, parts) = (Shared(y.as_mut_ptr()), &planes.parts());
    par::for_each_range(count, 2 * sizes.0.min(sizes.1) * taps + sizes.0.max(sizes.1), |range| {
        let job = Job { planes, parts, sizes, channels, range, x, w, epilogue, y: y.get(), spread };
        // SAFETY: the set comes from detection, the arrays have the planes and kernels, and this range alone writes its planes.
        unsafe { T::simd(isa, job) };
    });
}

/// Some planes, which are computed in one call: to enter the instruction set takes as long as a small plane.
struct Job<'a, T> {
    planes: Planes,
    parts: &'a [Part],
    sizes: (usize, usize),
    channels: usize,
    range: Range<usize>,
    x: &'a [T],
    w: &'a [T],
    epilogue: Epilogue<'a, T>,
    y: *mut T,
    /// Whether this is the gradient by the input at stride 2.
    spread: bool,
}

/// A plane, its kernel and its result; for the gradient by the input x is the gradient of the result, and y that of the input.
struct Plane<'a, T> {
    planes: Planes,
    x: *const T,
    w: *const T,
    start: T,
    /// Results are not below it; zero is added to them, so that zeros are positive as after a ReLU of its own.
    floor: T,
    parts: &'a [Part],
    y: *mut T,
}

impl<T: Float> Job<'_, T> {
    #[inline(always)]
    fn plane(&self, i: usize) -> Plane<'_, T> {
        let (channel, taps) = (i % self.channels, self.planes.kernel * self.planes.kernel);
        Plane {
            planes: self.planes,
            x: self.x.as_ptr().wrapping_add(i * self.sizes.0),
            w: self.w.as_ptr().wrapping_add(channel * taps),
            start: self.epilogue.bias.map_or(T::ZERO, |bias| bias[channel]),
            floor: if self.epilogue.relu { T::ZERO } else { T::LOWEST },
            parts: self.parts,
            y: self.y.wrapping_add(i * self.sizes.1),
        }
    }
}

impl<T: Float> SimdBody<T> for Job<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What does not fit is not compiled.
        if const { size_of::<T>() == 4 && S::REGISTERS > 8 } {
            // SAFETY: the caller's promise.
            unsafe {
                match (self.planes.kernel, self.planes.narrow) {
                    (2, false) if const { S::REGISTERS == 16 } => each::<S, 2>(self),
                    (2, true) if const { S::REGISTERS == 16 } => each::<H, 2>(self),
                    (4, false) if const { S::REGISTERS == 16 } => each::<S, 4>(self),
                    (4, true) if const { S::REGISTERS == 16 } => each::<H, 4>(self),
                    (3, false) => each::<S, 3>(self),
                    (3, true) => each::<H, 3>(self),
                    (_, false) => each::<S, 5>(self),
                    (_, true) => each::<H, 5>(self),
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn each<S: Simd, const K: usize>(job: Job<'_, S::T>) {
    for i in job.range.clone() {
        let plane = job.plane(i);
        // SAFETY: the caller's promise.
        unsafe {
            match (job.spread, job.planes.stride) {
                (true, _) => strided::spread::<S, K>(plane),
                (false, 1) => correlate::<S, K>(plane),
                (false, 3) if const { S::REGISTERS == 16 && K <= 3 } => strided::correlate::<S, K, 3>(plane),
                (false, _) => strided::correlate::<S, K, 2>(plane),
            }
        }
    }
}

#[inline(always)]
unsafe fn correlate<S: Simd, const K: usize>(c: Plane<'_, S::T>) {
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
        let mut ahead = Ahead::new(&p, c.x, c.y);
        for j in p.columns(S::N) {
            let mut inside = [S::mask(0, 0); K];
            for s in 0..K {
                inside[s] = p.inside::<S>(j, s * p.dilation, S::N);
            }
            for part in c.parts {
                let mut x = c.x.wrapping_add(part.row * p.width + j).wrapping_sub(p.left);
                let mut y = c.y.wrapping_add(part.result * p.out_w + j);
                // Row i of the plane is row r of the window of row i + top - r of the results, whose sums are rows[r].
                let mut rows = [start; K];
                for i in 0..part.out_h + K - 1 - part.top {
                    ahead.step(S::N);
                    if i < part.height {
                        // A sum of its own for each row: the long chain through all of them has additions only.
                        let mut sums = [S::zero(); K];
                        for s in 0..K {
                            let b = S::load_where(x.wrapping_add(s * p.dilation), inside[s]);
                            for r in 0..K {
                                sums[r] = S::fma(w[r][s], b, sums[r]);
                            }
                        }
                        for r in 0..K {
                            rows[r] = S::add(rows[r], sums[r]);
                        }
                        x = x.wrapping_add(p.dilation * p.width);
                    }
                    if i + part.top + 1 >= K {
                        let row = S::add(S::max(S::splat(c.floor), rows[K - 1]), S::zero());
                        if p.out_w >= S::N {
                            S::store(y, row);
                        } else {
                            S::store_where(y, written, row);
                        }
                        y = y.wrapping_add(p.dilation * p.out_w);
                    }
                    rows = next_row::<S, K>(rows, start);
                }
            }
        }
    }
}

/// Asks for the next plane and its results bit by bit: columns of short rows are no order that the hardware would see.
struct Ahead<T> {
    x: *const T,
    y: *const T,
}

impl<T> Ahead<T> {
    #[inline(always)]
    fn new(p: &Planes, x: *const T, y: *const T) -> Self {
        let (plane, out) = p.sizes();
        Ahead { x: x.wrapping_add(plane), y: y.wrapping_add(out) }
    }

    #[inline(always)]
    fn step(&mut self, elements: usize) {
        isa::prefetch(self.x, 0);
        isa::prefetch(self.y, 0);
        (self.x, self.y) = (self.x.wrapping_add(elements), self.y.wrapping_add(elements));
    }

    /// For the results of D rows and columns each.
    #[inline(always)]
    fn strided<const D: usize>(&mut self, elements: usize) {
        for line in (2..D * D).step_by(2) {
            isa::prefetch(self.x, line * elements);
        }
        self.step(elements);
        self.x = self.x.wrapping_add((D * D - 1) * elements);
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
    let (gw, parts) = (Shared(gw.as_mut_ptr()), &planes.parts());
    par::for_each_range(g.in_channels, g.batch.saturating_mul(2 * out * taps), |range| {
        let mut sums = Buffer::<T>::unfilled(NEIGHBOURS * taps * vector);
        let sums = sums.make_mut();
        for first in range.clone().step_by(NEIGHBOURS) {
            let channels = first..range.end.min(first + NEIGHBOURS);
            let sums = &mut sums[..channels.len() * taps * vector];
            sums.fill(T::ZERO);
            let (steps, channels) = ((step_x, step_g), channels.clone());
            let job = WeightJob { planes, parts, images: g.batch, steps, channels: channels.clone(), x, gy, sums };
            // SAFETY: the set comes from detection; the arrays have the planes, and the sums a vector for each tap of a channel.
            unsafe { T::simd(isa, job) };
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

/// One plane, whose products are added to vectors of sums.
struct Correlated<'a, T> {
    planes: Planes,
    parts: &'a [Part],
    x: *const T,
    gy: *const T,
    sums: *mut T,
}

impl<T: Float> SimdBody<T> for WeightJob<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        if const { size_of::<T>() == 4 && S::REGISTERS > 8 } {
            // SAFETY: the caller's promise.
            unsafe {
                match (self.planes.kernel, self.planes.narrow) {
                    (2, false) if const { S::REGISTERS == 16 } => each_weight::<S, 2>(self),
                    (2, true) if const { S::REGISTERS == 16 } => each_weight::<H, 2>(self),
                    (4, false) if const { S::REGISTERS == 16 } => each_weight::<S, 4>(self),
                    (4, true) if const { S::REGISTERS == 16 } => each_weight::<H, 4>(self),
                    (3, false) => each_weight::<S, 3>(self),
                    (3, true) => each_weight::<H, 3>(self),
                    (_, false) => each_weight::<S, 5>(self),
                    (_, true) => each_weight::<H, 5>(self),
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn each_weight<S: Simd, const K: usize>(job: WeightJob<'_, S::T>) {
    let (plane, out) = job.planes.sizes();
    for image in 0..job.images {
        let mut sums = job.sums.as_mut_ptr();
        for c in job.channels.clone() {
            let (at_x, at_g) = (image * job.steps.0 + c * plane, image * job.steps.1 + c * out);
            let (x, gy) = (job.x.as_ptr().wrapping_add(at_x), job.gy.as_ptr().wrapping_add(at_g));
            let one = Correlated { planes: job.planes, parts: job.parts, x, gy, sums };
            // SAFETY: the caller's promise.
            unsafe {
                match job.planes.stride {
                    1 => weight_sums::<S, K>(one),
                    3 if const { S::REGISTERS == 16 && K <= 3 } => strided::weight_sums::<S, K, 3>(one),
                    _ => strided::weight_sums::<S, K, 2>(one),
                }
            }
            sums = sums.wrapping_add(K * K * S::N);
        }
    }
}

#[inline(always)]
unsafe fn weight_sums<S: Simd, const K: usize>(c: Correlated<'_, S::T>) {
    let p = c.planes;
    // SAFETY: the caller's promise: all rows are of planes and gradients, and masks leave out what is beside them.
    unsafe {
        // Sums of an image of their own: fewer numbers of one sum, smaller errors.
        let mut sums = [[S::zero(); K]; K];
        let (mut done, end) = (0, p.out_w.min(S::N));
        let mut ahead = Ahead::new(&p, c.x, c.gy);
        for j in p.columns(S::N) {
            let mut inside = [S::mask(0, 0); K];
            for s in 0..K {
                inside[s] = p.inside::<S>(j, s * p.dilation, end);
            }
            // What the vector before has counted is left out.
            let fresh = S::mask(done - j, end);
            done = j + end;
            for part in c.parts {
                let mut x = c.x.wrapping_add(part.row * p.width + j).wrapping_sub(p.left);
                let mut g = c.gy.wrapping_add(part.result * p.out_w + j);
                // Row i - top of the plane goes with row i - r of the gradients for row r of the kernel: rows[r].
                let mut rows = [S::zero(); K];
                for i in 0..part.top + part.height {
                    ahead.step(S::N);
                    let mut row = S::zero();
                    if i < part.out_h {
                        row = S::load_where(g, fresh);
                        g = g.wrapping_add(p.dilation * p.out_w);
                    }
                    rows = next_row::<S, K>(rows, row);
                    if i < part.top {
                        continue;
                    }
                    for s in 0..K {
                        let b = S::load_where(x.wrapping_add(s * p.dilation), inside[s]);
                        for r in 0..K {
                            sums[r][s] = S::fma(rows[r], b, sums[r][s]);
                        }
                    }
                    x = x.wrapping_add(p.dilation * p.width);
                }
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
