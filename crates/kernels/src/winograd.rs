//! Winograd's minimal filtering for convolutions with stride 1, dilated or not: F(4x4, 3x3) for kernels of 3x3, F(2x2, 5x5) for
//! those of 5x5.
//!
//! The plain loop, for each tile of 4x4 or 2x2 outputs: `Y = A' [ sum over c of (G g G') * (B' d B) ] A`, with d the 6x6 inputs
//! of channel c under the tile and g its weights: 36 multiplications for 144 or 100. Backward-data is the same with the weights
//! turned by 180 degrees and the channels swapped. Backward-weights is the exact transpose,
//! `dg = G' [ sum over tiles of (A dY A') * (B' d B) ] G`. The points are 0, 1, -1, 1/2, -2 and infinity for both, so B and the
//! products are the same; A and G are powers of the points, as many as there are outputs and weights. The largest error was
//! found to be 1e-6 to 4e-6 of the largest result in single precision, which a test pins (Lavin and Gray 2016, "Fast
//! algorithms for convolutional neural networks"; Barabasz et al. 2020 for the points).
//!
//! The tricks: the lanes of a vector are channels in every step, so transforms need no shuffles and any width of image fits; the
//! image is turned to channels-last and back by transposes in registers, which touch each pixel once. The 36 products
//! are small matrix products of (tiles x channels) with (channels x outputs), whose left operand is read in place. Tiles are
//! taken in groups whose transforms stay in the second-level cache. Distances between the 36 planes are odd
//! numbers of cache lines, so that they do not fall into the same sets. With a dilation d an image is d x d interleaved ones: the
//! pixels of a tile are d apart, and d tiles next to each other cover d times as many of them.

mod products;
mod transform;
mod weight;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_channels::FEWEST;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::Isa;
use crate::par::{self, Shared};
use crate::transpose::{transpose, transpose_to};

pub(crate) use weight::conv2d_weight;

/// Inputs of a tile along one axis.
const POINTS: usize = 6;
/// Planes of a transformed tile.
const PLANES: usize = POINTS * POINTS;
/// Bytes of transformed inputs that are kept at hand.
const NEAR: usize = 448 << 10;
/// The most tiles of a group.
const MOST_TILES: usize = 96;

/// The outputs of a tile along one axis for a kernel of 3 or 5.
fn side(kernel: usize) -> usize {
    POINTS + 1 - kernel
}

/// Whether the kernel, its steps and the margins are those of the algorithm.
pub(crate) fn fits(g: &ConvGeometry) -> bool {
    matches!((g.kernel_h, g.kernel_w), (3, 3) | (5, 5))
        && (g.stride, g.groups) == ((1, 1), 1)
        && g.padding.0.max(g.padding.1).div_ceil(g.dilation.0) < g.kernel_h
        && g.padding.2.max(g.padding.3).div_ceil(g.dilation.1) < g.kernel_w
        // A kernel that reaches far beyond the image would ask for much memory.
        && g.dilation.0 <= g.in_h.min(g.out_h)
        && g.dilation.1 <= g.in_w.min(g.out_w)
}

/// What is computed of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Forward,
    Input,
    Weight,
}

