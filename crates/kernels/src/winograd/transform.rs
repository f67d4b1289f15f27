//! The transforms of inputs, outputs, gradients and weights, each along columns and then along rows.
//!
//! Each one-dimensional transform is written with the sums that its rows share.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::tiles::{Tiles, first};
use crate::element::{Float, Number};
use crate::isa::{Isa, Simd, SimdBody};

/// A transform of tiles with this side, or of any for 0, whose pixels are known to be neighbours, which is faster, or may be apart.
pub(super) struct Steps<B, const APART: bool, const SIDE: usize>(pub(super) B);

/// A transform of kernels with this side.
pub(super) struct Sized<B, const SIDE: usize>(pub(super) B);

/// Runs a transform of outputs or gradients.
///
/// # Safety
/// The machine has `isa`, and what the transform asks for.
pub(super) unsafe fn run<T: Float, B, R>(isa: Isa, t: &Tiles, body: B) -> R
where
    Steps<B, false, 4>: SimdBody<T, Output = R>,
    Steps<B, true, 4>: SimdBody<T, Output = R>,
    Steps<B, true, 3>: SimdBody<T, Output = R>,
    Steps<B, true, 2>: SimdBody<T, Output = R>,
{
    // SAFETY: the caller's promise.
    unsafe {
        match (t.side, written(t)) {
            // Smaller tiles are not worth more code.
            (2, _) => T::simd(isa, Steps::<B, true, 2>(body)),
            (3, _) => T::simd(isa, Steps::<B, true, 3>(body)),
            (_, (1, 1)) => T::simd(isa, Steps::<B, false, 4>(body)),
            _ => T::simd(isa, Steps::<B, true, 4>(body)),
        }
    }
}

/// Between neighbouring pixels of a tile that is read, down and right.
fn read(t: &Tiles) -> (usize, usize) {
    (t.down.dilation * t.down.step.0, t.right.dilation * t.right.step.0)
}

/// The same of one that is written.
fn written(t: &Tiles) -> (usize, usize) {
    (t.down.dilation * t.down.step.1, t.right.dilation * t.right.step.1)
}

/// Runs a transform of inputs.
///
/// # Safety
/// As for [`run`].
pub(super) unsafe fn run_inputs<T: Float>(isa: Isa, t: &Tiles, body: Inputs<T>) {
    // SAFETY: the caller's promise.
    unsafe {
        if read(t) == (1, 1) {
            T::simd(isa, Steps::<_, false, 0>(body));
        } else {
            T::simd(isa, Steps::<_, true, 0>(body));
        }
    }
}

/// Runs a transform of weights or of their gradients.
///
/// # Safety
/// As for [`run`].
pub(super) unsafe fn run_kernels<T: Float, B>(isa: Isa, t: &Tiles, body: B)
where
    Sized<B, 3>: SimdBody<T, Output = ()>,
    Sized<B, 4>: SimdBody<T, Output = ()>,
    Sized<B, 5>: SimdBody<T, Output = ()>,
{
    // SAFETY: the caller's promise.
    unsafe {
        match t.small() {
            3 => T::simd(isa, Sized::<B, 3>(body)),
            4 => T::simd(isa, Sized::<B, 4>(body)),
            _ => T::simd(isa, Sized::<B, 5>(body)),
        }
    }
}

