//! Depthwise convolution across planes: a vector holds one pixel of many of them; in single precision.
//!
//! The plain loop: `y[i, j] = sum over r, s of w[r, s] * x[i * stride + r * dilation - top, ..]` for as many planes as a vector has
//! elements, which are neighbours in memory: channels of an image, or of several.
//!
//! The tricks: planes are transposed into a frame of zeros `[pixel][plane]` in the cache, each pixel only shortly before it
//! is needed, and the results are transposed back. There every tap of any stride or dilation reads a whole vector, and so no element of it
//! is for nothing. Results are summed in blocks of eight of the same taps, wherever they are; rows of taps that see only zeros
//! are left out. The gradient by the input is the same over a frame of gradients, in classes of results by their remainder to the stride,
//! each with its own taps. The gradient by the weights is in [`weights`].

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

pub(crate) mod weights;

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::transpose::{scatter, transpose, transpose_to};
use std::ops::Range;

/// Results that are summed together.
const BLOCK: usize = 8;

/// Elements of results, at least, that are transposed back at a time: they, their windows and where both are in the planes fit in
/// the first-level cache.
const BAND: usize = 1024;

/// The pixels of a frame, at most: with vectors of 32 bytes it has 256 KiB, and stays in the second-level cache.
const FRAME: usize = 8192;

/// Whether there are planes for a vector, and frames are small.
pub(crate) fn fits<T: Float>(isa: Isa, g: &ConvGeometry) -> bool {
    let n = lanes::<T>(isa);
    let frame =
        |h: usize, w: usize| (h + (g.kernel_h - 1) * g.dilation.0).saturating_mul(w + (g.kernel_w - 1) * g.dilation.1);
    size_of::<T>() == 4
        && isa != Isa::Portable
        && g.batch * g.in_channels >= n
        && frame(g.in_h, g.in_w).max(frame(g.out_h, g.out_w)) <= FRAME
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Forward,
    Input,
    Weight,
}

/// One axis of a correlation of frames.
struct Axis {
    /// Pixels of the plane, and where the first one is in the frame.
    size: usize,
    before: usize,
    /// Pixels of the frame.
    len: usize,
    results: usize,
    /// How far apart in the frame are the results of a class.
    step: usize,
    /// Result i is of class `i % classes.len()`. The elements of the kernel that meet it, and how far from its place in the frame.
    classes: Vec<Vec<(usize, usize)>>,
}

impl Axis {
    /// The forward pass.
    fn slid(size: usize, before: usize, kernel: usize, dilation: usize, stride: usize, results: usize) -> Axis {
        let classes = vec![(0..kernel).map(|r| (r, r * dilation)).collect()];
        let len = (results - 1) * stride + (kernel - 1) * dilation + 1;
        Axis { size, before, len, results, step: stride, classes }
    }

    /// The gradient by the input, whose results are the pixels of the input, from a plane of gradients.
    fn spread(size: usize, before: usize, kernel: usize, dilation: usize, stride: usize, results: usize) -> Axis {
        // Result i takes gradient (i + before - r * dilation) / stride, if that is a whole number.
        let period = stride.min(results);
        let shift = |class: usize, r: usize| {
            let distance = (class + before) as isize - (r * dilation) as isize;
            (distance % stride as isize == 0).then(|| distance / stride as isize)
        };
        let lowest = (0..period).filter_map(|c| (0..kernel).filter_map(|r| shift(c, r)).min()).min();
        let before = lowest.map_or(0, |shift| (-shift).max(0)) as usize;
        let mut len = 1;
        let mut elements = |class: usize| {
            let met = (0..kernel).rev().filter_map(|r| Some((r, (shift(class, r)? + before as isize) as usize)));
            let met: Vec<_> = met.collect();
            let last = (results - 1 - class) / period;
            len = len.max(met.last().map_or(1, |&(_, shift)| last + shift + 1));
            met
        };
        let classes = (0..period).map(&mut elements).collect();
        Axis { size, before, len, results, step: 1, classes }
    }

    /// Which pixels of the frame are read.
    fn read(&self) -> Vec<bool> {
        let mut read = vec![false; self.len];
        for (class, elements) in self.classes.iter().enumerate() {
            for &(_, shift) in elements {
                let results = (self.results - class).div_ceil(self.classes.len());
                read[shift..].iter_mut().step_by(self.step).take(results).for_each(|read| *read = true);
            }
        }
        read
    }

