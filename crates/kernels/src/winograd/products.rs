//! The matrix products of the 36 planes.
//!
//! The plain loop: `to[p][t][k] = sum over c of left[p][t][c] * right[p][c][k]`. The tricks: a tile of rows t and vectors of k stays in
//! registers over the whole sum; elements of the left operand are broadcast straight from its rows, so neither
//! operand is packed.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use super::PLANES;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};

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
    /// A multiple of [`rows`].
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) block: usize,
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
        for p in 0..PLANES {
            for row in (0..self.rows).step_by(RB) {
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
