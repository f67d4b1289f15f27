//! Convolution forward and backward-data: broadcast tiles over shifted pixels.
//!
//! The plain loop, for one image in planes (`planes`): `y[k][i][j] = bias[k] + sum over taps t of w[t][k] * plane[tap[t] + i*pitch + j]`.
//! Backward-data is the same sum over the padded gradient with the taps mirrored: for stride 1 in one part; for larger strides in
//! one part for each residue of the input position, each with the taps that meet it, whose results are interleaved
//! (`conv_parts`).
//!
//! The tricks: weights are packed once per call, so that a tile reads them in order. Small images go through the tiles several at
//! a time, so that there are enough vectors for a tile and large weights are read once for all of them; large ones that are read where
//! they lie some rows at a time, so that these stay in the cache for all blocks of output channels. Tiles ask for what follows.

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::{Band, Element, Part, lanes};
use crate::element::Float;
use crate::isa::{self, Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::planes::{Axis, Planes, copy};
use crate::tile::{Ahead, MAX_ROWS, Next, Start, Sweep, blocks};
use crate::transpose::transpose;
use std::ops::Range;

/// Vectors that a tile of any size can be filled with.
const FEW: usize = 6;
/// Vectors that large weights are worth being read for, and how many bytes are large.
const MANY: usize = 48;
const HEAVY: usize = 256 << 10;
/// Bytes of images that come from memory.
const FAR: usize = 12 << 20;
/// Bytes of planes that are made at once.
const PLANE_BYTES: usize = 512 << 10;

/// How the weights of a convolution are addressed: `w[group * g + row * r + inner * c + element]`.
struct WeightStrides {
    group: usize,
    row: usize,
    inner: usize,
    /// Elements of the kernel.
    kernel: usize,
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
    epilogue: Epilogue<'a, T>,
    /// Elements of an output plane.
    out_plane: usize,
    out_width: usize,
    /// The width of the rows of the result, if outputs lie in them side by side.
    direct: Option<usize>,
    /// Operations for an image.
    work: usize,
}

/// [`crate::conv::conv2d`] for a geometry with something to compute.
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    let rows = Axis::slid(g.in_h, g.padding.0, g.kernel_h, g.dilation.0, g.stride.0, g.out_h);
    let columns = Axis::slid(g.in_w, g.padding.2, g.kernel_w, g.dilation.1, g.stride.1, g.out_w);
    // An image in place must hold at least one vector.
    let planes = Planes::new(g.in_channels, rows, columns, (g.out_h - 1) * g.in_w + g.out_w >= lanes::<T>(isa));
    let kernel = g.kernel_h * g.kernel_w;
    let element = |e: usize| {
        let (kernel_row, down) = (e / g.kernel_w, e / g.kernel_w * g.dilation.0);
        let (plane, row) = planes.rows.tap(down);
        let inside = planes.rows.inside(planes.rows.residues[plane]).0;
        Element { index: e, kernel_row, offset: planes.tap(down, e % g.kernel_w * g.dilation.1), down: row, inside }
    };
    let elements = (0..kernel).map(element).collect();
    let size = (g.out_h, g.out_w);
    let part = Part::new::<T>(isa, size, (0, 0), planes.pitch, elements, [(0, 1), (0, 1)], Some(g.out_w));
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
        epilogue,
        out_plane: g.out_h * g.out_w,
        out_width: g.out_w,
        direct: Some(g.out_w),
        work: g.work(),
    };
    plan.run(w, &WeightStrides { group, row: g.group_in() * kernel, inner: kernel, kernel }, y);
}

/// One residue of positions along an axis of the input.
pub(crate) struct Residue {
    /// First position in the input, and how many there are.
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// The first position in steps of the stride from the start of the padding.
    pub(crate) step: usize,
    pub(crate) residue: usize,
}

/// The residues along an axis of the input that hold any position.
pub(crate) fn residues(size: usize, before: usize, stride: usize) -> Vec<Residue> {
    let all = (0..stride.min(size)).map(|first| {
        let count = (size - first).div_ceil(stride);
        Residue { first, count, step: (first + before) / stride, residue: (first + before) % stride }
    });
    all.collect()
}

