//! Functions of one number, element by element, with the derivative beside each.

use std::f64::consts::FRAC_2_SQRT_PI;

use kernels::elementwise::{Binary, Unary};

use crate::dtype::{DType, dispatch};
use crate::error::Result;
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, map, numbers, positive};
use crate::value::Value;

/// `f(x)` for floating-point elements, without its place in the graph.
pub(super) fn apply(name: &'static str, kernel: Unary, x: &Tensor) -> Result<Value> {
    dispatch!(float name, x.dtype(), T => x.value.unary::<T>(name, kernel))
}

impl Tensor {
    /// `-x`, element by element.
    ///
    /// # Errors
    /// The dtype is not a number.
    #[track_caller]
    pub fn neg(&self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return self.scalar_like(0.0)?.sub(self);
        }
        let y = apply("neg", Unary::Neg, self)?;
        record(y, &[self], || Neg)
    }

    /// `|x|`, element by element. The gradient at 0 is 0.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([-1f32, 2.0])?.abs()?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The dtype is not a number.
    #[track_caller]
    pub fn abs(&self) -> Result<Tensor> {
        match self.dtype() {
            DType::F32 | DType::F64 => {}
            DType::U8 => return Ok(self.clone()),
            _ => return self.maximum(&self.neg()?),
        }
        let y = apply("abs", Unary::Abs, self)?;
        record(y, &[self], || Abs { x: self.clone() })
    }

    /// `x * x`, element by element; i64 for truth values.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn square(&self) -> Result<Tensor> {
        match self.dtype() {
            DType::F32 | DType::F64 => {}
            DType::Bool => return self.to_dtype(DType::I64),
            _ => return self.mul(self),
        }
        let y = apply("square", Unary::Square, self)?;
        record(y, &[self], || Square { x: self.clone() })
    }

    /// The square root of each element; NaN for negative ones.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn sqrt(&self) -> Result<Tensor> {
        let y = apply("sqrt", Unary::Sqrt, self)?;
        record(y.clone(), &[self], || Sqrt { y })
    }

    /// `1 / sqrt(x)`, element by element.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn rsqrt(&self) -> Result<Tensor> {
        let y = apply("rsqrt", Unary::Rsqrt, self)?;
        record(y.clone(), &[self], || Rsqrt { y })
    }

    /// `1 / x`, element by element.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn reciprocal(&self) -> Result<Tensor> {
        let y = apply("reciprocal", Unary::Reciprocal, self)?;
        record(y.clone(), &[self], || Reciprocal { y })
    }

    /// `e` to the power of each element.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let y = Tensor::new([0f64, 1.0])?.exp()?.to_vec::<f64>()?;
    /// assert_eq!(y[0], 1.0);
    /// assert!((y[1] - std::f64::consts::E).abs() < 1e-15);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn exp(&self) -> Result<Tensor> {
        let y = apply("exp", Unary::Exp, self)?;
        record(y.clone(), &[self], || Exp { y })
    }

    /// `exp(x) - 1`, exact near 0.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn expm1(&self) -> Result<Tensor> {
        let y = apply("expm1", Unary::Expm1, self)?;
        record(y.clone(), &[self], || Expm1 { y })
    }

    /// The natural logarithm of each element.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn log(&self) -> Result<Tensor> {
        let y = apply("log", Unary::Ln, self)?;
        record(y, &[self], || Log { x: self.clone() })
    }

    /// `log(1 + x)`, exact near 0.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn log1p(&self) -> Result<Tensor> {
        let y = apply("log1p", Unary::Log1p, self)?;
        record(y, &[self], || Log1p { x: self.clone() })
    }

    /// The sine of each element, in radians.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn sin(&self) -> Result<Tensor> {
        let y = apply("sin", Unary::Sin, self)?;
        record(y, &[self], || Sin { x: self.clone() })
    }

    /// The cosine of each element, in radians.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn cos(&self) -> Result<Tensor> {
        let y = apply("cos", Unary::Cos, self)?;
        record(y, &[self], || Cos { x: self.clone() })
    }

    /// The hyperbolic tangent of each element.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn tanh(&self) -> Result<Tensor> {
        let y = apply("tanh", Unary::Tanh, self)?;
        record(y.clone(), &[self], || Tanh { y })
    }

    /// The error function `2/sqrt(pi) * integral of exp(-t^2) from 0 to x`.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn erf(&self) -> Result<Tensor> {
        let y = apply("erf", Unary::Erf, self)?;
        record(y, &[self], || Erf { x: self.clone() })
    }

    /// -1, 0 or 1 by the sign of each element; NaN stays NaN. The gradient is 0.
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn sign(&self) -> Result<Tensor> {
        match self.dtype() {
            DType::F32 | DType::F64 => {}
            DType::Bool => return Ok(self.clone()),
            _ => return self.clamp(Some(-1.0), Some(1.0)),
        }
        record(apply("sign", Unary::Sign, self)?, &[self], || Step)
    }

    /// The largest whole number not above each element. The gradient is 0.
    ///
    /// # Errors
    /// The dtype is bool.
    #[track_caller]
    pub fn floor(&self) -> Result<Tensor> {
        if matches!(self.dtype(), DType::I64 | DType::U8) {
            return Ok(self.clone());
        }
        record(apply("floor", Unary::Floor, self)?, &[self], || Step)
    }

    /// The smallest whole number not below each element. The gradient is 0.
    ///
    /// # Errors
    /// The dtype is bool.
    #[track_caller]
    pub fn ceil(&self) -> Result<Tensor> {
        if matches!(self.dtype(), DType::I64 | DType::U8) {
            return Ok(self.clone());
        }
        record(apply("ceil", Unary::Ceil, self)?, &[self], || Step)
    }

    /// The nearest whole number, halves to the even one. The gradient is 0.
    ///
    /// # Errors
    /// The dtype is bool.
    #[track_caller]
    pub fn round(&self) -> Result<Tensor> {
        if matches!(self.dtype(), DType::I64 | DType::U8) {
            return Ok(self.clone());
        }
        record(apply("round", Unary::Round, self)?, &[self], || Step)
    }
}

