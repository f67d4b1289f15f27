//! Depthwise convolution at stride 1, dilated or not, or strides 2 and 3, row by row, without a copy of the image; in single precision.
//!
//! The plain loop: `y[i, j] = sum over r, s of w[r, s] * x[i * stride + r * dilation - top, j * stride + s * dilation - left]` for
//! each plane.
//!
//! The tricks: a vector of pixels and its neighbours are read once and added to all the rows of results that they are part of,
//! which stay in registers; masks, the same for all rows, leave out what lies beside the image; the last vector of a row
//! overlaps the one before it, and that of a short row spills over the next one, which is written later. With a dilation every
//! d-th row is a plane of its own for them. The gradient by the input is the same with the kernel turned around; that by the
//! weights is in [`weights`]. Larger strides are in [`strided`].

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop, clippy::manual_memcpy)]

mod strided;
pub(crate) mod weights;

use super::across::Pass;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{self, Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use std::ops::Range;

/// Columns of a kernel, at most, and rows of it forward at stride 1 where there are 32 registers.
const MOST: usize = 7;
/// Rows of other kernels, at most, and columns at stride 2.
const FEWER: usize = 5;

/// Whether a geometry that is depthwise is one of these, on a set that has masks.
pub(crate) fn fits<T: Float>(isa: Isa, g: &ConvGeometry, pass: Pass) -> bool {
    let (kernel, stride) = ((g.kernel_h, g.kernel_w), g.stride);
    let reach = |kernel: usize, dilation: usize| (kernel - 1).saturating_mul(dilation);
    let (down, right) = (reach(kernel.0, g.dilation.0), reach(kernel.1, g.dilation.1));
    size_of::<T>() == 4
        && isa != Isa::Portable
        && kernel.1 <= MOST
        && match stride {
            (1, 1) => kernel.0 <= FEWER || kernel.0 == MOST && isa == Isa::Avx512 && pass != Pass::Weight,
            (2, 2) => g.dilation == (1, 1) && kernel.0.max(kernel.1) <= FEWER,
            (3, 3) => g.dilation == (1, 1) && matches!(kernel, (2, 2) | (3, 3)) && pass != Pass::Input,
            _ => false,
        }
        && g.padding.0.max(g.padding.1) <= down
        && g.padding.2.max(g.padding.3) <= right
}

/// A correlation of planes: their size, that of the results, and how far the first window reaches out of the plane.
#[derive(Clone, Copy)]
struct Planes {
    kernel: (usize, usize),
    stride: usize,
    dilation: (usize, usize),
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
            kernel: (g.kernel_h, g.kernel_w),
            stride: g.stride.0,
            dilation: g.dilation,
            height: g.in_h,
            width: g.in_w,
            out_h: g.out_h,
            out_w: g.out_w,
            top: g.padding.0,
            left: g.padding.2,
            narrow: narrow::<T>(isa, g.out_w, (g.kernel_h, g.kernel_w)),
        }
    }

    /// The correlation of gradients that gives the gradient by the input at stride 1.
    fn backward<T: Float>(g: &ConvGeometry, isa: Isa) -> Planes {
        Planes {
            kernel: (g.kernel_h, g.kernel_w),
            stride: 1,
            dilation: g.dilation,
            height: g.out_h,
            width: g.out_w,
            out_h: g.in_h,
            out_w: g.in_w,
            top: (g.kernel_h - 1) * g.dilation.0 - g.padding.0,
            left: (g.kernel_w - 1) * g.dilation.1 - g.padding.2,
            narrow: narrow::<T>(isa, g.in_w, (g.kernel_h, g.kernel_w)),
        }
    }

    /// Elements of a plane, and of a result.
    fn sizes(&self) -> (usize, usize) {
        (self.height * self.width, self.out_h * self.out_w)
    }

    /// The parts of a plane.
    fn parts(&self) -> Vec<Part> {
        let d = self.dilation.0;
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

    /// For each column of vectors and each column of the kernel, which of the first `end` pixels that they meet are in the plane: in as
    /// many vectors as the stride.
    #[inline(always)]
    unsafe fn inside<S: Simd>(self, end: usize) -> Vec<S::M> {
        let mut all = Vec::with_capacity(self.out_w.div_ceil(S::N) * self.kernel.1 * self.stride);
        for j in self.columns(S::N) {
            for s in 0..self.kernel.1 {
                for k in 0..self.stride {
                    let at = self.stride * j + s * self.dilation.1 + k * S::N;
                    // SAFETY: the caller's promise: the set is enabled.
                    all.push(unsafe { within::<S>(self.left, self.width, at, end) });
                }
            }
        }
        all
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

/// Whether the narrow vectors waste less for a row of so many results. Only the usual kernels are compiled with them.
pub(super) fn narrow<T: Float>(isa: Isa, width: usize, kernel: (usize, usize)) -> bool {
    let (half, taps) = (lanes::<T>(isa) / 2, kernel.0 * kernel.1);
    // Where a full vector takes as long as two of them, an odd number of them is less, but for what each vector costs with few taps.
    let odd = isa::half_cost(isa) == 1 && taps > 9 && width.div_ceil(half) % 2 == 1;
    // Those of AVX2 are as fast as full ones.
    isa == Isa::Avx512 && matches!(kernel, (3, 3) | (5, 5)) && (width <= half || odd)
}

/// [`crate::conv::conv2d`] where it [`fits`].
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    let planes = Planes::forward::<T>(g, isa);
    each_plane(isa, g, planes, planes.sizes(), (x, w, epilogue), y, false);
}

/// [`crate::conv::conv2d_input`] where it [`fits`].
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    if g.stride == (2, 2) {
        let planes = Planes {
            narrow: narrow::<T>(isa, g.in_w.div_ceil(2), (g.kernel_h, g.kernel_w)),
            ..Planes::forward::<T>(g, isa)
        };
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
struct Plane<'a, S: Simd> {
    planes: Planes,
    x: *const S::T,
    w: *const S::T,
    start: S::T,
    /// Results are not below it; zero is added to them, so that zeros are positive as after a ReLU of its own.
    floor: S::T,
    parts: &'a [Part],
    inside: &'a [S::M],
    y: *mut S::T,
}

impl<T: Float> Job<'_, T> {
    #[inline(always)]
    fn plane<'a, S: Simd<T = T>>(&'a self, inside: &'a [S::M], i: usize) -> Plane<'a, S> {
        let (channel, taps) = (i % self.channels, self.planes.kernel.0 * self.planes.kernel.1);
        Plane {
            planes: self.planes,
            x: self.x.as_ptr().wrapping_add(i * self.sizes.0),
            w: self.w.as_ptr().wrapping_add(channel * taps),
            start: self.epilogue.bias.map_or(T::ZERO, |bias| bias[channel]),
            floor: if self.epilogue.relu { T::ZERO } else { T::LOWEST },
            parts: self.parts,
            inside,
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
unsafe fn kernels<S: Simd, const NARROW: bool>(job: Job<'_, S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        match job.planes.kernel {
            (3, 3) => each::<S, 3, 3>(job),
            (5, 5) => each::<S, 5, 5>(job),
            _ if NARROW => unreachable!("other kernels have full vectors"),
            _ if job.spread => each::<S, FEWER, MOST>(job),
            (2, 2) if const { S::REGISTERS == 16 } => each::<S, 2, 2>(job),
            (4, 4) if const { S::REGISTERS == 16 } => each::<S, 4, 4>(job),
            (1, _) => each::<S, 1, MOST>(job),
            (2, _) => each::<S, 2, MOST>(job),
            (3, _) => each::<S, 3, MOST>(job),
            (4, _) => each::<S, 4, MOST>(job),
            (5, _) => each::<S, FEWER, MOST>(job),
            _ if const { S::REGISTERS == 32 } => each::<S, MOST, MOST>(job),
            _ => unreachable!("kernels have fewer rows"),
        }
    }
}

/// Planes with kernels of KH rows and KW columns, or at most so many where that is [`MOST`].
#[inline(always)]
unsafe fn each<S: Simd, const KH: usize, const KW: usize>(job: Job<'_, S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        if job.spread {
            if const { KH % 2 == 1 && KH > 1 && KH < MOST } {
                for i in job.range.clone() {
                    strided::spread::<S, KH, KW>(job.plane::<S>(&[], i));
                }
            }
            return;
        }
        let inside = job.planes.inside::<S>(S::N);
        for i in job.range.clone() {
            let plane = job.plane::<S>(&inside, i);
            match job.planes.stride {
                3 if const { matches!((KH, KW), (2, _) | (3, 3)) } => strided::correlate::<S, KH, KW, 3>(plane),
                2 if const { KH <= FEWER } => strided::correlate::<S, KH, KW, 2>(plane),
                _ => correlate::<S, KH, KW>(plane),
            }
        }
    }
}

