//! Standardising channels and affine maps of them: what normalisation layers are made of. Inputs are `[outer, channels,
//! inner]`.
//!
//! The plain loops: for each channel `c`, the mean and the variance of all `x[o, c, i]`, then `y = (x - mean[c]) * scale[c] + shift[c]`,
//! and 0 where that is negative if ReLU follows. Backward, the sums of `g` and of `g * (x - mean[c])` (of those `g` that passed ReLU);
//! then `gx = (g - a[c] - (x - mean[c]) * b[c]) * scale[c]`.
//! The tricks: a thread takes a channel from its statistics to its result, so that the second time it is read from the
//! cache, and asks for the channel's part of the next image while it computes. The variance is taken about the mean of a block
//! that is still in the first cache, and blocks are merged in double precision (Chan, Golub, LeVeque 1979), so a large mean
//! costs no accuracy; a block is a part of a long row or some short ones. Sums run in a fixed number of lanes that are folded
//! in halves: the order is the same for any instruction set. A channel has one owner, so it is the same for any number of
//! threads too. What passed ReLU is computed again, which is cheaper than to read it.

use crate::element::{Float, compiled_here};
use crate::isa;
use crate::par::{self, Shared};

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
        (0..self.outer).map(move |o| &x[self.start(o, first)..][..count * self.inner])
    }

    /// Where a channel begins in a repetition.
    fn start(self, o: usize, channel: usize) -> usize {
        (o * self.channels + channel) * self.inner
    }

    /// Calls `f(start, length)` for parts of a channel's elements in each repetition: blocks of parts have at most about
    /// [`BLOCK`] elements.
    #[inline(always)]
    fn blocks(self, channel: usize, mut f: impl FnMut(Strips)) {
        let together = (BLOCK / self.inner).max(1);
        for o in (0..self.outer).step_by(together) {
            let repeats = together.min(self.outer - o);
            for at in (0..self.inner).step_by(BLOCK) {
                let length = BLOCK.min(self.inner - at);
                f(Strips { start: self.start(o, channel) + at, length, repeats, step: self.channels * self.inner });
            }
        }
    }
}

/// Stretches of one channel.
#[derive(Clone, Copy)]
struct Strips {
    start: usize,
    length: usize,
    repeats: usize,
    step: usize,
}

impl Strips {
    fn numel(self) -> usize {
        self.length * self.repeats
    }

    /// Asks for the next repetitions: the processor foresees neighbours only, and these begin far away.
    #[inline(always)]
    fn fetch_next<T>(self, x: &[T]) {
        for repeat in self.repeats..2 * self.repeats {
            for i in (0..self.length).step_by(64 / size_of::<T>()) {
                isa::prefetch(x, self.start + repeat * self.step + i);
            }
        }
    }

    #[inline(always)]
    fn of<T>(self, x: &[T]) -> impl Iterator<Item = &[T]> {
        (0..self.repeats).map(move |i| &x[self.start + i * self.step..][..self.length])
    }
}

/// How channels are standardised: `y = (x - mean) / sqrt(var + eps) * weight + bias`, with each channel's own mean and variance.
#[derive(Clone, Copy, Debug)]
pub struct Standard<'a, T> {
    /// The extent of input and result.
    pub extent: Channels,
    /// Added to the variance.
    pub eps: f64,
    /// One for each channel; 1 if None.
    pub weight: Option<&'a [T]>,
    /// One for each channel; 0 if None.
    pub bias: Option<&'a [T]>,
    /// Whether negative results become 0.
    pub relu: bool,
}

impl<T: Float> Standard<'_, T> {
    /// `[mean, scale, shift]` for a channel's mean and variance.
    fn line(&self, channel: usize, mean: f64, var: f64) -> [T; 3] {
        let scale = self.weight.map_or(1.0, |w| w[channel].f()) / (var + self.eps).sqrt();
        let rounded = T::real(mean);
        // What the mean lost when it was rounded goes into the shift.
        let shift = self.bias.map_or(0.0, |b| b[channel].f()) - (mean - rounded.f()) * scale;
        [rounded, T::real(scale), T::real(shift)]
    }

    fn check(&self, lengths: &[usize], numbers: usize) {
        let Channels { channels, .. } = self.extent;
        assert!(lengths.iter().all(|&n| n == self.extent.numel()), "the arrays have the extent");
        assert_eq!(numbers, 2 * channels, "two numbers for each channel");
        let fits = |c: Option<&[T]>| c.is_none_or(|c| c.len() == channels);
        assert!(fits(self.weight) && fits(self.bias), "coefficients for each channel");
    }
}

