//! The most multiply-adds that a core can do: what the time of a convolution or matrix product is held against.
//!
//! The plain loop: `s = s * a + b`, again and again. The tricks: twelve sums do not wait for each other, and fit into the
//! registers of each instruction set.

use crate::isa::{Simd, SimdBody, Vectors, isa};

/// Sums that do not depend on each other.
const SUMS: usize = 12;

struct Chains(usize);

impl SimdBody<f32> for Chains {
    type Output = (f32, usize);
    #[inline(always)]
    unsafe fn run<S: Simd<T = f32>, H: Simd<T = f32>>(self) -> (f32, usize) {
        // SAFETY: the caller's promise; the array has a vector's elements.
        unsafe {
            let (a, b) = (S::splat(0.5), S::splat(1.0));
            let mut sums = [S::zero(); SUMS];
            for _ in 0..self.0 {
                for sum in &mut sums {
                    *sum = S::fma(*sum, a, b);
                }
            }
            let mut out = [0.0; 64];
            for sum in sums {
                let mut one = [0.0; 64];
                S::store(one.as_mut_ptr(), sum);
                out.iter_mut().zip(one).for_each(|(out, v)| *out += v);
            }
            (out.iter().sum(), 2 * S::N * SUMS * self.0)
        }
    }
}

/// Does multiply-adds of f32 for so many rounds, on this thread and with the instruction set in use. Gives their sum, which
/// must be used so that they are not left out, and the number of floating-point operations: two for each multiply-add.
///
/// ```
/// let (sum, operations) = gabor_kernels::peak::multiply_adds(1000);
/// assert!(sum > 0.0 && operations >= 2 * 12 * 1000);
/// ```
pub fn multiply_adds(rounds: usize) -> (f32, usize) {
    // SAFETY: the set comes from detection.
    unsafe { f32::simd(isa(), Chains(rounds)) }
}