/// Dilation and step between places, each down and right, of which one or the other is 1; of images that are read, or written.
#[inline(always)]
fn steps<const APART: bool>(t: &Tiles, reading: bool) -> [(usize, usize); 2] {
    let (down, right) = (&t.down, &t.right);
    match (APART, reading) {
        (false, _) => [(1, 1), (1, 1)],
        (_, true) => [(down.dilation, right.dilation), (down.step.0, right.step.0)],
        _ => [(down.dilation, right.dilation), (down.step.1, right.step.1)],
    }
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

/// Stores row r of a transformed tile to its planes, without what is not needed at infinity.
#[inline(always)]
unsafe fn store_row<S: Simd>(to: *mut S::T, plane: usize, points: (usize, usize), r: usize, row: [S::V; 6]) {
    // SAFETY: the caller has the planes.
    unsafe {
        if r < points.0 {
            let to = to.add(r * points.1 * plane);
            for s in 0..5 {
                S::store(to.add(s * plane), row[s]);
            }
            if points.1 == 6 {
                S::store(to.add(5 * plane), row[5]);
            }
        }
    }
}

/// A vector of zeros, to be read where there is no plane.
#[repr(align(64))]
struct Zeros([u8; 64]);
static ZEROS: Zeros = Zeros([0; 64]);

/// Loads column s of a transformed tile from its planes; what is not needed at infinity is zero. A choice of places costs less than
/// one of loads.
#[inline(always)]
unsafe fn load_column<S: Simd>(from: *const S::T, plane: usize, points: (usize, usize), s: usize) -> [S::V; 6] {
    let zeros = ZEROS.0.as_ptr().cast::<S::T>();
    // SAFETY: the caller has the planes, and no vector is longer than the zeros.
    unsafe {
        let (from, step) = if s < points.1 { (from.add(s * plane), points.1 * plane) } else { (zeros, 0) };
        let last = if points.0 == 6 { from.add(5 * step) } else { zeros };
        let mut column = [S::load(last); 6];
        for r in 0..5 {
            column[r] = S::load(from.add(r * step));
        }
        column
    }
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

/// `A' m`: the outputs of six products.
#[inline(always)]
unsafe fn output<S: Simd, const SIDE: usize>(m: [S::V; 6]) -> [S::V; SIDE] {
    // SAFETY: as above.
    unsafe {
        let sums = [S::add(m[1], m[2]), minus::<S>(m[1], m[2])];
        let mut y = [S::zero(); SIDE];
        y[0] = S::add(S::add(m[0], sums[0]), S::add(m[3], m[4]));
        let (mut half, mut two) = (1.0, 1.0);
        for i in 1..SIDE {
            (half, two) = (0.5 * half, -2.0 * two);
            let sum = if i + 1 == SIDE { S::add(sums[i % 2], m[5]) } else { sums[i % 2] };
            y[i] = scaled::<S>(two, m[4], scaled::<S>(half, m[3], sum));
        }
        y
    }
}

/// `A y`: the transpose of [`output`].
#[inline(always)]
unsafe fn gradient<S: Simd, const SIDE: usize>(y: [S::V; SIDE]) -> [S::V; 6] {
    // SAFETY: as above.
    unsafe {
        let (mut sums, mut near, mut far) = ([y[0], y[1]], y[0], y[0]);
        let (mut half, mut two) = (1.0, 1.0);
        for i in 1..SIDE {
            (half, two) = (0.5 * half, -2.0 * two);
            near = scaled::<S>(half, y[i], near);
            far = scaled::<S>(two, y[i], far);
            if i > 1 {
                sums[i % 2] = S::add(sums[i % 2], y[i]);
            }
        }
        [y[0], S::add(sums[0], sums[1]), minus::<S>(sums[0], sums[1]), near, far, y[SIDE - 1]]
    }
}

/// `G g`: the transform of the weights of a kernel.
#[inline(always)]
unsafe fn weight<S: Simd, const SIDE: usize>(g: [S::V; SIDE]) -> [S::V; 6] {
    // SAFETY: as above.
    unsafe {
        let (mut sums, last) = ([g[0], g[1]], SIDE - 1);
        for i in 2..SIDE {
            sums[i % 2] = S::add(sums[i % 2], g[i]);
        }
        // The polynomial at 1/2, times a power of two, and at -2.
        let (mut near, mut far, mut power) = (g[0], g[last], 1.0);
        for i in 1..SIDE {
            near = scaled::<S>(2.0, near, g[i]);
            far = scaled::<S>(-2.0, far, g[last - i]);
            power *= 0.5;
        }
        let zero = S::zero();
        [
            g[0],
            scaled::<S>(1.0 / 3.0, S::add(sums[0], sums[1]), zero),
            scaled::<S>(1.0 / 3.0, minus::<S>(sums[1], sums[0]), zero),
            scaled::<S>(-16.0 / 15.0 * power, near, zero),
            scaled::<S>(1.0 / 15.0, far, zero),
            g[last],
        ]
    }
}

/// `G' u`: the transpose of [`weight`].
#[inline(always)]
unsafe fn weight_gradient<S: Simd, const SIDE: usize>(u: [S::V; 6]) -> [S::V; SIDE] {
    // SAFETY: as above.
    unsafe {
        let zero = S::zero();
        let sums = [minus::<S>(u[1], u[2]), S::add(u[1], u[2])].map(
            #[inline(always)]
            |sum| scaled::<S>(1.0 / 3.0, sum, zero),
        );
        let (near, far) = (scaled::<S>(-16.0 / 15.0, u[3], zero), scaled::<S>(1.0 / 15.0, u[4], zero));
        let (mut half, mut two) = (1.0, 1.0);
        let mut g = [zero; SIDE];
        for i in 0..SIDE {
            g[i] = scaled::<S>(two, far, scaled::<S>(half, near, sums[i % 2]));
            (half, two) = (0.5 * half, -2.0 * two);
        }
        g[0] = S::add(g[0], u[0]);
        g[SIDE - 1] = S::add(g[SIDE - 1], u[5]);
        g
    }
}

/// Rows of tiles of one image of inputs, to `[plane][tile][channel]`.
pub(super) struct Inputs<'a, T> {
    pub(super) tiles: &'a Tiles,
    /// Rows of tiles.
    pub(super) rows: Range<usize>,
    /// The pieces, in whole runs of blocks.
    pub(super) pieces: Range<usize>,
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

impl<T: Float, const APART: bool> SimdBody<T> for Steps<Inputs<'_, T>, APART, 0> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe { self.0.each::<S, APART>() }
    }
}

