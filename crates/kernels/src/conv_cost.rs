//! What the two direct ways of a forward convolution cost, so that the cheaper one is taken.
//!
//! The unit is a cycle. Multiply-adds and everything else are counted apart, so that the same figures serve sets of instructions and
//! processors with vectors of different lengths and speeds; backward-data and the ways for small images use them too. They were
//! fitted together to the times of 400 random convolutions on Zen 4 with AVX-512 and with AVX2, each way of both passes.

use crate::conv::ConvGeometry;
use crate::conv_parts::{Tiling, lanes};
use crate::isa::{Isa, half_cost};
use crate::{conv_channels, par};

/// The threads that are assumed: the ways add in different orders, and a result must not depend on how many there are.
pub(crate) const ASSUMED: usize = 2;
/// Copying a row of an image into a plane, and each vector of it.
pub(crate) const ROW: f64 = 6.0;
pub(crate) const VECTOR: f64 = 2.0;
/// A vector of which only every second or third element belongs there, and each element for larger strides.
const STRIDED: f64 = 3.5;
const ELEMENT: f64 = 2.5;
/// Bringing a vector of results to another place than that of the sums.
pub(crate) const SPREAD: f64 = 3.0;
/// Transposing a vector of results.
pub(crate) const TRANSPOSED: f64 = 5.0;
/// Writing a vector of results.
const RESULT: f64 = 1.7;
/// What a weight costs before the first image, for vectors of pixels and for vectors of channels.
const WEIGHT: (f64, f64) = (1.7, 0.4);
/// Starting threads.
pub(crate) const THREADS: f64 = 9000.0;
/// What a call costs to begin with, for vectors of pixels (offsets, parts and bands) and for vectors of channels.
const START: (f64, f64) = (3400.0, 1200.0);
/// Starting a block of rows, for each image.
pub(crate) const CALL: f64 = 100.0;
/// Rows that a single one costs more than its work, as it uses its loads less.
pub(crate) const ALONE: f64 = 1.0;

/// A multiply-add of two vectors: two start in a cycle, or one where a vector takes two steps.
pub(crate) fn product(isa: Isa) -> f64 {
    if isa == Isa::Avx512 && half_cost(isa) == 1 { 1.0 } else { 0.5 }
}

/// What a product costs more with a single vector of channels: as many loads as multiply-adds are short of loads if two of these start in
/// a cycle.
pub(crate) fn single(isa: Isa) -> f64 {
    if product(isa) < 1.0 { 1.3 } else { 1.0 }
}

/// The images that the busiest thread has, in parts if an image is divided into `items`, and what starting threads costs.
pub(crate) fn images(g: &ConvGeometry, items: usize) -> (f64, f64) {
    let all = g.batch.saturating_mul(items);
    let threads = par::threads_for(all, g.work() / items, ASSUMED);
    // Where there are fewer items than threads, they are divided if that pays.
    let worth = par::threads_worth(g.work().saturating_mul(g.batch), ASSUMED);
    if all < worth {
        return (g.batch as f64 / worth as f64, THREADS);
    }
    (all.div_ceil(threads) as f64 / items as f64, if threads > 1 { THREADS } else { 0.0 })
}

/// The residues of the stride that the kernel meets along one axis.
fn residues(kernel: usize, stride: usize, dilation: usize) -> usize {
    let (mut a, mut b) = (stride, dilation);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    kernel.min(stride / a)
}

/// The planes of a channel for vectors of pixels.
pub(crate) fn planes_of_channel(g: &ConvGeometry) -> usize {
    residues(g.kernel_h, g.stride.0, g.dilation.0) * residues(g.kernel_w, g.stride.1, g.dilation.1)
}

/// Filling the planes of an image for vectors of pixels (`split` by the stride) or of channels.
pub(crate) fn filling(g: &ConvGeometry, full: usize, split: bool) -> f64 {
    let none = g.padding == (0, 0, 0, 0);
    if none && (!split || g.stride == (1, 1)) {
        return 0.0;
    }
    let (rows, row) = if split {
        let columns = g.out_w + (g.kernel_w - 1) * g.dilation.1 / g.stride.1;
        let row = match g.stride.1 {
            1 => ROW + columns.min(g.in_w).div_ceil(full) as f64 * VECTOR,
            2 | 3 => ROW + columns.div_ceil(full) as f64 * STRIDED,
            _ => columns as f64 * ELEMENT,
        };
        let rows = (g.out_h + (g.kernel_h - 1) * g.dilation.0 / g.stride.0).min(g.in_h.div_ceil(g.stride.0));
        (planes_of_channel(g) * rows, row)
    } else {
        let reach = (g.out_h - 1) * g.stride.0 + 1 + (g.kernel_h - 1) * g.dilation.0;
        (reach.min(g.in_h), ROW + g.in_w.div_ceil(full) as f64 * VECTOR)
    };
    (g.in_channels * rows) as f64 * row
}

/// The cost of `conv_direct`: vectors of pixels.
pub(crate) fn pixels<T>(isa: Isa, g: &ConvGeometry) -> f64 {
    let (full, outputs) = (lanes::<T>(isa), g.group_out());
    let whole = g.stride == (1, 1) && g.padding == (0, 0, 0, 0);
    let pitch = if whole { g.in_w } else { g.out_w + (g.kernel_w - 1) * g.dilation.1 / g.stride.1 };
    let tiling = Tiling::new::<T>(isa, g.out_h, g.out_w, pitch, Some(g.out_w));
    let taps = (g.group_in() * g.kernel_h * g.kernel_w) as f64;
    let rows = g.groups as f64 * (outputs as f64 + ALONE * (outputs % 2) as f64);
    let results = (g.out_channels * g.out_h * g.out_w) as f64 / full as f64;
    let moved = if tiling.scratch.is_some() { RESULT + SPREAD } else { RESULT };
    let blocks = g.groups * outputs.div_ceil(8);
    let (images, start) = images(g, blocks);
    images * (product(isa) * rows * taps * tiling.products::<T>(isa) + moved * results + CALL * blocks as f64)
        + images.max(1.0) * filling(g, full, true)
        + taps * g.out_channels as f64 * WEIGHT.0
        + START.0
        + start
}

/// The cost of `conv_channels`.
pub(crate) fn channels<T>(isa: Isa, g: &ConvGeometry) -> f64 {
    let (full, all) = (lanes::<T>(isa), g.out_h * g.out_w);
    let vectors = g.group_out().div_ceil(full);
    let wide = if conv_channels::block::<T>(isa, g, ASSUMED) > full { vectors / 2 } else { 0 };
    let tiles = |wide: bool, one: f64| {
        let run = conv_channels::run(isa, g, wide);
        let pointers = conv_channels::pointers(isa, wide, run, all / run);
        (all / run).div_ceil(pointers) as f64 * ((pointers * run) as f64 * one * product(isa) + 1.0)
    };
    let (pairs, rest) = (wide as f64, (vectors - 2 * wide) as f64);
    let products = if wide > 0 { pairs * tiles(true, 2.0) } else { 0.0 }
        + if rest > 0.0 { rest * tiles(false, single(isa)) } else { 0.0 };
    let taps = (g.group_in() * g.kernel_h * g.kernel_w) as f64;
    let (images, start) = images(g, g.groups * (vectors - wide));
    images * g.groups as f64 * (taps * products + TRANSPOSED * (vectors * all) as f64)
        + images.max(1.0) * filling(g, full, false)
        + taps * (g.groups * vectors * full) as f64 * WEIGHT.1
        + START.1
        + start
}
