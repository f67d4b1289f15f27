//! Winograd's minimal filtering: F(4x4, 3x3), F(3x3, 4x4) and F(2x2, 5x5), and what can be put together from them: larger kernels,
//! other shapes, and strides.
//!
//! The plain loop, for each tile of 4x4, 3x3 or 2x2 outputs: `Y = A' [ sum over c of (G g G') * (B' d B) ] A`, with d the 6x6 inputs
//! of channel c under the tile and g its weights: 36 multiplications for 144 or 100. Backward-data is the same with the weights
//! turned by 180 degrees and the channels swapped. Backward-weights is the exact transpose,
//! `dg = G' [ sum over tiles of (A dY A') * (B' d B) ] G`. The points are 0, 1, -1, 1/2, -2 and infinity for all, so B and the
//! products are the same; A and G are powers of the points, as many as there are outputs and weights. The largest error was
//! found to be 1e-6 to 4e-6 of the largest result in single precision, 8e-6 where pieces make sums longer, which a test pins, and
//! 2.6e-5 where large kernels give few pixels (Lavin and Gray 2016, "Fast algorithms for convolutional neural networks"; Barabasz
//! et al. 2020 for the points).
//!
//! Larger kernels are divided into blocks of 3x3, 4x4 or 5x5, strides into phases: both are more channels of a convolution with a
//! small kernel and stride 1 (`tiles`). A kernel of 7x7 needs 16 multiplications for an output instead of 49, also with stride 2,
//! one of 5x5 with stride 2 needs 9 instead of 25. Where no piece has as many elements as it could, there are no products at
//! infinity: 25 are left of 36. A kernel of 3x3 with stride 2 needs 6.25 multiplications instead of 9, one of 4x4 as many instead
//! of 16.
//!
//! The tricks: the lanes of a vector are channels in every step, so transforms need no shuffles and any width of image fits; the
//! image is turned to channels-last and back by transposes in registers, which touch each pixel once. The products
//! are small matrix products of (tiles x channels) with (channels x outputs), whose left operand is read in place. Tiles are
//! taken in groups whose transforms stay in the second-level cache. Distances between the planes are odd
//! numbers of cache lines, so that they do not fall into the same sets. With a dilation d an image is d x d interleaved ones: the
//! pixels of a tile are d apart, and d tiles next to each other cover d times as many of them.

mod cost;
mod products;
mod tiles;
mod transform;
mod weight;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::Isa;
use crate::par::{self, Shared};
use crate::transpose::{transpose, transpose_to};

pub(crate) use cost::{Pass, fits, pays};
pub(crate) use weight::conv2d_weight;

use cost::cheapest;
use products::Stretches;
use tiles::{Group, Tiles};

/// Inputs of a tile along one axis.
const POINTS: usize = 6;
/// Bytes of transformed inputs that are kept at hand.
const NEAR: usize = 448 << 10;
/// The most tiles of a group.
const MOST_TILES: usize = 96;

/// Input channels whose weights are turned together, so that whole lines are read.
const TURNED: usize = 8;
/// Bytes of transformed weights that are used at once, for a piece that is written.
const ALONE: usize = 896 << 10;

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
    let lanes = lanes::<T>(isa);
    let tiles = Tiles::new(g, false, cheapest(g, Pass::Forward, lanes).0, lanes);
    let (c, k) = (g.group_in(), g.group_out());
    (0..g.groups).all(|group| {
        let w = &w[group * k * c * tiles.taps()..];
        let weights = Weights { w, out: tiles.taps() * c, input: tiles.taps() };
        let bias = epilogue.bias.map(|bias| &bias[group * k..][..k]);
        let (x, y) = (&x[group * c * tiles.planes().0..], &mut y[group * k * tiles.planes().1..]);
        correlate(isa, &tiles, x, weights, Epilogue { bias, ..epilogue }, y)
    })
}

/// [`crate::conv::conv2d_input`] where it [`pays`]. Gives whether the result is finite.
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) -> bool {
    let lanes = lanes::<T>(isa);
    let tiles = Tiles::new(g, true, cheapest(g, Pass::Input, lanes).0, lanes);
    let (c, k) = (g.group_in(), g.group_out());
    (0..g.groups).all(|group| {
        let w = &w[group * k * c * tiles.taps()..];
        let weights = Weights { w, out: tiles.taps(), input: tiles.taps() * c };
        let (gy, gx) = (&gy[group * k * tiles.planes().0..], &mut gx[group * c * tiles.planes().1..]);
        correlate(isa, &tiles, gy, weights, Epilogue::NONE, gx)
    })
}

