//! The largest and smallest elements: of all, over any axes, or along one axis with their positions.
//!
//! NaN is larger and smaller than everything, and the first of equal elements gives the position. Where no position is
//! returned, equal elements share the gradient; where one is, the element there gets all of it.

use kernels::reduce;

use super::gather::Gather;
use super::reduce::{around, group_size, reduce_axes, reduced_shape, reshaped, unreduce};
use crate::dtype::{DType, dispatch};
use crate::error::{Error, Result};
use crate::shape::{Axes, Shape, axis_of};
use crate::storage::unfilled;
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::Value;

#[cold]
fn nothing(op: &'static str, shape: &Shape) -> Error {
    Error::shape(op, format!("no elements to choose from, shape {shape:?}; reduce over dimensions that are not 0"))
}

#[track_caller]
fn over(op: &'static str, x: &Tensor, axes: Axes, keepdim: bool, largest: bool, whole: bool) -> Result<Tensor> {
    let mask = axes.reduced(op, x.rank())?;
    if group_size(x.shape(), &mask) == 0 {
        return Err(nothing(op, x.shape()));
    }
    if x.dtype() == DType::Bool {
        return over(op, &x.to_dtype(DType::U8)?, axes, keepdim, largest, whole)?.to_dtype(DType::Bool);
    }
    let kept = dispatch!(number op, x.dtype(), T => {
        let kernel = if largest { reduce::amax::<T> } else { reduce::amin::<T> };
        reduce_axes::<T>(op, &x.value, &mask, kernel)?
    });
    let value = reshaped(&kept, reduced_shape(x.shape(), &mask, keepdim));
    record(value, &[x], || Shared { x: x.value.clone(), kept, whole })
}

#[track_caller]
fn along(op: &'static str, x: &Tensor, axis: isize, keepdim: bool, largest: bool) -> Result<(Tensor, Tensor)> {
    let at = axis_of(op, axis, x.rank())?;
    if x.rank() == 0 {
        return along(op, &x.unsqueeze(0)?, 0, false, largest);
    }
    let (outer, n, inner) = around(x.shape(), at);
    if n == 0 {
        return Err(nothing(op, x.shape()));
    }
    if x.dtype() == DType::Bool {
        let (values, index) = along(op, &x.to_dtype(DType::U8)?, axis, keepdim, largest)?;
        return Ok((values.to_dtype(DType::Bool)?, index));
    }
    let mut kept = x.shape().clone();
    kept.0[at] = 1;
    let source = x.value.contiguous()?;
    let mut index = unfilled::<i64>(op, &kept)?;
    let places = index.get_mut().expect("a new buffer has one owner");
    let values = dispatch!(number op, x.dtype(), T => {
        let kernel = if largest { reduce::max_with_index::<T> } else { reduce::min_with_index::<T> };
        Value::build(op, &kept, |y: &mut [T]| kernel(source.slice(), outer, n, inner, y, places))?
    });
    let index = Tensor::plain(Value::new(op, index, kept));
    let values = record(values, &[x], || Gather { axis: at, index: index.clone(), shape: x.shape().clone() })?;
    if keepdim {
        return Ok((values, index));
    }
    let shape = x.value.layout.remove(at).shape;
    Ok((values.reshape(&shape)?, index.reshape(&shape)?))
}

#[track_caller]
fn position(op: &'static str, x: &Tensor, axis: Option<isize>, keepdim: bool, largest: bool) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return Err(Error::DType { op, dtype: DType::Bool, expected: "a number" });
    }
    let x = x.detach();
    match axis {
        Some(axis) => Ok(along(op, &x, axis, keepdim, largest)?.1),
        None if x.numel() == 0 => Err(nothing(op, x.shape())),
        None => {
            let flat = along(op, &x.reshape(-1)?, 0, false, largest)?.1;
            if keepdim { flat.reshape(Shape::from(vec![1; x.rank()])) } else { Ok(flat) }
        }
    }
}

impl Tensor {
    /// The largest of all elements; NaN if one is NaN. Equal elements share the gradient.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([[1f32, 4.0], [3.0, 2.0]])?.max()?.item()?, 4.0);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no element.
    #[track_caller]
    pub fn max(&self) -> Result<Tensor> {
        over("max", self, Axes::ALL, false, true, true)
    }