/// The rule of functions that are flat between their steps.
#[derive(Debug)]
struct Step;
impl Rule for Step {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.zeros_like()])
    }
}

/// `g * (1 - y^2)` in one pass.
#[track_caller]
fn tanh_grad(g: &Tensor, y: &Tensor) -> Result<Tensor> {
    let value =
        dispatch!(float "tanh", g.dtype(), T => Value::binary::<T>("tanh", Binary::TanhGrad, &g.value, &y.value)?);
    record(value, &[g, y], || TanhGrad { g: g.clone(), y: y.clone() })
}

#[derive(Debug)]
struct TanhGrad {
    g: Tensor,
    y: Tensor,
}
impl Rule for TanhGrad {
    fn backward(&self, cx: &Cx<'_>, h: &Tensor) -> Result<Grads> {
        cx.each([&|| tanh_grad(h, &self.y), &|| h.mul(&self.g)?.mul(&self.y)?.mul_scalar(-2.0)])
    }
}

#[derive(Debug)]
struct Neg;
impl Rule for Neg {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.neg()])
    }
}

#[derive(Debug)]
struct Abs {
    x: Tensor,
}
impl Rule for Abs {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&self.x.sign()?)])
    }
}

#[derive(Debug)]
struct Square {
    x: Tensor,
}
impl Rule for Square {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| square_grad(g, &self.x)])
    }
}

/// `g * 2 x` in one pass.
#[track_caller]
fn square_grad(g: &Tensor, x: &Tensor) -> Result<Tensor> {
    let value = dispatch!(float "square", g.dtype(), T => Value::binary::<T>("square", Binary::SquareGrad, &g.value, &x.value)?);
    record(value, &[g, x], || SquareGrad { g: g.clone(), x: x.clone() })
}

#[derive(Debug)]
struct SquareGrad {
    g: Tensor,
    x: Tensor,
}
impl Rule for SquareGrad {
    fn backward(&self, cx: &Cx<'_>, h: &Tensor) -> Result<Grads> {
        cx.each([&|| square_grad(h, &self.x), &|| square_grad(h, &self.g)])
    }
}

#[derive(Debug)]
struct Sqrt {
    y: Value,
}
impl Rule for Sqrt {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.div(&cx.output(&self.y).mul_scalar(2.0)?)])
    }
}

#[derive(Debug)]
struct Rsqrt {
    y: Value,
}
impl Rule for Rsqrt {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&cx.output(&self.y).pow_scalar(3.0)?.mul_scalar(-0.5)?)])
    }
}

#[derive(Debug)]
struct Reciprocal {
    y: Value,
}
impl Rule for Reciprocal {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&cx.output(&self.y).square()?.neg()?)])
    }
}

#[derive(Debug)]
struct Exp {
    y: Value,
}
impl Rule for Exp {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&cx.output(&self.y))])
    }
}

#[derive(Debug)]
struct Expm1 {
    y: Value,
}
impl Rule for Expm1 {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&cx.output(&self.y).add_scalar(1.0)?)])
    }
}

