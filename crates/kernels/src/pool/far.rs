//! Results that are larger than the cache.
//!
//! To write a line of memory the processor reads it first and then drives something else out of the cache. What nobody can find in
//! the cache later may be written past it, row by row, so that one leaves while the next one is computed.

use super::strip::put;
use crate::element::Float;

/// Bytes of results that are not in the cache any more when the last of them are written.
const FAR: usize = 24 << 20;

/// Whether to write such results past the cache.
pub(super) fn is_far<T>(x: &[T]) -> bool {
    cfg!(target_arch = "x86_64") && size_of_val(x) >= FAR
}

/// Copies to memory past the cache; [`settle`] must follow on the same thread.
#[inline(always)]
pub(super) fn stream<T: Float>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len(), "as many elements");
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_loadu_si128, _mm_stream_si128};
        let step = 16 / size_of::<T>();
        let first = to.as_ptr().align_offset(16).min(to.len());
        let last = first + (to.len() - first) / step * step;
        put(&from[..first], &mut to[..first]);
        for i in (first..last).step_by(step) {
            // SAFETY: `step` elements from i on are inside of both, and those of `to` are aligned; each processor of this kind has
            // the instructions.
            unsafe { _mm_stream_si128(to.as_mut_ptr().add(i).cast(), _mm_loadu_si128(from.as_ptr().add(i).cast())) };
        }
        put(&from[last..], &mut to[last..]);
    }
    #[cfg(not(target_arch = "x86_64"))]
    to.copy_from_slice(from);
}

/// Waits until other threads see what was written past the cache.
#[inline(always)]
pub(super) fn settle() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: each processor of this kind has the instruction.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_elements_arrive_at_any_alignment() {
        fn check<T: Float>() {
            let from: Vec<T> = (0..100).map(|i| T::of(f64::from(i) + 1.0)).collect();
            for start in 0..9 {
                for n in 0..40 {
                    let mut to = [T::ZERO; 60];
                    stream(&from[..n], &mut to[start..start + n]);
                    settle();
                    assert_eq!(to[start..start + n], from[..n]);
                    assert!(to[..start].iter().chain(&to[start + n..]).all(|v| *v == T::ZERO));
                }
            }
        }
        check::<f32>();
        check::<f64>();
    }
}
