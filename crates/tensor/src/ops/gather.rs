//! Picking elements by index tensors, and the adjoints that add them back: gather ↔ scatter_add, index_select ↔ index_add.

use kernels::copy::copy_slice;

use super::reduce::around;
use crate::dtype::{DType, Element, Number, dispatch};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::runs::Runs;
use crate::shape::{Shape, axis_of};
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::Value;

/// Fails unless all indices are i64 and from 0 to `size - 1`.
pub(super) fn check(op: &'static str, index: &Tensor, axis: usize, size: usize) -> Result<()> {
    if index.dtype() != DType::I64 {
        return Err(Error::DType { op, dtype: index.dtype(), expected: "an i64 index" });
    }
    let outside = |&&i: &&i64| usize::try_from(i).map_or(true, |i| i >= size);
    match index.with_slice(|all: &[i64]| all.iter().find(outside).copied())? {
        Some(index) => Err(Error::Index { op, index, axis, size }),
        None => Ok(()),
    }
}

/// A scalar as a vector of one element.
#[track_caller]
fn at_least_1d(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 { x.unsqueeze(0) } else { Ok(x.clone()) }
}

/// The part of `x` that lies over `index`, outside of `axis`.
#[track_caller]
fn over(op: &'static str, name: &str, x: &Tensor, index: &Tensor, skip: Option<usize>) -> Result<Tensor> {
    let fits = x.rank() == index.rank() && (0..x.rank()).all(|a| skip == Some(a) || index.dims()[a] <= x.dims()[a]);
    if !fits {
        let message = format!(
            "the index of shape {:?} does not lie within the {name} of shape {:?}; it needs as many dimensions, none larger{}",
            index.shape(),
            x.shape(),
            skip.map_or_else(String::new, |a| format!(" but dimension {a}"))
        );
        return Err(Error::shape(op, message));
    }
    let mut part = x.clone();
    for a in (0..x.rank()).filter(|&a| skip != Some(a) && index.dims()[a] < x.dims()[a]) {
        part = part.sliced(a, 0, index.dims()[a], 1);
    }
    Ok(part)
}

/// Where each index points in `x`, but for the position along `axis`.
fn start(x: &Layout, axis: usize, index: &Shape) -> Layout {
    let mut strides = x.strides.clone();
    strides[axis] = 0;
    Layout { shape: index.clone(), strides, offset: x.offset }
}

fn picked<T: Element>(x: &Value, axis: usize, index: &Value) -> Result<Value> {
    let (elements, places, by) = (x.storage.slice::<T>(), index.storage.slice::<i64>(), x.layout.strides[axis]);
    let runs = Runs::new([&index.layout, &start(&x.layout, axis, index.shape())]);
    Value::build("gather", index.shape(), |y: &mut [T]| {
        let mut y = y.iter_mut();
        runs.for_each(|[i, at]| {
            for (k, y) in y.by_ref().take(runs.len).enumerate() {
                let place = places[i + k * runs.strides[0]] as usize;
                *y = elements[at + k * runs.strides[1] + place * by];
            }
        });
    })
}

fn added<T: Element + Number>(x: &Value, axis: usize, index: &Value, source: &Value) -> Result<Value> {
    let mut sum = x.copy()?;
    let to = start(&sum.layout, axis, index.shape());
    let (by, runs) = (sum.layout.strides[axis], Runs::new([&index.layout, &source.layout, &to]));
    let (places, source) = (index.storage.slice::<i64>(), source.storage.slice::<T>());
    let y = sum.unique::<T>().expect("a copy has one owner");
    runs.for_each(|[i, from, to]| {
        for k in 0..runs.len {
            let place = places[i + k * runs.strides[0]] as usize;
            let y = &mut y[to + k * runs.strides[2] + place * by];
            *y = Number::add(*y, source[from + k * runs.strides[1]]);
        }
    });
    Ok(sum)
}

