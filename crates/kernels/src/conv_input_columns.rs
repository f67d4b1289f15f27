//! Convolution backward-data as a matrix product whose results are added to where they belong: for few input channels.
//!
//! The plain loop, for one image: `z[m][p] = sum over k of w[k][m] * gy[k][p]` for the weights m of an output channel, that is for
//! all input channels and elements of the kernel; then `gx[c][i*stride + r*dilation - padding][..] += z[c, r, s][i][..]`.
//!
//! The tricks: the gradient is read where it lies, so that neither padding nor strides leave vectors empty, and a tile has many
//! rows even for one channel. A row of gx takes all that belongs to it at once. Many images go to the threads one by one; few are
//! divided by pixels for the product, then by rows.

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{self, Isa};
use crate::par::{self, Shared};
use crate::tile::{Start, Sweep, blocks};
use std::ops::Range;

/// Vectors of pixels that a thread takes at once of an image that is divided; all tiles have a width that divides it.
const SHARE: usize = 24;

/// Whether a convolution can be computed so.
pub(crate) fn fits<T>(isa: Isa, g: &ConvGeometry) -> bool {
    size_of::<T>() == 4 && isa != Isa::Portable && g.out_h * g.out_w >= lanes::<T>(isa)
}

/// [`crate::conv::conv2d_input`] for a geometry that [`fits`].
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let (inner, rows) = (g.group_out(), g.group_in() * g.kernel_h * g.kernel_w);
    let (pixels, plane) = (g.out_h * g.out_w, g.in_h * g.in_w);
    let (lanes, blocks) = (lanes::<T>(isa), blocks(isa, rows));
    let vectors = pixels.div_ceil(lanes);
    let mut lists = Buffer::unfilled(inner + vectors);
    let (taps, from) = lists.make_mut().split_at_mut(inner);
    taps.iter_mut().enumerate().for_each(|(k, tap)| *tap = (k * pixels) as i64);
    from.iter_mut().enumerate().for_each(|(v, from)| *from = (v * lanes).min(pixels - lanes) as i64);
    let (taps, from) = lists.split_at(inner);
    let packed = pack(g, w, &blocks);
    let product = |image: usize, share: Range<usize>, z: *mut T| {
        let (source, group) = (&gy[image * inner * pixels..][..inner * pixels], image % g.groups);
        for block in blocks.windows(2) {
            let all = Sweep {
                x: source.as_ptr(),
                from: from[share.clone()].as_ptr(),
                y: z.wrapping_add(block[0] * pixels),
                to: from[share.clone()].as_ptr(),
                vectors: share.len(),
                taps: taps.as_ptr(),
                tap_count: inner,
                w: packed[(group * rows + block[0]) * inner..].as_ptr(),
                start: Start::Zero,
                relu: false,
                row: pixels,
                narrow: false,
            };
            // SAFETY: the set comes from detection. The vectors are inside of the pixels of a channel, and z has so many for
            // each row; no two threads write the same ones.
            unsafe { all.run(isa, block[1] - block[0]) };
        }
    };
    let images = g.batch * g.groups;
    let image_len = g.group_in() * plane;
    if images >= 2 * par::num_threads() {
        let gx = Shared(gx.as_mut_ptr());
        par::for_each_range(images, g.work() / g.groups, |range| {
            let mut z = Buffer::unfilled(rows * pixels);
            for image in range {
                let z = z.make_mut();
                product(image, 0..vectors, z.as_mut_ptr());
                // SAFETY: this image belongs to this item.
                let gx = unsafe { std::slice::from_raw_parts_mut(gx.get().add(image * image_len), image_len) };
                gx.chunks_exact_mut(g.in_w).enumerate().for_each(|(line, gx)| gather(g, z, line, gx));
            }
        });
    } else {
        let mut z = Buffer::unfilled(rows * pixels);
        for (image, gx) in gx.chunks_exact_mut(image_len).enumerate() {
            let to = Shared(z.make_mut().as_mut_ptr());
            // The last vector overlaps the one before it: both go to the same thread.
            let shares = (vectors - 1).div_ceil(SHARE).max(1);
            par::for_each_range(shares, g.work() / g.groups / shares, |range| {
                let end = if range.end == shares { vectors } else { range.end * SHARE };
                product(image, range.start * SHARE..end, to.get());
            });
            let work = 4 * g.kernel_h * g.kernel_w * g.out_w / g.stride.0;
            par::for_each_chunk(gx, g.in_w, work, |line, gx| gather(g, &z, line, gx));
        }
    }
}

/// Computes one row of an image from all products that belong to it.
fn gather<T: Float>(g: &ConvGeometry, z: &[T], line: usize, gx: &mut [T]) {
    let (c, y, pixels) = (line / g.in_h, line % g.in_h + g.padding.0, g.out_h * g.out_w);
    isa::dispatch::<T, _>(
        #[inline(always)]
        || {
            gx.fill(T::ZERO);
            for r in 0..g.kernel_h {
                let Some(i) = y.checked_sub(r * g.dilation.0).filter(|i| i.is_multiple_of(g.stride.0)) else {
                    continue;
                };
                let i = i / g.stride.0;
                if i >= g.out_h {
                    continue;
                }
                for s in 0..g.kernel_w {
                    let z = &z[((c * g.kernel_h + r) * g.kernel_w + s) * pixels + i * g.out_w..][..g.out_w];
                    let (at, step) = (s * g.dilation.1, g.stride.1);
                    let first = g.padding.2.saturating_sub(at).div_ceil(step);
                    let Some(z) = z.get(first..) else { continue };
                    let Some(gx) = gx.get_mut(first * step + at - g.padding.2..) else { continue };
                    if step == 1 {
                        gx.iter_mut().zip(z).for_each(|(x, &z)| *x = *x + z);
                    } else {
                        gx.iter_mut().step_by(step).zip(z).for_each(|(x, &z)| *x = *x + z);
                    }
                }
            }
        },
    );
}

/// Weights in the order in which the tiles read them: group, block of rows, output channel, row.
fn pack<T: Float>(g: &ConvGeometry, w: &[T], blocks: &[usize]) -> Buffer<T> {
    let (inner, rows) = (g.group_out(), g.group_in() * g.kernel_h * g.kernel_w);
    let mut packed = Buffer::unfilled(w.len());
    for (packed, w) in packed.make_mut().chunks_exact_mut(inner * rows).zip(w.chunks_exact(inner * rows)) {
        for block in blocks.windows(2) {
            let n = block[1] - block[0];
            let to = packed[block[0] * inner..block[1] * inner].chunks_exact_mut(n);
            for (to, from) in to.zip(w[block[0]..].chunks(rows)) {
                // A length that is known needs no call.
                match (to.first_chunk_mut::<8>(), from.first_chunk::<8>()) {
                    (Some(to), Some(from)) if n == 8 => *to = *from,
                    _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
                }
            }
        }
    }
    packed
}
