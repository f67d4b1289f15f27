//! Pooling to a given output size.
//!
//! The plain loop: output pixel `i` of `out` folds the input pixels from `floor(i * in / out)` to `ceil((i + 1) * in / out)`.

use std::ops::Range;

use crate::element::Float;

/// The input pixels of one output pixel along one axis.
fn window(at: usize, input: usize, output: usize) -> Range<usize> {
    let start = at / output * input + at % output * input / output;
    let end = 1 + ((at + 1) * input - 1) / output;
    start..end
}

/// Panics unless the slices belong to these sizes.
fn check(planes: usize, input: (usize, usize), output: (usize, usize), x: usize, y: usize) {
    assert_eq!(x, planes * input.0 * input.1, "the input has planes * in_h * in_w elements");
    assert_eq!(y, planes * output.0 * output.1, "the output has planes * out_h * out_w elements");
    assert!(x > 0 || y == 0, "windows need input planes that are not empty");
}

/// Calls `f` for each output pixel with its position, the number of its plane and its window.
fn each(
    planes: usize,
    input: (usize, usize),
    output: (usize, usize),
    mut f: impl FnMut(usize, usize, Range<usize>, Range<usize>),
) {
    for plane in 0..planes {
        for oh in 0..output.0 {
            for ow in 0..output.1 {
                let at = (plane * output.0 + oh) * output.1 + ow;
                f(at, plane, window(oh, input.0, output.0), window(ow, input.1, output.1));
            }
        }
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
    check(planes, (in_h, in_w), (out_h, out_w), x.len(), y.len());
    each(planes, (in_h, in_w), (out_h, out_w), |at, plane, rows, columns| {
        let count = T::real((rows.len() * columns.len()) as f64);
        let mut sum = T::ZERO;
        for h in rows {
            let row = (plane * in_h + h) * in_w;
            for &v in &x[row + columns.start..row + columns.end] {
                sum = sum + v;
            }
        }
        y[at] = sum / count;
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
    check(planes, (in_h, in_w), (out_h, out_w), gx.len(), gy.len());
    gx.fill(T::ZERO);
    each(planes, (in_h, in_w), (out_h, out_w), |at, plane, rows, columns| {
        let v = gy[at] / T::real((rows.len() * columns.len()) as f64);
        for h in rows {
            let row = (plane * in_h + h) * in_w;
            for gx in &mut gx[row + columns.start..row + columns.end] {
                *gx = *gx + v;
            }
        }
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
    check(planes, (in_h, in_w), (out_h, out_w), x.len(), y.len());
    assert_eq!(index.len(), y.len(), "an index for each output");
    each(planes, (in_h, in_w), (out_h, out_w), |at, plane, rows, columns| {
        let x = &x[plane * in_h * in_w..(plane + 1) * in_h * in_w];
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
}
