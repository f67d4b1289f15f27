//! The element types of tensors, as sealed traits: [`Element`] is any of them, [`Number`] has arithmetic, [`Float`] is real.

use std::fmt::Debug;

mod sealed {
    /// Keeps the traits of this module closed: kernels rely on what these types are made of.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for i64 {}
    impl Sealed for u8 {}
    impl Sealed for bool {}
}

/// A type that tensors can hold: f32, f64, i64, u8 or bool.
///
/// The types have no padding, so that a block of memory that was written as any of them can be read as any other one for
/// which [`ANY_BITS`](Self::ANY_BITS) holds.
pub trait Element:
    sealed::Sealed + crate::elementwise::Convert + Copy + Debug + Default + PartialEq + PartialOrd + Send + Sync + 'static
{
    /// Whether every pattern of bits is a value.
    const ANY_BITS: bool;

    /// The value as an f64; false is 0 and true is 1.
    fn to_f64(self) -> f64;

    /// The nearest value: integers truncate towards zero and saturate, NaN becomes 0 in them, and bool is `v != 0`.
    fn from_f64(v: f64) -> Self;
}

impl Element for bool {
    const ANY_BITS: bool = false;
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn from_f64(v: f64) -> Self {
        v != 0.0
    }
}

/// An element type with arithmetic: f32, f64, i64 or u8. Integers wrap around.
pub trait Number: Element + crate::math::Arithmetic {
    /// The value as an f64.
    fn f(self) -> f64;

    /// The nearest value, as [`Element::from_f64`].
    fn of(v: f64) -> Self;

    /// The sum.
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.plus(other)
    }

    /// The difference.
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.minus(other)
    }

    /// The product.
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.times(other)
    }

    /// The quotient; 0 if an integer is divided by zero.
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.over(other)
    }
}

/// A real element type: f32 or f64.
pub trait Float: Number + crate::math::Real + crate::isa::Vectors {}

impl Float for f32 {}
impl Float for f64 {}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const ANY_BITS: bool = true;
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn from_f64(v: f64) -> Self {
                v as $t
            }
        }
        impl Number for $t {
            #[inline(always)]
            fn f(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn of(v: f64) -> Self {
                v as $t
            }
        }
    )*};
}
number!(f32, f64, i64, u8);
