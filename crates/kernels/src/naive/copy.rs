//! Twin of the strided copy.

use crate::element::Element;

/// Twin of [`crate::copy::copy_strided`].
pub fn copy_strided<T: Element>(src: &[T], offset: usize, shape: &[usize], strides: &[usize], dst: &mut [T]) {
    for (i, d) in dst.iter_mut().enumerate() {
        let (mut rest, mut at) = (i, offset);
        for axis in (0..shape.len()).rev() {
            at += rest % shape[axis] * strides[axis];
            rest /= shape[axis];
        }
        *d = src[at];
    }
}
