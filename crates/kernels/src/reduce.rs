//! Reductions.
#![allow(missing_docs)]
use crate::element::Number;
pub fn sum<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    for o in 0..outer {
        for i in 0..inner {
            let mut s = T::default();
            for k in 0..n {
                s = s.add(x[(o * n + k) * inner + i]);
            }
            y[o * inner + i] = s;
        }
    }
}