compiled_here! {
    trait NormKernels for f32, f64 = {
        fn standardize(x: &[Self], how: &Standard<'_, Self>, statistics: &mut [f64], y: &mut [Self]) = standardize_of;
        fn standardize_gradient(g: &[Self], x: &[Self], how: &Standard<'_, Self>, statistics: &[f64], sums: &mut [f64], gx: &mut [Self])
            = standardize_gradient_of;
        fn affine(x: &[Self], coefficients: &[[Self; 3]], extent: Channels, y: &mut [Self]) = affine_of;
    }
}

/// Standardises channels. The mean and the variance (divided by the number of elements) of channel `c` go to `2 * c` and
/// `2 * c + 1` of `statistics`; they are NaN of nothing.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn standardize<T: Float>(x: &[T], how: &Standard<'_, T>, statistics: &mut [f64], y: &mut [T]) {
    <T as NormKernels>::standardize(x, how, statistics, y);
}

fn standardize_of<T: Float>(x: &[T], how: &Standard<'_, T>, statistics: &mut [f64], y: &mut [T]) {
    how.check(&[x.len(), y.len()], statistics.len());
    let extent = how.extent;
    if x.is_empty() {
        return statistics.fill(f64::NAN);
    }
    let piece = extent.piece();
    let y = Shared(y.as_mut_ptr());
    par::for_each_chunk(statistics, 2 * piece, 6 * piece * extent.outer * extent.inner, |at, statistics| {
        isa::dispatch::<T, _>(
            #[inline(always)]
            || {
                moments(x, extent, at * piece, statistics);
                let mut lines = [[T::ZERO; 3]; 2 * LANES];
                let count = statistics.len() / 2;
                for (c, s) in statistics.chunks_exact(2).enumerate() {
                    lines[c] = how.line(at * piece + c, s[0], s[1]);
                }
                for o in 0..extent.outer {
                    for (c, line) in lines[..count].iter().enumerate() {
                        let start = extent.start(o, at * piece + c);
                        // SAFETY: the length was checked, and this piece alone has the channel.
                        let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(start), extent.inner) };
                        let x = &x[start..start + extent.inner];
                        if how.relu {
                            y.iter_mut().zip(x).for_each(|(y, &x)| *y = rectified(at_line(line, x)));
                        } else {
                            y.iter_mut().zip(x).for_each(|(y, &x)| *y = at_line(line, x));
                        }
                    }
                }
            },
        );
    });
}

/// `(x - mean) * scale + shift`.
#[inline(always)]
fn at_line<T: Float>(&[mean, scale, shift]: &[T; 3], x: T) -> T {
    x.minus(mean).times(scale).plus(shift)
}

/// As [`crate::elementwise::Unary::Relu`].
#[inline(always)]
fn rectified<T: Float>(v: T) -> T {
    if v <= T::ZERO { T::ZERO } else { v }
}

/// The means and variances of channels from `first` on.
#[inline(always)]
fn moments<T: Float>(x: &[T], extent: Channels, first: usize, statistics: &mut [f64]) {
    let count = statistics.len() / 2;
    statistics.fill(0.0);
    let mut seen = 0.0;
    if extent.inner == 1 {
        for row in extent.rows(x, first, count) {
            seen += 1.0;
            for (s, &v) in statistics.chunks_exact_mut(2).zip(row) {
                // Welford's update: a block of one element.
                let distance = v.f() - s[0];
                s[0] += distance / seen;
                s[1] += distance * (v.f() - s[0]);
            }
        }
    } else {
        for (c, s) in statistics.chunks_exact_mut(2).enumerate() {
            seen = 0.0;
            extent.blocks(
                first + c,
                #[inline(always)]
                |block| merge(s, &mut seen, x, block),
            );
        }
    }
    statistics.chunks_exact_mut(2).for_each(|s| s[1] /= seen);
}

/// Adds a block to a mean and a sum of squared distances of `seen` elements.
#[inline(always)]
fn merge<T: Float>(s: &mut [f64], seen: &mut f64, x: &[T], block: Strips) {
    block.fetch_next(x);
    let n = block.numel() as f64;
    let mean = sum(x, block, |v| v) / n;
    let middle = T::real(mean);
    let squares = sum(x, block, |v| v.minus(middle).times(v.minus(middle)));
    let (distance, total) = (mean - s[0], *seen + n);
    s[0] += distance * n / total;
    s[1] += squares + distance * distance * *seen * n / total;
    *seen = total;
}

