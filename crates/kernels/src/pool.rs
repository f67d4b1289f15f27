//! Pooling over windows of planes.
//!
//! The plain loop: for each plane and each output pixel, fold the elements of its window that lie inside of the plane.
//! The tricks: the rows of all windows of a strip are folded as they lie in the plane, then their columns, sorted by residue, in the
//! same way (`strip`); windows of 2x2 that cover a plane are taken as one long row (`halve`). Where a maximum is, is a byte (`taps`).
//! Adjoints gather: those of the mean add rows first and spread the sums over columns then, those of maxima compare bytes, so each
//! element of the input is written once. Planes are divided over the threads.

mod far;
mod halve;
mod max;
mod mean;
mod strip;
mod taps;

use std::iter::StepBy;
use std::ops::Range;

use crate::buffer::Buffer;
use crate::element::{Float, compiled_here};
use crate::par;

pub use max::{MaxKernels, max_pool2d, max_pool2d_taps, max_pool2d_values};
pub use mean::{MeanKernels, avg_pool2d, avg_pool2d_grad};
pub use taps::{TapKernels, pick_taps, unpool_taps};

/// Sizes of a pooling: planes of `in_h x in_w`, windows, and planes of `out_h x out_w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Number of planes: batch times channels.
    pub planes: usize,
    /// Rows of an input plane.
    pub in_h: usize,
    /// Columns of an input plane.
    pub in_w: usize,
    /// Rows of a window.
    pub kernel_h: usize,
    /// Columns of a window.
    pub kernel_w: usize,
    /// Distance of windows, down and across.
    pub stride: (usize, usize),
    /// Padding above and below, and left and right.
    pub padding: (usize, usize),
    /// Distance of the elements of a window, down and across.
    pub dilation: (usize, usize),
    /// Rows of an output plane.
    pub out_h: usize,
    /// Columns of an output plane.
    pub out_w: usize,
}

impl PoolGeometry {
    /// Elements of all input planes.
    pub fn input_len(&self) -> usize {
        self.planes * self.in_h * self.in_w
    }

    /// Elements of all output planes.
    pub fn output_len(&self) -> usize {
        self.planes * self.out_h * self.out_w
    }

    /// Whether a byte says which element of its window a maximum is: windows are small, without gaps, and none of them lies
    /// outside of its plane.
    pub fn has_taps(&self) -> bool {
        let inside =
            |a: Axis| a.output == 0 || (a.kernel > a.padding && (a.output - 1) * a.stride < a.input + a.padding);
        let small = self.kernel_h.checked_mul(self.kernel_w).is_some_and(|n| n <= 256);
        small && self.dilation == (1, 1) && inside(self.down()) && inside(self.across())
    }

    /// Panics unless the slices belong to this geometry.
    fn check(&self, input: usize, output: usize) {
        assert_eq!(input, self.input_len(), "the input has planes * in_h * in_w elements");
        assert_eq!(output, self.output_len(), "the output has planes * out_h * out_w elements");
        assert!(input > 0 || output == 0, "windows need input planes that are not empty");
        let sizes = [self.kernel_h, self.kernel_w, self.stride.0, self.stride.1, self.dilation.0, self.dilation.1];
        assert!(sizes.iter().all(|&n| n > 0), "kernel, stride and dilation are not 0");
    }

    /// Elements of an input plane and of an output plane.
    fn plane(&self) -> (usize, usize) {
        (self.in_h * self.in_w, self.out_h * self.out_w)
    }

    /// The vertical axis.
    fn down(&self) -> Axis {
        Axis {
            input: self.in_h,
            output: self.out_h,
            kernel: self.kernel_h,
            stride: self.stride.0,
            padding: self.padding.0,
            dilation: self.dilation.0,
        }
    }

    /// The horizontal axis.
    fn across(&self) -> Axis {
        Axis {
            input: self.in_w,
            output: self.out_w,
            kernel: self.kernel_w,
            stride: self.stride.1,
            padding: self.padding.1,
            dilation: self.dilation.1,
        }
    }
}

/// One axis of a pooling.
#[derive(Clone, Copy, Debug)]
struct Axis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Axis {
    /// The positions of a window that lie inside of the input.
    #[inline(always)]
    fn taps(self, at: usize) -> StepBy<Range<usize>> {
        let (start, d) = (at * self.stride, self.dilation);
        let end = (start + (self.kernel - 1) * d + 1).saturating_sub(self.padding).min(self.input);
        let first = if start >= self.padding { start - self.padding } else { (d - (self.padding - start) % d) % d };
        (first..end.max(first)).step_by(d)
    }

