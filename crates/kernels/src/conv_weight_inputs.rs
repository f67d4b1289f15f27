//! Convolution backward-weights with vectors of input channels, for few output channels.
//!
//! The plain loop: `gw[tap][k][c] = sum over images and outputs i, j of gy[k][i][j] * x[i*stride + tap, ..][c]`.
//!
//! The tricks: it is `conv_weight_channels` with the operands in each other's place: the input is brought into the order
//! `[pixel][channel]`, some rows at a time, and the gradient is broadcast from where it lies. Nothing is padded, since each tap
//! has loops of its own over the outputs that see the image by it.

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::conv_weight_channels::{ITEM_WORK, ITEMS, Tiles, Wanted, height};
use crate::element::Float;
use crate::isa::{self, Isa};
use crate::par::{self, Shared};
use crate::transpose::{transpose, transpose_to};
use std::ops::Range;

/// Bytes of the input that are transposed at a time.
const INPUT_BYTES: usize = 128 << 10;

/// The work: blocks of input channels of each group, and parts of the bands of rows of all images.
pub(crate) struct Pieces {
    /// Input channels of a block of two vectors or one, and how many blocks a group has.
    pub(crate) block: usize,
    pub(crate) blocks: usize,
    /// Bands of rows of an image, and parts of the bands of all of them.
    pub(crate) bands: usize,
    pub(crate) parts: usize,
    /// Output channels of a tile, and those of a group filled up to whole tiles.
    pub(crate) height: usize,
    pub(crate) outputs: usize,
    /// Sums of a block.
    pub(crate) sums: usize,
}

impl Pieces {
    pub(crate) fn new<T: Float>(isa: Isa, g: &ConvGeometry) -> Pieces {
        let full = lanes::<T>(isa);
        let block = if g.group_in() > full { 2 * full } else { full };
        let blocks = g.group_in().div_ceil(block);
        let items = g.groups * blocks;
        let wanted = ITEMS.min(g.work().saturating_mul(g.batch) / ITEM_WORK).div_ceil(items).max(1);
        let rows = INPUT_BYTES / size_of::<T>() / (g.in_w * block);
        let high = (g.kernel_h - 1) * g.dilation.0 + 1;
        let lines = rows.saturating_sub(high) / pitch(g) + 1;
        let bands = g.out_h.div_ceil(lines).max(wanted.div_ceil(g.batch)).min(g.out_h);
        let height = height(isa, g.group_out());
        let outputs = g.group_out().next_multiple_of(height);
        let sums = g.kernel_h * g.kernel_w * outputs * block;
        Pieces { block, blocks, bands, parts: wanted.min(g.batch * bands), height, outputs, sums }
    }

    /// The input channels of an item, counted in all groups.
    fn channels(&self, g: &ConvGeometry, item: usize) -> Range<usize> {
        let (group, first) = (item / self.blocks * g.group_in(), item % self.blocks * self.block);
        group + first..group + g.group_in().min(first + self.block)
    }
}

/// How many rows a row of outputs is from that below it in what is transposed: rows that no tap sees are left out.
pub(crate) fn pitch(g: &ConvGeometry) -> usize {
    g.stride.0.min((g.kernel_h - 1) * g.dilation.0 + 1)
}

/// The outputs of some that see the image by a tap, and the first pixel that they see.
pub(crate) fn seen(
    outputs: &Range<usize>,
    stride: usize,
    tap: usize,
    before: usize,
    size: usize,
) -> (Range<usize>, usize) {
    let first = before.saturating_sub(tap).div_ceil(stride).max(outputs.start);
    let end = (size + before).saturating_sub(tap).div_ceil(stride).min(outputs.end);
    (first..end.max(first), (first * stride + tap).saturating_sub(before))
}

/// [`crate::conv::conv2d_weight`] for a geometry with something to compute.
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let pieces = Pieces::new::<T>(isa, g);
    let items = g.groups * pieces.blocks;
    let units = g.batch * pieces.bands;
    let work = g.work().saturating_mul(g.batch) / items / pieces.parts;
    let mut partial = Buffer::unfilled(pieces.parts * items * pieces.sums);
    par::for_each_chunk(partial.make_mut(), pieces.sums, work, |item, sums| {
        let (part, item) = (item / items, item % items);
        let units = part * units / pieces.parts..(part + 1) * units / pieces.parts;
        sum(isa, g, x, gy, &pieces, units, item, sums);
    });
    add_up(isa, g, &pieces, partial.make_mut(), gw);
}

