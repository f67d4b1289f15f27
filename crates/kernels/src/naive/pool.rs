//! Twins of the poolings.

use crate::element::Float;
use crate::pool::PoolGeometry;

/// The positions in the plane of the elements of one window, in row-major order, those in the padding left out.
pub fn window(g: &PoolGeometry, oh: usize, ow: usize) -> Vec<usize> {
    let mut positions = Vec::new();
    for kh in 0..g.kernel_h {
        for kw in 0..g.kernel_w {
            let h = (oh * g.stride.0 + kh * g.dilation.0).wrapping_sub(g.padding.0);
            let w = (ow * g.stride.1 + kw * g.dilation.1).wrapping_sub(g.padding.1);
            if h < g.in_h && w < g.in_w {
                positions.push(h * g.in_w + w);
            }
        }
    }
    positions
}

/// Calls `f` with the number of each output, the start of its plane in the input, and its window.
fn each(g: &PoolGeometry, mut f: impl FnMut(usize, usize, (usize, usize), Vec<usize>)) {
    for plane in 0..g.planes {
        for (oh, ow) in (0..g.out_h).flat_map(|h| (0..g.out_w).map(move |w| (h, w))) {
            let at = (plane * g.out_h + oh) * g.out_w + ow;
            f(at, plane * g.in_h * g.in_w, (oh, ow), window(g, oh, ow));
        }
    }
}

/// Twin of [`crate::pool::max_pool2d`].
pub fn max_pool2d<T: Float>(g: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    each(g, |at, start, _, window| {
        let (mut best, mut place) = (T::LOWEST, window.first().copied().unwrap_or(0));
        for k in window {
            let v = x[start + k];
            if v > best || v.nan() {
                (best, place) = (v, k);
            }
        }
        (y[at], index[at]) = (best, place as i64);
    });
}

/// The divisor of a mean as PyTorch defines it.
pub fn divisor(g: &PoolGeometry, include: bool, fixed: Option<i64>, (oh, ow): (usize, usize), inside: usize) -> f64 {
    let side = |at: usize, k: usize, s: usize, p: usize, size: usize| {
        let start = (at * s) as i64 - p as i64;
        (start + k as i64).min((size + p) as i64) - start
    };
    match fixed {
        Some(d) => d as f64,
        None if include => {
            let h = side(oh, g.kernel_h, g.stride.0, g.padding.0, g.in_h);
            let w = side(ow, g.kernel_w, g.stride.1, g.padding.1, g.in_w);
            (h * w) as f64
        }
        None => inside as f64,
    }
}

/// Twin of [`crate::pool::avg_pool2d`], in double precision.
pub fn avg_pool2d<T: Float>(g: &PoolGeometry, include: bool, fixed: Option<i64>, x: &[T], y: &mut [T]) {
    each(g, |at, start, place, window| {
        let sum: f64 = window.iter().map(|k| x[start + k].f()).sum();
        let d = divisor(g, include, fixed, place, window.len());
        y[at] = if window.is_empty() { T::ZERO } else { T::real(sum / d) };
    });
}

/// Twin of [`crate::pool::avg_pool2d_grad`], in double precision.
pub fn avg_pool2d_grad<T: Float>(g: &PoolGeometry, include: bool, fixed: Option<i64>, gy: &[T], gx: &mut [T]) {
    let mut sums = vec![0.0; gx.len()];
    each(g, |at, start, place, window| {
        let d = divisor(g, include, fixed, place, window.len());
        for k in &window {
            sums[start + k] += gy[at].f() / d;
        }
    });
    gx.iter_mut().zip(sums).for_each(|(gx, s)| *gx = T::real(s));
}
