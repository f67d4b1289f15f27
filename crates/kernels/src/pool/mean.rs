//! Average pooling and its adjoint.

use super::far::{is_far, settle, stream};
use super::strip::{SUM, Strips, put};
use super::{Covering, PoolGeometry, halve, planes_per_chunk};
use crate::buffer::Buffer;
use crate::element::{Float, compiled_here};
use crate::isa::{Simd, SimdBody, isa_of};
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

/// How the divisors of the windows are found.
#[derive(Clone, Copy)]
struct Divisor {
    include_pad: bool,
    fixed: Option<i64>,
}

impl Divisor {
    /// The divisor from the counts of both axes.
    #[inline(always)]
    fn of<T: Float>(self, rows: usize, columns: usize) -> T {
        T::real(self.fixed.map_or((rows * columns) as f64, |d| d as f64))
    }
}

compiled_here! {
    trait MeanKernels for f32, f64 = {
        fn avg_pool2d(geo: &PoolGeometry, count_include_pad: bool, divisor_override: Option<i64>, x: &[Self], y: &mut [Self]) = avg_pool2d_of;
        fn avg_pool2d_grad(geo: &PoolGeometry, count_include_pad: bool, divisor_override: Option<i64>, gy: &[Self], gx: &mut [Self]) = avg_pool2d_grad_of;
    }
}

/// The mean of each window. The sum is divided by `divisor_override`, else by the size of the window clipped to the padded
/// input if `count_include_pad`, else by the number of elements inside of the plane; a window without any gives 0.
///
/// # Panics
/// A slice has another length than the geometry says, the kernel or stride is 0, or the dilation is not 1.
pub fn avg_pool2d<T: Float>(
    geo: &PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<i64>,
    x: &[T],
    y: &mut [T],
) {
    <T as MeanKernels>::avg_pool2d(geo, count_include_pad, divisor_override, x, y);
}

fn avg_pool2d_of<T: Float>(
    geo: &PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<i64>,
    x: &[T],
    y: &mut [T],
) {
    geo.check(x.len(), y.len());
    assert_eq!(geo.dilation, (1, 1), "means have no dilation");
    let divisor = Divisor { include_pad: count_include_pad, fixed: divisor_override };
    let (plane, out) = geo.plane();
    let chunk = planes_per_chunk(plane);
    let work = chunk.min(geo.planes) * (12 * plane + 2 * geo.kernel_h * geo.kernel_w * out);
    par::for_each_chunk(y, chunk * out, work, |i, y| {
        let x = &x[i * chunk * plane..];
        if halve::fits(geo) {
            return vectorised::<T, _>(Halves { geo, divisor: divisor.of(2, 2), x, y });
        }
        // SAFETY: isa_of never says more than what was detected.
        unsafe { T::simd(isa_of::<T>(), Forward { geo, divisor, x, y }) };
    });
}

/// Some planes with windows of 2x2; `x` may have more.
struct Halves<'a, T> {
    geo: &'a PoolGeometry,
    divisor: T,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Loops for Halves<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        halve::mean(self.geo, self.divisor, self.x, self.y);
    }
}

/// Some planes; `x` may have more.
struct Forward<'a, T> {
    geo: &'a PoolGeometry,
    divisor: Divisor,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> SimdBody<T> for Forward<'_, T> {
    type Output = ();
    const DOUBLE: bool = false;
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        let Forward { geo, divisor, x, y } = self;
        let (plane, out) = geo.plane();
        let (down, across) = (geo.down(), geo.across());
        let high = |oh: usize| down.count(oh, divisor.include_pad);
        let wide = |ow: usize| across.count(ow, divisor.include_pad);
        let Some(strips) = Strips::new(geo) else {
            for (x, y) in x.chunks_exact(plane).zip(y.chunks_exact_mut(out)) {
                for (at, y) in y.iter_mut().enumerate() {
                    let (oh, ow) = (at / geo.out_w, at % geo.out_w);
                    *y = quotient(one(geo, x, oh, ow), divisor.of(high(oh), wide(ow)));
                }
            }
            return;
        };
        let (mut strip, mut sorted) = (strips.buffer(T::ZERO), strips.buffer(T::ZERO));
        let (strip, sorted) = (strip.make_mut(), sorted.make_mut());
        let mut widths = Buffer::filled(geo.out_w, T::ONE);
        widths.make_mut().iter_mut().enumerate().for_each(|(ow, width)| *width = divisor.of(1, wide(ow)));
        // The divisors of the strip whose first row of windows is `start`: they differ only at the edges.
        let mut divisors = Buffer::filled(strips.rows * geo.out_w, T::ONE);
        let (divisors, mut start) = (divisors.make_mut(), usize::MAX);
        for (p, y) in y.chunks_exact_mut(out).enumerate() {
            for (part, y) in y.chunks_mut(strips.rows * geo.out_w).enumerate() {
                let first = part * strips.rows;
                if first != start {
                    start = first;
                    for (row, divisors) in divisors.chunks_exact_mut(geo.out_w).enumerate() {
                        let high = if divisor.fixed.is_some() { 1 } else { high(first + row) };
                        let high = T::real(high as f64);
                        divisors.iter_mut().zip(&widths[..]).for_each(|(d, &width)| *d = high * width);
                    }
                }
                // SAFETY: the set of S and H is enabled here; x has a plane, and the buffers are the strips'.
                unsafe {
                    strips.down::<S, H, SUM>(geo, &x[p * plane..], first, T::ZERO, strip, None);
                    let sorted = strips.sort::<S>(strip, sorted);
                    for (row, y) in y.chunks_exact_mut(geo.out_w).enumerate() {
                        strips.across::<S, H, SUM>(row, sorted, y);
                    }
                }
                y.iter_mut().zip(&*divisors).for_each(|(y, &d)| *y = quotient(*y, d));
            }
        }
    }
}

