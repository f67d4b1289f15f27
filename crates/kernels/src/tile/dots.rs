//! The dot tile: the gradient of convolutions by the weights.
//!
//! The plain loop: `acc[k][t] += sum over p of g[k][p] * x[tap[t] + p]`, where both operands are contiguous along p. Sums are vectors whose
//! elements are added up at the end.
//!
//! The tricks: those of the broadcast tile, [`super`]; some images or lines at a time, so that the rows of g stay in the cache from tile to
//! tile.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use std::any::TypeId;
use std::mem::transmute_copy;

use super::{has_pairs, most_rows, width};
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};

/// Whether dot tiles have narrow vectors: only where those can take less time.
const fn has_narrow<S: Simd, H: Simd>() -> bool {
    H::N < S::N && S::REGISTERS == 32
}

/// Dot tiles for one block of rows and a list of taps, over several images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dots<T> {
    /// The operand with the rows of the block, at the first image.
    pub(crate) g: *const T,
    /// Between rows of the block in g.
    pub(crate) g_row: usize,
    /// Between lines of pixels in g.
    pub(crate) g_line: usize,
    /// Between images in g.
    pub(crate) g_image: usize,
    /// The operand that taps are offsets into, at the first image.
    pub(crate) x: *const T,
    /// Between lines of pixels in x.
    pub(crate) x_line: usize,
    /// Between images in x.
    pub(crate) x_image: usize,
    /// Offsets of the taps.
    pub(crate) taps: *const i64,
    /// How many taps there are.
    pub(crate) tap_count: usize,
    /// How many images there are.
    pub(crate) images: usize,
    /// Lines of pixels in an image.
    pub(crate) lines: usize,
    /// Pixels in a line.
    pub(crate) pixels: usize,
    /// The result, one row of taps for each row of the block.
    pub(crate) y: *mut T,
    /// Between rows of the result.
    pub(crate) row: usize,
    /// Scratch memory for a vector for each row and tap.
    pub(crate) sums: *mut T,
    /// Add to the result instead of replacing it.
    pub(crate) add: bool,
    /// Use the narrower vectors.
    pub(crate) narrow: bool,
}

impl<T: Float> Dots<T> {
    /// Computes the block of `rows` rows.
    ///
    /// # Safety
    /// The machine has `isa`, all reads lie in initialised memory and all writes in memory of the caller.
    pub(crate) unsafe fn run(self, isa: Isa, rows: usize) {
        // SAFETY: the caller's promise; the copy has the type that it is checked to have.
        unsafe {
            if TypeId::of::<T>() == TypeId::of::<f32>() {
                dots_f32(transmute_copy(&self), isa, rows);
            } else {
                dots_f64(transmute_copy(&self), isa, rows);
            }
        }
    }
}

/// SAFETY of the call: as [`Dots::run`].
unsafe fn dots_f32(d: Dots<f32>, isa: Isa, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe { dot_rows(d, isa, rows) }
}

/// SAFETY of the call: as [`Dots::run`].
unsafe fn dots_f64(d: Dots<f64>, isa: Isa, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe { dot_rows(d, isa, rows) }
}

unsafe fn dot_rows<T: Float>(d: Dots<T>, isa: Isa, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => T::simd(isa, DotRows::<T, 1>(d)),
            2 => T::simd(isa, DotRows::<T, 2>(d)),
            4 => T::simd(isa, DotRows::<T, 4>(d)),
            6 => T::simd(isa, DotRows::<T, 6>(d)),
            8 => T::simd(isa, DotRows::<T, 8>(d)),
            _ => unreachable!("there are no blocks of {rows} rows"),
        }
        T::simd(isa, DotSums(d, rows));
    }
}

/// Dot tiles with the number of rows as a constant.
struct DotRows<T, const KB: usize>(Dots<T>);

impl<T: Float, const KB: usize> SimdBody<T> for DotRows<T, KB> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            if const { KB > most_rows(S::REGISTERS) } {
                unreachable!("there are no blocks of {KB} rows for this set");
            } else if self.0.narrow && const { has_narrow::<S, H>() } {
                dots::<H, KB>(self.0);
            } else {
                dots::<S, KB>(self.0);
            }
        }
    }
}

