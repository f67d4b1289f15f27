//! Backward-weights: transformed gradients times transformed inputs, summed over tiles.
//!
//! The plain loop: `sums[p][k][c] = sum over tiles t of z[p][t][k] * v[p][t][c]`, then the transpose of the weights' transform.
//! The tricks: the sums of a tile of outputs k and vectors of inputs c stay in registers over all tiles of a group. Groups are
//! divided into parts with sums of their own, how many is decided by the geometry alone; parts are added in order.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use super::{Group, PLANES, Scratch, Tiles, pitch, transform};
use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::transpose::transpose;

/// Bytes of sums that parts may have together, and the fewest and most parts.
const PART_BYTES: usize = 20 << 20;
const PARTS: (usize, usize) = (2, 8);

/// Rows of a tile of sums: as many as divide a vector's worth of outputs.
const fn rows_for(registers: usize) -> usize {
    if registers == 32 { 8 } else { 4 }
}

/// [`crate::conv::conv2d_weight`] where it [`pays`](super::pays).
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let lanes = lanes::<T>(isa);
    let (channels, outputs) = (g.in_channels.next_multiple_of(lanes), g.out_channels.next_multiple_of(lanes));
    let t = Tiles::forward(g, channels + outputs);
    assert_eq!(x.len(), t.batch * t.c * t.h * t.w, "the input has its size");
    assert_eq!(gy.len(), t.batch * t.k * t.out_h * t.out_w, "the gradient has the size of the result");
    let plane = pitch::<T>(outputs * channels);
    let groups = t.groups();
    let parts = (PART_BYTES / (PLANES * plane * size_of::<T>())).clamp(PARTS.0, PARTS.1).min(groups);
    let mut sums = Buffer::unfilled(parts * PLANES * plane);
    let work = (t.batch * t.rows * t.columns).saturating_mul(2 * PLANES * t.c * t.k) / parts;
    par::for_each_chunk(sums.make_mut(), PLANES * plane, work, |part, sums| {
        // The products of the forward pass have no room here: the block is that of the gradients.
        let mut scratch = Scratch::new(isa, &t, outputs);
        let mut pixels = Buffer::zeroed(4 * t.rows_at_once * t.out_w * outputs);
        for (first, i) in (part * groups / parts..(part + 1) * groups / parts).enumerate() {
            let group = t.group(i);
            scratch.transform(isa, &t, &group, x);
            gradients(isa, &t, &group, gy, outputs, pixels.make_mut(), &mut scratch);
            let body = Sums {
                left: scratch.products.as_ptr(),
                left_row: outputs,
                left_plane: scratch.products_plane,
                right: scratch.inputs.as_ptr(),
                right_row: channels,
                right_plane: scratch.inputs_plane,
                to: sums,
                plane,
                tiles: group.images.len() * group.rows.len() * t.columns,
                add: first > 0,
            };
            // SAFETY: the set comes from detection, and scratch holds the transforms of the tiles.
            unsafe { T::simd(isa, body) };
        }
    });
    let sums = &sums;
    par::for_each_chunk(gw, 9 * t.c, 200 * t.c * parts, |k, gw| {
        let mut kernels = Buffer::unfilled(9 * channels);
        let body = transform::KernelGradients {
            // SAFETY: row k of the first plane.
            from: unsafe { sums.as_ptr().add(k * channels) },
            plane,
            parts,
            part: PLANES * plane,
            to: kernels.make_mut(),
            channels,
        };
        // SAFETY: the set comes from detection, and all parts have all planes.
        unsafe { T::simd(isa, body) };
        transpose(isa, (9, t.c), &kernels, channels, gw, 9);
    });
}

/// Transforms the gradients of a group to `[plane][tile][output]`, in the memory of the products.
fn gradients<T: Float>(
    isa: Isa,
    t: &Tiles,
    group: &Group,
    gy: &[T],
    outputs: usize,
    pixels: &mut [T],
    scratch: &mut Scratch<T>,
) {
    let rows = t.output_rows(&group.rows);
    let (image, plane) = (t.k * t.out_h * t.out_w, t.out_h * t.out_w);
    let to = Shared(scratch.products.make_mut().as_mut_ptr());
    for (i, n) in group.images.clone().enumerate() {
        let from = &gy[n * image..][..image][rows.start * t.out_w..];
        transpose(isa, (t.k, rows.len() * t.out_w), from, plane, pixels, outputs);
        let body = transform::Gradients {
            tiles: t,
            rows: group.rows.clone(),
            pixels,
            channels: outputs,
            // SAFETY: the tiles of an image follow those of the images before it.
            to: unsafe { to.get().add(i * group.rows.len() * t.columns * outputs) },
            plane: scratch.products_plane,
        };
        // SAFETY: the set comes from detection, and scratch was made for the geometry.
        unsafe { T::simd(isa, body) };
    }
}

/// The sums over the tiles of a group, in all planes.
struct Sums<'a, T> {
    /// `[plane][tile][output]`.
    left: *const T,
    left_row: usize,
    left_plane: usize,
    /// `[plane][tile][input]`.
    right: *const T,
    right_row: usize,
    right_plane: usize,
    /// `[plane][output][input]`.
    to: &'a mut [T],
    plane: usize,
    tiles: usize,
    /// Add to the sums instead of replacing them.
    add: bool,
}

impl<T: Float> SimdBody<T> for Sums<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        assert_eq!(self.to.len(), PLANES * self.plane);
        // SAFETY: the caller's promise.
        unsafe {
            match const { rows_for(S::REGISTERS) } {
                8 => self.planes::<S, 8>(),
                _ => self.planes::<S, 4>(),
            }
        }
    }
}

impl<T: Float> Sums<'_, T> {
    #[inline(always)]
    unsafe fn planes<S: Simd<T = T>, const RB: usize>(mut self) {
        let vectors = self.right_row / S::N;
        for p in 0..PLANES {
            let mut v = 0;
            while v < vectors {
                // Threes, and twos where a one would be left.
                let width = match vectors - v {
                    n @ (1 | 2) => n,
                    4 => 2,
                    _ => 3,
                };
                for k in (0..self.left_row).step_by(RB) {
                    // SAFETY: the caller's promise.
                    unsafe {
                        match width {
                            1 => self.tile::<S, RB, 1>(p, k, v * S::N),
                            2 => self.tile::<S, RB, 2>(p, k, v * S::N),
                            _ => self.tile::<S, RB, 3>(p, k, v * S::N),
                        }
                    }
                }
                v += width;
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd<T = T>, const RB: usize, const VB: usize>(&mut self, p: usize, k: usize, c: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut left = self.left.add(p * self.left_plane + k);
            let mut right = self.right.add(p * self.right_plane + c);
            let to = self.to.as_mut_ptr().add(p * self.plane + k * self.right_row + c);
            let mut acc = [[S::zero(); VB]; RB];
            if self.add {
                for r in 0..RB {
                    for i in 0..VB {
                        acc[r][i] = S::load(to.add(r * self.right_row + i * S::N));
                    }
                }
            }
            for _ in 0..self.tiles {
                let mut b = [S::zero(); VB];
                for i in 0..VB {
                    b[i] = S::load(right.add(i * S::N));
                }
                for r in 0..RB {
                    let a = S::splat(*left.add(r));
                    for i in 0..VB {
                        acc[r][i] = S::fma(a, b[i], acc[r][i]);
                    }
                }
                left = left.add(self.left_row);
                right = right.add(self.right_row);
            }
            for r in 0..RB {
                for i in 0..VB {
                    S::store(to.add(r * self.right_row + i * S::N), acc[r][i]);
                }
            }
        }
    }
}