/// Whether the transforms of a geometry that [`fits`] cost less than what they save, by a count of multiplications.
pub(crate) fn pays(g: &ConvGeometry, pass: Pass, isa: Isa) -> bool {
    let (vector, side) = (lanes::<f32>(isa), side(g.kernel_h));
    let (c, k) = (g.in_channels as f64, g.out_channels as f64);
    let whole = |channels: usize| channels.next_multiple_of(vector) as f64;
    let (input, output) = (g.in_h * g.in_w, g.out_h * g.out_w);
    // Tiles cover what is written, or its gradient; of the gradient by the input the direct sum skips what only meets zeros.
    let (h, w, pixels) = match pass {
        Pass::Input => (g.in_h, g.in_w, input.min(output)),
        Pass::Forward | Pass::Weight => (g.out_h, g.out_w, output),
    };
    let tiles = (g.batch * count(h, g.dilation.0, side) * count(w, g.dilation.1, side)) as f64;
    // Of some small images it leaves out the padding, at a lower speed (`conv_positions`).
    let several = pass != Pass::Weight && g.batch >= FEWEST;
    let seen = if several { SEEN * g.seen() as f64 } else { f64::INFINITY };
    let direct = ((g.kernel_h * g.kernel_w * pixels) as f64).min(seen) * c * k * g.batch as f64;
    // Each pass pads one of the two numbers of channels.
    let products = PLANES as f64 * tiles * (c * whole(g.out_channels)).max(k * whole(g.in_channels));
    let costs = if g.kernel_h == 3 { &COSTS.0 } else { &COSTS.1 };
    let transforms = costs.tile * tiles * (whole(g.in_channels) + whole(g.out_channels));
    let weight = if isa == Isa::Avx512 { costs.weight } else { costs.weight_far };
    let weights = if pass == Pass::Weight { costs.gradient * weight } else { weight };
    isa != Isa::Portable && products + transforms + weights * c * k < direct
}

/// What transforms cost, in multiplications of the direct sum.
struct Costs {
    /// A tile there or back, for each channel.
    tile: f64,
    /// The weights of a pair of channels with long vectors, and with AVX2.
    weight: f64,
    weight_far: f64,
    /// How many times as much the sums of a pair of channels cost as its weights.
    gradient: f64,
}

/// Costs for kernels of 3x3 and of 5x5. Those of the first were fitted on Zen 4, and on Zen 3, where weights that are written spill
/// from the second-level cache; those of the second to the times of 22 shapes with AVX-512 and AVX2 on Emerald Rapids.
const COSTS: (Costs, Costs) = (
    Costs { tile: 310.0, weight: 380.0, weight_far: 1000.0, gradient: 1.0 },
    Costs { tile: 250.0, weight: 380.0, weight_far: 800.0, gradient: 2.0 },
);

/// What a product costs more where only those with the inside of an image are computed.
const SEEN: f64 = 1.4;

/// The tiles of `side` that cover so many pixels along one axis.
fn count(pixels: usize, dilation: usize, side: usize) -> usize {
    let whole = side.saturating_mul(dilation);
    pixels / whole * dilation + (pixels % whole).min(dilation)
}

/// The first pixel of a tile of `side` along one axis, or the pixels of all tiles before it if it is the first one of a run of
/// `dilation`.
#[inline(always)]
fn first(tile: usize, dilation: usize, side: usize) -> usize {
    if dilation == 1 { side * tile } else { tile / dilation * side * dilation + tile % dilation }
}

/// Some tiles: all of several images, or some rows of them of one image.
#[derive(Clone, Debug)]
struct Group {
    images: Range<usize>,
    rows: Range<usize>,
}

/// The geometry seen by tiles: a correlation of images `[c, h, w]` with a square kernel giving images `[k, out_h, out_w]`.
#[derive(Clone, Copy, Debug)]
struct Tiles {
    batch: usize,
    c: usize,
    k: usize,
    h: usize,
    w: usize,
    out_h: usize,
    out_w: usize,
    /// Outputs of a tile along one axis: 4 for kernels of 3x3, 2 for those of 5x5.
    side: usize,
    /// Zeros above and to the left of an image.
    padding: (usize, usize),
    dilation: (usize, usize),
    /// Rows and columns of tiles.
    rows: usize,
    columns: usize,
    /// Rows of tiles, a multiple of the dilation, or images, in a group.
    rows_at_once: usize,
    images_at_once: usize,
}

impl Tiles {
    fn forward(g: &ConvGeometry, channels: usize) -> Tiles {
        let padding = (g.padding.0, g.padding.2);
        Tiles::new(g, [g.in_channels, g.in_h, g.in_w], [g.out_channels, g.out_h, g.out_w], padding, channels)
    }

