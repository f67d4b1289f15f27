//! The two register tiles under convolutions and matrix products: the broadcast tile, here, and the dot tile ([`Dots`]).
//!
//! The plain loop of the *broadcast* tile: `y[k][v] = start + sum over t of w[t][k] * x[tap[t] + v]` for a block of KB rows k (output
//! channels, rows of a matrix) and VB vectors v (pixels, columns). The sums stay in registers over the whole reduction,
//! each tap costs VB loads and KB broadcasts for KB * VB multiply-adds, and because a tap is only an offset into x
//! the same loop is a convolution on a padded image, a 1x1 convolution and a matrix product.
//!
//! The tricks: block sizes are compile-time constants chosen for 32 or 16 registers, so that the loops unroll completely
//! and nothing spills; blocks of 8, 6, 4, 2 and 1 rows have a tile of their own, so that no row is computed for nothing;
//! each tile size is one function per instruction set, entered once for many tiles; what is wanted next is asked for at each tap.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

mod dots;

use std::any::TypeId;
use std::mem::transmute_copy;

use crate::element::Float;
use crate::isa::{self, Isa, Simd, SimdBody, prefetch};

pub(crate) use dots::Dots;

/// The largest block of rows.
pub(crate) const MAX_ROWS: usize = 8;

/// What a broadcast tile starts from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<T> {
    /// Zero.
    Zero,
    /// One value for each row of the block.
    Bias(*const T),
    /// What the result holds.
    Result,
}

/// Whether a program holds one tile only for this number of rows: for a set of hardly any machine, and for few rows of f64.
const fn has_one_tile<S: Simd>(rows: usize) -> bool {
    cfg!(target_arch = "x86_64") && (S::REGISTERS == 8 || (size_of::<S::T>() == 8 && rows < 6))
}

/// Whether what full tiles leave is taken in pairs first.
const fn has_pairs<S: Simd>(rows: usize) -> bool {
    (rows <= 4 || S::REGISTERS < 32) && !has_one_tile::<S>(rows)
}

/// How many vectors a tile of so many rows has.
const fn width<S: Simd>(rows: usize) -> usize {
    if has_one_tile::<S>(rows) { 1 } else { most_vectors(S::REGISTERS, rows) }
}

/// How many vectors there are registers for, in a tile of so many rows.
const fn most_vectors(registers: usize, rows: usize) -> usize {
    match (registers, rows) {
        (32, 8) => 3,
        (32, 6) => 4,
        (32, 4) => 6,
        (32, _) => 8,
        (_, 4..) => 2,
        (_, 2) => 4,
        _ => 6,
    }
}

/// The largest block of rows that [`blocks`] gives with so many registers; larger ones are not compiled.
const fn most_rows(registers: usize) -> usize {
    match registers {
        32 => 8,
        16 => 6,
        _ if cfg!(target_arch = "x86_64") => 2,
        _ => 4,
    }
}

/// Where blocks begin that together are `n` rows, and `n`: blocks of 8 or 6 rows and a rest in blocks of 6, 4, 2 and 1.
pub(crate) fn blocks(isa: Isa, n: usize) -> Vec<usize> {
    let mut starts = vec![0];
    let mut at = 0;
    while at < n {
        at += match (isa, n - at) {
            (Isa::Avx512, 8..) => 8,
            (Isa::Avx2, 8) => 4,
            (Isa::Avx512 | Isa::Avx2, 6..) => 6,
            (Isa::Portable, 2..) if cfg!(target_arch = "x86_64") => 2,
            (_, 4..) => 4,
            (_, 2..) => 2,
            _ => 1,
        };
        starts.push(at);
    }
    starts
}

/// What a tap of so many rows of f32 costs [`Sweep`] over so many vectors, in multiply-adds of two vectors: small tiles wait for loads,
/// or for the sum before.
pub(crate) fn tap_cost(isa: Isa, rows: usize, vectors: usize) -> usize {
    let many = isa == Isa::Avx512;
    let width = most_vectors(if many { 32 } else { 16 }, rows);
    let tile = |width: usize| (rows * width).max(rows + width).max(8);
    let (rest, pairs) = (vectors % width, if many && rows > 4 { 1 } else { 2 });
    vectors / width * tile(width) + rest / pairs * tile(pairs) + rest % pairs * tile(1)
}

/// Memory that is wanted soon: tiles ask for it while they compute.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ahead<T> {
    /// So many elements from `from` on, `step` elements further at each tap.
    Stretch { from: *const T, len: usize, step: usize },
    /// What lies so many elements behind the input and the result of these vectors. Each of so many sweeps over the same input asks for
    /// some of its lines.
    Behind { x: isize, y: isize, sweep: usize, sweeps: usize },
}

