//! `assert_abs_diff_eq!` and `assert_relative_eq!` for tensors, by the `approx` crate.

use approx::{AbsDiffEq, RelativeEq};

use crate::dtype::{DType, dispatch};
use crate::error::Result;
use crate::tape::Tensor;

/// Whether both have one shape and dtype, and `same` holds for each two elements.
fn all(a: &Tensor, b: &Tensor, same: impl Fn(f64, f64) -> bool) -> bool {
    fn elements(x: &Tensor) -> Result<Vec<f64>> {
        x.detach().to_dtype(DType::F64)?.to_vec::<f64>()
    }
    if a.shape() != b.shape() || a.dtype() != b.dtype() {
        return false;
    }
    match (elements(a), elements(b)) {
        (Ok(a), Ok(b)) => a.iter().zip(&b).all(|(&a, &b)| same(a, b)),
        _ => false,
    }
}

/// Equal shapes, dtypes and elements; the graph does not count. The method [`Tensor::eq`] compares element by element instead.
impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        if self.shape() != other.shape() || self.dtype() != other.dtype() {
            return false;
        }
        dispatch!(self.dtype(), T => {
            self.with_slice(|a: &[T]| other.with_slice(|b: &[T]| a == b)).and_then(|equal| equal).unwrap_or(false)
        })
    }
}

/// Every pair of elements is near; tensors of different shapes or dtypes are not.
///
/// ```
/// use approx::assert_abs_diff_eq;
/// use gabor_tensor::Tensor;
/// assert_abs_diff_eq!(Tensor::new([1f32, 2.0])?, Tensor::new([1f32, 2.01])?, epsilon = 0.1);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
impl AbsDiffEq for Tensor {
    type Epsilon = f64;

    fn default_epsilon() -> f64 {
        f64::from(f32::EPSILON)
    }

    fn abs_diff_eq(&self, other: &Tensor, epsilon: f64) -> bool {
        all(self, other, |a, b| a.abs_diff_eq(&b, epsilon))
    }
}

/// Every pair of elements is near for its size; tensors of different shapes or dtypes are not.
///
/// ```
/// use approx::assert_relative_eq;
/// use gabor_tensor::Tensor;
/// assert_relative_eq!(Tensor::new([1e6, 2.0])?, Tensor::new([1e6 + 1.0, 2.0])?, max_relative = 1e-5);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
impl RelativeEq for Tensor {
    fn default_max_relative() -> f64 {
        f64::from(f32::EPSILON)
    }

    fn relative_eq(&self, other: &Tensor, epsilon: f64, max_relative: f64) -> bool {
        all(self, other, |a, b| a.relative_eq(&b, epsilon, max_relative))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_dtypes_and_nan_differ() -> Result<()> {
        let x = Tensor::new([1f32, 2.0])?;
        assert!(x == Tensor::new([1f32, 2.0])?.requires_grad_()?);
        assert!(x != Tensor::new([1f32, 2.5])?);
        assert!(!x.abs_diff_eq(&Tensor::new([[1f32, 2.0]])?, 1.0));
        assert!(!x.abs_diff_eq(&Tensor::new([1f64, 2.0])?, 1.0));
        assert!(x.abs_diff_eq(&Tensor::new([1f32, 2.5])?, 0.5));
        assert!(!x.relative_eq(&Tensor::new([1f32, f32::NAN])?, 1.0, 1.0));
        Ok(())
    }
}
