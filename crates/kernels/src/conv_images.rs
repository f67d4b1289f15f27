//! Convolution forward and backward-data of large batches: a vector is one pixel of several images.
//!
//! The plain loop, for each position p of the result and all images n at once: `y[k][p][n] = bias[k] + sum over the taps t that see the
//! image from p of w[t][k] * x[p + tap[t]][n]`; by input the same with the roles of channels exchanged and the taps that meet p.
//!
//! The tricks: a vector is full whatever the width of an image and the number of channels, and what a position does not see, because of
//! padding or of a stride, is left out (`conv_positions` names the kinds of positions). Images are transposed, some vectors of them
//! at a time or of large ones a band of rows, and their results are transposed back while they are in the cache. Tiles are those of
//! `tile`. Weights are packed once for each kind of row, the columns of the kernel outermost, so that those of a kind of column lie
//! side by side.

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_cost::{ASSUMED, THREADS, product};
use crate::conv_parts::lanes;
use crate::conv_positions::Positions;
use crate::element::Float;
use crate::isa::Isa;
use crate::par::{self, Shared};
use crate::tile::{Next, Start, Sweep, blocks, tap_cost};
use crate::transpose::{transpose, transpose_to};
use std::ops::Range;

/// Bytes of sources, and of results, of the images that go through the tiles together, and the most vectors of images.
const TOGETHER: usize = 256 << 10;
const MANY: usize = 4;
/// Bytes of a band of rows of the source and of the result for a vector of images, and the most of a single row.
const BAND: usize = 512 << 10;
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
    /// Their taps in the list of all.
    taps: (usize, usize),
}

/// Bands of rows of results, of equal size but for one row.
struct Bands {
    count: usize,
    /// The most rows of the source that a band sees, and of results that it has.
    seen: usize,
    tall: usize,
}

impl Bands {
    /// The rows of results of band `b`, and those of the source that they see.
    fn rows(&self, p: &Positions, b: usize) -> (Range<usize>, Range<usize>) {
        let all = p.axes[0].len();
        let rows = b * all / self.count..(b + 1) * all / self.count;
        let (mut first, mut end) = (usize::MAX, 0);
        for &(kind, top) in &p.axes[0][rows.clone()] {
            if let Some(down) = p.kinds[0][kind].iter().map(|s| s.1).max() {
                (first, end) = (first.min(top), end.max(top + down + 1));
            }
        }
        (rows, first.min(end)..end)
    }

