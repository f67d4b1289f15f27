//! When Winograd's filtering pays: a count of multiplications against that of the direct sum.

use super::{POINTS, tiles::Tiles, weight};
use crate::conv::ConvGeometry;
use crate::conv_channels::FEWEST;
use crate::conv_parts::lanes;
use crate::isa::Isa;

/// The largest kernel along one axis, and the largest stride: what is larger has more pieces than it is worth.
const LARGEST: (usize, usize) = (12, 4);
/// The most groups of channels, which are taken one after the other.
const GROUPS: usize = 32;

/// Whether the kernel, its steps and the margins are those of the algorithm, and it needs fewer multiplications.
pub(crate) fn fits(g: &ConvGeometry) -> bool {
    let axis = |kernel: usize, stride: usize, dilation: usize, padding: (usize, usize)| {
        (stride..=LARGEST.0).contains(&kernel)
            && stride <= LARGEST.1
            && (stride == 1 || dilation == 1)
            && padding.0.max(padding.1).div_ceil(dilation) < kernel
    };
    let (p, d) = (g.padding, g.dilation);
    // A tile needs 1.56 multiplications for a result at the least.
    (g.kernel_h * g.kernel_w > 2 && g.groups <= GROUPS)
        && axis(g.kernel_h, g.stride.0, d.0, (p.0, p.1))
        && axis(g.kernel_w, g.stride.1, d.1, (p.2, p.3))
        // A kernel that reaches far beyond the image would ask for much memory.
        && d.0 <= g.in_h.min(g.out_h)
        && d.1 <= g.in_w.min(g.out_w)
        && (SMALL.iter())
            .any(|&small| pieces(g, small) * products(g, small) < g.kernel_h * g.kernel_w * (POINTS + 1 - small).pow(2))
}

/// What is computed of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Forward,
    Input,
    Weight,
}

/// Elements of a piece along one axis.
const SMALL: [usize; 3] = [3, 4, 5];

/// The pieces of a kernel, of which each has `small` elements along one axis.
fn pieces(g: &ConvGeometry, small: usize) -> usize {
    let axis = |kernel: usize, stride: usize| stride * kernel.div_ceil(stride).div_ceil(small);
    axis(g.kernel_h, g.stride.0) * axis(g.kernel_w, g.stride.1)
}

/// Products of a tile with a piece: at infinity there are none where all pieces are shorter than they could be.
fn products(g: &ConvGeometry, small: usize) -> usize {
    let axis = |kernel: usize, stride: usize| POINTS - usize::from(kernel.div_ceil(stride) < small);
    axis(g.kernel_h, g.stride.0) * axis(g.kernel_w, g.stride.1)
}

/// The cheapest size of a piece along one axis, and what it costs in multiplications of the direct sum with vectors of `lanes`.
pub(super) fn cheapest(g: &ConvGeometry, pass: Pass, lanes: usize) -> (usize, f64) {
    let longest = g.kernel_h.div_ceil(g.stride.0).max(g.kernel_w.div_ceil(g.stride.1));
    let mut best = (0, f64::INFINITY);
    // More elements than the kernel has are padding.
    for small in SMALL.into_iter().filter(|&small| small == SMALL[0] || small <= longest) {
        let cost = cost(g, pass, lanes, small);
        if cost < best.1 {
            best = (small, cost);
        }
    }
    best
}