/// The sum of `f(v)` over a block, in lanes.
#[inline(always)]
fn sum<T: Float>(x: &[T], block: Strips, f: impl Fn(T) -> T) -> f64 {
    // What does not fill all lanes has some of its own: those of whole chunks stay in registers.
    let (mut lanes, mut ends) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for strip in block.of(x) {
        let (whole, rest) = strip.as_chunks::<LANES>();
        for chunk in whole {
            for i in 0..LANES {
                lanes[i] = lanes[i].plus(f(chunk[i]));
            }
        }
        for (lane, &v) in ends.iter_mut().zip(rest) {
            *lane = lane.plus(f(v));
        }
    }
    fold(lanes, ends)
}

#[inline(always)]
fn fold<T: Float>(mut lanes: [T; LANES], ends: [T; LANES]) -> f64 {
    for i in 0..LANES {
        lanes[i] = lanes[i].plus(ends[i]);
    }
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] = lanes[i].plus(lanes[i + n]);
        }
    }
    lanes[0].f()
}

/// The gradient `gx` by the input of [`standardize`] for a gradient `g` of its result and its `statistics`. The sums of `g` and of
/// `g * (x - mean)` of channel `c` go to `2 * c` and `2 * c + 1` of `sums`; with ReLU, of those `g` whose result is not 0.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn standardize_gradient<T: Float>(
    g: &[T],
    x: &[T],
    how: &Standard<'_, T>,
    statistics: &[f64],
    sums: &mut [f64],
    gx: &mut [T],
) {
    <T as NormKernels>::standardize_gradient(g, x, how, statistics, sums, gx);
}

fn standardize_gradient_of<T: Float>(
    g: &[T],
    x: &[T],
    how: &Standard<'_, T>,
    statistics: &[f64],
    sums: &mut [f64],
    gx: &mut [T],
) {
    how.check(&[g.len(), x.len(), gx.len()], statistics.len());
    how.check(&[], sums.len());
    let extent = how.extent;
    if x.is_empty() {
        return sums.fill(0.0);
    }
    let piece = extent.piece();
    let gx = Shared(gx.as_mut_ptr());
    par::for_each_chunk(sums, 2 * piece, 8 * piece * extent.outer * extent.inner, |at, sums| {
        // SAFETY: the lengths were checked, and this piece alone has its channels.
        let own = |start: usize| unsafe { std::slice::from_raw_parts_mut(gx.get().add(start), extent.inner) };
        isa::dispatch::<T, _>(
            #[inline(always)]
            || {
                let statistics = &statistics[at * 2 * piece..];
                if how.relu {
                    piece_gradient(g, x, how, at * piece, statistics, sums, own, passed);
                } else {
                    piece_gradient(g, x, how, at * piece, statistics, sums, own, kept);
                }
            },
        );
    });
}

/// The gradient where the result is not 0, of ReLU.
#[inline(always)]
fn passed<T: Float>(line: &[T; 3], g: T, x: T) -> T {
    if at_line(line, x) <= T::ZERO { T::ZERO } else { g }
}

/// The gradient.
#[inline(always)]
fn kept<T: Float>(_: &[T; 3], g: T, _: T) -> T {
    g
}