    /// The part of the divisor of a mean: the size of the window clipped to the padded input, or what lies inside.
    fn count(self, at: usize, include_pad: bool) -> usize {
        if include_pad {
            (at * self.stride + self.kernel).min(self.input + 2 * self.padding).saturating_sub(at * self.stride)
        } else {
            self.taps(at).len()
        }
    }

    /// The outputs whose windows (of dilation 1) contain this input position.
    #[inline(always)]
    fn covering(self, position: usize) -> Range<usize> {
        let place = position + self.padding;
        let first = (place + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        let end = (place / self.stride + 1).min(self.output);
        first.min(end)..end
    }
}

/// The outputs whose windows contain each input position, found once: divisions take longer than the sums of short rows.
struct Covering(Buffer<i64>);

impl Covering {
    fn new(axis: Axis) -> Covering {
        let mut ends = Buffer::zeroed(2 * axis.input);
        for (position, pair) in ends.make_mut().as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let windows = axis.covering(position);
            *pair = [windows.start as i64, windows.end as i64];
        }
        Covering(ends)
    }

    #[inline(always)]
    fn of(&self, position: usize) -> Range<usize> {
        self.0[2 * position] as usize..self.0[2 * position + 1] as usize
    }
}

/// Planes in one piece of work, for planes of this size.
fn planes_per_chunk(plane: usize) -> usize {
    (16 * 1024 / plane.max(1)).max(1)
}

compiled_here! {
    trait PickKernels for f32, f64 = {
        fn unpool(planes: usize, plane: usize, g: &[Self], index: &[i64], gx: &mut [Self]) = unpool_of;
        fn pick(planes: usize, plane: usize, x: &[Self], index: &[i64], y: &mut [Self]) = pick_of;
    }
}

/// The adjoint of [`pick`]: adds each `g` to the element of its plane of `gx` that `index` names; all others become 0.
///
/// `plane` is the number of elements of one plane of `gx`.
///
/// # Panics
/// The slices do not consist of `planes` planes, or an index lies outside of its plane.
pub fn unpool<T: Float>(planes: usize, plane: usize, g: &[T], index: &[i64], gx: &mut [T]) {
    <T as PickKernels>::unpool(planes, plane, g, index, gx);
}

fn unpool_of<T: Float>(planes: usize, plane: usize, g: &[T], index: &[i64], gx: &mut [T]) {
    let part = part(planes, plane, gx.len(), g.len(), index.len());
    if part == 0 {
        return gx.fill(T::ZERO);
    }
    let chunk = planes_per_chunk(plane);
    par::for_each_chunk(gx, chunk * plane, 12 * chunk.min(planes) * plane, |i, gx| {
        let outputs = i * chunk * part..(i * chunk + gx.len() / plane) * part;
        let outputs = g[outputs.clone()].chunks_exact(part).zip(index[outputs].chunks_exact(part));
        for (gx, (g, index)) in gx.chunks_exact_mut(plane).zip(outputs) {
            gx.fill(T::ZERO);
            for (&g, &i) in g.iter().zip(index) {
                let at = &mut gx[i as usize];
                *at = *at + g;
            }
        }
    });
}

/// The elements of each plane of `x` that `index` names.
///
/// `plane` is the number of elements of one plane of `x`.
///
/// # Panics
/// The slices do not consist of `planes` planes, or an index lies outside of its plane.
pub fn pick<T: Float>(planes: usize, plane: usize, x: &[T], index: &[i64], y: &mut [T]) {
    <T as PickKernels>::pick(planes, plane, x, index, y);
}

fn pick_of<T: Float>(planes: usize, plane: usize, x: &[T], index: &[i64], y: &mut [T]) {
    let part = part(planes, plane, x.len(), y.len(), index.len());
    if part == 0 {
        return;
    }
    let chunk = planes_per_chunk(plane);
    par::for_each_chunk(y, chunk * part, 12 * chunk.min(planes) * part, |i, y| {
        let inputs = x[i * chunk * plane..].chunks_exact(plane).zip(index[i * chunk * part..].chunks_exact(part));
        for (y, (x, index)) in y.chunks_exact_mut(part).zip(inputs) {
            for (y, &i) in y.iter_mut().zip(index) {
                *y = x[i as usize];
            }
        }
    });
}

/// The number of picked elements of each plane, 0 if there are none at all.
fn part(planes: usize, plane: usize, whole: usize, picked: usize, index: usize) -> usize {
    assert_eq!(whole, planes * plane, "planes of the stated size");
    assert_eq!(index, picked, "an index for each element");
    if picked == 0 {
        return 0;
    }
    assert!(plane > 0 && picked.is_multiple_of(planes), "as many elements from each plane");
    picked / planes
}
