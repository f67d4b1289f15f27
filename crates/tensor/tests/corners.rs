//! Values and gradients at kinks, ties, infinities and NaN, where no derivative exists or several would do. The numbers are
//! those of PyTorch 2.15 in f64.

use gabor_tensor::{AvgPoolOptions, DType, Gelu, PadMode, PoolOptions, Result, Tensor};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

/// A name, the operator, its input, PyTorch's result and PyTorch's gradient of the sum of the result.
type Row = (&'static str, fn(&Tensor) -> Result<Tensor>, &'static [f64], &'static [f64], &'static [f64]);

const TABLE: &[Row] = &[
    ("relu of NaN and infinity", Tensor::relu, &[NAN, INF, -INF, -0.0], &[NAN, INF, 0.0, -0.0], &[1.0, 1.0, 0.0, 0.0]),
    ("abs of NaN and infinity", Tensor::abs, &[NAN, INF, -INF], &[NAN, INF, INF], &[0.0, 1.0, -1.0]),
    ("sqrt below 0", Tensor::sqrt, &[-1.0, -0.0, INF], &[NAN, -0.0, INF], &[NAN, -INF, 0.0]),
    ("log below 0", Tensor::log, &[-1.0, -0.0, INF], &[NAN, -INF, INF], &[-1.0, -INF, 0.0]),
    ("log1p at -1", Tensor::log1p, &[-1.0, -2.0, 0.0], &[-INF, NAN, 0.0], &[INF, -1.0, 1.0]),
    ("expm1 at 0", Tensor::expm1, &[0.0, -INF], &[0.0, -1.0], &[1.0, 0.0]),
    ("tanh far out", Tensor::tanh, &[0.0, INF, -INF, NAN], &[0.0, 1.0, -1.0, NAN], &[1.0, 0.0, 0.0, NAN]),
    ("sigmoid far out", Tensor::sigmoid, &[0.0, INF, -INF, NAN], &[0.5, 1.0, 0.0, NAN], &[0.25, 0.0, 0.0, NAN]),
    ("floor", Tensor::floor, &[0.0, 1.0, 0.5], &[0.0, 1.0, 0.0], &[0.0, 0.0, 0.0]),
    ("ceil", Tensor::ceil, &[0.0, 1.0, 0.5], &[0.0, 1.0, 1.0], &[0.0, 0.0, 0.0]),
    ("round", Tensor::round, &[0.5, 1.5, 0.0], &[0.0, 2.0, 0.0], &[0.0, 0.0, 0.0]),
    ("sign of NaN", Tensor::sign, &[NAN, -0.0, INF], &[0.0, 0.0, 1.0], &[0.0, 0.0, 0.0]),
    ("leaky_relu of NaN", |x| x.leaky_relu(0.25), &[-0.0, NAN, -INF], &[-0.0, NAN, -INF], &[0.25, 0.25, 0.25]),
    ("elu below 0", |x| x.elu(0.5), &[-0.0, -INF, NAN, INF], &[-0.0, -0.5, NAN, INF], &[0.5, 0.0, 1.0, 1.0]),
    (
        "softplus at its threshold",
        |x| x.softplus(2.0, 8.0),
        &[4.0, 4.000001, -1000.0],
        &[4.000167703186448, 4.000001, 0.0],
        &[0.9996646498695335, 1.0, 0.0],
    ),
    ("silu at 0 and far out", Tensor::silu, &[0.0, -1000.0, 1000.0], &[0.0, -0.0, 1000.0], &[0.5, -0.0, 1.0]),
    ("gelu at 0", |x| x.gelu(Gelu::None), &[0.0, -0.0], &[0.0, -0.0], &[0.5, 0.5]),
    ("gelu by tanh far out", |x| x.gelu(Gelu::Tanh), &[0.0, -100.0, 100.0], &[0.0, -0.0, 100.0], &[0.5, 0.0, 1.0]),
    ("clamp to one number", |x| x.clamp(Some(1.0), Some(1.0)), &[0.0, 1.0, 2.0], &[1.0, 1.0, 1.0], &[0.0, 0.0, 0.0]),
    (
        "clamp with its ends exchanged",
        |x| x.clamp(Some(2.0), Some(1.0)),
        &[0.0, 1.0, 1.5, 3.0],
        &[1.0, 1.0, 1.0, 1.0],
        &[0.0, 0.0, 0.0, 0.0],
    ),
    (
        "clamp from above",
        |x| x.clamp(None, Some(0.0)),
        &[0.0, -1.0, 1.0, INF],
        &[0.0, -1.0, 0.0, 0.0],
        &[0.0, 1.0, 0.0, 0.0],
    ),
    ("hardtanh of infinity", |x| x.hardtanh(-1.0, 1.0), &[INF, -INF, 0.0], &[1.0, -1.0, 0.0], &[0.0, 0.0, 1.0]),
    (
        "maximum with NaN",
        |x| x.maximum(&Tensor::new([1f64, NAN, NAN])?),
        &[NAN, 1.0, NAN],
        &[NAN, NAN, NAN],
        &[1.0, 1.0, 1.0],
    ),
    (
        "minimum with NaN",
        |x| x.minimum(&Tensor::new([1f64, NAN, NAN])?),
        &[NAN, 1.0, NAN],
        &[NAN, NAN, NAN],
        &[1.0, 1.0, 1.0],
    ),
    ("maximum of itself", |x| x.maximum(x), &[1.0, -2.0], &[1.0, -2.0], &[1.0, 1.0]),
    ("maximum of infinities", |x| x.maximum(&Tensor::new([INF, -INF])?), &[INF, -INF], &[INF, -INF], &[0.5, 0.5]),
    ("x^2 by pow at 0", |x| x.pow_scalar(2.0), &[0.0, -3.0], &[0.0, 9.0], &[0.0, -6.0]),
    ("x^-1 at 0", |x| x.pow_scalar(-1.0), &[0.0], &[INF], &[-INF]),
    ("x^1.5 at and below 0", |x| x.pow_scalar(1.5), &[0.0, -1.0], &[0.0, NAN], &[0.0, NAN]),
    (
        "base of 0^(0, 1, 2, -1)",
        |x| x.pow(&Tensor::new([0f64, 1.0, 2.0, -1.0])?),
        &[0.0, 0.0, 0.0, 0.0],
        &[1.0, 0.0, 0.0, INF],
        &[0.0, 1.0, 0.0, -INF],
    ),
    (
        "exponent over 0",
        |x| Tensor::new([0f64; 4])?.pow(x),
        &[0.0, 1.0, 2.0, -1.0],
        &[1.0, 0.0, 0.0, INF],
        &[0.0, 0.0, 0.0, -INF],
    ),
    ("exponent over a negative base", |x| Tensor::new([-2f64, -2.0])?.pow(x), &[2.0, 0.0], &[4.0, 1.0], &[NAN, NAN]),
    ("division by 0", |x| Tensor::new([1f64, 0.0])?.div(x), &[0.0, 0.0], &[INF, NAN], &[-INF, NAN]),
    ("amax of infinities", |x| x.amax_dim(0, false), &[INF, 1.0, INF], &[INF], &[0.5, 0.0, 0.5]),
    ("amin of ties", |x| x.amin_dim(0, false), &[2.0, 1.0, 1.0, 1.0, 1.0], &[1.0], &[0.0, 0.25, 0.25, 0.25, 0.25]),
    ("amax of zeros of both signs", |x| x.amax_dim(0, false), &[0.0, -0.0], &[0.0], &[0.5, 0.5]),
    ("amax of NaN", |x| x.amax_dim(0, false), &[1.0, NAN, NAN], &[NAN], &[NAN, NAN, NAN]),
    ("max_dim of NaN", |x| Ok(x.max_dim(0, false)?.0), &[1.0, NAN, NAN], &[NAN], &[0.0, 1.0, 0.0]),
    ("min_dim of NaN", |x| Ok(x.min_dim(0, false)?.0), &[1.0, NAN, NAN], &[NAN], &[0.0, 1.0, 0.0]),
    (
        "sort of ties",
        |x| x.sort(0, false)?.0.mul(&Tensor::new([1f64, 2.0, 3.0])?),
        &[2.0, 1.0, 1.0],
        &[1.0, 2.0, 6.0],
        &[3.0, 1.0, 2.0],
    ),
    ("root of a sum of squares at 0", |x| x.square()?.sum()?.sqrt(), &[0.0, 0.0], &[0.0], &[NAN, NAN]),
    ("std of equals", |x| x.std(1.0), &[3.0, 3.0, 3.0], &[0.0], &[0.0, 0.0, 0.0]),
    ("std of one", |x| x.std(1.0), &[3.0], &[NAN], &[NAN]),
    ("var of one", |x| x.var(1.0), &[3.0], &[NAN], &[NAN]),
    ("var of equals", |x| x.var(1.0), &[3.0, 3.0], &[0.0], &[0.0, 0.0]),
    ("prod with NaN and a zero", Tensor::prod, &[0.0, NAN, 2.0], &[NAN], &[NAN, 0.0, NAN]),
    ("prod along an axis with a zero", |x| x.prod_dim(0, false), &[0.0, 4.0, 5.0], &[0.0], &[20.0, 0.0, 0.0]),
    ("logsumexp of -inf", |x| x.logsumexp(0, false), &[-INF, -INF], &[-INF], &[NAN, NAN]),
    ("logsumexp beside -inf", |x| x.logsumexp(0, false), &[-INF, 0.0], &[0.0], &[0.0, 1.0]),
    ("logsumexp of inf", |x| x.logsumexp(0, false), &[INF, 0.0], &[INF], &[NAN, 0.0]),
    ("softmax beside -inf", |x| x.softmax(0)?.narrow(0, 1, 2), &[-INF, 0.0, 0.0], &[0.5, 0.5], &[-0.0, 0.0, 0.0]),
    ("log_softmax of large numbers", |x| x.log_softmax(0)?.narrow(0, 0, 1), &[10000.0, 0.0], &[0.0], &[0.0, 0.0]),
    ("cumsum of infinity", |x| x.cumsum(0), &[INF, 1.0], &[INF, INF], &[2.0, 1.0]),
    (
        "max pooling of ties",
        |x| x.reshape([1, 3, 3])?.max_pool2d(&PoolOptions::new(2).stride(1)),
        &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        &[1.0, 1.0, 1.0, 1.0],
        &[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    ),
    (
        "max pooling of two ties",
        |x| x.reshape([1, 2, 2])?.max_pool2d(&PoolOptions::new(2)),
        &[1.0, 5.0, 5.0, 5.0],
        &[5.0],
        &[0.0, 1.0, 0.0, 0.0],
    ),
    (
        "max pooling of NaN",
        |x| x.reshape([1, 2, 2])?.max_pool2d(&PoolOptions::new(2)),
        &[NAN, 5.0, NAN, 7.0],
        &[NAN],
        &[0.0, 0.0, 1.0, 0.0],
    ),
    (
        "max pooling of -inf",
        |x| x.reshape([1, 2, 2])?.max_pool2d(&PoolOptions::new(2)),
        &[-INF, -INF, -INF, -INF],
        &[-INF],
        &[1.0, 0.0, 0.0, 0.0],
    ),
    (
        "max pooling of -inf, padded",
        |x| x.reshape([1, 1, 2])?.max_pool2d(&PoolOptions::new(3).stride(1).padding(1)),
        &[-INF, -INF],
        &[-INF, -INF],
        &[2.0, 0.0],
    ),
    (
        "max pooling of zeros of both signs",
        |x| x.reshape([1, 1, 2])?.max_pool2d(&PoolOptions::new((1, 2))),
        &[-0.0, 0.0],
        &[-0.0],
        &[1.0, 0.0],
    ),
    (
        "adaptive max pooling of ties",
        |x| Ok(x.reshape([1, 2, 3])?.adaptive_max_pool2d((1, 2))?.0),
        &[2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
        &[2.0, 2.0],
        &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    ),
    (
        "adaptive max pooling of NaN",
        |x| Ok(x.reshape([1, 2, 2])?.adaptive_max_pool2d(1)?.0),
        &[NAN, 1.0, NAN, 1.0],
        &[NAN],
        &[0.0, 0.0, 1.0, 0.0],
    ),
    (
        "average pooling of infinity",
        |x| x.reshape([1, 1, 2])?.avg_pool2d(&AvgPoolOptions::new((1, 2))),
        &[INF, 1.0],
        &[INF],
        &[0.5, 0.5],
    ),
    (
        "average pooling, padded",
        |x| x.reshape([1, 2, 2])?.avg_pool2d(&AvgPoolOptions::new(2).padding(1)),
        &[1.0, 2.0, 3.0, 4.0],
        &[0.25, 0.5, 0.75, 1.0],
        &[0.25, 0.25, 0.25, 0.25],
    ),
    (
        "average pooling in ceil mode",
        |x| x.reshape([1, 3, 3])?.avg_pool2d(&AvgPoolOptions::new(2).ceil_mode(true)),
        &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        &[1.0, 1.0, 1.0, 1.0],
        &[0.25, 0.25, 0.5, 0.25, 0.25, 0.5, 0.5, 0.5, 1.0],
    ),
    ("gather of one element twice", |x| x.gather(0, &Tensor::new([1i64, 1])?), &[1.0, 2.0], &[2.0, 2.0], &[0.0, 2.0]),
    (
        "replicate counts often",
        |x| x.unsqueeze(0)?.pad(&[2, 0], PadMode::Replicate),
        &[1.0, 2.0],
        &[1.0, 1.0, 1.0, 2.0],
        &[3.0, 1.0],
    ),
    ("cropping", |x| x.pad(&[-1, -1], PadMode::Constant(0.0)), &[1.0, 2.0, 3.0], &[2.0], &[0.0, 1.0, 0.0]),
];

fn check(what: &str, got: &Tensor, expected: &[f64], tolerance: f64) -> Result<(), String> {
    let got = got.to_dtype(DType::F64).and_then(|x| x.to_vec::<f64>()).map_err(|e| e.to_string())?;
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs();
    if got.len() == expected.len() && got.iter().zip(expected).all(|(&a, &b)| same(a, b)) {
        Ok(())
    } else {
        Err(format!("{what} {got:?}, PyTorch has {expected:?}"))
    }
}

fn row(&(_, run, x, value, slope): &Row, dtype: DType, tolerance: f64) -> Result<(), String> {
    let text = |e: gabor_tensor::Error| e.to_string();
    let x = Tensor::from_slice(x, [x.len()]).and_then(|x| x.requires_grad_()).map_err(text)?;
    // The table's operands are f64; gradients go through the change of type.
    let y = if dtype == DType::F64 { run(&x) } else { run(&x).and_then(|y| y.to_dtype(dtype)) }.map_err(text)?;
    check("value", &y.detach(), value, tolerance)?;
    y.sum().and_then(|y| y.backward()).map_err(text)?;
    let grad = x.grad().ok_or("no gradient")?;
    check("gradient", &grad, slope, tolerance)
}

#[test]
fn values_and_gradients_at_kinks_are_those_of_pytorch() {
    let mut failures = Vec::new();
    for entry in TABLE {
        if let Err(why) = row(entry, DType::F64, 1e-13) {
            failures.push(format!("{}: {why}", entry.0));
        }
    }
    assert!(failures.is_empty(), "{} of {} differ\n{}", failures.len(), TABLE.len(), failures.join("\n"));
}
