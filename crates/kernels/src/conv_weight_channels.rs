//! Convolution backward-weights with vectors of output channels, for strides, short rows and 1x1 kernels.
//!
//! The plain loop, over padded images: `gw[t][k] = sum over images and outputs i, j of x[tap[t] + i*line + j*step] * gy[i][j][k]`.
//!
//! The tricks: the sums of some taps and one or two vectors of channels stay in registers while pixels run by; a pixel of the
//! input is broadcast from where it lies, so strides cost nothing and rows have no ends to be masked. Where rows of large images
//! are skipped, those that are wanted are asked for ahead, as the hardware would bring others; elsewhere the pixels that follow are
//! asked for while these are summed. The gradient is brought into the order `[pixel][channel]` a few KiB at a time and used from the
//! first-level cache by all taps. Where there are few weights the images or their rows are divided too, in a number of parts that
//! follows from the sizes alone, so sums do not depend on the threads.

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_channels::LARGE;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{self, Isa, Simd, SimdBody, prefetch};
use crate::par::{self, Shared};
use crate::planes::{Axis, Planes};
use crate::transpose::{transpose, transpose_to};
use std::ops::Range;

/// Bytes of the gradient that are transposed at a time, and of the copied input.
const GRADIENT_BYTES: usize = 24 << 10;
const INPUT_BYTES: usize = 768 << 10;
/// Bytes of the sums of an item.
const SUM_BYTES: usize = 256 << 10;
/// Rows ahead that one is asked for, where others are skipped.
const AHEAD: usize = 4;
/// Items that the work is divided into, and the fewest operations of one.
pub(crate) const ITEMS: usize = 16;
pub(crate) const ITEM_WORK: usize = 1 << 20;

/// The taps of the tile that wastes the fewest, of those that a set has.
pub(crate) fn height(isa: Isa, taps: usize) -> usize {
    if isa == Isa::Avx512 { least([12, 10, 9, 8, 7, 6, 4], taps) } else { least([6, 5, 4], taps) }
}

/// Inlined, so that it divides by constants: a small convolution takes no longer than some divisions.
#[inline(always)]
fn least<const N: usize>(heights: [usize; N], taps: usize) -> usize {
    heights.into_iter().min_by_key(|&h| taps.div_ceil(h) * (h + 1)).unwrap_or(1)
}

/// How the padded images lie.
struct Source<'a, T> {
    planes: &'a Planes,
    x: &'a [T],
    /// Elements between outputs to the right and below.
    step: usize,
    line: usize,
    /// Whether rows of large images are skipped.
    far: bool,
}

/// The work: chunks of images, bands of rows, spans of input channels, runs of blocks of output channels.
pub(crate) struct Pieces {
    pub(crate) chunks: usize,
    pub(crate) bands: usize,
    /// Input channels of a span, and how many spans there are.
    pub(crate) span: usize,
    pub(crate) spans: usize,
    /// Output channels of a block of two vectors or one, those of a run of blocks, and how many runs there are.
    pub(crate) block: usize,
    pub(crate) run: usize,
    pub(crate) runs: usize,
    /// Sums of a block, and of an item.
    pub(crate) block_sums: usize,
    pub(crate) sums: usize,
    /// Taps of a tile.
    pub(crate) height: usize,
}

impl Pieces {
    pub(crate) fn new<T: Float>(isa: Isa, g: &ConvGeometry, planes: &Planes) -> Pieces {
        let (kernel, full) = (g.kernel_h * g.kernel_w, lanes::<T>(isa));
        let block = if g.group_out() > full { 2 * full } else { full };
        let elements = |bytes: usize| bytes / size_of::<T>();
        let most = elements(INPUT_BYTES) / planes.channel();
        let most = most.min(elements(SUM_BYTES) / (block * kernel)).max(1);
        let mut span = g.group_in().div_ceil(g.group_in().div_ceil(most));
        let blocks = g.group_out().div_ceil(block);
        let block_sums = |span: usize| (span * kernel).next_multiple_of(height(isa, span * kernel)) * block;
        let mut run = blocks.div_ceil(blocks.div_ceil((elements(SUM_BYTES) / block_sums(span)).max(1)));
        // Images are divided first. Where they are too few, so are the blocks, which costs copies of the input, then spans, which
        // costs transposes of the gradient, or rows, which costs sums to be added up.
        let items = |span: usize, run: usize| g.groups * g.group_in().div_ceil(span) * blocks.div_ceil(run);
        let wanted = ITEMS.min(g.work().saturating_mul(g.batch) / ITEM_WORK);
        let lack = |span: usize, run: usize| wanted.div_ceil(items(span, run) * g.batch).max(1);
        if planes.in_place || planes.channel() < 4 * kernel * g.group_out() {
            run = run.div_ceil(lack(span, run));
        }
        if g.out_h * g.out_w < g.group_in() * kernel {
            span = span.div_ceil(lack(span, run));
        }
        let bands = lack(span, run).min(g.out_h);
        let chunks = wanted.div_ceil(items(span, run) * bands).clamp(1, g.batch);
        let (spans, runs, block_sums) = (g.group_in().div_ceil(span), blocks.div_ceil(run), block_sums(span));
        let (sums, run, height) = (run * block_sums, run * block, height(isa, span * kernel));
        Pieces { chunks, bands, span, spans, block, run, runs, block_sums, sums, height }
    }

