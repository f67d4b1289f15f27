//! The transforms of inputs, outputs, gradients and weights, each along columns and then along rows.
//!
//! Each one-dimensional transform is written with the sums that its rows share.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::{Tiles, first};
use crate::element::{Float, Number};
use crate::isa::{Isa, Simd, SimdBody};

/// A transform of tiles whose pixels are known to be neighbours, which is faster, or may be apart.
pub(super) struct Steps<B, const DILATED: bool>(pub(super) B);

/// Runs a transform of tiles.
///
/// # Safety
/// The machine has `isa`, and what the transform asks for.
pub(super) unsafe fn run<T: Float, B, R>(isa: Isa, t: &Tiles, body: B) -> R
where
    Steps<B, false>: SimdBody<T, Output = R>,
    Steps<B, true>: SimdBody<T, Output = R>,
{
    // SAFETY: the caller's promise.
    unsafe {
        if t.dilation == (1, 1) { T::simd(isa, Steps::<B, false>(body)) } else { T::simd(isa, Steps::<B, true>(body)) }
    }
}

/// Between the pixels of a tile, down and right.
#[inline(always)]
fn steps<const DILATED: bool>(t: &Tiles) -> (usize, usize) {
    if DILATED { t.dilation } else { (1, 1) }
}

/// `a * x + b` with a constant.
#[inline(always)]
unsafe fn scaled<S: Simd>(a: f64, x: S::V, b: S::V) -> S::V {
    // SAFETY: the set is enabled in the caller.
    unsafe { S::fma(S::splat(S::T::of(a)), x, b) }
}

/// `a - b`.
#[inline(always)]
unsafe fn minus<S: Simd>(a: S::V, b: S::V) -> S::V {
    // SAFETY: as above.
    unsafe { scaled::<S>(-1.0, b, a) }
}

/// `B' d`: the transform of six inputs.
#[inline(always)]
unsafe fn input<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: as above.
    unsafe {
        let (e, u) = (minus::<S>(d[3], d[1]), minus::<S>(d[4], d[2]));
        [
            scaled::<S>(1.5, e, S::add(minus::<S>(d[0], d[2]), u)),
            scaled::<S>(1.5, S::add(d[2], d[3]), S::add(u, e)),
            scaled::<S>(1.5, minus::<S>(d[3], d[2]), minus::<S>(u, e)),
            scaled::<S>(2.0, e, u),
            scaled::<S>(-0.5, e, u),
            scaled::<S>(1.5, u, minus::<S>(minus::<S>(d[5], d[3]), e)),
        ]
    }
}

/// `A' m`: four outputs of six products.
#[inline(always)]
unsafe fn output<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: as above.
    unsafe {
        let (a, b) = (S::add(m[1], m[2]), minus::<S>(m[1], m[2]));
        [
            S::add(S::add(m[0], a), S::add(m[3], m[4])),
            scaled::<S>(-2.0, m[4], scaled::<S>(0.5, m[3], b)),
            scaled::<S>(4.0, m[4], scaled::<S>(0.25, m[3], a)),
            scaled::<S>(-8.0, m[4], scaled::<S>(0.125, m[3], S::add(b, m[5]))),
        ]
    }
}

/// `A y`: the transpose of [`output`].
#[inline(always)]
unsafe fn gradient<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
    // SAFETY: as above.
    unsafe {
        let (even, odd) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        [
            y[0],
            S::add(even, odd),
            minus::<S>(even, odd),
            scaled::<S>(0.125, y[3], scaled::<S>(0.25, y[2], scaled::<S>(0.5, y[1], y[0]))),
            scaled::<S>(-8.0, y[3], scaled::<S>(4.0, y[2], scaled::<S>(-2.0, y[1], y[0]))),
            y[3],
        ]
    }
}

