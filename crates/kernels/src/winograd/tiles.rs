//! Tiles, groups of them, and pieces: correlations with small kernels and stride 1, of which larger kernels and strides are made.
//!
//! Along an axis the element `phase + stride * (block * small + j)` of a kernel is element j of the piece `(phase, block)`. Going
//! forward a piece reads every `stride`-th pixel from its phase on, and the results of all pieces are added up: pieces are more
//! input channels. Going back, the phases are more output channels, each of which writes every `stride`-th pixel of the gradient by
//! the input, and the blocks are more input channels as before. What a piece has more elements than the kernel is zero.

use super::products::Stretches;
use std::ops::Range;

use super::{MOST_TILES, NEAR, POINTS};
use crate::buffer::Buffer;
use crate::conv::ConvGeometry;

/// Some tiles: all of several images, or some rows of them of one image.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// One axis of the geometry seen by tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    kernel: usize,
    stride: usize,
    pub(super) dilation: usize,
    /// Pixels of the images that are read, and of those that are written.
    pub(super) input: usize,
    pub(super) output: usize,
    /// Results of a piece, which tiles cover.
    pub(super) places: usize,
    /// Between neighbouring places, in the images that are read and those that are written.
    pub(super) step: (usize, usize),
    /// Zeros before an image.
    pub(super) padding: usize,
    /// Pixels before the first that is written.
    lead: usize,
    /// How many phases the first that is written comes after the first of the kernel.
    turn: usize,
    /// Phases that are read and that are written, and blocks.
    pub(super) phases: (usize, usize),
    pub(super) blocks: usize,
    backward: bool,
    side: usize,
    pub(super) tiles: usize,
    /// Points at which products are taken: infinity asks for the last element of a piece, which short ones have not.
    pub(super) points: usize,
}

impl Axis {
    /// An axis of images of `image` pixels and results of `result`.
    fn new(
        backward: bool,
        small: usize,
        (kernel, stride, dilation, padding): (usize, usize, usize, usize),
        (image, result): (usize, usize),
    ) -> Axis {
        let (side, elements) = (POINTS + 1 - small, kernel.div_ceil(stride));
        let blocks = elements.div_ceil(small);
        // The first place of the gradient by the input that is in the image for some phase.
        let before = padding / stride;
        // Phases before the image belong to the next place instead, unless a piece becomes longer by that.
        let ahead = padding % stride;
        let shorter = (kernel - ahead).div_ceil(stride) < elements;
        let (turn, lead) = if shorter { (ahead, 0) } else { (0, ahead) };
        let points = POINTS - usize::from(elements < small);
        let axis = if backward {
            Axis {
                kernel,
                stride,
                dilation,
                input: result,
                output: image,
                places: (image + lead).div_ceil(stride),
                step: (1, stride),
                padding: (elements - 1) * dilation - before - usize::from(turn > 0),
                lead,
                turn,
                phases: (1, stride),
                blocks,
                backward,
                side,
                tiles: 0,
                points,
            }
        } else {
            Axis {
                kernel,
                stride,
                dilation,
                input: image,
                output: result,
                places: result,
                step: (stride, 1),
                padding,
                lead: 0,
                turn: 0,
                phases: (stride, 1),
                blocks,
                backward,
                side,
                tiles: 0,
                points,
            }
        };
        Axis { tiles: count(axis.places, dilation, side), ..axis }
    }

    /// Pieces that are read.
    fn reads(&self) -> usize {
        self.phases.0 * self.blocks
    }

    /// Between the first and the last input of a piece of one place without dilation.
    pub(super) fn reach(&self) -> usize {
        POINTS - self.side
    }

    /// Elements of a piece.
    fn small(&self) -> usize {
        POINTS + 1 - self.side
    }

    /// Places between a block and the next.
    pub(super) fn between(&self) -> usize {
        self.small() * self.dilation
    }

    /// Element j of a piece in the kernel, if it has it.
    fn element(&self, phase: usize, block: usize, j: usize) -> Option<usize> {
        let (at, elements) = (block * self.small() + j, self.kernel.div_ceil(self.stride));
        let (turned, next) = ((phase + self.turn) % self.stride, (phase + self.turn) / self.stride);
        let last = (elements + next).checked_sub(at + 1 + usize::from(self.turn > 0))?;
        let element = turned + self.stride * if self.backward { last } else { at };
        (element < self.kernel).then_some(element)
    }

