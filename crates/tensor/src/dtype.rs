//! The types that a tensor's elements can have.

use std::fmt;

pub(crate) use kernels::element::{Element as Plain, Float, Number};

/// The type of a tensor's elements, known at run time.
///
/// ```
/// use gabor_tensor::{DType, Tensor};
/// assert_eq!(Tensor::zeros([2])?.dtype(), DType::F32);
/// assert_eq!(Tensor::new([1i64, 2])?.dtype().to_string(), "i64");
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
    /// 64-bit signed integer: labels and indices.
    I64,
    /// 8-bit unsigned integer: images.
    U8,
    /// Truth values: masks.
    Bool,
}

impl DType {
    /// Whether elements are floating-point numbers, so that gradients exist.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// Bytes for one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 | DType::I64 => 8,
            DType::U8 | DType::Bool => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::Bool => "bool",
        })
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "F32",
            DType::F64 => "F64",
            DType::I64 => "I64",
            DType::U8 => "U8",
            DType::Bool => "Bool",
        })
    }
}

/// A Rust type that a tensor can hold: `f32`, `f64`, `i64`, `u8`, `bool`.
pub trait Element: Plain + PartialOrd + fmt::Debug + sealed::Stored {
    /// The dtype of tensors of this type.
    const DTYPE: DType;
    /// The nearest `f64`; truth values are 0 and 1.
    fn to_f64(self) -> f64;
    /// The element nearest to `value`; integers truncate and saturate, truth values are `value != 0`.
    fn of_f64(value: f64) -> Self;
}

pub(crate) mod sealed {
    use crate::storage::Storage;
    use kernels::buffer::Buffer;

    /// The way between a typed buffer and the dynamically typed storage.
    pub trait Stored: Sized + kernels::element::Element {
        fn wrap(buffer: Buffer<Self>) -> Storage;
        fn peek(storage: &Storage) -> Option<&Buffer<Self>>;
        fn peek_mut(storage: &mut Storage) -> Option<&mut Buffer<Self>>;
    }
}

macro_rules! element {
    ($t:ty, $variant:ident, $to:expr, $of:expr) => {
        impl Element for $t {
            const DTYPE: DType = DType::$variant;
            fn to_f64(self) -> f64 {
                $to(self)
            }
            fn of_f64(value: f64) -> Self {
                $of(value)
            }
        }
        impl sealed::Stored for $t {
            fn wrap(buffer: kernels::buffer::Buffer<Self>) -> crate::storage::Storage {
                crate::storage::Storage::$variant(buffer)
            }
            fn peek(storage: &crate::storage::Storage) -> Option<&kernels::buffer::Buffer<Self>> {
                if let crate::storage::Storage::$variant(buffer) = storage { Some(buffer) } else { None }
            }
            fn peek_mut(storage: &mut crate::storage::Storage) -> Option<&mut kernels::buffer::Buffer<Self>> {
                if let crate::storage::Storage::$variant(buffer) = storage { Some(buffer) } else { None }
            }
        }
    };
}

element!(f32, F32, f64::from, |v: f64| v as f32);
element!(f64, F64, |v| v, |v| v);
element!(i64, I64, |v: i64| v as f64, |v: f64| v as i64);
element!(u8, U8, f64::from, |v: f64| v as u8);
element!(bool, Bool, |v: bool| f64::from(u8::from(v)), |v: f64| v != 0.0);

/// Runs `$body` with `$t` standing for the Rust type of `$dtype`.
macro_rules! dispatch {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::dtype::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::dtype::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::dtype::DType::Bool => {
                type $t = bool;
                $body
            }
        }
    };
    // Floating point only: `$op` is named in the error.
    (float $op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $t = f64;
                $body
            }
            dtype => return Err($crate::error::Error::DType { op: $op, dtype, expected: "f32 or f64" }),
        }
    };
    // Numbers: everything but truth values.
    (number $op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::dtype::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::dtype::DType::U8 => {
                type $t = u8;
                $body
            }
            dtype => return Err($crate::error::Error::DType { op: $op, dtype, expected: "a number" }),
        }
    };
}
pub(crate) use dispatch;
