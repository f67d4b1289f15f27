//! Statistics of channels and affine maps with them: what normalisation layers are made of. Inputs are `[outer, channels,
//! inner]`.
//!
//! The plain loops: for each channel `c`, the mean and the variance of all `x[o, c, i]`; then `y = (x - mean[c]) * scale[c] + shift[c]`.
//! Backward, the sums of `g` and of `g * (x - mean[c])`; then `y = (g - a[c] - (x - mean[c]) * b[c]) * scale[c]`.
//! The tricks: each pass reads memory once. The variance is taken about the mean of a block that is still in the first
//! cache, and blocks are merged in double precision (Chan, Golub, LeVeque 1979), so a large mean costs no accuracy. Sums
//! run in a fixed number of lanes that are folded in halves: the order is the same for any instruction set. A channel
//! has one owner, so it is the same for any number of threads too.

use crate::element::{Float, compiled_here};
use crate::isa;
use crate::par;

/// Sums are spread over so many lanes.
const LANES: usize = 32;
/// Elements that are summed in their own precision before the sum is carried on in double precision.
const BLOCK: usize = 1024;
/// About how many elements one piece of an elementwise pass has.
const PIECE: usize = 16 * 1024;

/// The extent of `[outer, channels, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// How often all channels are repeated, as samples of a batch.
    pub outer: usize,
    /// The number of channels.
    pub channels: usize,
    /// Neighbouring elements of one channel, as positions of an image.
    pub inner: usize,
}

impl Channels {
    fn numel(self) -> usize {
        self.outer * self.channels * self.inner
    }

    /// Channels that one piece of a statistic takes: enough to fill a vector from each row.
    fn piece(self) -> usize {
        (2 * LANES).div_ceil(self.inner.max(1))
    }

    /// The elements of channels `first..first + count` in each repetition.
    fn rows<T>(self, x: &[T], first: usize, count: usize) -> impl Iterator<Item = &[T]> {
        let start = move |o: usize| (o * self.channels + first) * self.inner;
        (0..self.outer).map(move |o| &x[start(o)..start(o) + count * self.inner])
    }
}

compiled_here! {
    trait NormKernels for f32, f64 = {
        fn moments(x: &[Self], extent: Channels, statistics: &mut [f64]) = moments_of;
        fn gradient_sums(g: &[Self], x: &[Self], mean: &[Self], extent: Channels, sums: &mut [f64]) = gradient_sums_of;
        fn affine(x: &[Self], coefficients: &[[Self; 3]], extent: Channels, y: &mut [Self]) = affine_of;
        fn gradient(g: &[Self], x: &[Self], coefficients: &[[Self; 4]], extent: Channels, y: &mut [Self]) = gradient_of;
    }
}

/// Mean and variance (divided by the number of elements) of each channel `c`, at `2 * c` and `2 * c + 1`; NaN of nothing.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn moments<T: Float>(x: &[T], extent: Channels, statistics: &mut [f64]) {
    <T as NormKernels>::moments(x, extent, statistics);
}

fn moments_of<T: Float>(x: &[T], extent: Channels, statistics: &mut [f64]) {
    assert_eq!(x.len(), extent.numel(), "the input has the extent");
    assert_eq!(statistics.len(), 2 * extent.channels, "two statistics for each channel");
    if x.is_empty() {
        return statistics.fill(f64::NAN);
    }
    let piece = extent.piece();
    par::for_each_chunk(statistics, 2 * piece, 4 * piece * extent.outer * extent.inner, |at, statistics| {
        isa::dispatch::<T, _>(
            #[inline(always)]
            || {
                let count = statistics.len() / 2;
                statistics.fill(0.0);
                let mut seen = 0.0;
                for row in extent.rows(x, at * piece, count) {
                    if extent.inner == 1 {
                        seen += 1.0;
                        for (s, &v) in statistics.chunks_exact_mut(2).zip(row) {
                            // Welford's update: a block of one element.
                            let distance = v.f() - s[0];
                            s[0] += distance / seen;
                            s[1] += distance * (v.f() - s[0]);
                        }
                        continue;
                    }
                    let before = seen;
                    for (s, strip) in statistics.chunks_exact_mut(2).zip(row.chunks_exact(extent.inner)) {
                        seen = before;
                        for block in strip.chunks(BLOCK) {
                            merge(s, &mut seen, block);
                        }
                    }
                }
                statistics.chunks_exact_mut(2).for_each(|s| s[1] /= seen);
            },
        );
    });
}

/// Adds a block to a mean and a sum of squared distances of `seen` elements.
#[inline(always)]
fn merge<T: Float>(s: &mut [f64], seen: &mut f64, block: &[T]) {
    let n = block.len() as f64;
    let mean = sum(block, |v| v) / n;
    let middle = T::real(mean);
    let squares = sum(block, |v| v.minus(middle).times(v.minus(middle)));
    let (distance, total) = (mean - s[0], *seen + n);
    s[0] += distance * n / total;
    s[1] += squares + distance * distance * *seen * n / total;
    *seen = total;
}