impl Tensor {
    /// For each index the element of this tensor at that position of `axis` and at the index's own position of the other
    /// axes: `y[i][j] = x[index[i][j]][j]` for axis 0. The result has the shape of the index.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f32, 2.0], [3.0, 4.0]])?;
    /// let y = x.gather(1, &Tensor::new([[0i64, 0], [1, 0]])?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, 4.0, 3.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range; the index is not i64, has another number of dimensions, is larger in a dimension other than
    /// `axis`, or holds a negative or too large number.
    #[track_caller]
    pub fn gather(&self, axis: isize, index: &Tensor) -> Result<Tensor> {
        let at = axis_of("gather", axis, self.rank())?;
        if index.numel() == 0 {
            check("gather", index, at, 0)?;
            let none = Tensor::full_of("gather", index.shape(), self.dtype(), 0.0)?.value;
            let rule = || Gather { axis: at, index: index.clone(), shape: self.shape().clone() };
            return record(none, &[self], rule);
        }
        let (x, places) = (at_least_1d(self)?, at_least_1d(index)?);
        let x = over("gather", "tensor", &x, &places, Some(at))?;
        check("gather", &places, at, x.dims()[at])?;
        let value = dispatch!(x.dtype(), T => picked::<T>(&x.value, at, &places.value)?);
        let y = record(value, &[&x], || Gather { axis: at, index: places.clone(), shape: x.shape().clone() })?;
        y.reshape(index.shape())
    }

    /// Adds each element of `source` to the element that `index` names along `axis`: `y[index[i][j]][j] += source[i][j]`
    /// for axis 0. The result is a new tensor; indices may repeat.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let y = Tensor::zeros([3])?.scatter_add(0, &Tensor::new([0i64, 2, 2])?, &Tensor::new([1f32, 2.0, 3.0])?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.0, 5.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range; the dtypes differ or are bool; the index is not i64, has another number of dimensions, is
    /// larger than `source` or, outside of `axis`, than this tensor, or holds a negative or too large number.
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        let at = axis_of("scatter_add", axis, self.rank())?;
        if self.dtype() != source.dtype() {
            return Err(Error::DTypes { op: "scatter_add", lhs: self.dtype(), rhs: source.dtype() });
        }
        if index.numel() == 0 {
            check("scatter_add", index, at, 0)?;
            return Ok(self.clone());
        }
        let (x, places) = (at_least_1d(self)?, at_least_1d(index)?);
        over("scatter_add", "tensor", &x, &places, Some(at))?;
        let source = over("scatter_add", "source", &at_least_1d(source)?, &places, None)?;
        check("scatter_add", &places, at, x.dims()[at])?;
        let value = dispatch!(number "scatter_add", x.dtype(), T => {
            added::<T>(&x.value, at, &places.value, &source.value)?
        });
        record(value, &[&x, &source], || ScatterAdd { axis: at, index: places.clone() })?.reshape(self.shape())
    }

    /// The positions of `axis` that `index`, a vector, names; positions may repeat.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f32, 2.0], [3.0, 4.0]])?;
    /// assert_eq!(x.index_select(0, &Tensor::new([1i64, 1])?)?.to_vec::<f32>()?, [3.0, 4.0, 3.0, 4.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range; the index is not i64, has more than one dimension, or holds a negative or too large number.
    #[track_caller]
    pub fn index_select(&self, axis: isize, index: &Tensor) -> Result<Tensor> {
        let (at, index, x) =
            (axis_of("index_select", axis, self.rank())?, vector("index_select", index)?, at_least_1d(self)?);
        if self.rank() == 0 && index.numel() != 1 {
            return Err(Error::shape("index_select", format!("{} indices into a scalar; give one", index.numel())));
        }
        check("index_select", &index, at, x.dims()[at])?;
        let (outer, n, inner) = around(x.shape(), at);
        let mut shape = x.shape().clone();
        shape.0[at] = index.numel();
        let source = x.value.contiguous()?;
        let value = dispatch!(x.dtype(), T => Value::build("index_select", &shape, |y: &mut [T]| {
            let (x, mut rows) = (source.slice::<T>(), y.chunks_exact_mut(inner.max(1)));
            for o in 0..if inner == 0 { 0 } else { outer } {
                for (&i, y) in index.value.slice::<i64>().iter().zip(rows.by_ref()) {
                    let from = (o * n + i as usize) * inner;
                    copy_slice(&x[from..from + inner], y);
                }
            }
        })?);
        let y = record(value, &[&x], || IndexSelect { axis: at, index, shape: x.shape().clone() })?;
        if self.rank() == 0 { y.reshape(()) } else { Ok(y) }
    }

    /// Adds the positions of `source` along `axis` to those that `index`, a vector, names. The result is a new tensor;
    /// positions may repeat.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let y = Tensor::zeros([3])?.index_add(0, &Tensor::new([2i64, 2])?, &Tensor::new([1f32, 2.0])?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0, 3.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range; the dtypes differ or are bool; `source` is not as this tensor with as many positions as
    /// there are indices; the index is not i64, has more than one dimension, or holds a negative or too large number.
    #[track_caller]
    pub fn index_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        let (at, index) = (axis_of("index_add", axis, self.rank())?, vector("index_add", index)?);
        if self.dtype() != source.dtype() {
            return Err(Error::DTypes { op: "index_add", lhs: self.dtype(), rhs: source.dtype() });
        }
        let (x, source) = (at_least_1d(self)?, at_least_1d(source)?);
        let mut expected = x.shape().clone();
        expected.0[at] = index.numel();
        if source.shape() != &expected {
            let message =
                format!("the source has shape {:?}; {} indices need {expected:?}", source.shape(), index.numel());
            return Err(Error::shape("index_add", message));
        }
        check("index_add", &index, at, x.dims()[at])?;
        let (outer, n, inner) = around(x.shape(), at);
        let from = source.value.contiguous()?;
        let value = dispatch!(number "index_add", x.dtype(), T => {
            let mut sum = x.value.copy()?;
            let y = sum.unique::<T>().expect("a copy has one owner");
            let mut rows = from.slice::<T>().chunks_exact(inner.max(1));
            for o in 0..if inner == 0 { 0 } else { outer } {
                for (&i, row) in index.value.slice::<i64>().iter().zip(rows.by_ref()) {
                    let to = (o * n + i as usize) * inner;
                    y[to..to + inner].iter_mut().zip(row).for_each(|(y, &v)| *y = Number::add(*y, v));
                }
            }
            sum
        });
        record(value, &[&x, &source], || IndexAdd { axis: at, index })?.reshape(self.shape())
    }

    /// Each class number as a row (i64) of zeros with a 1 at that place, along a new last dimension. -1 classes means one
    /// more than the largest number. PyTorch: `F.one_hot`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([2i64, 0])?.one_hot(3)?.to_vec::<i64>()?, [0, 0, 1, 1, 0, 0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The dtype is not i64, a number is negative or not below `num_classes`, or there is nothing to count classes from.
    #[track_caller]
    pub fn one_hot(&self, num_classes: isize) -> Result<Tensor> {
        let classes = match usize::try_from(num_classes) {
            Ok(n) if n > 0 => n,
            _ if num_classes != -1 || self.numel() == 0 => {
                let message = format!("{num_classes} classes for numbers of shape {:?}; give at least 1", self.shape());
                return Err(Error::argument("one_hot", message));
            }
            _ if self.dtype() != DType::I64 => 1,
            _ => self.max()?.item_as::<i64>()?.max(0) as usize + 1,
        };
        let last = self.rank();
        check("one_hot", self, last, classes)?;
        let mut shape = self.shape().clone();
        shape.0.push(classes);
        let numbers = self.value.contiguous()?;
        let value = Value::build("one_hot", &shape, |y: &mut [i64]| {
            y.fill(0);
            for (row, &class) in y.chunks_exact_mut(classes).zip(numbers.slice::<i64>()) {
                row[class as usize] = 1;
            }
        })?;
        Ok(Tensor::plain(value))
    }
}

