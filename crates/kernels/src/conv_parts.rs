//! How the outputs of a convolution are divided: into parts by the taps that meet them, bands of rows, and vectors.
//!
//! A *part* is a grid of outputs with the same elements of the kernel: all outputs going forward, one residue of the position
//! modulo the stride going backward. A *band* is some of its rows: near the upper and lower edge whole rows of the kernel see only
//! padding and are left out. The *tiling* of a band are the vectors that cover it: along rows of outputs if these are wide
//! enough (the last one overlaps), else along the rows of the planes, with the gaps between outputs computed for nothing and
//! dropped; whatever wastes fewer lanes, with full or half vectors.

use crate::buffer::Buffer;
use crate::isa::{Isa, half_cost};
use std::ops::Range;

/// An element of the kernel as a part sees it.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    /// Its number in the kernel.
    pub(crate) index: usize,
    /// Its row in the kernel.
    pub(crate) kernel_row: usize,
    /// Its offset in the planes of a channel.
    pub(crate) offset: usize,
    /// Rows down in its plane.
    pub(crate) down: usize,
    /// The rows of its plane that are inside of the image.
    pub(crate) inside: Range<usize>,
}

/// Outputs that are computed by one set of taps: a grid of rows and columns.
#[derive(Debug)]
pub(crate) struct Part {
    rows: usize,
    /// Outputs in a row.
    pub(crate) columns: usize,
    /// Row and column of the planes at which the grid begins.
    pub(crate) base: (usize, usize),
    pub(crate) elements: Vec<Element>,
    /// Elements whose taps follow each other for all channels.
    pub(crate) groups: Vec<Range<usize>>,
    /// First output and distance between outputs, down and right.
    pub(crate) place: [(usize, usize); 2],
    pub(crate) bands: Vec<Band>,
    /// Offsets of all taps: group, channel, element.
    pub(crate) taps: Buffer<i64>,
    /// Where the weights of the part begin.
    pub(crate) weights: usize,
}

/// Rows of a part with the elements that see anything there.
#[derive(Debug)]
pub(crate) struct Band {
    pub(crate) rows: Range<usize>,
    pub(crate) elements: Range<usize>,
    pub(crate) tiling: Tiling,
    /// The share of the part that it belongs to.
    pub(crate) share: usize,
}

/// Vectors over a band.
#[derive(Debug)]
pub(crate) struct Tiling {
    pub(crate) narrow: bool,
    /// Elements between rows of the result, if it goes to scratch memory first.
    pub(crate) scratch: Option<usize>,
    /// Elements that are read beyond the last output.
    pub(crate) overrun: usize,
    /// Vectors of an image.
    pub(crate) vectors: usize,
    /// For each vector where it begins in the planes, then for each where it begins in the result.
    pub(crate) offsets: Buffer<i64>,
    rows: usize,
    lines: usize,
    /// Elements of a line, and between lines in the planes and in the result.
    line: usize,
    pitch: (usize, usize),
    lanes: usize,
    /// A measure of the time per tap.
    cost: usize,
}

/// Elements in a full vector.
pub(crate) fn lanes<T>(isa: Isa) -> usize {
    let bytes = match isa {
        Isa::Portable => 16,
        Isa::Avx2 => 32,
        Isa::Avx512 => 64,
    };
    bytes / size_of::<T>()
}

impl Tiling {
    /// Vectors for a grid in planes of the given pitch; `direct` if the outputs lie in rows of a result of that width.
    pub(crate) fn new<T>(isa: Isa, rows: usize, columns: usize, pitch: usize, direct: Option<usize>) -> Tiling {
        let full = lanes::<T>(isa);
        let half = if isa == Isa::Portable { full } else { full / 2 };
        let length = (rows - 1) * pitch + columns;
        // A flat result needs no second copy if it has no gaps.
        let dense = rows == 1 || (pitch == columns && direct == Some(pitch));
        let mut best = (usize::MAX, false, false);
        for (narrow, lanes) in [(false, full), (true, half)] {
            let vector = if narrow { lanes * half_cost(isa) } else { lanes };
            if columns >= lanes {
                best = best.min((32 * rows * columns.div_ceil(lanes) * vector, narrow, false));
            }
            let cost = if dense { 32 } else { 34 };
            best = best.min((cost * length.div_ceil(lanes) * vector, narrow, true));
        }
        let (cost, narrow, flat) = best;
        let lanes = if narrow { half } else { full };
        let (lines, line, from_pitch) = if flat { (1, length, 0) } else { (rows, columns, pitch) };
        let short = length < lanes;
        let scratch = match direct {
            Some(_) if (dense || !flat) && !short => None,
            _ => Some(if flat { pitch } else { columns }),
        };
        let to_pitch = scratch.or(direct).unwrap_or(0);
        Tiling {
            narrow,
            scratch,
            overrun: lanes.saturating_sub(length),
            vectors: lines * line.div_ceil(lanes),
            offsets: Buffer::unfilled(0),
            rows,
            lines,
            line,
            pitch: (from_pitch, to_pitch),
            lanes,
            cost,
        }
    }

    /// What a tap costs, in products of full vectors.
    pub(crate) fn products<T>(&self, isa: Isa) -> f64 {
        self.cost as f64 / (32 * lanes::<T>(isa)) as f64
    }

