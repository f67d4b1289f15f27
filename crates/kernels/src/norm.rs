//! Standardising channels and affine maps of them: what normalisation layers are made of. Inputs are `[outer, channels,
//! inner]`.
//!
//! The plain loops: for each channel `c`, the mean and the variance of all `x[o, c, i]`, then `y = (x - mean[c]) * scale[c] + shift[c]`,
//! and 0 where that is negative if ReLU follows. Backward, the sums of `g` and of `g * (x - mean[c])` (of those `g` that passed ReLU);
//! then `gx = (g - a[c] - (x - mean[c]) * b[c]) * scale[c]`.
//! The tricks: a thread takes a channel from its statistics to its result, so that the second time it is read from the
//! cache, and asks for the channel's part of the next image, which it reads or writes next, while it computes. The variance is taken about the mean of a block
//! that is still in the first cache, and blocks are merged in double precision (Chan, Golub, LeVeque 1979), so a large mean
//! costs no accuracy; a block is a part of a long row or some short ones. Sums run in a fixed number of lanes that are folded
//! in halves: the order is the same for any instruction set. A channel has one owner, so it is the same for any number of
//! threads too. What passed ReLU is computed again, which is cheaper than to read it.

use crate::element::{Float, compiled_here};
use crate::isa::{self, Simd, SimdBody};
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
    fn fetch_next<T>(self, x: *const T) {
        for repeat in self.repeats..2 * self.repeats {
            fetch(x, self.start + repeat * self.step, self.length);
        }
    }

    /// Where each of them begins.
    #[inline(always)]
    fn starts(self) -> impl Iterator<Item = usize> {
        (0..self.repeats).map(move |i| self.start + i * self.step)
    }

    #[inline(always)]
    fn of<T>(self, x: &[T]) -> impl Iterator<Item = &[T]> {
        self.starts().map(move |start| &x[start..][..self.length])
    }
}

/// Asks for so many elements.
#[inline(always)]
fn fetch<T>(x: *const T, start: usize, length: usize) {
    for i in (0..length).step_by(64 / size_of::<T>()) {
        isa::prefetch(x, start + i);
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
        fn standardize_gradient(g: Option<&[Self]>, x: &[Self], how: &Standard<'_, Self>, statistics: &[f64], sums: &mut [f64], gx: &mut [Self])
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
    let (isa, y) = (isa::isa_of::<T>(), Shared(y.as_mut_ptr()));
    par::for_each_chunk(statistics, 2 * piece, 6 * piece * extent.outer * extent.inner, |at, statistics| {
        let body = Standardized { x, how, first: at * piece, statistics, y: y.get() };
        // SAFETY: the set comes from detection; the length was checked, and this piece alone has its channels.
        unsafe { T::simd(isa, body) };
    });
}

/// The channels from `first` on, as many as there are statistics.
struct Standardized<'a, T> {
    x: &'a [T],
    how: &'a Standard<'a, T>,
    first: usize,
    statistics: &'a mut [f64],
    /// The whole result.
    y: *mut T,
}

impl<T: Float> SimdBody<T> for Standardized<'_, T> {
    type Output = ();
    const DOUBLE: bool = false;
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        let Standardized { x, how, first, statistics, y } = self;
        let extent = how.extent;
        // SAFETY: the set is enabled here.
        unsafe { moments::<T, S>(x, extent, first, statistics) };
        let mut lines = [[T::ZERO; 3]; 2 * LANES];
        let count = statistics.len() / 2;
        for (c, s) in statistics.chunks_exact(2).enumerate() {
            lines[c] = how.line(first + c, s[0], s[1]);
        }
        for o in 0..extent.outer {
            for (c, line) in lines[..count].iter().enumerate() {
                let start = extent.start(o, first + c);
                // Memory that is written is read first.
                fetch(y, extent.start(o + 1, first + c), extent.inner);
                // SAFETY: the caller's promise.
                let y = unsafe { std::slice::from_raw_parts_mut(y.add(start), extent.inner) };
                let x = &x[start..start + extent.inner];
                if how.relu {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = rectified(at_line(line, x)));
                } else {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = at_line(line, x));
                }
            }
        }
    }
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
///
/// # Safety
/// The set of S is enabled in the caller.
#[inline(always)]
unsafe fn moments<T: Float, S: Simd<T = T>>(x: &[T], extent: Channels, first: usize, statistics: &mut [f64]) {
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
                |block| {
                    // SAFETY: the caller's promise.
                    unsafe { merge::<T, S>(s, &mut seen, x, block) }
                },
            );
        }
    }
    statistics.chunks_exact_mut(2).for_each(|s| s[1] /= seen);
}

