//! Arithmetic of two tensors, or a tensor and a number, with broadcasting.
//!
//! Both sides are expanded first, so that no rule mentions broadcasting: the sum over repeated dimensions is the rule of
//! `expand`.

use std::borrow::Cow;

use kernels::elementwise::{self, Binary, Operand, Unary};

use crate::dtype::{DType, Element, dispatch};
use crate::error::{Error, Result};
use crate::program::compute;
use crate::shape::{Shape, broadcast};
use crate::tape::{Cx, Grads, Rule, Tensor, in_owner, is_anomaly_enabled, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, map, numbers, positive, zip};
use crate::value::Value;

/// Both operands in their common shape: themselves if they have it.
#[track_caller]
pub(super) fn both<'a>(
    op: &'static str,
    lhs: &'a Tensor,
    rhs: &'a Tensor,
) -> Result<(Cow<'a, Tensor>, Cow<'a, Tensor>)> {
    if lhs.dtype() != rhs.dtype() {
        return Err(in_owner(Error::DTypes { op, lhs: lhs.dtype(), rhs: rhs.dtype() }, &[rhs, lhs]));
    }
    if lhs.shape() == rhs.shape() {
        return Ok((Cow::Borrowed(lhs), Cow::Borrowed(rhs)));
    }
    let shape = broadcast(op, lhs.shape(), rhs.shape()).map_err(|error| in_owner(error, &[rhs, lhs]))?;
    Ok((Cow::Owned(lhs.expanded(&shape)?), Cow::Owned(rhs.expanded(&shape)?)))
}

fn combine(op: &'static str, kernel: Binary, a: &Tensor, b: &Tensor) -> Result<Value> {
    // As in PyTorch: the sum of truth values is whether one is true, their product whether both are.
    let logic = match kernel {
        Binary::Add | Binary::Maximum => Some(Binary::Maximum),
        Binary::Mul | Binary::Minimum => Some(Binary::Minimum),
        _ => None,
    };
    if let (DType::Bool, Some(logic)) = (a.dtype(), logic) {
        let (a, b) = (a.to_dtype(DType::U8)?, b.to_dtype(DType::U8)?);
        return Value::binary::<u8>(op, logic, &a.value, &b.value)?.cast::<bool>();
    }
    dispatch!(number op, a.dtype(), T => Value::binary::<T>(op, kernel, &a.value, &b.value))
}