/// A mean, 0 for a window without elements.
#[inline(always)]
fn quotient<T: Float>(sum: T, d: T) -> T {
    if d == T::ZERO { T::ZERO } else { sum / d }
}

/// The sum of one window.
#[inline(never)]
fn one<T: Float>(geo: &PoolGeometry, x: &[T], oh: usize, ow: usize) -> T {
    let mut sum = T::ZERO;
    for h in geo.down().taps(oh) {
        for w in geo.across().taps(ow) {
            sum = sum + x[h * geo.in_w + w];
        }
    }
    sum
}

/// The adjoint of [`avg_pool2d`]: each `gy`, divided as there, is added to the elements of its window.
///
/// # Panics
/// A slice has another length than the geometry says, the kernel or stride is 0, or the dilation is not 1.
pub fn avg_pool2d_grad<T: Float>(
    geo: &PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<i64>,
    gy: &[T],
    gx: &mut [T],
) {
    <T as MeanKernels>::avg_pool2d_grad(geo, count_include_pad, divisor_override, gy, gx);
}

fn avg_pool2d_grad_of<T: Float>(
    geo: &PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<i64>,
    gy: &[T],
    gx: &mut [T],
) {
    geo.check(gx.len(), gy.len());
    assert_eq!(geo.dilation, (1, 1), "means have no dilation");
    let divisor = Divisor { include_pad: count_include_pad, fixed: divisor_override };
    let (plane, out) = geo.plane();
    if out == 0 {
        return gx.fill(T::ZERO);
    }
    let across = geo.across();
    let counts: Vec<usize> = (0..geo.out_w).map(|ow| across.count(ow, count_include_pad)).collect();
    let (chunk, far) = (planes_per_chunk(plane), is_far(gx));
    par::for_each_chunk(gx, chunk * plane, 16 * chunk.min(geo.planes) * plane, |i, gx| {
        vectorised::<T, _>(Backward { geo, divisor, counts: &counts, gy: &gy[i * chunk * out..], gx, far });
    });
}

/// Some planes; `gy` may have more.
struct Backward<'a, T> {
    geo: &'a PoolGeometry,
    divisor: Divisor,
    counts: &'a [usize],
    gy: &'a [T],
    gx: &'a mut [T],
    /// Whether to write past the cache.
    far: bool,
}

