//! What the direct ways of backward-weights cost, so that the cheapest one is taken.
//!
//! The unit is a cycle, of a whole batch as the busiest of the assumed threads has it. Multiply-adds and everything else are counted
//! apart, as in `conv_cost`, from the pieces that each way divides its work into. The figures were fitted together to the times of 470
//! random convolutions on Zen 4 with AVX-512 and with AVX2, each way of them: groups, strides, single images and small ones in large
//! batches. By the shortest times seen, what is chosen takes 1 % more than the fastest way in the geometric mean, and 1.5 % for 420 others,
//! by which some of the terms but none of the figures were chosen; one in fifty of these takes more than 1.25 times as long, and the
//! worst of all 1.7 times.

use crate::conv::{ConvGeometry, Way};
use crate::conv_cost::{ALONE, ASSUMED, THREADS, filling, planes_of_channel, product};
use crate::conv_parts::lanes;
use crate::conv_weight_images::together;
use crate::conv_weight_inputs::{pitch, seen};
use crate::element::Float;
use crate::isa::{Isa, half_cost};
use crate::{conv_weight, conv_weight_channels, conv_weight_images, conv_weight_inputs, par};

/// What a product of dot tiles costs more than one of other tiles, as vectors of both operands are loaded for few products; for sets of
/// many registers and of few.
const DOTS: (f64, f64) = (1.14, 1.42);
/// Starting a line of pixels in a dot tile, and the products of such a tile, for the same.
const LINE: f64 = 4.1;
const TILE: (f64, f64) = (24.0, 12.0);
/// Adding up the elements of a sum of dot tiles.
const SUM: f64 = 8.35;
/// The cycles in which a sum can be added to again.
const LATENCY: f64 = 4.0;
/// How much more filling planes costs than in the other passes, as they are zeroed and do not stay in the cache, in products.
const FILLED: f64 = 2.95;
/// Writing a transposed vector, in products, and beginning to transpose.
const TURNED: f64 = 6.1;
const CALL: f64 = 50.0;
/// Finding where a tap is.
const TAP: f64 = 17.0;
/// Waiting for a cache line of what the caches of the cores do not hold, and for one that is not so well foreseen: where rows or elements
/// between are skipped, and where dot tiles read rows of images.
const FAR: f64 = 2.6;
const UNFORESEEN: f64 = 4.55;
/// The bytes that they hold.
const NEAR: f64 = 2097152.0;
/// Asking for a cache line.
const ASKED: f64 = 2.4;

/// The way of a geometry with something to compute that is neither clipped nor depthwise.
pub(crate) fn way<T: Float>(isa: Isa, g: &ConvGeometry) -> Way {
    if size_of::<T>() != 4 {
        return Way::Tiled;
    }
    let costs = [
        (Way::Tiled, tiled::<T>(isa, g)),
        (Way::Channels, channels::<T>(isa, g)),
        (Way::Inputs, inputs::<T>(isa, g)),
        (Way::Images, images::<T>(isa, g)),
    ];
    costs.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(Way::Tiled, |least| least.0)
}

/// The share of some items that the busiest thread has, and what starting threads costs.
fn busiest(items: usize, work: usize) -> (f64, f64) {
    let threads = par::threads_for(items, work / items, ASSUMED);
    (items.div_ceil(threads) as f64 / items as f64, if threads > 1 { THREADS } else { 0.0 })
}

/// The bytes of the rows of the images that outputs see, and of the gradient.
fn operands<T>(g: &ConvGeometry) -> (f64, f64) {
    let rows = (g.out_h * pitch(g)).min(g.in_h);
    let bytes = |elements: usize| (g.batch * elements * size_of::<T>()) as f64;
    (bytes(g.in_channels * rows * g.in_w), bytes(g.out_channels * g.out_h * g.out_w))
}

/// The cache lines of so many bytes that have to be waited for if all that is used are so many.
fn far(read: f64, all: f64) -> f64 {
    read / 64.0 * (1.0 - NEAR / all).max(0.0)
}

/// The products of a pixel in tiles of some taps and all vectors, two at a time.
fn tiles(isa: Isa, height: usize, vectors: usize) -> f64 {
    let tile = |wide: usize| (product(isa) * (height * wide) as f64).max(LATENCY);
    (vectors / 2) as f64 * tile(2) + (vectors % 2) as f64 * tile(1)
}

/// The rows of dot tiles, for all groups.
fn rows(g: &ConvGeometry) -> f64 {
    g.groups as f64 * (g.group_out() as f64 + ALONE * (g.group_out() % 2) as f64)
}

