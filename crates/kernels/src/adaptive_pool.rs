//! Pooling to a given output size.
//!
//! The plain loop: output pixel `i` of `out` folds the input pixels from `floor(i * in / out)` to `ceil((i + 1) * in / out)`.
//! The tricks: the mean of whole planes is a row sum, and sizes that divide each other are an ordinary pooling. Planes are
//! divided over the threads.

use std::ops::Range;

use crate::element::{Float, compiled_here};
use crate::pool::{self, PoolGeometry};
use crate::{par, reduce};

/// Sizes of an adaptive pooling.
#[derive(Clone, Copy)]
struct Sizes {
    planes: usize,
    input: (usize, usize),
    output: (usize, usize),
}

impl Sizes {
    /// Panics unless the slices belong to the sizes.
    fn new(planes: usize, input: (usize, usize), output: (usize, usize), x: usize, y: usize) -> Sizes {
        assert_eq!(x, planes * input.0 * input.1, "the input has planes * in_h * in_w elements");
        assert_eq!(y, planes * output.0 * output.1, "the output has planes * out_h * out_w elements");
        assert!(x > 0 || y == 0, "windows need input planes that are not empty");
        Sizes { planes, input, output }
    }

    /// Elements of an input plane and of an output plane.
    fn plane(self) -> (usize, usize) {
        (self.input.0 * self.input.1, self.output.0 * self.output.1)
    }

    /// About how many operations a plane takes.
    fn work(self) -> usize {
        let (plane, out) = self.plane();
        8 * (plane + 4 * out)
    }

    /// The ordinary pooling that this is, if sizes divide and there is more than one window.
    fn ordinary(self) -> Option<PoolGeometry> {
        let (h, w) = (self.input.0.checked_div(self.output.0)?, self.input.1.checked_div(self.output.1)?);
        let fits = self.input == (h * self.output.0, w * self.output.1) && self.output != (1, 1);
        fits.then_some(PoolGeometry {
            planes: self.planes,
            in_h: self.input.0,
            in_w: self.input.1,
            kernel_h: h,
            kernel_w: w,
            stride: (h, w),
            padding: (0, 0),
            dilation: (1, 1),
            out_h: self.output.0,
            out_w: self.output.1,
        })
    }

    /// Calls `f` for each output pixel of a plane with its position and its window.
    fn each(self, mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
        for oh in 0..self.output.0 {
            for ow in 0..self.output.1 {
                let rows = window(oh, self.input.0, self.output.0);
                f(oh * self.output.1 + ow, rows, window(ow, self.input.1, self.output.1));
            }
        }
    }
}

/// The input pixels of one output pixel along one axis.
fn window(at: usize, input: usize, output: usize) -> Range<usize> {
    let start = at / output * input + at % output * input / output;
    let end = 1 + ((at + 1) * input - 1) / output;
    start..end
}

compiled_here! {
    trait AdaptiveKernels for f32, f64 = {
        fn adaptive_avg_pool2d(planes: usize, in_h: usize, in_w: usize, out_h: usize, out_w: usize, x: &[Self], y: &mut [Self]) = adaptive_avg_pool2d_of;
        fn adaptive_avg_pool2d_grad(planes: usize, in_h: usize, in_w: usize, out_h: usize, out_w: usize, gy: &[Self], gx: &mut [Self]) = adaptive_avg_pool2d_grad_of;
        fn adaptive_max_pool2d(planes: usize, in_h: usize, in_w: usize, out_h: usize, out_w: usize, x: &[Self], y: &mut [Self], index: &mut [i64]) = adaptive_max_pool2d_of;
    }
}

/// The mean of each window.
///
/// # Panics
/// A slice has another length than the sizes say.
pub fn adaptive_avg_pool2d<T: Float>(
    planes: usize,
    in_h: usize,
    in_w: usize,
    out_h: usize,
    out_w: usize,
    x: &[T],
    y: &mut [T],
) {
    <T as AdaptiveKernels>::adaptive_avg_pool2d(planes, in_h, in_w, out_h, out_w, x, y);
}

