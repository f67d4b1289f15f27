//! Convolution forward with vectors of output channels, for results that would leave much of a vector of pixels empty.
//!
//! The plain loop, for one padded image: `y[p][k] = bias[k] + sum over taps t of x[pixel[p] + tap[t]] * w[t][k]`.
//! The tricks: the sums of some pixels and one or two vectors of channels stay in registers over the whole reduction; a pixel is
//! broadcast from where it lies, through a pointer of its own (or one for two), so neither strides nor the ends of rows cost
//! anything. Where images are too large for the caches and each line is new to a tile, the pixels of the next tile are asked for
//! ahead: the hardware sees no order in lines of all channels. The last pixels are computed twice instead of having a tile of
//! their own. The result is transposed once, while it is in the cache.

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody, prefetch};
use crate::par::{self, Shared};
use crate::planes::{Axis, Planes};
use crate::transpose::{transpose, transpose_to};

/// The fewest pointers of a tile, and the most: there are registers for them, and for the sums of two vectors each.
pub(crate) const FEWEST: usize = 4;
fn most(isa: Isa, wide: bool) -> usize {
    if wide && isa != Isa::Avx512 { 6 } else { 10 }
}

/// Bytes of images that the caches of a core do not hold.
pub(crate) const LARGE: usize = 1536 << 10;

/// The neighbouring pixels that share a pointer. One vector of channels has registers for the sums of two.
pub(crate) fn run(isa: Isa, g: &ConvGeometry, wide: bool) -> usize {
    let pairs = isa == Isa::Avx512 && !wide && g.stride.1 == 1 && g.out_w.is_multiple_of(2);
    if pairs && g.out_h * g.out_w >= 2 * FEWEST { 2 } else { 1 }
}

/// The pointers of the tile that takes the least time for `runs` of `run` pixels: a tap costs a tile about as much as two do.
pub(crate) fn pointers(isa: Isa, wide: bool, run: usize, runs: usize) -> usize {
    // Divisions of few bits are faster.
    let (all, run) = (runs.min(1 << 24) as u32, run as u32);
    let tiles = FEWEST as u32..=all.min(most(isa, wide) as u32);
    tiles.min_by_key(|&p| all.div_ceil(p) * (p * run + 2)).unwrap_or(FEWEST as u32) as usize
}

/// The channels of the blocks of a group: two vectors, of which the last block may have only one. So have all where there would
/// be fewer blocks than threads are at work.
pub(crate) fn block<T>(isa: Isa, g: &ConvGeometry, threads: usize) -> usize {
    let wide = 2 * lanes::<T>(isa);
    let narrow = g.groups * g.group_out().div_ceil(wide / 2);
    let threads = par::threads_for(g.batch.saturating_mul(narrow), g.work() / narrow, threads);
    let blocks = g.batch.saturating_mul(g.groups).saturating_mul(g.group_out().div_ceil(wide));
    if blocks < threads { wide / 2 } else { wide }
}

/// Whether there are tiles for a convolution.
pub(crate) fn fits<T>(isa: Isa, g: &ConvGeometry) -> bool {
    size_of::<T>() == 4 && isa != Isa::Portable && g.out_h * g.out_w >= FEWEST
}

