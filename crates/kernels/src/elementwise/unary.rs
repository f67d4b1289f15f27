//! Functions of one element.

use super::{CHUNK, SIMPLE, Unary};
use crate::copy::copy_slice;
use crate::element::{Float, compiled_here};
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

/// Elements per block when a slice is mapped onto itself: the block is copied first, so source and result never alias.
const BLOCK: usize = 1024;

compiled_here! {
    trait FloatLoops for f32, f64 = {
        fn map(op: Unary, x: &[Self], y: &mut [Self]) = map_of;
    }
}

/// One chunk of [`unary`].
fn map_of<T: Float>(op: Unary, x: &[T], y: &mut [T]) {
    vectorised::<T, _>(Map { op, x, y });
}

/// `y[i] = op(x[i])`.
///
/// # Panics
/// The slices differ in length.
pub fn unary<T: Float>(op: Unary, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "operand and result have the same length");
    par::for_each_chunk(y, CHUNK, cost::<T>(op) * CHUNK.min(x.len()), |i, y| {
        T::map(op, &x[i * CHUNK..i * CHUNK + y.len()], y);
    });
}

/// `y[i] = op(y[i])`.
pub fn unary_in_place<T: Float>(op: Unary, y: &mut [T]) {
    let work = cost::<T>(op) * CHUNK.min(y.len());
    par::for_each_chunk(y, CHUNK, work, |_, y| {
        let mut block = [T::ZERO; BLOCK];
        for y in y.chunks_mut(BLOCK) {
            let x = &mut block[..y.len()];
            copy_slice(y, x);
            T::map(op, x, y);
        }
    });
}

/// About how many operations a function takes, memory traffic included.
fn cost<T: Float>(op: Unary) -> usize {
    use Unary::*;
    match op {
        Exp | Expm1 | Ln | Log1p | Sin | Cos | Tanh | Sigmoid | Erf | Silu | Gelu | GeluTanh | Elu(_) => {
            40 * size_of::<T>() / 4
        }
        Softplus { .. } => 100,
        PowScalar(p) if ![0.5, 1.0, 2.0, 3.0, -0.5, -1.0, -2.0].contains(&p) => 1000,
        _ => SIMPLE,
    }
}

/// The loop over one chunk.
struct Map<'a, T> {
    op: Unary,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Loops for Map<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        map::<T, M>(self.op, self.x, self.y);
    }
}

/// Runs the expression over both slices.
macro_rules! each {
    ($x:ident, $y:ident, $v:ident => $e:expr) => {
        for (y, &$v) in $y.iter_mut().zip($x) {
            *y = $e;
        }
    };
}

/// The loop of each function.
#[inline(always)]
fn map<T: Float, M: MulAdd>(op: Unary, x: &[T], y: &mut [T]) {
    let (zero, one) = (T::ZERO, T::ONE);
    match op {
        Unary::Neg => each!(x, y, v => -v),
        Unary::Abs => each!(x, y, v => v.abs()),
        Unary::Sign => each!(x, y, v => if v > zero { one } else if v < zero { -one } else { zero }),
        Unary::Square => each!(x, y, v => v * v),
        Unary::Sqrt => each!(x, y, v => v.sqrt()),
        Unary::Rsqrt => each!(x, y, v => one / v.sqrt()),
        Unary::Reciprocal => each!(x, y, v => one / v),
        Unary::Exp => each!(x, y, v => v.exp::<M>()),
        Unary::Expm1 => each!(x, y, v => v.exp_m1::<M>()),
        Unary::Ln => each!(x, y, v => v.ln::<M>()),
        Unary::Log1p => each!(x, y, v => v.ln_1p::<M>()),
        Unary::Sin => {
            each!(x, y, v => v.sin::<M>());
            settle_far(x, y, T::sin_far);
        }
        Unary::Cos => {
            each!(x, y, v => v.cos::<M>());
            settle_far(x, y, T::cos_far);
        }
        Unary::Tanh => each!(x, y, v => v.tanh::<M>()),
        Unary::Sigmoid => each!(x, y, v => v.sigmoid::<M>()),
        Unary::Relu => each!(x, y, v => if v <= zero { zero } else { v }),
        Unary::Erf => each!(x, y, v => v.erf::<M>()),
        Unary::Silu => each!(x, y, v => v * v.sigmoid::<M>()),
        Unary::Gelu => {
            let root = T::real(std::f64::consts::FRAC_1_SQRT_2);
            each!(x, y, v => v * T::HALF * (one + (v * root).erf::<M>()))
        }
        Unary::GeluTanh => {
            let (a, b) = (T::real(0.797_884_560_802_865_4), T::real(0.044_715));
            each!(x, y, v => T::HALF * v * (one + (a * (v + b * v * v * v)).tanh::<M>()))
        }
        Unary::Floor => each!(x, y, v => v.floor()),
        Unary::Ceil => each!(x, y, v => v.ceil()),
        Unary::Round => each!(x, y, v => v.round()),
        Unary::LeakyRelu(slope) => {
            let slope = T::real(slope);
            each!(x, y, v => if v > zero { v } else { v * slope })
        }
        Unary::Elu(alpha) => {
            let alpha = T::real(alpha);
            each!(x, y, v => if v > zero { v } else { alpha * v.exp_m1::<M>() })
        }
        Unary::Softplus { beta, threshold } => {
            let (beta, threshold) = (T::real(beta), T::real(threshold));
            each!(x, y, v => if v * beta > threshold { v } else { (v * beta).exp::<M>().ln_1p::<M>() / beta })
        }
        Unary::Clamp { min, max } => {
            let (min, max) = (T::real(min), T::real(max));
            each!(x, y, v => {
                let low = if v < min { min } else { v };
                if low > max { max } else { low }
            })
        }
        Unary::PowScalar(p) => power(p, x, y),
        Unary::AddScalar(s) => {
            let s = T::real(s);
            each!(x, y, v => v + s)
        }
        Unary::MulScalar(s) => {
            let s = T::real(s);
            each!(x, y, v => v * s)
        }
    }
}

/// Computes the results of numbers that the fast functions cannot take.
#[inline(always)]
fn settle_far<T: Float>(x: &[T], y: &mut [T], function: fn(T) -> T) {
    if x.iter().fold(false, |any, v| any | v.is_far()) {
        for (y, &v) in y.iter_mut().zip(x).filter(|(_, v)| v.is_far()) {
            *y = function(v);
        }
    }
}

/// Powers: the usual ones by roots, products and quotients.
#[inline(always)]
fn power<T: Float>(p: f64, x: &[T], y: &mut [T]) {
    let one = T::ONE;
    if p == 0.5 {
        each!(x, y, v => v.sqrt())
    } else if p == 1.0 {
        each!(x, y, v => v)
    } else if p == 2.0 {
        each!(x, y, v => v * v)
    } else if p == 3.0 {
        each!(x, y, v => v * v * v)
    } else if p == -0.5 {
        each!(x, y, v => one / v.sqrt())
    } else if p == -1.0 {
        each!(x, y, v => one / v)
    } else if p == -2.0 {
        each!(x, y, v => one / (v * v))
    } else {
        let p = T::real(p);
        each!(x, y, v => v.power(p))
    }
}