/// Whether dot tiles of so many rows have one of a tap less than the full ones; a tile of 1 tap waits for loads.
const fn has_smaller<S: Simd>(rows: usize) -> bool {
    S::REGISTERS == 32 && rows > 4 && size_of::<S::T>() == 4
}

/// How many of so many taps full tiles take, and those of a tap less after them.
const fn full_and_smaller<S: Simd>(rows: usize, taps: usize) -> (usize, usize) {
    let full = width::<S>(rows);
    let smaller = (full - taps % full) % full * (full - 1);
    if has_smaller::<S>(rows) && smaller <= taps { (taps - smaller, smaller) } else { (taps / full * full, 0) }
}

/// All taps: full tiles, then what is left in smaller ones; for some images or lines at a time, so that the rows of g stay in the
/// cache from tile to tile.
#[inline(always)]
unsafe fn dots<S: Simd, const KB: usize>(d: Dots<S::T>) {
    let line = KB * d.pixels * size_of::<S::T>();
    let lines = (const { near::<S>() } / line).clamp(1, d.lines);
    let images = (const { near::<S>() } / (line * d.lines)).max(1);
    let (full, smaller) = full_and_smaller::<S>(KB, d.tap_count);
    let mut part = Portion { first: true, g: d.g, x: d.x, images: 0, lines: 0 };
    // SAFETY: the caller's promise.
    unsafe {
        for image in (0..d.images).step_by(images) {
            for row in (0..d.lines).step_by(lines) {
                part.g = d.g.add(image * d.g_image + row * d.g_line);
                part.x = d.x.add(image * d.x_image + row * d.x_line);
                (part.images, part.lines) = (images.min(d.images - image), lines.min(d.lines - row));
                let t = match const { width::<S>(KB) } {
                    8 => dot_tiles::<S, KB, 8>(&d, part, 0, full),
                    6 => dot_tiles::<S, KB, 6>(&d, part, 0, full),
                    4 => dot_tiles::<S, KB, 4>(&d, part, 0, full),
                    3 => dot_tiles::<S, KB, 3>(&d, part, 0, full),
                    _ => 0,
                };
                let t = match const { (has_smaller::<S>(KB), width::<S>(KB)) } {
                    (true, 4) => dot_tiles::<S, KB, 3>(&d, part, t, full + smaller),
                    (true, _) => dot_tiles::<S, KB, 2>(&d, part, t, full + smaller),
                    (false, _) => t,
                };
                let t = if const { has_pairs::<S>(KB) } { dot_tiles::<S, KB, 2>(&d, part, t, d.tap_count) } else { t };
                dot_tiles::<S, KB, 1>(&d, part, t, d.tap_count);
                part.first = false;
            }
        }
    }
}

/// The ends of the sums of [`DotRows`]: for any number of rows, as there is little to do.
struct DotSums<T>(Dots<T>, usize);

impl<T: Float> SimdBody<T> for DotSums<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.0.narrow && const { has_narrow::<S, H>() } {
                dot_sums::<H>(self.0, self.1);
            } else {
                dot_sums::<S>(self.0, self.1);
            }
        }
    }
}

/// A tile leaves its sums as [row][tap]; tiles follow each other.
#[inline(always)]
unsafe fn dot_sums<S: Simd>(d: Dots<S::T>, rows: usize) {
    let ((full, smaller), mut t) = (full_and_smaller::<S>(rows, d.tap_count), 0);
    while t < d.tap_count {
        let taps = match width::<S>(rows) {
            width if t < full => width,
            width if t < full + smaller => width - 1,
            _ if d.tap_count - t >= 2 && has_pairs::<S>(rows) => 2,
            _ => 1,
        };
        for i in 0..rows * taps {
            // SAFETY: the caller's promise.
            unsafe {
                let y = d.y.add(i / taps * d.row + t + i % taps);
                let sum = S::sum(S::load(d.sums.add((t * rows + i) * S::N)));
                *y = if d.add { *y + sum } else { sum };
            }
        }
        t += taps;
    }
}

