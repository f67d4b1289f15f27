//! Operators on single elements.

use gabor::{DType, Gelu, Tensor};

use crate::node::{Node, Operator, Outputs, Stop, one};

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("Abs", |n| one(n.x(0)?.abs()?)),
    ("Cos", |n| one(n.x(0)?.cos()?)),
    ("Erf", |n| one(n.x(0)?.erf()?)),
    ("Exp", |n| one(n.x(0)?.exp()?)),
    ("Log", |n| one(n.x(0)?.log()?)),
    ("Neg", |n| one(n.x(0)?.neg()?)),
    ("Reciprocal", |n| one(n.x(0)?.reciprocal()?)),
    ("Sign", |n| one(n.x(0)?.sign()?)),
    ("Sin", |n| one(n.x(0)?.sin()?)),
    ("Sqrt", |n| one(n.x(0)?.sqrt()?)),
    ("Tanh", |n| one(n.x(0)?.tanh()?)),
    ("Sigmoid", |n| one(n.x(0)?.sigmoid()?)),
    ("Relu", |n| one(n.x(0)?.relu()?)),
    ("LeakyRelu", |n| one(n.x(0)?.leaky_relu(n.number("alpha", 0.01)?)?)),
    ("Elu", |n| one(n.x(0)?.elu(n.number("alpha", 1.0)?)?)),
    ("Softplus", |n| one(n.x(0)?.softplus(1.0, 20.0)?)),
    ("Mish", |n| one(n.x(0)?.mul(&n.x(0)?.softplus(1.0, 20.0)?.tanh()?)?)),
    ("Swish", swish),
    ("Gelu", gelu),
    ("Selu", selu),
    ("PRelu", prelu),
    ("HardSigmoid", |n| one(hard_sigmoid(n.x(0)?, n.number("alpha", 0.2)?, n.number("beta", 0.5)?)?)),
    ("HardSwish", |n| one(n.x(0)?.mul(&hard_sigmoid(n.x(0)?, 1.0 / 6.0, 0.5)?)?)),
    ("Clip", clip),
    ("Add", |n| binary(n, Tensor::add)),
    ("Sub", |n| binary(n, Tensor::sub)),
    ("Mul", |n| binary(n, Tensor::mul)),
    ("Div", divide),
    ("Pow", pow),
    ("Max", |n| fold(n, Tensor::maximum)),
    ("Min", |n| fold(n, Tensor::minimum)),
    ("Sum", |n| fold(n, Tensor::add)),
    ("Mean", |n| one(fold(n, Tensor::add)?[0].div_scalar(n.inputs().count() as f64)?)),
    ("Equal", |n| binary(n, Tensor::eq)),
    ("Greater", |n| binary(n, Tensor::gt)),
    ("GreaterOrEqual", |n| binary(n, Tensor::ge)),
    ("Less", |n| binary(n, Tensor::lt)),
    ("LessOrEqual", |n| binary(n, Tensor::le)),
    ("And", |n| binary(n, Tensor::logical_and)),
    ("Or", |n| binary(n, Tensor::logical_or)),
    ("Not", |n| one(n.x(0)?.logical_not()?)),
    ("Where", |n| one(n.x(0)?.where_cond(n.x(1)?, n.x(2)?)?)),
];

type OnTensors = fn(&Tensor, &Tensor) -> gabor::Result<Tensor>;

fn swish(n: &Node<'_>) -> Outputs {
    let (x, alpha) = (n.x(0)?, n.number("alpha", 1.0)?);
    one(if alpha == 1.0 { x.silu()? } else { x.mul(&x.mul_scalar(alpha)?.sigmoid()?)? })
}

fn gelu(n: &Node<'_>) -> Outputs {
    one(n.x(0)?.gelu(if n.text("approximate", "none")? == "tanh" { Gelu::Tanh } else { Gelu::None })?)
}

fn selu(n: &Node<'_>) -> Outputs {
    let (alpha, gamma) = (n.number("alpha", 1.673_263_192_176_818_8)?, n.number("gamma", 1.050_700_902_938_842_8)?);
    one(n.x(0)?.elu(alpha)?.mul_scalar(gamma)?)
}

/// Slopes of old versions lie along the channels.
fn prelu(n: &Node<'_>) -> Outputs {
    let (x, mut slope) = (n.x(0)?, n.x(1)?.clone());
    if n.opset < 7 && slope.numel() > 1 {
        for _ in 2..x.rank() {
            slope = slope.unsqueeze(-1)?;
        }
    }
    one(x.gt_scalar(0.0)?.where_cond(x, &x.mul(&slope)?)?)
}

fn hard_sigmoid(x: &Tensor, alpha: f64, beta: f64) -> gabor::Result<Tensor> {
    x.mul_scalar(alpha)?.add_scalar(beta)?.clamp(Some(0.0), Some(1.0))
}

fn clip(n: &Node<'_>) -> Outputs {
    let bound = |name: &str, i: usize| match n.optional(i) {
        Some(x) => Ok::<_, Stop>(Some(x.item()?)),
        None => Ok(Some(n.number(name, f64::NAN)?).filter(|v| !v.is_nan())),
    };
    let (min, max) = (bound("min", 1)?, bound("max", 2)?);
    one(if min.is_none() && max.is_none() { n.x(0)?.clone() } else { n.x(0)?.clamp(min, max)? })
}

/// Old versions broadcast only if they are told to, and may name the axis where the smaller operand begins.
fn binary(n: &Node<'_>, f: OnTensors) -> Outputs {
    let (a, mut b) = (n.x(0)?, n.x(1)?.clone());
    n.int("broadcast", 0)?;
    let axis = n.int("axis", -1)?;
    if axis >= 0 {
        while (b.rank() as i64) < a.rank() as i64 - axis {
            b = b.unsqueeze(-1)?;
        }
    }
    one(f(a, &b)?)
}

fn divide(n: &Node<'_>) -> Outputs {
    if !n.x(0)?.dtype().is_float() {
        return Err(Stop::Skipped("integers are divided as floating-point numbers in PyTorch"));
    }
    binary(n, Tensor::div)
}

/// Dtypes may differ in ONNX; the result has that of the base.
fn pow(n: &Node<'_>) -> Outputs {
    let (base, exponent) = (n.x(0)?, n.x(1)?);
    if !base.dtype().is_float() && exponent.dtype().is_float() {
        let wide = base.to_dtype(DType::F64)?.pow(&exponent.to_dtype(DType::F64)?)?;
        return one(wide.to_dtype(base.dtype())?);
    }
    one(base.pow(&exponent.to_dtype(base.dtype())?)?)
}

fn fold(n: &Node<'_>, f: OnTensors) -> Outputs {
    let mut inputs = n.inputs();
    let first = inputs.next().ok_or_else(|| Stop::Failed("no input".to_owned()))?;
    one(inputs.try_fold(first.clone(), |y, x| f(&y, x))?)
}
