//! Convolutions as loops over rows of the image, clipped to it: no padding, no packing, no threads.
//!
//! The plain loop: for each weight and each row of outputs, add a multiple of a row of the input. Only columns inside
//! of the image are visited. For problems of a few rows this costs less than preparing tiles; it also serves geometries whose
//! padding is huge compared with the image.

use crate::conv::{ConvGeometry, Epilogue};
use crate::element::Float;
use crate::isa;
use std::ops::Range;

/// The outputs that see the inside of the image through element `r` of the kernel, along one axis.
#[inline(always)]
pub(crate) fn inside(size: usize, before: usize, r: usize, dilation: usize, stride: usize, out: usize) -> Range<usize> {
    let at = r * dilation;
    if stride == 1 {
        // Without divisions, which would take longer than a short row.
        let first = before.saturating_sub(at).min(out);
        return first..(size + before).saturating_sub(at).min(out).max(first);
    }
    let first = before.saturating_sub(at).div_ceil(stride).min(out);
    let end = (size + before).saturating_sub(at).div_ceil(stride).min(out);
    first..end.max(first)
}

/// Calls `f(start in x, stride in x, index in w, start in y, outputs)` for each run of products.
#[inline(always)]
fn runs(g: &ConvGeometry, mut f: impl FnMut(usize, usize, usize, usize, usize)) {
    let (inputs, outputs) = (g.group_in(), g.group_out());
    for n in 0..g.batch {
        for o in 0..g.out_channels {
            for c in 0..inputs {
                let plane = n * g.in_channels + o / outputs * inputs + c;
                for r in 0..g.kernel_h {
                    for s in 0..g.kernel_w {
                        let columns = inside(g.in_w, g.padding.2, s, g.dilation.1, g.stride.1, g.out_w);
                        if columns.is_empty() {
                            continue;
                        }
                        let w = ((o * inputs + c) * g.kernel_h + r) * g.kernel_w + s;
                        for i in inside(g.in_h, g.padding.0, r, g.dilation.0, g.stride.0, g.out_h) {
                            let row = i * g.stride.0 + r * g.dilation.0 - g.padding.0;
                            let column = columns.start * g.stride.1 + s * g.dilation.1 - g.padding.2;
                            let x = (plane * g.in_h + row) * g.in_w + column;
                            let y = ((n * g.out_channels + o) * g.out_h + i) * g.out_w + columns.start;
                            f(x, g.stride.1, w, y, columns.len());
                        }
                    }
                }
            }
        }
    }
}

/// Columns that have sums of their own.
const LANES: usize = 16;

/// [`crate::conv::conv2d`].
pub(crate) fn conv2d<T: Float>(g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    let plane = g.out_h * g.out_w;
    isa::dispatch::<T, _>(
        #[inline(always)]
        || {
            if plane > 0 {
                let fill = |i: usize| epilogue.bias.map_or(T::ZERO, |b| b[i % g.out_channels]);
                y.chunks_exact_mut(plane).enumerate().for_each(|(i, y)| y.fill(fill(i)));
            }
            if !(y.is_empty() || w.is_empty() || x.is_empty()) {
                runs(
                    g,
                    #[inline(always)]
                    |a, stride, b, c, n| {
                        let (x, w, y) = (&x[a..], w[b], &mut y[c..c + n]);
                        if stride == 1 {
                            y.iter_mut().zip(x).for_each(|(y, &x)| *y = *y + w * x);
                        } else {
                            y.iter_mut().zip(x.iter().step_by(stride)).for_each(|(y, &x)| *y = *y + w * x);
                        }
                    },
                );
            }
            if epilogue.relu {
                y.iter_mut().for_each(|y| *y = if *y <= T::ZERO { T::ZERO } else { *y });
            }
        },
    );
}

/// [`crate::conv::conv2d_input`].
pub(crate) fn conv2d_input<T: Float>(g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    isa::dispatch::<T, _>(
        #[inline(always)]
        || {
            gx.fill(T::ZERO);
            if gy.is_empty() || w.is_empty() || gx.is_empty() {
                return;
            }
            runs(
                g,
                #[inline(always)]
                |a, stride, b, c, n| {
                    let (x, w, y) = (&mut gx[a..], w[b], &gy[c..c + n]);
                    if stride == 1 {
                        x.iter_mut().zip(y).for_each(|(x, &y)| *x = *x + w * y);
                    } else {
                        x.iter_mut().step_by(stride).zip(y).for_each(|(x, &y)| *x = *x + w * y);
                    }
                },
            );
        },
    );
}

/// [`crate::conv::conv2d_weight`].
pub(crate) fn conv2d_weight<T: Float>(g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    isa::dispatch::<T, _>(
        #[inline(always)]
        || {
            gw.fill(T::ZERO);
            if gy.is_empty() || x.is_empty() || gw.is_empty() {
                return;
            }
            // A sum for each of some columns, so that a product need not wait for the one before it.
            let mut sums = [T::ZERO; LANES];
            let mut weight = 0;
            let mut settle = |at: usize, sums: &mut [T; LANES]| {
                gw[at] = sums.iter().fold(gw[at], |all, &sum| all + sum);
                *sums = [T::ZERO; LANES];
            };
            runs(
                g,
                #[inline(always)]
                |a, stride, b, c, n| {
                    if b != weight {
                        settle(std::mem::replace(&mut weight, b), &mut sums);
                    }
                    for (i, gy) in gy[c..c + n].chunks(LANES).enumerate() {
                        let x = &x[a + i * LANES * stride..];
                        if stride == 1 {
                            sums.iter_mut().zip(x.iter().zip(gy)).for_each(|(sum, (&x, &y))| *sum = *sum + x * y);
                        } else {
                            let x = x.iter().step_by(stride);
                            sums.iter_mut().zip(x.zip(gy)).for_each(|(sum, (&x, &y))| *sum = *sum + x * y);
                        }
                    }
                },
            );
            settle(weight, &mut sums);
        },
    );
}
