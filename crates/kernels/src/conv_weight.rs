//! Convolution backward-weights: dot tiles of shifted pixels with the gradient.
//!
//! The plain loop, over images in planes (`planes`): `gw[k][t] = sum over images and outputs p of gy[k][p] * plane[tap[t] + p]`.
//!
//! The tricks: both operands are contiguous along a row of outputs, so a tile of output channels and taps needs no packing, and the
//! ends of rows are masked instead of padded. Tiles, not images, are divided over the threads: each weight is summed by one
//! thread in one order, with no partial results to be added up. Sums stay vectors, in registers and between images in
//! scratch memory, and their elements are added up once at the end.

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, half_cost};
use crate::par::{self, Shared};
use crate::planes::{Axis, Planes};
use crate::tile::{Dots, MAX_ROWS, blocks};

/// Bytes of planes that are made at once.
const PLANE_BYTES: usize = 32 << 20;
/// The most taps that a thread sums at a time, with the rows of the gradient at hand, and the fewest.
const TAPS: (usize, usize) = (48, 12);

/// [`crate::conv::conv2d_weight`] for a geometry with something to compute.
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let rows = Axis::slid(g.in_h, g.padding.0, g.kernel_h, g.dilation.0, g.stride.0, g.out_h);
    let columns = Axis::slid(g.in_w, g.padding.2, g.kernel_w, g.dilation.1, g.stride.1, g.out_w);
    let planes = Planes::new(g.in_channels, rows, columns, true);
    let kernel = g.kernel_h * g.kernel_w;
    let taps = g.group_in() * kernel;
    let mut offsets = Buffer::unfilled(taps);
    for (t, offset) in offsets.make_mut().iter_mut().enumerate() {
        let e = t % kernel;
        let tap = planes.tap(e / g.kernel_w * g.dilation.0, e % g.kernel_w * g.dilation.1);
        *offset = (t / kernel * planes.channel() + tap) as i64;
    }
    let (image, gy_image) = (g.in_channels * g.in_h * g.in_w, g.out_channels * g.out_h * g.out_w);
    let planes_image = if planes.in_place { image } else { g.in_channels * planes.channel() };
    let at_once =
        if planes.in_place { g.batch } else { (PLANE_BYTES / size_of::<T>() / planes_image).clamp(1, g.batch) };
    let (lines, pixels) = lines(g, planes.pitch);
    let full = lanes::<T>(isa);
    let halves = pixels.div_ceil(full / 2) * half_cost(isa);
    let narrow = isa != Isa::Portable && halves < 2 * pixels.div_ceil(full);

    let mut copied = Buffer::unfilled(if planes.in_place { 0 } else { at_once * planes_image });
    for first in (0..g.batch).step_by(at_once) {
        let images = at_once.min(g.batch - first);
        let x = &x[first * image..][..images * image];
        let source = if planes.in_place {
            x
        } else {
            let copied = &mut copied.make_mut()[..images * planes_image];
            par::for_each_chunk(copied, planes_image, 4 * planes_image, |n, to| {
                to.fill(T::ZERO);
                planes.fill(isa, g.in_channels, &x[n * image..][..image], to);
            });
            &copied[..]
        };
        let gy = &gy[first * gy_image..][..images * gy_image];
        let pass = Pass {
            isa,
            g,
            planes: &planes,
            offsets: &offsets,
            source,
            planes_image,
            gy,
            gy_image,
            lines,
            pixels,
            narrow,
        };
        pass.run(images, first > 0, gw);
    }
}

/// Lines of pixels and their length, for planes of a pitch: rows that lie side by side in both operands are one long row.
pub(crate) fn lines(g: &ConvGeometry, pitch: usize) -> (usize, usize) {
    let merged = pitch == g.out_w && g.out_h * g.out_w <= 512;
    if merged { (1, g.out_h * g.out_w) } else { (g.out_h, g.out_w) }
}

/// The spans that taps are divided into, so that there are enough with so many blocks of rows; how they are divided does not matter for
/// the sums.
pub(crate) fn spans(g: &ConvGeometry, blocks: usize, threads: usize) -> usize {
    let taps = g.group_in() * g.kernel_h * g.kernel_w;
    let wanted = (2 * threads).div_ceil(g.groups * blocks);
    let most = (taps / wanted / TAPS.1 * TAPS.1).clamp(TAPS.1, TAPS.0);
    // A span of the few taps that are left would be summed at the price of more.
    (taps / most).max(1)
}

/// The sums over some images.
struct Pass<'a, T> {
    isa: Isa,
    g: &'a ConvGeometry,
    planes: &'a Planes,
    offsets: &'a [i64],
    source: &'a [T],
    planes_image: usize,
    gy: &'a [T],
    gy_image: usize,
    lines: usize,
    pixels: usize,
    narrow: bool,
}

impl<T: Float> Pass<'_, T> {
    /// Sums over `images` images; `add` to what `gw` holds.
    fn run(&self, images: usize, add: bool, gw: &mut [T]) {
        let (g, taps) = (self.g, self.offsets.len());
        let starts = blocks(self.isa, g.group_out());
        let blocks = starts.len() - 1;
        let spans = spans(g, blocks, par::num_threads());
        assert_eq!(gw.len(), g.out_channels * taps, "the result has its size");
        assert!(self.gy.len() == images * self.gy_image && self.source.len() == images * self.planes_image);
        let gw = Shared(gw.as_mut_ptr());
        let tiles = g.groups * blocks * spans;
        let plane = g.out_h * g.out_w;
        par::for_each_range(tiles, (g.work() / tiles).saturating_mul(images), |range| {
            let mut sums = Buffer::unfilled(MAX_ROWS * taps.div_ceil(spans) * lanes::<T>(self.isa));
            let sums = sums.make_mut().as_mut_ptr();
            for tile in range {
                let (span, b) = (tile % spans, tile / spans);
                let (group, rows) = (b / blocks, starts[b % blocks]..starts[b % blocks + 1]);
                let (span, count) = (span * taps / spans, (span + 1) * taps / spans - span * taps / spans);
                let channel = group * g.group_out() + rows.start;
                let dots = Dots {
                    g: self.gy[channel * plane..].as_ptr(),
                    g_row: plane,
                    g_line: g.out_w,
                    g_image: self.gy_image,
                    x: self.source[group * g.group_in() * self.planes.channel()..].as_ptr(),
                    x_line: self.planes.pitch,
                    x_image: self.planes_image,
                    taps: self.offsets[span..].as_ptr(),
                    tap_count: count,
                    images,
                    lines: self.lines,
                    pixels: self.pixels,
                    // SAFETY: the rows of a tile are inside of gw.
                    y: unsafe { gw.get().add(channel * taps + span) },
                    row: taps,
                    sums,
                    add,
                    narrow: self.narrow,
                };
                // SAFETY: the set comes from detection. Rows of outputs shifted by a tap are inside of the planes of
                // their group, masks keep the ends of rows from being overrun, and the tile alone writes its weights.
                unsafe { dots.run(self.isa, rows.len()) };
            }
        });
    }
}