/// [`crate::conv::conv2d`] for at least four results.
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    // Planes as for stride 1, of which only some elements are read.
    let (reach_h, reach_w) = ((g.out_h - 1) * g.stride.0 + 1, (g.out_w - 1) * g.stride.1 + 1);
    let rows = Axis::slid(g.in_h, g.padding.0, g.kernel_h, g.dilation.0, 1, reach_h);
    let columns_axis = Axis::slid(g.in_w, g.padding.2, g.kernel_w, g.dilation.1, 1, reach_w);
    let planes = Planes::new(g.group_in(), rows, columns_axis, true);
    let (full, block, kernel, out) =
        (lanes::<T>(isa), block::<T>(isa, g, par::num_threads()), g.kernel_h * g.kernel_w, g.out_h * g.out_w);
    let (taps, outputs) = (g.group_in() * kernel, g.group_out());
    let blocks = outputs.div_ceil(block);
    // Those of the other channels follow at a distance, without a division each.
    let mut offsets = Buffer::unfilled(2 * taps + 2 * out);
    let (tap_offsets, pixel_offsets) = offsets.make_mut().split_at_mut(2 * taps);
    let tap_offsets = tap_offsets.as_chunks_mut::<2>().0;
    let (pixel_offsets, places) = pixel_offsets.split_at_mut(out);
    places.iter_mut().zip(0..).for_each(|(place, i)| *place = i);
    for t in 0..taps {
        let offset = match t.checked_sub(kernel) {
            Some(before) => tap_offsets[before][0] + planes.channel() as i64,
            None => planes.tap(t / g.kernel_w * g.dilation.0, t % g.kernel_w * g.dilation.1) as i64,
        };
        tap_offsets[t] = [offset, t as i64];
    }
    for (i, row) in pixel_offsets.chunks_exact_mut(g.out_w).enumerate() {
        let line = i * g.stride.0 * planes.pitch;
        row.iter_mut().enumerate().for_each(|(j, offset)| *offset = (line + j * g.stride.1) as i64);
    }
    // Of a block of a group the first channel, how many, the elements of its vectors, and where its weights begin.
    let group_len = (taps + 1) * outputs.next_multiple_of(full);
    let block_of = |item: usize| {
        let (group, first) = (item / blocks, item % blocks * block);
        let channels = block.min(outputs - first);
        (group * outputs + first, channels, channels.next_multiple_of(full), group * group_len + first * (taps + 1))
    };
    // Bias and weights with the channels of a block next to each other.
    let mut packed: Buffer<T> =
        if outputs.is_multiple_of(full) { Buffer::unfilled } else { Buffer::zeroed }(g.groups * group_len);
    let to = Shared(packed.make_mut().as_mut_ptr());
    par::for_each_range(g.groups * blocks, 8 * taps * block, |range| {
        for item in range {
            let (start, channels, width, at) = block_of(item);
            assert!(at + (taps + 1) * width <= g.groups * group_len, "the weights fit");
            // SAFETY: this stretch is inside of the buffer and belongs to this block alone.
            let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at), (taps + 1) * width) };
            let (first, weights) = to.split_at_mut(width);
            match epilogue.bias {
                Some(bias) => first[..channels].copy_from_slice(&bias[start..start + channels]),
                None => first.fill(T::ZERO),
            }
            transpose(isa, (channels, taps), &w[start * taps..], taps, weights, width);
        }
    });
    let image = g.group_in() * g.in_h * g.in_w;
    // Rows of a plane that a row of results sees.
    let reach = (g.kernel_h - 1) * g.dilation.0 + 1;
    // Each line is new to a tile if its pixels have no taps in common.
    let new_lines = planes.in_place && g.kernel_w <= g.stride.1;
    let y = Shared(y.as_mut_ptr());
    // Blocks of channels, and parts of an image where there are fewer blocks than threads: each result is a sum by itself.
    let step = run(isa, g, false);
    let all = g.batch * blocks * g.groups;
    let parts = par::threads_worth(g.work().saturating_mul(g.batch), par::num_threads())
        .div_ceil(all)
        .min(out / (FEWEST * step));
    let items = blocks * g.groups * parts;
    par::for_each_range(g.batch * items, g.work() / items, |range| {
        let mut copy = Buffer::zeroed(if planes.in_place { 0 } else { planes.channels * planes.channel() });
        let mut results = Buffer::unfilled(out * block);
        let results = results.make_mut();
        let mut held = usize::MAX;
        for item in range {
            // The channels of a group are an image of their own.
            let n = item / items;
            let (start, channels, block, weights) = block_of(item % items / parts);
            let (group, part) = (item / parts / blocks, item % parts);
            let pixel = |part: usize| part * (out / step) / parts * step;
            let pixels = pixel(part)..pixel(part + 1);
            let source = &x[group * image..(group + 1) * image];
            if !planes.in_place && held != group * parts + part {
                let rows = pixels.start / g.out_w * g.stride.0..(pixels.end - 1) / g.out_w * g.stride.0 + reach;
                planes.fill_rows(isa, planes.channels, source, copy.make_mut(), rows);
                held = group * parts + part;
            }
            let all = Sweep {
                x: if planes.in_place { source } else { &copy[..] }.as_ptr(),
                taps: offsets[..2 * taps].as_chunks().0,
                pixels: &offsets[2 * taps..2 * taps + out][pixels.clone()],
                places: &offsets[2 * taps + out..],
                start: packed[weights..].as_ptr(),
                w: packed[weights + block..].as_ptr(),
                y: results.as_mut_ptr(),
                isa,
                run: run(isa, g, block > full),
                wide: block > full,
                relu: epilogue.relu,
                // A single vector of channels is short of loads already.
                far: new_lines && size_of_val(x) >= if block > full { LARGE } else { 8 * LARGE },
            };
            // SAFETY: the set comes from detection. Each tap of each result is inside of the planes, the packed weights
            // hold a vector for the bias and each tap, and there is room for a block of each result.
            unsafe { sweep(all) };
            // SAFETY: these pixels of these channels of this image belong to this item.
            unsafe {
                let to = y.get().add((n * g.out_channels + start) * out + pixels.start);
                transpose_to(isa, (pixels.len(), channels), results, block, to, out);
            }
        }
    });
}

/// An element of the kernel over a channel: its offset from a pixel, and its place among the weights of a block, in vectors.
pub(crate) type Tap = [i64; 2];

/// All pixels of an image, for one block of channels.
pub(crate) struct Sweep<'a, T> {
    pub(crate) x: *const T,
    pub(crate) taps: &'a [Tap],
    /// Offsets in x.
    pub(crate) pixels: &'a [i64],
    /// Which places of y the pixels have.
    pub(crate) places: &'a [i64],
    /// What the sums of a pixel begin with.
    pub(crate) start: *const T,
    pub(crate) w: *const T,
    pub(crate) y: *mut T,
    pub(crate) isa: Isa,
    /// Neighbouring pixels that share a pointer.
    pub(crate) run: usize,
    /// Whether a block is two vectors.
    pub(crate) wide: bool,
    pub(crate) relu: bool,
    /// Whether x is too large for the caches: what the next tile reads is asked for.
    pub(crate) far: bool,
}

