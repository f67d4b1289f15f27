//! Convolution forward and backward-data: broadcast tiles over shifted pixels.
//!
//! The plain loop, for one image in planes (`planes`): `y[k][i][j] = bias[k] + sum over taps t of w[t][k] * plane[tap[t] + i*pitch + j]`.
//! Backward-data is the same sum over the padded gradient with the taps mirrored: for stride 1 in one part; for larger strides in
//! one part for each residue of the input position, each with the taps that meet it, whose results are interleaved.
//!
//! The tricks: vectors run along rows of outputs if these are wide enough (the last one overlaps), else along the rows of the
//! planes with the gaps between outputs computed for nothing and dropped; whatever wastes fewer lanes, with full or half vectors.
//! Weights are packed once per call, so that a tile reads them in order.

use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::planes::{Axis, Planes, copy};
use crate::tile::{Start, Sweep, blocks};

/// Outputs that are computed by one set of taps: a grid of rows and columns.
struct Part {
    rows: usize,
    columns: usize,
    /// Where the grid begins in the planes.
    base: usize,
    /// The kernel elements of the part and their offsets in the planes of a channel.
    elements: Vec<(usize, usize)>,
    /// First output and distance between outputs, down and right.
    place: [(usize, usize); 2],
    tiling: Tiling,
    /// Offsets of all taps.
    taps: Buffer<i64>,
    /// Where the weights of the part begin.
    weights: usize,
}

/// How the grid of a part is cut into vectors.
struct Tiling {
    /// For each vector where it begins in the planes, then for each where it begins in the result.
    offsets: Buffer<i64>,
    vectors: usize,
    narrow: bool,
    /// Elements between rows of the result, if it goes to scratch memory first.
    scratch: Option<usize>,
    /// Elements that are read beyond the last output.
    overrun: usize,
}

impl Tiling {
    /// Vectors for a grid in planes of the given pitch; `direct` if the outputs lie in rows of a result of width `out`.
    fn new<T: Float>(isa: Isa, rows: usize, columns: usize, pitch: usize, direct: Option<usize>) -> Tiling {
        let full = lanes::<T>(isa);
        let half = if isa == Isa::Portable { full } else { full / 2 };
        let length = (rows - 1) * pitch + columns;
        // A flat result needs no second copy if it has no gaps.
        let dense = rows == 1 || (pitch == columns && direct == Some(pitch));
        let mut best = (usize::MAX, false, false);
        for (narrow, lanes) in [(false, full), (true, half)] {
            if columns >= lanes {
                let cost = 32 * rows * columns.div_ceil(lanes) * lanes;
                best = best.min((cost, narrow, false));
            }
            let cost = (if dense { 32 } else { 34 }) * length.div_ceil(lanes) * lanes;
            best = best.min((cost, narrow, true));
        }
        let (_, narrow, flat) = best;
        let lanes = if narrow { half } else { full };
        let (lines, line, from_pitch) = if flat { (1, length, 0) } else { (rows, columns, pitch) };
        let short = length < lanes;
        let scratch = match direct {
            Some(_) if (dense || !flat) && !short => None,
            _ => Some(if flat { pitch } else { columns }),
        };
        let to_pitch = scratch.or(direct).unwrap_or(0);
        let per_line = line.div_ceil(lanes);
        let vectors = lines * per_line;
        let mut offsets = Buffer::unfilled(2 * vectors);
        let (from, to) = offsets.make_mut().split_at_mut(vectors);
        for i in 0..lines {
            for j in 0..per_line {
                let at = (j * lanes).min(line.saturating_sub(lanes));
                from[i * per_line + j] = (i * from_pitch + at) as i64;
                to[i * per_line + j] = (i * to_pitch + at) as i64;
            }
        }
        Tiling { offsets, vectors, narrow, scratch, overrun: lanes.saturating_sub(length) }
    }

    /// Elements of scratch memory for one row of a block.
    fn scratch_len(&self, rows: usize) -> usize {
        self.scratch.map_or(0, |pitch| rows * pitch + self.overrun)
    }
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

/// How the weights of a convolution are addressed: `w[group*G + row*R + inner*I + element]`.
struct WeightStrides {
    group: usize,
    row: usize,
    inner: usize,
}

/// A convolution over planes.
struct Plan<'a, T> {
    isa: Isa,
    batch: usize,
    groups: usize,
    /// Input channels of a group.
    inner: usize,
    /// Output channels of a group.
    rows: usize,
    /// Where the blocks of a group's rows begin, and where they end.
    blocks: Vec<usize>,
    planes: Planes,
    parts: Vec<Part>,
    source: &'a [T],
    bias: Option<&'a [T]>,
    /// Elements of an output plane.
    out_plane: usize,
    out_width: usize,
    /// Operations for an image.
    work: usize,
}