impl Tensor {
    /// `self + rhs`, element by element, broadcasting both.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f32], [2.0]])?.add(&Tensor::new([10f32, 20.0])?)?;
    /// assert_eq!(x.to_vec::<f32>()?, [11.0, 21.0, 12.0, 22.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn add(&self, rhs: &Tensor) -> Result<Tensor> {
        let (a, b) = both("add", self, rhs)?;
        record(combine("add", Binary::Add, &a, &b)?, &[&a, &b], || Add)
    }

    /// [`add`](Self::add) to a tensor that is not used any more: in its memory, if nothing else holds it and the shapes agree.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([1f32, 2.0])?;
    /// assert_eq!(x.mul(&x)?.add_(&x)?.to_vec::<f32>()?, [2.0, 6.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn add_(self, rhs: &Tensor) -> Result<Tensor> {
        let fits = self.shape() == rhs.shape() && self.dtype() == rhs.dtype() && self.dtype().is_float();
        if !fits || is_anomaly_enabled() {
            return self.add(rhs);
        }
        let Tensor { value, node } = self;
        let value = value.plus(&rhs.value)?;
        // Only the place in the graph counts for the record.
        record(value.clone(), &[&Tensor { value, node }, rhs], || Add)
    }

    /// `self - rhs`, element by element, broadcasting both.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn sub(&self, rhs: &Tensor) -> Result<Tensor> {
        let (a, b) = both("sub", self, rhs)?;
        record(combine("sub", Binary::Sub, &a, &b)?, &[&a, &b], || Sub)
    }

    /// `self * rhs`, element by element, broadcasting both.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn mul(&self, rhs: &Tensor) -> Result<Tensor> {
        let (a, b) = both("mul", self, rhs)?;
        record(combine("mul", Binary::Mul, &a, &b)?, &[&a, &b], || Mul {
            lhs: Tensor::clone(&a),
            rhs: Tensor::clone(&b),
        })
    }

    /// `self / rhs`, element by element, broadcasting both. Integers give f32, as in PyTorch.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn div(&self, rhs: &Tensor) -> Result<Tensor> {
        let (a, b) = both("div", self, rhs)?;
        if !a.dtype().is_float() {
            return a.to_dtype(crate::DType::F32)?.div(&b.to_dtype(crate::DType::F32)?);
        }
        record(combine("div", Binary::Div, &a, &b)?, &[&a, &b], || Div {
            lhs: Tensor::clone(&a),
            rhs: Tensor::clone(&b),
        })
    }

    /// `self` to the power `rhs`, element by element, broadcasting both.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn pow(&self, rhs: &Tensor) -> Result<Tensor> {
        let (a, b) = both("pow", self, rhs)?;
        let value = combine("pow", Binary::Pow, &a, &b)?;
        record(value.clone(), &[&a, &b], || Pow { lhs: Tensor::clone(&a), rhs: Tensor::clone(&b), power: value })
    }

    /// The larger of each two elements; NaN if one is NaN. Equal elements share the gradient.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn maximum(&self, rhs: &Tensor) -> Result<Tensor> {
        let (a, b) = both("maximum", self, rhs)?;
        let value = combine("maximum", Binary::Maximum, &a, &b)?;
        record(value, &[&a, &b], || Extreme { lhs: Tensor::clone(&a), rhs: Tensor::clone(&b), largest: true })
    }

    /// The smaller of each two elements; NaN if one is NaN. Equal elements share the gradient.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn minimum(&self, rhs: &Tensor) -> Result<Tensor> {
        let (a, b) = both("minimum", self, rhs)?;
        let value = combine("minimum", Binary::Minimum, &a, &b)?;
        record(value, &[&a, &b], || Extreme { lhs: Tensor::clone(&a), rhs: Tensor::clone(&b), largest: false })
    }

    /// A scalar of the dtype of `self`. What is outside of u8 wraps around, as in PyTorch: -1 is 255.
    #[track_caller]
    pub(crate) fn scalar_like(&self, value: f64) -> Result<Tensor> {
        self.whole(value)?;
        let value = if self.dtype() == DType::U8 { value.rem_euclid(256.0) } else { value };
        Tensor::full_of("scalar", &Shape::default(), self.dtype(), value)
    }

    /// As [`scalar_like`](Self::scalar_like); truth values have no sum with a number.
    fn number_like(&self, op: &'static str, value: f64) -> Result<Tensor> {
        match self.dtype() {
            DType::Bool => Err(Error::DType { op, dtype: DType::Bool, expected: "a number" }),
            _ => self.scalar_like(value),
        }
    }

    /// Refuses a number that a tensor of this dtype cannot be combined with.
    pub(crate) fn whole(&self, value: f64) -> Result<()> {
        let why = match self.dtype() {
            DType::F32 | DType::F64 => return Ok(()),
            _ if value.fract() != 0.0 => "is not a whole number",
            DType::I64 if value.abs() >= 9_223_372_036_854_775_808.0 => "is too large",
            _ => return Ok(()),
        };
        let message = format!("{value} {why} and the tensor is {}; convert it with to_dtype first", self.dtype());
        Err(Error::argument("scalar", message))
    }

    /// `self + value`. The number takes the dtype of the tensor.
    ///
    /// # Errors
    /// The tensor is bool, or it holds integers and `value` is not whole.
    #[track_caller]
    pub fn add_scalar(&self, value: f64) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return self.add(&self.number_like("add", value)?);
        }
        let y = dispatch!(float "add", self.dtype(), T => self.value.unary::<T>("add", Unary::AddScalar(value))?);
        record(y, &[self], || AddScalar)
    }

    /// `self - value`.
    ///
    /// # Errors
    /// As [`add_scalar`](Self::add_scalar).
    #[track_caller]
    pub fn sub_scalar(&self, value: f64) -> Result<Tensor> {
        self.add_scalar(-value)
    }

    /// `self * value`.
    ///
    /// # Errors
    /// As [`add_scalar`](Self::add_scalar).
    #[track_caller]
    pub fn mul_scalar(&self, value: f64) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return self.mul(&self.number_like("mul", value)?);
        }
        let y = dispatch!(float "mul", self.dtype(), T => self.value.unary::<T>("mul", Unary::MulScalar(value))?);
        record(y, &[self], || MulScalar(value))
    }

    /// `self / value`.
    ///
    /// # Errors
    /// As [`add_scalar`](Self::add_scalar).
    #[track_caller]
    pub fn div_scalar(&self, value: f64) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return self.div(&self.scalar_like(value)?);
        }
        let y = dispatch!(float "div", self.dtype(), T => {
            compute([&*self.value.contiguous()?], move |[x]| {
                let by = Operand::Scalar(<T as Element>::of_f64(value));
                Value::build("div", x.shape(), |y: &mut [T]| elementwise::binary(Binary::Div, Operand::Slice(x.slice()), by, y))
            })?
        });
        record(y, &[self], || DivScalar(value))
    }

    /// `self` to the power `exponent`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([1f32, 2.0, 3.0])?.pow_scalar(2.0)?.to_vec::<f32>()?, [1.0, 4.0, 9.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`add_scalar`](Self::add_scalar).
    #[track_caller]
    pub fn pow_scalar(&self, exponent: f64) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return self.pow(&self.scalar_like(exponent)?);
        }
        let y = dispatch!(float "pow", self.dtype(), T => self.value.unary::<T>("pow", Unary::PowScalar(exponent))?);
        record(y, &[self], || PowScalar { input: self.clone(), exponent })
    }
}