/// The channels from `first` on. `own` gives a channel's part of the result and `pass(line, g, x)` the gradient that passes.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn piece_gradient<'a, T: Float>(
    g: &[T],
    x: &[T],
    how: &Standard<'_, T>,
    first: usize,
    statistics: &[f64],
    sums: &mut [f64],
    own: impl Fn(usize) -> &'a mut [T],
    pass: impl Fn(&[T; 3], T, T) -> T,
) {
    let extent = how.extent;
    let n = (extent.outer * extent.inner) as f64;
    let mut lines = [([T::ZERO; 3], [T::ZERO; 2]); 2 * LANES];
    let count = sums.len() / 2;
    for (c, line) in lines[..count].iter_mut().enumerate() {
        line.0 = how.line(first + c, statistics[2 * c], statistics[2 * c + 1]);
    }
    sums.fill(0.0);
    if extent.inner == 1 {
        for (g, x) in extent.rows(g, first, count).zip(extent.rows(x, first, count)) {
            for (((s, (line, _)), &g), &x) in sums.chunks_exact_mut(2).zip(&lines).zip(g).zip(x) {
                let g = pass(line, g, x);
                s[0] += g.f();
                s[1] += g.f() * x.minus(line[0]).f();
            }
        }
    } else {
        for (c, (s, (line, _))) in sums.chunks_exact_mut(2).zip(&lines).enumerate() {
            extent.blocks(
                first + c,
                #[inline(always)]
                |block| {
                    let (a, b) = two_sums(g, x, block, line, &pass);
                    s[0] += a;
                    s[1] += b;
                },
            );
        }
    }
    for (c, (s, (_, means))) in sums.chunks_exact(2).zip(&mut lines).enumerate() {
        let inverse = 1.0 / (statistics[2 * c + 1] + how.eps).sqrt();
        *means = [T::real(s[0] / n), T::real(s[1] * inverse * inverse / n)];
    }
    for o in 0..extent.outer {
        for (c, (line, [a, b])) in lines[..count].iter().enumerate() {
            let start = extent.start(o, first + c);
            let (g, x) = (&g[start..start + extent.inner], &x[start..start + extent.inner]);
            for ((y, &g), &x) in own(start).iter_mut().zip(g).zip(x) {
                *y = pass(line, g, x).minus(*a).minus(x.minus(line[0]).times(*b)).times(line[1]);
            }
        }
    }
}