    /// The smallest of all elements; NaN if one is NaN. Equal elements share the gradient.
    ///
    /// # Errors
    /// There is no element.
    #[track_caller]
    pub fn min(&self) -> Result<Tensor> {
        over("min", self, Axes::ALL, false, false, true)
    }

    /// The largest element over `axes`, which disappear unless `keepdim`. Equal elements share the gradient.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f32, 4.0], [3.0, 2.0]])?;
    /// assert_eq!(x.amax_dim(0, false)?.to_vec::<f32>()?, [3.0, 4.0]);
    /// assert_eq!(x.amax_dim((), true)?.shape(), &[1, 1]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis is out of range, named twice, or has no elements.
    #[track_caller]
    pub fn amax_dim(&self, axes: impl Into<Axes>, keepdim: bool) -> Result<Tensor> {
        over("amax", self, axes.into(), keepdim, true, false)
    }

    /// The smallest element over `axes`, which disappear unless `keepdim`. Equal elements share the gradient.
    ///
    /// # Errors
    /// An axis is out of range, named twice, or has no elements.
    #[track_caller]
    pub fn amin_dim(&self, axes: impl Into<Axes>, keepdim: bool) -> Result<Tensor> {
        over("amin", self, axes.into(), keepdim, false, false)
    }

    /// The largest elements along an axis and their positions (i64). Of equal elements the first is taken, and it alone
    /// gets the gradient.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let (values, index) = Tensor::new([[1f32, 4.0, 4.0], [3.0, 2.0, 1.0]])?.max_dim(1, false)?;
    /// assert_eq!((values.to_vec::<f32>()?, index.to_vec::<i64>()?), (vec![4.0, 3.0], vec![1, 0]));
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range or has no elements.
    #[track_caller]
    pub fn max_dim(&self, axis: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        along("max", self, axis, keepdim, true)
    }

    /// The smallest elements along an axis and their positions (i64). Of equal elements the first is taken, and it alone
    /// gets the gradient.
    ///
    /// # Errors
    /// The axis is out of range or has no elements.
    #[track_caller]
    pub fn min_dim(&self, axis: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        along("min", self, axis, keepdim, false)
    }

    /// The position (i64) of the largest element along an axis, or among all elements in row-major order. The first of
    /// equal elements counts, and NaN counts as largest.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[0f32, 2.0], [2.0, 1.0]])?;
    /// assert_eq!(x.argmax(None, false)?.item()?, 1.0);
    /// assert_eq!(x.argmax(Some(-1), false)?.to_vec::<i64>()?, [1, 0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range, there are no elements along it, or the dtype is bool.
    #[track_caller]
    pub fn argmax(&self, axis: Option<isize>, keepdim: bool) -> Result<Tensor> {
        position("argmax", self, axis, keepdim, true)
    }

    /// The position (i64) of the smallest element along an axis, or among all elements in row-major order. The first of
    /// equal elements counts, and NaN counts as smallest.
    ///
    /// # Errors
    /// As [`argmax`](Self::argmax).
    #[track_caller]
    pub fn argmin(&self, axis: Option<isize>, keepdim: bool) -> Result<Tensor> {
        position("argmin", self, axis, keepdim, false)
    }
}