/// The indices as a contiguous vector.
#[track_caller]
pub(super) fn vector(op: &'static str, index: &Tensor) -> Result<Tensor> {
    if index.rank() > 1 {
        return Err(Error::shape(op, format!("the index needs one dimension, got {:?}; flatten it", index.shape())));
    }
    at_least_1d(&index.detach())?.contiguous()
}

/// Zeros in `shape`, without memory.
#[track_caller]
pub(super) fn zeros(like: &Tensor, shape: &Shape) -> Result<Tensor> {
    like.scalar_like(0.0)?.expand(shape)
}

/// Picked along `axis` of a tensor of `shape`, which has the sizes of the index elsewhere.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) axis: usize,
    pub(super) index: Tensor,
    pub(super) shape: Shape,
}
impl Rule for Gather {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| zeros(g, &self.shape)?.scatter_add(self.axis as isize, &self.index, g)])
    }
}

#[derive(Debug)]
struct ScatterAdd {
    axis: usize,
    index: Tensor,
}
impl Rule for ScatterAdd {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| Ok(g.clone()), &|| g.gather(self.axis as isize, &self.index)])
    }
}

#[derive(Debug)]
struct IndexSelect {
    axis: usize,
    index: Tensor,
    shape: Shape,
}
impl Rule for IndexSelect {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| zeros(g, &self.shape)?.index_add(self.axis as isize, &self.index, g)])
    }
}