/// The sums of `g` and of `g * (x - mean)` over a block, of those `g` that pass.
#[inline(always)]
fn two_sums<T: Float>(
    g: &[T],
    x: &[T],
    block: Strips,
    line: &[T; 3],
    pass: &impl Fn(&[T; 3], T, T) -> T,
) -> (f64, f64) {
    let m = line[0];
    let (mut plain, mut along) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    block.fetch_next(g);
    block.fetch_next(x);
    let (mut plain_ends, mut along_ends) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for (g, x) in block.of(g).zip(block.of(x)) {
        let ((gs, g_rest), (xs, x_rest)) = (g.as_chunks::<LANES>(), x.as_chunks::<LANES>());
        for (g, x) in gs.iter().zip(xs) {
            for i in 0..LANES {
                let passed = pass(line, g[i], x[i]);
                plain[i] = plain[i].plus(passed);
                along[i] = along[i].plus(passed.times(x[i].minus(m)));
            }
        }
        for (i, (&g, &x)) in g_rest.iter().zip(x_rest).enumerate() {
            let passed = pass(line, g, x);
            plain_ends[i] = plain_ends[i].plus(passed);
            along_ends[i] = along_ends[i].plus(passed.times(x.minus(m)));
        }
    }
    (fold(plain, plain_ends), fold(along, along_ends))
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
    map(coefficients, extent, y, |start, line, y| {
        y.iter_mut().zip(&x[start..]).for_each(|(y, &x)| *y = at_line(line, x));
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

    fn check<T: Float>(extent: Channels, relu: bool, affine_too: bool, tolerance: f64) {
        let n = extent.numel();
        let (x, mut g): (Vec<T>, Vec<T>) = (numbers(n, 1), numbers(n, 2));
        let c = numbers::<T>(4 * extent.channels, 3);
        let (weight, bias) = c.split_at(extent.channels);
        let bias = &bias[..extent.channels];
        let given = |c| if affine_too { Some(c) } else { None };
        let how = Standard { extent, eps: 0.1, weight: given(weight), bias: given(bias), relu };
        let mut statistics = vec![0.0; 2 * extent.channels];
        let (mut y, mut z) = (vec![T::ZERO; n], vec![T::ZERO; n]);
        standardize(&x, &how, &mut statistics, &mut y);
        let expected = naive::moments(&x, extent);
        statistics.iter().zip(&expected).for_each(|(&a, &b)| close(a, b, tolerance));
        let scale = |k: usize| how.weight.map_or(1.0, |w| w[k].f()) / (expected[2 * k + 1] + 0.1).sqrt();
        let line = |k| [T::real(expected[2 * k]), T::real(scale(k)), how.bias.map_or(T::ZERO, |b| b[k])];
        naive::affine(&x, &(0..extent.channels).flat_map(line).collect::<Vec<T>>(), extent, &mut z);
        z.iter_mut().filter(|z| relu && **z < T::ZERO).for_each(|z| *z = T::ZERO);
        y.iter().zip(&z).for_each(|(a, b)| close(a.f(), b.f(), tolerance));

        let (mut sums, mut gx) = (vec![0.0; 2 * extent.channels], vec![T::ZERO; n]);
        standardize_gradient(&g, &x, &how, &statistics, &mut sums, &mut gx);
        // What passes is known by the result, which may be rounded to zero.
        g.iter_mut().zip(&y).filter(|(_, y)| relu && **y == T::ZERO).for_each(|(g, _)| *g = T::ZERO);
        let size = (extent.outer * extent.inner) as f64;
        let mean: Vec<T> = statistics.chunks(2).map(|s| T::real(s[0])).collect();
        let expected_sums = naive::gradient_sums(&g, &x, &mean, extent);
        sums.iter().zip(&expected_sums).for_each(|(&a, b)| close(a / size, b / size, tolerance));
        let plane = |k: usize| {
            let inverse = 1.0 / (expected[2 * k + 1] + 0.1);
            [mean[k].f(), expected_sums[2 * k] / size, expected_sums[2 * k + 1] * inverse / size, scale(k)].map(T::real)
        };
        naive::gradient(&g, &x, &(0..extent.channels).flat_map(plane).collect::<Vec<T>>(), extent, &mut z);
        gx.iter().zip(&z).for_each(|(a, b)| close(a.f(), b.f(), tolerance));

        affine(&x, c[..3 * extent.channels].as_chunks().0, extent, &mut y);
        naive::affine(&x, &c, extent, &mut z);
        y.iter().zip(&z).for_each(|(a, b)| close(a.f(), b.f(), tolerance));
    }

    #[test]
    fn kernels_equal_their_twins() {
        for &set in isa::available() {
            isa::with(set, || {
                for inner in [1, 2, LANES - 1, LANES, LANES + 1, BLOCK / 3, BLOCK + 3] {
                    for (outer, channels, relu) in [(1, 1, false), (3, 5, true), (2, 67, true), (7, 2, false)] {
                        let extent = Channels { outer, channels, inner };
                        check::<f32>(extent, relu, channels > 2, 2e-5);
                        check::<f64>(extent, relu, channels > 2, 1e-12);
                    }
                }
            });
        }
    }

    #[test]
    fn a_large_mean_costs_no_accuracy() {
        let extent = Channels { outer: 2, channels: 1, inner: 5000 };
        let x: Vec<f32> = (0..10_000).map(|i| 4096.0 + (i % 2) as f32).collect();
        let (mut statistics, mut y) = ([0.0; 2], vec![0.0; 10_000]);
        let how = Standard { extent, eps: 0.0, weight: None, bias: None, relu: false };
        standardize(&x, &how, &mut statistics, &mut y);
        assert!(y.iter().zip(&x).all(|(y, x)| (y - (x - 4096.5) * 2.0).abs() < 1e-4));
        assert!((statistics[0] - 4096.5).abs() < 1e-3 && (statistics[1] - 0.25).abs() < 1e-6, "{statistics:?}");
    }

    #[test]
    fn threads_do_not_change_bits() {
        let extent = Channels { outer: 4, channels: 12, inner: 20_000 };
        let x: Vec<f32> = numbers(extent.numel(), 5);
        let run = |threads: usize| {
            let before = par::num_threads();
            par::set_num_threads(threads);
            let (mut statistics, mut sums) = (vec![0.0; 24], vec![0.0; 24]);
            let (mut y, mut gx, mut z) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; x.len()]);
            let how = Standard { extent, eps: 0.1, weight: None, bias: None, relu: true };
            standardize(&x, &how, &mut statistics, &mut y);
            standardize_gradient(&y, &x, &how, &statistics, &mut sums, &mut gx);
            affine(&x, numbers::<f32>(36, 6).as_chunks().0, extent, &mut z);
            par::set_num_threads(before);
            (statistics, y, sums, gx, z)
        };
        assert!(run(1) == run(3));
    }

    #[test]
    fn nothing_is_fine() {
        check::<f32>(Channels { outer: 2, channels: 0, inner: 4 }, false, true, 0.0);
        for (outer, inner) in [(0, 4), (4, 0)] {
            let (extent, mut statistics) = (Channels { outer, channels: 1, inner }, [1.0; 2]);
            let how = Standard::<f32> { extent, eps: 0.1, weight: None, bias: None, relu: true };
            standardize(&[], &how, &mut statistics, &mut []);
            assert!(statistics[0].is_nan() && statistics[1].is_nan());
            let mut sums = [1.0; 2];
            standardize_gradient(&[], &[], &how, &statistics, &mut sums, &mut []);
            assert_eq!(sums, [0.0; 2]);
        }
    }
}
