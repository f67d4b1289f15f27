//! Convolution forward with vectors of output channels, for rows of results that would leave much of a vector of pixels empty.
//!
//! The plain loop, for one padded image: `y[i][j][k] = bias[k] + sum over taps t of x[tap[t] + i*line + j*step] * w[t][k]`.
//! The tricks: the sums of some rows and columns of pixels stay in registers over the whole reduction; a pixel is broadcast from
//! where it lies, so strides cost nothing. Columns that are left over are computed twice instead of having tiles of their own,
//! rows too or one by one. The result is transposed once, while it is in the cache.

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::planes::{Axis, Planes};
use crate::transpose::{transpose, transpose_to};

/// The columns of the tiles that a set has.
fn widths(isa: Isa) -> &'static [usize] {
    if isa == Isa::Avx512 { &[12, 10, 8, 7, 6, 5, 4] } else { &[6, 5, 4] }
}

/// The columns of the tile that computes the fewest too many for rows of this width; None if it is narrower than all.
fn columns(isa: Isa, width: usize) -> Option<usize> {
    let fitting = widths(isa).iter().copied().filter(|&c| c <= width);
    fitting.min_by_key(|&c| width.div_ceil(c) * c)
}

/// The channels of a block: one vector, or two where there are few registers.
fn block<T>(isa: Isa) -> usize {
    lanes::<T>(isa) * if isa == Isa::Avx512 { 1 } else { 2 }
}

/// Images for which preparing a convolution is a small part of it.
const MANY: usize = 16;
/// What an element of a plane for a residue of the stride costs, in products of vectors.
const RESIDUE: f64 = 2.4;

/// Whether vectors of channels have fewer empty places than vectors of pixels, by a margin for the transposes. These weigh more
/// with few taps, and less for few images, for which there is less to prepare here than for vectors of pixels. Strides cost
/// nothing here, and planes for each residue there, which weigh most for inputs that meet few weights.
pub(crate) fn pays<T>(isa: Isa, g: &ConvGeometry) -> bool {
    let used = |n: usize, unit: usize| n as f64 / n.next_multiple_of(unit) as f64;
    let kernel = g.kernel_h * g.kernel_w;
    let taps = g.in_channels * kernel;
    let products = (g.out_channels * kernel) as f64 / (g.stride.0 * g.stride.1 * lanes::<T>(isa)) as f64;
    let pixels = if g.stride.1 == 1 { 1.0 } else { products / (products + RESIDUE) };
    columns(isa, g.out_w).is_some_and(|c| {
        let channels = used(g.out_channels, block::<T>(isa)) * used(g.out_w, c);
        let margin = 1.2 + 8.0 / taps as f64 * g.batch.min(MANY) as f64 / MANY as f64;
        g.groups == 1 && kernel > 1 && channels > margin * pixels * used(g.out_w, lanes::<T>(isa))
    })
}

/// [`crate::conv::conv2d`] of one group, for rows of at least four results.
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    // Planes as for stride 1, of which only some elements are read.
    let (reach_h, reach_w) = ((g.out_h - 1) * g.stride.0 + 1, (g.out_w - 1) * g.stride.1 + 1);
    let rows = Axis::slid(g.in_h, g.padding.0, g.kernel_h, g.dilation.0, 1, reach_h);
    let columns_axis = Axis::slid(g.in_w, g.padding.2, g.kernel_w, g.dilation.1, 1, reach_w);
    let planes = Planes::new(g.in_channels, rows, columns_axis, true);
    let (block, kernel, out) = (block::<T>(isa), g.kernel_h * g.kernel_w, g.out_h * g.out_w);
    let taps = g.in_channels * kernel;
    let blocks = g.out_channels.div_ceil(block);
    // Those of the other channels follow at a distance, without a division each.
    let mut offsets: Vec<usize> = Vec::with_capacity(taps);
    offsets.extend((0..kernel).map(|e| planes.tap(e / g.kernel_w * g.dilation.0, e % g.kernel_w * g.dilation.1)));
    for t in kernel..taps {
        offsets.push(offsets[t - kernel] + planes.channel());
    }
    // Weights and bias with the channels of a block next to each other.
    let packed_len = (taps + 1) * block * blocks;
    let full = g.out_channels.is_multiple_of(block);
    let mut packed = if full { Buffer::unfilled(packed_len) } else { Buffer::zeroed(packed_len) };
    for (b, packed) in packed.make_mut().chunks_exact_mut((taps + 1) * block).enumerate() {
        let channels = b * block..g.out_channels.min((b + 1) * block);
        let (first, weights) = packed.split_at_mut(block);
        match epilogue.bias {
            Some(bias) => first[..channels.len()].copy_from_slice(&bias[channels.clone()]),
            None => first.fill(T::ZERO),
        }
        transpose(isa, (channels.len(), taps), &w[channels.start * taps..], taps, weights, block);
    }
    let width = columns(isa, g.out_w).expect("rows that a tile fits into");
    let image = g.in_channels * g.in_h * g.in_w;
    let y = Shared(y.as_mut_ptr());
    par::for_each_range(g.batch * blocks, g.work() / blocks, |range| {
        let mut copy = Buffer::zeroed(if planes.in_place { 0 } else { g.in_channels * planes.channel() });
        let mut results = Buffer::unfilled(out * block);
        let results = results.make_mut();
        let mut held = usize::MAX;
        for item in range {
            let (n, b) = (item / blocks, item % blocks);
            let source = &x[n * image..(n + 1) * image];
            if !planes.in_place && held != n {
                planes.fill(isa, g.in_channels, source, copy.make_mut());
                held = n;
            }
            let sweep = Sweep {
                x: if planes.in_place { source } else { &copy[..] }.as_ptr(),
                line: g.stride.0 * planes.pitch,
                step: g.stride.1,
                taps: &offsets,
                w: packed[b * (taps + 1) * block..].as_ptr(),
                y: results.as_mut_ptr(),
                size: (g.out_h, g.out_w),
                width,
                relu: epilogue.relu,
            };
            // SAFETY: the set comes from detection. Each tap of each result is inside of the planes, the packed weights
            // hold a vector for the bias and each tap, and there is room for a block of each result.
            unsafe { T::simd(isa, sweep) };
            let channels = block.min(g.out_channels - b * block);
            // SAFETY: the planes of these channels of this image belong to this item.
            unsafe {
                let to = y.get().add((n * g.out_channels + b * block) * out);
                transpose_to(isa, (out, channels), results, block, to, out);
            }
        }
    });
}