/// The gradient divided evenly among the elements that equal the result.
#[derive(Debug)]
struct Shared {
    x: Value,
    kept: Value,
    /// Over everything, where PyTorch also lets NaN elements share the gradient of a NaN.
    whole: bool,
}
impl Rule for Shared {
    fn name(&self) -> String {
        "amax or amin".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| {
            let (x, kept) = (Tensor::plain(self.x.clone()), Tensor::plain(self.kept.clone()));
            let mut mask = x.eq(&kept)?;
            if self.whole {
                mask = mask.logical_or(&x.isnan()?.logical_and(&kept.isnan()?)?)?;
            }
            let mask = mask.to_dtype(g.dtype())?;
            let axes: Vec<isize> =
                (0..x.rank()).filter(|&a| x.dims()[a] != kept.dims()[a]).map(|a| a as isize).collect();
            let count = if axes.is_empty() { mask.clone() } else { mask.sum_dim(axes, true)? };
            unreduce(g, kept.shape(), x.shape())?.mul(&mask.div(&count)?)
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec { name: "max", samples: || whole(Tensor::max) },
    OpSpec { name: "min", samples: || whole(Tensor::min) },
    OpSpec { name: "amax_dim", samples: || dims(|x, axes, keep| x.amax_dim(axes, keep)) },
    OpSpec { name: "amin_dim", samples: || dims(|x, axes, keep| x.amin_dim(axes, keep)) },
    OpSpec { name: "max_dim", samples: || axis(|x, axis, keep| x.max_dim(axis, keep)) },
    OpSpec { name: "min_dim", samples: || axis(|x, axis, keep| x.min_dim(axis, keep)) },
    OpSpec { name: "argmax", samples: || places(Tensor::argmax) },
    OpSpec { name: "argmin", samples: || places(Tensor::argmin) },
];

#[cfg(any(test, feature = "testing"))]
fn whole(f: fn(&Tensor) -> Result<Tensor>) -> Vec<Sample> {
    let run = move |x: &[Tensor]| f(&x[0]);
    vec![
        Sample::new("matrix", vec![numbers([3, 4], 1)], run),
        Sample::new("scalar", vec![numbers((), 2)], run),
        Sample::new("long", vec![numbers([70], 3)], run),
        Sample::new("tied", vec![Tensor::full([2, 3], 1.5f64).expect("small")], run).order(0),
        Sample::new("integers", vec![indices([9], 4, 4)], run).order(0),
        Sample::new("truth", vec![indices([4], 2, 5).to_dtype(DType::Bool).expect("small")], run).order(0),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn dims(f: fn(&Tensor, Axes, bool) -> Result<Tensor>) -> Vec<Sample> {
    let sample = |label, x: Tensor, axes: Axes, keep: bool| {
        Sample::new(label, vec![x], move |x: &[Tensor]| f(&x[0], axes.clone(), keep))
    };
    vec![
        sample("last", numbers([3, 4], 1), (-1).into(), false),
        sample("outer and inner", numbers([2, 3, 4], 2), [0, 2].into(), true),
        sample("middle", numbers([2, 3, 4], 3), 1.into(), false),
        sample("no axes named", numbers([2, 3], 4), Vec::new().into(), false),
        sample("scalar", numbers((), 5), 0.into(), true),
        sample("empty beside", numbers([0, 3], 6), 1.into(), false),
        sample("integers", indices([3, 5], 4, 7), 0.into(), false).order(0),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn axis(f: fn(&Tensor, isize, bool) -> Result<(Tensor, Tensor)>) -> Vec<Sample> {
    let values = |label, x: Tensor, axis: isize, keep: bool| {
        Sample::new(label, vec![x], move |x: &[Tensor]| Ok(f(&x[0], axis, keep)?.0))
    };
    let index = |label, x: Tensor, axis: isize, keep: bool| {
        Sample::new(label, vec![x], move |x: &[Tensor]| Ok(f(&x[0], axis, keep)?.1)).order(0)
    };
    vec![
        values("last", numbers([3, 4], 1), -1, false),
        values("middle, kept", numbers([2, 3, 4], 2), 1, true),
        values("first", numbers([5, 2], 3), 0, false),
        values("scalar", numbers((), 4), -1, true),
        values("empty beside", numbers([0, 3], 5), 1, false),
        index("positions", numbers([2, 3, 4], 6), 1, false),
        index("tied positions", indices([4, 6], 2, 7), 1, true),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn places(f: fn(&Tensor, Option<isize>, bool) -> Result<Tensor>) -> Vec<Sample> {
    let sample = |label, x: Tensor, axis: Option<isize>, keep: bool| {
        Sample::new(label, vec![x], move |x: &[Tensor]| f(&x[0], axis, keep)).order(0)
    };
    vec![
        sample("all", numbers([3, 4], 1), None, false),
        sample("all, kept", numbers([3, 4], 2), None, true),
        sample("last", numbers([3, 4], 3), Some(-1), false),
        sample("tied", indices([20], 3, 4), Some(0), true),
        sample("scalar", numbers((), 5), Some(0), false),
        sample("empty beside", numbers([0, 2], 6), Some(1), false),
    ]
}