/// A kernel for each pair of channels.
#[derive(Clone, Copy)]
struct Weights<'a, T> {
    w: &'a [T],
    /// Between output channels.
    out: usize,
    /// Between input channels.
    input: usize,
}

impl<T: Float> Weights<'_, T> {
    /// The transforms `[piece][block of outputs][plane][piece and c][lane]` of all pairs of channels.
    fn transformed(&self, isa: Isa, t: &Tiles, room: &Room, elements: &[i64]) -> Buffer<T> {
        let mut u: Buffer<T> = room.buffer(t);
        let (to, runs) = (Shared(u.make_mut().as_mut_ptr()), t.piece_channels().div_ceil(TURNED));
        let (read, written) = t.pieces();
        par::for_each_range(room.blocks * runs, 200 * TURNED * room.block * read * written, |range| {
            let mut kernels = Buffer::zeroed(TURNED * t.taps() * room.block);
            for at in range {
                let (b, first) = (at / runs, at % runs * TURNED);
                // SAFETY: the channels alone write their rows of the planes of their block.
                unsafe {
                    let to = to.get().add(b * room.planes * room.plane);
                    self.transform(isa, t, elements, room, (b, first), kernels.make_mut(), to);
                }
            }
        });
        u
    }

    /// Transforms the weights of a run of channels from the `first` on with the outputs of block b, to the planes of the block.
    ///
    /// # Safety
    /// `to` points to the first plane of the block, in a buffer of the `room`, and nobody else uses the rows of these channels.
    #[allow(clippy::too_many_arguments)]
    unsafe fn transform(
        &self,
        isa: Isa,
        t: &Tiles,
        elements: &[i64],
        room: &Room,
        (b, first): (usize, usize),
        kernels: &mut [T],
        to: *mut T,
    ) {
        let (block, taps, (read, written)) = (room.block, t.taps(), t.pieces());
        let (outputs, channels) = (block.min(t.k - b * block), TURNED.min(t.c.saturating_sub(first)));
        if outputs < block || channels < TURNED {
            kernels.fill(T::ZERO);
        }
        for c in (0..channels).step_by(if self.input == taps { TURNED } else { 1 }) {
            // Where the channels follow each other, all of them.
            let columns = if self.input == taps { taps * channels } else { taps };
            let from = &self.w[b * block * self.out + (first + c) * self.input..];
            transpose(isa, (outputs, columns), from, self.out, &mut kernels[c * taps * block..], block);
        }
        for (pair, elements) in elements.chunks_exact(t.small() * t.small()).enumerate() {
            let (piece, written) = (pair / written, pair % written);
            // Between the channels of pieces there may be some that do not exist.
            let channels = TURNED.min((if piece + 1 < read { t.slot } else { t.c }).saturating_sub(first));
            // SAFETY: the caller's promise.
            unsafe {
                let to = to.add(written * room.piece() + (piece * t.slot + first) * block);
                let body = transform::Kernels {
                    elements,
                    from: kernels,
                    taps,
                    channels,
                    to,
                    plane: room.plane,
                    points: t.points(),
                    block,
                };
                transform::run_kernels(isa, t, body);
            }
        }
    }
}

/// Where transformed weights are.
struct Room {
    /// Outputs of a block, in whole vectors, and how many blocks there are in a buffer.
    block: usize,
    blocks: usize,
    /// Planes, and their distance.
    planes: usize,
    plane: usize,
}

impl Room {
    /// Between written pieces.
    fn piece(&self) -> usize {
        self.blocks * self.planes * self.plane
    }

    fn buffer<T: Float>(&self, t: &Tiles) -> Buffer<T> {
        Buffer::unfilled(t.pieces().1 * self.piece())
    }
}