    /// As few bands as fit into the cache and there are threads for, if there are so many units without bands; None if a row of
    /// results is too large.
    fn new<T>(isa: Isa, p: &Positions, vectors: usize, units: usize, threads: usize) -> Option<Bands> {
        let (all, line) = (p.axes[0].len(), lanes::<T>(isa) * size_of::<T>() * vectors);
        let bytes = |seen: usize, tall: usize| (p.inner * seen * p.source_w + p.outer * tall * p.axes[1].len()) * line;
        let least = threads.div_ceil(units).max(bytes(p.plane / p.source_w, all) / BAND).clamp(1, all);
        for count in least..=all {
            let mut bands = Bands { count, seen: 0, tall: all.div_ceil(count) };
            bands.seen = (0..count).map(|b| bands.rows(p, b).1.len()).max().unwrap_or(0).max(1);
            if bytes(bands.seen, bands.tall) <= if count == all { MOST } else { BAND } {
                return Some(bands);
            }
        }
        None
    }
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
    let fits = isa != Isa::Portable && size_of::<T>() == 4 && g.batch >= full;
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
    let (blocks, units) = (blocks(isa, p.outer), batch.div_ceil(vectors * full) * p.groups);
    let weights = p.groups * p.inner * p.outer * p.kernel_w * p.kinds[0].iter().map(Vec::len).sum::<usize>();
    let worth = par::threads_worth(work.saturating_mul(batch), ASSUMED);
    let Some(bands) = Bands::new::<T>(isa, p, vectors, units, worth) else { return f64::INFINITY };
    if weights * size_of::<T>() > WEIGHTS {
        return f64::INFINITY;
    }
    // Each kind of an axis: how many positions it has in a band, on average, and how many elements they see.
    let kinds = |axis: usize, bands: usize| {
        let count = move |kind: usize| p.axes[axis].iter().filter(|a| a.0 == kind).count().div_ceil(bands);
        p.kinds[axis].iter().enumerate().map(move |(kind, seen)| (count(kind), seen.len()))
    };
    // A single row of results waits for each vector of a band to come from the second-level cache.
    let loads = if p.outer == 1 && bands.count > 1 { 2.0 } else { 1.0 };
    let (mut unit, mut listed) = (0.0, 0);
    for (rows, down) in kinds(0, bands.count) {
        for (columns, right) in kinds(1, 1) {
            let taps = p.inner * down * right;
            let tap = |block: &[usize]| tap_cost(isa, block[1] - block[0], vectors * rows * columns);
            let products = taps * blocks.windows(2).map(tap).sum::<usize>();
            unit += loads * product(isa) * products as f64 + PIECE * (blocks.len() - 1) as f64;
            listed += taps;
        }
    }
    unit += TURNED * (vectors * (p.inner * bands.seen * p.source_w + p.outer * bands.tall * p.axes[1].len())) as f64;
    let units = units * bands.count;
    let threads = par::threads_for(units, work.saturating_mul(vectors * full) / (p.groups * bands.count), ASSUMED);
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

/// The kinds; offsets: all taps, then where the vectors of positions begin in the source, and in the results of their band; and of
/// each kind of each band the first vector, with the end of all.
fn list(p: &Positions, bands: &Bands, vectors: usize, full: usize) -> (Vec<Kind>, Buffer<i64>, Vec<usize>) {
    let (order, [rows, columns], across) = (order(p), &p.kinds, p.axes[1].len());
    let listed = |axis: usize| p.kinds[axis].iter().map(Vec::len).sum::<usize>();
    let (taps, all) = (p.inner * listed(0) * listed(1), vectors * p.count());
    let mut offsets = Buffer::unfilled(taps + 2 * all);
    let (to_taps, rest) = offsets.make_mut().split_at_mut(taps);
    let (from, to) = rest.split_at_mut(all);
    let (mut kinds, mut tap, mut weights) = (Vec::with_capacity(rows.len() * columns.len()), 0, 0);
    for of_row in rows {
        for of_column in columns {
            let first = of_column.first().map_or(0, |s| order.iter().position(|o| *o == s.0).unwrap_or(0));
            let first_tap = tap;
            for &(_, right) in of_column {
                for &(_, down) in of_row {
                    for c in 0..p.inner {
                        to_taps[tap] = (((c * bands.seen + down) * p.source_w + right) * full) as i64;
                        tap += 1;
                    }
                }
            }
            kinds.push(Kind { weights: weights + first * of_row.len() * p.inner, taps: (first_tap, tap - first_tap) });
        }
        weights += p.kernel_w * of_row.len() * p.inner;
    }
    let (mut starts, mut vector) = (Vec::with_capacity(bands.count * kinds.len() + 1), 0);
    for b in 0..bands.count {
        let (band, seen) = bands.rows(p, b);
        for kind in 0..kinds.len() {
            starts.push(vector);
            let of = |axis: usize, kind: usize| p.axes[axis].iter().enumerate().filter(move |a| a.1.0 == kind);
            for v in 0..vectors {
                for (i, &(_, top)) in of(0, kind / columns.len()).filter(|a| band.contains(&a.0)) {
                    let top = v * p.inner * bands.seen + top.saturating_sub(seen.start);
                    let row = v * p.outer * band.len() + i - band.start;
                    for (j, &(_, left)) in of(1, kind % columns.len()) {
                        from[vector] = ((top * p.source_w + left) * full) as i64;
                        to[vector] = ((row * across + j) * full) as i64;
                        vector += 1;
                    }
                }
            }
        }
    }
    starts.push(vector);
    (kinds, offsets, starts)
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
    let (full, out, across) = (lanes::<T>(isa), p.count(), p.axes[1].len());
    let vectors = together::<T>(isa, p, batch, par::num_threads());
    let (source, result) = (p.inner * p.plane, p.outer * out);
    assert_eq!(x.len(), batch * p.groups * source, "the source has its size");
    assert_eq!(y.len(), batch * p.groups * result, "the result has its size");
    assert_eq!(w.len(), p.groups * p.outer * p.inner * p.kernel, "there are weights");
    let (packed, blocks) = (pack(isa, p, w), blocks(isa, p.outer));
    let per_row = packed.len() / (p.groups * p.outer);
    let bunches = batch.div_ceil(vectors * full);
    let image = (2 * p.inner * p.kernel).saturating_mul(result);
    let worth = par::threads_worth(image.saturating_mul(p.groups * batch), par::num_threads());
    let bands = Bands::new::<T>(isa, p, vectors, bunches * p.groups, worth).expect("the cost is finite");
    let (kinds, offsets, starts) = list(p, &bands, vectors, full);
    let (from, to) = offsets[offsets.len() - 2 * vectors * out..].split_at(vectors * out);
    let y = Shared(y.as_mut_ptr());
    let work = image.saturating_mul(vectors * full) / bands.count;
    par::for_each_range(bunches * p.groups * bands.count, work, |range| {
        // Places of images that are not there are computed too, and dropped.
        let mut images = Buffer::zeroed(vectors * p.inner * bands.seen * p.source_w * full);
        let mut results = Buffer::unfilled(vectors * p.outer * bands.tall * across * full);
        for unit in range.clone() {
            let (bunch, group, b) = (unit / bands.count / p.groups, unit / bands.count % p.groups, unit % bands.count);
            let first = bunch * vectors * full;
            let count = (vectors * full).min(batch - first);
            let used = count.div_ceil(full);
            let (band, seen) = bands.rows(p, b);
            // Planes of which all is seen go at once.
            let planes = if bands.seen * p.source_w == p.plane && seen.start == 0 { p.inner } else { 1 };
            let size = (planes - 1) * p.plane + seen.len() * p.source_w;
            for (i, to) in images.make_mut().chunks_exact_mut(planes * bands.seen * p.source_w * full).enumerate() {
                let (v, c) = (i * planes / p.inner, i * planes % p.inner);
                if v < used {
                    let from = ((first + v * full) * p.groups + group) * source + c * p.plane + seen.start * p.source_w;
                    transpose(isa, (full.min(count - v * full), size), &x[from..], p.groups * source, to, full);
                }
            }
            let (sums, row) = (results.make_mut(), band.len() * across * full);
            // Where all of some images is computed at once, the next ones are asked for meanwhile.
            let (after, whole) = (first + count, p.groups * bands.count == 1 && unit + 1 < range.end);
            let coming = if whole { count.min(batch - after) } else { 0 };
            let places = (y.get().wrapping_add(after * result).cast_const(), coming * result);
            let sweeps = kinds.len() * (blocks.len() - 1);
            let mut next = Next::new(isa, &x[after * p.groups * source..][..coming * source], places, sweeps);
            for (i, kind) in kinds.iter().enumerate() {
                let (start, end) = (starts[b * kinds.len() + i], starts[b * kinds.len() + i + 1]);
                for rows in blocks.windows(2) {
                    let (first, count) = (rows[0], rows[1] - rows[0]);
                    let channel = group * p.outer + first;
                    let weights = &packed[channel * per_row + kind.weights * count..][..kind.taps.1 * count];
                    let vectors = (end - start) / vectors * used;
                    let sweep = Sweep {
                        x: images.as_ptr(),
                        from: from[start..].as_ptr(),
                        y: sums[first * row..].as_mut_ptr(),
                        to: to[start..].as_ptr(),
                        vectors,
                        taps: offsets[kind.taps.0..].as_ptr(),
                        tap_count: kind.taps.1,
                        w: weights.as_ptr(),
                        start: match epilogue.bias {
                            Some(bias) => Start::Bias(bias[channel..channel + count].as_ptr()),
                            None => Start::Zero,
                        },
                        relu: epilogue.relu,
                        row,
                        narrow: false,
                        ahead: next.share(isa, count, vectors, kind.taps.1),
                    };
                    // SAFETY: the set comes from detection. Each tap of each position is inside of the rows of its images that
                    // the band sees, the weights of the block are there for all taps, and the results have a vector for each
                    // position and row.
                    unsafe { sweep.run(isa, count) };
                }
            }
            let planes = if bands.count == 1 { p.outer } else { 1 };
            for (i, sums) in results[..used * p.outer * row].chunks_exact(planes * row).enumerate() {
                let (v, k) = (i * planes / p.outer, i * planes % p.outer);
                // SAFETY: these rows of the planes of this group of these images belong to this unit alone.
                unsafe {
                    let to = ((first + v * full) * p.groups + group) * result + k * out + band.start * across;
                    let size = (planes * band.len() * across, full.min(count - v * full));
                    transpose_to(isa, size, sums, full, y.get().add(to), p.groups * result);
                }
            }
        }
    });
}

/// The bands of one of the two passes.
#[cfg(test)]
pub(crate) fn bands<T>(isa: Isa, g: &ConvGeometry, backward: bool) -> usize {
    let p = if backward { Positions::backward(g) } else { Positions::forward(g) };
    let vectors = together::<T>(isa, &p, g.batch, ASSUMED);
    Bands::new::<T>(isa, &p, vectors, g.batch.div_ceil(vectors * lanes::<T>(isa)) * g.groups, 1).map_or(0, |b| b.count)
}