#[derive(Debug)]
struct Add;
impl Rule for Add {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| Ok(g.clone()), &|| Ok(g.clone())])
    }
}

#[derive(Debug)]
struct Sub;
impl Rule for Sub {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| Ok(g.clone()), &|| g.neg()])
    }
}

#[derive(Debug)]
struct Mul {
    lhs: Tensor,
    rhs: Tensor,
}
impl Rule for Mul {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&self.rhs), &|| g.mul(&self.lhs)])
    }
}

#[derive(Debug)]
struct Div {
    lhs: Tensor,
    rhs: Tensor,
}
impl Rule for Div {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.div(&self.rhs), &|| g.mul(&self.lhs.div(&self.rhs)?.div(&self.rhs)?)?.neg()])
    }
}

#[derive(Debug)]
struct Pow {
    lhs: Tensor,
    rhs: Tensor,
    power: Value,
}
impl Rule for Pow {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let (a, b) = (&self.lhs, &self.rhs);
        cx.each([
            // b a^(b-1), and 0 where b is 0 even if a is.
            &|| g.mul(&b.mul(&a.pow(&b.sub_scalar(1.0)?)?)?)?.masked_fill(&b.eq_scalar(0.0)?, 0.0),
            // a^b ln a, and 0 where a is 0 and b is not negative.
            &|| {
                let flat = a.eq_scalar(0.0)?.logical_and(&b.ge_scalar(0.0)?)?;
                let log = a.masked_fill(&flat, 1.0)?.log()?;
                g.mul(&cx.output(&self.power).mul(&log)?)?.masked_fill(&flat, 0.0)
            },
        ])
    }
}

#[derive(Debug)]
struct Extreme {
    lhs: Tensor,
    rhs: Tensor,
    largest: bool,
}
impl Rule for Extreme {
    fn name(&self) -> String {
        if self.largest { "maximum" } else { "minimum" }.into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let (a, b) = (self.lhs.detach(), self.rhs.detach());
        let (low, high) = if self.largest { (&a, &b) } else { (&b, &a) };
        let shared = |g: &Tensor| a.eq(&b)?.where_cond(&g.mul_scalar(0.5)?, g);
        cx.each([&|| shared(g)?.masked_fill(&low.lt(high)?, 0.0), &|| shared(g)?.masked_fill(&high.lt(low)?, 0.0)])
    }
}

#[derive(Debug)]
struct AddScalar;
impl Rule for AddScalar {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| Ok(g.clone())])
    }
}

#[derive(Debug)]
struct MulScalar(f64);
impl Rule for MulScalar {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul_scalar(self.0)])
    }
}