/// All pixels of an image, for one block of channels.
struct Sweep<'a, T> {
    x: *const T,
    /// Elements between rows and columns of results in x.
    line: usize,
    step: usize,
    taps: &'a [usize],
    w: *const T,
    y: *mut T,
    size: (usize, usize),
    /// Columns of a tile.
    width: usize,
    relu: bool,
}

impl<T: Float> SimdBody<T> for Sweep<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            if const { S::REGISTERS >= 32 } {
                match self.width {
                    12 => tiles::<S, 2, 12, 1>(&self),
                    10 => tiles::<S, 2, 10, 1>(&self),
                    8 => tiles::<S, 3, 8, 1>(&self),
                    7 => tiles::<S, 3, 7, 1>(&self),
                    6 => tiles::<S, 4, 6, 1>(&self),
                    5 => tiles::<S, 4, 5, 1>(&self),
                    // Rows that are computed twice cost more than a smaller tile.
                    _ if self.size.0.div_ceil(6) * 6 > self.size.0.div_ceil(4) * 4 => tiles::<S, 4, 4, 1>(&self),
                    _ => tiles::<S, 6, 4, 1>(&self),
                }
            } else {
                match self.width {
                    6 => tiles::<S, 1, 6, 2>(&self),
                    5 => tiles::<S, 1, 5, 2>(&self),
                    _ => tiles::<S, 1, 4, 2>(&self),
                }
            }
        }
    }
}

/// Tiles of R rows and C columns of pixels and VB vectors of channels, over the image.
#[inline(always)]
unsafe fn tiles<S: Simd, const R: usize, const C: usize, const VB: usize>(s: &Sweep<'_, S::T>) {
    // A step that is known needs no registers.
    // SAFETY: the caller's promise.
    unsafe { if s.step == 1 { rows::<S, R, C, VB, 1>(s) } else { rows::<S, R, C, VB, 0>(s) } }
}

/// [`tiles`] with the step as a constant; 0 stands for any other.
#[inline(always)]
unsafe fn rows<S: Simd, const R: usize, const C: usize, const VB: usize, const STEP: usize>(s: &Sweep<'_, S::T>) {
    let (height, width) = s.size;
    // The last row stands in for those below it, if most of a tile is left; else what is left goes row by row.
    let whole = if 2 * (height % R) > R { height } else { height / R * R };
    // SAFETY: the caller's promise.
    unsafe {
        for i in (0..whole).step_by(R) {
            let rows: [usize; R] = std::array::from_fn(|r| (i + r).min(height - 1));
            for j in (0..width).step_by(C) {
                tile::<S, R, C, VB, STEP>(s, rows, j.min(width - C));
            }
        }
        for i in whole..height {
            for j in (0..width).step_by(C) {
                tile::<S, 1, C, VB, STEP>(s, [i], j.min(width - C));
            }
        }
    }
}

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const C: usize, const VB: usize, const STEP: usize>(
    s: &Sweep<'_, S::T>,
    rows: [usize; R],
    column: usize,
) {
    let step = if STEP == 0 { s.step } else { STEP };
    let columns: [usize; C] = std::array::from_fn(|c| c * step);
    // SAFETY: the caller's promise.
    unsafe {
        let x: [*const S::T; R] = std::array::from_fn(|r| s.x.add(rows[r] * s.line + column * step));
        let mut acc = [[[S::zero(); VB]; C]; R];
        for v in 0..VB {
            let bias = S::load(s.w.add(v * S::N));
            for r in 0..R {
                for c in 0..C {
                    acc[r][c][v] = bias;
                }
            }
        }
        let mut w = s.w.add(VB * S::N);
        for &tap in s.taps {
            let mut b = [S::zero(); VB];
            for v in 0..VB {
                b[v] = S::load(w.add(v * S::N));
            }
            for r in 0..R {
                for c in 0..C {
                    let a = S::splat(*x[r].add(tap + columns[c]));
                    for v in 0..VB {
                        acc[r][c][v] = S::fma(a, b[v], acc[r][c][v]);
                    }
                }
            }
            w = w.add(VB * S::N);
        }
        if s.relu {
            for r in 0..R {
                for c in 0..C {
                    for v in 0..VB {
                        acc[r][c][v] = S::relu(acc[r][c][v]);
                    }
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                for v in 0..VB {
                    S::store(s.y.add(((rows[r] * s.size.1 + column + c) * VB + v) * S::N), acc[r][c][v]);
                }
            }
        }
    }
}
