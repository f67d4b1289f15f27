//! Adaptive pooling.
#![allow(missing_docs)]
use crate::element::Float;
fn windows(planes: usize, h: usize, w: usize, oh: usize, ow: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
    for p in 0..planes {
        for i in 0..oh {
            for j in 0..ow {
                let (r0, r1, s0, s1) = (i * h / oh, ((i + 1) * h).div_ceil(oh), j * w / ow, ((j + 1) * w).div_ceil(ow));
                for r in r0..r1 {
                    for s in s0..s1 {
                        f(p, r * w + s, (p * oh + i) * ow + j, (r1 - r0) * (s1 - s0));
                    }
                }
            }
        }
    }
}
pub fn adaptive_avg_pool2d<T: Float>(planes: usize, h: usize, w: usize, oh: usize, ow: usize, x: &[T], y: &mut [T]) {
    y.fill(T::default());
    windows(planes, h, w, oh, ow, |p, k, o, n| y[o] = y[o].add(T::of(x[p * h * w + k].f() / n as f64)));
}
pub fn adaptive_avg_pool2d_grad<T: Float>(
    planes: usize,
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
    gy: &[T],
    gx: &mut [T],
) {
    gx.fill(T::default());
    windows(planes, h, w, oh, ow, |p, k, o, n| gx[p * h * w + k] = gx[p * h * w + k].add(T::of(gy[o].f() / n as f64)));
}
pub fn adaptive_max_pool2d<T: Float>(
    planes: usize,
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
    x: &[T],
    y: &mut [T],
    index: &mut [i64],
) {
    index.fill(-1);
    windows(planes, h, w, oh, ow, |p, k, o, _| {
        let v = x[p * h * w + k];
        if index[o] < 0 || v > y[o] || v.f().is_nan() {
            y[o] = v;
            index[o] = k as i64;
        }
    });
}