/// Which pixels are in the plane, for a column of vectors.
#[derive(Clone, Copy)]
struct Inside<S: Simd, const KW: usize, const D: usize>([[S::M; D]; KW]);

impl<S: Simd, const KW: usize, const D: usize> Inside<S, KW, D> {
    /// Of so many columns of the kernel, from some element of the list on.
    #[inline(always)]
    unsafe fn new(all: &[S::M], first: usize, columns: usize) -> Self {
        // SAFETY: the caller's promise: the list has so many more.
        unsafe {
            let mut inside = [[S::mask(0, 0); D]; KW];
            for s in 0..KW {
                if s < columns {
                    for k in 0..D {
                        inside[s][k] = *all.get_unchecked(first + D * s + k);
                    }
                }
            }
            Inside(inside)
        }
    }
}

/// The weights of a plane: those of a kernel whose size is known stay in registers.
#[derive(Clone, Copy)]
struct Weights<S: Simd, const KH: usize, const KW: usize> {
    known: [[S::V; KW]; KH],
    w: *const S::T,
    columns: usize,
}

impl<S: Simd, const KH: usize, const KW: usize> Weights<S, KH, KW> {
    #[inline(always)]
    unsafe fn new(c: &Plane<'_, S>) -> Self {
        // SAFETY: the caller's promise: the plane has a kernel.
        unsafe {
            let mut known = [[S::zero(); KW]; KH];
            if const { KW == MOST } {
                return Weights { known, w: c.w, columns: c.planes.kernel.1 };
            }
            for r in 0..KH {
                for s in 0..KW {
                    known[r][s] = S::splat(*c.w.add(r * KW + s));
                }
            }
            Weights { known, w: c.w, columns: KW }
        }
    }