    /// Inputs that some places meet, whether they exist or not, from those of the padding on.
    fn met(&self, places: usize) -> usize {
        let last = (self.blocks - 1) * self.between() * self.step.0 + self.phases.0 - 1;
        (places - 1 + self.reach() * self.dilation) * self.step.0 + last + 1
    }

    /// The places that rows of tiles cover, whether they exist or not.
    fn covered(&self, rows: &Range<usize>) -> Range<usize> {
        let first = |row: usize| first(row, self.dilation, self.side);
        first(rows.start)..first(rows.end.next_multiple_of(self.dilation))
    }

    /// The pixels that tiles read.
    fn inputs(&self, rows: &Range<usize>) -> Range<usize> {
        let covered = self.covered(rows);
        let first = covered.start * self.step.0;
        let start = first.saturating_sub(self.padding).min(self.input);
        start..(first + self.met(covered.len())).saturating_sub(self.padding).clamp(start, self.input)
    }

    /// The pixels that tiles write, of all phases.
    fn outputs(&self, rows: &Range<usize>) -> Range<usize> {
        let pixel = |place: usize| (place * self.step.1).saturating_sub(self.lead).min(self.output);
        let covered = self.covered(rows);
        pixel(covered.start)..pixel(covered.end)
    }

    /// The places that `places` columns of all tiles read in a phase.
    fn width(&self) -> usize {
        let whole = first(self.tiles.next_multiple_of(self.dilation), self.dilation, self.side);
        whole + self.reach() * self.dilation + (self.blocks - 1) * self.between()
    }

    /// Where a phase of the places from `start` on is written: the pixel of the first, counted from the first pixel that any phase
    /// writes, which may be just before it, and how many places there are in `pixels` of them.
    pub(super) fn written(&self, start: usize, phase: usize, pixels: usize) -> (isize, usize) {
        let before = if start == 0 { self.lead } else { 0 };
        (phase as isize - before as isize, (pixels + before).saturating_sub(phase).div_ceil(self.step.1))
    }
}

/// The geometry seen by tiles: a correlation of images of c channels that gives images of k channels, those of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    pub(super) batch: usize,
    pub(super) c: usize,
    pub(super) k: usize,
    /// Channels of all groups of an image that is read, and of one that is written.
    pub(super) all: (usize, usize),
    pub(super) down: Axis,
    pub(super) right: Axis,
    /// Places of a tile along one axis.
    pub(super) side: usize,
    /// Channels from one piece that is read to the next.
    pub(super) slot: usize,
    /// Rows of tiles, a multiple of the dilation, or images, in a group.
    pub(super) rows_at_once: usize,
    images_at_once: usize,
}

impl Tiles {
    /// The tiles of the convolution, or of its gradient by the input, with pieces of `small` elements and vectors of `lanes`, all
    /// in one group.
    pub(super) fn new(g: &ConvGeometry, backward: bool, small: usize, lanes: usize) -> Tiles {
        let (p, d, s) = (g.padding, g.dilation, g.stride);
        let down = Axis::new(backward, small, (g.kernel_h, s.0, d.0, p.0), (g.in_h, g.out_h));
        let right = Axis::new(backward, small, (g.kernel_w, s.1, d.1, p.2), (g.in_w, g.out_w));
        let turned = |(a, b): (usize, usize)| if backward { (b, a) } else { (a, b) };
        let ((c, k), all) = (turned((g.group_in(), g.group_out())), turned((g.in_channels, g.out_channels)));
        // A few channels share a vector: what a piece writes beyond its own is overwritten by the next one.
        let slot = if c < lanes { c } else { c.next_multiple_of(lanes) };
        let (batch, side) = (g.batch, POINTS + 1 - small);
        Tiles { batch, c, k, all, down, right, side, slot, rows_at_once: down.tiles, images_at_once: batch }
    }

