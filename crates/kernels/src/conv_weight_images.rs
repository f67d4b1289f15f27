//! Convolution backward-weights with vectors of images, for small images in large batches and few channels.
//!
//! The plain loop: `gw[k][t] = sum over images n and outputs p of gy[k][p][n] * x[tap[t] + p][n]`.
//!
//! The tricks: with a vector of images for each pixel the sums are those of `conv_weight` for rows, distances of taps and
//! padding that many times as long, so that vectors are full and aligned whatever the width of an image. Some images at a time are
//! transposed and summed while they are in the cache, in units that follow from the sizes alone.

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_cost::ASSUMED;
use crate::conv_parts::lanes;
use crate::conv_weight;
use crate::element::Float;
use crate::isa::Isa;
use crate::par;
use crate::transpose::transpose;

/// Bytes of images and gradients of a unit, and the most vectors of images.
const TOGETHER: usize = 512 << 10;
const MANY: usize = 4;
/// The most bytes of a vector of images and gradients, and of the sums of all units.
const MOST: usize = 1 << 20;
const SUMS: usize = 1 << 20;

/// Vectors of images of a unit.
pub(crate) fn together<T>(isa: Isa, g: &ConvGeometry) -> usize {
    let vectors = g.batch.div_ceil(lanes::<T>(isa));
    let most = (TOGETHER / (bytes::<T>(isa, g).max(1))).clamp(1, MANY);
    // Units of equal size, as many for each of two threads.
    vectors.div_ceil(vectors.div_ceil(most).next_multiple_of(ASSUMED))
}

/// Bytes of a vector of images and their gradients.
fn bytes<T>(isa: Isa, g: &ConvGeometry) -> usize {
    let elements = g.in_channels * g.in_h * g.in_w + g.out_channels * g.out_h * g.out_w;
    elements.saturating_mul(lanes::<T>(isa) * size_of::<T>())
}

/// Whether there is this way, and no reason against it.
pub(crate) fn fits<T>(isa: Isa, g: &ConvGeometry) -> bool {
    let units = g.batch.div_ceil(lanes::<T>(isa));
    let weights = g.out_channels.saturating_mul(g.group_in() * g.kernel_h * g.kernel_w);
    let sums = weights.saturating_mul(units * size_of::<T>());
    isa != Isa::Portable && g.stride.1 == 1 && sums <= SUMS && bytes::<T>(isa, g) <= MOST
}

/// [`crate::conv::conv2d_weight`] for a geometry with something to compute that fits.
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let (full, vectors) = (lanes::<T>(isa), together::<T>(isa, g));
    let (image, result) = (g.in_channels * g.in_h * g.in_w, g.out_channels * g.out_h * g.out_w);
    assert!(x.len() == g.batch * image && gy.len() == g.batch * result, "the operands have their sizes");
    let wide = ConvGeometry {
        in_w: full * g.in_w,
        out_w: full * g.out_w,
        padding: (g.padding.0, g.padding.1, full * g.padding.2, full * g.padding.3),
        dilation: (g.dilation.0, full * g.dilation.1),
        ..*g
    };
    let units = g.batch.div_ceil(vectors * full);
    let mut sums = Buffer::unfilled(units * gw.len());
    let work = wide.work().saturating_mul(vectors);
    par::for_each_chunk(sums.make_mut(), gw.len(), work, |unit, gw| {
        let first = unit * vectors * full;
        let count = (vectors * full).min(g.batch - first);
        let used = count.div_ceil(full);
        let turned = |from: &[T], size: usize| {
            let mut to = Buffer::unfilled(used * size * full);
            for (v, to) in to.make_mut().chunks_exact_mut(size * full).enumerate() {
                let there = full.min(count - v * full);
                if there < full {
                    to.fill(T::ZERO);
                }
                transpose(isa, (there, size), &from[(first + v * full) * size..], size, to, full);
            }
            to
        };
        let (x, gy) = (turned(x, image), turned(gy, result));
        conv_weight::conv2d_weight(isa, &ConvGeometry { batch: used, ..wide }, &x, &gy, gw);
    });
    let (total, others) = sums.make_mut().split_at_mut(gw.len());
    for other in others.chunks_exact(gw.len()) {
        total.iter_mut().zip(other).for_each(|(sum, &other)| *sum = *sum + other);
    }
    gw.copy_from_slice(total);
}