    /// The rows of outputs, of so many, whose gradient is transposed at a time.
    pub(crate) fn lines<T>(&self, g: &ConvGeometry, rows: usize) -> usize {
        let most = (GRADIENT_BYTES / size_of::<T>() / self.block / g.out_w).clamp(1, rows);
        rows.div_ceil(rows.div_ceil(most))
    }

    /// The input channels and the output channels of an item, counted in all groups.
    fn item(&self, g: &ConvGeometry, item: usize) -> (Range<usize>, Range<usize>) {
        let (group, run, span) = (item / self.spans / self.runs, item / self.spans % self.runs, item % self.spans);
        let part = |i: usize, size: usize, all: usize| group * all + i * size..group * all + all.min((i + 1) * size);
        (part(span, self.span, g.group_in()), part(run, self.run, g.group_out()))
    }
}

/// Planes as for stride 1, of which only some elements are read.
pub(crate) fn planes<T>(g: &ConvGeometry) -> Planes {
    let (reach_h, reach_w) = ((g.out_h - 1) * g.stride.0 + 1, (g.out_w - 1) * g.stride.1 + 1);
    let rows = Axis::slid(g.in_h, g.padding.0, g.kernel_h, g.dilation.0, 1, reach_h);
    let columns = Axis::slid(g.in_w, g.padding.2, g.kernel_w, g.dilation.1, 1, reach_w);
    // Planes of a multiple of 4 KiB would share the sets of the cache.
    let apart = !(g.in_h * g.in_w * size_of::<T>()).is_multiple_of(4096) || g.group_in() == 1;
    Planes::new(g.in_channels, rows, columns, apart)
}

/// Whether rows of large images are skipped, so that those that are wanted are asked for.
pub(crate) fn asks<T>(g: &ConvGeometry, planes: &Planes) -> bool {
    let bytes = g.batch * g.in_channels * g.in_h * g.in_w * size_of::<T>();
    planes.in_place && g.kernel_h < g.stride.0 && bytes >= LARGE
}

/// [`crate::conv::conv2d_weight`] for a geometry with something to compute.
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let planes = planes::<T>(g);
    let far = asks::<T>(g, &planes);
    let source = Source { planes: &planes, x, step: g.stride.1, line: g.stride.0 * planes.pitch, far };
    let pieces = Pieces::new::<T>(isa, g, &planes);
    let items = g.groups * pieces.spans * pieces.runs;
    let parts = pieces.chunks * pieces.bands;
    let work = g.work().saturating_mul(g.batch) / items / parts;
    let mut partial = Buffer::unfilled(parts * items * pieces.sums);
    par::for_each_chunk(partial.make_mut(), pieces.sums, work, |item, sums| {
        let (part, item) = (item / items, item % items);
        let (chunk, band) = (part / pieces.bands, part % pieces.bands);
        let images = chunk * g.batch / pieces.chunks..(chunk + 1) * g.batch / pieces.chunks;
        let rows = band * g.out_h / pieces.bands..(band + 1) * g.out_h / pieces.bands;
        sum(isa, g, &source, gy, &pieces, (images, rows), item, sums);
    });
    add_up(isa, g, &pieces, partial.make_mut(), gw);
}