/// Computes all pixels; one function for all that need it.
///
/// # Safety
/// The machine has the set; each tap of each pixel can be read, and each place written.
#[inline(never)]
pub(crate) unsafe fn sweep<T: Float>(s: Sweep<'_, T>) {
    // SAFETY: the caller's promise.
    unsafe { T::simd(s.isa, s) }
}

impl<T: Float> SimdBody<T> for Sweep<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What is never chosen is not compiled.
        if const { size_of::<T>() != 4 || S::REGISTERS < 16 } {
            return;
        }
        // SAFETY: the caller's promise.
        unsafe {
            if self.wide {
                match self.pointers() {
                    4 => tiles::<S, 4, 1, 2>(&self),
                    5 => tiles::<S, 5, 1, 2>(&self),
                    7 if const { S::REGISTERS >= 32 } => tiles::<S, 7, 1, 2>(&self),
                    8 if const { S::REGISTERS >= 32 } => tiles::<S, 8, 1, 2>(&self),
                    9 if const { S::REGISTERS >= 32 } => tiles::<S, 9, 1, 2>(&self),
                    10 if const { S::REGISTERS >= 32 } => tiles::<S, 10, 1, 2>(&self),
                    _ => tiles::<S, 6, 1, 2>(&self),
                }
            } else if self.run == 2 {
                if const { S::REGISTERS >= 32 } {
                    alone::<S, 2>(&self);
                }
            } else {
                alone::<S, 1>(&self);
            }
        }
    }
}

impl<T: Float> Sweep<'_, T> {
    /// The pointers of a tile.
    fn pointers(&self) -> usize {
        pointers(self.isa, self.wide, self.run, self.pixels.len() / self.run)
    }
}

/// One vector of channels, for runs of R pixels.
#[inline(always)]
unsafe fn alone<S: Simd, const R: usize>(s: &Sweep<'_, S::T>) {
    // SAFETY: the caller's promise.
    unsafe {
        match s.pointers() {
            4 => tiles::<S, 4, R, 1>(s),
            5 => tiles::<S, 5, R, 1>(s),
            6 => tiles::<S, 6, R, 1>(s),
            7 => tiles::<S, 7, R, 1>(s),
            8 => tiles::<S, 8, R, 1>(s),
            9 => tiles::<S, 9, R, 1>(s),
            _ => tiles::<S, 10, R, 1>(s),
        }
    }
}

/// Tiles of P pointers to R pixels and VB vectors of channels, over the image.
#[inline(always)]
unsafe fn tiles<S: Simd, const P: usize, const R: usize, const VB: usize>(s: &Sweep<'_, S::T>) {
    for i in (0..s.pixels.len()).step_by(P * R) {
        // SAFETY: the caller's promise, and there are so many pixels at least.
        unsafe { tile::<S, P, R, VB>(s, i.min(s.pixels.len() - P * R)) };
    }
}

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn tile<S: Simd, const P: usize, const R: usize, const VB: usize>(s: &Sweep<'_, S::T>, first: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut x = [s.x; P];
        for p in 0..P {
            x[p] = s.x.offset(*s.pixels.get_unchecked(first + p * R) as isize);
        }
        // The first and the last pixel of the next tile: those between seldom have lines of their own.
        let mut ahead = [s.x; 2];
        for (ahead, i) in ahead.iter_mut().zip([P * R, 2 * P * R - 1]) {
            *ahead = s.x.wrapping_offset(*s.pixels.get_unchecked((first + i).min(s.pixels.len() - 1)) as isize);
        }
        let mut acc = [[[S::zero(); VB]; R]; P];
        for v in 0..VB {
            let start = S::load(s.start.add(v * S::N));
            for p in 0..P {
                for r in 0..R {
                    acc[p][r][v] = start;
                }
            }
        }
        for tap in s.taps {
            let (tap, w) = (tap[0], s.w.offset(tap[1] as isize * (VB * S::N) as isize));
            if s.far {
                prefetch(ahead[0], tap as usize);
                prefetch(ahead[1], tap as usize);
            }
            let mut b = [S::zero(); VB];
            for v in 0..VB {
                b[v] = S::load(w.add(v * S::N));
            }
            for p in 0..P {
                for r in 0..R {
                    let a = S::splat(*x[p].offset(tap as isize).add(r));
                    for v in 0..VB {
                        acc[p][r][v] = S::fma(a, b[v], acc[p][r][v]);
                    }
                }
            }
        }
        for p in 0..P {
            for r in 0..R {
                let place = *s.places.get_unchecked(first + p * R + r) as isize;
                let y = s.y.wrapping_offset(place * (VB * S::N) as isize);
                for v in 0..VB {
                    let sum = if s.relu { S::relu(acc[p][r][v]) } else { acc[p][r][v] };
                    S::store(y.add(v * S::N), sum);
                }
            }
        }
    }
}