/// Sums for some bands of images and a block of input channels: `sums[tap][output channel][input channel]`.
#[allow(clippy::too_many_arguments)]
fn sum<T: Float>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    gy: &[T],
    pieces: &Pieces,
    units: Range<usize>,
    item: usize,
    sums: &mut [T],
) {
    let full = lanes::<T>(isa);
    let channels = pieces.channels(g, item);
    let block = channels.len().next_multiple_of(full);
    let (out, plane, reach, pitch) = (g.out_h * g.out_w, g.in_h * g.in_w, (g.kernel_h - 1) * g.dilation.0, pitch(g));
    // The rows of the largest band; of several images if they are small.
    let lines = g.out_h.div_ceil(pieces.bands);
    let turned_image = ((lines - 1) * pitch + reach + 1) * g.in_w * block;
    let together = if pieces.bands > 1 { 1 } else { INPUT_BYTES / size_of::<T>() / turned_image };
    let together = together.clamp(1, units.len());
    let mut turned = if channels.len() == block { Buffer::unfilled } else { Buffer::zeroed }(together * turned_image);
    let turned = turned.make_mut();
    // The last tile is filled up with the last channel.
    let first_output = item / pieces.blocks * g.group_out();
    let mut offsets: Buffer<i64> = Buffer::unfilled(pieces.outputs);
    for (k, offset) in offsets.make_mut().iter_mut().enumerate() {
        *offset = (k.min(g.group_out() - 1) * out) as i64;
    }
    sums.fill(T::ZERO);
    for first in units.clone().step_by(together) {
        let count = together.min(units.end - first);
        let (image, band) = (first / pieces.bands, first % pieces.bands);
        let lines = band * g.out_h / pieces.bands..(band + 1) * g.out_h / pieces.bands;
        // Rows that follow each other are transposed at once: those of all lines, or of each line if some between are left out.
        let at_once = if pitch < g.stride.0 { 1 } else { lines.len() };
        for (i, to) in turned.chunks_exact_mut(turned_image).take(count).enumerate() {
            let image = &x[((image + i) * g.in_channels + channels.start) * plane..];
            for line in lines.clone().step_by(at_once) {
                let first = line * g.stride.0;
                let end = (first + (at_once - 1) * g.stride.0 + reach + 1).saturating_sub(g.padding.0).min(g.in_h);
                let top = first.saturating_sub(g.padding.0);
                if top >= end {
                    continue;
                }
                let to = &mut to[((line - lines.start) * pitch + top + g.padding.0 - first) * g.in_w * block..];
                transpose(isa, (channels.len(), (end - top) * g.in_w), &image[top * g.in_w..], plane, to, block);
            }
        }
        for (tap, sums) in sums.chunks_exact_mut(pieces.outputs * pieces.block).enumerate() {
            let (down, right) = (tap / g.kernel_w * g.dilation.0, tap % g.kernel_w * g.dilation.1);
            let rows = seen(&lines, g.stride.0, down, g.padding.0, g.in_h).0;
            let (columns, column) = seen(&(0..g.out_w), g.stride.1, right, g.padding.2, g.in_w);
            if rows.is_empty() || columns.is_empty() {
                continue;
            }
            let tiles = Tiles {
                x: gy[(image * g.out_channels + first_output) * out + rows.start * g.out_w + columns.start..].as_ptr(),
                image: g.out_channels * out,
                line: g.out_w,
                step: 1,
                ahead: 0,
                wanted: Wanted::NONE,
                size: (count, rows.len(), columns.len()),
                g: turned[(((rows.start - lines.start) * pitch + down) * g.in_w + column) * block..].as_ptr(),
                g_image: turned_image,
                g_line: pitch * g.in_w * block,
                g_step: g.stride.1 * block,
                taps: &offsets,
                height: pieces.height,
                wide: block > full,
                sums: sums.as_mut_ptr(),
            };
            // SAFETY: the set comes from detection. The outputs and the pixels that they see by this tap are inside of the gradient
            // and of what was transposed, and there is a sum for each channel of both kinds.
            unsafe { tiles.run_on(isa) };
        }
    }
}

/// Adds up the sums of the parts and brings them into the order of the weights.
fn add_up<T: Float>(isa: Isa, g: &ConvGeometry, pieces: &Pieces, partial: &mut [T], gw: &mut [T]) {
    let kernel = g.kernel_h * g.kernel_w;
    let taps = g.group_in() * kernel;
    let (total, others) = partial.split_at_mut(partial.len() / pieces.parts);
    assert_eq!(gw.len(), g.out_channels * taps, "the result has its size");
    let len = total.len();
    let gw = Shared(gw.as_mut_ptr());
    par::for_each_chunk(total, pieces.sums, pieces.parts * pieces.sums, |item, sums| {
        for other in others.chunks_exact(len) {
            let other = &other[item * pieces.sums..][..pieces.sums];
            isa::dispatch::<T, _>(
                #[inline(always)]
                || sums.iter_mut().zip(other).for_each(|(sum, &other)| *sum = *sum + other),
            );
        }
        let channels = pieces.channels(g, item);
        let block = channels.len().next_multiple_of(lanes::<T>(isa));
        for k in 0..g.group_out() {
            let output = item / pieces.blocks * g.group_out() + k;
            // SAFETY: the weights of these channels belong to this item alone.
            unsafe {
                let to = gw.get().add(output * taps + channels.start % g.group_in() * kernel);
                transpose_to(
                    isa,
                    (kernel, channels.len()),
                    &sums[k * block..],
                    pieces.outputs * pieces.block,
                    to,
                    kernel,
                );
            }
        }
    });
}