/// The cost of `conv_weight`.
fn tiled<T: Float>(isa: Isa, g: &ConvGeometry) -> f64 {
    let (full, batch) = (lanes::<T>(isa), g.batch as f64);
    let taps = g.group_in() * g.kernel_h * g.kernel_w;
    let in_place = g.padding == (0, 0, 0, 0) && g.stride == (1, 1);
    let width = if in_place { g.in_w } else { g.out_w + (g.kernel_w - 1) * g.dilation.1 / g.stride.1 };
    let (lines, pixels) = conv_weight::lines(g, width);
    let vectors = if isa == Isa::Avx512 {
        (pixels.div_ceil(full / 2) * half_cost(isa)).min(2 * pixels.div_ceil(full)) as f64 / 2.0
    } else {
        pixels.div_ceil(full) as f64
    };
    let blocks = g.group_out().div_ceil(if isa == Isa::Avx512 { 8 } else { 6 });
    let spans = conv_weight::spans(g, blocks, ASSUMED);
    let (share, start) = busiest(g.groups * blocks * spans, g.work().saturating_mul(g.batch));
    let (dots, tile) = if isa == Isa::Avx512 { (DOTS.0, TILE.0) } else { (DOTS.1, TILE.1) };
    let sums = rows(g) * taps as f64;
    let products = batch * sums * lines as f64 * (dots * product(isa) * vectors + LINE / tile);
    let (x, gy) = operands::<T>(g);
    let (mut planes, mut filled) = (0.0, 0.0);
    if !in_place {
        let rows = g.out_h + (g.kernel_h - 1) * g.dilation.0 / g.stride.0;
        planes = batch * (g.in_channels * planes_of_channel(g) * rows * width * size_of::<T>()) as f64;
        let (share, start) = busiest(g.batch, g.batch * 4 * g.in_channels * g.in_h * g.in_w);
        filled = share * batch * FILLED * product(isa) * filling(g, full, true) + start;
    }
    let all = x + gy + planes;
    // Tiles of other rows read the images again, and those of other taps the gradient.
    let waited = FAR * far(gy * spans as f64, all)
        + if in_place {
            UNFORESEEN * far(x * blocks as f64, all)
        } else {
            FAR * far(x + planes * (1 + blocks) as f64, all)
        };
    share * (products + SUM * (g.out_channels * taps) as f64 + waited) + start + filled
}

/// The cost of `conv_weight_channels`.
fn channels<T: Float>(isa: Isa, g: &ConvGeometry) -> f64 {
    let (full, batch, groups) = (lanes::<T>(isa), g.batch as f64, g.groups as f64);
    let planes = conv_weight_channels::planes::<T>(g);
    let p = conv_weight_channels::Pieces::new::<T>(isa, g, &planes);
    let (vectors, taps) = (g.group_out().div_ceil(full), p.span * g.kernel_h * g.kernel_w);
    let (blocks, tiles_high) = (g.group_out().div_ceil(p.block), p.spans * taps.div_ceil(p.height));
    let items = g.groups * p.spans * p.runs;
    let parts = p.chunks * p.bands;
    let (share, start) = busiest(items * parts, g.work().saturating_mul(g.batch));
    let products = batch * groups * (tiles_high * g.out_h * g.out_w) as f64 * tiles(isa, p.height, vectors);
    let turned = TURNED * product(isa) * (vectors * g.out_h * g.out_w) as f64
        + CALL * (blocks * g.out_h.div_ceil(p.lines::<T>(g, g.out_h))) as f64;
    let filled = if planes.in_place { 0.0 } else { p.runs as f64 * FILLED * product(isa) * filling(g, full, false) };
    let (x, gy) = operands::<T>(g);
    let asks = conv_weight_channels::asks::<T>(g, &planes);
    let line = if planes.in_place && g.stride != (1, 1) && !asks { UNFORESEEN } else { FAR };
    let asked = if asks {
        let lines = (g.out_w * g.stride.1 * size_of::<T>()).div_ceil(64);
        ASKED * batch * groups * (tiles_high * p.height * vectors.div_ceil(2) * g.out_h * lines) as f64
    } else {
        0.0
    };
    let waited = line * far(x * p.runs as f64 + gy * p.spans as f64, x + gy) + asked;
    let listed = TAP * (items * parts * taps) as f64;
    let sums = items * parts * p.sums;
    let (adding, again) = busiest(g.groups * p.spans * blocks, sums);
    share * (products + batch * (groups * p.spans as f64 * turned + filled) + waited + listed)
        + start
        + adding * sums as f64
        + again
}

