//! What the direct ways of backward-weights cost, so that the cheapest one is taken.
//!
//! The unit is a multiply-add of two vectors. With AVX-512 what is chosen takes 4 % more than the fastest way in the geometric mean of 220
//! random convolutions on Zen 4, half of them with strides. With 16 registers the figures are others, fitted to the times of 432 on Zen
//! 3, many of them with strides: 6 % more.

use crate::conv::{ConvGeometry, Way};
use crate::conv_parts::lanes;
use crate::conv_weight_channels::height;
use crate::conv_weight_images;
use crate::conv_weight_inputs::pitch;
use crate::element::Float;
use crate::isa::{Isa, half_cost};

/// Figures of a set of instructions.
struct Figures {
    /// What a product costs if there is one vector of input or of output channels, and in dot tiles.
    single: (f64, f64),
    dots: f64,
    /// Bringing a vector of the input or of the gradient into the order of channels.
    transposed: (f64, f64),
    /// Copying a vector of an image into planes.
    copied: f64,
    /// Waiting for a vector of an image that is read where it is.
    read: f64,
}

const MANY_REGISTERS: Figures =
    Figures { single: (1.2, 1.2), dots: 1.4, transposed: (8.0, 8.0), copied: 16.0, read: 4.0 };
const FEW_REGISTERS: Figures =
    Figures { single: (1.4, 1.25), dots: 1.5, transposed: (4.0, 7.0), copied: 12.0, read: 0.0 };
/// Starting a line of a tile: tiles of few taps do that more often.
const LINE: f64 = 6.0;

/// The way of a geometry with something to compute that is neither clipped nor depthwise.
pub(crate) fn way<T: Float>(isa: Isa, g: &ConvGeometry) -> Way {
    if size_of::<T>() != 4 {
        return Way::Tiled;
    }
    let few = isa == Isa::Avx2;
    let figures = if few { FEW_REGISTERS } else { MANY_REGISTERS };
    let (inputs, outputs, full) = (g.group_in(), g.group_out(), lanes::<T>(isa));
    let (kernel, out) = (g.kernel_h * g.kernel_w, g.out_h * g.out_w);
    // A single vector of channels is short of loads.
    let tiles = |wide: usize, high: usize, single: f64| {
        let (one, height) = (if wide <= full { single } else { 1.0 }, height(isa, high));
        let lines = high.div_ceil(height) * wide.div_ceil(2 * full) * g.out_h;
        one * (out * wide.div_ceil(full) * high.next_multiple_of(height)) as f64
            + if few { LINE * lines as f64 } else { 0.0 }
    };
    let image = (inputs * (g.in_h * g.in_w).div_ceil(full)) as f64;
    let padded = g.padding != (0, 0, 0, 0);
    // Of rows that no output sees nothing is read.
    let seen = image * (g.out_h * pitch(g)).min(g.in_h) as f64 / g.in_h as f64;
    let by_inputs = kernel as f64 * tiles(inputs, outputs, figures.single.0) + figures.transposed.0 * seen;
    let by_channels = tiles(outputs, inputs * kernel, figures.single.1)
        + figures.transposed.1 * (outputs * out.div_ceil(full)) as f64
        + if padded { figures.copied * image } else { figures.read * seen };
    // A single row loads each vector for one product.
    let alone = if few { outputs % 2 == 1 } else { outputs == 1 };
    let rows = figures.dots * outputs as f64 + if alone { 1.0 } else { 0.0 };
    let by_pixels = rows * (inputs * kernel) as f64 * (g.out_h * g.out_w.div_ceil(full)) as f64
        + if padded || g.stride != (1, 1) { figures.copied * image } else { 0.0 };
    let channels = by_channels < by_pixels;
    // Half vectors may make more of short rows than whole ones.
    let halves = (g.out_w.div_ceil(full / 2) * half_cost(isa)).min(2 * g.out_w.div_ceil(full));
    let by_pixels_at_least = by_pixels * halves as f64 / (2 * g.out_w.div_ceil(full)) as f64;
    if conv_weight_images::cost::<T>(isa, g) < by_inputs.min(by_channels).min(by_pixels_at_least) {
        return Way::Images;
    }
    match channels {
        _ if by_inputs < if channels { by_channels } else { by_pixels } => Way::Inputs,
        true => Way::Channels,
        false => Way::Tiled,
    }
}
