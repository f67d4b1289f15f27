//! Elementwise kernels: functions of one or two elements, comparisons, choice, conversion.
//!
//! The plain loop: `y[i] = f(x[i])`, or `y[i] = f(a[i], b[i])` where either operand may be one number for all.
//! The tricks: the operation is chosen once per call, so each inner loop is one branch-free expression that the compiler
//! turns into vector code, once for each instruction set; long slices are cut into chunks for the threads.

mod binary;
mod cast;
mod unary;

pub use binary::{AxpyLoops, ElementLoops, NumberLoops, axpy, binary, binary_in_place, compare, select};
pub use cast::{Convert, cast};
pub use unary::{FloatLoops, unary, unary_in_place};

/// Elements of one piece of work for a thread.
const CHUNK: usize = 16 * 1024;
/// What reading, computing and writing an element costs if the function is simple, in floating-point operations.
const SIMPLE: usize = 12;

/// A function of one element. NaN in gives NaN out, but for `Sign` as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// -1, 0 or 1; 0 for NaN.
    Sign,
    /// `x * x`.
    Square,
    /// The square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// `1 / x`.
    Reciprocal,
    /// `e^x`.
    Exp,
    /// `e^x - 1`, exact near 0.
    Expm1,
    /// The natural logarithm.
    Ln,
    /// `ln(1 + x)`, exact near 0.
    Log1p,
    /// The sine.
    Sin,
    /// The cosine.
    Cos,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `max(x, 0)`.
    Relu,
    /// The error function.
    Erf,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// GELU with the tanh approximation.
    GeluTanh,
    /// The largest integer not above `x`.
    Floor,
    /// The smallest integer not below `x`.
    Ceil,
    /// The nearest integer, of two the even one.
    Round,
    /// `x` if positive, else `slope * x`.
    LeakyRelu(f64),
    /// `x` if positive, else `alpha * (e^x - 1)`.
    Elu(f64),
    /// `ln(1 + e^(beta x)) / beta`, and `x` where `beta x > threshold`.
    Softplus {
        /// Sharpness.
        beta: f64,
        /// Where the function becomes the identity.
        threshold: f64,
    },
    /// `min(max(x, min), max)`; `max` wins if the bounds cross.
    Clamp {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// `x` to this power; the powers 0.5, 2, 3, -0.5, -1 and -2 by roots, products and quotients as in PyTorch.
    PowScalar(f64),
    /// `x + s`.
    AddScalar(f64),
    /// `x * s`.
    MulScalar(f64),
}

/// A function of two elements. Those with `Grad` in their names are of floating-point numbers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`; integers round towards zero, and give 0 when divided by 0.
    Div,
    /// The larger one; NaN if either is NaN.
    Maximum,
    /// The smaller one; NaN if either is NaN.
    Minimum,
    /// `a` to the power `b`.
    Pow,
    /// `(g, y)`: 0 where `y <= 0`, else `g`; a NaN `y` passes `g` on.
    ReluGrad,
    /// `(g, y)`: `g * y * (1 - y)`.
    SigmoidGrad,
    /// `(g, x)`: `g * 2 x`.
    SquareGrad,
    /// `(g, y)`: `g * (1 - y * y)`.
    TanhGrad,
}

/// A comparison of two elements; with NaN only `Ne` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `a == b`.
    Eq,
    /// `a != b`.
    Ne,
    /// `a < b`.
    Lt,
    /// `a <= b`.
    Le,
    /// `a > b`.
    Gt,
    /// `a >= b`.
    Ge,
}

/// One side of a function of two elements.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a, T> {
    /// An element for each result.
    Slice(&'a [T]),
    /// The same number for all results.
    Scalar(T),
}

impl<'a, T: Copy> Operand<'a, T> {
    /// The part of the operand for chunk `i` of the result.
    #[inline(always)]
    fn chunk(self, i: usize, len: usize) -> Operand<'a, T> {
        match self {
            Operand::Slice(x) => Operand::Slice(&x[i * CHUNK..i * CHUNK + len]),
            Operand::Scalar(v) => Operand::Scalar(v),
        }
    }

    /// The elements of the operand for block `i` of `room.len()` results; it has one that repeats put there.
    fn block<'b>(self, i: usize, len: usize, room: &'b mut [T]) -> &'b [T]
    where
        'a: 'b,
    {
        match self {
            Operand::Slice(x) => &x[i * room.len()..][..len],
            Operand::Scalar(v) => {
                room.fill(v);
                room
            }
        }
    }

    /// Panics unless a slice has `len` elements.
    fn check(self, len: usize) {
        if let Operand::Slice(x) = self {
            assert_eq!(x.len(), len, "operand and result have the same length");
        }
    }
}
