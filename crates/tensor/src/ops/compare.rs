//! Comparisons, which give truth values, and logic on them. None of these is differentiable.

use kernels::elementwise::{Binary, Compare};

use super::arith::both;
use crate::dtype::{DType, dispatch};
use crate::error::Result;
use crate::tape::Tensor;
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers, zip};
use crate::value::Value;

#[track_caller]
fn compare(name: &'static str, kernel: Compare, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.detach(), b.detach());
    let (a, b) = both(name, &a, &b)?;
    Ok(Tensor::plain(dispatch!(a.dtype(), T => Value::compare::<T>(name, kernel, &a.value, &b.value)?)))
}

/// With a number, as numbers: a fraction lies between two integers, and -1 is less than any u8 (PyTorch makes it 255).
#[track_caller]
fn against(name: &'static str, kernel: Compare, x: &Tensor, value: f64) -> Result<Tensor> {
    let held = match x.dtype() {
        DType::F32 | DType::F64 => true,
        DType::I64 => value.fract() == 0.0 && value.abs() < 9_223_372_036_854_775_808.0,
        DType::U8 => value.fract() == 0.0 && (0.0..256.0).contains(&value),
        DType::Bool => value == 0.0 || value == 1.0,
    };
    let x = if held { x.detach() } else { x.to_dtype(DType::F64)? };
    compare(name, kernel, &x, &Tensor::full_of(name, &crate::Shape::default(), x.dtype(), value)?)
}

/// Whether elements are not 0, as the numbers 0 and 1.
#[track_caller]
fn bits(x: &Tensor) -> Result<Tensor> {
    x.detach().to_dtype(DType::Bool)?.to_dtype(DType::U8)
}

#[track_caller]
fn combine(name: &'static str, kernel: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (bits(a)?, bits(b)?);
    let (a, b) = both(name, &a, &b)?;
    Tensor::plain(Value::binary::<u8>(name, kernel, &a.value, &b.value)?).to_dtype(DType::Bool)
}

impl Tensor {
    /// Where the left equals the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    #[track_caller]
    pub fn eq(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("eq", Compare::Eq, self, rhs)
    }

    /// Where an element equals `value`.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn eq_scalar(&self, value: f64) -> Result<Tensor> {
        against("eq", Compare::Eq, self, value)
    }

    /// Where the left differs from the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    #[track_caller]
    pub fn ne(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("ne", Compare::Ne, self, rhs)
    }

    /// Where an element differs from `value`.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn ne_scalar(&self, value: f64) -> Result<Tensor> {
        against("ne", Compare::Ne, self, value)
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
    #[track_caller]
    pub fn lt(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("lt", Compare::Lt, self, rhs)
    }

    /// Where an element is less than `value`.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn lt_scalar(&self, value: f64) -> Result<Tensor> {
        against("lt", Compare::Lt, self, value)
    }

    /// Where the left is at most the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    #[track_caller]
    pub fn le(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("le", Compare::Le, self, rhs)
    }

    /// Where an element is at most `value`.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn le_scalar(&self, value: f64) -> Result<Tensor> {
        against("le", Compare::Le, self, value)
    }

    /// Where the left is greater than the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    #[track_caller]
    pub fn gt(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("gt", Compare::Gt, self, rhs)
    }

    /// Where an element is greater than `value`.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn gt_scalar(&self, value: f64) -> Result<Tensor> {
        against("gt", Compare::Gt, self, value)
    }

    /// Where the left is at least the right, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast or the dtypes differ.
    #[track_caller]
    pub fn ge(&self, rhs: &Tensor) -> Result<Tensor> {
        compare("ge", Compare::Ge, self, rhs)
    }

    /// Where an element is at least `value`.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn ge_scalar(&self, value: f64) -> Result<Tensor> {
        against("ge", Compare::Ge, self, value)
    }

    /// Whether both are true, or not 0, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast.
    #[track_caller]
    pub fn logical_and(&self, rhs: &Tensor) -> Result<Tensor> {
        combine("logical_and", Binary::Minimum, self, rhs)
    }

    /// Whether one of both is true, or not 0, broadcasting.
    ///
    /// # Errors
    /// The shapes do not broadcast.
    #[track_caller]
    pub fn logical_or(&self, rhs: &Tensor) -> Result<Tensor> {
        combine("logical_or", Binary::Maximum, self, rhs)
    }

    /// Whether each is false, or 0.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn logical_not(&self) -> Result<Tensor> {
        bits(self)?.eq_scalar(0.0)
    }

    /// Whether each element is not a number.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn isnan(&self) -> Result<Tensor> {
        self.ne(self)
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec { name: "eq", samples: || pairs(Tensor::eq, |a, b| a == b) },
    OpSpec { name: "ne", samples: || pairs(Tensor::ne, |a, b| a != b) },
    OpSpec { name: "lt", samples: || pairs(Tensor::lt, |a, b| a < b) },
    OpSpec { name: "le", samples: || pairs(Tensor::le, |a, b| a <= b) },
    OpSpec { name: "gt", samples: || pairs(Tensor::gt, |a, b| a > b) },
    OpSpec { name: "ge", samples: || pairs(Tensor::ge, |a, b| a >= b) },
    OpSpec { name: "eq_scalar", samples: || scalars(|x| x.eq_scalar(2.0), |v| v == 2.0) },
    OpSpec { name: "ne_scalar", samples: || scalars(|x| x.ne_scalar(2.0), |v| v != 2.0) },
    OpSpec { name: "lt_scalar", samples: || scalars(|x| x.lt_scalar(2.0), |v| v < 2.0) },
    OpSpec { name: "le_scalar", samples: || scalars(|x| x.le_scalar(2.0), |v| v <= 2.0) },
    OpSpec { name: "gt_scalar", samples: || scalars(|x| x.gt_scalar(2.0), |v| v > 2.0) },
    OpSpec { name: "ge_scalar", samples: || scalars(|x| x.ge_scalar(2.0), |v| v >= 2.0) },
    OpSpec { name: "logical_and", samples: || masks(Tensor::logical_and, |a, b| a * b != 0.0) },
    OpSpec { name: "logical_or", samples: || masks(Tensor::logical_or, |a, b| a + b != 0.0) },
    OpSpec { name: "logical_not", samples: || masks(|a, b| a.logical_and(b)?.logical_not(), |a, b| a * b == 0.0) },
    OpSpec {
        name: "isnan",
        samples: || pairs(|a, b| a.isnan()?.logical_or(&b.isnan()?), |a, b| a.is_nan() || b.is_nan()),
    },
];