#[derive(Debug)]
struct IndexAdd {
    axis: usize,
    index: Tensor,
}
impl Rule for IndexAdd {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| Ok(g.clone()), &|| g.index_select(self.axis as isize, &self.index)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec {
        name: "gather",
        samples: || {
            let sample = |label, x: Tensor, axis: isize, index: Tensor| {
                Sample::new(label, vec![x, index], move |x: &[Tensor]| x[0].gather(axis, &x[1]))
            };
            vec![
                sample("last", numbers([3, 4], 1), -1, indices([3, 2], 4, 2)),
                sample("first, smaller index", numbers([3, 4], 3), 0, indices([5, 2], 3, 4)),
                sample("middle", numbers([2, 3, 4], 5), 1, indices([2, 2, 3], 3, 6)),
                sample("scalar", numbers((), 7), 0, indices((), 1, 8)),
                sample("scalar by a vector", numbers((), 9), 0, indices([3], 1, 10)),
                sample("no index", numbers([3, 4], 11), 1, indices([0], 1, 12)),
                sample("integers", indices([6], 9, 13), 0, indices([4], 6, 14)).order(0),
            ]
        },
    },
    OpSpec {
        name: "scatter_add",
        samples: || {
            let sample = |label, x: Tensor, axis: isize, index: Tensor, source: Tensor| {
                Sample::new(label, vec![x, index, source], move |x: &[Tensor]| x[0].scatter_add(axis, &x[1], &x[2]))
            };
            vec![
                sample("last", numbers([3, 4], 1), -1, indices([3, 6], 4, 2), numbers([3, 6], 3)),
                sample("smaller index", numbers([3, 4], 4), 0, indices([2, 2], 3, 5), numbers([4, 3], 6)),
                sample("repeated", numbers([2], 7), 0, indices([9], 2, 8), numbers([9], 9)),
                sample("scalar", numbers((), 10), 0, indices((), 1, 11), numbers((), 12)),
                sample("no index", numbers([3], 13), 0, indices([0], 1, 14), numbers([0], 15)),
                sample("integers", indices([6], 9, 16), 0, indices([4], 6, 17), indices([4], 9, 18)).order(0),
            ]
        },
    },
    OpSpec {
        name: "index_select",
        samples: || {
            let sample = |label, x: Tensor, axis: isize, index: Tensor| {
                Sample::new(label, vec![x, index], move |x: &[Tensor]| x[0].index_select(axis, &x[1]))
            };
            vec![
                sample("rows", numbers([3, 4], 1), 0, indices([5], 3, 2)),
                sample("columns", numbers([3, 4], 3), -1, indices([2], 4, 4)),
                sample("middle", numbers([2, 3, 2], 5), 1, indices([3], 3, 6)),
                sample("one index", numbers([3, 2], 7), 0, indices((), 3, 8)),
                sample("scalar", numbers((), 9), 0, indices([1], 1, 10)),
                sample("no index", numbers([3, 2], 11), 0, indices([0], 1, 12)),
                sample("empty rows", numbers([3, 0], 13), 0, indices([2], 3, 14)),
            ]
        },
    },
    OpSpec {
        name: "index_add",
        samples: || {
            let sample = |label, x: Tensor, axis: isize, index: Tensor, source: Tensor| {
                Sample::new(label, vec![x, index, source], move |x: &[Tensor]| x[0].index_add(axis, &x[1], &x[2]))
            };
            vec![
                sample("rows", numbers([3, 4], 1), 0, indices([5], 3, 2), numbers([5, 4], 3)),
                sample("columns", numbers([3, 4], 4), -1, indices([2], 4, 5), numbers([3, 2], 6)),
                sample("scalar", numbers((), 7), 0, indices([1], 1, 8), numbers((), 9)),
                sample("integers", indices([6], 9, 10), 0, indices([4], 6, 11), indices([4], 9, 12)).order(0),
            ]
        },
    },
    OpSpec {
        name: "one_hot",
        samples: || {
            let sample = |label, x: Tensor, classes: isize| {
                Sample::new(label, vec![x], move |x: &[Tensor]| x[0].one_hot(classes)).order(0)
            };
            vec![
                sample("vector", indices([4], 3, 1), 3),
                sample("matrix, counted", indices([2, 3], 5, 2), -1),
                sample("scalar", indices((), 2, 3), 4),
                sample("empty", indices([0], 2, 4), 3),
            ]
        },
    },
];