    /// Elements of scratch memory for one channel of an image.
    pub(crate) fn scratch_len(&self) -> usize {
        self.scratch.map_or(0, |pitch| self.rows * pitch + self.overrun)
    }

    /// Fills in the offsets for some images, which are so far apart in the planes and in the result.
    pub(crate) fn place(&mut self, images: usize, from_image: usize, to_image: usize) {
        let mut offsets = Buffer::unfilled(2 * images * self.vectors);
        let (from, to) = offsets.make_mut().split_at_mut(images * self.vectors);
        let per_line = self.vectors / self.lines;
        let mut places = from.iter_mut().zip(to);
        for image in 0..images {
            for line in 0..self.lines {
                for (i, (from, to)) in places.by_ref().take(per_line).enumerate() {
                    let at = (i * self.lanes).min(self.line.saturating_sub(self.lanes));
                    *from = (image * from_image + line * self.pitch.0 + at) as i64;
                    *to = (image * to_image + line * self.pitch.1 + at) as i64;
                }
            }
        }
        self.offsets = offsets;
    }
}

impl Part {
    /// A part of at least one output: its size, where it begins in planes of a pitch, its elements in the order of the
    /// kernel, and where its outputs belong; `direct` if these are rows of a result of that width.
    pub(crate) fn new<T>(
        isa: Isa,
        size: (usize, usize),
        base: (usize, usize),
        pitch: usize,
        elements: Vec<Element>,
        place: [(usize, usize); 2],
        direct: Option<usize>,
    ) -> Part {
        let (rows, columns) = size;
        let tiling = |rows: usize| Tiling::new::<T>(isa, rows, columns, pitch, direct);
        let all = tiling(rows);
        let (groups, cut) = cut(rows, base.0, &elements);
        let band = |(rows, elements): (Range<usize>, _)| Band { tiling: tiling(rows.len()), rows, elements, share: 0 };
        let bands: Vec<Band> = cut.into_iter().map(band).collect();
        let cost: usize = bands.iter().map(|b| b.tiling.cost * b.elements.len()).sum();
        let whole = all.cost * elements.len();
        // Bands must save more than they cost in calls.
        let (groups, bands) = if cost * 16 < whole * 15 {
            (groups, bands)
        } else {
            let every = 0..elements.len();
            (vec![every.clone()], vec![Band { rows: 0..rows, elements: every, tiling: all, share: 0 }])
        };
        Part { rows, columns, base, elements, groups, place, bands, taps: Buffer::unfilled(0), weights: 0 }
    }

    /// The rows of one of some shares.
    pub(crate) fn share(&self, share: usize, shares: usize) -> Range<usize> {
        share * self.rows / shares..(share + 1) * self.rows / shares
    }

    /// Divides the bands where shares of the rows begin; the pitch and the result are those that it was made with.
    pub(crate) fn divide<T>(&mut self, isa: Isa, pitch: usize, direct: Option<usize>, shares: usize) {
        let mut bands = Vec::with_capacity(self.bands.len() + shares);
        for share in 0..shares {
            let mine = self.share(share, shares);
            for band in &self.bands {
                let rows = band.rows.start.max(mine.start)..band.rows.end.min(mine.end);
                if !rows.is_empty() {
                    let tiling = Tiling::new::<T>(isa, rows.len(), self.columns, pitch, direct);
                    bands.push(Band { rows, elements: band.elements.clone(), tiling, share });
                }
            }
        }
        self.bands = bands;
    }

    /// The rows of its planes that a share reads.
    pub(crate) fn read(&self, share: usize, shares: usize) -> Range<usize> {
        let rows = self.share(share, shares);
        let down = || self.elements.iter().map(|e| e.down);
        match (down().min(), down().max()) {
            (Some(least), Some(most)) if !rows.is_empty() => {
                self.base.0 + rows.start + least..self.base.0 + rows.end + most
            }
            _ => 0..0,
        }
    }
}

/// The rows of the kernel as groups of elements, and bands of rows with the elements that are inside of the image in any of them.
#[allow(clippy::type_complexity)]
fn cut(rows: usize, base: usize, elements: &[Element]) -> (Vec<Range<usize>>, Vec<(Range<usize>, Range<usize>)>) {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (i, e) in elements.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if elements[group.start].kernel_row == e.kernel_row => group.end = i + 1,
            _ => groups.push(i..i + 1),
        }
    }
    let seen = |group: &Range<usize>| {
        let e = &elements[group.start];
        let row = |plane_row: usize| plane_row.saturating_sub(base + e.down).min(rows);
        row(e.inside.start)..row(e.inside.end)
    };
    let mut cuts: Vec<usize> = groups.iter().map(seen).flat_map(|r| [r.start, r.end]).chain([0, rows]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut bands: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for c in cuts.windows(2) {
        let mut visible = groups.iter().filter(|g| seen(g).contains(&c[0]));
        let first = visible.next().cloned().unwrap_or(0..0);
        let range = first.start..visible.next_back().map_or(first.end, |last| last.end);
        match bands.last_mut() {
            Some((rows, elements)) if *elements == range => rows.end = c[1],
            _ => bands.push((c[0]..c[1], range)),
        }
    }
    (groups, bands)
}
