//! The twin of the matrix product.

use crate::element::Float;

/// The twin of [`crate::gemm::gemm`] for contiguous matrices: `c (+)= a[m, k] b[k, n]`.
pub fn gemm<T: Float>(m: usize, k: usize, n: usize, a: &[T], b: &[T], beta_zero: bool, c: &mut [T]) {
    for i in 0..m {
        for j in 0..n {
            let mut sum = if beta_zero { T::ZERO } else { c[i * n + j] };
            for p in 0..k {
                sum = sum + a[i * k + p] * b[p * n + j];
            }
            c[i * n + j] = sum;
        }
    }
}
