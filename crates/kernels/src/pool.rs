//! Pooling.
#![allow(missing_docs)]
use crate::element::Float;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    pub planes: usize,
    pub in_h: usize,
    pub in_w: usize,
    pub kernel_h: usize,
    pub kernel_w: usize,
    pub stride: (usize, usize),
    pub padding: (usize, usize),
    pub dilation: (usize, usize),
    pub out_h: usize,
    pub out_w: usize,
}
pub fn max_pool2d<T: Float>(g: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    for p in 0..g.planes {
        for i in 0..g.out_h {
            for j in 0..g.out_w {
                let (mut best, mut at) = (T::of(f64::NEG_INFINITY), -1i64);
                for u in 0..g.kernel_h {
                    for v in 0..g.kernel_w {
                        let (r, s) = (i * g.stride.0 + u * g.dilation.0, j * g.stride.1 + v * g.dilation.1);
                        if r < g.padding.0 || s < g.padding.1 || r - g.padding.0 >= g.in_h || s - g.padding.1 >= g.in_w
                        {
                            continue;
                        }
                        let k = (r - g.padding.0) * g.in_w + s - g.padding.1;
                        let val = x[p * g.in_h * g.in_w + k];
                        if at < 0 || val > best || val.f().is_nan() {
                            best = val;
                            at = k as i64;
                        }
                    }
                }
                let o = (p * g.out_h + i) * g.out_w + j;
                y[o] = best;
                index[o] = at.max(0);
            }
        }
    }
}
pub fn unpool<T: Float>(planes: usize, plane: usize, g: &[T], index: &[i64], x: &mut [T]) {
    x.fill(T::default());
    let out = g.len() / planes.max(1);
    for (i, (&v, &k)) in g.iter().zip(index).enumerate() {
        let a = i / out * plane + k as usize;
        x[a] = x[a].add(v);
    }
}
pub fn pick<T: Float>(planes: usize, plane: usize, x: &[T], index: &[i64], y: &mut [T]) {
    let out = y.len() / planes.max(1);
    for (i, (y, &k)) in y.iter_mut().zip(index).enumerate() {
        *y = x[i / out * plane + k as usize];
    }
}
fn windows(g: &PoolGeometry, include: bool, divisor: Option<i64>, mut f: impl FnMut(usize, usize, f64)) {
    for p in 0..g.planes {
        for i in 0..g.out_h {
            for j in 0..g.out_w {
                let side = |i: usize, s: usize, pad: usize, k: usize, n: usize| {
                    let a = i * s;
                    let e = (a + k).min(n + 2 * pad);
                    (a.max(pad) - pad, (e.max(pad) - pad).min(n), e - a.min(e))
                };
                let (r0, r1, nr) = side(i, g.stride.0, g.padding.0, g.kernel_h, g.in_h);
                let (s0, s1, ns) = side(j, g.stride.1, g.padding.1, g.kernel_w, g.in_w);
                if r0 >= r1 || s0 >= s1 {
                    continue;
                }
                let d = divisor.map_or(if include { nr * ns } else { (r1 - r0) * (s1 - s0) } as f64, |d| d as f64);
                for r in r0..r1 {
                    for s in s0..s1 {
                        f((p * g.in_h + r) * g.in_w + s, (p * g.out_h + i) * g.out_w + j, d);
                    }
                }
            }
        }
    }
}
pub fn avg_pool2d<T: Float>(g: &PoolGeometry, include: bool, divisor: Option<i64>, x: &[T], y: &mut [T]) {
    y.fill(T::default());
    windows(g, include, divisor, |a, b, d| y[b] = y[b].add(T::of(x[a].f() / d)));
}
pub fn avg_pool2d_grad<T: Float>(g: &PoolGeometry, include: bool, divisor: Option<i64>, gy: &[T], gx: &mut [T]) {
    gx.fill(T::default());
    windows(g, include, divisor, |a, b, d| gx[a] = gx[a].add(T::of(gy[b].f() / d)));
}
