//! Conversion between element types.

use super::{CHUNK, SIMPLE};
use crate::element::Element;
use crate::isa;
use crate::par;

/// Conversion from and to each element type, as Rust's `as`: floats to integers truncate and saturate, NaN becomes 0,
/// integers to smaller ones keep the low bits; to truth values: whether not zero.
pub trait Convert: Copy + super::ElementLoops {
    /// This value as another type.
    fn to<B: Convert>(self) -> B;
    /// From single precision.
    fn from_f32(v: f32) -> Self;
    /// From double precision.
    fn from_f64(v: f64) -> Self;
    /// From a signed integer.
    fn from_i64(v: i64) -> Self;
    /// From a byte.
    fn from_u8(v: u8) -> Self;
    /// From a truth value: 0 or 1.
    fn from_bool(v: bool) -> Self;
}

macro_rules! convert {
    ($t:ident, $to:ident) => {
        impl Convert for $t {
            #[inline(always)]
            fn to<B: Convert>(self) -> B {
                B::$to(self)
            }
            #[inline(always)]
            fn from_f32(v: f32) -> Self {
                v as $t
            }
            #[inline(always)]
            fn from_f64(v: f64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn from_i64(v: i64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn from_u8(v: u8) -> Self {
                v as $t
            }
            #[inline(always)]
            fn from_bool(v: bool) -> Self {
                u8::from(v) as $t
            }
        }
    };
}
convert!(f32, from_f32);
convert!(f64, from_f64);
convert!(i64, from_i64);
convert!(u8, from_u8);

impl Convert for bool {
    #[inline(always)]
    fn to<B: Convert>(self) -> B {
        B::from_bool(self)
    }
    #[inline(always)]
    fn from_f32(v: f32) -> Self {
        v != 0.0
    }
    #[inline(always)]
    fn from_f64(v: f64) -> Self {
        v != 0.0
    }
    #[inline(always)]
    fn from_i64(v: i64) -> Self {
        v != 0
    }
    #[inline(always)]
    fn from_u8(v: u8) -> Self {
        v != 0
    }
    #[inline(always)]
    fn from_bool(v: bool) -> Self {
        v
    }
}

/// `y[i] = x[i]` in another element type: floats to integers truncate and saturate, NaN becomes 0; integers to smaller
/// ones keep the low bits; to truth values: whether not zero (so NaN is true).
///
/// # Panics
/// The slices differ in length.
pub fn cast<A: Element, B: Element>(x: &[A], y: &mut [B]) {
    assert_eq!(x.len(), y.len(), "operand and result have the same length");
    par::for_each_chunk(y, CHUNK, SIMPLE * CHUNK.min(x.len()), |i, y| {
        let x = &x[i * CHUNK..i * CHUNK + y.len()];
        isa::dispatch::<B, _>(|| {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = x.to();
            }
        });
    });
}