/// The correlation of a group of all images, whose first channels of the first image come first. Gives whether it is finite.
fn correlate<T: Float>(isa: Isa, t: &Tiles, x: &[T], weights: Weights<T>, epilogue: Epilogue<T>, y: &mut [T]) -> bool {
    let (read, written) = t.planes();
    assert!(x.len() >= ((t.batch - 1) * t.all.0 + t.c) * read, "the input has its size");
    assert!(y.len() >= ((t.batch - 1) * t.all.1 + t.k) * written, "the result has its size");
    let lanes = lanes::<T>(isa);
    let t = &t.correlated(lanes);
    // Each tile is computed by itself, so that threads may have as many blocks of outputs and groups as they need.
    let work =
        (t.batch * t.down.tiles * t.right.tiles * t.products() * t.pieces().1).saturating_mul(2 * t.depth() * t.k);
    let parts = par::threads_worth(work, par::num_threads());
    let mut vectors = products::block(isa, t.k.div_ceil(lanes));
    if t.groups() == 1 {
        vectors = vectors.min(t.k.div_ceil(lanes * parts));
    }
    let t = &t.divided(parts.div_ceil(t.k.div_ceil(vectors * lanes)));
    // The weights of the only group are used once: they are transformed when they are, and stay near.
    let alone = t.groups() == 1;
    let block = lanes
        * if alone {
            vectors.min((ALONE / (t.products() * size_of::<T>() * t.depth() * lanes)).max(1))
        } else {
            vectors
        };
    let blocks = t.k.div_ceil(block);
    let (planes, plane) = (t.products(), pitch::<T>(t.depth() * block));
    let room = Room { block, blocks: if alone { 1 } else { blocks }, planes, plane };
    let elements = t.elements();
    let all = if alone { Buffer::unfilled(0) } else { weights.transformed(isa, t, &room, &elements) };
    let y = Shared(y.as_mut_ptr());
    let work = (t.most().1 * t.products() * t.pieces().1).saturating_mul(2 * t.depth() * block);
    // Blocks of outputs of the same group follow each other, so that one image of a few tiles is work for all threads.
    let odd = AtomicBool::new(false);
    par::for_each_range(t.groups() * blocks, work, |range| {
        let mut scratch = Scratch::new(isa, t, block);
        let mut own = alone.then(|| (room.buffer(t), Buffer::zeroed(TURNED * t.taps() * block)));
        let mut group = t.group(range.start / blocks);
        for i in range.clone() {
            let b = i % blocks;
            if i == range.start || b == 0 {
                group = t.group(i / blocks);
                scratch.transform(isa, t, &group, x);
            }
            let block_weights = match &mut own {
                Some((own, kernels)) => {
                    for first in (0..t.piece_channels()).step_by(TURNED) {
                        let to = own.make_mut().as_mut_ptr();
                        // SAFETY: the buffer is this thread's.
                        unsafe { weights.transform(isa, t, &elements, &room, (b, first), kernels.make_mut(), to) };
                    }
                    &own[..]
                }
                None => &all[b * room.planes * room.plane..],
            };
            let first = b * block;
            let outputs = block.min(t.k - first);
            // The thread's next group of tiles is asked for meanwhile, and what this one writes.
            let more = i - b + blocks < range.end;
            let coming =
                more.then(|| t.group(i / blocks + 1)).map_or(Stretches::NONE, |g| t.inputs_of(&g, x, b, blocks));
            let bias = epilogue.bias.map(|bias| &bias[first..first + outputs]);
            let epilogue = Epilogue { bias, ..epilogue };
            for piece in 0..t.pieces().1 {
                let u = (&block_weights[piece * room.piece()..], room.plane);
                // SAFETY: nobody else writes the rows of the group of these outputs; see there for what it reads.
                let finite = unsafe {
                    let to = y.get().add(first * t.planes().1);
                    let coming = if piece == 0 { coming } else { Stretches::NONE };
                    scratch.block(isa, t, &group, piece, u, epilogue, outputs, to, coming)
                };
                if !finite {
                    odd.store(true, Ordering::Relaxed);
                }
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
        Transformer {
            channels,
            pixels: Buffer::zeroed(t.most_pixels().0 * channels),
            columns: Buffer::unfilled(t.input_columns() * POINTS * lanes),
        }
    }

    /// Transforms the inputs of a group for some pieces.
    ///
    /// # Safety
    /// There is room for the tiles of the group at `to`, which nobody else uses.
    unsafe fn run(&mut self, isa: Isa, t: &Tiles, group: &Group, pieces: Range<usize>, x: &[T], to: Transforms<T>) {
        let rows = t.input_rows(&group.rows);
        let (per_image, plane, width) = (group.rows.len() * t.right.tiles, t.planes().0, t.right.input);
        for (i, n) in group.images.clone().enumerate() {
            let image = &x[n * t.all.0 * plane..][..t.c * plane];
            if !rows.is_empty() {
                let from = &image[rows.start * width..];
                let pixels = self.pixels.make_mut();
                transpose(isa, (t.c, rows.len() * width), from, plane, pixels, self.channels);
            }
            let body = transform::Inputs {
                tiles: t,
                rows: group.rows.clone(),
                pieces: pieces.clone(),
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
    /// Channels of all pieces, in whole vectors.
    channels: usize,
    /// Outputs of a block, in whole vectors.
    block: usize,
    /// Transformed inputs `[plane][tile][channel]` and products `[plane][tile][output]`, and their distances.
    inputs: Buffer<T>,
    products: Buffer<T>,
    inputs_plane: usize,
    products_plane: usize,
    bias: Buffer<T>,
    /// Rows of results, channels last; of all images of a group if pieces are written.
    results: Buffer<T>,
}

impl<T: Float> Scratch<T> {
    fn new(isa: Isa, t: &Tiles, block: usize) -> Scratch<T> {
        let channels = t.channels(t.pieces().0, lanes::<T>(isa));
        let tiles = t.most().1.next_multiple_of(products::rows(isa));
        // Pieces of a result come together there.
        let images = if t.pieces().1 > 1 { t.most().0 } else { 1 };
        let (inputs_plane, products_plane) = (pitch::<T>(tiles * channels), pitch::<T>(tiles * block));
        Scratch {
            transformer: Transformer::new(isa, t),
            channels,
            block,
            inputs: Buffer::unfilled(t.products() * inputs_plane),
            products: Buffer::unfilled(t.products() * products_plane),
            inputs_plane,
            products_plane,
            bias: Buffer::zeroed(block),
            results: Buffer::unfilled(images * t.most_pixels().1 * block),
        }
    }

    /// Transforms the inputs of a group.
    fn transform(&mut self, isa: Isa, t: &Tiles, group: &Group, x: &[T]) {
        let to = Transforms { to: self.inputs.make_mut().as_mut_ptr(), row: self.channels, plane: self.inputs_plane };
        // SAFETY: the inputs have room for the most tiles of a group.
        unsafe { self.transformer.run(isa, t, group, 0..t.pieces().0, x, to) };
    }

    /// Products with one block of outputs of a piece, and their transforms back. Gives whether these are finite.
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
        piece: usize,
        (u, u_plane): (&[T], usize),
        epilogue: Epilogue<T>,
        outputs: usize,
        y: *mut T,
        coming: Stretches<T>,
    ) -> bool {
        let per_image = group.rows.len() * t.right.tiles;
        let count = (group.images.len() * per_image).next_multiple_of(products::rows(isa));
        let (rows, pieces, width, plane) = (t.output_rows(&group.rows), t.pieces().1, t.right.output, t.planes().1);
        let mut written = Stretches::NONE;
        if group.images.len() == 1 && piece == 0 {
            let from = y.wrapping_add(group.images.start * t.all.1 * plane + rows.start * width).cast_const();
            written = Stretches { from, count: outputs, distance: plane, len: rows.len() * width };
        }
        let products = products::Products {
            left: self.inputs.as_ptr(),
            left_row: self.channels,
            left_plane: self.inputs_plane,
            right: u.as_ptr(),
            right_plane: u_plane,
            to: self.products.make_mut().as_mut_ptr(),
            to_plane: self.products_plane,
            planes: t.products(),
            rows: count,
            depth: t.depth(),
            block: self.block,
            ahead: [written, coming],
        };
        // SAFETY: the set comes from detection; the buffers have rows for whole tiles of rows, and u holds a whole block.
        unsafe { T::simd(isa, products) };
        if let Some(bias) = epilogue.bias {
            self.bias.make_mut()[..outputs].copy_from_slice(bias);
        }
        let mut finite = true;
        for (i, n) in group.images.clone().enumerate() {
            let at = if pieces > 1 { i * t.most_pixels().1 * self.block } else { 0 };
            let results = &mut self.results.make_mut()[at..];
            let body = transform::Outputs {
                tiles: t,
                rows: group.rows.clone(),
                // SAFETY: as for the inputs.
                from: unsafe { self.products.as_ptr().add(i * per_image * self.block) },
                plane: self.products_plane,
                phases: t.phases(piece),
                bias: &self.bias,
                relu: epilogue.relu,
                results,
                block: self.block,
            };
            // SAFETY: as for the inputs; the rows of the outputs are inside of the result and this group's own.
            unsafe {
                finite &= transform::run::<T, _, bool>(isa, t, body);
                // The last piece completes the rows.
                if piece + 1 == pieces {
                    let to = y.add(n * t.all.1 * plane + rows.start * width);
                    transpose_to(isa, (rows.len() * width, outputs), &self.results[at..], self.block, to, plane);
                }
            }
        }
        finite
    }
}

#[cfg(test)]
mod tests;
