//! Backward-weights: transformed gradients times transformed inputs, summed over tiles.
//!
//! The plain loop: `sums[p][k][c] = sum over tiles t of z[p][t][k] * v[p][t][c]`, then the transpose of the weights' transform.
//! The tricks: the sums of a tile of outputs k and vectors of inputs c stay in registers over all tiles of a group. Where all sums
//! fit near, groups are divided into parts with sums of their own, how many is decided by the geometry alone, and parts are added
//! in order. Where they do not, many groups are transformed first and then taken plane by plane.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cost::{Pass, cheapest};
use super::tiles::{Group, Tiles};
use super::{Transformer, Transforms, pitch, transform};
use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::transpose::transpose;

/// Bytes of sums to which groups are added; larger ones are taken plane by plane. Where multiplications take twice as long,
/// sums may be further away.
fn near(isa: Isa) -> usize {
    if isa == Isa::Avx512 { 1 << 20 } else { 5 << 19 }
}

/// Bytes of transforms of a round of planes, and the fewest tiles.
const ROUND: (usize, usize) = (5 << 20, 64);
/// Bytes of sums that parts may have together, the most parts, and the tiles of a part where there are more than two.
const PARTS: (usize, usize, usize) = (5 << 20, 8, 64);

/// Rows of a tile of sums: as many as divide a vector's worth of outputs.
const fn rows_for(registers: usize) -> usize {
    if registers == 32 { 8 } else { 4 }
}

/// Bytes of the sums of pieces that are taken together, if it is more than one.
const SHARE: usize = 5 << 18;

/// The pieces that are taken together, in whole runs of blocks, and how often that is.
pub(super) fn shares(t: &Tiles, lanes: usize) -> (usize, usize) {
    let bytes = |pieces: usize| t.products() * 4 * t.channels(pieces, lanes) * t.k.next_multiple_of(lanes);
    let (blocks, all) = (t.right.blocks, t.pieces().0);
    let fits = (1..=all / blocks).rev().find(|runs| bytes(runs * blocks) <= SHARE).unwrap_or(1);
    let shares = (all / blocks).div_ceil(fits);
    ((all / blocks).div_ceil(shares) * blocks, shares)
}

/// [`crate::conv::conv2d_weight`] where it [`pays`](super::pays). Gives whether the result is finite.
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) -> bool {
    let lanes = lanes::<T>(isa);
    let t = Tiles::new(g, false, cheapest(g, Pass::Weight, lanes).0, lanes);
    (gw.chunks_exact_mut(t.taps() * t.c * t.k).enumerate()).all(|(group, gw)| {
        let (x, gy) = (&x[group * t.c * t.planes().0..], &gy[group * t.k * t.planes().1..]);
        group_weight(isa, t, x, gy, gw)
    })
}

/// The gradient by the weights of a group, whose first channels of the first image come first.
fn group_weight<T: Float>(isa: Isa, t: Tiles, x: &[T], gy: &[T], gw: &mut [T]) -> bool {
    let lanes = lanes::<T>(isa);
    let outputs = t.k.next_multiple_of(lanes);
    let (at_once, all) = (shares(&t, lanes).0, t.pieces().0);
    let channels = t.channels(at_once, lanes);
    let t = t.grouped(channels + outputs);
    let plane = pitch::<T>(outputs * channels);
    let bytes = t.products() * plane * size_of::<T>();
    let far = bytes > near(isa);
    let most = (t.batch * t.down.tiles * t.right.tiles / PARTS.2).max(2);
    let parts = if far { 1 } else { (PARTS.0 / bytes).min(PARTS.1).min(most).min(t.groups()) };
    let mut sums = Buffer::unfilled(parts * t.products() * plane);
    let (elements, odd) = (t.elements(), AtomicBool::new(false));
    for first in (0..all).step_by(at_once) {
        let pieces = first..all.min(first + at_once);
        let share = Share { t: &t, elements: &elements, pieces, channels, outputs, plane };
        if far {
            share.by_planes(isa, x, gy, sums.make_mut());
        } else {
            share.by_groups(isa, x, gy, sums.make_mut());
        }
        par::for_each_chunk(gw, t.taps() * t.c, 200 * channels * parts, |k, gw| {
            share.write(isa, &sums, parts, k, gw);
            // Nothing but infinity and NaN makes NaN of zero.
            let last = share.pieces.end == all;
            if last && gw.iter().fold(T::ZERO, |sum, &v| sum + v * T::ZERO).nan() {
                odd.store(true, Ordering::Relaxed);
            }
        });
    }
    !odd.into_inner()
}