/// What pieces of `small` elements cost.
fn cost(g: &ConvGeometry, pass: Pass, lanes: usize, small: usize) -> f64 {
    let (t, pieces) = (Tiles::new(g, pass == Pass::Input, small, lanes), pieces(g, small) as f64);
    let (c, k) = (g.group_in() as f64, g.group_out() as f64);
    let far = lanes <= 8;
    // With AVX2 more than two vectors are taken two at a time.
    let vectors = |channels: usize| if far && channels > 2 * lanes { 2 * lanes } else { lanes };
    let whole = |channels: usize| channels.next_multiple_of(vectors(channels)) as f64;
    debug_assert_eq!(t.products(), products(g, small));
    let (tiles, planes) = ((g.batch * t.down.tiles * t.right.tiles) as f64, t.products() as f64);
    // The channels of what is written fill vectors. With pieces it is as if those of both sides did.
    let (forward, input) = (c * whole(g.group_out()), k * whole(g.group_in()));
    let padded = match pass {
        Pass::Forward if pieces == 1.0 => forward,
        Pass::Input if pieces == 1.0 => input,
        Pass::Weight if pieces > 1.0 => SUMS * forward.max(input),
        _ => forward.max(input),
    };
    let products = planes * tiles * pieces * padded;
    // Going back the phases are pieces of what is written.
    let phases = (g.stride.0 * g.stride.1) as f64;
    let (of_inputs, of_outputs) = match pass {
        Pass::Input => (phases, pieces / phases),
        Pass::Forward => (pieces, 1.0),
        Pass::Weight => (pieces, weight::shares(&t, lanes).1 as f64),
    };
    let costs = &COSTS[small - SMALL[0]];
    // Half of a transform is what it reads and writes of images, which a tile with fewer points does too. With AVX2 it gains nothing.
    let share = if far { 1.0 } else { 0.5 + planes / 72.0 };
    let transforms = costs.tile * share * tiles * (of_inputs * whole(g.group_in()) + of_outputs * whole(g.group_out()));
    let weights = match pass {
        Pass::Weight if far => costs.gradient_far,
        Pass::Weight => costs.gradient,
        _ if t.correlated(lanes).groups() == 1 => NEAR_WEIGHT,
        _ if far => FAR_WEIGHT,
        _ => WEIGHT,
    };
    products + transforms + weights * pieces * c * k
}

/// Whether the transforms of a geometry that [`fits`] cost less than what they save, by a count of multiplications.
pub(crate) fn pays(g: &ConvGeometry, pass: Pass, isa: Isa) -> bool {
    if isa == Isa::Portable {
        return false;
    }
    let (input, output) = (g.in_h * g.in_w, g.out_h * g.out_w);
    // Of the gradient by the input the direct sum skips what only meets zeros.
    let pixels = if pass == Pass::Input { input.min(output) } else { output };
    // Of some small images it leaves out the padding, at a lower speed (`conv_positions`).
    let several = pass != Pass::Weight && g.batch >= FEWEST;
    let seen = if several { SEEN * g.seen() as f64 } else { f64::INFINITY };
    let one = ((g.kernel_h * g.kernel_w * pixels) as f64).min(seen);
    let pairs = g.group_in() as f64 * g.group_out() as f64;
    let direct = one * pairs * g.batch as f64;
    // Small layers are not worth the search.
    NEAR_WEIGHT * pairs < direct && cheapest(g, pass, lanes::<f32>(isa)).1 < direct
}

/// What transforms cost, in multiplications of the direct sum.
struct Costs {
    /// A tile there or back, for each channel.
    tile: f64,
    /// The gradients of the weights of a pair of channels with long vectors, and with AVX2.
    gradient: f64,
    gradient_far: f64,
}

/// Costs for pieces of 3x3, 4x4 and 5x5. Those of the first were fitted on Zen 4, and on Zen 3, where what is written spills
/// from the second-level cache; those of the second to the times of 120 shapes with AVX2 on Zen 3; those of the last to the times of
/// 22 shapes with AVX-512 and AVX2 on Emerald Rapids.
const COSTS: [Costs; 3] = [
    Costs { tile: 310.0, gradient: 380.0, gradient_far: 1000.0 },
    Costs { tile: 350.0, gradient: 760.0, gradient_far: 1200.0 },
    Costs { tile: 250.0, gradient: 760.0, gradient_far: 1600.0 },
];

/// What the weights of a pair of channels cost: where there is one group, where there are several, and with AVX2. Fitted to the times of
/// 150 shapes on Zen 4 with AVX-512 and AVX2; the last is higher than that for Zen 3, whose second-level cache is smaller.
const NEAR_WEIGHT: f64 = 200.0;
const WEIGHT: f64 = 300.0;
const FAR_WEIGHT: f64 = 600.0;

/// What a product of the gradient by the weights costs more where there are pieces: their sums are larger, and tiles fewer.
const SUMS: f64 = 1.6;

/// What a product costs more where only those with the inside of an image are computed.
const SEEN: f64 = 1.4;
