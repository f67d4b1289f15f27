//! The twins of the convolutions.

use crate::conv::ConvGeometry;
use crate::element::Float;

/// Calls `f(index in x, index in w, index in y)` for each product of a convolution.
fn products(g: &ConvGeometry, mut f: impl FnMut(usize, usize, usize)) {
    let (inputs, outputs) = (g.in_channels / g.groups, g.out_channels / g.groups);
    for n in 0..g.batch {
        for o in 0..g.out_channels {
            for c in 0..inputs {
                for u in 0..g.kernel_h {
                    for v in 0..g.kernel_w {
                        let w = ((o * inputs + c) * g.kernel_h + u) * g.kernel_w + v;
                        for i in 0..g.out_h {
                            for j in 0..g.out_w {
                                let row = (i * g.stride.0 + u * g.dilation.0).wrapping_sub(g.padding.0);
                                let column = (j * g.stride.1 + v * g.dilation.1).wrapping_sub(g.padding.2);
                                if row < g.in_h && column < g.in_w {
                                    let plane = n * g.in_channels + o / outputs * inputs + c;
                                    let x = (plane * g.in_h + row) * g.in_w + column;
                                    let y = ((n * g.out_channels + o) * g.out_h + i) * g.out_w + j;
                                    f(x, w, y);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The twin of [`crate::conv::conv2d`].
pub fn conv2d<T: Float>(g: &ConvGeometry, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    y.fill(T::ZERO);
    products(g, |a, b, c| y[c] = y[c] + x[a] * w[b]);
    if let Some(bias) = bias {
        let plane = g.out_h * g.out_w;
        y.iter_mut().enumerate().for_each(|(i, y)| *y = *y + bias[i / plane % g.out_channels]);
    }
}

/// The twin of [`crate::conv::conv2d_input`].
pub fn conv2d_input<T: Float>(g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    gx.fill(T::ZERO);
    products(g, |a, b, c| gx[a] = gx[a] + gy[c] * w[b]);
}

/// The twin of [`crate::conv::conv2d_weight`].
pub fn conv2d_weight<T: Float>(g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    gw.fill(T::ZERO);
    products(g, |a, b, c| gw[b] = gw[b] + gy[c] * x[a]);
}