/// Some of the pieces, with their sums of one plane, `[output][piece and input]`.
struct Share<'a> {
    t: &'a Tiles,
    /// Those of the tiles.
    elements: &'a [i64],
    pieces: Range<usize>,
    /// Channels and outputs in whole vectors.
    channels: usize,
    outputs: usize,
    plane: usize,
}

impl Share<'_> {
    /// Sums in parts of groups, each of which a thread transforms and adds at once.
    fn by_groups<T: Float>(&self, isa: Isa, x: &[T], gy: &[T], sums: &mut [T]) {
        let (t, channels, outputs, plane) = (self.t, self.channels, self.outputs, self.plane);
        let (groups, parts) = (t.groups(), sums.len() / (t.products() * plane));
        let work = (t.batch * t.down.tiles * t.right.tiles).saturating_mul(2 * t.products() * channels * t.k) / parts;
        par::for_each_chunk(sums, t.products() * plane, work, |part, sums| {
            let mut inputs = Transformed::new(t, t.most().1, channels);
            let mut gradients = Transformed::new(t, t.most().1, outputs);
            let (mut transformer, mut pixels) = (Transformer::new(isa, t), pixels(t, outputs));
            for (first, i) in (part * groups / parts..(part + 1) * groups / parts).enumerate() {
                let group = t.group(i);
                let (to_inputs, to_gradients) = (inputs.start(), gradients.start());
                // SAFETY: both have room for the most tiles of a group.
                unsafe {
                    transformer.run(isa, t, &group, self.pieces.clone(), x, inputs.at(to_inputs, 0));
                    transform_gradients(isa, t, &group, gy, pixels.make_mut(), gradients.at(to_gradients, 0));
                }
                let tiles = group.images.len() * group.rows.len() * t.right.tiles;
                for (p, to) in sums.chunks_exact_mut(plane).enumerate() {
                    add_plane(isa, (&gradients, &inputs), p, tiles, first > 0, to);
                }
            }
        });
    }

    /// Sums in rounds of groups: all threads transform them, then each takes some planes, in which the sums of a tile of outputs and
    /// inputs stay in registers over all of the round.
    fn by_planes<T: Float>(&self, isa: Isa, x: &[T], gy: &[T], sums: &mut [T]) {
        let (t, channels, outputs, plane) = (self.t, self.channels, self.outputs, self.plane);
        let wanted = (ROUND.0 / (t.products() * size_of::<T>() * (channels + outputs))).max(ROUND.1);
        let (groups, at_once) = (t.groups(), (wanted / t.most().1).clamp(1, t.groups()));
        let mut inputs = Transformed::new(t, at_once * t.most().1, channels);
        let mut gradients = Transformed::new(t, at_once * t.most().1, outputs);
        // Tiles before a group.
        let before = |i: usize| match i {
            i if i == groups => t.batch * t.down.tiles * t.right.tiles,
            i => (t.group(i).images.start * t.down.tiles + t.group(i).rows.start) * t.right.tiles,
        };
        for first in (0..groups).step_by(at_once) {
            let (start, end) = (before(first), before(groups.min(first + at_once)));
            let (to_inputs, to_gradients) = (Shared(inputs.start()), Shared(gradients.start()));
            let work = t.products() * 16 * t.most().1 * (channels + outputs);
            par::for_each_range(groups.min(first + at_once) - first, work, |range| {
                let (mut transformer, mut pixels) = (Transformer::new(isa, t), pixels(t, outputs));
                for i in first + range.start..first + range.end {
                    let group = t.group(i);
                    // SAFETY: there is room for as many groups, and each has its own tiles.
                    unsafe {
                        transformer.run(
                            isa,
                            t,
                            &group,
                            self.pieces.clone(),
                            x,
                            inputs.at(to_inputs.get(), before(i) - start),
                        );
                        let to = gradients.at(to_gradients.get(), before(i) - start);
                        transform_gradients(isa, t, &group, gy, pixels.make_mut(), to);
                    }
                }
            });
            par::for_each_chunk(sums, plane, (2 * (end - start) * channels).saturating_mul(t.k), |p, to| {
                add_plane(isa, (&gradients, &inputs), p, end - start, first > 0, to);
            });
        }
    }

    /// Turns the sums of all parts for an output back to weights.
    fn write<T: Float>(&self, isa: Isa, sums: &Buffer<T>, parts: usize, k: usize, gw: &mut [T]) {
        let (t, channels, small, taps) = (self.t, self.channels, self.t.small(), self.t.taps());
        let mut kernels = Buffer::unfilled(small * small * channels);
        let body = transform::KernelGradients {
            // SAFETY: row k of the first plane.
            from: unsafe { sums.as_ptr().add(k * channels) },
            plane: self.plane,
            parts,
            part: t.products() * self.plane,
            points: t.points(),
            to: kernels.make_mut(),
            channels,
        };
        // SAFETY: the set comes from detection, and all parts have all planes.
        unsafe { transform::run_kernels(isa, t, body) };
        if (t.pieces().0, taps) == (1, small * small) {
            return transpose(isa, (taps, t.c), &kernels, channels, gw, taps);
        }
        for (i, piece) in self.pieces.clone().enumerate() {
            for at in 0..small * small {
                let element = self.elements[piece * small * small + at] as usize;
                if element < taps {
                    let from = &kernels[at * channels + i * t.slot..][..t.c];
                    for (to, &v) in gw[element..].iter_mut().step_by(taps).zip(from) {
                        *to = v;
                    }
                }
            }
        }
    }
}