/// The axis of the gradient that the residues read, for a largest tap of `reach` steps, and the lowest step.
fn gradient_axis(all: &[Residue], reach: usize, out: usize) -> (Axis, usize) {
    let low = all.iter().map(|r| r.step).min().unwrap_or(0);
    let high = all.iter().map(|r| r.step + r.count).max().unwrap_or(0);
    // Position 0 of a plane is the gradient at low - reach.
    let before = reach as isize - low as isize;
    (Axis { size: out, before, stride: 1, residues: vec![0], len: high - low + reach }, low)
}

/// The planes of the gradient that the residues read, and the lowest step down and right.
pub(crate) fn gradient_planes(
    g: &ConvGeometry,
    down: &[Residue],
    right: &[Residue],
    may_be_in_place: bool,
) -> (Planes, (usize, usize)) {
    let (rows, low_h) = gradient_axis(down, (g.kernel_h - 1) * g.dilation.0 / g.stride.0, g.out_h);
    let (columns, low_w) = gradient_axis(right, (g.kernel_w - 1) * g.dilation.1 / g.stride.1, g.out_w);
    (Planes::new(g.out_channels, rows, columns, may_be_in_place), (low_h, low_w))
}

/// [`crate::conv::conv2d_input`] for a geometry with something to compute.
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let (down, right) = (residues(g.in_h, g.padding.0, g.stride.0), residues(g.in_w, g.padding.2, g.stride.1));
    let (kernel_h, kernel_w) = (g.kernel_h, g.kernel_w);
    let reach_h = (kernel_h - 1) * g.dilation.0 / g.stride.0;
    let reach_w = (kernel_w - 1) * g.dilation.1 / g.stride.1;
    let unit = g.stride == (1, 1);
    let enough = unit && (g.in_h - 1) * g.out_w + g.in_w >= lanes::<T>(isa);
    let (planes, (low_h, low_w)) = gradient_planes(g, &down, &right, enough);
    let inside = planes.rows.inside(0).0;
    let direct = if unit { Some(g.in_w) } else { None };
    let mut parts = Vec::with_capacity(down.len() * right.len());
    for a in &down {
        for b in &right {
            let meets = |e: &usize| {
                (e / kernel_w * g.dilation.0) % g.stride.0 == a.residue
                    && (e % kernel_w * g.dilation.1) % g.stride.1 == b.residue
            };
            let element = |e: usize| {
                let down = reach_h - e / kernel_w * g.dilation.0 / g.stride.0;
                let right = reach_w - e % kernel_w * g.dilation.1 / g.stride.1;
                let offset = down * planes.pitch + right;
                Element { index: e, kernel_row: e / kernel_w, offset, down, inside: inside.clone() }
            };
            let elements = (0..kernel_h * kernel_w).filter(meets).map(element).collect();
            let (size, base) = ((a.count, b.count), (a.step - low_h, b.step - low_w));
            let place = [(a.first, g.stride.0), (b.first, g.stride.1)];
            parts.push(Part::new::<T>(isa, size, base, planes.pitch, elements, place, direct));
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
        epilogue: Epilogue::NONE,
        out_plane: g.in_h * g.in_w,
        out_width: g.in_w,
        direct,
        work: g.work(),
    };
    plan.run(w, &WeightStrides { group, row: kernel, inner: g.group_in() * kernel, kernel }, gx);
}

