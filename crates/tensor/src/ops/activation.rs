//! Activation functions, element by element, with the derivative beside each.

use kernels::elementwise::{self, Binary, Unary};
use smallvec::smallvec;

use super::unary::apply;
#[cfg(any(test, feature = "testing"))]
use super::unary::samples;
use crate::dtype::{DType, dispatch};
use crate::error::{Error, Result};
use crate::program::change;
use crate::tape::{Cx, Grads, Rule, Tensor, grad_enabled, is_anomaly_enabled, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::OpSpec;
use crate::value::Value;

/// How [`Tensor::gelu`] computes the normal distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gelu {
    /// With the error function.
    #[default]
    None,
    /// With the approximation by `tanh`.
    Tanh,
}

impl Tensor {
    /// `max(x, 0)`; NaN stays NaN and the gradient at 0 is 0.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([-1f32, 0.0, 2.0])?.relu()?.to_vec::<f32>()?, [0.0, 0.0, 2.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The dtype is bool.
    #[track_caller]
    pub fn relu(&self) -> Result<Tensor> {
        if matches!(self.dtype(), DType::I64 | DType::U8) {
            return self.clamp(Some(0.0), None);
        }
        let y = apply("relu", Unary::Relu, self)?;
        record(y.clone(), &[self], || Relu { y })
    }

    /// [`relu`](Self::relu) of a tensor that is not used any more: in its memory, if nothing else holds it.
    ///
    /// Unlike PyTorch's `relu_` it takes the tensor, so what others see of it never changes.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([-1f32, 0.0, 2.0])?.relu_()?.to_vec::<f32>()?, [0.0, 0.0, 2.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The dtype is bool.
    #[track_caller]
    pub fn relu_(self) -> Result<Tensor> {
        // Anomaly mode looks at operands after the fact.
        if !self.dtype().is_float() || is_anomaly_enabled() {
            return self.relu();
        }
        let Tensor { value, node } = self;
        let value = change(value, [], |mut value, []| {
            dispatch!(float "relu", value.dtype(), T => match value.unique::<T>() {
                Some(y) => elementwise::unary_in_place(Unary::Relu, y),
                None => return value.unary::<T>("relu", Unary::Relu),
            });
            Ok(value)
        })?;
        rectified(Tensor { value, node })
    }

    /// `1 / (1 + exp(-x))`.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn sigmoid(&self) -> Result<Tensor> {
        let y = apply("sigmoid", Unary::Sigmoid, self)?;
        record(y.clone(), &[self], || Sigmoid { y })
    }

    /// `x * sigmoid(x)`, also called swish.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn silu(&self) -> Result<Tensor> {
        record(apply("silu", Unary::Silu, self)?, &[self], || Silu { x: self.clone() })
    }

    /// `x * P(normal < x)`: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn gelu(&self, approximate: Gelu) -> Result<Tensor> {
        let kernel = if approximate == Gelu::None { Unary::Gelu } else { Unary::GeluTanh };
        record(apply("gelu", kernel, self)?, &[self], || GeluRule { x: self.clone(), approximate })
    }

    /// `x` where it is positive, else `negative_slope * x`.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn leaky_relu(&self, negative_slope: f64) -> Result<Tensor> {
        let y = apply("leaky_relu", Unary::LeakyRelu(negative_slope), self)?;
        record(y, &[self], || LeakyRelu { x: self.clone(), negative_slope })
    }

    /// `x` where it is positive, else `alpha * (exp(x) - 1)`.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Result<Tensor> {
        record(apply("elu", Unary::Elu(alpha), self)?, &[self], || Elu { x: self.clone(), alpha })
    }

    /// `log(1 + exp(beta * x)) / beta`, and `x` itself where `beta * x` is above `threshold`.
    ///
    /// # Errors
    /// The dtype is not floating point, or `beta` is 0 or not a number.
    #[track_caller]
    pub fn softplus(&self, beta: f64, threshold: f64) -> Result<Tensor> {
        if beta == 0.0 || beta.is_nan() {
            return Err(Error::argument("softplus", format!("beta is {beta}; it must not be 0")));
        }
        let y = apply("softplus", Unary::Softplus { beta, threshold }, self)?;
        record(y, &[self], || Softplus { x: self.clone(), beta, threshold })
    }

    /// `x` held between `min` and `max`; the gradient is 0 at the bounds and outside.
    ///
    /// # Errors
    /// The dtype is bool, or `min` is above `max`.
    #[track_caller]
    pub fn hardtanh(&self, min: f64, max: f64) -> Result<Tensor> {
        if min.is_nan() || max.is_nan() || min > max {
            return Err(Error::argument(
                "hardtanh",
                format!("the bounds are {min} and {max}; min must not be above max"),
            ));
        }
        if matches!(self.dtype(), DType::I64 | DType::U8) {
            return self.clamp(Some(min), Some(max));
        }
        let y = apply("hardtanh", Unary::Clamp { min, max }, self)?;
        record(y, &[self], || Between { x: self.clone(), min: Some(min), max: Some(max), passes_nan: true })
    }

    /// `x` held between `min` and `max`, either of which may be left out; the gradient is 0 at the bounds and outside.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([-2f32, 0.5, 3.0])?;
    /// assert_eq!(x.clamp(Some(0.0), Some(1.0))?.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// assert_eq!(x.clamp(None, Some(0.0))?.to_vec::<f32>()?, [-2.0, 0.0, 0.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Both bounds are left out, or the dtype is bool.
    #[track_caller]
    pub fn clamp(&self, min: Option<f64>, max: Option<f64>) -> Result<Tensor> {
        if min.is_none() && max.is_none() {
            return Err(Error::argument("clamp", "neither min nor max is given; give at least one"));
        }
        let (low, high) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
        if !self.dtype().is_float() {
            if self.dtype() == DType::Bool {
                return Err(Error::DType { op: "clamp", dtype: DType::Bool, expected: "a number" });
            }
            // A bound that no element can reach is the nearest one that it can.
            let bound = |v: f64| {
                if v.is_finite() {
                    self.whole(v)?;
                }
                Tensor::full_of("clamp", &crate::Shape::default(), self.dtype(), v)
            };
            let raised = min.map_or_else(|| Ok(self.clone()), |m| self.maximum(&bound(m)?))?;
            return max.map_or_else(|| Ok(raised.clone()), |m| raised.minimum(&bound(m)?));
        }
        let y = apply("clamp", Unary::Clamp { min: low, max: high }, self)?;
        record(y, &[self], || Between { x: self.clone(), min, max, passes_nan: false })
    }
}

