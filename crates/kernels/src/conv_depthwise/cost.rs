//! What the ways of a depthwise convolution cost, so that the cheapest one is taken.
//!
//! The unit is a cycle of one thread. The figures were fitted to the times of 120 random convolutions on Zen 4 with AVX-512 and with AVX2,
//! all ways: kernels of 1x2 to 7x7, strides up to 3, dilations up to 2. By the fit what they chose took 1 to 3 % more than the fastest way in
//! the geometric mean; some were set by hand after it.

use super::across::{self, Pass};
use super::{MANY, rows};
use crate::conv::ConvGeometry;
use crate::conv_cost::ASSUMED;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, half_cost};
use crate::par;

/// The ways that are chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Across,
    Rows,
    Frames,
}

/// The way that costs least.
#[inline(always)]
pub(super) fn cheapest<T: Float>(isa: Isa, g: &ConvGeometry, pass: Pass) -> Way {
    // Double precision has one way: nothing else is compiled.
    if size_of::<T>() == 4 { compared::<T>(isa, g, pass) } else { Way::Frames }
}

fn compared<T: Float>(isa: Isa, g: &ConvGeometry, pass: Pass) -> Way {
    let mut best = (Way::Frames, frames::<T>(isa, g, pass));
    if across::fits::<T>(isa, g) {
        let cost = across::<T>(isa, g, pass);
        if cost < best.1 {
            best = (Way::Across, cost);
        }
    }
    if rows::fits::<T>(isa, g, pass) && rows::<T>(isa, g, pass) < best.1 {
        best.0 = Way::Rows;
    }
    best.0
}

/// What a full vector costs: the unit of AVX2, and of machines that compute a vector of AVX-512 at once.
fn full(isa: Isa) -> f64 {
    if isa == Isa::Avx512 && half_cost(isa) == 1 { 2.0 } else { 1.0 }
}

/// How many items the busiest thread has.
fn share(g: &ConvGeometry, items: usize) -> f64 {
    let work = g.batch.saturating_mul(g.work()) / items;
    items.div_ceil(par::threads_for(items, work, ASSUMED)) as f64
}

/// Rows of results and of what they come from, and columns of results.
fn sizes(g: &ConvGeometry, pass: Pass) -> (usize, usize, usize) {
    if pass == Pass::Input { (g.in_h, g.out_h, g.in_w) } else { (g.out_h, g.in_h, g.out_w) }
}

fn across<T: Float>(isa: Isa, g: &ConvGeometry, pass: Pass) -> f64 {
    let (pixels, results) = ((g.in_h * g.in_w) as f64, (g.out_h * g.out_w) as f64);
    // Rows of the kernel that meet no row of the image are left out.
    let met = |r: usize| {
        let from = g.padding.0.saturating_sub(r * g.dilation.0).div_ceil(g.stride.0);
        let to = (g.in_h + g.padding.0).saturating_sub(r * g.dilation.0).div_ceil(g.stride.0).min(g.out_h);
        to.saturating_sub(from)
    };
    let columns = if pass == Pass::Input { g.in_w as f64 / g.stride.1 as f64 } else { g.out_w as f64 };
    let products = (0..g.kernel_h).map(met).sum::<usize>() as f64 * g.kernel_w as f64 * columns;
    let moved = pixels + results;
    let (one, product) = match (pass, g.stride) {
        (Pass::Weight, (1, 1)) => (4.2, 0.48),
        (Pass::Weight, _) => (2.9, 0.65),
        (_, (1, 1)) => (2.9, 0.43),
        _ => (2.5, 0.57),
    };
    // The plan, and the sums of the weights of each channel.
    let start = if pass == Pass::Weight { 8000.0 + 2.0 * moved } else { 6.5 * moved };
    let groups = (g.batch * g.in_channels).div_ceil(lanes::<T>(isa));
    share(g, groups) * full(isa) * (one * moved + product * products) + start
}

