//! Convolution forward and backward-data of small images in large batches: a vector is one pixel of several images.
//!
//! The plain loop, for each position p of the result and all images n at once: `y[k][p][n] = bias[k] + sum over the taps t that see the
//! image from p of w[t][k] * x[p + tap[t]][n]`; by input the same with the roles of channels exchanged and the taps that meet p.
//!
//! The tricks: a vector is full whatever the width of an image and the number of channels, and what a position does not see, because of
//! padding or of a stride, is left out (`conv_positions` names the kinds of positions). Images are transposed, some vectors of them
//! at a time, and their results are transposed back while they are in the cache. Tiles are those of `tile`. Weights are packed once
//! for each kind of row, the columns of the kernel outermost, so that those of a kind of column lie side by side.

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_cost::{ASSUMED, THREADS, product};
use crate::conv_parts::lanes;
use crate::conv_positions::Positions;
use crate::element::Float;
use crate::isa::Isa;
use crate::par::{self, Shared};
use crate::tile::{Start, Sweep, blocks, tap_cost};
use crate::transpose::{transpose, transpose_to};

/// Bytes of sources, and of results, of the images that go through the tiles together, and the most vectors of images.
const TOGETHER: usize = 256 << 10;
const MANY: usize = 4;
/// The most bytes of the source and the result for a vector of images.
const MOST: usize = 1 << 20;
/// The most bytes of weights, elements of a kernel, and taps in all lists, of 8 bytes each.
const WEIGHTS: usize = 4 << 20;
const ELEMENTS: usize = 256;
const TAPS: usize = 1 << 20;

/// How much less this must cost than another way: how near the images lie is a guess.
const MARGIN: f64 = 1.1;
/// What a call of the tiles costs; transposing a vector; a weight, and a tap or vector of a list, before the first image.
const PIECE: f64 = 160.0;
const TURNED: f64 = 4.5;
const WEIGHT: f64 = 1.5;
const LISTED: f64 = 8.0;
/// What a call costs to begin with.
const START: f64 = 7600.0;

/// The positions of one kind of row and of column.
struct Kind {
    /// Where their weights begin for one row of results.
    weights: usize,
    /// Their taps in the list of all, and their vectors.
    taps: (usize, usize),
    vectors: (usize, usize),
}

/// Vectors of images at a time.
fn together<T>(isa: Isa, p: &Positions, batch: usize, threads: usize) -> usize {
    let full = lanes::<T>(isa);
    let larger = (p.inner * p.plane).max(p.outer * p.count());
    let most = (TOGETHER / size_of::<T>() / full / larger.max(1)).clamp(1, MANY);
    batch.div_ceil(full).div_ceil(threads.div_ceil(p.groups)).clamp(1, most)
}

/// What this costs (see `conv_cost`) in the forward pass or for the gradient by the input, infinitely much if there is a reason against it
/// or it is seen at once to be more than another way.
pub(crate) fn cost<T>(isa: Isa, g: &ConvGeometry, backward: bool, other: f64) -> f64 {
    let (full, elements) = (lanes::<T>(isa), g.kernel_h * g.kernel_w);
    let image = g.in_channels * g.in_h * g.in_w + g.out_channels * g.out_h * g.out_w;
    let fits = isa != Isa::Portable && size_of::<T>() == 4 && g.batch >= full && image <= MOST / size_of::<T>() / full;
    // Kernels of one element are matrix products, and large ones have long lists.
    if !fits || !(2..=ELEMENTS).contains(&elements) {
        return f64::INFINITY;
    }
    let (seen, inner) = (g.seen(), if backward { g.group_out() } else { g.group_in() });
    // What it would cost if all tiles were full and nothing was listed.
    let least = product(isa) * (g.out_channels * g.group_in() * seen) as f64 + TURNED * image as f64;
    let least = START + least * g.batch as f64 / (full * ASSUMED) as f64;
    if inner.saturating_mul(seen) > TAPS || MARGIN * least >= other {
        return f64::INFINITY;
    }
    let positions = if backward { Positions::backward(g) } else { Positions::forward(g) };
    MARGIN * cost_of::<T>(isa, &positions, g.batch, g.work())
}

