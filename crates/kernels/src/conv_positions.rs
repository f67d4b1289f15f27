//! Convolution forward and backward-data of small images: a tile is one position of several images.
//!
//! The plain loop, for each position p of the result and each image n:
//! `y[n][k][p] = bias[k] + sum over the taps t that see the image from p of x[n][p + tap[t]] * w[t][k]`; by input the same with the roles of
//! channels exchanged and the taps that meet p.
//!
//! The tricks: the same position of several images has the same taps, so those that would see only padding, or nothing because of a
//! stride, are left out one by one: of a 7x7 kernel over 3x3 pixels that is four of five. Nothing is padded or copied. Tiles are
//! those of `conv_channels`: vectors of channels, and a pointer for each image. Positions with the same taps share their list.

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_channels::{FEWEST, Sweep, Tap, pointers, sweep};
use crate::conv_cost::{ASSUMED, THREADS, TRANSPOSED, product, single};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::Isa;
use crate::par::{self, Shared};
use crate::transpose::{transpose, transpose_to};

/// Bytes of sources, and of results, of the images that go through the tiles together.
const TOGETHER: usize = 192 << 10;
/// Images that go through the tiles together if there is room, about.
const MANY: usize = 20;

/// What a tile costs to begin with, a tap of a list, and a weight before the first image.
const PIECE: f64 = 42.0;
const TAP: f64 = 1.6;
const WEIGHT: f64 = 0.8;
/// Bringing a cache line of the source near again, and the bytes that stay near.
const LINE: f64 = 0.5;
const NEAR: usize = 24 << 10;

/// The most positions, and elements of a kernel; taps in all lists, of 16 bytes each; and positions so few that other ways have trouble to fill a tile.
const MOST: usize = 256;
const MOST_TAPS: usize = 1 << 20;
const FEW: usize = 6;

/// What a position along an axis sees: pairs of an element of the kernel and where that is in the source.
pub(crate) type Seen = Vec<(usize, usize)>;

/// A convolution or its gradient by the input, as sums over a source.
pub(crate) struct Positions {
    pub(crate) groups: usize,
    /// Channels of a group of the source and of the result.
    pub(crate) inner: usize,
    pub(crate) outer: usize,
    /// Elements of a plane of the source.
    pub(crate) plane: usize,
    pub(crate) kernel: usize,
    /// The lists of each kind of row and column that there is.
    pub(crate) kinds: [Vec<Seen>; 2],
    /// For each row and column its kind, and where the first element that it sees is in the source.
    pub(crate) axes: [Vec<(usize, usize)>; 2],
    pub(crate) source_w: usize,
    pub(crate) kernel_w: usize,
    /// Distances of weights: between channels of the result and of the source.
    pub(crate) row: usize,
    pub(crate) channel: usize,
}

/// The kinds of positions along an axis, by the elements they see and the distances of these from the first; and each position's.
fn kinds(
    positions: usize,
    kernel: usize,
    at: impl Fn(usize, usize) -> Option<usize>,
) -> (Vec<Seen>, Vec<(usize, usize)>) {
    let (mut kinds, mut seen): (Vec<Seen>, Seen) = (Vec::new(), Vec::with_capacity(kernel));
    let axis = (0..positions).map(|p| {
        seen.clear();
        seen.extend((0..kernel).filter_map(|e| Some((e, at(p, e)?))));
        let first = seen.iter().map(|s| s.1).min().unwrap_or(0);
        seen.iter_mut().for_each(|s| s.1 -= first);
        let kind = kinds.iter().position(|k| *k == seen).unwrap_or_else(|| {
            kinds.push(seen.clone());
            kinds.len() - 1
        });
        (kind, first)
    });
    let axis = axis.collect();
    (kinds, axis)
}