#[cfg(any(test, feature = "testing"))]
fn truth(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::Bool)
}

#[cfg(any(test, feature = "testing"))]
fn pairs(run: fn(&Tensor, &Tensor) -> Result<Tensor>, plain: fn(f64, f64) -> bool) -> Vec<Sample> {
    let sample = |label, a: Tensor, b: Tensor| {
        Sample::new(label, vec![a, b], move |x: &[Tensor]| run(&x[0], &x[1]))
            .oracle(move |x| truth(&zip(&x[0], &x[1], |a, b| f64::from(u8::from(plain(a, b))))?))
            .order(0)
    };
    let nan = Tensor::new([f64::NAN, 1.0, f64::NAN, f64::INFINITY]).expect("small");
    vec![
        sample("equal shapes", numbers([3, 4], 1), numbers([3, 4], 2)),
        sample("equal elements", indices([3, 4], 2, 3), indices([3, 4], 2, 4)),
        sample("column and row", numbers([3, 1], 5), numbers([1, 5], 6)),
        sample("scalars", numbers((), 7), numbers((), 8)),
        sample("not numbers", nan, Tensor::new([f64::NAN, 1.0, 2.0, f64::NAN]).expect("small")),
        sample("empty", numbers([0, 3], 9), numbers([3], 10)),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn scalars(run: fn(&Tensor) -> Result<Tensor>, plain: fn(f64) -> bool) -> Vec<Sample> {
    let sample = |label, x: Tensor| {
        Sample::new(label, vec![x], move |x: &[Tensor]| run(&x[0]))
            .oracle(move |x| truth(&zip(&x[0], &x[0], |v, _| f64::from(u8::from(plain(v))))?))
            .order(0)
    };
    vec![
        sample("integers", indices([3, 4], 4, 1)),
        sample("fractions", numbers([5], 2)),
        sample("scalar", Tensor::new(2f64).expect("small")),
        sample("empty", indices([0], 4, 3)),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn masks(run: fn(&Tensor, &Tensor) -> Result<Tensor>, plain: fn(f64, f64) -> bool) -> Vec<Sample> {
    let sample = |label, a: Tensor, b: Tensor| {
        Sample::new(label, vec![a, b], move |x: &[Tensor]| run(&truth(&x[0])?, &truth(&x[1])?))
            .oracle(move |x| truth(&zip(&x[0], &x[1], |a, b| f64::from(u8::from(plain(a, b))))?))
            .order(0)
    };
    vec![
        sample("equal shapes", indices([3, 4], 2, 1), indices([3, 4], 2, 2)),
        sample("row", indices([3, 4], 2, 3), indices([4], 2, 4)),
        sample("scalars", indices((), 2, 5), indices((), 2, 6)),
        sample("empty", indices([0], 2, 7), indices([1], 2, 8)),
    ]
}
