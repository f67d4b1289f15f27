//! Comparisons, which give truth values, and logic on them. None of these is differentiable.

use kernels::elementwise::{Binary, Compare};

use super::arith::both;
use crate::dtype::{DType, dispatch};
use crate::error::{Error, Result};
use crate::tape::Tensor;
use crate::value::Value;

fn compare(name: &'static str, kernel: Compare, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = both(name, &a.detach(), &b.detach())?;
    Ok(Tensor::plain(dispatch!(a.dtype(), T => Value::compare::<T>(name, kernel, &a.value, &b.value)?)))
}

/// Truth values as the numbers 0 and 1.
fn bits(name: &'static str, x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::Bool => x.to_dtype(DType::U8),
        dtype => Err(Error::DType { op: name, dtype, expected: "bool" }),
    }
}

fn combine(name: &'static str, kernel: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = both(name, &bits(name, a)?, &bits(name, b)?)?;
    Tensor::plain(Value::binary::<u8>(name, kernel, &a.value, &b.value)?).to_dtype(DType::Bool)
}

impl Tensor {
    /// Where the left equals the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    pub fn eq(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("eq", Compare::Eq, self, rhs)
    }

    /// Where an element equals `value`.
    ///
    /// # Errors
    /// The tensor holds integers and `value` is not whole.
    pub fn eq_scalar(&self, value: f64) -> Result<Tensor> {
        compare("eq", Compare::Eq, self, &self.scalar_like(value)?)
    }

    /// Where the left differs from the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    pub fn ne(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("ne", Compare::Ne, self, rhs)
    }

    /// Where an element differs from `value`.
    ///
    /// # Errors
    /// The tensor holds integers and `value` is not whole.
    pub fn ne_scalar(&self, value: f64) -> Result<Tensor> {
        compare("ne", Compare::Ne, self, &self.scalar_like(value)?)
    }

    /// Where the left is less than the right, broadcasting.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([1f32, 2.0, 3.0])?;
    /// assert_eq!(x.lt(&Tensor::new(2f32)?)?.to_vec::<bool>()?, [true, false, false]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    pub fn lt(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("lt", Compare::Lt, self, rhs)
    }

    /// Where an element is less than `value`.
    ///
    /// # Errors
    /// The tensor holds integers and `value` is not whole.
    pub fn lt_scalar(&self, value: f64) -> Result<Tensor> {
        compare("lt", Compare::Lt, self, &self.scalar_like(value)?)
    }

    /// Where the left is at most the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    pub fn le(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("le", Compare::Le, self, rhs)
    }

    /// Where an element is at most `value`.
    ///
    /// # Errors
    /// The tensor holds integers and `value` is not whole.
    pub fn le_scalar(&self, value: f64) -> Result<Tensor> {
        compare("le", Compare::Le, self, &self.scalar_like(value)?)
    }

    /// Where the left is greater than the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    pub fn gt(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("gt", Compare::Gt, self, rhs)
    }

    /// Where an element is greater than `value`.
    ///
    /// # Errors
    /// The tensor holds integers and `value` is not whole.
    pub fn gt_scalar(&self, value: f64) -> Result<Tensor> {
        compare("gt", Compare::Gt, self, &self.scalar_like(value)?)
    }

    /// Where the left is at least the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    pub fn ge(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("ge", Compare::Ge, self, rhs)
    }

    /// Where an element is at least `value`.
    ///
    /// # Errors
    /// The tensor holds integers and `value` is not whole.
    pub fn ge_scalar(&self, value: f64) -> Result<Tensor> {
        compare("ge", Compare::Ge, self, &self.scalar_like(value)?)
    }

    /// Whether both are true, broadcasting.
    ///
    /// # Errors
    /// A dtype is not bool, or the shapes do not broadcast.
    pub fn logical_and(&self, rhs: &Tensor) -> Result<Tensor> {
        combine("logical_and", Binary::Minimum, self, rhs)
    }

    /// Whether one of both is true, broadcasting.
    ///
    /// # Errors
    /// A dtype is not bool, or the shapes do not broadcast.
    pub fn logical_or(&self, rhs: &Tensor) -> Result<Tensor> {
        combine("logical_or", Binary::Maximum, self, rhs)
    }

    /// Whether each is false.
    ///
    /// # Errors
    /// The dtype is not bool.
    pub fn logical_not(&self) -> Result<Tensor> {
        bits("logical_not", self)?.eq_scalar(0.0)
    }

    /// Whether each element is not a number.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    pub fn isnan(&self) -> Result<Tensor> {
        self.ne(self)
    }
}