/// [`crate::conv::conv2d`] for a geometry with something to compute.
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], bias: Option<&[T]>, y: &mut [T]) {
    let rows = Axis::slid(g.in_h, g.padding.0, g.kernel_h, g.dilation.0, g.stride.0, g.out_h);
    let columns = Axis::slid(g.in_w, g.padding.2, g.kernel_w, g.dilation.1, g.stride.1, g.out_w);
    // An image in place must hold at least one vector.
    let planes = Planes::new(g.in_channels, rows, columns, (g.out_h - 1) * g.in_w + g.out_w >= lanes::<T>(isa));
    let elements = (0..g.kernel_h * g.kernel_w)
        .map(|e| (e, planes.tap(e / g.kernel_w * g.dilation.0, e % g.kernel_w * g.dilation.1)))
        .collect();
    let part = Part {
        rows: g.out_h,
        columns: g.out_w,
        base: 0,
        elements,
        place: [(0, 1), (0, 1)],
        tiling: Tiling::new::<T>(isa, g.out_h, g.out_w, planes.pitch, Some(g.out_w)),
        taps: Buffer::unfilled(0),
        weights: 0,
    };
    let kernel = g.kernel_h * g.kernel_w;
    let group = g.group_out() * g.group_in() * kernel;
    let plan = Plan {
        isa,
        batch: g.batch,
        groups: g.groups,
        inner: g.group_in(),
        rows: g.group_out(),
        blocks: blocks(isa, g.group_out()),
        planes,
        parts: vec![part],
        source: x,
        bias,
        out_plane: g.out_h * g.out_w,
        out_width: g.out_w,
        work: g.work(),
    };
    plan.run(w, WeightStrides { group, row: g.group_in() * kernel, inner: kernel }, y);
}

/// One residue of positions along an axis of the input.
struct Residue {
    /// First position in the input, and how many there are.
    first: usize,
    count: usize,
    /// The first position in steps of the stride from the start of the padding.
    step: usize,
    residue: usize,
}

/// The residues along an axis of the input that hold any position.
fn residues(size: usize, before: usize, stride: usize) -> Vec<Residue> {
    let all = (0..stride.min(size)).map(|first| {
        let count = (size - first).div_ceil(stride);
        Residue { first, count, step: (first + before) / stride, residue: (first + before) % stride }
    });
    all.collect()
}

/// The axis of the gradient that the residues read, for a largest tap of `reach` steps.
fn gradient_axis(all: &[Residue], reach: usize, out: usize) -> Axis {
    let low = all.iter().map(|r| r.step).min().unwrap_or(0);
    let high = all.iter().map(|r| r.step + r.count).max().unwrap_or(0);
    // Position 0 of a plane is the gradient at low - reach.
    let before = reach as isize - low as isize;
    Axis { size: out, before, stride: 1, residues: vec![0], len: high - low + reach }
}

/// [`crate::conv::conv2d_input`] for a geometry with something to compute.
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let (down, right) = (residues(g.in_h, g.padding.0, g.stride.0), residues(g.in_w, g.padding.2, g.stride.1));
    let (kernel_h, kernel_w) = (g.kernel_h, g.kernel_w);
    let reach_h = (kernel_h - 1) * g.dilation.0 / g.stride.0;
    let reach_w = (kernel_w - 1) * g.dilation.1 / g.stride.1;
    let rows = gradient_axis(&down, reach_h, g.out_h);
    let columns = gradient_axis(&right, reach_w, g.out_w);
    let low = |all: &[Residue]| all.iter().map(|r| r.step).min().unwrap_or(0);
    let (low_h, low_w) = (low(&down), low(&right));
    let unit = g.stride == (1, 1);
    let enough = unit && (g.in_h - 1) * g.out_w + g.in_w >= lanes::<T>(isa);
    let planes = Planes::new(g.out_channels, rows, columns, enough);
    let mut parts = Vec::with_capacity(down.len() * right.len());
    for a in &down {
        for b in &right {
            let meets = |e: &usize| {
                (e / kernel_w * g.dilation.0) % g.stride.0 == a.residue
                    && (e % kernel_w * g.dilation.1) % g.stride.1 == b.residue
            };
            let offset = |e: usize| {
                let back_h = e / kernel_w * g.dilation.0 / g.stride.0;
                let back_w = e % kernel_w * g.dilation.1 / g.stride.1;
                (e, (reach_h - back_h) * planes.pitch + reach_w - back_w)
            };
            let out = if unit { Some(g.in_w) } else { None };
            parts.push(Part {
                rows: a.count,
                columns: b.count,
                base: (a.step - low_h) * planes.pitch + b.step - low_w,
                elements: (0..kernel_h * kernel_w).filter(meets).map(offset).collect(),
                place: [(a.first, g.stride.0), (b.first, g.stride.1)],
                tiling: Tiling::new::<T>(isa, a.count, b.count, planes.pitch, out),
                taps: Buffer::unfilled(0),
                weights: 0,
            });
        }
    }
    let kernel = kernel_h * kernel_w;
    let group = g.group_out() * g.group_in() * kernel;
    let plan = Plan {
        isa,
        batch: g.batch,
        groups: g.groups,
        inner: g.group_out(),
        rows: g.group_in(),
        blocks: blocks(isa, g.group_in()),
        planes,
        parts,
        source: gy,
        bias: None,
        out_plane: g.in_h * g.in_w,
        out_width: g.in_w,
        work: g.work(),
    };
    plan.run(w, WeightStrides { group, row: kernel, inner: g.group_in() * kernel }, gx);
}

