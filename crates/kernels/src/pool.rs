//! Pooling over windows of planes.
//!
//! The plain loop: for each plane and each output pixel, fold the elements of its window that lie inside of the plane.

use crate::element::Float;

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

    /// Panics unless the slices belong to this geometry.
    fn check(&self, input: usize, output: usize) {
        assert_eq!(input, self.input_len(), "the input has planes * in_h * in_w elements");
        assert_eq!(output, self.output_len(), "the output has planes * out_h * out_w elements");
        assert!(input > 0 || output == 0, "windows need input planes that are not empty");
        assert!(
            self.stride.0 * self.stride.1 * self.dilation.0 * self.dilation.1 > 0,
            "strides and dilations are not 0"
        );
    }
}

/// The positions of a window along one axis that lie inside of the input: first, end, distance.
fn taps(at: usize, size: usize, k: usize, s: usize, p: usize, d: usize) -> std::iter::StepBy<std::ops::Range<usize>> {
    let start = at * s;
    let end = (start + (k - 1) * d + 1).saturating_sub(p).min(size);
    let first = if start >= p { start - p } else { (d - (p - start) % d) % d };
    (first..end.max(first)).step_by(d)
}

/// The largest element of each window and its position in the plane: ties give the first one, NaN wins (the last of
/// several), and a window with nothing but minus infinity, or nothing at all, gives minus infinity.
///
/// # Panics
/// A slice has another length than the geometry says.
pub fn max_pool2d<T: Float>(geo: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    geo.check(x.len(), y.len());
    assert_eq!(index.len(), y.len(), "an index for each output");
    let g = geo;
    for plane in 0..g.planes {
        let x = &x[plane * g.in_h * g.in_w..(plane + 1) * g.in_h * g.in_w];
        for oh in 0..g.out_h {
            let rows = taps(oh, g.in_h, g.kernel_h, g.stride.0, g.padding.0, g.dilation.0);
            for ow in 0..g.out_w {
                let columns = taps(ow, g.in_w, g.kernel_w, g.stride.1, g.padding.1, g.dilation.1);
                let first = |range: std::iter::StepBy<std::ops::Range<usize>>| range.into_iter().next().unwrap_or(0);
                let (mut best, mut place) = (T::LOWEST, first(rows.clone()) * g.in_w + first(columns.clone()));
                for h in rows.clone() {
                    for w in columns.clone() {
                        let v = x[h * g.in_w + w];
                        if v > best || v.nan() {
                            (best, place) = (v, h * g.in_w + w);
                        }
                    }
                }
                let at = (plane * g.out_h + oh) * g.out_w + ow;
                (y[at], index[at]) = (best, place as i64);
            }
        }
    }
}

/// The adjoint of [`pick`]: adds each `g` to the element of its plane of `gx` that `index` names; all others become 0.
///
/// `plane` is the number of elements of one plane of `gx`.
///
/// # Panics
/// The slices do not consist of `planes` planes, or an index lies outside of its plane.
pub fn unpool<T: Float>(planes: usize, plane: usize, g: &[T], index: &[i64], gx: &mut [T]) {
    gx.fill(T::ZERO);
    let part = part(planes, plane, gx.len(), g.len(), index.len());
    if part == 0 {
        return;
    }
    let outputs = g.chunks_exact(part).zip(index.chunks_exact(part));
    for (gx, (g, index)) in gx.chunks_exact_mut(plane).zip(outputs) {
        for (&g, &i) in g.iter().zip(index) {
            let at = &mut gx[i as usize];
            *at = *at + g;
        }
    }
}

/// The elements of each plane of `x` that `index` names.
///
/// `plane` is the number of elements of one plane of `x`.
///
/// # Panics
/// The slices do not consist of `planes` planes, or an index lies outside of its plane.
pub fn pick<T: Float>(planes: usize, plane: usize, x: &[T], index: &[i64], y: &mut [T]) {
    let part = part(planes, plane, x.len(), y.len(), index.len());
    if part == 0 {
        return;
    }
    let inputs = x.chunks_exact(plane).zip(index.chunks_exact(part));
    for (y, (x, index)) in y.chunks_exact_mut(part).zip(inputs) {
        for (y, &i) in y.iter_mut().zip(index) {
            *y = x[i as usize];
        }
    }
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

/// The divisor of a window: what was asked for, else the size of the window clipped to the padded input, else the number
/// of elements inside.
fn divisor(geo: &PoolGeometry, include_pad: bool, fixed: Option<i64>, at: (usize, usize), inside: usize) -> f64 {
    let clipped = |at: usize, size: usize, k: usize, s: usize, p: usize| (at * s + k).min(size + 2 * p) - at * s;
    match fixed {
        Some(d) => d as f64,
        None if include_pad => {
            let h = clipped(at.0, geo.in_h, geo.kernel_h, geo.stride.0, geo.padding.0);
            let w = clipped(at.1, geo.in_w, geo.kernel_w, geo.stride.1, geo.padding.1);
            (h * w) as f64
        }
        None => inside as f64,
    }
}

/// The mean of each window. The sum is divided by `divisor_override`, else by the size of the window clipped to the padded
/// input if `count_include_pad`, else by the number of elements inside of the plane; a window without any gives 0.
/// The dilation has to be 1.
///
/// # Panics
/// A slice has another length than the geometry says.
pub fn avg_pool2d<T: Float>(
    geo: &PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<i64>,
    x: &[T],
    y: &mut [T],
) {
    geo.check(x.len(), y.len());
    let g = geo;
    for plane in 0..g.planes {
        let x = &x[plane * g.in_h * g.in_w..(plane + 1) * g.in_h * g.in_w];
        for oh in 0..g.out_h {
            let rows = taps(oh, g.in_h, g.kernel_h, g.stride.0, g.padding.0, 1);
            for ow in 0..g.out_w {
                let columns = taps(ow, g.in_w, g.kernel_w, g.stride.1, g.padding.1, 1);
                let inside = rows.len() * columns.len();
                let mut sum = T::ZERO;
                for h in rows.clone() {
                    for w in columns.clone() {
                        sum = sum + x[h * g.in_w + w];
                    }
                }
                let d = T::real(divisor(g, count_include_pad, divisor_override, (oh, ow), inside));
                y[(plane * g.out_h + oh) * g.out_w + ow] = if inside == 0 { T::ZERO } else { sum / d };
            }
        }
    }
}

/// The adjoint of [`avg_pool2d`]: each `gy`, divided as there, is added to the elements of its window.
///
/// # Panics
/// A slice has another length than the geometry says.
pub fn avg_pool2d_grad<T: Float>(
    geo: &PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<i64>,
    gy: &[T],
    gx: &mut [T],
) {
    geo.check(gx.len(), gy.len());
    gx.fill(T::ZERO);
    let g = geo;
    for plane in 0..g.planes {
        let gx = &mut gx[plane * g.in_h * g.in_w..(plane + 1) * g.in_h * g.in_w];
        for oh in 0..g.out_h {
            let rows = taps(oh, g.in_h, g.kernel_h, g.stride.0, g.padding.0, 1);
            for ow in 0..g.out_w {
                let columns = taps(ow, g.in_w, g.kernel_w, g.stride.1, g.padding.1, 1);
                let inside = rows.len() * columns.len();
                let d = T::real(divisor(g, count_include_pad, divisor_override, (oh, ow), inside));
                let v = gy[(plane * g.out_h + oh) * g.out_w + ow] / d;
                for h in rows.clone() {
                    for w in columns.clone() {
                        let at = &mut gx[h * g.in_w + w];
                        *at = *at + v;
                    }
                }
            }
        }
    }
}
