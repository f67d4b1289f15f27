//! What the direct ways of backward-data cost, so that the cheapest one is taken.
//!
//! The unit is a multiply-add of two vectors. Of 150 convolutions, most of them random, timed each way on Zen 5 with AVX-512, what is
//! chosen takes 3 % more than the fastest way in the geometric mean. Of 423 random ones on Zen 3 with AVX2, 375 of them with strides, it
//! takes 3 % more.

use crate::conv::{ConvGeometry, Way};
use crate::conv_channels::{FEWEST, pointers};
use crate::conv_cost::{ASSUMED, SPREAD, TRANSPOSED};
use crate::conv_direct::{gradient_planes, residues};
use crate::conv_images;
use crate::conv_input_columns;
use crate::conv_parts::{Tiling, lanes};
use crate::conv_positions::Positions;
use crate::isa::Isa;

/// Copying a row of the gradient into its plane, and each vector of it.
const ROW: f64 = 14.0;
const VECTOR: f64 = 10.0;
/// With strides a row of them, and each element.
const STRIDED: (f64, f64) = (5.0, 2.5);
/// What a weight costs before the first image, for vectors of pixels and for vectors of channels.
const WEIGHT: (f64, f64) = (4.0, 1.5);
/// Rows that a single one costs more than its work, as it uses its loads less.
const ALONE: f64 = 0.6;
/// Adding a row of products to where it belongs, and each vector of it; with strides a row, and each element.
const ADDED: [(f64, f64); 2] = [(40.0, 16.0), (20.0, 3.5)];
/// What a weight costs for that, and a row of the image.
const COLUMNS: (f64, f64) = (5.0, 15.0);
/// Listing a pixel or tap.
const PIXEL: f64 = 4.0;
/// Starting the pixels of a residue, and a tile of them in taps.
const PIECE: f64 = 30.0;
const TILE: f64 = 4.0;
/// What a product costs with a single vector of channels, which is short of loads.
const SINGLE: f64 = 1.35;
/// Vectors of channels with 16 registers: tiles are small either way, and vectors of pixels lose more by it. What else is fitted
/// anew for that set: [`SINGLE`], transposing a vector of results, and with strides adding a row of products, each vector of it,
/// and each vector of the image.
const FEW_REGISTERS: f64 = 0.8;
const SINGLE_FEW: f64 = 1.8;
const TRANSPOSED_FEW: f64 = 11.0;
const ADDED_FEW: (f64, f64, f64) = (15.0, 25.0, 5.0);

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
        all.div_ceil(tile) as f64 * (tile as f64 * one + 1.0)
    };
    let few = isa == Isa::Avx2;
    let (single, transposed) = if few { (SINGLE_FEW, TRANSPOSED_FEW) } else { (SINGLE, TRANSPOSED) };
    let (mut pixels, mut channels) = (0.0, transposed * groups * (vectors * g.in_h * g.in_w) as f64);
    let met = |residue: usize, kernel: usize, dilation: usize, stride: usize| {
        (0..kernel).filter(|e| e * dilation % stride == residue).count()
    };
    for a in &down {
        let in_rows = met(a.residue, g.kernel_h, g.dilation.0, g.stride.0);
        for b in &right {
            let taps = (inner * in_rows * met(b.residue, g.kernel_w, g.dilation.1, g.stride.1)) as f64;
            let direct = (g.stride == (1, 1)).then_some(g.in_w);
            let tiling = Tiling::new::<T>(isa, a.count, b.count, planes.pitch, direct);
            pixels += groups * (outer_f + ALONE * (outer % 2) as f64) * taps * tiling.products::<T>(isa);
            if direct.is_none() {
                pixels += groups * outer_f * a.count as f64 * (STRIDED.0 + STRIDED.1 * b.count as f64);
            } else if tiling.scratch.is_some() {
                pixels += groups * outer_f * (a.count * b.count) as f64 / full as f64 * SPREAD;
            }
            let all = FEWEST.max(a.count * b.count);
            let products =
                (vectors / 2) as f64 * tiles(true, 2.0, all) + (vectors % 2) as f64 * tiles(false, single, all);
            channels += groups * ((taps + TILE) * products + PIECE * vectors.div_ceil(2) as f64);
        }
    }
    let row = ROW + g.out_w.div_ceil(full) as f64 * VECTOR;
    let filling = if planes.in_place { 0.0 } else { (g.out_channels * g.out_h) as f64 * row };
    // The images of the busiest thread, in parts if an image is divided.
    let images = |items: usize| g.batch.saturating_mul(items).div_ceil(ASSUMED) as f64 / items as f64;
    let whole = |cost: f64, weights: f64, items: usize| {
        images(items) * cost + images(items).max(1.0) * filling + weights * (inner * g.kernel_h * g.kernel_w) as f64
    };
    let pixels = whole(pixels, WEIGHT.0 * groups * outer_f, g.groups * outer.div_ceil(8));
    let lists = PIXEL * (g.in_h * g.in_w + inner * g.kernel_h * g.kernel_w) as f64;
    let channels =
        lists + whole(channels, WEIGHT.1 * groups * (vectors * full) as f64, 4 * g.groups * vectors.div_ceil(2));
    let channels = if few { FEW_REGISTERS * channels } else { channels };
    let columns = if conv_input_columns::fits::<T>(isa, g) {
        let rows = outer * g.kernel_h * g.kernel_w;
        let product = (g.out_h * g.out_w).div_ceil(full) as f64 * (rows as f64 + ALONE * (rows % 2) as f64);
        let across = g.out_w.div_ceil(full) as f64;
        let (row, line) = match g.stride.1 {
            1 => (ADDED[0].0 + ADDED[0].1 * across, COLUMNS.1),
            _ if few => {
                // Rows of less than half a vector are added element by element.
                let vectors = if 2 * g.out_w < full { ADDED[1].1 * g.out_w as f64 } else { ADDED_FEW.1 * across };
                (ADDED_FEW.0 + vectors, COLUMNS.1 + ADDED_FEW.2 * g.in_w.div_ceil(full) as f64)
            }
            _ => (ADDED[1].0 + ADDED[1].1 * g.out_w as f64, COLUMNS.1),
        };
        let added = (rows * g.out_h) as f64 * row + line * (outer * g.in_h) as f64;
        images(8 * g.groups) * groups * (inner as f64 * product + added) + COLUMNS.0 * groups * (rows * inner) as f64
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