    /// The same in the groups of a correlation. Where tiles are few for so many outputs there is one: that each thread transforms its
    /// inputs costs less than transforming all weights beforehand.
    pub(super) fn correlated(self, lanes: usize) -> Tiles {
        let all = self.batch.saturating_mul(self.down.tiles * self.right.tiles);
        if all <= MOST_TILES.min(self.k / 2) { self } else { self.grouped(self.channels(self.pieces().0, lanes)) }
    }

    /// The same in groups that keep the transforms of so many channels near.
    pub(super) fn grouped(mut self, channels: usize) -> Tiles {
        let (rows, columns) = (self.down.tiles, self.right.tiles);
        let wanted = (NEAR / (self.products() * 4 * channels)).clamp(24, MOST_TILES);
        if rows * columns > wanted {
            let groups = rows.div_ceil((wanted / columns).max(1));
            self.rows_at_once = rows.div_ceil(groups).next_multiple_of(self.down.dilation);
            self.images_at_once = 1;
        } else {
            // As many for each group, so that threads have as much to do.
            let groups = self.batch.div_ceil((wanted / (rows * columns)).clamp(1, self.batch));
            self.images_at_once = self.batch.div_ceil(groups);
        }
        self
    }

    /// The same in at least so many groups, as far as there are images, or rows of them.
    pub(super) fn divided(mut self, parts: usize) -> Tiles {
        if self.groups() < parts {
            self.images_at_once = self.batch.div_ceil(parts);
            let of_image = self.down.tiles.div_ceil(parts.div_ceil(self.batch));
            self.rows_at_once = self.rows_at_once.min(of_image.next_multiple_of(self.down.dilation));
        }
        self
    }

    /// Points of a tile, down and right.
    pub(super) fn points(&self) -> (usize, usize) {
        (self.down.points, self.right.points)
    }

    /// Planes of a transformed tile: a product for each pair of points.
    pub(super) fn products(&self) -> usize {
        self.down.points * self.right.points
    }

    /// Pieces that are read and that are written.
    pub(super) fn pieces(&self) -> (usize, usize) {
        (self.down.reads() * self.right.reads(), self.down.phases.1 * self.right.phases.1)
    }

    /// Channels of all pieces of an image, those between them included.
    pub(super) fn depth(&self) -> usize {
        (self.pieces().0 - 1) * self.slot + self.c
    }

    /// Channels of a piece, and those up to the next one.
    pub(super) fn piece_channels(&self) -> usize {
        if self.pieces().0 > 1 { self.slot } else { self.c }
    }

    /// Room for the channels of some pieces in whole vectors.
    pub(super) fn channels(&self, pieces: usize, lanes: usize) -> usize {
        ((pieces - 1) * self.slot + self.c.next_multiple_of(lanes)).next_multiple_of(lanes)
    }

    /// The phase and the block, down and right, of a piece that is read. Blocks to the right follow each other.
    pub(super) fn piece(&self, i: usize) -> [(usize, usize); 2] {
        let (down, right) = (i / self.right.reads(), i % self.right.reads());
        let (phases, blocks) = (self.down.phases.0, self.right.blocks);
        [(down % phases, down / phases), (right / blocks, right % blocks)]
    }

    /// The phases, down and right, of a piece that is written.
    pub(super) fn phases(&self, i: usize) -> [usize; 2] {
        [i / self.right.phases.1, i % self.right.phases.1]
    }

    /// The place in the kernel of each element of each pair of pieces, or the number of its elements where it has none:
    /// `[read][written][row][column]`.
    pub(super) fn elements(&self) -> Buffer<i64> {
        let (small, pieces) = (self.small(), self.pieces());
        let mut elements = Buffer::unfilled(pieces.0 * pieces.1 * small * small);
        for (i, to) in elements.make_mut().iter_mut().enumerate() {
            let (r, s, pair) = (i / small % small, i % small, i / (small * small));
            let ([down, right], [below, beside]) = (self.piece(pair / pieces.1), self.phases(pair % pieces.1));
            let row = self.down.element(down.0 + below, down.1, r);
            let column = self.right.element(right.0 + beside, right.1, s);
            let place = row.zip(column).map_or(self.taps(), |(row, column)| row * self.right.kernel + column);
            *to = place as i64;
        }
        elements
    }

