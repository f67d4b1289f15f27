//! Joining tensors and taking them apart.

use std::borrow::Cow;

use crate::dtype::{Element, dispatch};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::shape::{Shape, axis_of};
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::{Value, copy_into};

impl Tensor {
    /// Joins tensors along an existing axis; all other sizes are equal.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let (a, b) = (Tensor::zeros([1, 2])?, Tensor::ones([2, 2])?);
    /// assert_eq!(Tensor::cat(&[&a, &b], 0)?.to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no tensor, dtypes or sizes differ, or the axis is out of range.
    #[track_caller]
    pub fn cat(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
        let first = *tensors.first().ok_or_else(|| Error::argument("cat", "no tensors; give at least one"))?;
        if let Some(scalar) = tensors.iter().find(|t| t.rank() == 0) {
            return Err(Error::shape(
                "cat",
                format!("a scalar of {} has no axis to join along; use stack", scalar.dtype()),
            ));
        }
        // PyTorch lets empty vectors pass beside tensors of any rank.
        let legacy = |t: &Tensor| t.dims() == [0];
        let model = *tensors.iter().find(|t| !legacy(t)).unwrap_or(&first);
        let at = axis_of("cat", axis, model.rank())?;
        let mut shape = model.shape().clone();
        shape.0[at] = 0;
        for t in tensors {
            if t.dtype() != first.dtype() {
                return Err(Error::DTypes { op: "cat", lhs: first.dtype(), rhs: t.dtype() });
            }
            if legacy(t) && model.rank() != 1 {
                continue;
            }
            let fits = t.rank() == model.rank() && (0..t.rank()).all(|a| a == at || t.dims()[a] == model.dims()[a]);
            if !fits {
                let message =
                    format!("shapes {:?} and {:?} differ outside of dimension {at}", model.shape(), t.shape());
                return Err(Error::shape("cat", message));
            }
            shape.0[at] += t.dims()[at];
        }
        let parts: Vec<&Tensor> = tensors.iter().copied().filter(|t| !(legacy(t) && model.rank() != 1)).collect();
        let value = dispatch!(first.dtype(), T => joined::<T>(&parts, &shape, at)?);
        record(value, &parts, || Cat { axis: at, sizes: parts.iter().map(|t| t.dims()[at]).collect() })
    }

    /// Joins tensors of one shape along a new axis.
    ///
    /// # Errors
    /// There is no tensor, shapes or dtypes differ, or the axis is out of range.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
        let first = *tensors.first().ok_or_else(|| Error::argument("stack", "no tensors; give at least one"))?;
        if let Some(other) = tensors.iter().find(|t| t.shape() != first.shape()) {
            let message = format!("shapes {:?} and {:?} differ; stack needs equal ones", first.shape(), other.shape());
            return Err(Error::shape("stack", message));
        }
        let at = axis_of("stack", axis, first.rank() + 1)? as isize;
        let rows: Vec<Tensor> = tensors.iter().map(|t| t.unsqueeze(at)).collect::<Result<_>>()?;
        Tensor::cat(&rows.iter().collect::<Vec<_>>(), at)
    }

    /// Parts of `size` positions along an axis; the last may be shorter. Views.
    ///
    /// # Errors
    /// `size` is 0 (unless the axis is empty), or the axis is out of range.
    #[track_caller]
    pub fn split(&self, size: usize, axis: isize) -> Result<Vec<Tensor>> {
        let length = self.sized("split", axis)?;
        if size == 0 && length > 0 {
            return Err(Error::argument("split", "parts of 0 positions; the size must be at least 1"));
        }
        if length == 0 {
            return Ok(vec![self.clone()]);
        }
        (0..length).step_by(size).map(|start| self.narrow(axis, start as isize, size.min(length - start))).collect()
    }

    /// Parts of the given sizes along an axis. Views.
    ///
    /// # Errors
    /// The sizes do not add up to the axis, or the axis is out of range.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], axis: isize) -> Result<Vec<Tensor>> {
        let length = self.sized("split", axis)?;
        let total = sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
        if total != Some(length) {
            return Err(Error::argument(
                "split",
                format!("sizes {sizes:?} do not add up to {length}, the size of dimension {axis}"),
            ));
        }
        let mut start = 0;
        let part = |&n: &usize| {
            start += n;
            self.narrow(axis, (start - n) as isize, n)
        };
        sizes.iter().map(part).collect()
    }

    /// At most `chunks` parts of equal size along an axis; the last may be shorter. Views.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let sizes: Vec<usize> = Tensor::zeros([5])?.chunk(3, 0)?.iter().map(Tensor::numel).collect();
    /// assert_eq!(sizes, [2, 2, 1]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `chunks` is 0, or the axis is out of range.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, axis: isize) -> Result<Vec<Tensor>> {
        let length = self.sized("chunk", axis)?;
        if chunks == 0 {
            return Err(Error::argument("chunk", "0 chunks; give at least 1"));
        }
        if length == 0 {
            let mut parts = Vec::new();
            // As PyTorch, so many parts without elements; but nobody means more than memory holds.
            parts.try_reserve_exact(chunks).map_err(|_| {
                Error::argument("chunk", format!("{chunks} chunks of an empty dimension do not fit in memory"))
            })?;
            parts.resize(chunks, self.clone());
            return Ok(parts);
        }
        self.split(length.div_ceil(chunks), axis)
    }

    fn sized(&self, op: &'static str, axis: isize) -> Result<usize> {
        let at = axis_of(op, axis, self.rank())?;
        self.dims().get(at).copied().ok_or(Error::Axis { op, axis, rank: 0 })
    }

    /// Tiles the tensor `times[i]` times along each axis; more numbers than dimensions add leading ones.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([1i64, 2])?.repeat([2, 2])?.to_vec::<i64>()?, [1, 2, 1, 2, 1, 2, 1, 2]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There are fewer numbers than dimensions, or the result does not fit in memory.
    #[track_caller]
    pub fn repeat(&self, times: impl Into<Shape>) -> Result<Tensor> {
        let times = times.into();
        let lead = times.len().checked_sub(self.rank()).ok_or_else(|| {
            Error::shape(
                "repeat",
                format!("{} numbers for the {} dimensions of {:?}", times.len(), self.rank(), self.shape()),
            )
        })?;
        // Each axis becomes a pair (times, size) whose first half is expanded.
        let (mut single, mut wide, mut merged) = (Vec::new(), Vec::new(), Vec::new());
        for (axis, &n) in times.iter().enumerate() {
            let size = axis.checked_sub(lead).map_or(1, |a| self.dims()[a]);
            single.extend([1, size]);
            wide.extend([n, size]);
            merged.push(n.checked_mul(size).ok_or_else(|| Error::TooLarge { op: "repeat", shape: times.to_vec() })?);
        }
        self.reshape(Shape::from(single))?.expand(Shape::from(wide))?.reshape(Shape::from(merged))
    }
}