impl Positions {
    /// The sums of the forward pass.
    pub(crate) fn forward(g: &ConvGeometry) -> Positions {
        let seen = |out: usize, kernel: usize, stride: usize, dilation: usize, before: usize, size: usize| {
            kinds(out, kernel, |p, e| (p * stride + e * dilation).checked_sub(before).filter(|&at| at < size))
        };
        let (rows, down) = seen(g.out_h, g.kernel_h, g.stride.0, g.dilation.0, g.padding.0, g.in_h);
        let (columns, right) = seen(g.out_w, g.kernel_w, g.stride.1, g.dilation.1, g.padding.2, g.in_w);
        let kernel = g.kernel_h * g.kernel_w;
        Positions {
            groups: g.groups,
            inner: g.group_in(),
            outer: g.group_out(),
            plane: g.in_h * g.in_w,
            kernel,
            kinds: [rows, columns],
            axes: [down, right],
            source_w: g.in_w,
            kernel_w: g.kernel_w,
            row: g.group_in() * kernel,
            channel: kernel,
        }
    }

    /// The sums of the gradient by the input.
    pub(crate) fn backward(g: &ConvGeometry) -> Positions {
        let seen = |size: usize, kernel: usize, stride: usize, dilation: usize, before: usize, out: usize| {
            kinds(size, kernel, |p, e| {
                let steps = (p + before).checked_sub(e * dilation)?;
                Some(steps / stride).filter(|&at| steps.is_multiple_of(stride) && at < out)
            })
        };
        let (rows, down) = seen(g.in_h, g.kernel_h, g.stride.0, g.dilation.0, g.padding.0, g.out_h);
        let (columns, right) = seen(g.in_w, g.kernel_w, g.stride.1, g.dilation.1, g.padding.2, g.out_w);
        let kernel = g.kernel_h * g.kernel_w;
        Positions {
            groups: g.groups,
            inner: g.group_out(),
            outer: g.group_in(),
            plane: g.out_h * g.out_w,
            kernel,
            kinds: [rows, columns],
            axes: [down, right],
            source_w: g.out_w,
            kernel_w: g.kernel_w,
            row: kernel,
            channel: g.group_in() * kernel,
        }
    }

    /// Positions of a plane of the result.
    pub(crate) fn count(&self) -> usize {
        self.axes[0].len() * self.axes[1].len()
    }

    /// The images that go through the tiles together.
    fn together(&self, batch: usize, block: usize, bytes: usize) -> usize {
        let image = (self.inner * self.plane).max(self.count() * block) * bytes;
        let most = (TOGETHER / image.max(1)).clamp(FEWEST * 2, MANY).min(batch);
        // Something to do for each thread, and pieces of equal size of at least a tile.
        batch.div_ceil(batch.div_ceil(most))
    }

    /// Whether this costs less than another way of the forward pass or of the gradient by the input.
    pub(crate) fn pays<T>(isa: Isa, g: &ConvGeometry, backward: bool, other: f64) -> bool {
        let results = if backward { g.in_h * g.in_w } else { g.out_h * g.out_w };
        let elements = g.kernel_h * g.kernel_w;
        let inner = if backward { g.group_out() } else { g.group_in() };
        // Large images leave out little, and have long lists.
        let long = results > MOST || elements > MOST || inner.saturating_mul(g.seen()) > MOST_TAPS;
        if g.batch < FEWEST || elements == 1 || long {
            return false;
        }
        // What the kernel sees of the image, of what it would see without edges.
        let all = elements * if backward { results / (g.stride.0 * g.stride.1) } else { results };
        let few = results <= FEW || 5 * g.seen() <= 4 * all;
        few && {
            let positions = if backward { Positions::backward(g) } else { Positions::forward(g) };
            positions.cost::<T>(isa, g.batch, g.work()) < other
        }
    }

