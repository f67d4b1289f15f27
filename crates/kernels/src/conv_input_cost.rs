//! What the direct ways of backward-data cost, so that the cheapest one is taken.
//!
//! The unit is a cycle, and the figures are fitted as those of `conv_cost`. What is chosen takes 2 to 5 % more than the fastest way in the
//! geometric mean, the larger figure for convolutions that they were not fitted to.

use crate::conv::{ConvGeometry, Way};
use crate::conv_channels::{FEWEST, pointers};
use crate::conv_cost::{ALONE, CALL, ROW, SPREAD, TRANSPOSED, VECTOR, images, product, single};
use crate::conv_direct::{gradient_planes, residues};
use crate::conv_images;
use crate::conv_input_columns;
use crate::conv_parts::{Tiling, lanes};
use crate::conv_positions::Positions;
use crate::isa::Isa;

/// Bringing a row of results with strides to its place, and each element.
const STRIDED: (f64, f64) = (4.4, 1.1);
/// What a weight costs before the first image, for vectors of pixels, for vectors of channels and for columns.
const WEIGHT: (f64, f64, f64) = (2.3, 1.3, 1.8);
/// What a call costs to begin with, for the same.
const START: (f64, f64, f64) = (2500.0, 3500.0, 2000.0);
/// Dividing the pixels of a residue into bands and vectors, and listing a tap of theirs.
const PART: f64 = 1350.0;
const TAP: f64 = 10.0;
/// Listing a pixel or tap for vectors of channels, and starting the pixels of a residue there.
const LISTED: f64 = 9.5;
const PIECE: f64 = 180.0;
/// What a product costs more for columns, whose results spill; and starting a block of rows.
const SPILLED: f64 = 1.1;
const BLOCK: f64 = 480.0;
/// Adding a row of products to where it belongs, and each vector of it, with strides each element; and a row of the image and each vector.
const ADDED: (f64, f64, f64) = (15.0, 2.4, 0.26);
const LINE: (f64, f64) = (18.0, 2.3);

/// The way of a geometry with something to compute that is neither clipped nor depthwise.
pub(crate) fn way<T>(isa: Isa, g: &ConvGeometry) -> Way {
    if size_of::<T>() != 4 || isa == Isa::Portable {
        return Way::Tiled;
    }
    let (full, inner, outer) = (lanes::<T>(isa), g.group_out(), g.group_in());
    let (vectors, groups, outer_f) = (outer.div_ceil(full), g.groups as f64, outer as f64);
    let (down, right) = (residues(g.in_h, g.padding.0, g.stride.0), residues(g.in_w, g.padding.2, g.stride.1));
    let (planes, _) = gradient_planes(g, &down, &right, true);
    let tiles = |wide: bool, one: f64, all: usize| {
        let tile = pointers(isa, wide, 1, all);
        all.div_ceil(tile) as f64 * (tile as f64 * one * product(isa) + 1.0)
    };
    let (mut pixels, mut channels) = (0.0, TRANSPOSED * groups * (vectors * g.in_h * g.in_w) as f64);
    let mut listed = 0.0;
    let met = |residue: usize, kernel: usize, dilation: usize, stride: usize| {
        (0..kernel).filter(|e| e * dilation % stride == residue).count()
    };
    let direct = (g.stride == (1, 1)).then_some(g.in_w);
    for a in &down {
        let in_rows = met(a.residue, g.kernel_h, g.dilation.0, g.stride.0);
        for b in &right {
            let taps = (inner * in_rows * met(b.residue, g.kernel_w, g.dilation.1, g.stride.1)) as f64;
            let tiling = Tiling::new::<T>(isa, a.count, b.count, planes.pitch, direct);
            let rows = groups * (outer_f + ALONE * (outer % 2) as f64);
            pixels +=
                rows * taps * tiling.products::<T>(isa) * product(isa) + CALL * (g.groups * outer.div_ceil(8)) as f64;
            if direct.is_none() {
                pixels += groups * outer_f * a.count as f64 * (STRIDED.0 + STRIDED.1 * b.count as f64);
            } else if tiling.scratch.is_some() {
                pixels += groups * outer_f * (a.count * b.count) as f64 / full as f64 * SPREAD;
            }
            listed += PART + TAP * groups * taps;
            let all = FEWEST.max(a.count * b.count);
            let products =
                (vectors / 2) as f64 * tiles(true, 2.0, all) + (vectors % 2) as f64 * tiles(false, single(isa), all);
            channels += groups * (taps * products + PIECE * vectors.div_ceil(2) as f64);
        }
    }
    let filling = (g.out_channels * g.out_h) as f64 * (ROW + VECTOR * g.out_w.div_ceil(full) as f64);
    // Of the whole batch, with something for each weight and each call.
    let whole = |cost: f64, filling: f64, weights: f64, items: usize| {
        let (images, start) = images(g, items);
        images * cost + images.max(1.0) * filling + weights * (inner * g.kernel_h * g.kernel_w) as f64 + start
    };
    let filled = if planes.in_place { 0.0 } else { filling };
    let copied = if planes.in_place && direct.is_some() { 0.0 } else { filling };
    let pixels = START.0 + listed + whole(pixels, copied, WEIGHT.0 * groups * outer_f, g.groups * outer.div_ceil(8));
    let lists = LISTED * (g.in_h * g.in_w + inner * g.kernel_h * g.kernel_w) as f64;
    let weights = WEIGHT.1 * groups * (vectors * full) as f64;
    let channels = START.1 + lists + whole(channels, filled, weights, 4 * g.groups * vectors.div_ceil(2));
    let columns = if conv_input_columns::fits::<T>(isa, g) {
        let rows = outer * g.kernel_h * g.kernel_w;
        let product = (g.out_h * g.out_w).div_ceil(full) as f64
            * (rows as f64 * SPILLED + ALONE * (rows % 2) as f64)
            * inner as f64
            * product(isa);
        let row =
            ADDED.0 + if g.stride.1 == 1 { ADDED.1 * g.out_w.div_ceil(full) as f64 } else { ADDED.2 * g.out_w as f64 };
        let line = LINE.0 + LINE.1 * g.in_w.div_ceil(full) as f64;
        let added = (rows * g.out_h) as f64 * row + line * (outer * g.in_h) as f64 + BLOCK * rows.div_ceil(8) as f64;
        START.2 + whole(groups * (product + added), 0.0, WEIGHT.2 * groups * outer_f, 8 * g.groups)
    } else {
        f64::INFINITY
    };
    let least = columns.min(pixels).min(channels);
    let images = conv_images::cost::<T>(isa, g, true, least);
    if Positions::pays::<T>(isa, g, true, least.min(images)) {
        Way::Positions
    } else if images < least {
        Way::Images
    } else if columns < pixels.min(channels) {
        Way::Columns
    } else if channels < pixels {
        Way::Channels
    } else {
        Way::Tiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of three outputs: tiles over planes were four times as slow.
    #[test]
    fn narrow_rows_are_added_one_by_one() {
        let weight = [64, 1, 2, 2];
        let g = ConvGeometry::new([64, 1, 38, 8], weight, (3, 3), (0, 0, 0, 0), (1, 1), 1).expect("it fits");
        assert_eq!(way::<f32>(Isa::Avx2, &g), Way::Columns);
    }
}