    /// The elements of a class, as positions in its list, that see pixels of the plane from some of the places first..=last.
    fn seen(&self, class: usize, first: usize, last: usize) -> Range<usize> {
        let elements = &self.classes[class];
        let from = elements.partition_point(|&(_, shift)| last + shift < self.before);
        let to = elements.partition_point(|&(_, shift)| first + shift < self.before + self.size);
        from..to.max(from)
    }
}

/// Where the pixels of planes go.
struct Grid {
    /// Pixels of a plane, and elements of the transposed ones.
    plane: usize,
    len: usize,
    /// For each pixel of a plane.
    at: Vec<u32>,
    /// The first pixels of those eights in which some are read.
    squares: Vec<u32>,
}

impl Grid {
    /// A frame with zeros around the plane.
    fn framed(rows: &Axis, columns: &Axis, n: usize) -> Grid {
        let plane = rows.size * columns.size;
        let (read_rows, read_columns) = (rows.read(), columns.read());
        // What nobody reads goes behind the frame.
        let nowhere = rows.len * columns.len;
        let place = |axis: &Axis, read: &[bool], i: usize| {
            Some(i + axis.before).filter(|&i| read.get(i).is_some_and(|&read| read))
        };
        let mut at = Vec::with_capacity(plane);
        let across: Vec<_> = (0..columns.size).map(|j| place(columns, &read_columns, j)).collect();
        for i in 0..rows.size {
            let row = place(rows, &read_rows, i);
            at.extend(across.iter().map(|&column| match (row, column) {
                (Some(row), Some(column)) => ((row * columns.len + column) * n) as u32,
                _ => (nowhere * n) as u32,
            }));
        }
        let read = |q: usize| at[q..plane.min(q + 8)].iter().any(|&at| at as usize != nowhere * n);
        let squares = (0..plane).step_by(8).filter(|&q| read(q)).map(|q| q as u32).collect();
        Grid { plane, len: (nowhere + 1) * n, at, squares }
    }

    /// How many squares reach up to a pixel.
    fn squares(&self, end: usize) -> usize {
        self.squares.partition_point(|&q| (q as usize) < end)
    }

    /// Transposes some squares of the planes from the first one on.
    fn fill<T: Float>(&self, isa: Isa, n: usize, planes: &[T], squares: Range<usize>, frame: &mut [T]) {
        assert_eq!(frame.len(), self.len, "the frame has its size");
        let (planes, squares) = (&planes[..n * self.plane], &self.squares[squares]);
        // SAFETY: all places are in a frame of that size.
        unsafe { scatter(isa, n, planes, self.plane, squares, &self.at, frame.as_mut_ptr()) };
    }
}

/// Eight results: where their windows begin in the frame, where they go in the band, and their taps.
#[derive(Clone)]
struct Block {
    from: [u32; BLOCK],
    to: [u32; BLOCK],
    taps: Range<u32>,
}

/// Neighbouring rows of results: their blocks, pixels, and the squares that have been transposed before.
struct Band {
    blocks: Range<usize>,
    pixels: Range<usize>,
    squares: usize,
}

/// A correlation of planes.
struct Plan {
    grid: Grid,
    /// Offsets in the frame and in the weights.
    taps: Vec<(usize, usize)>,
    blocks: Vec<Block>,
    bands: Vec<Band>,
    out: usize,
}

