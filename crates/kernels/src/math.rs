//! Scalar arithmetic of the kernels: the number types' operations and the mathematical functions.
//!
//! The functions are written so that a loop over them turns into vector code. They are the same operations for each element,
//! so that a result depends neither on the place of an element nor on the vector length; only [`Fused`] and [`Stepwise`]
//! arithmetic differ.

mod double;
mod entry;
mod single;

use std::ops::{Add, Div, Mul, Neg, Sub};

pub(crate) use entry::{Loops, vectorised};

/// How `a * b + c` is computed: fused where the instruction set has it, else in two steps.
pub trait MulAdd: Copy + Default + Send + Sync + 'static {
    /// `a * b + c` in single precision.
    fn f32(a: f32, b: f32, c: f32) -> f32;
    /// `a * b + c` in double precision.
    fn f64(a: f64, b: f64, c: f64) -> f64;
}

/// One rounding, one instruction; only for instruction sets that have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused;

/// A product and a sum, each rounded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stepwise;

impl MulAdd for Fused {
    #[inline(always)]
    fn f32(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn f64(a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
}

impl MulAdd for Stepwise {
    #[inline(always)]
    fn f32(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    fn f64(a: f64, b: f64, c: f64) -> f64 {
        a * b + c
    }
}

/// Arithmetic of numbers; integers wrap around.
pub trait Arithmetic: crate::elementwise::NumberLoops + Copy + PartialOrd + Send + Sync + 'static {
    /// The type sums are accumulated in.
    type Wide: crate::element::Element;
    /// Whether this is floating point.
    const FLOAT: bool;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The smallest value, minus infinity if there is one.
    const LOWEST: Self;
    /// The largest value, infinity if there is one.
    const HIGHEST: Self;
    /// Zero of the wide type.
    const WIDE_ZERO: Self::Wide;
    /// One of the wide type.
    const WIDE_ONE: Self::Wide;
    /// `a + b`.
    fn plus(self, b: Self) -> Self;
    /// `a - b`.
    fn minus(self, b: Self) -> Self;
    /// `a * b`.
    fn times(self, b: Self) -> Self;
    /// `a / b`; integers divided by zero give zero.
    fn over(self, b: Self) -> Self;
    /// `a` to the power `b`; integers wrap around, and a negative exponent gives 0 unless the base is 1 or -1.
    fn power(self, b: Self) -> Self;
    /// Whether this is not a number.
    fn nan(self) -> bool;
    /// The value as a wide number.
    fn widen(self) -> Self::Wide;
    /// The sum of wide numbers.
    fn wide_plus(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// The product of wide numbers.
    fn wide_times(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// A wide number as this type.
    fn narrow(w: Self::Wide) -> Self;
}

macro_rules! arithmetic_of_floats {
    ($t:ident, $pow:path) => {
        impl Arithmetic for $t {
            type Wide = f64;
            const FLOAT: bool = true;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $t::NEG_INFINITY;
            const HIGHEST: Self = $t::INFINITY;
            const WIDE_ZERO: f64 = 0.0;
            const WIDE_ONE: f64 = 1.0;
            #[inline(always)]
            fn plus(self, b: Self) -> Self {
                self + b
            }
            #[inline(always)]
            fn minus(self, b: Self) -> Self {
                self - b
            }
            #[inline(always)]
            fn times(self, b: Self) -> Self {
                self * b
            }
            #[inline(always)]
            fn over(self, b: Self) -> Self {
                self / b
            }
            #[inline(always)]
            fn power(self, b: Self) -> Self {
                $pow(self, b)
            }
            #[inline(always)]
            fn nan(self) -> bool {
                self.is_nan()
            }
            #[inline(always)]
            fn widen(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn wide_plus(a: f64, b: f64) -> f64 {
                a + b
            }
            #[inline(always)]
            fn wide_times(a: f64, b: f64) -> f64 {
                a * b
            }
            #[inline(always)]
            fn narrow(w: f64) -> Self {
                w as $t
            }
        }
    };
}
arithmetic_of_floats!(f32, libm::powf);
arithmetic_of_floats!(f64, libm::pow);

macro_rules! arithmetic_of_integers {
    ($t:ident, $power:expr) => {
        impl Arithmetic for $t {
            type Wide = $t;
            const FLOAT: bool = false;
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = $t::MIN;
            const HIGHEST: Self = $t::MAX;
            const WIDE_ZERO: $t = 0;
            const WIDE_ONE: $t = 1;
            #[inline(always)]
            fn plus(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
            #[inline(always)]
            fn minus(self, b: Self) -> Self {
                self.wrapping_sub(b)
            }
            #[inline(always)]
            fn times(self, b: Self) -> Self {
                self.wrapping_mul(b)
            }
            #[inline(always)]
            fn over(self, b: Self) -> Self {
                if b == 0 { 0 } else { self.wrapping_div(b) }
            }
            #[inline(always)]
            fn power(self, b: Self) -> Self {
                $power(self, b)
            }
            #[inline(always)]
            fn nan(self) -> bool {
                false
            }
            #[inline(always)]
            fn widen(self) -> $t {
                self
            }
            #[inline(always)]
            fn wide_plus(a: $t, b: $t) -> $t {
                a.wrapping_add(b)
            }
            #[inline(always)]
            fn wide_times(a: $t, b: $t) -> $t {
                a.wrapping_mul(b)
            }
            #[inline(always)]
            fn narrow(w: $t) -> Self {
                w
            }
        }
    };
}
arithmetic_of_integers!(i64, power_i64);
arithmetic_of_integers!(u8, |a: u8, b: u8| a.wrapping_pow(b.into()));

/// The integer power that PyTorch computes.
fn power_i64(a: i64, b: i64) -> i64 {
    match (a, b) {
        (1, _) => 1,
        (-1, b) => 1 - 2 * (b & 1),
        (_, ..0) => 0,
        _ => {
            let (mut base, mut left, mut y) = (a, b, 1i64);
            while left > 0 {
                if left & 1 == 1 {
                    y = y.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                left >>= 1;
            }
            y
        }
    }
}

/// Floating-point arithmetic and the mathematical functions.
pub trait Real:
    Arithmetic<Wide = f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + crate::elementwise::FloatLoops
{
    /// One half.
    const HALF: Self;
    /// The smallest normal number.
    const TINY: Self;
    /// The nearest number to a double.
    fn real(v: f64) -> Self;
    /// The number without what follows the point.
    ///
    /// # Safety
    /// It is no NaN and has less than 32 bits.
    unsafe fn whole(self) -> i32;
    /// `a * b + c`.
    fn mul_add<M: MulAdd>(self, b: Self, c: Self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The largest integer not above.
    fn floor(self) -> Self;
    /// The smallest integer not below.
    fn ceil(self) -> Self;
    /// The nearest integer, the even one of two.
    fn round(self) -> Self;
    /// `e^x`.
    fn exp<M: MulAdd>(self) -> Self;
    /// `e^x - 1`.
    fn exp_m1<M: MulAdd>(self) -> Self;
    /// The natural logarithm.
    fn ln<M: MulAdd>(self) -> Self;
    /// `ln(1 + x)`.
    fn ln_1p<M: MulAdd>(self) -> Self;
    /// The sine of a number that is not [far](Self::is_far).
    fn sin<M: MulAdd>(self) -> Self;
    /// The cosine of a number that is not [far](Self::is_far).
    fn cos<M: MulAdd>(self) -> Self;
    /// Whether the number is too large for [`sin`](Self::sin) and [`cos`](Self::cos).
    fn is_far(self) -> bool;
    /// The sine of any number, slowly.
    fn sin_far(self) -> Self;
    /// The cosine of any number, slowly.
    fn cos_far(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh<M: MulAdd>(self) -> Self;
    /// `1 / (1 + e^-x)`.
    fn sigmoid<M: MulAdd>(self) -> Self;
    /// The error function.
    fn erf<M: MulAdd>(self) -> Self;
}

macro_rules! real {
    ($t:ident, $m:ident, $functions:ident) => {
        impl Real for $t {
            const HALF: Self = 0.5;
            const TINY: Self = $t::MIN_POSITIVE;
            #[inline(always)]
            fn real(v: f64) -> Self {
                v as $t
            }
            #[inline(always)]
            unsafe fn whole(self) -> i32 {
                // SAFETY: the caller's promise.
                unsafe { self.to_int_unchecked() }
            }
            #[inline(always)]
            fn mul_add<M: MulAdd>(self, b: Self, c: Self) -> Self {
                M::$m(self, b, c)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $t::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                $t::ceil(self)
            }
            #[inline(always)]
            fn round(self) -> Self {
                $t::round_ties_even(self)
            }
            #[inline(always)]
            fn exp<M: MulAdd>(self) -> Self {
                $functions::exp::<M>(self)
            }
            #[inline(always)]
            fn exp_m1<M: MulAdd>(self) -> Self {
                $functions::exp_m1::<M>(self)
            }
            #[inline(always)]
            fn ln<M: MulAdd>(self) -> Self {
                $functions::ln::<M>(self)
            }
            #[inline(always)]
            fn ln_1p<M: MulAdd>(self) -> Self {
                $functions::ln_1p::<M>(self)
            }
            #[inline(always)]
            fn sin<M: MulAdd>(self) -> Self {
                $functions::sin::<M>(self)
            }
            #[inline(always)]
            fn cos<M: MulAdd>(self) -> Self {
                $functions::cos::<M>(self)
            }
            #[inline(always)]
            fn is_far(self) -> bool {
                self.abs() >= $functions::NEAR
            }
            #[inline(never)]
            fn sin_far(self) -> Self {
                $functions::sin_far(self)
            }
            #[inline(never)]
            fn cos_far(self) -> Self {
                $functions::cos_far(self)
            }
            #[inline(always)]
            fn tanh<M: MulAdd>(self) -> Self {
                $functions::tanh::<M>(self)
            }
            #[inline(always)]
            fn sigmoid<M: MulAdd>(self) -> Self {
                $functions::sigmoid::<M>(self)
            }
            #[inline(always)]
            fn erf<M: MulAdd>(self) -> Self {
                $functions::erf::<M>(self)
            }
        }
    };
}
real!(f32, f32, single);
real!(f64, f64, double);

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance of a result from the true value, in units in the last place of the true value.
    fn ulps(y: f32, truth: f64) -> f64 {
        let nearest = truth as f32;
        if y.to_bits() == nearest.to_bits() || (y.is_nan() && truth.is_nan()) {
            return 0.0;
        }
        if !y.is_finite() || !nearest.is_finite() {
            // Rounding at the edge of overflow.
            return if y.is_sign_negative() == nearest.is_sign_negative()
                && y.abs().max(nearest.abs()) > 3.4e38
                && y.abs().min(nearest.abs()) > 3.402_823e38
            {
                1.0
            } else {
                f64::INFINITY
            };
        }
        let exponent = (truth.abs().max(f64::from(f32::MIN_POSITIVE)).to_bits() >> 52) as i32 - 1023;
        (f64::from(y) - truth).abs() / 2f64.powi(exponent - 23)
    }

    /// The largest error over a grid of all magnitudes, and where it is.
    fn worst(f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64, skip: impl Fn(f32) -> bool) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        let special = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            1e-45,
            -1e-45,
            1.0,
            -1.0,
            88.722_84,
            88.73,
            89.0,
            104.0,
            -87.33,
            -87.4,
            -103.97,
            -104.1,
        ];
        let grid = (0..=u32::MAX).step_by(1499).map(f32::from_bits);
        let near = (-2_000_000..2_000_000).map(|i| i as f32 * 6.1e-6);
        for x in special.into_iter().chain(grid).chain(near).filter(|&x| !skip(x)) {
            let e = ulps(f(x), truth(f64::from(x)));
            if e > worst.0 {
                worst = (e, x);
            }
        }
        worst
    }

    fn check<M: MulAdd>(slack: f64) {
        let never = |_: f32| false;
        let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        let far = |x: f32| x.is_far();
        let found = [
            ("exp", 1.0, worst(single::exp::<M>, libm::exp, never)),
            ("exp_m1", 1.5, worst(single::exp_m1::<M>, libm::expm1, never)),
            ("ln", 1.0, worst(single::ln::<M>, libm::log, never)),
            ("ln_1p", 1.5, worst(single::ln_1p::<M>, libm::log1p, never)),
            ("sin", 1.6, worst(single::sin::<M>, libm::sin, far)),
            ("cos", 1.6, worst(single::cos::<M>, libm::cos, far)),
            ("tanh", 3.0, worst(single::tanh::<M>, libm::tanh, never)),
            ("sigmoid", 3.0, worst(single::sigmoid::<M>, sigmoid, never)),
            ("erf", 1.5, worst(single::erf::<M>, libm::erf, never)),
        ];
        for (name, _, (error, at)) in found {
            println!("{name}: {error:.2} units in the last place at {at:e}");
        }
        for (name, bound, (error, at)) in found {
            assert!(error <= bound + slack, "{name}({at:e}) is off by {error} units in the last place");
        }
    }

    #[test]
    fn fused_functions_are_accurate() {
        check::<Fused>(0.0);
    }

    #[test]
    fn stepwise_functions_are_accurate() {
        check::<Stepwise>(0.5);
    }
}