    /// The cost of a batch on the busiest thread (see `conv_cost`), for so many operations in an image.
    pub(crate) fn cost<T>(&self, isa: Isa, batch: usize, work: usize) -> f64 {
        let full = lanes::<T>(isa);
        let (wide, vectors) = (self.outer > full, self.outer.div_ceil(full));
        let block = if wide { 2 * full } else { full };
        let images = self.together(batch, block, size_of::<T>());
        let tile = pointers(isa, wide, 1, images);
        let one = product(isa) * if wide { 2.0 } else { single(isa) };
        let tiles = images.div_ceil(tile) as f64;
        let line = 64 / size_of::<T>();
        // Lines of the source that a tile reads do not stay in the first-level cache until the next position.
        let far = tile * self.inner * self.plane * size_of::<T>() > NEAR;
        let seen = |axis: usize| self.axes[axis].iter().map(move |&(kind, _)| self.kinds[axis][kind].len());
        let (mut taps, mut lines) = (0, 0.0);
        for (rows, columns) in seen(0).flat_map(|rows| seen(1).map(move |columns| (rows, columns))) {
            taps += rows * columns;
            let apart = rows as f64 * (1.0 + columns as f64 / line as f64);
            lines += apart.min(self.plane as f64 / line as f64);
        }
        let blocks = self.groups * self.outer.div_ceil(block);
        let of_block = self.inner as f64
            * tiles
            * (taps as f64 * (tile as f64 * one + 1.0) + if far { LINE * lines * tile as f64 } else { 0.0 })
            + self.count() as f64 * (PIECE * tiles + TRANSPOSED * (images * vectors.min(2)) as f64);
        let units = batch.div_ceil(images) * blocks;
        let list = (self.inner * self.kernel * self.kinds[0].len() * self.kinds[1].len()) as f64;
        let threads = par::threads_for(units, work.saturating_mul(images) / blocks, ASSUMED);
        units.div_ceil(threads) as f64 * of_block
            + if threads > 1 { THREADS } else { 0.0 }
            + TAP * list
            + WEIGHT * (self.kernel * self.inner * self.groups * vectors * full) as f64
    }

