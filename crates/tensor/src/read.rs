//! Looking at tensors: sizes, elements, slices.

use crate::dtype::{DType, Element, dispatch};
use crate::error::{Error, Result};
use crate::program;
use crate::shape::{Shape, axis_of};
use crate::tape::Tensor;

impl Tensor {
    /// The sizes of the dimensions, outermost first.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// The sizes of the dimensions as a slice.
    pub fn dims(&self) -> &[usize] {
        self.value.shape()
    }

    /// The size of one dimension; negative axes count from the end.
    ///
    /// # Errors
    /// There is no such dimension.
    pub fn dim(&self, axis: isize) -> Result<usize> {
        let axis = axis_of("dim", axis, self.rank())?;
        self.dims().get(axis).copied().ok_or(Error::Axis { op: "dim", axis: axis as isize, rank: 0 })
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims().len()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.value.numel()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.value.dtype()
    }

    /// The distance of neighbours along each dimension, in elements; 0 where an expanded view repeats them.
    pub fn strides(&self) -> &[usize] {
        &self.value.layout.strides
    }

    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.value.is_contiguous()
    }

    /// All elements in row-major order.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1i64, 2], [3, 4]])?;
    /// assert_eq!(x.t()?.to_vec::<i64>()?, [1, 3, 2, 4]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `T` is not the dtype of the tensor.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.with_slice(<[T]>::to_vec)
    }

    /// Shows all elements in row-major order to `f`, without a copy if they already lie so.
    ///
    /// # Errors
    /// `T` is not the dtype of the tensor.
    pub fn with_slice<T: Element, R>(&self, f: impl FnOnce(&[T]) -> R) -> Result<R> {
        if self.dtype() != T::DTYPE {
            return Err(Error::DTypes { op: "to_vec", lhs: T::DTYPE, rhs: self.dtype() });
        }
        if program::recording() {
            program::look(&self.value);
        }
        Ok(f(self.value.contiguous()?.slice()))
    }

    /// The only element as a number; truth values are 0 and 1.
    ///
    /// # Errors
    /// There is not exactly one element.
    pub fn item(&self) -> Result<f64> {
        dispatch!(self.dtype(), T => Ok(Element::to_f64(self.only::<T>()?)))
    }

    /// The only element.
    ///
    /// # Errors
    /// There is not exactly one element, or `T` is not the dtype of the tensor.
    pub fn item_as<T: Element>(&self) -> Result<T> {
        if self.dtype() != T::DTYPE {
            return Err(Error::DTypes { op: "item", lhs: T::DTYPE, rhs: self.dtype() });
        }
        self.only::<T>()
    }

    fn only<T: Element>(&self) -> Result<T> {
        if program::recording() {
            program::look(&self.value);
        }
        match self.numel() {
            1 => Ok(self.value.storage.slice::<T>()[self.value.layout.offset]),
            n => Err(Error::shape("item", format!("needs one element, shape {:?} has {n}; use to_vec", self.shape()))),
        }
    }
}