impl<T: Float> Plan<'_, T> {
    /// Computes all outputs into `y`.
    fn run(mut self, w: &[T], strides: WeightStrides, y: &mut [T]) {
        let channel = self.planes.channel();
        let mut weights = 0;
        for part in &mut self.parts {
            let mut taps = Buffer::unfilled(self.inner * part.elements.len());
            for (c, taps) in taps.make_mut().chunks_exact_mut(part.elements.len().max(1)).enumerate() {
                taps.iter_mut().zip(&part.elements).for_each(|(t, e)| *t = (c * channel + e.1) as i64);
            }
            part.taps = taps;
            part.weights = weights;
            weights += self.groups * self.rows * self.inner * part.elements.len();
        }
        let mut packed = Buffer::unfilled(weights);
        self.pack(w, &strides, packed.make_mut());
        self.sweep(&packed, y);
    }

    /// The rows of block `b` of all blocks: the group and the rows in it.
    fn rows_of(&self, b: usize) -> (usize, std::ops::Range<usize>) {
        let count = self.blocks.len() - 1;
        (b / count, self.blocks[b % count]..self.blocks[b % count + 1])
    }

    /// Brings the weights into the order in which the tiles read them: part, block of rows, channel, element, row.
    fn pack(&self, w: &[T], strides: &WeightStrides, packed: &mut [T]) {
        let blocks = self.groups * (self.blocks.len() - 1);
        let len = packed.len();
        let to = Shared(packed.as_mut_ptr());
        par::for_each_range(blocks, 4 * len / blocks.max(1), |range| {
            for part in &self.parts {
                let taps = self.inner * part.elements.len();
                for b in range.clone() {
                    let (group, rows) = self.rows_of(b);
                    let at = part.weights + (group * self.rows + rows.start) * taps;
                    assert!(at + taps * rows.len() <= len, "the weights fit");
                    // SAFETY: this stretch is inside of the slice and belongs to block b alone.
                    let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at), taps * rows.len()) };
                    let mut lines = to.chunks_exact_mut(rows.len());
                    for c in 0..self.inner {
                        let w = &w[group * strides.group + rows.start * strides.row + c * strides.inner..];
                        for (&(element, _), line) in part.elements.iter().zip(&mut lines) {
                            line.iter_mut().enumerate().for_each(|(k, to)| *to = w[k * strides.row + element]);
                        }
                    }
                }
            }
        });
    }

    /// Runs the tiles, over images and, if these are few, over blocks of rows.
    fn sweep(&self, packed: &[T], y: &mut [T]) {
        let blocks = self.groups * (self.blocks.len() - 1);
        let threads = par::num_threads();
        let splits = if self.batch >= 2 * threads { 1 } else { (2 * threads).div_ceil(self.batch).min(blocks) };
        let out_image = self.groups * self.rows * self.out_plane;
        assert_eq!(y.len(), self.batch * out_image, "the result has its size");
        let y = Shared(y.as_mut_ptr());
        let overrun = self.parts.iter().map(|p| p.tiling.overrun).max().unwrap_or(0);
        let scratch_row = self.parts.iter().map(|p| p.tiling.scratch_len(p.rows)).max().unwrap_or(0);
        par::for_each_range(self.batch * splits, self.work / splits, |range| {
            let room = if self.planes.in_place { 0 } else { self.planes.channels * self.planes.channel() + overrun };
            let mut copied = Buffer::zeroed(room);
            let copied = copied.make_mut();
            let mut scratch = Buffer::unfilled(scratch_row * crate::tile::MAX_ROWS);
            let scratch = scratch.make_mut();
            for unit in range {
                let (n, split) = (unit / splits, unit % splits);
                let image_len = self.planes.channels * self.planes.rows.size * self.planes.columns.size;
                let image = &self.source[n * image_len..][..image_len];
                let mine = split * blocks / splits..(split + 1) * blocks / splits;
                let planes = if self.planes.in_place {
                    image.as_ptr()
                } else {
                    let first = self.rows_of(mine.start).0;
                    let groups = self.rows_of(mine.end - 1).0 + 1 - first;
                    let from = first * self.inner * self.planes.rows.size * self.planes.columns.size;
                    let to = first * self.inner * self.planes.channel();
                    self.planes.fill(self.isa, groups * self.inner, &image[from..], &mut copied[to..]);
                    copied.as_ptr()
                };
                for part in &self.parts {
                    for b in mine.clone() {
                        let (group, rows) = self.rows_of(b);
                        let channel = group * self.rows + rows.start;
                        // SAFETY: the unit alone writes these channels of image n, which are inside of y.
                        unsafe {
                            let y = y.get().add(n * out_image + channel * self.out_plane);
                            let x = planes.add(group * self.inner * self.planes.channel());
                            self.block(part, x, packed, channel, rows.len(), scratch, y);
                        }
                    }
                }
            }
        });
    }

    /// Computes one block of rows of a part from the planes at `x` to the output planes at `y`.
    ///
    /// # Safety
    /// The planes of the group lie at `x` and the output planes of the block at `y`, which nobody else uses.
    #[allow(clippy::too_many_arguments)]
    unsafe fn block(
        &self,
        part: &Part,
        x: *const T,
        packed: &[T],
        channel: usize,
        rows: usize,
        scratch: &mut [T],
        y: *mut T,
    ) {
        let tiling = &part.tiling;
        let row = tiling.scratch_len(part.rows);
        assert!(tiling.scratch.is_none() || rows * row <= scratch.len(), "there is scratch memory");
        let direct = tiling.scratch.is_none();
        let start = match self.bias {
            Some(bias) => Start::Bias(bias[channel..channel + rows].as_ptr()),
            None => Start::Zero,
        };
        let w = &packed[part.weights + channel * part.taps.len()..][..rows * part.taps.len()];
        let sweep = Sweep {
            // SAFETY: the base of a part is inside of the planes.
            x: unsafe { x.add(part.base) },
            from: tiling.offsets.as_ptr(),
            y: if direct { y } else { scratch.as_mut_ptr() },
            to: tiling.offsets[tiling.vectors..].as_ptr(),
            vectors: tiling.vectors,
            taps: part.taps.as_ptr(),
            tap_count: part.taps.len(),
            w: w.as_ptr(),
            start,
            row: if direct { self.out_plane } else { row },
            narrow: tiling.narrow,
        };
        // SAFETY: the set comes from detection. Each vector with each tap lies inside of the planes and what was added to them
        // for vectors that are longer than the grid; each vector of the result lies inside of y or of the scratch memory.
        unsafe { sweep.run(self.isa, rows) };
        let Some(pitch) = tiling.scratch else { return };
        let [(top, down), (left, right)] = part.place;
        for k in 0..rows {
            // SAFETY: the outputs of the part are inside of the plane of the channel, and what is read was written above.
            unsafe {
                let from = scratch.as_ptr().add(k * row);
                let to = y.add(k * self.out_plane + top * self.out_width + left);
                let spread = Spread {
                    from,
                    pitch,
                    rows: part.rows,
                    columns: part.columns,
                    to,
                    row: down * self.out_width,
                    step: right,
                };
                T::simd(self.isa, spread);
            }
        }
    }
}

/// Moves a grid from scratch memory to its place.
struct Spread<T> {
    from: *const T,
    pitch: usize,
    rows: usize,
    columns: usize,
    to: *mut T,
    row: usize,
    step: usize,
}

impl<T: Float> SimdBody<T> for Spread<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        for i in 0..self.rows {
            // SAFETY: the caller's promise: both grids are inside of their memory.
            unsafe {
                let (from, to) = (self.from.add(i * self.pitch), self.to.add(i * self.row));
                if self.step == 1 {
                    copy::<S, H>(from, to, self.columns);
                } else {
                    for j in 0..self.columns {
                        *to.add(j * self.step) = *from.add(j);
                    }
                }
            }
        }
    }
}
