//! Storage: a typed buffer behind a dynamic dtype.

use kernels::buffer::Buffer;

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::shape::Shape;

/// A reference-counted buffer of one of the dtypes; `Clone` shares it.
#[derive(Clone, Debug)]
pub enum Storage {
    /// Elements of type `f32`.
    F32(Buffer<f32>),
    /// Elements of type `f64`.
    F64(Buffer<f64>),
    /// Elements of type `i64`.
    I64(Buffer<i64>),
    /// Elements of type `u8`.
    U8(Buffer<u8>),
    /// Elements of type `bool`.
    Bool(Buffer<bool>),
}

impl Storage {
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Storage::F32(_) => DType::F32,
            Storage::F64(_) => DType::F64,
            Storage::I64(_) => DType::I64,
            Storage::U8(_) => DType::U8,
            Storage::Bool(_) => DType::Bool,
        }
    }

    /// Where the elements lie; no other living buffer has the same address.
    pub(crate) fn address(&self) -> usize {
        match self {
            Storage::F32(buffer) => buffer.as_ptr().addr(),
            Storage::F64(buffer) => buffer.as_ptr().addr(),
            Storage::I64(buffer) => buffer.as_ptr().addr(),
            Storage::U8(buffer) => buffer.as_ptr().addr(),
            Storage::Bool(buffer) => buffer.as_ptr().addr(),
        }
    }

    /// All elements of the buffer; `T` is known to be its dtype.
    pub(crate) fn slice<T: Element>(&self) -> &[T] {
        T::peek(self).expect("the caller dispatched on the dtype")
    }
}

/// A buffer for a result of `shape`, to be written completely.
#[inline]
pub(crate) fn unfilled<T: Element>(op: &'static str, shape: &Shape) -> Result<Buffer<T>> {
    let numel = shape.checked_numel(op)?;
    Buffer::try_unfilled(numel).ok_or_else(|| Error::TooLarge { op, shape: shape.to_vec() })
}