    /// The correlation that gives the gradient by the input.
    fn backward(g: &ConvGeometry, channels: usize) -> Tiles {
        let reach = g.kernel_h - 1;
        let padding = (reach * g.dilation.0 - g.padding.0, reach * g.dilation.1 - g.padding.2);
        Tiles::new(g, [g.out_channels, g.out_h, g.out_w], [g.in_channels, g.in_h, g.in_w], padding, channels)
    }

    /// `channels` are those whose transforms are kept at hand.
    fn new(
        g: &ConvGeometry,
        [c, h, w]: [usize; 3],
        [k, out_h, out_w]: [usize; 3],
        padding: (usize, usize),
        channels: usize,
    ) -> Tiles {
        let (batch, dilation, side) = (g.batch, g.dilation, side(g.kernel_h));
        let (rows, columns) = (count(out_h, dilation.0, side), count(out_w, dilation.1, side));
        let wanted = (NEAR / (PLANES * 4 * channels)).clamp(24, MOST_TILES);
        let (mut rows_at_once, mut images_at_once) = (rows, 1);
        if rows * columns > wanted {
            let groups = rows.div_ceil((wanted / columns).max(1));
            rows_at_once = rows.div_ceil(groups).next_multiple_of(dilation.0);
        } else {
            // As many for each group, so that threads have as much to do.
            images_at_once = batch.div_ceil(batch.div_ceil((wanted / (rows * columns)).clamp(1, batch)));
        }
        Tiles { batch, c, k, h, w, out_h, out_w, side, padding, dilation, rows, columns, rows_at_once, images_at_once }
    }

    /// The kernel along one axis, and how far it reaches beyond its first element without dilation.
    fn kernel(&self) -> usize {
        POINTS + 1 - self.side
    }

    fn reach(&self) -> usize {
        POINTS - self.side
    }

    /// The number of groups.
    fn groups(&self) -> usize {
        self.batch.div_ceil(self.images_at_once) * self.rows.div_ceil(self.rows_at_once)
    }

    fn group(&self, i: usize) -> Group {
        let down = self.rows.div_ceil(self.rows_at_once);
        let (image, row) = (i / down * self.images_at_once, i % down * self.rows_at_once);
        Group {
            images: image..(image + self.images_at_once).min(self.batch),
            rows: row..(row + self.rows_at_once).min(self.rows),
        }
    }

    /// The most tiles of a group.
    fn most(&self) -> usize {
        self.images_at_once * self.rows_at_once * self.columns
    }

    /// Rows of the result from the first to the last tile of a group, whether they exist or not.
    fn covered(&self, rows: &Range<usize>) -> Range<usize> {
        let first = |row: usize| first(row, self.dilation.0, self.side);
        first(rows.start)..first(rows.end.next_multiple_of(self.dilation.0))
    }

    /// The most rows of the result that the tiles of a group write.
    fn most_rows(&self) -> usize {
        self.output_rows(&(0..self.rows_at_once)).len()
    }

    /// Rows of an image that the tiles of a group read.
    fn input_rows(&self, rows: &Range<usize>) -> Range<usize> {
        let covered = self.covered(rows);
        let start = covered.start.saturating_sub(self.padding.0).min(self.h);
        start..(covered.end + self.reach() * self.dilation.0).saturating_sub(self.padding.0).clamp(start, self.h)
    }

    /// Rows of a result that the tiles of a group write.
    fn output_rows(&self, rows: &Range<usize>) -> Range<usize> {
        let covered = self.covered(rows);
        covered.start..covered.end.min(self.out_h)
    }

    /// The columns of an image that all tiles read, from those of the padding on.
    fn input_columns(&self) -> usize {
        let whole = self.columns.next_multiple_of(self.dilation.1);
        first(whole, self.dilation.1, self.side) + self.reach() * self.dilation.1
    }

