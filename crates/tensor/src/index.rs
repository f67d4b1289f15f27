//! Indexing as in `x[.., 0, 1:3]`: numbers select, ranges narrow, `..` keeps, and slices can be assigned.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use crate::dtype::{Element, dispatch};
use crate::error::{Error, Result};
use crate::layout::clamp_range;
use crate::tape::Tensor;
use crate::value::copy_into;

/// What to take along one axis. Negative positions count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// One position; the axis disappears.
    At(isize),
    /// Positions from the first up to, without, the second; `None` is the end.
    Range(isize, Option<isize>),
    /// Every third-number-th position of a range.
    Step(isize, Option<isize>, usize),
    /// A new axis of size 1.
    New,
}

impl From<isize> for Index {
    fn from(at: isize) -> Self {
        Index::At(at)
    }
}
impl From<RangeFull> for Index {
    fn from(_: RangeFull) -> Self {
        Index::Range(0, None)
    }
}
impl From<Range<isize>> for Index {
    fn from(r: Range<isize>) -> Self {
        Index::Range(r.start, Some(r.end))
    }
}
impl From<RangeFrom<isize>> for Index {
    fn from(r: RangeFrom<isize>) -> Self {
        Index::Range(r.start, None)
    }
}
impl From<RangeTo<isize>> for Index {
    fn from(r: RangeTo<isize>) -> Self {
        Index::Range(0, Some(r.end))
    }
}
impl From<RangeInclusive<isize>> for Index {
    fn from(r: RangeInclusive<isize>) -> Self {
        Index::Range(*r.start(), past(*r.end()))
    }
}
impl From<RangeToInclusive<isize>> for Index {
    fn from(r: RangeToInclusive<isize>) -> Self {
        Index::Range(0, past(r.end))
    }
}

/// The bound just behind `end`; behind -1 there is nothing more.
fn past(end: isize) -> Option<isize> {
    end.checked_add(1).filter(|&e| e != 0)
}

/// A list of [`Index`]es, one for each leading axis: a single index, or a tuple of them.
pub trait IntoIndices {
    /// The indices, outermost axis first.
    fn into_indices(self) -> Vec<Index>;
}

impl<I: Into<Index>> IntoIndices for I {
    fn into_indices(self) -> Vec<Index> {
        vec![self.into()]
    }
}

impl IntoIndices for &[Index] {
    fn into_indices(self) -> Vec<Index> {
        self.to_vec()
    }
}

macro_rules! indices_of_tuple {
    ($($name:ident),+) => {
        impl<$($name: Into<Index>),+> IntoIndices for ($($name,)+) {
            fn into_indices(self) -> Vec<Index> {
                #[allow(non_snake_case)]
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    };
}
indices_of_tuple!(A);
indices_of_tuple!(A, B);
indices_of_tuple!(A, B, C);
indices_of_tuple!(A, B, C, D);
indices_of_tuple!(A, B, C, D, E);
indices_of_tuple!(A, B, C, D, E, F);

impl Tensor {
    /// The part of the tensor that `index` names; a view.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::arange(0i64, 24, 1)?.reshape([2, 3, 4])?;
    /// assert_eq!(x.i((0, .., 1..3))?.to_vec::<i64>()?, [1, 2, 5, 6, 9, 10]);
    /// assert_eq!(x.i(-1)?.shape(), &[3, 4]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There are more indices than dimensions, or a position is outside of its dimension.
    #[track_caller]
    pub fn i(&self, index: impl IntoIndices) -> Result<Tensor> {
        let mut axis = 0;
        let mut view = self.clone();
        for index in index.into_indices() {
            if index != Index::New && axis >= view.rank() {
                return Err(Error::shape(
                    "i",
                    format!("more indices than the {} dimensions of {:?}", self.rank(), self.shape()),
                ));
            }
            view = match index {
                Index::At(at) => view.select(axis as isize, at)?,
                Index::Range(0, None) => view,
                Index::Range(start, end) => {
                    let (start, len) = clamp_range(start, end, view.dims()[axis]);
                    view.narrow(axis as isize, start as isize, len)?
                }
                Index::Step(start, end, step) => view.slice(axis as isize, start, end, step)?,
                Index::New => view.unsqueeze(axis as isize)?,
            };
            axis += usize::from(!matches!(index, Index::At(_)));
        }
        Ok(view)
    }

    /// Writes `value`, broadcast, over the part that `index` names. Other tensors that share memory with this one keep
    /// their elements.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let mut x = Tensor::ones([6, 8])?;
    /// x.assign((.., 2..6), &Tensor::zeros(())?)?;
    /// assert_eq!(x.i(0)?.to_vec::<f32>()?, [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The index does not fit, `value` does not broadcast to the part, dtypes differ, or one of the two is part of a graph:
    /// assignment is not differentiable.
    pub fn assign(&mut self, index: impl IntoIndices, value: &Tensor) -> Result<()> {
        if self.requires_grad() || value.requires_grad() {
            return Err(Error::autograd(
                "assign",
                "assignment is not recorded; use where_cond or cat, or detach() both tensors",
            ));
        }
        if self.dtype() != value.dtype() {
            return Err(Error::DTypes { op: "assign", lhs: self.dtype(), rhs: value.dtype() });
        }
        dispatch!(self.dtype(), T => self.assign_elements::<T>(&index.into_indices(), value))
    }

    fn assign_elements<T: Element>(&mut self, index: &[Index], value: &Tensor) -> Result<()> {
        if self.value.unique::<T>().is_none() {
            self.value = self.value.copy()?;
        }
        let mut part = self.i(index)?.value.layout.clone();
        part.offset -= self.value.layout.offset;
        let value = value.expand(&part.shape)?.value.into_contiguous()?;
        copy_into(value.slice::<T>(), self.value.unique::<T>().expect("a copy has one owner"), &part);
        Ok(())
    }
}
