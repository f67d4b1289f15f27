//! The element types of tensors, as sealed traits: [`Element`] is any of them, [`Number`] has arithmetic, [`Float`] is real.

use crate::isa::Isa;
use std::fmt::Debug;

/// A trait of kernels that are compiled in this crate, once for each type.
///
/// `fn name(arguments) = body;` makes `<T as Trait>::name` call the generic function `body`. A public function that is
/// generic itself would be compiled again, for each instruction set, in every crate that calls it.
macro_rules! compiled_here {
    (trait $name:ident for $($type:ty),+ = $functions:tt) => {
        compiled_here! { @declare $name $functions }
        $( compiled_here! { @implement $name $type; $functions } )+
    };
    (@declare $name:ident { $(fn $f:ident($($arg:ident: $t:ty),* $(,)?) = $body:ident;)+ }) => {
        #[doc(hidden)]
        #[allow(missing_docs, clippy::too_many_arguments)]
        pub trait $name: Sized {
            $( fn $f($($arg: $t),*); )+
        }
    };
    (@implement $name:ident $type:ty; { $(fn $f:ident($($arg:ident: $t:ty),* $(,)?) = $body:ident;)+ }) => {
        impl $name for $type {
            $(
                fn $f($($arg: $t),*) {
                    $body($($arg),*);
                }
            )+
        }
    };
}
pub(crate) use compiled_here;

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
    sealed::Sealed
    + crate::elementwise::Convert
    + crate::copy::CopyKernels
    + Copy
    + Debug
    + Default
    + PartialEq
    + PartialOrd
    + Send
    + Sync
    + 'static
{
    /// Whether every pattern of bits is a value.
    const ANY_BITS: bool;

    /// The largest instruction set that kernels of this type are compiled for. Only single precision has all of them, double
    /// precision has AVX2 in convolutions and products of matrices: each one costs build time and size, and the other types serve checks,
    /// labels and masks.
    const WIDEST: Isa;
    /// Whether that is all of them.
    const ALL: bool = Self::WIDEST as usize == Isa::Avx512 as usize;

    /// The value as an f64; false is 0 and true is 1.
    fn to_f64(self) -> f64;

    /// The nearest value: integers truncate towards zero and saturate, NaN becomes 0 in them, and bool is `v != 0`.
    fn from_f64(v: f64) -> Self;
}

impl Element for bool {
    const ANY_BITS: bool = false;
    const WIDEST: Isa = Isa::Portable;
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn from_f64(v: f64) -> Self {
        v != 0.0
    }
}

/// An element type with arithmetic: f32, f64, i64 or u8. Integers wrap around.
pub trait Number:
    Element + crate::math::Arithmetic + crate::reduce::FoldKernels + crate::reduce::ExtremeKernels
{
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
pub trait Float:
    Number
    + crate::math::Real
    + crate::isa::Vectors
    + crate::adaptive_pool::AdaptiveKernels
    + crate::conv::ConvKernels
    + crate::elementwise::AxpyLoops
    + crate::gemm::GemmKernels
    + crate::norm::NormKernels
    + crate::optimize::StepKernels
    + crate::pool::MaxKernels
    + crate::pool::MeanKernels
    + crate::pool::PickKernels
    + crate::pool::TapKernels
    + crate::reduce::SquaresKernels
    + crate::softmax::SoftmaxKernels
{
}

impl Float for f32 {}
impl Float for f64 {}

macro_rules! number {
    ($($t:ty: $widest:ident),*) => {$(
        impl Element for $t {
            const ANY_BITS: bool = true;
            const WIDEST: Isa = Isa::$widest;
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
number!(f32: Avx512, f64: Avx2, i64: Portable, u8: Portable);
