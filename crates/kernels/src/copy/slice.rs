//! Copies of whole slices.
//!
//! The plain loop: `to[i] = from[i]`, which is the C library's memcpy. For 4 KiB and more that may be `rep movsb`, and this
//! instruction moves 4 GB/s instead of 100 on AMD's Zen 3 (and is known to be slow on Zen 4) if the target is not aligned and lies
//! a few bytes behind the source, counted within pages. What fits into the second-level cache is copied in vectors here; larger
//! slices memcpy also takes in vectors, the largest past the cache.

use crate::element::Element;

/// Bytes that are copied here.
#[cfg(target_arch = "x86_64")]
const OWN: std::ops::RangeInclusive<usize> = 4 << 10..=1 << 20;

/// Copies a slice into another one of the same length.
///
/// # Panics
/// The lengths differ.
///
/// ```
/// let mut to = [0.0f32; 2];
/// gabor_kernels::copy::copy_slice(&[1.0, 2.0], &mut to);
/// assert_eq!(to, [1.0, 2.0]);
/// ```
#[inline]
pub fn copy_slice<T: Element>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len(), "source and target have the same length");
    #[cfg(target_arch = "x86_64")]
    if OWN.contains(&size_of_val(from)) && crate::isa::isa() >= crate::isa::Isa::Avx2 {
        // SAFETY: isa never says more than what was detected; both have that many bytes, more than the least, and do not overlap.
        return unsafe { in_vectors(from.as_ptr().cast(), to.as_mut_ptr().cast(), size_of_val(from)) };
    }
    to.copy_from_slice(from);
}

/// Copies at least 128 bytes. Stores are aligned; the first and the last vectors may overlap others.
///
/// # Safety
/// There are n bytes at both places, which do not overlap; n is at least 128.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn in_vectors(from: *const u8, to: *mut u8, n: usize) {
    use std::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_storeu_si256};
    const V: usize = size_of::<__m256i>();
    // SAFETY: every place is at most n - 4 V.
    let four = |at: usize| unsafe {
        let from = from.add(at).cast::<__m256i>();
        let v = [0, 1, 2, 3].map(|i| _mm256_loadu_si256(from.add(i)));
        let to = to.add(at).cast::<__m256i>();
        (0..4).for_each(|i| _mm256_storeu_si256(to.add(i), v[i]));
    };
    four(0);
    let mut at = V - to as usize % V;
    while at + 4 * V <= n {
        four(at);
        at += 4 * V;
    }
    four(n - 4 * V);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_at_any_alignment() {
        let from: Vec<u8> = (0..70_000).map(|i| (i * 7 % 251) as u8).collect();
        for n in [0, 1, 4095, 4096, 4097, 4100, 4127, 4128, 4129, 4223, 4224, 4225, 60_000] {
            for (i, j) in [(0, 0), (1, 0), (0, 1), (5, 31), (31, 32), (32, 33), (40, 63)] {
                let mut to = vec![255; n + 130];
                copy_slice(&from[i..i + n], &mut to[j..j + n]);
                assert_eq!(to[j..j + n], from[i..i + n]);
                assert!(to[..j].iter().chain(&to[j + n..]).all(|&v| v == 255));
            }
        }
    }
}