    /// The lists of the taps of each kind of position one after the other, and where each begins, `[row kind][column kind]`.
    fn lists(&self) -> (Buffer<i64>, Vec<usize>) {
        let [rows, columns] = &self.kinds;
        let mut starts = vec![0];
        for of_row in rows {
            starts.extend(columns.iter().map(|of_column| self.inner * of_row.len() * of_column.len()));
        }
        (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
        let mut lists = Buffer::unfilled(2 * starts[starts.len() - 1]);
        let mut to = lists.make_mut().as_chunks_mut::<2>().0.iter_mut();
        for of_row in rows {
            for of_column in columns {
                for c in 0..self.inner {
                    for &(r, down) in of_row {
                        for (&(s, right), to) in of_column.iter().zip(to.by_ref()) {
                            let x = c * self.plane + down * self.source_w + right;
                            *to = [x as i64, (c * self.kernel + r * self.kernel_w + s) as i64];
                        }
                    }
                }
            }
        }
        (lists, starts)
    }

    /// Weights `[group][block][channel][element][lane]`.
    fn pack<T: Float>(&self, isa: Isa, w: &[T], block: usize) -> Buffer<T> {
        let (full, taps) = (lanes::<T>(isa), self.inner * self.kernel);
        let blocks = self.outer.div_ceil(block);
        let group_len = self.outer.next_multiple_of(full) * taps;
        let whole = self.outer.is_multiple_of(full);
        let mut packed: Buffer<T> = if whole { Buffer::unfilled } else { Buffer::zeroed }(self.groups * group_len);
        let to = Shared(packed.make_mut().as_mut_ptr());
        // Channels whose weights follow each other go at once.
        let at_once = if self.channel == self.kernel { self.inner } else { 1 };
        let steps = self.inner / at_once;
        par::for_each_range(self.groups * blocks * steps, 8 * at_once * self.kernel * block, |range| {
            for item in range {
                let (group, b, c) = (item / (blocks * steps), item / steps % blocks, item % steps * at_once);
                let channels = block.min(self.outer - b * block);
                let width = channels.next_multiple_of(full);
                let at = group * group_len + b * block * taps + c * self.kernel * width;
                let len = at_once * self.kernel * width;
                assert!(at + len <= self.groups * group_len, "the weights fit");
                // SAFETY: this stretch is inside of the buffer and belongs to these channels of this block alone.
                let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at), len) };
                let from = &w[group * self.outer * taps + b * block * self.row + c * self.channel..];
                transpose(isa, (channels, at_once * self.kernel), from, self.row, to, width);
            }
        });
        packed
    }

    /// Computes the result of all images.
    pub(crate) fn run<T: Float>(&self, isa: Isa, batch: usize, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
        let (full, taps, out) = (lanes::<T>(isa), self.inner * self.kernel, self.count());
        let block = if self.outer > full { 2 * full } else { full };
        let blocks = self.outer.div_ceil(block);
        let (source, result) = (self.groups * self.inner * self.plane, self.groups * self.outer * out);
        assert_eq!(x.len(), batch * source, "the source has its size");
        assert_eq!(y.len(), batch * result, "the result has its size");
        assert!(
            w.len() == self.groups * self.outer * taps && batch >= FEWEST,
            "there are weights, and images for a tile"
        );
        let ((lists, starts), packed) = (self.lists(), self.pack(isa, w, block));
        let lists: &[Tap] = lists.as_chunks().0;
        let bunches = batch.div_ceil(self.together(batch, block, size_of::<T>()));
        let y = Shared(y.as_mut_ptr());
        let units = self.groups * blocks;
        let work = (2 * taps * out).saturating_mul(block * (batch / bunches));
        par::for_each_range(bunches * units, work, |range| {
            let most = batch.div_ceil(bunches);
            let (mut results, mut start) = (Buffer::unfilled(most * out * block), Buffer::zeroed(block));
            let mut offsets = Buffer::unfilled(2 * most);
            let (images, places) = offsets.make_mut().split_at_mut(most);
            images.iter_mut().zip(0..).for_each(|(offset, n)| *offset = n * source as i64);
            places.iter_mut().zip(0..).for_each(|(place, n)| *place = n * out as i64);
            for unit in range {
                let (bunch, group, b) = (unit / units, unit % units / blocks, unit % blocks);
                let first = bunch * batch / bunches;
                let count = (bunch + 1) * batch / bunches - first;
                let channels = block.min(self.outer - b * block);
                let (width, channel) = (channels.next_multiple_of(full), group * self.outer + b * block);
                if let Some(bias) = epilogue.bias {
                    start.make_mut()[..channels].copy_from_slice(&bias[channel..channel + channels]);
                }
                let x = &x[first * source + group * self.inner * self.plane..];
                let weights = (group * self.outer.next_multiple_of(full) + b * block) * taps;
                for (i, &(row_kind, top)) in self.axes[0].iter().enumerate() {
                    for (j, &(column_kind, left)) in self.axes[1].iter().enumerate() {
                        let kind = row_kind * self.kinds[1].len() + column_kind;
                        let all = Sweep {
                            x: x.as_ptr().wrapping_add(top * self.source_w + left),
                            taps: &lists[starts[kind]..starts[kind + 1]],
                            pixels: &images[..count],
                            places: &places[..count],
                            start: start.as_ptr(),
                            w: packed[weights..].as_ptr(),
                            y: results.make_mut()[(i * self.axes[1].len() + j) * width..].as_mut_ptr(),
                            isa,
                            run: 1,
                            wide: width > full,
                            relu: epilogue.relu,
                            far: false,
                        };
                        // SAFETY: the set comes from detection. Each tap is inside of the planes of each image, the packed
                        // weights hold a vector for each, and there is room for the results of all images.
                        unsafe { sweep(all) };
                    }
                }
                for n in 0..count {
                    // SAFETY: the planes of these channels of this image belong to this unit.
                    unsafe {
                        let to = y.get().add((first + n) * result + channel * out);
                        transpose_to(isa, (out, channels), &results[n * out * width..], width, to, out);
                    }
                }
            }
        });
    }
}