/// Transforms of some tiles, `[plane][tile][channel]`.
struct Transformed<T: Float> {
    elements: Buffer<T>,
    /// Channels in whole vectors.
    channels: usize,
    /// Between tiles, an odd number of cache lines, and between planes.
    row: usize,
    plane: usize,
}

impl<T: Float> Transformed<T> {
    fn new(t: &Tiles, tiles: usize, channels: usize) -> Transformed<T> {
        let row = pitch::<T>(channels);
        let plane = pitch::<T>(tiles * row);
        Transformed { elements: Buffer::unfilled(t.products() * plane), channels, row, plane }
    }

    /// The place of the first tile, for writing.
    fn start(&mut self) -> *mut T {
        self.elements.make_mut().as_mut_ptr()
    }

    /// Where the transforms of tile `tile` and those after it go.
    ///
    /// # Safety
    /// There is such a tile, and `start` is that of this value.
    unsafe fn at(&self, start: *mut T, tile: usize) -> Transforms<T> {
        // SAFETY: the caller's promise.
        Transforms { to: unsafe { start.add(tile * self.row) }, row: self.row, plane: self.plane }
    }
}

/// Rows of gradients, channels last.
fn pixels<T: Float>(t: &Tiles, outputs: usize) -> Buffer<T> {
    Buffer::zeroed(t.most_pixels().1 * outputs)
}