impl<T> Ahead<T> {
    /// Nothing.
    pub(crate) const NONE: Self = Ahead::Stretch { from: std::ptr::null(), len: 0, step: 0 };
}

/// What is read and written after what is at hand, for the sweeps until then to ask for: memory is slow to answer, and the lines of
/// many channels are no order that the processor would foresee.
pub(crate) struct Next<'a, T> {
    x: &'a [T],
    y: *const T,
    /// Elements of a sweep's share, and those that were asked for.
    share: usize,
    asked: usize,
}

impl<'a, T> Next<'a, T> {
    /// `x` and some results, in so many sweeps, or `x` alone; nothing if it does not fit into the second-level cache beside what is at
    /// hand.
    pub(crate) fn new(isa: Isa, x: &'a [T], (y, results): (*const T, usize), sweeps: usize) -> Self {
        let fits = |elements: usize| 2 * elements * size_of::<T>() <= isa::second_level(isa);
        // Results are written in longer stretches than images are read.
        let all = if fits(x.len() + results) { x.len() + results } else { x.len() };
        Next { x, y, share: if fits(all) { all.div_ceil(sweeps.max(1)) } else { 0 }, asked: 0 }
    }

    /// The share of the next sweep, which has so many rows, vectors and taps.
    pub(crate) fn share(&mut self, isa: Isa, rows: usize, vectors: usize, taps: usize) -> Ahead<T> {
        let (at, len) = (self.asked, self.share);
        self.asked += len;
        let from = match at.checked_sub(self.x.len()) {
            Some(at) => self.y.wrapping_add(at),
            None => self.x[at..].as_ptr(),
        };
        let tiles = vectors.div_ceil(most_vectors(if isa == Isa::Avx512 { 32 } else { 16 }, rows));
        // Lines that there are not enough taps for are left to the processor.
        Ahead::Stretch { from, len, step: len.div_ceil((tiles * taps).max(1)).min(64 / size_of::<T>()) }
    }
}

/// Broadcast tiles for one block of rows over a list of vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep<T> {
    /// The input, which taps and vectors are offsets into.
    pub(crate) x: *const T,
    /// Where each vector begins in x.
    pub(crate) from: *const i64,
    /// The result.
    pub(crate) y: *mut T,
    /// Where each vector begins in y.
    pub(crate) to: *const i64,
    /// How many vectors there are.
    pub(crate) vectors: usize,
    /// Offsets of the taps.
    pub(crate) taps: *const i64,
    /// How many taps there are.
    pub(crate) tap_count: usize,
    /// Weights, the rows of the block next to each other for each tap.
    pub(crate) w: *const T,
    /// What to begin with.
    pub(crate) start: Start<T>,
    /// Write zero for what is not above it.
    pub(crate) relu: bool,
    /// Between rows of the result.
    pub(crate) row: usize,
    /// Use the narrower vectors.
    pub(crate) narrow: bool,
    /// What is wanted next.
    pub(crate) ahead: Ahead<T>,
}

impl<T: Float> Sweep<T> {
    /// Computes the block of `rows` rows.
    ///
    /// # Safety
    /// The machine has `isa`, all reads lie in initialised memory and all writes in memory of the caller.
    pub(crate) unsafe fn run(self, isa: Isa, rows: usize) {
        // SAFETY: the caller's promise; the copy has the type that it is checked to have.
        unsafe {
            if TypeId::of::<T>() == TypeId::of::<f32>() {
                sweep_f32(transmute_copy(&self), isa, rows);
            } else {
                sweep_f64(transmute_copy(&self), isa, rows);
            }
        }
    }
}

// Functions of one type are compiled here, once; generic ones would be compiled again in each crate that calls a kernel.

/// SAFETY of the call: as [`Sweep::run`].
unsafe fn sweep_f32(s: Sweep<f32>, isa: Isa, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe { sweep_rows(s, isa, rows) }
}

/// SAFETY of the call: as [`Sweep::run`].
unsafe fn sweep_f64(s: Sweep<f64>, isa: Isa, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe { sweep_rows(s, isa, rows) }
}

unsafe fn sweep_rows<T: Float>(s: Sweep<T>, isa: Isa, rows: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => T::simd(isa, Rows::<T, 1>(s)),
            2 => T::simd(isa, Rows::<T, 2>(s)),
            4 => T::simd(isa, Rows::<T, 4>(s)),
            6 => T::simd(isa, Rows::<T, 6>(s)),
            8 => T::simd(isa, Rows::<T, 8>(s)),
            _ => unreachable!("there are no blocks of {rows} rows"),
        }
    }
}

/// A sweep with the number of rows as a constant.
struct Rows<T, const KB: usize>(Sweep<T>);

