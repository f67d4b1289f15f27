//! `+ - * /` and unary minus for tensors and numbers. They panic with the text that the methods return as an error.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::error::Result;
use crate::tape::Tensor;

#[track_caller]
fn or_panic(result: Result<Tensor>) -> Tensor {
    match result {
        Ok(tensor) => tensor,
        Err(error) => panic!("{error}"),
    }
}

macro_rules! binary {
    ($trait:ident, $method:ident, $scalar:ident, $reversed:expr) => {
        binary!(@pair $trait, $method, &Tensor, &Tensor, |a: &Tensor, b: &Tensor| Tensor::$method(a, b));
        binary!(@pair $trait, $method, &Tensor, Tensor, |a: &Tensor, b: Tensor| Tensor::$method(a, &b));
        binary!(@pair $trait, $method, Tensor, &Tensor, |a: Tensor, b: &Tensor| Tensor::$method(&a, b));
        binary!(@pair $trait, $method, Tensor, Tensor, |a: Tensor, b: Tensor| Tensor::$method(&a, &b));
        binary!(@pair $trait, $method, &Tensor, f64, |a: &Tensor, b: f64| a.$scalar(b));
        binary!(@pair $trait, $method, Tensor, f64, |a: Tensor, b: f64| a.$scalar(b));
        binary!(@pair $trait, $method, f64, &Tensor, |a: f64, b: &Tensor| $reversed(a, b));
        binary!(@pair $trait, $method, f64, Tensor, |a: f64, b: Tensor| $reversed(a, &b));
    };
    (@pair $trait:ident, $method:ident, $lhs:ty, $rhs:ty, $f:expr) => {
        impl $trait<$rhs> for $lhs {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: $rhs) -> Tensor {
                or_panic($f(self, rhs))
            }
        }
    };
}

binary!(Add, add, add_scalar, |a: f64, b: &Tensor| b.add_scalar(a));
binary!(Mul, mul, mul_scalar, |a: f64, b: &Tensor| b.mul_scalar(a));
binary!(Sub, sub, sub_scalar, |a: f64, b: &Tensor| -> Result<Tensor> { Tensor::sub(&b.scalar_like(a)?, b) });
binary!(Div, div, div_scalar, |a: f64, b: &Tensor| -> Result<Tensor> { Tensor::div(&b.scalar_like(a)?, b) });

impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        or_panic(Tensor::neg(self))
    }
}

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        or_panic(Tensor::neg(&self))
    }
}