/// The sum of `f(v)` over a block, in lanes.
#[inline(always)]
fn sum<T: Float>(block: &[T], f: impl Fn(T) -> T) -> f64 {
    let mut lanes = [T::ZERO; LANES];
    let (whole, rest) = block.as_chunks::<LANES>();
    for chunk in whole {
        for i in 0..LANES {
            lanes[i] = lanes[i].plus(f(chunk[i]));
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = lane.plus(f(v));
    }
    fold(lanes)
}

#[inline(always)]
fn fold<T: Float>(mut lanes: [T; LANES]) -> f64 {
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] = lanes[i].plus(lanes[i + n]);
        }
    }
    lanes[0].f()
}

/// The sums of `g` and of `g * (x - mean[c])` for each channel `c`, at `2 * c` and `2 * c + 1`.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn gradient_sums<T: Float>(g: &[T], x: &[T], mean: &[T], extent: Channels, sums: &mut [f64]) {
    <T as NormKernels>::gradient_sums(g, x, mean, extent, sums);
}

fn gradient_sums_of<T: Float>(g: &[T], x: &[T], mean: &[T], extent: Channels, sums: &mut [f64]) {
    assert_eq!((g.len(), x.len()), (extent.numel(), extent.numel()), "gradient and input have the extent");
    assert_eq!((mean.len(), sums.len()), (extent.channels, 2 * extent.channels), "numbers for each channel");
    if x.is_empty() {
        return sums.fill(0.0);
    }
    let piece = extent.piece();
    par::for_each_chunk(sums, 2 * piece, 4 * piece * extent.outer * extent.inner, |at, sums| {
        isa::dispatch::<T, _>(
            #[inline(always)]
            || {
                let count = sums.len() / 2;
                sums.fill(0.0);
                let rows = extent.rows(g, at * piece, count).zip(extent.rows(x, at * piece, count));
                let mean = &mean[at * piece..at * piece + count];
                for (g, x) in rows {
                    if extent.inner == 1 {
                        for (((s, &m), &g), &x) in sums.chunks_exact_mut(2).zip(mean).zip(g).zip(x) {
                            s[0] += g.f();
                            s[1] += g.f() * x.minus(m).f();
                        }
                        continue;
                    }
                    let strips = g.chunks_exact(extent.inner).zip(x.chunks_exact(extent.inner));
                    for ((s, &m), (g, x)) in sums.chunks_exact_mut(2).zip(mean).zip(strips) {
                        for (g, x) in g.chunks(BLOCK).zip(x.chunks(BLOCK)) {
                            let (a, b) = two_sums(g, x, m);
                            s[0] += a;
                            s[1] += b;
                        }
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn two_sums<T: Float>(g: &[T], x: &[T], m: T) -> (f64, f64) {
    let (mut plain, mut along) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    let ((gs, g_rest), (xs, x_rest)) = (g.as_chunks::<LANES>(), x.as_chunks::<LANES>());
    for (g, x) in gs.iter().zip(xs) {
        for i in 0..LANES {
            plain[i] = plain[i].plus(g[i]);
            along[i] = along[i].plus(g[i].times(x[i].minus(m)));
        }
    }
    for (i, (&g, &x)) in g_rest.iter().zip(x_rest).enumerate() {
        plain[i] = plain[i].plus(g);
        along[i] = along[i].plus(g.times(x.minus(m)));
    }
    (fold(plain), fold(along))
}

/// `y = (x - mean) * scale + shift` with `[mean, scale, shift]` of each channel.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn affine<T: Float>(x: &[T], coefficients: &[[T; 3]], extent: Channels, y: &mut [T]) {
    <T as NormKernels>::affine(x, coefficients, extent, y);
}

fn affine_of<T: Float>(x: &[T], coefficients: &[[T; 3]], extent: Channels, y: &mut [T]) {
    assert_eq!((x.len(), y.len()), (extent.numel(), extent.numel()), "input and result have the extent");
    map(coefficients, extent, y, |start, &[mean, scale, shift], y| {
        for (y, &x) in y.iter_mut().zip(&x[start..]) {
            *y = x.minus(mean).times(scale).plus(shift);
        }
    });
}

/// `y = (g - a - (x - mean) * b) * scale` with `[mean, a, b, scale]` of each channel.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn gradient<T: Float>(g: &[T], x: &[T], coefficients: &[[T; 4]], extent: Channels, y: &mut [T]) {
    <T as NormKernels>::gradient(g, x, coefficients, extent, y);
}

fn gradient_of<T: Float>(g: &[T], x: &[T], coefficients: &[[T; 4]], extent: Channels, y: &mut [T]) {
    let n = extent.numel();
    assert_eq!((g.len(), x.len(), y.len()), (n, n, n), "gradients and input have the extent");
    map(coefficients, extent, y, |start, &[mean, a, b, scale], y| {
        for ((y, &g), &x) in y.iter_mut().zip(&g[start..]).zip(&x[start..]) {
            *y = g.minus(a).minus(x.minus(mean).times(b)).times(scale);
        }
    });
}

/// Calls `f(start of the strip, coefficients of its channel, strip of y)` for each strip of one channel.
#[inline(always)]
fn map<T: Float, C: Sync>(coefficients: &[C], extent: Channels, y: &mut [T], f: impl Fn(usize, &C, &mut [T]) + Sync) {
    assert_eq!(coefficients.len(), extent.channels, "coefficients for each channel");
    let inner = extent.inner;
    if y.is_empty() {
        return;
    }
    let strips = PIECE.div_ceil(inner);
    par::for_each_chunk(y, strips * inner, 4 * strips * inner, |at, y| {
        isa::dispatch::<T, _>(
            #[inline(always)]
            || {
                let mut c = at * strips % extent.channels;
                for (i, strip) in y.chunks_exact_mut(inner).enumerate() {
                    f((at * strips + i) * inner, &coefficients[c], strip);
                    c = if c + 1 == extent.channels { 0 } else { c + 1 };
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naive::norm as naive;

    fn numbers<T: Float>(n: usize, seed: usize) -> Vec<T> {
        (0..n).map(|i| T::real(((i * 7919 + seed * 104_729) % 1009) as f64 / 100.0 - 3.0)).collect()
    }

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} and {b}");
    }

    fn check<T: Float>(extent: Channels, tolerance: f64) {
        let n = extent.numel();
        let (x, g): (Vec<T>, Vec<T>) = (numbers(n, 1), numbers(n, 2));
        let mut statistics = vec![0.0; 2 * extent.channels];
        moments(&x, extent, &mut statistics);
        let expected = naive::moments(&x, extent);
        statistics.iter().zip(&expected).for_each(|(&a, &b)| close(a, b, tolerance));

        let mean: Vec<T> = expected.chunks(2).map(|s| T::real(s[0])).collect();
        let mut sums = vec![0.0; 2 * extent.channels];
        gradient_sums(&g, &x, &mean, extent, &mut sums);
        let size = (extent.outer * extent.inner) as f64;
        let expected = naive::gradient_sums(&g, &x, &mean, extent);
        sums.iter().zip(expected).for_each(|(&a, b)| close(a / size, b / size, tolerance));

        let (mut y, mut z) = (vec![T::ZERO; n], vec![T::ZERO; n]);
        let c = numbers::<T>(4 * extent.channels, 3);
        affine(&x, c[..3 * extent.channels].as_chunks().0, extent, &mut y);
        naive::affine(&x, &c, extent, &mut z);
        y.iter().zip(&z).for_each(|(a, b)| close(a.f(), b.f(), tolerance));
        gradient(&g, &x, c.as_chunks().0, extent, &mut y);
        naive::gradient(&g, &x, &c, extent, &mut z);
        y.iter().zip(&z).for_each(|(a, b)| close(a.f(), b.f(), tolerance));
    }

    #[test]
    fn kernels_equal_their_twins() {
        for &set in isa::available() {
            isa::with(set, || {
                for inner in [1, 2, LANES - 1, LANES, LANES + 1, BLOCK + 3] {
                    for (outer, channels) in [(1, 1), (3, 5), (2, 67)] {
                        check::<f32>(Channels { outer, channels, inner }, 1e-5);
                        check::<f64>(Channels { outer, channels, inner }, 1e-12);
                    }
                }
            });
        }
    }

    #[test]
    fn a_large_mean_costs_no_accuracy() {
        let extent = Channels { outer: 2, channels: 1, inner: 5000 };
        let x: Vec<f32> = (0..10_000).map(|i| 4096.0 + (i % 2) as f32).collect();
        let mut statistics = [0.0; 2];
        moments(&x, extent, &mut statistics);
        assert!((statistics[0] - 4096.5).abs() < 1e-3 && (statistics[1] - 0.25).abs() < 1e-6, "{statistics:?}");
    }

    #[test]
    fn threads_do_not_change_bits() {
        let extent = Channels { outer: 4, channels: 12, inner: 20_000 };
        let x: Vec<f32> = numbers(extent.numel(), 5);
        let run = |threads: usize| {
            let before = par::num_threads();
            par::set_num_threads(threads);
            let (mut statistics, mut y) = (vec![0.0; 24], vec![0.0; x.len()]);
            moments(&x, extent, &mut statistics);
            affine(&x, numbers::<f32>(36, 6).as_chunks().0, extent, &mut y);
            par::set_num_threads(before);
            (statistics, y)
        };
        assert!(run(1) == run(3));
    }

    #[test]
    fn nothing_is_fine() {
        check::<f32>(Channels { outer: 2, channels: 0, inner: 4 }, 0.0);
        for (outer, inner) in [(0, 4), (4, 0)] {
            let (extent, mut statistics) = (Channels { outer, channels: 1, inner }, [1.0; 2]);
            moments::<f32>(&[], extent, &mut statistics);
            assert!(statistics[0].is_nan() && statistics[1].is_nan());
            gradient_sums::<f32>(&[], &[], &[0.0], extent, &mut statistics);
            assert_eq!(statistics, [0.0; 2]);
        }
    }
}