    #[inline(always)]
    unsafe fn at(&self, r: usize, s: usize) -> S::V {
        if const { KW < MOST } {
            return self.known[r][s];
        }
        // SAFETY: the caller's promise: the kernel has such a row and column.
        unsafe { S::splat(*self.w.add(r * self.columns + s)) }
    }
}

#[inline(always)]
unsafe fn correlate<S: Simd, const KH: usize, const KW: usize>(c: Plane<'_, S>) {
    let (p, d) = (c.planes, c.planes.dilation);
    // SAFETY: the caller's promise: all rows are of planes and results, and masks leave out what is beside them.
    unsafe {
        let start = S::splat(c.start);
        let w = Weights::<S, KH, KW>::new(&c);
        let mut ahead = Ahead::new(&p, c.x, c.y);
        for (v, j) in p.columns(S::N).enumerate() {
            let inside = Inside::<S, KW, 1>::new(c.inside, v * w.columns, w.columns);
            for part in c.parts {
                let mut x = c.x.wrapping_add(part.row * p.width + j).wrapping_sub(p.left);
                let mut y = Rows::<S>::new(&c, part.result, j, d.0);
                // Row i of the plane is row r of the window of row i + top - r of the results, whose sums are rows[r].
                let mut rows = [start; KH];
                for i in 0..part.out_h + KH - 1 - part.top {
                    ahead.step(S::N);
                    if i < part.height {
                        // A sum of its own for each row: the long chain through all of them has additions only.
                        let mut sums = [S::zero(); KH];
                        // A loop that ends somewhere in between is unrolled too.
                        for s in 0..KW {
                            if s >= w.columns {
                                break;
                            }
                            let b = S::load_where(x.wrapping_add(s * d.1), inside.0[s][0]);
                            for r in 0..KH {
                                sums[r] = S::fma(w.at(r, s), b, sums[r]);
                            }
                        }
                        for r in 0..KH {
                            rows[r] = S::add(rows[r], sums[r]);
                        }
                        x = x.wrapping_add(d.0 * p.width);
                    }
                    if i + part.top + 1 >= KH {
                        y.write(rows[KH - 1]);
                    }
                    rows = next_row::<S, KH>(rows, start);
                }
            }
        }
    }
}

/// Rows of results, one after the other: of a column of vectors.
struct Rows<S: Simd> {
    /// Where the next row goes, how far away the one after it is, and the last place for a whole vector.
    y: *mut S::T,
    step: usize,
    last: *mut S::T,
    floor: S::V,
    written: S::M,
}

impl<S: Simd> Rows<S> {
    /// From row `first` and column j on, in steps of so many rows.
    #[inline(always)]
    unsafe fn new(c: &Plane<'_, S>, first: usize, j: usize, step: usize) -> Self {
        let (width, out) = (c.planes.out_w, c.planes.sizes().1);
        // A vector may spill over the rows behind a short row if those are written later.
        let spills = out >= S::N && (step == 1 || first + (S::N - 1) / width < step);
        let last = if spills { c.y.wrapping_add(out - S::N) } else { std::ptr::null_mut() };
        // SAFETY: the caller's promise: the set is enabled.
        let (floor, written) = unsafe { (S::splat(c.floor), S::mask(0, width.min(S::N))) };
        Rows { y: c.y.wrapping_add(first * width + j), step: step * width, last, floor, written }
    }

    #[inline(always)]
    unsafe fn write(&mut self, row: S::V) {
        // SAFETY: the caller's promise: there is one more row, which lies in the plane.
        unsafe {
            let row = S::add(S::max(self.floor, row), S::zero());
            if self.y <= self.last {
                S::store(self.y, row);
            } else {
                S::store_where(self.y, self.written, row);
            }
        }
        self.y = self.y.wrapping_add(self.step);
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
        for ahead in (64 / size_of::<T>()..D * D * elements).step_by(64 / size_of::<T>()) {
            isa::prefetch(self.x, ahead);
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