    /// The first pixel of a tile, and how many of its rows and columns are inside of `lines` rows of the result; `steps` is the
    /// dilation, which the caller may know better, as it does the side.
    #[inline(always)]
    fn inside(
        &self,
        tile: (usize, usize),
        lines: usize,
        steps: (usize, usize),
        side: usize,
    ) -> ((usize, usize), (usize, usize)) {
        let (top, left) = (first(tile.0, steps.0, side), first(tile.1, steps.1, side));
        let (mut high, mut wide) = (lines - top, self.out_w - left);
        if steps != (1, 1) {
            (high, wide) = (high.div_ceil(steps.0), wide.div_ceil(steps.1));
        }
        ((top, left), (high.min(side), wide.min(side)))
    }
}

/// The distance between planes of `n` elements.
fn pitch<T>(n: usize) -> usize {
    let line = 64 / size_of::<T>();
    n.div_ceil(line) * line + (n.div_ceil(line) + 1) % 2 * line
}

/// [`crate::conv::conv2d`] where it [`pays`]. Gives whether the result is finite.
///
/// Differences of inputs make NaN of infinity, and a tile shares its NaN, so what comes of such inputs is not the convolution.
pub(crate) fn conv2d<T: Float>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    w: &[T],
    epilogue: Epilogue<T>,
    y: &mut [T],
) -> bool {
    let tiles = Tiles::forward(g, g.in_channels.next_multiple_of(lanes::<T>(isa)));
    let taps = g.kernel_h * g.kernel_w;
    correlate(isa, &tiles, x, Weights { w, out: taps * g.in_channels, input: taps, turned: false }, epilogue, y)
}

/// [`crate::conv::conv2d_input`] where it [`pays`]. Gives whether the result is finite.
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) -> bool {
    let tiles = Tiles::backward(g, g.out_channels.next_multiple_of(lanes::<T>(isa)));
    let taps = g.kernel_h * g.kernel_w;
    let weights = Weights { w, out: taps, input: taps * g.in_channels, turned: true };
    correlate(isa, &tiles, gy, weights, Epilogue::NONE, gx)
}

/// A kernel for each pair of channels.
#[derive(Clone, Copy)]
struct Weights<'a, T> {
    w: &'a [T],
    /// Between output channels.
    out: usize,
    /// Between input channels.
    input: usize,
    /// Whether the kernels are turned by 180 degrees.
    turned: bool,
}

impl<T: Float> Weights<'_, T> {
    /// The transforms `[block of outputs][plane][c][lane]` of all pairs of channels, and the distances between blocks and planes.
    fn transformed(&self, isa: Isa, t: &Tiles, block: usize) -> (Buffer<T>, usize, usize) {
        let plane = pitch::<T>(t.c * block);
        let (blocks, taps) = (t.k.div_ceil(block), t.kernel() * t.kernel());
        let mut u: Buffer<T> = Buffer::unfilled(blocks * PLANES * plane);
        let to = Shared(u.make_mut().as_mut_ptr());
        par::for_each_range(blocks * t.c, 200 * block, |range| {
            let mut turned = Buffer::zeroed(taps * block);
            let turned = turned.make_mut();
            for at in range {
                let (b, c) = (at / t.c, at % t.c);
                let outputs = block.min(t.k - b * block);
                if outputs < block {
                    turned.fill(T::ZERO);
                }
                let from = &self.w[b * block * self.out + c * self.input..];
                transpose(isa, (outputs, taps), from, self.out, turned, block);
                // SAFETY: the channel alone writes its rows of the planes of its block.
                unsafe {
                    let to = to.get().add(b * PLANES * plane + c * block);
                    let body = transform::Kernels { from: turned, turned: self.turned, to, plane, block };
                    transform::run_kernels(isa, t, body);
                }
            }
        });
        (u, PLANES * plane, plane)
    }
}