/// `G g`: the transform of three weights.
#[inline(always)]
unsafe fn weight<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: as above.
    unsafe {
        let (ends, zero) = (S::add(g[0], g[2]), S::zero());
        [
            g[0],
            scaled::<S>(1.0 / 3.0, S::add(ends, g[1]), zero),
            scaled::<S>(1.0 / 3.0, minus::<S>(g[1], ends), zero),
            scaled::<S>(-4.0 / 15.0, scaled::<S>(4.0, g[0], scaled::<S>(2.0, g[1], g[2])), zero),
            scaled::<S>(1.0 / 15.0, scaled::<S>(4.0, g[2], scaled::<S>(-2.0, g[1], g[0])), zero),
            g[2],
        ]
    }
}

/// `G' u`: the transpose of [`weight`].
#[inline(always)]
unsafe fn weight_gradient<S: Simd>(u: [S::V; 6]) -> [S::V; 3] {
    // SAFETY: as above.
    unsafe {
        let (sum, difference) = (S::add(u[1], u[2]), minus::<S>(u[1], u[2]));
        let (a, b) = (scaled::<S>(-4.0 / 15.0, u[3], S::zero()), scaled::<S>(1.0 / 15.0, u[4], S::zero()));
        [
            S::add(u[0], scaled::<S>(4.0, a, scaled::<S>(1.0 / 3.0, difference, b))),
            scaled::<S>(1.0 / 3.0, sum, scaled::<S>(2.0, a, scaled::<S>(-2.0, b, S::zero()))),
            S::add(u[5], scaled::<S>(4.0, b, scaled::<S>(1.0 / 3.0, difference, a))),
        ]
    }
}

/// Rows of tiles of one image of inputs, to `[plane][tile][channel]`.
pub(super) struct Inputs<'a, T> {
    pub(super) tiles: &'a Tiles,
    /// Rows of tiles.
    pub(super) rows: Range<usize>,
    /// Rows of the image that `pixels` has.
    pub(super) source: Range<usize>,
    /// `[row][column][channel]`.
    pub(super) pixels: &'a [T],
    /// Room for six vectors for each column of a row of tiles.
    pub(super) columns: &'a mut [T],
    pub(super) channels: usize,
    pub(super) to: *mut T,
    /// Between tiles and between planes.
    pub(super) row: usize,
    pub(super) plane: usize,
}

impl<T: Float, const DILATED: bool> SimdBody<T> for Steps<Inputs<'_, T>, DILATED> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe { self.0.each::<S, DILATED>() }
    }
}

