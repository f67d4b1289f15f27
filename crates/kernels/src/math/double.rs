//! Mathematical functions in double precision, from `libm`: the same bits on any machine.
#![allow(clippy::extra_unused_type_parameters, reason = "the functions have the form of those in single precision")]

/// No number is too large for the sine and the cosine.
pub(crate) const NEAR: f64 = f64::INFINITY;

macro_rules! from_libm {
    ($($name:ident = $function:path;)*) => {$(
        #[inline(always)]
        pub(crate) fn $name<M>(x: f64) -> f64 {
            $function(x)
        }
    )*};
}
from_libm! {
    exp = libm::exp;
    exp_m1 = libm::expm1;
    ln = libm::log;
    ln_1p = libm::log1p;
    sin = libm::sin;
    cos = libm::cos;
    tanh = libm::tanh;
    erf = libm::erf;
}

pub(crate) use libm::{cos as cos_far, sin as sin_far};

#[inline(always)]
pub(crate) fn sigmoid<M>(x: f64) -> f64 {
    let z = libm::exp(-x.abs());
    if x < 0.0 { z / (1.0 + z) } else { 1.0 / (1.0 + z) }
}