/// The correlation of all images. Gives whether it is finite.
fn correlate<T: Float>(isa: Isa, t: &Tiles, x: &[T], weights: Weights<T>, epilogue: Epilogue<T>, y: &mut [T]) -> bool {
    assert_eq!(x.len(), t.batch * t.c * t.h * t.w, "the input has its size");
    assert_eq!(y.len(), t.batch * t.k * t.out_h * t.out_w, "the result has its size");
    let lanes = lanes::<T>(isa);
    let block = products::block(isa, t.k.div_ceil(lanes)) * lanes;
    let (u, u_block, u_plane) = weights.transformed(isa, t, block);
    let y = Shared(y.as_mut_ptr());
    let work = (t.most() * PLANES).saturating_mul(2 * t.c * block);
    // Blocks of outputs of the same group follow each other, so that one image of a few tiles is work for all threads.
    let blocks = t.k.div_ceil(block);
    let odd = AtomicBool::new(false);
    par::for_each_range(t.groups() * blocks, work, |range| {
        let mut scratch = Scratch::new(isa, t, block);
        let mut group = t.group(range.start / blocks);
        for i in range.clone() {
            let b = i % blocks;
            if i == range.start || b == 0 {
                group = t.group(i / blocks);
                scratch.transform(isa, t, &group, x);
            }
            let (u, first) = (&u[b * u_block..], b * block);
            let outputs = block.min(t.k - first);
            let bias = epilogue.bias.map(|bias| &bias[first..first + outputs]);
            let epilogue = Epilogue { bias, ..epilogue };
            // SAFETY: nobody else writes the rows of the group of these outputs; see there for what it reads.
            let finite = unsafe {
                scratch.block(isa, t, &group, u, u_plane, epilogue, outputs, y.get().add(first * t.out_h * t.out_w))
            };
            if !finite {
                odd.store(true, Ordering::Relaxed);
            }
        }
    });
    !odd.into_inner()
}

/// Where transforms of tiles go: `[plane][tile][channel]`, with the distances of tiles and planes.
#[derive(Clone, Copy)]
struct Transforms<T> {
    to: *mut T,
    row: usize,
    plane: usize,
}

/// What a thread needs to transform the inputs of a group.
struct Transformer<T: Float> {
    /// Channels in whole vectors.
    channels: usize,
    /// Rows of images, channels last.
    pixels: Buffer<T>,
    /// Columns of a row of tiles between the two halves of a transform.
    columns: Buffer<T>,
}

impl<T: Float> Transformer<T> {
    fn new(isa: Isa, t: &Tiles) -> Transformer<T> {
        let lanes = lanes::<T>(isa);
        let channels = t.c.next_multiple_of(lanes);
        let rows = t.side * t.rows_at_once.next_multiple_of(t.dilation.0) + t.reach() * t.dilation.0;
        Transformer {
            channels,
            pixels: Buffer::zeroed(t.h.min(rows) * t.w * channels),
            columns: Buffer::unfilled(t.input_columns() * POINTS * lanes),
        }
    }

    /// Transforms the inputs of a group.
    ///
    /// # Safety
    /// There is room for the tiles of the group at `to`, which nobody else uses.
    unsafe fn run(&mut self, isa: Isa, t: &Tiles, group: &Group, x: &[T], to: Transforms<T>) {
        let rows = t.input_rows(&group.rows);
        let per_image = group.rows.len() * t.columns;
        for (i, n) in group.images.clone().enumerate() {
            let image = &x[n * t.c * t.h * t.w..][..t.c * t.h * t.w];
            if !rows.is_empty() {
                let from = &image[rows.start * t.w..];
                let pixels = self.pixels.make_mut();
                transpose(isa, (t.c, rows.len() * t.w), from, t.h * t.w, pixels, self.channels);
            }
            let body = transform::Inputs {
                tiles: t,
                rows: group.rows.clone(),
                source: rows.clone(),
                pixels: &self.pixels,
                columns: self.columns.make_mut(),
                channels: self.channels,
                // SAFETY: the tiles of an image follow those of the images before it.
                to: unsafe { to.to.add(i * per_image * to.row) },
                row: to.row,
                plane: to.plane,
            };
            // SAFETY: the set comes from detection, and the buffers were made for the geometry.
            unsafe { transform::run_inputs(isa, t, body) };
        }
    }
}