impl<T: Float, const KB: usize> SimdBody<T> for Rows<T, KB> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            if const { KB > most_rows(S::REGISTERS) } {
                unreachable!("there are no blocks of {KB} rows for this set");
            } else if self.0.narrow && const { H::N < S::N } {
                sweep::<H, KB>(self.0);
            } else {
                sweep::<S, KB>(self.0);
            }
        }
    }
}

/// All vectors: full tiles, then what is left in tiles of 2 and 1 vectors.
#[inline(always)]
unsafe fn sweep<S: Simd, const KB: usize>(s: Sweep<S::T>) {
    let mut v = 0;
    // SAFETY: the caller's promise.
    unsafe {
        match const { width::<S>(KB) } {
            8 => v = tiles::<S, KB, 8>(&s, v),
            6 => v = tiles::<S, KB, 6>(&s, v),
            4 => v = tiles::<S, KB, 4>(&s, v),
            3 => v = tiles::<S, KB, 3>(&s, v),
            _ => {}
        }
        if const { has_pairs::<S>(KB) } {
            v = tiles::<S, KB, 2>(&s, v);
        }
        tiles::<S, KB, 1>(&s, v);
    }
}

/// As many tiles of VB vectors as there are from vector `v` on; the vector after them.
#[inline(always)]
unsafe fn tiles<S: Simd, const KB: usize, const VB: usize>(s: &Sweep<S::T>, mut v: usize) -> usize {
    while v + VB <= s.vectors {
        // SAFETY: the caller's promise.
        unsafe { tile::<S, KB, VB>(s, v) };
        v += VB;
    }
    v
}

/// Adds the products of one tap to the sums.
#[inline(always)]
unsafe fn products<S: Simd, const KB: usize, const VB: usize>(
    x: &[*const S::T; VB],
    tap: isize,
    w: *const S::T,
    acc: &mut [[S::V; VB]; KB],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut b = [S::zero(); VB];
        for i in 0..VB {
            b[i] = S::load(x[i].offset(tap));
        }
        for k in 0..KB {
            let a = S::splat(*w.add(k));
            for i in 0..VB {
                acc[k][i] = S::fma(a, b[i], acc[k][i]);
            }
        }
    }
}

/// One broadcast tile, vectors `v..v + VB`.
#[inline(always)]
unsafe fn tile<S: Simd, const KB: usize, const VB: usize>(s: &Sweep<S::T>, v: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut x = [s.x; VB];
        let mut y = [s.y; VB];
        for i in 0..VB {
            x[i] = s.x.offset(*s.from.add(v + i) as isize);
            y[i] = s.y.offset(*s.to.add(v + i) as isize);
        }
        let mut acc = [[S::zero(); VB]; KB];
        match s.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                for k in 0..KB {
                    acc[k] = [S::splat(*bias.add(k)); VB];
                }
            }
            Start::Result => {
                for k in 0..KB {
                    for i in 0..VB {
                        acc[k][i] = S::load(y[i].add(k * s.row));
                    }
                }
            }
        }
        let mut w = s.w;
        match s.ahead {
            Ahead::Stretch { from, len, step } => {
                // Once all was asked for, what is in the first-level cache anyway: that costs nothing.
                let asked = v / VB * s.tap_count * step;
                let (mut ahead, step) = if asked < len { (from.wrapping_add(asked), step) } else { (x[0], 0) };
                for t in 0..s.tap_count {
                    prefetch(ahead, 0);
                    ahead = ahead.wrapping_add(step);
                    products::<S, KB, VB>(&x, *s.taps.add(t) as isize, w, &mut acc);
                    w = w.add(KB);
                }
            }
            Ahead::Behind { x: x_behind, y: y_behind, sweep, sweeps } => {
                let line = 64 / size_of::<S::T>();
                for k in 0..KB {
                    for i in (0..VB).step_by(line.div_ceil(S::N)) {
                        prefetch(y[i].wrapping_add(k * s.row).wrapping_offset(y_behind).cast_const(), 0);
                    }
                }
                let lines = (VB * S::N).div_ceil(line);
                let lines = sweep * lines / sweeps..(sweep + 1) * lines / sweeps;
                for t in 0..s.tap_count {
                    let tap = *s.taps.add(t) as isize;
                    for i in lines.clone() {
                        prefetch(x[0].wrapping_offset(x_behind + tap), i * line);
                    }
                    products::<S, KB, VB>(&x, tap, w, &mut acc);
                    w = w.add(KB);
                }
            }
        }
        if s.relu {
            for k in 0..KB {
                for i in 0..VB {
                    acc[k][i] = S::relu(acc[k][i]);
                }
            }
        }
        for k in 0..KB {
            for i in 0..VB {
                S::store(y[i].add(k * s.row), acc[k][i]);
            }
        }
    }
}
