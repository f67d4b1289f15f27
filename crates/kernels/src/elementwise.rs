//! Elementwise.
#![allow(missing_docs)]
use crate::element::*;
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    Neg,
    Abs,
    Sign,
    Square,
    Sqrt,
    Rsqrt,
    Reciprocal,
    Exp,
    Expm1,
    Ln,
    Log1p,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Relu,
    Erf,
    Silu,
    Gelu,
    GeluTanh,
    Floor,
    Ceil,
    Round,
    LeakyRelu(f64),
    Elu(f64),
    Softplus { beta: f64, threshold: f64 },
    Clamp { min: f64, max: f64 },
    PowScalar(f64),
    AddScalar(f64),
    MulScalar(f64),
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
    Minimum,
    Pow,
    ReluGrad,
    SigmoidGrad,
    TanhGrad,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a, T> {
    Slice(&'a [T]),
    Scalar(T),
}
impl<T: Copy> Operand<'_, T> {
    fn at(&self, i: usize) -> T {
        match self {
            Operand::Slice(s) => s[i],
            Operand::Scalar(v) => *v,
        }
    }
}
pub fn unary<T: Float>(op: Unary, x: &[T], y: &mut [T]) {
    for (x, y) in x.iter().zip(y) {
        let v = x.f();
        *y = T::of(match op {
            Unary::Neg => -v,
            Unary::Abs => v.abs(),
            Unary::Sign => {
                if v.is_nan() {
                    v
                } else if v > 0.0 {
                    1.0
                } else if v < 0.0 {
                    -1.0
                } else {
                    0.0
                }
            }
            Unary::Square => v * v,
            Unary::Sqrt => v.sqrt(),
            Unary::Rsqrt => 1.0 / v.sqrt(),
            Unary::Reciprocal => 1.0 / v,
            Unary::Exp => v.exp(),
            Unary::Expm1 => v.exp_m1(),
            Unary::Ln => v.ln(),
            Unary::Log1p => v.ln_1p(),
            Unary::Sin => v.sin(),
            Unary::Cos => v.cos(),
            Unary::Tanh => v.tanh(),
            Unary::Sigmoid => 1.0 / (1.0 + (-v).exp()),
            Unary::Relu => {
                if v > 0.0 || v.is_nan() {
                    v
                } else {
                    0.0
                }
            }
            Unary::Erf => libm::erf(v),
            Unary::Silu => v / (1.0 + (-v).exp()),
            Unary::Gelu => v * 0.5 * (1.0 + libm::erf(v / 2f64.sqrt())),
            Unary::GeluTanh => {
                0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v)).tanh())
            }
            Unary::Floor => v.floor(),
            Unary::Ceil => v.ceil(),
            Unary::Round => v.round_ties_even(),
            Unary::LeakyRelu(s) => {
                if v > 0.0 {
                    v
                } else {
                    v * s
                }
            }
            Unary::Elu(a) => {
                if v > 0.0 {
                    v
                } else {
                    a * v.exp_m1()
                }
            }
            Unary::Softplus { beta, threshold } => {
                if v * beta > threshold {
                    v
                } else {
                    (v * beta).exp().ln_1p() / beta
                }
            }
            Unary::Clamp { min, max } => {
                if v < min {
                    min
                } else if v > max {
                    max
                } else {
                    v
                }
            }
            Unary::PowScalar(p) => v.powf(p),
            Unary::AddScalar(s) => v + s,
            Unary::MulScalar(s) => v * s,
        });
    }
}
pub fn binary<T: Number>(op: Binary, a: Operand<T>, b: Operand<T>, y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        let (a, b) = (a.at(i), b.at(i));
        *y = match op {
            Binary::Add => a.add(b),
            Binary::Sub => a.sub(b),
            Binary::Mul => a.mul(b),
            Binary::Div => a.div(b),
            Binary::Maximum => {
                if a > b || a != a {
                    a
                } else {
                    b
                }
            }
            Binary::Minimum => {
                if a < b || a != a {
                    a
                } else {
                    b
                }
            }
            Binary::Pow => T::of(a.f().powf(b.f())),
            Binary::ReluGrad => {
                if b <= T::default() {
                    T::default()
                } else {
                    a
                }
            }
            Binary::SigmoidGrad => T::of(a.f() * b.f() * (1.0 - b.f())),
            Binary::TanhGrad => T::of(a.f() * (1.0 - b.f() * b.f())),
        }
    }
}
pub fn binary_in_place<T: Number>(op: Binary, y: &mut [T], b: Operand<T>) {
    let a = y.to_vec();
    binary(op, Operand::Slice(&a), b, y)
}
pub fn compare<T: Element + PartialOrd>(op: Compare, a: Operand<T>, b: Operand<T>, y: &mut [bool]) {
    for (i, y) in y.iter_mut().enumerate() {
        let (a, b) = (a.at(i), b.at(i));
        *y = match op {
            Compare::Eq => a == b,
            Compare::Ne => a != b,
            Compare::Lt => a < b,
            Compare::Le => a <= b,
            Compare::Gt => a > b,
            Compare::Ge => a >= b,
        }
    }
}
pub fn select<T: Element>(c: &[bool], a: Operand<T>, b: Operand<T>, y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = if c[i] { a.at(i) } else { b.at(i) }
    }
}
pub fn cast<A: Element, B: Element>(x: &[A], y: &mut [B]) {
    for (x, y) in x.iter().zip(y) {
        *y = B::from_f64(x.to_f64());
    }
}