#[derive(Debug)]
struct DivScalar(f64);
impl Rule for DivScalar {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.div_scalar(self.0)])
    }
}

#[derive(Debug)]
struct PowScalar {
    input: Tensor,
    exponent: f64,
}
impl Rule for PowScalar {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| {
            if self.exponent == 0.0 {
                return g.zeros_like();
            }
            g.mul(&self.input.pow_scalar(self.exponent - 1.0)?.mul_scalar(self.exponent)?)
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec { name: "add", samples: || with_integers(pairs(Tensor::add, |a, b| a + b), Tensor::add) },
    OpSpec { name: "sub", samples: || with_integers(pairs(Tensor::sub, |a, b| a - b), Tensor::sub) },
    OpSpec { name: "mul", samples: || with_integers(pairs(Tensor::mul, |a, b| a * b), Tensor::mul) },
    OpSpec { name: "div", samples: || pairs(Tensor::div, |a, b| a / b) },
    OpSpec { name: "pow", samples: || pairs(|a, b| a.abs()?.pow(b), |a, b| a.abs().powf(b)) },
    OpSpec { name: "maximum", samples: || with_integers(pairs(Tensor::maximum, f64::max), Tensor::maximum) },
    OpSpec { name: "minimum", samples: || with_integers(pairs(Tensor::minimum, f64::min), Tensor::minimum) },
    OpSpec { name: "add_scalar", samples: || scalars(|x| x.add_scalar(3.0), |v| v + 3.0) },
    OpSpec { name: "sub_scalar", samples: || scalars(|x| x.sub_scalar(3.0), |v| v - 3.0) },
    OpSpec { name: "mul_scalar", samples: || scalars(|x| x.mul_scalar(-2.0), |v| v * -2.0) },
    OpSpec { name: "div_scalar", samples: || scalars(|x| x.div_scalar(4.0), |v| v / 4.0) },
    OpSpec { name: "pow_scalar", samples: || scalars(|x| x.pow_scalar(3.0), |v| v.powi(3)) },
    OpSpec { name: "pow_scalar_fraction", samples: || scalars(|x| x.abs()?.pow_scalar(-0.7), |v| v.abs().powf(-0.7)) },
];

#[cfg(any(test, feature = "testing"))]
fn pairs(run: fn(&Tensor, &Tensor) -> Result<Tensor>, plain: fn(f64, f64) -> f64) -> Vec<Sample> {
    let sample = |label, a: Tensor, b: Tensor| {
        Sample::new(label, vec![a, b], move |x: &[Tensor]| run(&x[0], &x[1])).oracle(move |x| zip(&x[0], &x[1], plain))
    };
    vec![
        sample("equal shapes", numbers([3, 4], 1), positive([3, 4], 2)),
        sample("row", numbers([3, 4], 3), positive([4], 4)),
        sample("column and row", numbers([3, 1], 5), positive([1, 5], 6)),
        sample("scalar on the left", numbers((), 7), positive([2, 3], 8)),
        sample("scalars", numbers((), 9), positive((), 10)),
        sample("more dimensions", numbers([2, 1, 3], 11), positive([2, 1], 12)),
        sample("long", numbers([67], 13), positive([67], 14)),
        sample("empty", numbers([0, 3], 15), positive([3], 16)),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn with_integers(mut samples: Vec<Sample>, run: fn(&Tensor, &Tensor) -> Result<Tensor>) -> Vec<Sample> {
    let inputs = vec![indices([2, 5], 9, 17), indices([5], 9, 18)];
    samples.push(Sample::new("integers", inputs, move |x: &[Tensor]| run(&x[0], &x[1])).order(0));
    samples
}

#[cfg(any(test, feature = "testing"))]
fn scalars(run: fn(&Tensor) -> Result<Tensor>, plain: fn(f64) -> f64) -> Vec<Sample> {
    let sample = |label, x: Tensor| {
        Sample::new(label, vec![x], move |x: &[Tensor]| run(&x[0])).oracle(move |x| map(&x[0], plain))
    };
    vec![
        sample("matrix", numbers([3, 4], 1)),
        sample("scalar", numbers((), 2)),
        sample("empty", numbers([0], 3)),
        sample("long", numbers([67], 4)),
    ]
}
