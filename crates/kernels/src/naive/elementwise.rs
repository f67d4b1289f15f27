//! Twins of the elementwise kernels, in double precision and one element at a time.

use crate::elementwise::{Binary, Unary};

/// The value of a function of one element.
pub fn unary(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign if x.is_nan() || x == 0.0 => 0.0,
        Unary::Sign => x.signum(),
        Unary::Square => x * x,
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Exp => libm::exp(x),
        Unary::Expm1 => libm::expm1(x),
        Unary::Ln => libm::log(x),
        Unary::Log1p => libm::log1p(x),
        Unary::Sin => libm::sin(x),
        Unary::Cos => libm::cos(x),
        Unary::Tanh => libm::tanh(x),
        Unary::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
        Unary::Relu if x < 0.0 => 0.0,
        Unary::Relu => x,
        Unary::Erf => libm::erf(x),
        Unary::Silu => x / (1.0 + libm::exp(-x)),
        Unary::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        Unary::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + libm::tanh(inner))
        }
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::LeakyRelu(slope) if x < 0.0 => slope * x,
        Unary::LeakyRelu(_) => x,
        Unary::Elu(alpha) if x < 0.0 => alpha * libm::expm1(x),
        Unary::Elu(_) => x,
        Unary::Softplus { beta, threshold } if x * beta > threshold => x,
        Unary::Softplus { beta, .. } => libm::log1p(libm::exp(x * beta)) / beta,
        Unary::Clamp { min, max } if !x.is_nan() => x.max(min).min(max),
        Unary::Clamp { .. } => x,
        Unary::PowScalar(p) => libm::pow(x, p),
        Unary::AddScalar(s) => x + s,
        Unary::MulScalar(s) => x * s,
    }
}

/// The value of a function of two elements.
pub fn binary(op: Binary, a: f64, b: f64) -> f64 {
    let nan = a.is_nan() || b.is_nan();
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Maximum | Binary::Minimum if nan => f64::NAN,
        Binary::Maximum => a.max(b),
        Binary::Minimum => a.min(b),
        Binary::Pow => libm::pow(a, b),
        Binary::ReluGrad if b <= 0.0 => 0.0,
        Binary::ReluGrad => a,
        Binary::SigmoidGrad => a * b * (1.0 - b),
        Binary::SquareGrad => a * (b + b),
        Binary::TanhGrad => a * (1.0 - b * b),
    }
}