impl<T: Float> Inputs<'_, T> {
    #[inline(always)]
    unsafe fn each<S: Simd<T = T>, const APART: bool>(self) {
        let (t, [(down_apart, right_apart), (down_step, right_step)]) = (self.tiles, steps::<APART>(self.tiles, true));
        let (width, image, points) = (t.input_columns(), t.right.input, t.points());
        assert!(self.columns.len() >= width * 6 * S::N && self.channels.is_multiple_of(S::N));
        assert!(self.pixels.len() >= self.source.len() * image * self.channels);
        let columns = self.columns.as_mut_ptr();
        let blocks = t.right.blocks;
        for (down, row) in self.rows.clone().enumerate() {
            for piece in self.pieces.clone().step_by(blocks) {
                let [(below, block), (phase, _)] = t.piece(piece);
                let top = (first(row, down_apart, t.side) + block * t.down.between()) * down_step + below;
                for vector in (0..self.channels).step_by(S::N) {
                    // SAFETY: columns has room for all columns; pixels are read inside of the rows and columns that exist,
                    // and the caller has room for the tiles.
                    unsafe {
                        for column in 0..width {
                            let mut d = [S::zero(); 6];
                            let at = (column * right_step + phase).wrapping_sub(t.right.padding);
                            if at < image {
                                for r in 0..6 {
                                    let line = (top + r * down_apart * down_step).wrapping_sub(t.down.padding);
                                    if self.source.contains(&line) {
                                        let pixel = (line - self.source.start) * image + at;
                                        d[r] = S::load(self.pixels.as_ptr().add(pixel * self.channels + vector));
                                    }
                                }
                            }
                            let d = input::<S>(d);
                            for r in 0..6 {
                                S::store(columns.add((column * 6 + r) * S::N), d[r]);
                            }
                        }
                        for (block, column) in (0..blocks).flat_map(|b| (0..t.right.tiles).map(move |c| (b, c))) {
                            let to = self.to.add((down * t.right.tiles + column) * self.row);
                            let to = to.add((piece + block - self.pieces.start) * t.slot + vector);
                            let left = first(column, right_apart, t.side) + block * t.right.between();
                            for r in 0..6 {
                                if r == points.0 {
                                    break;
                                }
                                let mut d = [S::zero(); 6];
                                for s in 0..6 {
                                    d[s] = S::load(columns.add(((left + s * right_apart) * 6 + r) * S::N));
                                }
                                store_row::<S>(to, self.plane, points, r, input::<S>(d));
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
    /// The piece.
    pub(super) phases: [usize; 2],
    pub(super) bias: &'a [T],
    pub(super) relu: bool,
    /// `[row][column][output]`.
    pub(super) results: &'a mut [T],
    pub(super) block: usize,
}

impl<T: Float, const APART: bool, const SIDE: usize> SimdBody<T> for Steps<Outputs<'_, T>, APART, SIDE> {
    /// Whether no result is infinite or NaN.
    type Output = bool;
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.0.each::<S, APART, SIDE>() }
    }
}

impl<T: Float> Outputs<'_, T> {
    #[inline(always)]
    unsafe fn each<S: Simd<T = T>, const APART: bool, const SIDE: usize>(self) -> bool {
        let (t, [apart, step]) = (self.tiles, steps::<APART>(self.tiles, false));
        let (lines, columns, points) = (t.output_rows(&self.rows).len(), t.right.output, t.points());
        assert!(self.block.is_multiple_of(S::N) && self.bias.len() == self.block);
        assert!(self.results.len() >= lines * columns * self.block);
        // Where the first place is, and how many there are; the first of a phase may be before the first pixel.
        let (above, rows) = t.down.written(self.rows.start, self.phases[0], lines);
        let (before, places) = t.right.written(0, self.phases[1], columns);
        // In elements, from a pixel of a tile to those below it and to the right.
        let (below, beside) = (apart.0 * step.0 * columns * self.block, apart.1 * step.1 * self.block);
        let results = self.results.as_mut_ptr();
        // SAFETY: the set is enabled here.
        let mut odd = unsafe { S::zero() };
        for (down, tile) in (0..self.rows.len()).flat_map(|d| (0..t.right.tiles).map(move |c| (d, c))) {
            let ((top, left), (high, wide)) = Tiles::inside((down, tile), (rows, places), apart, SIDE);
            let (line, column) = ((top * step.0) as isize + above, (left * step.1) as isize + before);
            let (missing_above, missing_before) = (APART && line < 0, APART && column < 0);
            let start = (line * columns as isize + column) * self.block as isize;
            for vector in (0..self.block).step_by(S::N) {
                // SAFETY: the caller has the tiles; rows and columns beyond the result are not written.
                unsafe {
                    let from = self.from.add((down * t.right.tiles + tile) * self.block + vector);
                    let bias = S::load(self.bias.as_ptr().add(vector));
                    let mut half = [[S::zero(); 6]; SIDE];
                    for s in 0..6 {
                        let y = output::<S, SIDE>(load_column::<S>(from, self.plane, points, s));
                        for p in 0..SIDE {
                            half[p][s] = y[p];
                        }
                    }
                    for p in 0..SIDE {
                        let y = output::<S, SIDE>(half[p]);
                        if p < high && !(p == 0 && missing_above) {
                            let line = results.wrapping_offset(start).wrapping_add(p * below + vector);
                            for q in 0..SIDE {
                                if q < wide && !(q == 0 && missing_before) {
                                    let y = S::add(y[q], bias);
                                    // Nothing but infinity and NaN makes NaN of zero.
                                    odd = S::fma(y, S::zero(), odd);
                                    let y = if self.relu { S::relu(y) } else { y };
                                    S::store(line.wrapping_add(q * beside), y);
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

impl<T: Float, const APART: bool, const SIDE: usize> SimdBody<T> for Steps<Gradients<'_, T>, APART, SIDE> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe { self.0.each::<S, APART, SIDE>() }
    }
}

impl<T: Float> Gradients<'_, T> {
    #[inline(always)]
    unsafe fn each<S: Simd<T = T>, const APART: bool, const SIDE: usize>(self) {
        let (t, [apart, _]) = (self.tiles, steps::<APART>(self.tiles, false));
        let (lines, columns, points) = (t.output_rows(&self.rows).len(), t.right.output, t.points());
        assert!(self.channels.is_multiple_of(S::N) && self.pixels.len() >= lines * columns * self.channels);
        for (down, tile) in (0..self.rows.len()).flat_map(|d| (0..t.right.tiles).map(move |c| (d, c))) {
            let ((top, left), (high, wide)) = Tiles::inside((down, tile), (lines, columns), apart, SIDE);
            for vector in (0..self.channels).step_by(S::N) {
                // SAFETY: rows and columns beyond the result are not read, and the caller has room for the tiles.
                unsafe {
                    let to = self.to.add((down * t.right.tiles + tile) * self.row + vector);
                    let mut half = [[S::zero(); SIDE]; 6];
                    for q in 0..SIDE {
                        let mut y = [S::zero(); SIDE];
                        for p in 0..SIDE {
                            if p < high && q < wide {
                                let pixel = (top + p * apart.0) * columns + left + q * apart.1;
                                y[p] = S::load(self.pixels.as_ptr().add(pixel * self.channels + vector));
                            }
                        }
                        let m = gradient::<S, SIDE>(y);
                        for r in 0..6 {
                            half[r][q] = m[r];
                        }
                    }
                    for r in 0..6 {
                        store_row::<S>(to, self.plane, points, r, gradient::<S, SIDE>(half[r]));
                    }
                }
            }
        }
    }
}

/// The weights of some input channels with a block of outputs, for a pair of pieces.
pub(super) struct Kernels<'a, T> {
    /// Of each element of the pieces the place in the kernel.
    pub(super) elements: &'a [i64],
    /// `[channel][row][column][output]` of the whole kernels.
    pub(super) from: &'a [T],
    pub(super) taps: usize,
    pub(super) channels: usize,
    /// `[plane][channel][output]`.
    pub(super) to: *mut T,
    pub(super) plane: usize,
    pub(super) points: (usize, usize),
    pub(super) block: usize,
}

impl<T: Float, const SIDE: usize> SimdBody<T> for Sized<Kernels<'_, T>, SIDE> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        let t = self.0;
        assert!(t.block.is_multiple_of(S::N) && t.elements.len() == SIDE * SIDE);
        assert!(t.from.len() >= t.channels * t.taps * t.block);
        let vectors =
            (0..t.channels).flat_map(|channel| (0..t.block).step_by(S::N).map(move |vector| (channel, vector)));
        for (channel, vector) in vectors {
            // SAFETY: the rows of a block are there, and the caller has room for the planes.
            unsafe {
                let mut half = [[S::zero(); SIDE]; 6];
                for s in 0..SIDE {
                    let mut g = [S::zero(); SIDE];
                    for r in 0..SIDE {
                        let place = t.elements[SIDE * r + s] as usize;
                        // What a piece has more than the kernel is zero.
                        if place < t.taps {
                            g[r] = S::load(t.from.as_ptr().add((channel * t.taps + place) * t.block + vector));
                        }
                    }
                    let u = weight::<S, SIDE>(g);
                    for r in 0..6 {
                        half[r][s] = u[r];
                    }
                }
                let to = t.to.add(channel * t.block + vector);
                for r in 0..6 {
                    store_row::<S>(to, t.plane, t.points, r, weight::<S, SIDE>(half[r]));
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
    pub(super) points: (usize, usize),
    /// `[row][column][input]`.
    pub(super) to: &'a mut [T],
    pub(super) channels: usize,
}

impl<T: Float, const SIDE: usize> SimdBody<T> for Sized<KernelGradients<'_, T>, SIDE> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        let t = self.0;
        assert!(t.channels.is_multiple_of(S::N) && t.to.len() == SIDE * SIDE * t.channels);
        for vector in (0..t.channels).step_by(S::N) {
            // SAFETY: the caller has the planes of all parts, and the result has all rows.
            unsafe {
                let mut half = [[S::zero(); 6]; SIDE];
                for s in 0..6 {
                    let mut u = load_column::<S>(t.from.add(vector), t.plane, t.points, s);
                    for part in 1..t.parts {
                        let more = load_column::<S>(t.from.add(part * t.part + vector), t.plane, t.points, s);
                        for r in 0..6 {
                            u[r] = S::add(u[r], more[r]);
                        }
                    }
                    let g = weight_gradient::<S, SIDE>(u);
                    for r in 0..SIDE {
                        half[r][s] = g[r];
                    }
                }
                for r in 0..SIDE {
                    let g = weight_gradient::<S, SIDE>(half[r]);
                    for s in 0..SIDE {
                        S::store(t.to.as_mut_ptr().add((SIDE * r + s) * t.channels + vector), g[s]);
                    }
                }
            }
        }
    }
}