/// The cost for the busiest of the assumed threads (see `conv_cost`), for so many operations in an image.
fn cost_of<T>(isa: Isa, p: &Positions, batch: usize, work: usize) -> f64 {
    let full = lanes::<T>(isa);
    let vectors = together::<T>(isa, p, batch, ASSUMED);
    let blocks = blocks(isa, p.outer);
    // Each kind of an axis: how many positions it has, and how many elements they see.
    let kinds = |axis: usize| {
        let count = move |kind: usize| p.axes[axis].iter().filter(|a| a.0 == kind).count();
        p.kinds[axis].iter().enumerate().map(move |(kind, seen)| (count(kind), seen.len()))
    };
    let (mut unit, mut listed) = (0.0, 0);
    for (rows, down) in kinds(0) {
        for (columns, right) in kinds(1) {
            let taps = p.inner * down * right;
            let tap = |block: &[usize]| tap_cost(isa, block[1] - block[0], vectors * rows * columns);
            let products = taps * blocks.windows(2).map(tap).sum::<usize>();
            unit += product(isa) * products as f64 + PIECE * (blocks.len() - 1) as f64;
            listed += taps;
        }
    }
    unit += TURNED * (vectors * (p.inner * p.plane + p.outer * p.count())) as f64;
    let units = batch.div_ceil(vectors * full) * p.groups;
    let weights = p.groups * p.inner * p.outer * p.kernel_w * kinds(0).map(|k| k.1).sum::<usize>();
    if weights * size_of::<T>() > WEIGHTS {
        return f64::INFINITY;
    }
    let threads = par::threads_for(units, (work / p.groups).saturating_mul(vectors * full), ASSUMED);
    START
        + if threads > 1 { THREADS } else { 0.0 }
        + units.div_ceil(threads) as f64 * unit
        + WEIGHT * weights as f64
        + LISTED * (listed + vectors * p.count()) as f64
}

/// The columns of the kernel in an order in which those that a kind of column sees follow each other: it sees each of them, or
/// because of a stride every second or third.
fn order(p: &Positions) -> Vec<usize> {
    let step = p.kinds[1].iter().find(|kind| kind.len() > 1).map_or(1, |kind| kind[1].0 - kind[0].0);
    (0..step).flat_map(|first| (first..p.kernel_w).step_by(step)).collect()
}

/// Weights `[group][block of rows][kind of row][column][row][channel][row of the block]`.
fn pack<T: Float>(isa: Isa, p: &Positions, w: &[T]) -> Buffer<T> {
    let (starts, order) = (blocks(isa, p.outer), order(p));
    let of_group = starts.len() - 1;
    let per_row = p.inner * p.kernel_w * p.kinds[0].iter().map(Vec::len).sum::<usize>();
    let mut packed: Buffer<T> = Buffer::unfilled(p.groups * p.outer * per_row);
    let to = Shared(packed.make_mut().as_mut_ptr());
    par::for_each_range(p.groups * of_group, 4 * p.outer * per_row / of_group, |range| {
        for item in range {
            let (group, first) = (item / of_group, starts[item % of_group]);
            let count = starts[item % of_group + 1] - first;
            assert!((group * p.outer + first + count) * per_row <= p.groups * p.outer * per_row, "the weights fit");
            // SAFETY: this stretch is inside of the buffer and belongs to this block alone.
            let to = unsafe {
                std::slice::from_raw_parts_mut(to.get().add((group * p.outer + first) * per_row), count * per_row)
            };
            let mut to = to.chunks_exact_mut(count);
            let w = &w[group * p.outer * p.inner * p.kernel + first * p.row..];
            for of_row in &p.kinds[0] {
                for &s in &order {
                    for &(r, _) in of_row {
                        for (c, to) in (0..p.inner).zip(to.by_ref()) {
                            let from = w[c * p.channel + r * p.kernel_w + s..].iter().step_by(p.row);
                            to.iter_mut().zip(from).for_each(|(to, &w)| *to = w);
                        }
                    }
                }
            }
        }
    });
    packed
}