/// Sums for some images, rows, input channels and output channels: `sums[block][tap][channel]`.
#[allow(clippy::too_many_arguments)]
fn sum<T: Float>(
    isa: Isa,
    g: &ConvGeometry,
    source: &Source<T>,
    gy: &[T],
    pieces: &Pieces,
    (images, rows): (Range<usize>, Range<usize>),
    item: usize,
    sums: &mut [T],
) {
    let (kernel, full) = (g.kernel_h * g.kernel_w, lanes::<T>(isa));
    let (channels, outputs) = pieces.item(g, item);
    let (out, image) = (g.out_h * g.out_w, g.in_channels * g.in_h * g.in_w);
    // Copies are of the rows that these outputs see.
    let banded = source.planes.of_rows(rows.start * g.stride.0, (g.out_h - rows.len()) * g.stride.0);
    let planes = banded.as_ref().unwrap_or(source.planes);
    let first_row = if planes.in_place { 0 } else { rows.start };
    // Some images, or some rows of one.
    let pixels = GRADIENT_BYTES / size_of::<T>() / pieces.block;
    let lines = pieces.lines::<T>(g, rows.len());
    let copied_image = if planes.in_place { image } else { channels.len() * planes.channel() };
    let mut together = if lines == rows.len() { (pixels / (lines * g.out_w)).clamp(1, images.len()) } else { 1 };
    if !planes.in_place {
        together = together.min((INPUT_BYTES / size_of::<T>() / copied_image).max(1));
    }
    let mut copied = Buffer::zeroed(if planes.in_place { 0 } else { together * copied_image });
    let mut turned = Buffer::zeroed(together * lines * g.out_w * pieces.block);
    let turned = turned.make_mut();
    let merged = source.line == g.out_w * source.step;
    let from_memory = size_of_val(source.x) + size_of_val(gy) >= LARGE && !source.far;
    // The last tile is filled up with the last tap.
    let taps = channels.len() * kernel;
    let mut offsets: Buffer<i64> = Buffer::unfilled(taps.next_multiple_of(pieces.height));
    for (t, offset) in offsets.make_mut().iter_mut().enumerate() {
        let (c, e) = (t.min(taps - 1) / kernel, t.min(taps - 1) % kernel);
        let tap = planes.tap(e / g.kernel_w * g.dilation.0, e % g.kernel_w * g.dilation.1);
        *offset = (c * planes.channel() + tap) as i64;
    }
    sums.fill(T::ZERO);
    for first in images.clone().step_by(together) {
        let count = together.min(images.end - first);
        let x = if planes.in_place {
            &source.x[first * image + channels.start * planes.channel()..]
        } else {
            for (i, to) in copied.make_mut().chunks_exact_mut(copied_image).take(count).enumerate() {
                let from = &source.x[(first + i) * image + channels.start * g.in_h * g.in_w..];
                planes.fill(isa, channels.len(), from, to);
            }
            &copied[..]
        };
        for (start, sums) in outputs.clone().step_by(pieces.block).zip(sums.chunks_exact_mut(pieces.block_sums)) {
            let width = pieces.block.min(outputs.end - start);
            let block = width.next_multiple_of(full);
            for row in rows.clone().step_by(lines) {
                // The rows of outputs that follow, of these channels, the next ones, or the next images.
                let next = if row + lines < rows.end {
                    (first, start, row + lines)
                } else if start + width < outputs.end {
                    (first, start + width, rows.start)
                } else {
                    (first + together, outputs.start, rows.start)
                };
                let lines = lines.min(rows.end - row);
                let pixels = lines * g.out_w;
                let (high, wide) = if merged { (1, pixels) } else { (lines, g.out_w) };
                // Short rows would feel what asking costs.
                let wanted = if from_memory && wide >= 32 {
                    Wanted {
                        x: ((next.0 - first) * image + next.2 * source.line) as isize - (row * source.line) as isize,
                        taps: planes.in_place && source.step == 1,
                        g: gy.as_ptr().wrapping_add((next.0 * g.out_channels + next.1) * out + next.2 * g.out_w),
                        image: g.out_channels * out,
                        line: g.out_w,
                        channel: out,
                        channels: pieces.block.min(outputs.end - next.1),
                        every: 64 / size_of::<T>(),
                    }
                } else {
                    Wanted::NONE
                };
                for (i, to) in turned.chunks_exact_mut(pixels * block).take(count).enumerate() {
                    let from = &gy[((first + i) * g.out_channels + start) * out + row * g.out_w..];
                    transpose(isa, (width, pixels), from, out, to, block);
                }
                assert!(sums.len() >= offsets.len() * block, "there is a sum for each tap and channel");
                let tiles = Tiles {
                    x: x[(row - first_row) * source.line..].as_ptr(),
                    image: copied_image,
                    line: source.line,
                    step: source.step,
                    ahead: if source.far { AHEAD * source.line } else { 0 },
                    wanted,
                    size: (count, high, wide),
                    g: turned.as_ptr(),
                    g_image: pixels * block,
                    g_line: g.out_w * block,
                    g_step: block,
                    taps: &offsets,
                    height: pieces.height,
                    wide: block > full,
                    sums: sums.as_mut_ptr(),
                };
                // SAFETY: the set comes from detection. Each tap of each output is inside of the planes of these channels, the
                // gradient of `size` outputs was written above, and the sums were checked.
                unsafe { tiles.run_on(isa) };
            }
        }
    }
}