impl Plan {
    /// `pitch` is between the weights of two taps.
    fn new(rows: &Axis, columns: &Axis, n: usize, pitch: usize, kernel_w: usize) -> Plan {
        let grid = Grid::framed(rows, columns, n);
        let (mut taps, mut blocks, mut bands) = (Vec::new(), Vec::new(), Vec::<Band>::new());
        // Where the taps of a class begin.
        let mut begin = Vec::new();
        for down in &rows.classes {
            for right in &columns.classes {
                begin.push(taps.len());
                for &(r, i) in down {
                    let one = |&(s, j): &(usize, usize)| ((i * columns.len + j) * n, (r * kernel_w + s) * pitch);
                    taps.extend(right.iter().map(one));
                }
            }
        }
        let (period, width) = ((rows.classes.len(), columns.classes.len()), columns.results);
        let height = (BAND / n).div_ceil(width).next_multiple_of(period.0);
        for top in (0..rows.results).step_by(height) {
            let end = rows.results.min(top + height);
            let (first, mut last_row) = (blocks.len(), 0);
            for a in 0..period.0.min(end - top) {
                for b in 0..period.1 {
                    // The last block has its last result several times.
                    let mut block = Block { from: [0; BLOCK], to: [0; BLOCK], taps: 0..0 };
                    let (mut count, mut lowest) = (0, 0);
                    let mut flush = |block: &mut Block, lowest: usize, highest: usize| {
                        let seen = rows.seen(a, lowest, highest);
                        if let Some(element) = rows.classes[a][seen.clone()].last() {
                            last_row = last_row.max(highest + element.1);
                        }
                        let (begin, across) = (begin[a * period.1 + b], columns.classes[b].len());
                        block.taps = (begin + seen.start * across) as u32..(begin + seen.end * across) as u32;
                        blocks.push(block.clone());
                    };
                    let mut line = 0;
                    for i in (top + a..end).step_by(period.0) {
                        line = i / period.0 * rows.step;
                        let mut from = (line * columns.len * n) as u32;
                        for j in (b..width).step_by(period.1) {
                            if count == 0 {
                                lowest = line;
                            }
                            block.from[count] = from;
                            block.to[count] = (((i - top) * width + j) * n) as u32;
                            from += (columns.step * n) as u32;
                            count += 1;
                            if count == BLOCK {
                                flush(&mut block, lowest, line);
                                count = 0;
                            }
                        }
                    }
                    if count > 0 {
                        let last = (block.from[count - 1], block.to[count - 1]);
                        block.from[count..].fill(last.0);
                        block.to[count..].fill(last.1);
                        flush(&mut block, lowest, line);
                    }
                }
            }
            let source = (last_row + 1).saturating_sub(rows.before).min(rows.size);
            let squares = grid.squares(source * columns.size).max(bands.last().map_or(0, |band| band.squares));
            bands.push(Band { blocks: first..blocks.len(), pixels: top * width..end * width, squares });
        }
        Plan { grid, taps, blocks, bands, out: rows.results * width }
    }

    /// Correlates planes of `x`.
    fn run<T: Float>(&self, isa: Isa, kernels: &Kernels<T>, x: &[T], relu: bool, y: &mut [T]) {
        let (n, total) = (lanes::<T>(isa), y.len() / self.out);
        assert_eq!((x.len(), y.len()), (total * self.grid.plane, total * self.out), "the arrays have the planes");
        let work =
            n * (2 * self.grid.plane + self.blocks.iter().map(|b| BLOCK * (2 * b.taps.len() + 2)).sum::<usize>());
        let most = self.bands.iter().map(|band| band.pixels.len()).max().unwrap_or(0);
        let y = Shared(y.as_mut_ptr());
        par::for_each_range(total.div_ceil(n), work, |range| {
            let mut frame = Buffer::zeroed(self.grid.len);
            let mut results = Buffer::unfilled(most * n);
            let (frame, results) = (frame.make_mut(), results.make_mut());
            for group in range {
                // The last vector overlaps the one before, and leaves its results alone.
                let first = (group * n).min(total - n);
                let skip = group * n - first;
                let mut done = 0;
                for band in &self.bands {
                    self.grid.fill(isa, n, &x[first * self.grid.plane..], done..band.squares, frame);
                    done = band.squares;
                    let channel = first % kernels.channels;
                    let sums = Sums {
                        blocks: &self.blocks[band.blocks.clone()],
                        taps: &self.taps,
                        x: frame.as_ptr(),
                        w: kernels.w[channel..].as_ptr(),
                        bias: kernels.bias.map(|bias| kernels.w[bias + channel..].as_ptr()),
                        relu,
                        y: results.as_mut_ptr(),
                    };
                    // SAFETY: the set comes from detection; taps of results are inside of the frame, results inside of the
                    // band, and the kernels have a vector from each channel on.
                    unsafe { T::simd(isa, sums) };
                    let (size, at) = ((band.pixels.len(), n - skip), (first + skip) * self.out + band.pixels.start);
                    // SAFETY: this range alone writes its planes, which have these pixels.
                    unsafe { transpose_to(isa, size, &results[skip..], n, y.get().add(at), self.out) };
                }
            }
        });
    }
}