/// A binary kernel of a gradient and an output.
fn fused(name: &'static str, kernel: Binary, g: &Tensor, y: &Tensor) -> Result<Value> {
    dispatch!(float name, g.dtype(), T => Value::binary::<T>(name, kernel, &g.value, &y.value))
}

/// Adds ReLU to the graph for a result that went through it already.
#[track_caller]
pub(super) fn rectified(y: Tensor) -> Result<Tensor> {
    // Only the place in the graph counts for the record.
    let value = y.value.clone();
    record(value.clone(), &[&y], || Relu { y: value })
}

#[derive(Debug)]
struct Relu {
    y: Value,
}
impl Rule for Relu {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        self.backward_owned(cx, g.clone())
    }

    /// `g` where `y` is positive, else 0. Linear in `g` and flat in `y`, so it is its own rule.
    fn backward_owned(&self, cx: &Cx<'_>, g: Tensor) -> Result<Grads> {
        if !cx.needs(0) {
            return Ok(smallvec![None]);
        }
        let Tensor { value, node } = g;
        let value = value.update("relu", Binary::ReluGrad, &self.y)?;
        // Only the place in the graph counts for the record.
        let before = Tensor { value: value.clone(), node };
        Ok(smallvec![Some(record(value, &[&before], || Relu { y: self.y.clone() })?)])
    }
}

#[derive(Debug)]
struct Sigmoid {
    y: Value,
}
impl Rule for Sigmoid {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| sigmoid_grad(g, &cx.output(&self.y))])
    }

    fn backward_owned(&self, cx: &Cx<'_>, g: Tensor) -> Result<Grads> {
        if grad_enabled() || !cx.needs(0) {
            return self.backward(cx, &g);
        }
        Ok(smallvec![Some(Tensor::plain(g.value.update("sigmoid", Binary::SigmoidGrad, &self.y)?))])
    }
}

/// `g * y * (1 - y)` in one pass.
#[track_caller]
fn sigmoid_grad(g: &Tensor, y: &Tensor) -> Result<Tensor> {
    let value = fused("sigmoid", Binary::SigmoidGrad, g, y)?;
    record(value, &[g, y], || SigmoidGrad { g: g.clone(), y: y.clone() })
}

#[derive(Debug)]
struct SigmoidGrad {
    g: Tensor,
    y: Tensor,
}
impl Rule for SigmoidGrad {
    fn backward(&self, cx: &Cx<'_>, h: &Tensor) -> Result<Grads> {
        cx.each([&|| sigmoid_grad(h, &self.y), &|| h.mul(&self.g)?.mul(&self.y.mul_scalar(-2.0)?.add_scalar(1.0)?)])
    }
}

#[derive(Debug)]
struct Silu {
    x: Tensor,
}
impl Rule for Silu {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // s (1 + x (1 - s))
        cx.each([&|| {
            let s = self.x.sigmoid()?;
            let rest = self.x.mul(&s.neg()?.add_scalar(1.0)?)?.add_scalar(1.0)?;
            g.mul(&s.mul(&rest)?)
        }])
    }
}