/// Adds up the sums of the chunks and brings them into the order of the weights.
fn add_up<T: Float>(isa: Isa, g: &ConvGeometry, pieces: &Pieces, partial: &mut [T], gw: &mut [T]) {
    let kernel = g.kernel_h * g.kernel_w;
    let (taps, full) = (g.group_in() * kernel, lanes::<T>(isa));
    let (total, others) = partial.split_at_mut(partial.len() / (pieces.chunks * pieces.bands));
    assert_eq!(gw.len(), g.out_channels * taps, "the result has its size");
    let len = total.len();
    let gw = Shared(gw.as_mut_ptr());
    par::for_each_chunk(total, pieces.block_sums, pieces.chunks * pieces.bands * pieces.block_sums, |block, sums| {
        let (channels, outputs) = pieces.item(g, block * pieces.block_sums / pieces.sums);
        let start = outputs.start + block % (pieces.sums / pieces.block_sums) * pieces.block;
        // The last run may have fewer blocks.
        if start >= outputs.end {
            return;
        }
        for other in others.chunks_exact(len) {
            let other = &other[block * pieces.block_sums..][..pieces.block_sums];
            isa::dispatch::<T, _>(
                #[inline(always)]
                || sums.iter_mut().zip(other).for_each(|(sum, &other)| *sum = *sum + other),
            );
        }
        let width = pieces.block.min(outputs.end - start);
        // SAFETY: these weights of these channels belong to this block alone.
        unsafe {
            let to = gw.get().add(start * taps + channels.start % g.group_in() * kernel);
            let size = (channels.len() * kernel, width);
            transpose_to(isa, size, sums, width.next_multiple_of(full), to, taps);
        }
    });
}

/// What is read after some pixels: tiles ask for it while they compute, as memory is slow to answer and the processor foresees no
/// lines of many channels.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<T> {
    /// Elements from the taps to the same taps of what is read next.
    x: isize,
    /// Whether taps are asked for.
    taps: bool,
    /// The gradient that is transposed next, and the distances of its images, rows and channels.
    g: *const T,
    image: usize,
    line: usize,
    channel: usize,
    /// How many channels of it are asked for.
    channels: usize,
    /// After how many pixels a line of each channel and tap is asked for; 0 if none is.
    every: usize,
}

impl<T> Wanted<T> {
    /// Nothing.
    pub(crate) const NONE: Self =
        Wanted { x: 0, taps: false, g: std::ptr::null(), image: 0, line: 0, channel: 0, channels: 0, every: 0 };
}

/// All taps, for some images or some rows of one.
pub(crate) struct Tiles<'a, T> {
    /// The operand that is broadcast.
    pub(crate) x: *const T,
    /// Elements between images, rows and columns of outputs in x.
    pub(crate) image: usize,
    pub(crate) line: usize,
    pub(crate) step: usize,
    /// Elements ahead of a row of x that one is asked for, if any.
    pub(crate) ahead: usize,
    /// What is read after this.
    pub(crate) wanted: Wanted<T>,
    /// Images, rows, columns.
    pub(crate) size: (usize, usize, usize),
    /// The operand with a block of channels for each pixel.
    pub(crate) g: *const T,
    /// The same distances in g.
    pub(crate) g_image: usize,
    pub(crate) g_line: usize,
    pub(crate) g_step: usize,
    /// Offsets into x.
    pub(crate) taps: &'a [i64],
    /// Taps of a tile.
    pub(crate) height: usize,
    /// Whether a block is two vectors.
    pub(crate) wide: bool,
    pub(crate) sums: *mut T,
}

impl<T: Float> Tiles<'_, T> {
    /// Runs the tiles; in one place, so that they are compiled once.
    ///
    /// # Safety
    /// The machine has `isa`; taps of all outputs, their gradients and sums for all taps are there.
    #[inline(never)]
    pub(crate) unsafe fn run_on(self, isa: Isa) {
        // SAFETY: the caller's promise.
        unsafe { T::simd(isa, self) }
    }
}

impl<T: Float> SimdBody<T> for Tiles<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe { if self.wide { tiles::<S, 2>(&self) } else { tiles::<S, 1>(&self) } }
    }
}