impl<T: Float> Loops for Backward<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Backward { geo, divisor, counts, gy, gx, far } = self;
        if halve::fits(geo) {
            return halve::mean_grad(geo, divisor.of(2, 2), gy, gx, far);
        }
        let (plane, out) = geo.plane();
        let (down, across) = (geo.down(), geo.across());
        // Zeros before each row of gradients, and behind it, stand for the windows that are not there.
        // A larger stride has one window.
        let stride = (geo.stride.0.min(geo.in_h + geo.padding.0), geo.stride.1.min(geo.in_w + geo.padding.1));
        let before = geo.kernel_w.div_ceil(stride.1) - 1;
        let pitch = before + (geo.in_w + geo.padding.1).div_ceil(stride.1).max(geo.out_w);
        // Rows of the plane that are computed together, and the most rows of windows that cover them.
        let rows = (NEAR / (pitch * stride.1)).max(1) * stride.0;
        let most = (rows.div_ceil(stride.0) + geo.kernel_h.div_ceil(stride.0)).min(geo.out_h);
        let mut parts = Buffer::filled(before + most * pitch, T::ZERO);
        let mut wide = Buffer::filled(most * pitch * stride.1, T::ZERO);
        let (parts, wide) = (parts.make_mut(), wide.make_mut());
        // The divisors of a row of windows, which differ only at the edges.
        let mut divisors = Buffer::filled(geo.out_w, T::ONE);
        let divisors = divisors.make_mut();
        let mut height = usize::MAX;
        let covering = Covering::new(down);
        let mut near = Buffer::filled(geo.in_w, T::ZERO);
        let near = near.make_mut();
        for (gx, gy) in gx.chunks_exact_mut(plane).zip(gy.chunks_exact(out)) {
            for (block, gx) in gx.chunks_mut(rows * geo.in_w).enumerate() {
                let inside = block * rows..block * rows + gx.len() / geo.in_w;
                let windows = covering.of(inside.start).start..covering.of(inside.end - 1).end;
                let n = windows.len() * pitch;
                for (oh, parts) in windows.clone().zip(parts[before..].chunks_exact_mut(pitch)) {
                    let high = down.count(oh, divisor.include_pad);
                    if high != height {
                        height = high;
                        divisors.iter_mut().zip(counts).for_each(|(d, &wide)| *d = divisor.of(high, wide));
                    }
                    let gy = &gy[oh * geo.out_w..(oh + 1) * geo.out_w];
                    parts.iter_mut().zip(gy).zip(&*divisors).for_each(|((part, &g), &d)| *part = g / d);
                }
                let (row, parts) = (&mut wide[..n * stride.1], &parts[..before + n]);
                match stride.1 {
                    1 if T::ALL => spread::<T, 1>(row, parts, across.kernel, 1),
                    2 if T::ALL => spread::<T, 2>(row, parts, across.kernel, 2),
                    stride => spread::<T, 0>(row, parts, across.kernel, stride),
                }
                for (h, gx) in inside.zip(gx.chunks_exact_mut(geo.in_w)) {
                    let to = if far { &mut *near } else { &mut *gx };
                    let row = |oh: usize| &wide[(oh - windows.start) * pitch * stride.1 + geo.padding.1..][..geo.in_w];
                    let mut covering = covering.of(h);
                    match (covering.next(), covering.next()) {
                        (None, _) => to.fill(T::ZERO),
                        (Some(oh), None) => put(row(oh), to),
                        (Some(a), Some(b)) => {
                            to.iter_mut().zip(row(a)).zip(row(b)).for_each(|((to, &a), &b)| *to = a + b)
                        }
                    }
                    for oh in covering {
                        to.iter_mut().zip(row(oh)).for_each(|(to, &g)| *to = *to + g);
                    }
                    if far {
                        stream(near, gx);
                    }
                }
            }
        }
        if far {
            settle();
        }
    }
}

/// Elements of wide rows that stay in the first-level cache.
const NEAR: usize = 4096;

/// Adds each of the sums to the columns of its window, at distance S (0: the given one). The sums are preceded by a zero
/// for each further window that may cover a column; the row has `stride` columns for each sum.
#[inline(always)]
fn spread<T: Float, const S: usize>(row: &mut [T], padded: &[T], kernel: usize, stride: usize) {
    let stride = if S == 0 { stride } else { S };
    let steps = row.len() / stride;
    let before_first = padded.len() - steps;
    let sums = &padded[before_first..];
    if S == 2 && kernel == 2 {
        row.as_chunks_mut::<2>().0.iter_mut().zip(sums).for_each(|(pair, &s)| *pair = [s, s]);
        return;
    }
    if S == 2 && kernel == 3 {
        let pairs = row.as_chunks_mut::<2>().0.iter_mut();
        pairs.zip(sums.iter().zip(padded)).for_each(|(pair, (&s, &left))| *pair = [s + left, s]);
        return;
    }
    for phase in 0..stride {
        // Column `phase` of each window; none if the windows have gaps.
        let near = phase < kernel;
        for (j, &sum) in sums.iter().enumerate() {
            row[j * stride + phase] = if near { sum } else { T::ZERO };
        }
        // The windows further left whose columns `phase + stride`, `phase + 2 stride`, ... are the same.
        for back in 1..=before_first {
            if phase + back * stride >= kernel {
                break;
            }
            let sums = &padded[before_first - back..padded.len() - back];
            for (j, &sum) in sums.iter().enumerate() {
                row[j * stride + phase] = row[j * stride + phase] + sum;
            }
        }
    }
}