#[derive(Debug)]
struct GeluRule {
    x: Tensor,
    approximate: Gelu,
}
impl Rule for GeluRule {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let x = &self.x;
        cx.each([&|| match self.approximate {
            Gelu::None => {
                // Phi(x) + x phi(x)
                let below = x.mul_scalar(std::f64::consts::FRAC_1_SQRT_2)?.erf()?.add_scalar(1.0)?.mul_scalar(0.5)?;
                let density =
                    x.square()?.mul_scalar(-0.5)?.exp()?.mul_scalar((0.5 * std::f64::consts::FRAC_1_PI).sqrt())?;
                g.mul(&below.add(&x.mul(&density)?)?)
            }
            Gelu::Tanh => {
                // With u = sqrt(2/pi) (x + 0.044715 x^3): (1 + tanh u) / 2 + x (1 - tanh^2 u) u' / 2
                let scale = (2.0 * std::f64::consts::FRAC_1_PI).sqrt();
                let x2 = x.square()?;
                let t = x.mul(&x2.mul_scalar(0.044715)?.add_scalar(1.0)?)?.mul_scalar(scale)?.tanh()?;
                let slope = x2.mul_scalar(3.0 * 0.044715)?.add_scalar(1.0)?.mul_scalar(scale)?;
                let bend = x.mul(&t.square()?.neg()?.add_scalar(1.0)?)?.mul(&slope)?;
                g.mul(&t.add_scalar(1.0)?.add(&bend)?.mul_scalar(0.5)?)
            }
        }])
    }
}

#[derive(Debug)]
struct LeakyRelu {
    x: Tensor,
    negative_slope: f64,
}
impl Rule for LeakyRelu {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| self.x.gt_scalar(0.0)?.where_cond(g, &g.mul_scalar(self.negative_slope)?)])
    }
}

#[derive(Debug)]
struct Elu {
    x: Tensor,
    alpha: f64,
}
impl Rule for Elu {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // The clamp keeps exp finite where its branch is not taken.
        cx.each([&|| {
            let slope = self.x.clamp(None, Some(0.0))?.exp()?.mul_scalar(self.alpha)?;
            self.x.le_scalar(0.0)?.where_cond(&g.mul(&slope)?, g)
        }])
    }
}

#[derive(Debug)]
struct Softplus {
    x: Tensor,
    beta: f64,
    threshold: f64,
}
impl Rule for Softplus {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| {
            let scaled = self.x.mul_scalar(self.beta)?;
            scaled.gt_scalar(self.threshold)?.where_cond(g, &g.mul(&scaled.sigmoid()?)?)
        }])
    }
}

#[derive(Debug)]
struct Between {
    x: Tensor,
    min: Option<f64>,
    max: Option<f64>,
    passes_nan: bool,
}
impl Rule for Between {
    fn name(&self) -> String {
        "clamp".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| {
            // As PyTorch, nothing passes at a bound, and NaN passes the gradient of hardtanh, but not that of clamp.
            let mut flat = if self.passes_nan { self.x.zeros_like()?.gt_scalar(0.0)? } else { self.x.isnan()? };
            if let Some(min) = self.min {
                flat = flat.logical_or(&self.x.le_scalar(min)?)?;
            }
            if let Some(max) = self.max {
                flat = flat.logical_or(&self.x.ge_scalar(max)?)?;
            }
            g.masked_fill(&flat, 0.0)
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec { name: "relu", samples: || samples(Tensor::relu, |v| v.max(0.0)) },
    OpSpec { name: "sigmoid", samples: || samples(Tensor::sigmoid, |v| 1.0 / (1.0 + (-v).exp())) },
    OpSpec { name: "silu", samples: || samples(Tensor::silu, |v| v / (1.0 + (-v).exp())) },
    OpSpec {
        name: "gelu",
        samples: || {
            samples(|x| x.gelu(Gelu::None), |v| v * 0.5 * (1.0 + libm::erf(v * std::f64::consts::FRAC_1_SQRT_2)))
        },
    },
    OpSpec {
        name: "gelu_tanh",
        samples: || {
            samples(
                |x| x.gelu(Gelu::Tanh),
                |v| 0.5 * v * (1.0 + ((2.0 * std::f64::consts::FRAC_1_PI).sqrt() * (v + 0.044715 * v.powi(3))).tanh()),
            )
        },
    },
    OpSpec { name: "leaky_relu", samples: || samples(|x| x.leaky_relu(0.1), |v| if v > 0.0 { v } else { 0.1 * v }) },
    OpSpec { name: "elu", samples: || samples(|x| x.elu(1.5), |v| if v > 0.0 { v } else { 1.5 * v.exp_m1() }) },
    OpSpec {
        name: "softplus",
        // The threshold lies among the samples.
        samples: || {
            samples(|x| x.softplus(2.0, 3.05), |v| if 2.0 * v > 3.05 { v } else { (2.0 * v).exp().ln_1p() / 2.0 })
        },
    },
    OpSpec { name: "hardtanh", samples: || samples(|x| x.hardtanh(-1.01, 0.52), |v| v.clamp(-1.01, 0.52)) },
    OpSpec { name: "clamp", samples: || samples(|x| x.clamp(Some(-1.01), Some(0.52)), |v| v.clamp(-1.01, 0.52)) },
    OpSpec { name: "clamp_min", samples: || samples(|x| x.clamp(Some(0.52), None), |v| v.max(0.52)) },
];