fn joined<T: Element>(parts: &[&Tensor], shape: &Shape, axis: usize) -> Result<Value> {
    let sources: Vec<Cow<'_, Value>> = parts.iter().map(|t| t.value.contiguous()).collect::<Result<_>>()?;
    let whole = Layout::contiguous(shape.clone());
    Value::build("cat", shape, |y: &mut [T]| {
        let mut start = 0;
        for source in &sources {
            let count = source.shape()[axis];
            copy_into(source.slice::<T>(), y, &whole.slice(axis, start, count, 1));
            start += count;
        }
    })
}

#[derive(Debug)]
struct Cat {
    axis: usize,
    sizes: Vec<usize>,
}
impl Rule for Cat {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let mut start = 0;
        let part = |(i, &count): (usize, &usize)| {
            start += count;
            cx.needs(i).then(|| g.sliced(self.axis, start - count, count, 1))
        };
        Ok(self.sizes.iter().enumerate().map(part).collect())
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec {
        name: "cat",
        samples: || {
            let sample = |label, parts: Vec<Tensor>, axis: isize| {
                Sample::new(label, parts, move |x: &[Tensor]| Tensor::cat(&x.iter().collect::<Vec<_>>(), axis))
            };
            vec![
                sample("rows", vec![numbers([1, 3], 1), numbers([2, 3], 2)], 0),
                sample("columns", vec![numbers([2, 1], 3), numbers([2, 3], 4), numbers([2, 2], 5)], -1),
                sample("middle", vec![numbers([2, 1, 2], 6), numbers([2, 2, 2], 7)], 1),
                sample("one", vec![numbers([2], 8)], 0),
                sample("an empty vector beside", vec![numbers([0], 9), numbers([2, 2], 10)], 1),
                sample("an empty part", vec![numbers([0, 2], 11), numbers([2, 2], 12)], 0),
                sample("integers", vec![indices([2], 9, 13), indices([3], 9, 14)], 0).order(0),
            ]
        },
    },
    OpSpec {
        name: "stack",
        samples: || {
            let sample = |label, parts: Vec<Tensor>, axis: isize| {
                Sample::new(label, parts, move |x: &[Tensor]| Tensor::stack(&x.iter().collect::<Vec<_>>(), axis))
            };
            vec![
                sample("first", vec![numbers([2, 3], 1), numbers([2, 3], 2)], 0),
                sample("last", vec![numbers([2, 3], 3), numbers([2, 3], 4), numbers([2, 3], 5)], -1),
                sample("scalars", vec![numbers((), 6), numbers((), 7)], 0),
                sample("empty", vec![numbers([0, 2], 8), numbers([0, 2], 9)], 1),
            ]
        },
    },
    OpSpec {
        name: "split",
        samples: || {
            // All parts are used, in another order than they came.
            let joined = |parts: Vec<Tensor>, axis| Tensor::cat(&parts.iter().rev().collect::<Vec<_>>(), axis);
            vec![
                Sample::new("uneven", vec![numbers([5, 2], 1)], move |x| joined(x[0].split(2, 0)?, 0)),
                Sample::new("columns", vec![numbers([2, 4], 2)], move |x| joined(x[0].split(2, -1)?, -1)),
                Sample::new("sizes", vec![numbers([6], 3)], move |x| joined(x[0].split_sizes(&[1, 0, 5], 0)?, 0)),
                Sample::new("chunks", vec![numbers([5], 4)], move |x| joined(x[0].chunk(3, 0)?, 0)),
                Sample::new("empty", vec![numbers([0, 3], 5)], move |x| joined(x[0].split(2, 0)?, 0)),
            ]
        },
    },
    OpSpec {
        name: "repeat",
        samples: || {
            let sample = |label, x: Tensor, times: &'static [usize]| {
                Sample::new(label, vec![x], move |x: &[Tensor]| x[0].repeat(times))
            };
            vec![
                sample("matrix", numbers([2, 3], 1), &[2, 3]),
                sample("more dimensions", numbers([2], 2), &[3, 1, 2]),
                sample("scalar", numbers((), 3), &[4]),
                sample("no times", numbers([2, 2], 4), &[0, 2]),
            ]
        },
    },
];