fn adaptive_avg_pool2d_of<T: Float>(
    planes: usize,
    in_h: usize,
    in_w: usize,
    out_h: usize,
    out_w: usize,
    x: &[T],
    y: &mut [T],
) {
    let sizes = Sizes::new(planes, (in_h, in_w), (out_h, out_w), x.len(), y.len());
    let (plane, out) = sizes.plane();
    if out == 1 {
        reduce::sum(x, planes, plane, 1, y);
        let count = T::real(plane as f64);
        return y.iter_mut().for_each(|y| *y = *y / count);
    }
    if let Some(geo) = sizes.ordinary() {
        return pool::avg_pool2d(&geo, true, None, x, y);
    }
    par::for_each_chunk(y, out, sizes.work(), |i, y| {
        let x = &x[i * plane..(i + 1) * plane];
        sizes.each(|at, rows, columns| {
            let count = T::real((rows.len() * columns.len()) as f64);
            let mut sum = T::ZERO;
            for h in rows {
                for &v in &x[h * in_w + columns.start..h * in_w + columns.end] {
                    sum = sum + v;
                }
            }
            y[at] = sum / count;
        });
    });
}

/// The adjoint of [`adaptive_avg_pool2d`]: each `gy`, divided by the size of its window, is added to its elements.
///
/// # Panics
/// A slice has another length than the sizes say.
pub fn adaptive_avg_pool2d_grad<T: Float>(
    planes: usize,
    in_h: usize,
    in_w: usize,
    out_h: usize,
    out_w: usize,
    gy: &[T],
    gx: &mut [T],
) {
    <T as AdaptiveKernels>::adaptive_avg_pool2d_grad(planes, in_h, in_w, out_h, out_w, gy, gx);
}

fn adaptive_avg_pool2d_grad_of<T: Float>(
    planes: usize,
    in_h: usize,
    in_w: usize,
    out_h: usize,
    out_w: usize,
    gy: &[T],
    gx: &mut [T],
) {
    let sizes = Sizes::new(planes, (in_h, in_w), (out_h, out_w), gx.len(), gy.len());
    let (plane, out) = sizes.plane();
    if let Some(geo) = sizes.ordinary() {
        return pool::avg_pool2d_grad(&geo, true, None, gy, gx);
    }
    par::for_each_chunk(gx, plane, sizes.work(), |i, gx| {
        let gy = &gy[i * out..(i + 1) * out];
        if let [g] = gy {
            return gx.fill(*g / T::real(plane as f64));
        }
        gx.fill(T::ZERO);
        sizes.each(|at, rows, columns| {
            let v = gy[at] / T::real((rows.len() * columns.len()) as f64);
            for h in rows {
                for gx in &mut gx[h * in_w + columns.start..h * in_w + columns.end] {
                    *gx = *gx + v;
                }
            }
        });
    });
}

/// The largest element of each window and its position in the plane: ties give the first one, NaN wins.
///
/// # Panics
/// A slice has another length than the sizes say.
#[allow(clippy::too_many_arguments)]
pub fn adaptive_max_pool2d<T: Float>(
    planes: usize,
    in_h: usize,
    in_w: usize,
    out_h: usize,
    out_w: usize,
    x: &[T],
    y: &mut [T],
    index: &mut [i64],
) {
    <T as AdaptiveKernels>::adaptive_max_pool2d(planes, in_h, in_w, out_h, out_w, x, y, index);
}

#[allow(clippy::too_many_arguments)]
fn adaptive_max_pool2d_of<T: Float>(
    planes: usize,
    in_h: usize,
    in_w: usize,
    out_h: usize,
    out_w: usize,
    x: &[T],
    y: &mut [T],
    index: &mut [i64],
) {
    let sizes = Sizes::new(planes, (in_h, in_w), (out_h, out_w), x.len(), y.len());
    assert_eq!(index.len(), y.len(), "an index for each output");
    let (plane, out) = sizes.plane();
    if let Some(geo) = sizes.ordinary() {
        return pool::max_pool2d(&geo, x, y, index);
    }
    par::for_each_chunk2(y, out, index, out, sizes.work(), |i, y, index| {
        let x = &x[i * plane..(i + 1) * plane];
        sizes.each(|at, rows, columns| {
            let (mut best, mut place) = (T::LOWEST, rows.start * in_w + columns.start);
            for h in rows {
                for w in columns.clone() {
                    let v = x[h * in_w + w];
                    if v > best || v.nan() {
                        (best, place) = (v, h * in_w + w);
                    }
                }
            }
            (y[at], index[at]) = (best, place as i64);
        });
    });
}