/// Eight results at a time over vectors of planes.
struct Sums<'a, T> {
    blocks: &'a [Block],
    taps: &'a [(usize, usize)],
    x: *const T,
    w: *const T,
    bias: Option<*const T>,
    relu: bool,
    y: *mut T,
}

impl<T: Float> SimdBody<T> for Sums<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What does not fit is not compiled.
        if const { size_of::<T>() == 4 && S::REGISTERS > 8 } {
            // SAFETY: the caller's promise.
            unsafe {
                let start = if let Some(bias) = self.bias { S::load(bias) } else { S::zero() };
                for block in self.blocks {
                    let mut x = [self.x; BLOCK];
                    for q in 0..BLOCK {
                        x[q] = self.x.add(block.from[q] as usize);
                    }
                    let mut sums = [start; BLOCK];
                    for &(shift, weight) in &self.taps[block.taps.start as usize..block.taps.end as usize] {
                        let w = S::load(self.w.add(weight));
                        for q in 0..BLOCK {
                            sums[q] = S::fma(w, S::load(x[q].add(shift)), sums[q]);
                        }
                    }
                    for q in 0..BLOCK {
                        let sum = if self.relu { S::relu(sums[q]) } else { sums[q] };
                        S::store(self.y.add(block.to[q] as usize), sum);
                    }
                }
            }
        }
    }
}

/// The kernels `[tap][channel]`, with as many channels from the first one on behind them as a vector has, then the bias likewise.
struct Kernels<T: Float> {
    w: Buffer<T>,
    channels: usize,
    bias: Option<usize>,
}

impl<T: Float> Kernels<T> {
    fn pitch(channels: usize, n: usize) -> usize {
        channels + n
    }

    fn new(isa: Isa, channels: usize, w: &[T], bias: Option<&[T]>) -> Self {
        let (n, taps) = (lanes::<T>(isa), w.len() / channels);
        let pitch = Self::pitch(channels, n);
        let mut all = Buffer::unfilled((taps + bias.map_or(0, |_| 1)) * pitch);
        let rows = all.make_mut();
        transpose(isa, (channels, taps), w, taps, rows, pitch);
        if let Some(bias) = bias {
            rows[taps * pitch..][..channels].copy_from_slice(bias);
        }
        for row in rows.chunks_exact_mut(pitch) {
            for c in channels..pitch {
                row[c] = row[c - channels];
            }
        }
        Kernels { w: all, channels, bias: bias.map(|_| taps * pitch) }
    }
}

/// [`crate::conv::conv2d`] where it [`fits`].
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    let n = lanes::<T>(isa);
    let (rows, columns) = forward(g);
    let plan = Plan::new(&rows, &columns, n, Kernels::<T>::pitch(g.in_channels, n), g.kernel_w);
    plan.run(isa, &Kernels::new(isa, g.in_channels, w, epilogue.bias), x, epilogue.relu, y);
}

/// The axes of the forward pass.
fn forward(g: &ConvGeometry) -> (Axis, Axis) {
    (
        Axis::slid(g.in_h, g.padding.0, g.kernel_h, g.dilation.0, g.stride.0, g.out_h),
        Axis::slid(g.in_w, g.padding.2, g.kernel_w, g.dilation.1, g.stride.1, g.out_w),
    )
}

/// [`crate::conv::conv2d_input`] where it [`fits`].
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let n = lanes::<T>(isa);
    let rows = Axis::spread(g.out_h, g.padding.0, g.kernel_h, g.dilation.0, g.stride.0, g.in_h);
    let columns = Axis::spread(g.out_w, g.padding.2, g.kernel_w, g.dilation.1, g.stride.1, g.in_w);
    let plan = Plan::new(&rows, &columns, n, Kernels::<T>::pitch(g.in_channels, n), g.kernel_w);
    plan.run(isa, &Kernels::new(isa, g.in_channels, w, None), gy, false, gx);
}