/// Transforms the gradients of a group.
///
/// # Safety
/// There is room for the tiles of the group at `to`, which nobody else uses.
unsafe fn transform_gradients<T: Float>(
    isa: Isa,
    t: &Tiles,
    group: &Group,
    gy: &[T],
    pixels: &mut [T],
    to: Transforms<T>,
) {
    let rows = t.output_rows(&group.rows);
    let channels = t.k.next_multiple_of(lanes::<T>(isa));
    let plane = t.planes().1;
    let (len, image) = (t.k * plane, t.all.1 * plane);
    for (i, n) in group.images.clone().enumerate() {
        let from = &gy[n * image..][..len][rows.start * t.right.output..];
        transpose(isa, (t.k, rows.len() * t.right.output), from, plane, pixels, channels);
        let body = transform::Gradients {
            tiles: t,
            rows: group.rows.clone(),
            pixels,
            channels,
            // SAFETY: the tiles of an image follow those of the images before it.
            to: unsafe { to.to.add(i * group.rows.len() * t.right.tiles * to.row) },
            row: to.row,
            plane: to.plane,
        };
        // SAFETY: the set comes from detection, and there is room for the tiles.
        unsafe { transform::run::<T, _, ()>(isa, t, body) };
    }
}

/// Adds to the sums `[output][input]` of one plane the products of the first tiles, or replaces them.
fn add_plane<T: Float>(
    isa: Isa,
    (gradients, inputs): (&Transformed<T>, &Transformed<T>),
    plane: usize,
    tiles: usize,
    add: bool,
    sums: &mut [T],
) {
    let left = &gradients.elements[plane * gradients.plane..];
    let right = &inputs.elements[plane * inputs.plane..];
    assert!(left.len() >= tiles * gradients.row && right.len() >= tiles * inputs.row);
    assert!(sums.len() >= gradients.channels * inputs.channels);
    let body = Sums {
        left: left.as_ptr(),
        left_row: gradients.row,
        outputs: gradients.channels,
        right: right.as_ptr(),
        right_row: inputs.row,
        inputs: inputs.channels,
        to: sums.as_mut_ptr(),
        tiles,
        add,
    };
    // SAFETY: the set comes from detection, and the lengths were checked.
    unsafe { T::simd(isa, body) };
}

/// The sums of one plane over some tiles.
struct Sums<T> {
    /// `[tile][output]`.
    left: *const T,
    left_row: usize,
    outputs: usize,
    /// `[tile][input]`.
    right: *const T,
    right_row: usize,
    inputs: usize,
    /// `[output][input]`.
    to: *mut T,
    tiles: usize,
    /// Add to the sums instead of replacing them.
    add: bool,
}

impl<T: Float> SimdBody<T> for Sums<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match const { rows_for(S::REGISTERS) } {
                8 => self.plane::<S, 8>(),
                _ => self.plane::<S, 4>(),
            }
        }
    }
}

impl<T: Float> Sums<T> {
    #[inline(always)]
    unsafe fn plane<S: Simd<T = T>, const RB: usize>(self) {
        // Either some inputs of all tiles stay near while all outputs pass by, or where a tile of outputs is a small part of a
        // cache line, a line of outputs while all inputs do.
        let near = if RB == 8 { self.outputs } else { 16 };
        for first in (0..self.outputs).step_by(near) {
            let outputs = first..self.outputs.min(first + near);
            let vectors = self.inputs / S::N;
            let mut v = 0;
            while v < vectors {
                // Threes, and twos where a one would be left.
                let width = match vectors - v {
                    n @ (1 | 2) => n,
                    4 => 2,
                    _ => 3,
                };
                for k in outputs.clone().step_by(RB) {
                    // SAFETY: the caller's promise.
                    unsafe {
                        match width {
                            1 => self.tile::<S, RB, 1>(k, v * S::N),
                            2 => self.tile::<S, RB, 2>(k, v * S::N),
                            _ => self.tile::<S, RB, 3>(k, v * S::N),
                        }
                    }
                }
                v += width;
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd<T = T>, const RB: usize, const VB: usize>(&self, k: usize, c: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut left = self.left.add(k);
            let mut right = self.right.add(c);
            let to = self.to.add(k * self.inputs + c);
            let mut acc = [[S::zero(); VB]; RB];
            if self.add {
                for r in 0..RB {
                    for i in 0..VB {
                        acc[r][i] = S::load(to.add(r * self.inputs + i * S::N));
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
                    S::store(to.add(r * self.inputs + i * S::N), acc[r][i]);
                }
            }
        }
    }
}
