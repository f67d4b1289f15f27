//! Element types.
#![allow(missing_docs)]
pub trait Element: Copy + Send + Sync + Default + PartialEq + crate::elementwise::Convert + 'static {
    fn to_f64(self) -> f64;
    fn from_f64(v: f64) -> Self;
}
impl Element for f32 {
    fn to_f64(self) -> f64 {
        self as f64
    }
    fn from_f64(v: f64) -> Self {
        v as f32
    }
}
impl Element for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    fn from_f64(v: f64) -> Self {
        v
    }
}
impl Element for i64 {
    fn to_f64(self) -> f64 {
        self as f64
    }
    fn from_f64(v: f64) -> Self {
        v as i64
    }
}
impl Element for u8 {
    fn to_f64(self) -> f64 {
        self as f64
    }
    fn from_f64(v: f64) -> Self {
        v as u8
    }
}
impl Element for bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn from_f64(v: f64) -> Self {
        v != 0.0
    }
}
pub trait Number: Element + PartialOrd + crate::math::Arithmetic {
    fn f(self) -> f64;
    fn of(v: f64) -> Self;
    fn add(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn div(self, o: Self) -> Self;
}
macro_rules! n {
    ($t:ty,$a:ident,$s:ident,$m:ident) => {
        impl Number for $t {
            fn f(self) -> f64 {
                self as f64
            }
            fn of(v: f64) -> Self {
                v as $t
            }
            fn add(self, o: Self) -> Self {
                self.$a(o)
            }
            fn sub(self, o: Self) -> Self {
                self.$s(o)
            }
            fn mul(self, o: Self) -> Self {
                self.$m(o)
            }
            fn div(self, o: Self) -> Self {
                if o == 0 { 0 } else { self / o }
            }
        }
    };
}
n!(i64, wrapping_add, wrapping_sub, wrapping_mul);
n!(u8, wrapping_add, wrapping_sub, wrapping_mul);
macro_rules! fl {
    ($t:ty) => {
        impl Number for $t {
            fn f(self) -> f64 {
                self as f64
            }
            fn of(v: f64) -> Self {
                v as $t
            }
            fn add(self, o: Self) -> Self {
                self + o
            }
            fn sub(self, o: Self) -> Self {
                self - o
            }
            fn mul(self, o: Self) -> Self {
                self * o
            }
            fn div(self, o: Self) -> Self {
                self / o
            }
        }
        impl Float for $t {}
    };
}
fl!(f32);
fl!(f64);
pub trait Float: Number + crate::math::Real {}
