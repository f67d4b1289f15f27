//! Operators on single elements: arithmetic, comparison, activations.

use benches::Refusal;
use gabor::{Gelu, Tensor};

use crate::call::{Call, Input, Outputs, one};
use crate::operators::Operator;

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("abs", |c| one(c.tensor(0)?.abs()?)),
    ("neg", |c| one(c.tensor(0)?.neg()?)),
    ("exp", |c| one(c.tensor(0)?.exp()?)),
    ("log", |c| one(c.tensor(0)?.log()?)),
    ("sqrt", |c| one(c.tensor(0)?.sqrt()?)),
    ("square", |c| one(c.tensor(0)?.square()?)),
    ("sigmoid", |c| one(c.tensor(0)?.sigmoid()?)),
    ("tanh", |c| one(c.tensor(0)?.tanh()?)),
    ("relu", |c| one(c.tensor(0)?.relu()?)),
    ("silu", |c| one(c.tensor(0)?.silu()?)),
    ("leaky_relu", |c| one(c.tensor(0)?.leaky_relu(c.attrs.number("negative_slope")?.unwrap_or(0.01))?)),
    ("elu", |c| one(c.tensor(0)?.elu(c.attrs.number("alpha")?.unwrap_or(1.0))?)),
    ("softplus", softplus),
    ("gelu", gelu),
    ("add", |c| sum(c, 1.0)),
    ("sub", |c| sum(c, -1.0)),
    ("mul", |c| binary(c, Tensor::mul, Some(Tensor::mul_scalar))),
    ("div", |c| binary(c, Tensor::div, Some(Tensor::div_scalar))),
    ("pow", |c| binary(c, Tensor::pow, Some(Tensor::pow_scalar))),
    ("maximum", |c| binary(c, Tensor::maximum, None)),
    ("minimum", |c| binary(c, Tensor::minimum, None)),
    ("rsqrt", |c| one(c.tensor(0)?.rsqrt()?)),
    ("reciprocal", |c| one(c.tensor(0)?.reciprocal()?)),
    ("expm1", |c| one(c.tensor(0)?.expm1()?)),
    ("log1p", |c| one(c.tensor(0)?.log1p()?)),
    ("sin", |c| one(c.tensor(0)?.sin()?)),
    ("cos", |c| one(c.tensor(0)?.cos()?)),
    ("erf", |c| one(c.tensor(0)?.erf()?)),
    ("sign", |c| one(c.tensor(0)?.sign()?)),
    ("floor", |c| one(c.tensor(0)?.floor()?)),
    ("ceil", |c| one(c.tensor(0)?.ceil()?)),
    ("isnan", |c| one(c.tensor(0)?.isnan()?)),
    ("hardtanh", |c| {
        let (min, max) = (c.attrs.number("min_val")?.unwrap_or(-1.0), c.attrs.number("max_val")?.unwrap_or(1.0));
        one(c.tensor(0)?.hardtanh(min, max)?)
    }),
    ("eq", |c| compare(c, Tensor::eq, Tensor::eq_scalar)),
    ("ne", |c| compare(c, Tensor::ne, Tensor::ne_scalar)),
    ("lt", |c| compare(c, Tensor::lt, Tensor::lt_scalar)),
    ("le", |c| compare(c, Tensor::le, Tensor::le_scalar)),
    ("gt", |c| compare(c, Tensor::gt, Tensor::gt_scalar)),
    ("ge", |c| compare(c, Tensor::ge, Tensor::ge_scalar)),
    ("logical_and", |c| binary(c, Tensor::logical_and, None)),
    ("logical_or", |c| binary(c, Tensor::logical_or, None)),
    ("logical_not", |c| one(c.tensor(0)?.logical_not()?)),
    ("clamp", clamp),
    ("where", select),
    ("masked_fill", masked_fill),
];

type OnTensors = fn(&Tensor, &Tensor) -> gabor::Result<Tensor>;
type OnScalar = fn(&Tensor, f64) -> gabor::Result<Tensor>;

/// A number as a scalar tensor beside `like`.
fn scalar(value: f64, like: &Tensor) -> gabor::Result<Tensor> {
    Tensor::full((), value)?.to_dtype(like.dtype())
}