/// Adds a block to a mean and a sum of squared distances of `seen` elements.
///
/// # Safety
/// The set of S is enabled in the caller.
#[inline(always)]
unsafe fn merge<T: Float, S: Simd<T = T>>(s: &mut [f64], seen: &mut f64, x: &[T], block: Strips) {
    block.fetch_next(x.as_ptr());
    let n = block.numel() as f64;
    // SAFETY: the caller's promise.
    let mean = unsafe { sum::<T, S, false>(x, block, T::ZERO) } / n;
    // SAFETY: as above.
    let squares = unsafe { sum::<T, S, true>(x, block, T::real(mean)) };
    let (distance, total) = (mean - s[0], *seen + n);
    s[0] += distance * n / total;
    s[1] += squares + distance * distance * *seen * n / total;
    *seen = total;
}

/// The sum over a block of elements, or of their squared distances from the middle, in lanes. Of plain loops the compiler made
/// vectors of two lanes here.
///
/// # Safety
/// The set of S is enabled in the caller.
#[inline(always)]
// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#[allow(clippy::needless_range_loop)]
unsafe fn sum<T: Float, S: Simd<T = T>, const SQUARES: bool>(x: &[T], block: Strips, middle: T) -> f64 {
    // What does not fill all lanes has some of its own.
    let (mut lanes, mut ends) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    // SAFETY: vectors are inside of chunks and of the lanes.
    unsafe {
        let (mut sums, away, zero) = ([S::zero(); LANES], S::splat(T::ZERO - middle), S::zero());
        for strip in block.of(x) {
            let (whole, rest) = strip.as_chunks::<LANES>();
            for chunk in whole {
                for i in 0..LANES / S::N {
                    let v = S::load(chunk.as_ptr().add(i * S::N));
                    let d = S::add(v, away);
                    // Not added in the same step: that would be rounded once with some sets and twice with others.
                    sums[i] = S::add(sums[i], if SQUARES { S::fma(d, d, zero) } else { v });
                }
            }
            for (end, &v) in ends.iter_mut().zip(rest) {
                let d = v.minus(middle);
                *end = end.plus(if SQUARES { d.times(d) } else { v });
            }
        }
        for i in 0..LANES / S::N {
            S::store(lanes.as_mut_ptr().add(i * S::N), sums[i]);
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

/// The gradient `gx` by the input of [`standardize`] for a gradient `g` of its result and its `statistics`; without `g`, `gx` holds
/// it before. The sums of `g` and of
/// `g * (x - mean)` of channel `c` go to `2 * c` and `2 * c + 1` of `sums`; with ReLU, of those `g` whose result is not 0.
///
/// # Panics
/// A slice has another length than the extent says.
pub fn standardize_gradient<T: Float>(
    g: Option<&[T]>,
    x: &[T],
    how: &Standard<'_, T>,
    statistics: &[f64],
    sums: &mut [f64],
    gx: &mut [T],
) {
    <T as NormKernels>::standardize_gradient(g, x, how, statistics, sums, gx);
}

fn standardize_gradient_of<T: Float>(
    g: Option<&[T]>,
    x: &[T],
    how: &Standard<'_, T>,
    statistics: &[f64],
    sums: &mut [f64],
    gx: &mut [T],
) {
    how.check(&[g.map_or(x.len(), <[T]>::len), x.len(), gx.len()], statistics.len());
    how.check(&[], sums.len());
    let extent = how.extent;
    if x.is_empty() {
        return sums.fill(0.0);
    }
    let piece = extent.piece();
    let gx = Shared(gx.as_mut_ptr());
    let g = g.map(|g| Shared(g.as_ptr().cast_mut()));
    par::for_each_chunk(sums, 2 * piece, 8 * piece * extent.outer * extent.inner, |at, sums| {
        let gradients = Gradients { from: g.as_ref().unwrap_or(&gx).get(), to: gx.get() };
        isa::dispatch::<T, _>(
            #[inline(always)]
            || {
                let statistics = &statistics[at * 2 * piece..];
                // SAFETY: the lengths were checked, and this piece alone has its channels.
                unsafe {
                    if how.relu {
                        piece_gradient(gradients, x, how, at * piece, statistics, sums, passed);
                    } else {
                        piece_gradient(gradients, x, how, at * piece, statistics, sums, kept);
                    }
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

/// The gradient of the result and that of the input, which may be the same memory.
#[derive(Clone, Copy)]
struct Gradients<T> {
    from: *const T,
    to: *mut T,
}

impl<T> Gradients<T> {
    /// A part of the gradient of the result.
    ///
    /// # Safety
    /// It is inside, in a channel that no other piece has, and no longer in use when that channel is written.
    #[inline(always)]
    unsafe fn part<'a>(&self, start: usize, length: usize) -> &'a [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.from.add(start), length) }
    }
}

/// The channels from `first` on; `pass(line, g, x)` is the gradient that passes.
///
/// # Safety
/// The gradients have the extent, and nobody else uses these channels of them.
#[inline(always)]
unsafe fn piece_gradient<T: Float>(
    gradients: Gradients<T>,
    x: &[T],
    how: &Standard<'_, T>,
    first: usize,
    statistics: &[f64],
    sums: &mut [f64],
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
        for (o, x) in extent.rows(x, first, count).enumerate() {
            // SAFETY: the channels of this piece; they are written below.
            let g = unsafe { gradients.part(extent.start(o, first), count) };
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
                    // SAFETY: the block is of a channel of this piece, which is written later.
                    let (a, b) = unsafe { two_sums(gradients, x, block, line, &pass) };
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
        for (c, (line, means)) in lines[..count].iter().enumerate() {
            let start = extent.start(o, first + c);
            let x = &x[start..start + extent.inner];
            // SAFETY: the channels of this piece, of which nothing else is in use any more.
            let y = unsafe { std::slice::from_raw_parts_mut(gradients.to.add(start), extent.inner) };
            if std::ptr::eq(gradients.from, gradients.to) {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = settled(line, means, pass(line, *y, x), x);
                }
            } else {
                // SAFETY: as above; it is other memory than y.
                let g = unsafe { gradients.part(start, extent.inner) };
                for ((y, &g), &x) in y.iter_mut().zip(g).zip(x) {
                    *y = settled(line, means, pass(line, g, x), x);
                }
            }
        }
    }
}

/// `(g - a - (x - mean) * b) * scale`.
#[inline(always)]
fn settled<T: Float>(&[mean, scale, _]: &[T; 3], &[a, b]: &[T; 2], g: T, x: T) -> T {
    g.minus(a).minus(x.minus(mean).times(b)).times(scale)
}

/// The sums of `g` and of `g * (x - mean)` over a block, of those `g` that pass.
///
/// # Safety
/// The block lies in channels that nobody writes meanwhile.
#[inline(always)]
unsafe fn two_sums<T: Float>(
    gradients: Gradients<T>,
    x: &[T],
    block: Strips,
    line: &[T; 3],
    pass: &impl Fn(&[T; 3], T, T) -> T,
) -> (f64, f64) {
    let m = line[0];
    let (mut plain, mut along) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    block.fetch_next(gradients.from);
    block.fetch_next(x.as_ptr());
    let (mut plain_ends, mut along_ends) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for (start, x) in block.starts().zip(block.of(x)) {
        // SAFETY: the caller's promise.
        let g = unsafe { gradients.part(start, block.length) };
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
mod tests;