#[derive(Debug)]
struct Log {
    x: Tensor,
}
impl Rule for Log {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.div(&self.x)])
    }
}

#[derive(Debug)]
struct Log1p {
    x: Tensor,
}
impl Rule for Log1p {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.div(&self.x.add_scalar(1.0)?)])
    }
}

#[derive(Debug)]
struct Sin {
    x: Tensor,
}
impl Rule for Sin {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&self.x.cos()?)])
    }
}

#[derive(Debug)]
struct Cos {
    x: Tensor,
}
impl Rule for Cos {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&self.x.sin()?.neg()?)])
    }
}

#[derive(Debug)]
struct Tanh {
    y: Value,
}
impl Rule for Tanh {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| tanh_grad(g, &cx.output(&self.y))])
    }
}

#[derive(Debug)]
struct Erf {
    x: Tensor,
}
impl Rule for Erf {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.mul(&self.x.square()?.neg()?.exp()?.mul_scalar(FRAC_2_SQRT_PI)?)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec { name: "neg", samples: || with_integers(samples(Tensor::neg, |v| -v), Tensor::neg) },
    OpSpec { name: "abs", samples: || with_integers(samples(Tensor::abs, f64::abs), Tensor::abs) },
    OpSpec { name: "square", samples: || with_integers(samples(Tensor::square, |v| v * v), Tensor::square) },
    OpSpec { name: "sqrt", samples: || positives(Tensor::sqrt, f64::sqrt) },
    OpSpec { name: "rsqrt", samples: || positives(Tensor::rsqrt, |v| 1.0 / v.sqrt()) },
    OpSpec { name: "reciprocal", samples: || samples(Tensor::reciprocal, |v| 1.0 / v) },
    OpSpec { name: "exp", samples: || samples(Tensor::exp, f64::exp) },
    OpSpec { name: "expm1", samples: || samples(Tensor::expm1, f64::exp_m1) },
    OpSpec { name: "log", samples: || positives(Tensor::log, f64::ln) },
    OpSpec { name: "log1p", samples: || positives(Tensor::log1p, f64::ln_1p) },
    OpSpec { name: "sin", samples: || samples(Tensor::sin, f64::sin) },
    OpSpec { name: "cos", samples: || samples(Tensor::cos, f64::cos) },
    OpSpec { name: "tanh", samples: || samples(Tensor::tanh, f64::tanh) },
    OpSpec { name: "erf", samples: || samples(Tensor::erf, libm::erf) },
    OpSpec { name: "sign", samples: || samples(Tensor::sign, |v| if v == 0.0 { 0.0 } else { v.signum() }) },
    OpSpec { name: "floor", samples: || samples(Tensor::floor, f64::floor) },
    OpSpec { name: "ceil", samples: || samples(Tensor::ceil, f64::ceil) },
    OpSpec { name: "round", samples: || samples(Tensor::round, f64::round_ties_even) },
];

/// Samples of a function of one number, with the same function of an f64 as oracle.
#[cfg(any(test, feature = "testing"))]
pub(super) fn samples(run: fn(&Tensor) -> Result<Tensor>, plain: fn(f64) -> f64) -> Vec<Sample> {
    on([numbers([3, 4], 1), numbers((), 2), numbers([67], 3), numbers([2, 0], 4), numbers([2, 1, 3], 5)], run, plain)
}

#[cfg(any(test, feature = "testing"))]
fn positives(run: fn(&Tensor) -> Result<Tensor>, plain: fn(f64) -> f64) -> Vec<Sample> {
    on(
        [positive([3, 4], 1), positive((), 2), positive([67], 3), positive([2, 0], 4), positive([2, 1, 3], 5)],
        run,
        plain,
    )
}

#[cfg(any(test, feature = "testing"))]
fn on(x: [Tensor; 5], run: fn(&Tensor) -> Result<Tensor>, plain: fn(f64) -> f64) -> Vec<Sample> {
    let sample =
        |(label, x)| Sample::new(label, vec![x], move |x: &[Tensor]| run(&x[0])).oracle(move |x| map(&x[0], plain));
    ["matrix", "scalar", "longer than a register", "empty", "a size of 1"].into_iter().zip(x).map(sample).collect()
}

#[cfg(any(test, feature = "testing"))]
fn with_integers(mut samples: Vec<Sample>, run: fn(&Tensor) -> Result<Tensor>) -> Vec<Sample> {
    samples.push(Sample::new("integers", vec![indices([9], 20, 6)], move |x: &[Tensor]| run(&x[0])).order(0));
    samples
}
