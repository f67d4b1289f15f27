//! Strided copies.
#![allow(missing_docs)]
use crate::element::Element;
pub fn copy_strided<T: Element>(src: &[T], offset: usize, shape: &[usize], strides: &[usize], dst: &mut [T]) {
    for (i, d) in dst.iter_mut().enumerate() {
        let mut r = i;
        let mut o = offset;
        for a in (0..shape.len()).rev() {
            o += (r % shape[a]) * strides[a];
            r /= shape[a];
        }
        *d = src[o];
    }
}