fn rows<T: Float>(isa: Isa, g: &ConvGeometry, pass: Pass) -> f64 {
    let (results, source, width) = sizes(g, pass);
    let spread = pass == Pass::Input && g.stride != (1, 1);
    let width = if spread { width.div_ceil(2) } else { width };
    let lanes = lanes::<T>(isa);
    let narrow = rows::narrow::<T>(isa, width, (g.kernel_h, g.kernel_w));
    let columns = width.div_ceil(if narrow { lanes / 2 } else { lanes }) as f64;
    let vector = if narrow { 1.0 } else { full(isa) };
    let wide = isa == Isa::Avx512;
    let (height, taps) = (g.kernel_h as f64, (g.kernel_h * g.kernel_w) as f64);
    let (results, source) = (results as f64, source as f64);
    // A row meets all rows of the kernel, beside the results too.
    let products = vector * source * taps / g.stride.0 as f64;
    // Vectors at stride 3 are read for each column of the kernel.
    let reads = vector * source * (g.kernel_w * if g.stride.0 == 3 { 3 } else { 1 }) as f64;
    // How many columns of the kernel go together for the weights.
    let strip = match g.kernel_h {
        3 => 3,
        5 if wide => 5,
        _ => 2,
    };
    let strips = source * g.kernel_w.div_ceil(strip) as f64;
    // Kernels with loops of their own.
    let known = g.kernel_h == g.kernel_w && (g.kernel_h % 2 == 1 || !wide);
    let parted = if g.stride.0 == 3 && !wide { 0.4 * reads } else { 0.0 };
    let one = match (pass, wide) {
        (Pass::Input, _) if spread => {
            let met = vector * results * height * (g.kernel_w / 2 + 1) as f64;
            7.5 * results + met * if wide { 0.5 } else { 0.75 }
        }
        (Pass::Weight, true) => 2.0 * strips + 0.25 * products + 0.6 * reads + vector * taps,
        // Five rows leave too few registers.
        (Pass::Weight, false) => 1.8 * strips + if g.kernel_h == 5 { 0.85 } else { 0.45 } * products + 0.2 * reads,
        (_, true) => 1.4 * (results + source) + 0.22 * products + if known { 0.35 } else { 0.65 } * reads,
        (_, false) if g.stride != (1, 1) => 1.7 * (results + source) + 0.83 * products,
        (_, false) if known => 0.8 * (results + source) + 0.45 * products + 0.3 * reads,
        (_, false) => 0.8 * (results + source) + 0.55 * products + 0.45 * reads,
    };
    // The sets differ in how they write a part of a vector, which rows that are not in the order of memory need.
    let parts = isa == Isa::Avx2 && g.dilation.0 > 1 && width < lanes;
    let plane = match pass {
        Pass::Weight => 85.0,
        _ if spread => 50.0,
        _ if parts => 20.0 + 8.0 * results,
        _ => 20.0,
    };
    share(g, g.batch * g.in_channels) * (plane + columns * (one + parted))
}

fn frames<T: Float>(isa: Isa, g: &ConvGeometry, pass: Pass) -> f64 {
    let (results, source, width) = sizes(g, pass);
    let (lanes, taps) = (lanes::<T>(isa), g.kernel_h * g.kernel_w);
    // Columns between the results are computed too.
    let width = if pass == Pass::Forward && taps <= MANY { (width - 1) * g.stride.1 + 1 } else { width };
    let narrow = width < lanes && width.div_ceil(lanes / 2) * (lanes / 2) < lanes;
    let (lanes, vector) = if narrow { (lanes / 2, 1.0) } else { (lanes, full(isa)) };
    let vectors = (results * width.div_ceil(lanes)) as f64;
    let row = if g.stride == (1, 1) { 10.0 } else { 18.0 };
    let (plane, begin, product) = if pass == Pass::Weight { (110.0, 5.0, 0.75) } else { (80.0, 1.0, 0.65) };
    let copied = (g.in_h * g.in_w).min(g.out_h * g.out_w) as f64 / 8.0 * 2.0;
    let one = plane + row * source as f64 + copied + vectors * (begin + vector * product * taps as f64);
    // The sums of each weight.
    let sums = if pass == Pass::Weight { 25 * taps * g.in_channels } else { 0 };
    share(g, g.batch * g.in_channels) * one + sums as f64
}