impl<T: Float> Plan<'_, T> {
    /// Elements of an image, of its planes where they are read, and of the outputs of an image.
    fn images(&self) -> (usize, usize, usize) {
        let image = self.planes.channels * self.planes.rows.size * self.planes.columns.size;
        let planes = if self.planes.in_place { image } else { self.planes.channels * self.planes.channel() };
        (image, planes, self.groups * self.rows * self.out_plane)
    }

    /// How many images go through the tiles together.
    fn together(&self, weights: usize) -> usize {
        let vectors = |part: &Part| part.bands.iter().map(|b| b.tiling.vectors).sum::<usize>();
        let least = self.parts.iter().flat_map(|p| &p.bands).map(|b| b.tiling.vectors).min().unwrap_or(1);
        let all: usize = self.parts.iter().map(vectors).min().unwrap_or(1);
        let heavy = weights * size_of::<T>() > HEAVY;
        let wanted = FEW.div_ceil(least.max(1)).max(if heavy { MANY.div_ceil(all.max(1)) } else { 1 });
        let room = PLANE_BYTES / size_of::<T>() / self.images().1.max(1);
        wanted.min(room).min(self.batch.div_ceil(par::num_threads())).max(1)
    }

    /// The most shares of the rows, each of which holds a vector where images are read where they lie: nothing may be read behind them.
    fn most_shares(&self) -> usize {
        let least = if self.planes.in_place { lanes::<T>(self.isa).div_ceil(self.out_width) } else { 1 };
        (self.out_plane / self.out_width / least).max(1)
    }

    /// In how many shares of their rows large images are computed, so that one stays in the second-level cache while the next one comes:
    /// those that are read where they lie, with one element of the kernel.
    fn streams(&self) -> usize {
        let [part] = &self.parts[..] else { return 1 };
        let bytes = self.images().0 * size_of::<T>();
        let cache = isa::second_level(self.isa);
        let weights = self.groups * self.rows * self.inner * size_of::<T>();
        let one = self.planes.in_place && part.elements.len() == 1;
        if !one || self.batch < 2 || 2 * bytes <= cache || self.batch * bytes < FAR || weights > HEAVY {
            return 1;
        }
        let (height, wanted, most) = (self.out_plane / self.out_width, (4 * bytes).div_ceil(cache), self.most_shares());
        // About as many; the rows of some fill vectors.
        let vectors = |rows: usize| (rows * self.out_width).div_ceil(lanes::<T>(self.isa));
        let all = |shares: usize| {
            let (rows, longer) = (height / shares, height % shares);
            longer * vectors(rows + 1) + (shares - longer) * vectors(rows)
        };
        let near = (wanted - wanted / 4).min(most)..=(wanted + wanted / 4).min(most);
        near.min_by_key(|&shares| all(shares)).unwrap_or(1)
    }

    /// Computes all outputs into `y`.
    fn run(mut self, w: &[T], strides: &WeightStrides, y: &mut [T]) {
        let channel = self.planes.channel();
        let mut weights = 0;
        for part in &mut self.parts {
            let mut taps = Buffer::unfilled(self.inner * part.elements.len());
            let mut to = taps.make_mut().iter_mut();
            for group in &part.groups {
                for c in 0..self.inner {
                    let offsets = part.elements[group.clone()].iter().map(|e| (c * channel + e.offset) as i64);
                    to.by_ref().zip(offsets).for_each(|(to, offset)| *to = offset);
                }
            }
            part.taps = taps;
            part.weights = weights;
            weights += self.groups * self.rows * self.inner * part.elements.len();
        }
        let mut packed = Buffer::unfilled(weights);
        self.pack(w, strides, packed.make_mut());
        let together = self.together(weights);
        // A few rows of results at a time, where there are fewer blocks than threads: each result is a sum by itself.
        let units = self.batch.div_ceil(together) * self.groups * (self.blocks.len() - 1);
        let shares = par::threads_worth(self.work.saturating_mul(self.batch), par::num_threads()).div_ceil(units);
        let streams = self.streams();
        let shares = shares.max(streams).min(self.most_shares());
        if shares > 1 {
            self.parts.iter_mut().for_each(|p| p.divide::<T>(self.isa, self.planes.pitch, self.direct, shares));
        }
        let (_, planes, out) = self.images();
        for band in self.parts.iter_mut().flat_map(|p| &mut p.bands) {
            let tiling = &mut band.tiling;
            let to = if tiling.scratch.is_some() { MAX_ROWS * tiling.scratch_len() } else { out };
            tiling.place(together, planes, to);
        }
        self.sweep(&packed, together, (shares, streams > 1), y);
    }

    /// The rows of block `b` of all blocks: the group and the rows in it.
    fn rows_of(&self, b: usize) -> (usize, Range<usize>) {
        let count = self.blocks.len() - 1;
        (b / count, self.blocks[b % count]..self.blocks[b % count + 1])
    }

    /// Brings the weights into the order in which the tiles read them: part, block of rows, tap, row.
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
                    let mut at = 0;
                    for elements in &part.groups {
                        let elements = &part.elements[elements.clone()];
                        let (Some(first), Some(last)) = (elements.first(), elements.last()) else { continue };
                        let adjacent = last.index - first.index + 1 == elements.len();
                        // All channels in one go if all their elements are wanted.
                        let whole = adjacent && elements.len() == strides.kernel && strides.inner == strides.kernel;
                        let (steps, run) = if whole { (1, taps) } else { (self.inner, elements.len()) };
                        for c in 0..steps {
                            let w = &w[group * strides.group + rows.start * strides.row + c * strides.inner..];
                            let to = &mut to[at..at + run * rows.len()];
                            at += to.len();
                            if run == 1 && strides.row == 1 {
                                to.copy_from_slice(&w[first.index..][..rows.len()]);
                            } else if adjacent {
                                let size = (rows.len(), run);
                                transpose(self.isa, size, &w[first.index..], strides.row, to, rows.len());
                            } else {
                                for (element, line) in elements.iter().zip(to.chunks_exact_mut(rows.len())) {
                                    let from = w[element.index..].iter().step_by(strides.row);
                                    line.iter_mut().zip(from).for_each(|(to, &w)| *to = w);
                                }
                            }
                        }
                    }
                }
            }
        });
    }

    /// Runs the tiles, over images and, if these are few, over blocks of output channels and shares of the rows of results; if they
    /// stream, over shares anyway.
    fn sweep(&self, packed: &[T], together: usize, (shares, streams): (usize, bool), y: &mut [T]) {
        let blocks = self.groups * (self.blocks.len() - 1);
        let (image, planes, out) = self.images();
        let (bunches, wanted) = (self.batch.div_ceil(together), 2 * par::num_threads());
        let enough = bunches >= wanted || streams && bunches * shares >= wanted;
        let splits = if enough { 1 } else { wanted.div_ceil(bunches).min(blocks) };
        assert_eq!(y.len(), self.batch * out, "the result has its size");
        assert_eq!(self.source.len(), self.batch * image, "the source has its size");
        let y = Shared(y.as_mut_ptr());
        let bands = || self.parts.iter().flat_map(|p| &p.bands).map(|b| &b.tiling);
        let overrun = bands().map(|t| t.overrun).max().unwrap_or(0);
        assert!(overrun == 0 || !self.planes.in_place, "nothing is read behind images in their place");
        let scratch_len = bands().map(|t| t.scratch_len()).max().unwrap_or(0) * MAX_ROWS * together;
        let (units, streams) = (splits * shares, splits == 1 && streams);
        par::for_each_range(bunches * units, self.work.saturating_mul(together) / units, |range| {
            let mut copied = Buffer::zeroed(if self.planes.in_place { 0 } else { together * planes + overrun });
            let copied = copied.make_mut();
            let mut scratch = Buffer::unfilled(scratch_len);
            let scratch = scratch.make_mut();
            for unit in range.clone() {
                let (bunch, split, share) = (unit / units, unit % units / shares, unit % shares);
                let first = bunch * together;
                let images = together.min(self.batch - first);
                let source = &self.source[first * image..][..images * image];
                let mine = split * blocks / splits..(split + 1) * blocks / splits;
                let x = if self.planes.in_place {
                    source.as_ptr()
                } else {
                    let groups = self.rows_of(mine.start).0..self.rows_of(mine.end - 1).0 + 1;
                    let from = groups.start * self.inner * self.planes.rows.size * self.planes.columns.size;
                    let to = groups.start * self.inner * self.planes.channel();
                    let read = || self.parts.iter().map(|p| p.read(share, shares)).filter(|rows| !rows.is_empty());
                    let rows = read().map(|r| r.start).min().unwrap_or(0)..read().map(|r| r.end).max().unwrap_or(0);
                    for (i, source) in source.chunks_exact(image).enumerate() {
                        let to = &mut copied[i * planes + to..];
                        self.planes.fill_rows(self.isa, groups.len() * self.inner, &source[from..], to, rows.clone());
                    }
                    copied.as_ptr()
                };
                // Where a thread has whole images, it asks for the next ones while it computes.
                let (after, sweeps) = (first + images, mine.len() * bands().count());
                let more = units == 1 && unit + 1 < range.end;
                let coming = if more { images.min(self.batch - after) } else { 0 };
                let results = (y.get().wrapping_add(after * out).cast_const(), coming * out);
                // Not what a stride leaves out.
                let read = self.planes.rows.residues.len() == self.planes.rows.stride;
                let source = &self.source[after * image..][..if read { coming * image } else { 0 }];
                let mut next = Next::new(self.isa, source, results, sweeps);
                // Or the next share of the rows, of these images or of the next ones.
                let behind = (streams && unit + 1 < range.end).then(|| {
                    let row = |share: usize| self.parts[0].share(share, shares).start as isize;
                    let images = if share + 1 == shares { together as isize } else { 0 };
                    let rows = row((share + 1) % shares) - row(share);
                    let of = |image: usize, pitch: usize| images * image as isize + rows * pitch as isize;
                    (of(image, self.planes.pitch), of(out, self.out_width))
                });
                for part in &self.parts {
                    for b in mine.clone() {
                        let (group, rows) = self.rows_of(b);
                        let channel = group * self.rows + rows.start;
                        let w = &packed[part.weights + channel * part.taps.len()..][..rows.len() * part.taps.len()];
                        for band in part.bands.iter().filter(|b| b.share == share) {
                            let vectors = images * band.tiling.vectors;
                            let ahead = match behind {
                                Some((x, y)) => {
                                    let sweeps = self.blocks.len() - 1;
                                    Ahead::Behind { x, y, sweep: b % sweeps, sweeps }
                                }
                                None => next.share(self.isa, rows.len(), vectors, self.inner * band.elements.len()),
                            };
                            let block = Block { channel, rows: rows.len(), images, together, ahead };
                            // SAFETY: the unit alone writes these channels of these images, which are inside of y.
                            unsafe {
                                let y = y.get().add(first * out + channel * self.out_plane);
                                let x = x.add(group * self.inner * self.planes.channel());
                                self.band(part, band, &block, x, w, scratch, y);
                            }
                        }
                    }
                }
            }
        });
    }

    /// Computes a band of one block of rows from the planes at `x` to the output planes at `y`.
    ///
    /// # Safety
    /// The planes of the group lie at `x` and the output planes of the block at `y`, which nobody else uses; and those of the
    /// other images behind them.
    #[allow(clippy::too_many_arguments)]
    unsafe fn band(
        &self,
        part: &Part,
        band: &Band,
        block: &Block<T>,
        x: *const T,
        w: &[T],
        scratch: &mut [T],
        y: *mut T,
    ) {
        let tiling = &band.tiling;
        let row = tiling.scratch_len();
        let out = self.images().2;
        assert!(tiling.scratch.is_none() || block.images * MAX_ROWS * row <= scratch.len(), "there is scratch memory");
        let direct = tiling.scratch.is_none();
        let start = match self.epilogue.bias {
            Some(bias) => Start::Bias(bias[block.channel..block.channel + block.rows].as_ptr()),
            None => Start::Zero,
        };
        let taps = band.elements.start * self.inner..band.elements.end * self.inner;
        let sweep = Sweep {
            // SAFETY: the first row of a band is inside of the planes.
            x: unsafe { x.add((part.base.0 + band.rows.start) * self.planes.pitch + part.base.1) },
            from: tiling.offsets.as_ptr(),
            // SAFETY: the first row of a band is inside of the outputs.
            y: if direct { unsafe { y.add(band.rows.start * self.out_width) } } else { scratch.as_mut_ptr() },
            to: tiling.offsets[block.together * tiling.vectors..].as_ptr(),
            vectors: block.images * tiling.vectors,
            taps: part.taps[taps.clone()].as_ptr(),
            tap_count: taps.len(),
            w: w[taps.start * block.rows..].as_ptr(),
            start,
            relu: self.epilogue.relu,
            row: if direct { self.out_plane } else { row },
            narrow: tiling.narrow,
            ahead: block.ahead,
        };
        // SAFETY: the set comes from detection. Each vector with each tap lies inside of the planes and what was added to them
        // for vectors that are longer than the grid; each vector of the result lies inside of y or of the scratch memory.
        unsafe { sweep.run(self.isa, block.rows) };
        let Some(pitch) = tiling.scratch else { return };
        let [(top, down), (left, right)] = part.place;
        for i in 0..block.images * block.rows {
            let (image, k) = (i / block.rows, i % block.rows);
            // SAFETY: the outputs of the band are inside of the plane of the channel, and what is read was written above.
            unsafe {
                let at = (top + band.rows.start * down) * self.out_width + left;
                let spread = Spread {
                    from: scratch.as_ptr().add((image * MAX_ROWS + k) * row),
                    pitch,
                    rows: band.rows.len(),
                    columns: part.columns,
                    to: y.add(image * out + k * self.out_plane + at),
                    row: down * self.out_width,
                    step: right,
                };
                T::simd(self.isa, spread);
            }
        }
    }
}

/// Some rows of some images.
struct Block<T> {
    /// The first row among all output channels.
    channel: usize,
    rows: usize,
    images: usize,
    /// The images that the offsets were made for.
    together: usize,
    /// What is wanted next.
    ahead: Ahead<T>,
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