impl<T: Float> Inputs<'_, T> {
    #[inline(always)]
    unsafe fn each<S: Simd<T = T>, const DILATED: bool>(self) {
        let (t, (step_down, step_right)) = (self.tiles, steps::<DILATED>(self.tiles));
        let width = t.input_columns();
        assert!(self.columns.len() >= width * 6 * S::N && self.channels.is_multiple_of(S::N));
        assert!(self.pixels.len() >= self.source.len() * t.w * self.channels);
        let columns = self.columns.as_mut_ptr();
        for (down, row) in self.rows.clone().enumerate() {
            let top = first(row, step_down);
            for vector in (0..self.channels).step_by(S::N) {
                // SAFETY: columns has room for all columns; pixels are read inside of the rows and columns that exist,
                // and the caller has room for the tiles.
                unsafe {
                    for column in 0..width {
                        let mut d = [S::zero(); 6];
                        let at = column.wrapping_sub(t.padding.1);
                        if at < t.w {
                            for r in 0..6 {
                                let line = (top + r * step_down).wrapping_sub(t.padding.0);
                                if self.source.contains(&line) {
                                    let pixel = (line - self.source.start) * t.w + at;
                                    d[r] = S::load(self.pixels.as_ptr().add(pixel * self.channels + vector));
                                }
                            }
                        }
                        let d = input::<S>(d);
                        for r in 0..6 {
                            S::store(columns.add((column * 6 + r) * S::N), d[r]);
                        }
                    }
                    for column in 0..t.columns {
                        let to = self.to.add((down * t.columns + column) * self.row + vector);
                        let left = first(column, step_right);
                        for r in 0..6 {
                            let mut d = [S::zero(); 6];
                            for s in 0..6 {
                                d[s] = S::load(columns.add(((left + s * step_right) * 6 + r) * S::N));
                            }
                            let d = input::<S>(d);
                            for s in 0..6 {
                                S::store(to.add((6 * r + s) * self.plane), d[s]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Rows of tiles of one image of products, to rows of pixels with the outputs last.
pub(super) struct Outputs<'a, T> {
    pub(super) tiles: &'a Tiles,
    pub(super) rows: Range<usize>,
    /// `[plane][tile][output]`.
    pub(super) from: *const T,
    pub(super) plane: usize,
    pub(super) bias: &'a [T],
    pub(super) relu: bool,
    /// `[row][column][output]`.
    pub(super) results: &'a mut [T],
    pub(super) block: usize,
}

impl<T: Float, const DILATED: bool> SimdBody<T> for Steps<Outputs<'_, T>, DILATED> {
    /// Whether no result is infinite or NaN.
    type Output = bool;
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.0.each::<S, DILATED>() }
    }
}

impl<T: Float> Outputs<'_, T> {
    #[inline(always)]
    unsafe fn each<S: Simd<T = T>, const DILATED: bool>(self) -> bool {
        let (t, steps) = (self.tiles, steps::<DILATED>(self.tiles));
        let (step_down, step_right) = steps;
        let lines = t.output_rows(&self.rows).len();
        assert!(self.block.is_multiple_of(S::N) && self.bias.len() == self.block);
        assert!(self.results.len() >= lines * t.out_w * self.block);
        let results = self.results.as_mut_ptr();
        // SAFETY: the set is enabled here.
        let mut odd = unsafe { S::zero() };
        for (down, tile) in (0..self.rows.len()).flat_map(|d| (0..t.columns).map(move |c| (d, c))) {
            let ((top, left), (high, wide)) = t.inside((down, tile), lines, steps);
            for vector in (0..self.block).step_by(S::N) {
                // SAFETY: the caller has the tiles; rows and columns beyond the result are not written.
                unsafe {
                    let from = self.from.add((down * t.columns + tile) * self.block + vector);
                    let bias = S::load(self.bias.as_ptr().add(vector));
                    let mut half = [[S::zero(); 6]; 4];
                    for s in 0..6 {
                        let mut m = [S::zero(); 6];
                        for r in 0..6 {
                            m[r] = S::load(from.add((6 * r + s) * self.plane));
                        }
                        let y = output::<S>(m);
                        for p in 0..4 {
                            half[p][s] = y[p];
                        }
                    }
                    for p in 0..4 {
                        let y = output::<S>(half[p]);
                        if p < high {
                            let line = results.add(((top + p * step_down) * t.out_w + left) * self.block + vector);
                            for q in 0..4 {
                                if q < wide {
                                    let y = S::add(y[q], bias);
                                    // Nothing but infinity and NaN makes NaN of zero.
                                    odd = S::fma(y, S::zero(), odd);
                                    let y = if self.relu { S::relu(y) } else { y };
                                    S::store(line.add(q * step_right * self.block), y);
                                }
                            }
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { !S::sum(odd).nan() }
    }
}

/// Rows of tiles of one image of gradients by the outputs, to `[plane][tile][output]`.
pub(super) struct Gradients<'a, T> {
    pub(super) tiles: &'a Tiles,
    pub(super) rows: Range<usize>,
    /// `[row][column][output]`, from the first row of the tiles on.
    pub(super) pixels: &'a [T],
    pub(super) channels: usize,
    pub(super) to: *mut T,
    /// Between tiles and between planes.
    pub(super) row: usize,
    pub(super) plane: usize,
}

impl<T: Float, const DILATED: bool> SimdBody<T> for Steps<Gradients<'_, T>, DILATED> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe { self.0.each::<S, DILATED>() }
    }
}

impl<T: Float> Gradients<'_, T> {
    #[inline(always)]
    unsafe fn each<S: Simd<T = T>, const DILATED: bool>(self) {
        let (t, steps) = (self.tiles, steps::<DILATED>(self.tiles));
        let (step_down, step_right) = steps;
        let lines = t.output_rows(&self.rows).len();
        assert!(self.channels.is_multiple_of(S::N) && self.pixels.len() >= lines * t.out_w * self.channels);
        for (down, tile) in (0..self.rows.len()).flat_map(|d| (0..t.columns).map(move |c| (d, c))) {
            let ((top, left), (high, wide)) = t.inside((down, tile), lines, steps);
            for vector in (0..self.channels).step_by(S::N) {
                // SAFETY: rows and columns beyond the result are not read, and the caller has room for the tiles.
                unsafe {
                    let to = self.to.add((down * t.columns + tile) * self.row + vector);
                    let mut half = [[S::zero(); 4]; 6];
                    for q in 0..4 {
                        let mut y = [S::zero(); 4];
                        for p in 0..4 {
                            if p < high && q < wide {
                                let pixel = (top + p * step_down) * t.out_w + left + q * step_right;
                                y[p] = S::load(self.pixels.as_ptr().add(pixel * self.channels + vector));
                            }
                        }
                        let m = gradient::<S>(y);
                        for r in 0..6 {
                            half[r][q] = m[r];
                        }
                    }
                    for r in 0..6 {
                        let m = gradient::<S>(half[r]);
                        for s in 0..6 {
                            S::store(to.add((6 * r + s) * self.plane), m[s]);
                        }
                    }
                }
            }
        }
    }
}

/// The weights of one input channel with a block of outputs.
pub(super) struct Kernels<'a, T> {
    /// `[row][column][output]`.
    pub(super) from: &'a [T],
    pub(super) turned: bool,
    pub(super) to: *mut T,
    pub(super) plane: usize,
    pub(super) block: usize,
}

impl<T: Float> SimdBody<T> for Kernels<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        assert!(self.block.is_multiple_of(S::N) && self.from.len() == 9 * self.block);
        for vector in (0..self.block).step_by(S::N) {
            // SAFETY: nine rows of a block are there, and the caller has room for the planes.
            unsafe {
                let mut half = [[S::zero(); 3]; 6];
                for s in 0..3 {
                    let mut g = [S::zero(); 3];
                    for r in 0..3 {
                        let at = if self.turned { 8 - 3 * r - s } else { 3 * r + s };
                        g[r] = S::load(self.from.as_ptr().add(at * self.block + vector));
                    }
                    let u = weight::<S>(g);
                    for r in 0..6 {
                        half[r][s] = u[r];
                    }
                }
                for r in 0..6 {
                    let u = weight::<S>(half[r]);
                    for s in 0..6 {
                        S::store(self.to.add((6 * r + s) * self.plane + vector), u[s]);
                    }
                }
            }
        }
    }
}

/// The sums for one output with all inputs, back to weights.
pub(super) struct KernelGradients<'a, T> {
    /// The first plane of the first part.
    pub(super) from: *const T,
    pub(super) plane: usize,
    /// How many parts there are, and their distance.
    pub(super) parts: usize,
    pub(super) part: usize,
    /// `[row][column][input]`.
    pub(super) to: &'a mut [T],
    pub(super) channels: usize,
}

impl<T: Float> SimdBody<T> for KernelGradients<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        assert!(self.channels.is_multiple_of(S::N) && self.to.len() == 9 * self.channels);
        for vector in (0..self.channels).step_by(S::N) {
            // SAFETY: the caller has the planes of all parts, and the result has nine rows.
            unsafe {
                let mut half = [[S::zero(); 6]; 3];
                for s in 0..6 {
                    let mut u = [S::zero(); 6];
                    for r in 0..6 {
                        let from = self.from.add((6 * r + s) * self.plane + vector);
                        u[r] = S::load(from);
                        for part in 1..self.parts {
                            u[r] = S::add(u[r], S::load(from.add(part * self.part)));
                        }
                    }
                    let g = weight_gradient::<S>(u);
                    for r in 0..3 {
                        half[r][s] = g[r];
                    }
                }
                for r in 0..3 {
                    let g = weight_gradient::<S>(half[r]);
                    for s in 0..3 {
                        S::store(self.to.as_mut_ptr().add((3 * r + s) * self.channels + vector), g[s]);
                    }
                }
            }
        }
    }
}