/// Bytes of g that tiles share: smaller portions take longer to load and store sums. Tiles of few taps read g so often that it must stay
/// in the first-level cache, those of many from the second-level one.
const fn near<S: Simd>() -> usize {
    if S::REGISTERS == 32 { 48 << 10 } else { 16 << 10 }
}

/// Some images, or some lines of one.
#[derive(Clone, Copy)]
struct Portion<T> {
    /// Whether nothing was summed before.
    first: bool,
    g: *const T,
    x: *const T,
    images: usize,
    lines: usize,
}

/// As many tiles of TB taps as there are from tap `t` on before `end`; the tap after them.
#[inline(always)]
unsafe fn dot_tiles<S: Simd, const KB: usize, const TB: usize>(
    d: &Dots<S::T>,
    part: Portion<S::T>,
    mut t: usize,
    end: usize,
) -> usize {
    while t + TB <= end {
        // SAFETY: the caller's promise.
        unsafe { dot_tile::<S, KB, TB>(d, part, t) };
        t += TB;
    }
    t
}

/// One dot tile, taps `t..t + TB`. The end of a line is read with a mask, so nothing beyond it is touched.
#[inline(always)]
unsafe fn dot_tile<S: Simd, const KB: usize, const TB: usize>(d: &Dots<S::T>, part: Portion<S::T>, t: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut taps = [0isize; TB];
        for i in 0..TB {
            taps[i] = *d.taps.add(t + i) as isize;
        }
        let mut acc = [[S::zero(); TB]; KB];
        let sums = d.sums.add(t * KB * S::N);
        if !part.first {
            for k in 0..KB {
                for i in 0..TB {
                    acc[k][i] = S::load(sums.add((k * TB + i) * S::N));
                }
            }
        }
        for image in 0..part.images {
            let (mut g, mut x) = (part.g.add(image * d.g_image), part.x.add(image * d.x_image));
            if d.pixels <= S::N {
                for _ in 0..part.lines {
                    dot_ends::<S, KB, TB>(&mut acc, g, d.g_row, x, &taps, d.pixels);
                    g = g.add(d.g_line);
                    x = x.add(d.x_line);
                }
            } else {
                let (full, rest) = (d.pixels / S::N, d.pixels % S::N);
                for _ in 0..part.lines {
                    let (mut gp, mut xp) = (g, x);
                    for _ in 0..full {
                        let mut b = [S::zero(); TB];
                        for i in 0..TB {
                            b[i] = S::load(xp.offset(taps[i]));
                        }
                        for k in 0..KB {
                            let a = S::load(gp.add(k * d.g_row));
                            for i in 0..TB {
                                acc[k][i] = S::fma(a, b[i], acc[k][i]);
                            }
                        }
                        gp = gp.add(S::N);
                        xp = xp.add(S::N);
                    }
                    if rest > 0 {
                        dot_ends::<S, KB, TB>(&mut acc, gp, d.g_row, xp, &taps, rest);
                    }
                    g = g.add(d.g_line);
                    x = x.add(d.x_line);
                }
            }
        }
        for k in 0..KB {
            for i in 0..TB {
                S::store(sums.add((k * TB + i) * S::N), acc[k][i]);
            }
        }
    }
}

/// The products of a vector of which only the first `n` pixels exist.
#[inline(always)]
unsafe fn dot_ends<S: Simd, const KB: usize, const TB: usize>(
    acc: &mut [[S::V; TB]; KB],
    g: *const S::T,
    g_row: usize,
    x: *const S::T,
    taps: &[isize; TB],
    n: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut b = [S::zero(); TB];
        for i in 0..TB {
            b[i] = S::load_first(x.offset(taps[i]), n);
        }
        for k in 0..KB {
            let a = S::load_first(g.add(k * g_row), n);
            for i in 0..TB {
                acc[k][i] = S::fma(a, b[i], acc[k][i]);
            }
        }
    }
}