#[inline(always)]
unsafe fn tiles<S: Simd, const VB: usize>(s: &Tiles<'_, S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        if const { S::REGISTERS >= 32 } {
            match s.height {
                12 => tiles_of::<S, 12, VB>(s),
                10 => tiles_of::<S, 10, VB>(s),
                9 => tiles_of::<S, 9, VB>(s),
                8 => tiles_of::<S, 8, VB>(s),
                7 => tiles_of::<S, 7, VB>(s),
                4 => tiles_of::<S, 4, VB>(s),
                _ => tiles_of::<S, 6, VB>(s),
            }
        } else {
            match s.height {
                6 => tiles_of::<S, 6, VB>(s),
                5 => tiles_of::<S, 5, VB>(s),
                _ => tiles_of::<S, 4, VB>(s),
            }
        }
    }
}

#[inline(always)]
unsafe fn tiles_of<S: Simd, const TB: usize, const VB: usize>(s: &Tiles<'_, S::T>) {
    let (tiles, _) = s.taps.as_chunks::<TB>();
    // Each tile asks for its part of the channels.
    let part = |i: usize| i * s.wanted.channels / tiles.len();
    for (i, taps) in tiles.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { tile::<S, TB, VB>(s, taps, part(i)..part(i + 1), s.sums.add(i * TB * VB * S::N)) };
    }
}

/// Asks for a row of so many elements at each tap; in one place, as it is no part of the loops that count.
#[inline(never)]
fn ask<T>(x: *const T, len: usize, taps: &[i64]) {
    for line in (0..len).step_by(64 / size_of::<T>()) {
        for &tap in taps {
            prefetch(x, line.wrapping_add_signed(tap as isize));
        }
    }
}

/// Adds so many pixels of a row to the sums.
// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn pixels<S: Simd, const TB: usize, const VB: usize>(
    s: &Tiles<'_, S::T>,
    taps: &[i64; TB],
    (mut x, mut g): (*const S::T, *const S::T),
    count: usize,
    acc: &mut [[S::V; VB]; TB],
) {
    // SAFETY: the caller's promise.
    unsafe {
        for _ in 0..count {
            let mut b = [S::zero(); VB];
            for v in 0..VB {
                b[v] = S::load(g.add(v * S::N));
            }
            for t in 0..TB {
                let a = S::splat(*x.offset(taps[t] as isize));
                for v in 0..VB {
                    acc[t][v] = S::fma(a, b[v], acc[t][v]);
                }
            }
            g = g.wrapping_add(s.g_step);
            x = x.wrapping_add(s.step);
        }
    }
}

/// TB taps of VB vectors of channels.
// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn tile<S: Simd, const TB: usize, const VB: usize>(
    s: &Tiles<'_, S::T>,
    taps: &[i64; TB],
    channels: Range<usize>,
    sums: *mut S::T,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::zero(); VB]; TB];
        for t in 0..TB {
            for v in 0..VB {
                acc[t][v] = S::load(sums.add((t * VB + v) * S::N));
            }
        }
        let starts = |image: usize, row: usize| {
            (s.x.add(image * s.image + row * s.line), s.g.add(image * s.g_image + row * s.g_line))
        };
        // Rows that ask for nothing have a loop of their own: short ones would feel what the other needs.
        if s.wanted.every == 0 {
            for image in 0..s.size.0 {
                for row in 0..s.size.1 {
                    let (x, g) = starts(image, row);
                    if s.ahead > 0 {
                        ask(x.wrapping_add(s.ahead), s.size.2 * s.step, taps);
                    }
                    pixels::<S, TB, VB>(s, taps, (x, g), s.size.2, &mut acc);
                }
            }
        } else {
            for image in 0..s.size.0 {
                for row in 0..s.size.1 {
                    let (x, g) = starts(image, row);
                    let wanted = s.wanted.g.wrapping_add(image * s.wanted.image + row * s.wanted.line);
                    for done in (0..s.size.2).step_by(s.wanted.every) {
                        let x = x.add(done * s.step);
                        if s.wanted.taps {
                            for t in 0..TB {
                                prefetch(x.wrapping_offset(s.wanted.x + taps[t] as isize), 0);
                            }
                        }
                        for channel in channels.clone() {
                            prefetch(wanted, done + channel * s.wanted.channel);
                        }
                        let count = s.wanted.every.min(s.size.2 - done);
                        pixels::<S, TB, VB>(s, taps, (x, g.add(done * s.g_step)), count, &mut acc);
                    }
                }
            }
        }
        for t in 0..TB {
            for v in 0..VB {
                S::store(sums.add((t * VB + v) * S::N), acc[t][v]);
            }
        }
    }
}