/// The memory of one thread.
struct Scratch<T: Float> {
    transformer: Transformer<T>,
    /// Outputs of a block, in whole vectors.
    block: usize,
    /// Transformed inputs `[plane][tile][channel]` and products `[plane][tile][output]`, and their distances.
    inputs: Buffer<T>,
    products: Buffer<T>,
    inputs_plane: usize,
    products_plane: usize,
    bias: Buffer<T>,
    /// Rows of results, channels last.
    results: Buffer<T>,
}

impl<T: Float> Scratch<T> {
    fn new(isa: Isa, t: &Tiles, block: usize) -> Scratch<T> {
        let channels = t.c.next_multiple_of(lanes::<T>(isa));
        let tiles = t.most().next_multiple_of(products::rows(isa));
        let (inputs_plane, products_plane) = (pitch::<T>(tiles * channels), pitch::<T>(tiles * block));
        Scratch {
            transformer: Transformer::new(isa, t),
            block,
            inputs: Buffer::unfilled(PLANES * inputs_plane),
            products: Buffer::unfilled(PLANES * products_plane),
            inputs_plane,
            products_plane,
            bias: Buffer::zeroed(block),
            results: Buffer::unfilled(t.most_rows() * t.out_w * block),
        }
    }

    /// Transforms the inputs of a group.
    fn transform(&mut self, isa: Isa, t: &Tiles, group: &Group, x: &[T]) {
        let row = self.transformer.channels;
        let to = Transforms { to: self.inputs.make_mut().as_mut_ptr(), row, plane: self.inputs_plane };
        // SAFETY: the inputs have room for the most tiles of a group.
        unsafe { self.transformer.run(isa, t, group, x, to) };
    }

    /// Products with one block of outputs, and their transforms back. Gives whether these are finite.
    ///
    /// # Safety
    /// `y` points to the first channel of the block of the first image of the result, which has all images, and nobody
    /// else writes the rows of the group there.
    #[allow(clippy::too_many_arguments)]
    unsafe fn block(
        &mut self,
        isa: Isa,
        t: &Tiles,
        group: &Group,
        u: &[T],
        u_plane: usize,
        epilogue: Epilogue<T>,
        outputs: usize,
        y: *mut T,
    ) -> bool {
        let per_image = group.rows.len() * t.columns;
        let count = (group.images.len() * per_image).next_multiple_of(products::rows(isa));
        let products = products::Products {
            left: self.inputs.as_ptr(),
            left_row: self.transformer.channels,
            left_plane: self.inputs_plane,
            right: u.as_ptr(),
            right_plane: u_plane,
            to: self.products.make_mut().as_mut_ptr(),
            to_plane: self.products_plane,
            rows: count,
            depth: t.c,
            block: self.block,
        };
        // SAFETY: the set comes from detection; the buffers have rows for whole tiles of rows, and u holds a whole block.
        unsafe { T::simd(isa, products) };
        if let Some(bias) = epilogue.bias {
            self.bias.make_mut()[..outputs].copy_from_slice(bias);
        }
        let rows = t.output_rows(&group.rows);
        let mut finite = true;
        for (i, n) in group.images.clone().enumerate() {
            let body = transform::Outputs {
                tiles: t,
                rows: group.rows.clone(),
                // SAFETY: as for the inputs.
                from: unsafe { self.products.as_ptr().add(i * per_image * self.block) },
                plane: self.products_plane,
                bias: &self.bias,
                relu: epilogue.relu,
                results: self.results.make_mut(),
                block: self.block,
            };
            let plane = t.out_h * t.out_w;
            // SAFETY: as for the inputs; the rows of the outputs are inside of the result and this group's own.
            unsafe {
                finite &= transform::run::<T, _, bool>(isa, t, body);
                let to = y.add(n * t.k * plane + rows.start * t.out_w);
                transpose_to(isa, (rows.len() * t.out_w, outputs), &self.results, self.block, to, plane);
            }
        }
        finite
    }
}

#[cfg(test)]
mod tests;
