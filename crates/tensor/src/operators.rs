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
        binary!(@pair $trait, $method, &Tensor, &Tensor, |a, b| Tensor::$method(a, b));
        binary!(@pair $trait, $method, &Tensor, Tensor, |a, b| Tensor::$method(a, &b));
        binary!(@pair $trait, $method, Tensor, &Tensor, |a, b| Tensor::$method(&a, b));
        binary!(@pair $trait, $method, Tensor, Tensor, |a, b| Tensor::$method(&a, &b));
        binary!(@pair $trait, $method, &Tensor, f64, |a, b| a.$scalar(b));
        binary!(@pair $trait, $method, Tensor, f64, |a, b| a.$scalar(b));
        binary!(@pair $trait, $method, f64, &Tensor, |a, b| $reversed(a, b));
        binary!(@pair $trait, $method, f64, Tensor, |a, b| $reversed(a, &b));
    };
    // Not a closure: that would end `#[track_caller]`.
    (@pair $trait:ident, $method:ident, $lhs:ty, $rhs:ty, |$a:ident, $b:ident| $body:expr) => {
        impl $trait<$rhs> for $lhs {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: $rhs) -> Tensor {
                let ($a, $b) = (self, rhs);
                or_panic($body)
            }
        }
    };
}

#[track_caller]
fn scalar_plus(a: f64, b: &Tensor) -> Result<Tensor> {
    b.add_scalar(a)
}

#[track_caller]
fn scalar_times(a: f64, b: &Tensor) -> Result<Tensor> {
    b.mul_scalar(a)
}

#[track_caller]
fn scalar_minus(a: f64, b: &Tensor) -> Result<Tensor> {
    Tensor::sub(&b.scalar_like(a)?, b)
}

#[track_caller]
fn scalar_over(a: f64, b: &Tensor) -> Result<Tensor> {
    Tensor::div(&b.scalar_like(a)?, b)
}

binary!(Add, add, add_scalar, scalar_plus);
binary!(Mul, mul, mul_scalar, scalar_times);
binary!(Sub, sub, sub_scalar, scalar_minus);
binary!(Div, div, div_scalar, scalar_over);

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