/// The kinds, and offsets: all taps, then where the vectors of positions begin in the source, and in the results.
fn list(p: &Positions, vectors: usize, full: usize) -> (Vec<Kind>, Buffer<i64>, usize) {
    let (order, [rows, columns]) = (order(p), &p.kinds);
    let listed = |axis: usize| p.kinds[axis].iter().map(Vec::len).sum::<usize>();
    let (taps, all) = (p.inner * listed(0) * listed(1), vectors * p.count());
    let mut offsets = Buffer::unfilled(taps + 2 * all);
    let (to_taps, rest) = offsets.make_mut().split_at_mut(taps);
    let (from, to) = rest.split_at_mut(all);
    let (mut kinds, mut tap, mut vector, mut weights) = (Vec::with_capacity(rows.len() * columns.len()), 0, 0, 0);
    for (row_kind, of_row) in rows.iter().enumerate() {
        for (column_kind, of_column) in columns.iter().enumerate() {
            let first = of_column.first().map_or(0, |s| order.iter().position(|o| *o == s.0).unwrap_or(0));
            let (first_tap, first_vector) = (tap, vector);
            for &(_, right) in of_column {
                for &(_, down) in of_row {
                    for c in 0..p.inner {
                        to_taps[tap] = ((c * p.plane + down * p.source_w + right) * full) as i64;
                        tap += 1;
                    }
                }
            }
            for v in 0..vectors {
                for (i, &(_, top)) in p.axes[0].iter().enumerate().filter(|a| a.1.0 == row_kind) {
                    for (j, &(_, left)) in p.axes[1].iter().enumerate().filter(|a| a.1.0 == column_kind) {
                        from[vector] = ((v * p.inner * p.plane + top * p.source_w + left) * full) as i64;
                        to[vector] = ((v * p.outer * p.count() + i * p.axes[1].len() + j) * full) as i64;
                        vector += 1;
                    }
                }
            }
            kinds.push(Kind {
                weights: weights + first * of_row.len() * p.inner,
                taps: (first_tap, tap - first_tap),
                vectors: (first_vector, (vector - first_vector) / vectors),
            });
        }
        weights += p.kernel_w * of_row.len() * p.inner;
    }
    (kinds, offsets, taps)
}

/// Computes the result of all images.
pub(crate) fn run<T: Float>(
    isa: Isa,
    p: &Positions,
    batch: usize,
    x: &[T],
    w: &[T],
    epilogue: Epilogue<T>,
    y: &mut [T],
) {
    let (full, out) = (lanes::<T>(isa), p.count());
    let vectors = together::<T>(isa, p, batch, par::num_threads());
    let (source, result) = (p.inner * p.plane, p.outer * out);
    assert_eq!(x.len(), batch * p.groups * source, "the source has its size");
    assert_eq!(y.len(), batch * p.groups * result, "the result has its size");
    assert_eq!(w.len(), p.groups * p.outer * p.inner * p.kernel, "there are weights");
    let (packed, starts) = (pack(isa, p, w), blocks(isa, p.outer));
    let (kinds, offsets, taps) = list(p, vectors, full);
    let (from, to) = offsets[taps..].split_at(vectors * out);
    let per_row = packed.len() / (p.groups * p.outer);
    let bunches = batch.div_ceil(vectors * full);
    let y = Shared(y.as_mut_ptr());
    let work = (2 * p.inner * p.kernel * result).saturating_mul(vectors * full);
    par::for_each_range(bunches * p.groups, work, |range| {
        // Places of images that are not there are computed too, and dropped.
        let mut images = Buffer::zeroed(vectors * source * full);
        let mut results = Buffer::unfilled(vectors * result * full);
        for unit in range {
            let (first, group) = (unit / p.groups * vectors * full, unit % p.groups);
            let count = (vectors * full).min(batch - first);
            let used = count.div_ceil(full);
            for (v, to) in images.make_mut().chunks_exact_mut(source * full).enumerate().take(used) {
                let from = &x[((first + v * full) * p.groups + group) * source..];
                transpose(isa, (full.min(count - v * full), source), from, p.groups * source, to, full);
            }
            let sums = results.make_mut();
            for kind in &kinds {
                for rows in starts.windows(2) {
                    let (first, count) = (rows[0], rows[1] - rows[0]);
                    let channel = group * p.outer + first;
                    let weights = &packed[channel * per_row + kind.weights * count..][..kind.taps.1 * count];
                    let sweep = Sweep {
                        x: images.as_ptr(),
                        from: from[kind.vectors.0..].as_ptr(),
                        y: sums[first * out * full..].as_mut_ptr(),
                        to: to[kind.vectors.0..].as_ptr(),
                        vectors: used * kind.vectors.1,
                        taps: offsets[kind.taps.0..].as_ptr(),
                        tap_count: kind.taps.1,
                        w: weights.as_ptr(),
                        start: match epilogue.bias {
                            Some(bias) => Start::Bias(bias[channel..channel + count].as_ptr()),
                            None => Start::Zero,
                        },
                        relu: epilogue.relu,
                        row: out * full,
                        narrow: false,
                    };
                    // SAFETY: the set comes from detection. Each tap of each position is inside of the planes of its images, the
                    // weights of the block are there for all taps, and the results have a vector for each position and row.
                    unsafe { sweep.run(isa, count) };
                }
            }
            for (v, sums) in results.chunks_exact(result * full).enumerate().take(used) {
                // SAFETY: the planes of this group of these images belong to this unit alone.
                unsafe {
                    let to = y.get().add(((first + v * full) * p.groups + group) * result);
                    let size = (result, full.min(count - v * full));
                    transpose_to(isa, size, sums, full, to, p.groups * result);
                }
            }
        }
    });
}