/// A comparison, which has no number on the left.
fn compare(c: &Call<'_>, tensors: OnTensors, number: OnScalar) -> Outputs {
    binary(c, tensors, matches!(c.input(0), Input::Tensor(_)).then_some(number))
}

/// Tensor with tensor, or with a number on either side where the operator takes one.
fn binary(c: &Call<'_>, tensors: OnTensors, number: Option<OnScalar>) -> Outputs {
    match (c.input(0), c.input(1), number) {
        (Input::Tensor(a), Input::Tensor(b), _) => one(tensors(a, b)?),
        (Input::Tensor(a), Input::Number(b), Some(number)) => one(number(a, *b)?),
        (Input::Number(a), Input::Tensor(b), Some(_)) => one(tensors(&scalar(*a, b)?, b)?),
        (a, b, _) => Err(Refusal::Type(format!("{a:?} and {b:?}; expected tensors"))),
    }
}

/// `input + sign * alpha * other`.
fn sum(c: &Call<'_>, sign: f64) -> Outputs {
    let alpha = c.attrs.number("alpha")?;
    match (c.input(0), c.input(1), alpha) {
        (Input::Tensor(a), Input::Tensor(b), Some(alpha)) => one(a.add(&b.mul_scalar(sign * alpha)?)?),
        (_, _, None) if sign < 0.0 => binary(c, Tensor::sub, Some(Tensor::sub_scalar)),
        (_, _, None) => binary(c, Tensor::add, Some(Tensor::add_scalar)),
        (Input::Tensor(a), Input::Number(b), Some(alpha)) => one(a.add_scalar(sign * alpha * b)?),
        (Input::Number(a), Input::Tensor(b), Some(alpha)) => one(b.mul_scalar(sign * alpha)?.add_scalar(*a)?),
        (a, b, _) => Err(Refusal::Type(format!("{a:?} and {b:?}; expected tensors"))),
    }
}

fn softplus(c: &Call<'_>) -> Outputs {
    let beta = c.attrs.number("beta")?.unwrap_or(1.0);
    one(c.tensor(0)?.softplus(beta, c.attrs.number("threshold")?.unwrap_or(20.0))?)
}

fn gelu(c: &Call<'_>) -> Outputs {
    let approximate = match c.attrs.text("approximate")?.unwrap_or("none") {
        "none" => Gelu::None,
        "tanh" => Gelu::Tanh,
        other => return Err(Refusal::Type(format!("{other} names no variant of Gelu"))),
    };
    one(c.tensor(0)?.gelu(approximate)?)
}

/// Bounds that are tensors are written with `maximum` and `minimum`, in this order, so that the upper one wins.
/// PyTorch promotes them to the dtype of the input; here that is a conversion.
fn clamp(c: &Call<'_>) -> Outputs {
    let x = c.tensor(0)?;
    if !c.is_tensor("min") && !c.is_tensor("max") {
        return one(x.clamp(c.attrs.number("min")?, c.attrs.number("max")?)?);
    }
    let mut y = x.clone();
    if let Some(min) = c.named("min")? {
        y = y.maximum(&min.to_dtype(x.dtype())?)?;
    }
    if let Some(max) = c.named("max")? {
        y = y.minimum(&max.to_dtype(x.dtype())?)?;
    }
    one(y)
}

fn select(c: &Call<'_>) -> Outputs {
    let condition = c.tensor(0)?;
    match (c.input(1), c.input(2)) {
        (Input::Tensor(a), Input::Tensor(b)) => one(condition.where_cond(a, b)?),
        (Input::Tensor(a), Input::Number(b)) => one(condition.where_cond(a, &scalar(*b, a)?)?),
        (Input::Number(a), Input::Tensor(b)) => one(condition.where_cond(&scalar(*a, b)?, b)?),
        (a, b) => Err(Refusal::Type(format!("{a:?} and {b:?}; expected tensors"))),
    }
}

/// The value of `masked_fill` is a number here; a scalar tensor, which may want a gradient, goes through `where_cond`.
fn masked_fill(c: &Call<'_>) -> Outputs {
    let (x, mask) = (c.tensor(0)?, c.tensor(1)?);
    match c.input(2) {
        Input::Number(value) => one(x.masked_fill(mask, *value)?),
        Input::Tensor(value) if value.rank() == 0 => one(mask.where_cond(value, x)?),
        other => Err(Refusal::Type(format!("value {other:?}; expected a number"))),
    }
}