    /// Elements of a kernel.
    pub(super) fn taps(&self) -> usize {
        self.down.kernel * self.right.kernel
    }

    /// Elements of a piece along one axis.
    pub(super) fn small(&self) -> usize {
        POINTS + 1 - self.side
    }

    /// Elements of an image that is read, and of one that is written, for each channel.
    pub(super) fn planes(&self) -> (usize, usize) {
        (self.down.input * self.right.input, self.down.output * self.right.output)
    }

    /// The number of groups.
    pub(super) fn groups(&self) -> usize {
        self.batch.div_ceil(self.images_at_once) * self.down.tiles.div_ceil(self.rows_at_once)
    }

    pub(super) fn group(&self, i: usize) -> Group {
        let down = self.down.tiles.div_ceil(self.rows_at_once);
        let (image, row) = (i / down * self.images_at_once, i % down * self.rows_at_once);
        Group {
            images: image..(image + self.images_at_once).min(self.batch),
            rows: row..(row + self.rows_at_once).min(self.down.tiles),
        }
    }

    /// The most images of a group, and the most tiles.
    pub(super) fn most(&self) -> (usize, usize) {
        (self.images_at_once, self.images_at_once * self.rows_at_once * self.right.tiles)
    }

    /// The most pixels of an image that the tiles of a group read and write.
    pub(super) fn most_pixels(&self) -> (usize, usize) {
        let (t, covered) = (&self.down, self.down.covered(&(0..self.rows_at_once)).len());
        (t.met(covered).min(t.input) * self.right.input, (covered * t.step.1).min(t.output) * self.right.output)
    }

    /// What the tiles of a group read of `x`: one of some shares of it. Nothing if there are other groups of channels between.
    pub(super) fn inputs_of<T>(&self, group: &Group, x: &[T], share: usize, shares: usize) -> Stretches<T> {
        if self.all.0 != self.c {
            return Stretches::NONE;
        }
        let (rows, width, plane) = (self.input_rows(&group.rows), self.right.input, self.planes().0);
        let planes = group.images.len() * self.c;
        let mine = share * planes / shares..(share + 1) * planes / shares;
        let first = (group.images.start * self.c + mine.start) * plane + rows.start * width;
        let from = x.as_ptr().wrapping_add(first);
        Stretches { from, count: mine.len(), distance: plane, len: rows.len() * width }
    }

    /// Rows of an image that the tiles of a group read.
    pub(super) fn input_rows(&self, rows: &Range<usize>) -> Range<usize> {
        self.down.inputs(rows)
    }

    /// Rows of a result that the tiles of a group write.
    pub(super) fn output_rows(&self, rows: &Range<usize>) -> Range<usize> {
        self.down.outputs(rows)
    }

    /// The columns of a phase that all tiles read, from those of the padding on.
    pub(super) fn input_columns(&self) -> usize {
        self.right.width()
    }

    /// The first place of a tile, and how many of its rows and columns are among the first `places`; `steps` is the dilation, which
    /// the caller may know better, as it does the side.
    #[inline(always)]
    pub(super) fn inside(
        tile: (usize, usize),
        places: (usize, usize),
        steps: (usize, usize),
        side: usize,
    ) -> ((usize, usize), (usize, usize)) {
        let (top, left) = (first(tile.0, steps.0, side), first(tile.1, steps.1, side));
        let (mut high, mut wide) = (places.0.saturating_sub(top), places.1.saturating_sub(left));
        if steps != (1, 1) {
            (high, wide) = (high.div_ceil(steps.0), wide.div_ceil(steps.1));
        }
        ((top, left), (high.min(side), wide.min(side)))
    }
}

/// The tiles of `side` that cover so many places along one axis.
fn count(places: usize, dilation: usize, side: usize) -> usize {
    let whole = side.saturating_mul(dilation);
    places / whole * dilation + (places % whole).min(dilation)
}

/// The first place of a tile of `side` along one axis, or the places of all tiles before it if it is the first one of a run of
/// `dilation`.
#[inline(always)]
pub(super) fn first(tile: usize, dilation: usize, side: usize) -> usize {
    if dilation == 1 { side * tile } else { tile / dilation * side * dilation + tile % dilation }
}
