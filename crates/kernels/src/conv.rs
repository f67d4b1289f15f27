//! Convolutions.
#![allow(missing_docs)]
use crate::element::Float;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    pub batch: usize,
    pub in_channels: usize,
    pub in_h: usize,
    pub in_w: usize,
    pub out_channels: usize,
    pub kernel_h: usize,
    pub kernel_w: usize,
    pub stride: (usize, usize),
    pub padding: (usize, usize, usize, usize),
    pub dilation: (usize, usize),
    pub groups: usize,
    pub out_h: usize,
    pub out_w: usize,
}
fn each(g: &ConvGeometry, mut f: impl FnMut(usize, usize, usize)) {
    let (ci, co) = (g.in_channels / g.groups, g.out_channels / g.groups);
    for n in 0..g.batch {
        for o in 0..g.out_channels {
            for c in 0..ci {
                for u in 0..g.kernel_h {
                    for v in 0..g.kernel_w {
                        for i in 0..g.out_h {
                            let r = i * g.stride.0 + u * g.dilation.0;
                            if r < g.padding.0 || r - g.padding.0 >= g.in_h {
                                continue;
                            }
                            for j in 0..g.out_w {
                                let s = j * g.stride.1 + v * g.dilation.1;
                                if s < g.padding.2 || s - g.padding.2 >= g.in_w {
                                    continue;
                                }
                                f(
                                    ((n * g.in_channels + o / co * ci + c) * g.in_h + r - g.padding.0) * g.in_w + s
                                        - g.padding.2,
                                    ((o * ci + c) * g.kernel_h + u) * g.kernel_w + v,
                                    ((n * g.out_channels + o) * g.out_h + i) * g.out_w + j,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
pub fn conv2d<T: Float>(g: &ConvGeometry, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    y.fill(T::default());
    each(g, |a, b, c| y[c] = y[c].plus(x[a].times(w[b])));
    if let Some(bias) = bias {
        for (i, y) in y.iter_mut().enumerate() {
            *y = y.plus(bias[i / (g.out_h * g.out_w) % g.out_channels]);
        }
    }
}
pub fn conv2d_input<T: Float>(g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    gx.fill(T::default());
    each(g, |a, b, c| gx[a] = gx[a].plus(gy[c].times(w[b])));
}
pub fn conv2d_weight<T: Float>(g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    gw.fill(T::default());
    each(g, |a, b, c| gw[b] = gw[b].plus(gy[c].times(x[a])));
}
pub fn conv2d_bias<T: Float>(g: &ConvGeometry, gy: &[T], gb: &mut [T]) {
    gb.fill(T::default());
    for (i, v) in gy.iter().enumerate() {
        let k = i / (g.out_h * g.out_w) % g.out_channels;
        gb[k] = gb[k] + *v;
    }
}