/// The cost of `conv_weight_inputs`.
fn inputs<T: Float>(isa: Isa, g: &ConvGeometry) -> f64 {
    let (full, batch, groups) = (lanes::<T>(isa), g.batch as f64, g.groups as f64);
    let p = conv_weight_inputs::Pieces::new::<T>(isa, g);
    let vectors = g.group_in().div_ceil(full);
    let items = g.groups * p.blocks;
    let (share, start) = busiest(items * p.parts, g.work().saturating_mul(g.batch));
    // Each tap has only those outputs that see the image by it.
    let padded = g.padding != (0, 0, 0, 0);
    let all = |out: usize, kernel: usize, stride: usize, dilation: usize, before: usize, size: usize| {
        if !padded {
            return kernel * out;
        }
        (0..kernel).map(|e| seen(&(0..out), stride, e * dilation, before, size).0.len()).sum::<usize>()
    };
    let down = all(g.out_h, g.kernel_h, g.stride.0, g.dilation.0, g.padding.0, g.in_h);
    let right = all(g.out_w, g.kernel_w, g.stride.1, g.dilation.1, g.padding.2, g.in_w);
    let products = batch * groups * (p.outputs / p.height * down * right) as f64 * tiles(isa, p.height, vectors);
    let high = (g.out_h.div_ceil(p.bands) - 1) * pitch(g) + (g.kernel_h - 1) * g.dilation.0 + 1;
    let rows = p.bands * high.min(g.in_h);
    let skips = pitch(g) < g.stride.0;
    let calls = CALL * (p.blocks * if skips { rows } else { p.bands }) as f64;
    let turned = batch * groups * (TURNED * product(isa) * (vectors * rows * g.in_w) as f64 + calls);
    let (x, gy) = operands::<T>(g);
    let waited = if skips { UNFORESEEN } else { FAR } * far(x + gy * p.blocks as f64, x + gy);
    let sums = items * p.parts * p.sums;
    let (adding, again) = busiest(items, sums);
    share * (products + turned + waited)
        + start
        + adding * (sums as f64 + CALL * (g.out_channels * p.blocks) as f64)
        + again
}

/// The cost of `conv_weight_images`; infinitely much if there is a reason against it.
fn images<T: Float>(isa: Isa, g: &ConvGeometry) -> f64 {
    if !conv_weight_images::fits::<T>(isa, g) {
        return f64::INFINITY;
    }
    let taps = (g.group_in() * g.kernel_h * g.kernel_w) as f64;
    let vectors = together::<T>(isa, g);
    let units = g.batch.div_ceil(vectors * lanes::<T>(isa));
    let frame = ((g.out_h - 1) * g.stride.0 + (g.kernel_h - 1) * g.dilation.0 + 1)
        * (g.out_w + (g.kernel_w - 1) * g.dilation.1);
    let framed = if g.padding == (0, 0, 0, 0) && g.stride.0 == 1 { 0 } else { frame };
    let (plane, out) = (g.in_h * g.in_w, g.out_h * g.out_w);
    let turned = TURNED * product(isa) * (g.in_channels * (plane + framed) + g.out_channels * out) as f64;
    let products = product(isa) * rows(g) * taps * out as f64;
    let (share, start) = busiest(units, units.saturating_mul(g.work()).saturating_mul(vectors * lanes::<T>(isa)));
    share * units as f64 * (vectors as f64 * (products + turned) + SUM * g.out_channels as f64 * taps) + start
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dot tiles, for which strides are copied, and vectors of input channels were 1.5 to 3 times as slow, and so were vectors of output
    /// channels for many outputs of few pixels.
    #[test]
    fn strides_are_not_copied_for_little_work() {
        let way = |input, weight, groups| {
            let g = ConvGeometry::new(input, weight, (3, 3), (0, 0, 0, 0), (1, 1), groups).expect("it fits");
            way::<f32>(Isa::Avx2, &g)
        };
        assert_eq!(way([32, 96, 63, 34], [6, 96, 1, 1], 1), Way::Channels);
        assert_eq!(way([64, 96, 36, 50], [16, 48, 1, 1], 2), Way::Channels);
        assert_eq!(way([32, 16, 44, 23], [256, 16, 1, 3], 1), Way::Inputs);
    }
}
