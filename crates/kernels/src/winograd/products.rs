//! The matrix products of the planes of transformed tiles.
//!
//! The plain loop: `to[p][t][k] = sum over c of left[p][t][c] * right[p][c][k]`. The tricks: a tile of rows t and vectors of k stays in
//! registers over the whole sum; elements of the left operand are broadcast straight from its rows, so neither
//! operand is packed; what is read and written next is asked for between tiles.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody, prefetch};

/// Rows of a tile for a number of registers.
const fn rows_for(registers: usize) -> usize {
    match registers {
        32 => 8,
        16 => 6,
        _ => 4,
    }
}

/// Rows of a tile.
pub(super) fn rows(isa: Isa) -> usize {
    rows_for(match isa {
        Isa::Avx512 => 32,
        Isa::Avx2 => 16,
        Isa::Portable => 8,
    })
}

/// Vectors of a block of outputs, for so many vectors of outputs.
pub(super) fn block(isa: Isa, vectors: usize) -> usize {
    match vectors {
        1 | 2 => vectors,
        n if isa == Isa::Avx512 && (n % 3 == 0 || n % 2 == 1) => 3,
        _ => 2,
    }
}

/// Memory that is wanted soon: so many stretches of the same length.
#[derive(Clone, Copy)]
pub(super) struct Stretches<T> {
    pub(super) from: *const T,
    pub(super) count: usize,
    pub(super) distance: usize,
    pub(super) len: usize,
}

impl<T> Stretches<T> {
    /// Nothing.
    pub(super) const NONE: Self = Stretches { from: std::ptr::null(), count: 0, distance: 0, len: 0 };

    /// Lines of the cache, about.
    fn lines(&self) -> usize {
        self.count * (self.len * size_of::<T>()).div_ceil(64)
    }
}

/// What is still to be asked for, some lines before each tile.
struct Asked<T> {
    left: [Stretches<T>; 2],
    /// Elements of the first stretch that were asked for.
    at: usize,
    lines: usize,
}

impl<T: Copy> Asked<T> {
    #[inline(always)]
    fn step(&mut self) {
        for _ in 0..self.lines {
            let [first, second] = &mut self.left;
            if first.count == 0 {
                (*first, second.count) = (*second, 0);
                if first.count == 0 {
                    return;
                }
            }
            prefetch(first.from, self.at);
            self.at += 64 / size_of::<T>();
            if self.at >= first.len {
                (first.from, first.count, self.at) = (first.from.wrapping_add(first.distance), first.count - 1, 0);
            }
        }
    }
}

/// All products of a group of tiles with a block of outputs.
pub(super) struct Products<T> {
    /// `[plane][row][depth]`.
    pub(super) left: *const T,
    pub(super) left_row: usize,
    pub(super) left_plane: usize,
    /// `[plane][depth][block]`.
    pub(super) right: *const T,
    pub(super) right_plane: usize,
    /// `[plane][row][block]`.
    pub(super) to: *mut T,
    pub(super) to_plane: usize,
    pub(super) planes: usize,
    /// A multiple of [`rows`].
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) block: usize,
    /// What is asked for meanwhile.
    pub(super) ahead: [Stretches<T>; 2],
}

impl<T: Float> SimdBody<T> for Products<T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match const { rows_for(S::REGISTERS) } {
                8 => self.planes::<S, 8>(),
                6 => self.planes::<S, 6>(),
                _ => self.planes::<S, 4>(),
            }
        }
    }
}

impl<T: Float> Products<T> {
    #[inline(always)]
    unsafe fn planes<S: Simd<T = T>, const RB: usize>(&self) {
        assert!(self.rows.is_multiple_of(RB));
        let lines = self.ahead[0].lines() + self.ahead[1].lines();
        let mut asked = Asked { left: self.ahead, at: 0, lines: lines.div_ceil((self.planes * self.rows / RB).max(1)) };
        for p in 0..self.planes {
            for row in (0..self.rows).step_by(RB) {
                asked.step();
                // SAFETY: the caller's promise.
                unsafe {
                    let left = self.left.add(p * self.left_plane + row * self.left_row);
                    let right = self.right.add(p * self.right_plane);
                    let to = self.to.add(p * self.to_plane + row * self.block);
                    match self.block / S::N {
                        1 => self.tile::<S, RB, 1>(left, right, to),
                        2 => self.tile::<S, RB, 2>(left, right, to),
                        _ => self.tile::<S, RB, 3>(left, right, to),
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd<T = T>, const RB: usize, const VB: usize>(
        &self,
        left: *const T,
        right: *const T,
        to: *mut T,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut acc = [[S::zero(); VB]; RB];
            let mut right = right;
            for c in 0..self.depth {
                let mut b = [S::zero(); VB];
                for i in 0..VB {
                    b[i] = S::load(right.add(i * S::N));
                }
                for r in 0..RB {
                    let a = S::splat(*left.add(r * self.left_row + c));
                    for i in 0..VB {
                        acc[r][i] = S::fma(a, b[i], acc[r][i]);
                    }
                }
                right = right.add(VB * S::N);
            }
            for r in 0..RB {
                for i in 0..VB {
                    S::store(to.add(r * VB * S::N + i * S::N), acc[r][i]);
                }
            }
        }
    }
}
