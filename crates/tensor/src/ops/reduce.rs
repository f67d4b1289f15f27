//! Sums, means and variances over any axes. An empty list of axes stands for all of them.

use std::borrow::Cow;
use std::ops::Range;

use kernels::reduce;

use crate::dtype::{DType, Element, Float, dispatch};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::program::compute;
use crate::shape::{Axes, Shape};
use crate::sizes::Sizes;
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::Value;

/// A kernel that reduces the middle of `[outer, n, inner]`.
pub(super) type Kernel<T> = fn(&[T], usize, usize, usize, &mut [T]);

/// The fewest rows that are added up faster than the neighbours in them, and the most neighbours for which that is so (timed on Zen 4).
const ROWS_FIRST: (usize, usize) = (8, 128);

/// Reduces the marked axes to size 1, one block of neighbours at a time from the last, or the first block before the others where the
/// last one is short.
pub(super) fn reduce_axes<T: Element>(op: &'static str, x: &Value, mask: &[bool], kernel: Kernel<T>) -> Result<Value> {
    let mut value = x.contiguous()?;
    if mask.iter().all(|&m| m) && !mask.is_empty() {
        let one = Shape(Sizes::from_elem(1, mask.len()));
        return Value::build(op, &one, |y: &mut [T]| kernel(value.slice(), 1, value.numel(), 1, y));
    }
    let reduced = |value: &Value, axes: Range<usize>| {
        let mut shape = value.shape().clone();
        let sizes = |axes: Range<usize>| value.shape()[axes].iter().product::<usize>();
        let (outer, n, inner) = (sizes(0..axes.start), sizes(axes.clone()), sizes(axes.end..mask.len()));
        shape.0[axes].fill(1);
        Value::build(op, &shape, |y: &mut [T]| kernel(value.slice(), outer, n, inner, y))
    };
    let (mut start, mut end) = (0, mask.len());
    let (rows, neighbours) = (leading(mask.iter()), end - leading(mask.iter().rev()));
    if neighbours < end
        && x.shape()[..rows].iter().product::<usize>() >= ROWS_FIRST.0
        && x.shape()[neighbours..].iter().product::<usize>() <= ROWS_FIRST.1
    {
        value = Cow::Owned(reduced(&value, 0..rows)?);
        start = rows;
    }
    while let Some(last) = mask[start..end].iter().rposition(|&m| m) {
        let last = start + last;
        let first = mask[start..last].iter().rposition(|&m| !m).map_or(start, |i| start + i + 1);
        value = Cow::Owned(reduced(&value, first..last + 1)?);
        end = first;
    }
    Ok(value.into_owned())
}

/// How many are marked before the first that is not.
fn leading<'a>(mask: impl Iterator<Item = &'a bool>) -> usize {
    mask.take_while(|&&m| m).count()
}

/// The sum over all axes, the usual one, in a shape of one element.
fn whole_sum(x: &Value, shape: &Shape) -> Result<Value> {
    let x = x.contiguous()?;
    dispatch!(number "sum", x.dtype(), T => {
        Value::build("sum", shape, |y: &mut [T]| reduce::sum(x.slice(), 1, x.numel(), 1, y))
    })
}

/// The sums over the marked axes, in the shape that is left of them.
fn sums(x: &Value, mask: &[bool], shape: &Shape) -> Result<Value> {
    dispatch!(number "sum", x.dtype(), T => {
        Ok(reshaped(&reduce_axes::<T>("sum", x, mask, reduce::sum)?, shape.clone()))
    })
}

/// The shape with the marked axes removed, or kept at size 1.
pub(super) fn reduced_shape(shape: &Shape, mask: &[bool], keepdim: bool) -> Shape {
    let sizes = shape.iter().zip(mask);
    if keepdim {
        Shape(sizes.map(|(&size, &m)| if m { 1 } else { size }).collect())
    } else {
        Shape(sizes.filter(|&(_, &m)| !m).map(|(&size, _)| size).collect())
    }
}

/// A contiguous value seen in another shape of as many elements.
pub(super) fn reshaped(value: &Value, shape: Shape) -> Value {
    value.with_layout(Layout { offset: value.layout.offset, ..Layout::contiguous(shape) })
}

/// The sizes before, along and after an axis; a scalar counts as one element.
pub(super) fn around(shape: &Shape, axis: usize) -> (usize, usize, usize) {
    let (before, rest) = shape.split_at(axis.min(shape.len()));
    let (n, after) = rest.split_first().map_or((1, rest), |(&n, after)| (n, after));
    (before.iter().product(), n, after.iter().product())
}

/// A gradient in the reduced shape, seen again in the shape before.
#[track_caller]
pub(super) fn unreduce(g: &Tensor, kept: &Shape, full: &Shape) -> Result<Tensor> {
    if g.value.numel() == 1 && !g.requires_grad() {
        // One number, seen in every place.
        let (strides, offset) = (Sizes::from_elem(0, full.len()), g.value.layout.offset);
        return Ok(Tensor::plain(g.value.with_layout(Layout { shape: full.clone(), strides, offset })));
    }
    g.reshape(kept)?.expanded(full)
}

/// How many elements fall into one result.
pub(super) fn group_size(shape: &Shape, mask: &[bool]) -> usize {
    shape.iter().zip(mask).filter(|&(_, &m)| m).map(|(&size, _)| size).product()
}

/// The sums of squared distances from the mean over the marked axes, which stay with size 1.
fn squares<T: Element + Float>(x: &Tensor, mask: &[bool]) -> Result<Value> {
    let mean = {
        let sum = reduce_axes::<T>("var", &x.value, mask, reduce::sum)?;
        Tensor::plain(sum).div_scalar(group_size(x.shape(), mask) as f64)?
    };
    let Some(last) = mask.iter().rposition(|&m| m) else {
        // A scalar is its own mean; NaN and infinity have no distance.
        return x.detach().sub(&mean).map(|y| y.value);
    };
    // The last block of neighbours in one pass, the few results of it by plain sums.
    let first = mask[..last].iter().rposition(|&m| !m).map_or(0, |i| i + 1);
    let sizes = |axes: std::ops::Range<usize>| x.dims()[axes].iter().product::<usize>();
    let (outer, n, inner) = (sizes(0..first), sizes(first..last + 1), sizes(last + 1..x.rank()));
    let mut shape = x.shape().clone();
    shape.0[first..=last].fill(1);
    let (source, mean) = (x.value.contiguous()?, mean.expand(&shape)?.value.into_contiguous()?);
    let part = Value::build("var", &shape, |y: &mut [T]| {
        reduce::sum_squares_about(source.slice(), mean.slice(), outer, n, inner, y);
    })?;
    let rest: Vec<bool> = mask.iter().enumerate().map(|(axis, &m)| m && axis < first).collect();
    reduce_axes::<T>("var", &part, &rest, reduce::sum)
}

impl Tensor {
    /// The sum of all elements. Integers and truth values sum as i64.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([[1f32, 2.0], [3.0, 4.0]])?.sum()?.item()?, 10.0);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn sum(&self) -> Result<Tensor> {
        self.sum_dim(Axes::ALL, false)
    }

    /// The sum over `axes`, which disappear unless `keepdim`.
    ///
    /// # Errors
    /// An axis is out of range or named twice.
    #[track_caller]
    pub fn sum_dim(&self, axes: impl Into<Axes>, keepdim: bool) -> Result<Tensor> {
        self.sum_over(axes.into(), keepdim)
    }

    #[track_caller]
    fn sum_over(&self, axes: Axes, keepdim: bool) -> Result<Tensor> {
        if matches!(self.dtype(), DType::Bool | DType::U8) {
            return self.to_dtype(DType::I64)?.sum_over(axes, keepdim);
        }
        let (kept, value) = if axes.are_all() {
            let kept = Shape(Sizes::from_elem(1, self.rank()));
            let shape = if keepdim { kept.clone() } else { Shape::default() };
            (kept, compute([&self.value], move |[x]| whole_sum(x, &shape))?)
        } else {
            let mask = axes.mask("sum", self.rank())?;
            let (kept, shape) = (reduced_shape(self.shape(), &mask, true), reduced_shape(self.shape(), &mask, keepdim));
            (kept, compute([&self.value], move |[x]| sums(x, &mask, &shape))?)
        };
        record(value, &[self], || Sum { kept, full: self.shape().clone() })
    }

    /// The mean of all elements.
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn mean(&self) -> Result<Tensor> {
        self.mean_dim(Axes::ALL, false)
    }

    /// The mean over `axes`, which disappear unless `keepdim`; NaN where there is nothing to average.
    ///
    /// # Errors
    /// The dtype is not floating point, or an axis is out of range or named twice.
    #[track_caller]
    pub fn mean_dim(&self, axes: impl Into<Axes>, keepdim: bool) -> Result<Tensor> {
        self.mean_over(axes.into(), keepdim)
    }

    #[track_caller]
    fn mean_over(&self, axes: Axes, keepdim: bool) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::DType { op: "mean", dtype: self.dtype(), expected: "f32 or f64" });
        }
        let n = group_size(self.shape(), &axes.reduced("mean", self.rank())?);
        self.sum_over(axes, keepdim)?.div_scalar(n as f64)
    }

    /// The variance of all elements: squared distances from the mean, divided by their number less `correction`
    /// (1 in PyTorch's default, 0 for the population).
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn var(&self, correction: f64) -> Result<Tensor> {
        self.var_dim(Axes::ALL, correction, false)
    }

    /// The variance over `axes`, which disappear unless `keepdim`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f64, 3.0], [0.0, 0.0]])?;
    /// assert_eq!(x.var_dim(1, 1.0, false)?.to_vec::<f64>()?, [2.0, 0.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The dtype is not floating point, or an axis is out of range or named twice.
    #[track_caller]
    pub fn var_dim(&self, axes: impl Into<Axes>, correction: f64, keepdim: bool) -> Result<Tensor> {
        let axes = axes.into();
        let mask = axes.reduced("var", self.rank())?;
        // As PyTorch: too few elements divide by 0, never by a negative number.
        let divisor = (group_size(self.shape(), &mask) as f64 - correction).max(0.0);
        let kept = dispatch!(float "var", self.dtype(), T => squares::<T>(self, &mask)?);
        let value = Tensor::plain(kept).div_scalar(divisor)?.value;
        let kept = value.shape().clone();
        let value = reshaped(&value, reduced_shape(self.shape(), &mask, keepdim));
        record(value, &[self], || Var { x: self.clone(), axes, divisor, kept })
    }

    /// The standard deviation of all elements, the root of [`var`](Self::var).
    ///
    /// # Errors
    /// The dtype is not floating point.
    #[track_caller]
    pub fn std(&self, correction: f64) -> Result<Tensor> {
        self.std_dim(Axes::ALL, correction, false)
    }

    /// The standard deviation over `axes`, the root of [`var_dim`](Self::var_dim).
    ///
    /// # Errors
    /// As [`var_dim`](Self::var_dim).
    #[track_caller]
    pub fn std_dim(&self, axes: impl Into<Axes>, correction: f64, keepdim: bool) -> Result<Tensor> {
        let var = self.var_dim(axes, correction, keepdim)?;
        // As PyTorch, the gradient is 0 where all elements are equal, although that of the root is infinite.
        let flat = var.eq_scalar(0.0)?;
        var.masked_fill(&flat, 1.0)?.sqrt()?.masked_fill(&flat, 0.0)
    }
}

#[derive(Debug)]
struct Sum {
    kept: Shape,
    full: Shape,
}
impl Rule for Sum {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| unreduce(g, &self.kept, &self.full)])
    }
}

#[derive(Debug)]
struct Var {
    x: Tensor,
    axes: Axes,
    divisor: f64,
    kept: Shape,
}
impl Rule for Var {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // 2 (x - mean) / divisor
        cx.each([&|| {
            let centred = self.x.sub(&self.x.mean_dim(self.axes.clone(), true)?)?;
            unreduce(&g.mul_scalar(2.0 / self.divisor)?, &self.kept, self.x.shape())?.mul(&centred)
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec { name: "sum", samples: || whole(Tensor::sum, |x| Ok(x.iter().sum())) },
    OpSpec { name: "mean", samples: || whole(Tensor::mean, |x| Ok(x.iter().sum::<f64>() / x.len() as f64)) },
    OpSpec { name: "var", samples: || whole(|x| x.var(0.0), |x| Ok(variance(x, 0.0))) },
    OpSpec { name: "std", samples: || whole(|x| x.add_scalar(1.0)?.std(0.0), |x| Ok(variance(x, 0.0).sqrt())) },
    OpSpec {
        name: "sum_dim",
        samples: || {
            let mut samples = dims(|x, axes, keep| x.sum_dim(axes, keep));
            samples.push(Sample::new("integers", vec![indices([3, 5], 9, 8)], |x| x[0].sum_dim(0, false)).order(0));
            samples.push(
                Sample::new("truth", vec![indices([9], 2, 9)], |x| x[0].to_dtype(DType::Bool)?.sum_dim(0, false))
                    .order(0),
            );
            samples
        },
    },
    OpSpec { name: "mean_dim", samples: || dims(|x, axes, keep| x.mean_dim(axes, keep)) },
    OpSpec { name: "var_dim", samples: || dims(|x, axes, keep| x.var_dim(axes, 0.0, keep)) },
    OpSpec { name: "std_dim", samples: || dims(|x, axes, keep| x.std_dim(axes, 1.0, keep)) },
];

#[cfg(any(test, feature = "testing"))]
fn variance(x: &[f64], correction: f64) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (x.len() as f64 - correction)
}

#[cfg(any(test, feature = "testing"))]
fn whole(f: fn(&Tensor) -> Result<Tensor>, plain: fn(&[f64]) -> Result<f64>) -> Vec<Sample> {
    let sample = |label, x: Tensor| {
        Sample::new(label, vec![x], move |x: &[Tensor]| f(&x[0]))
            .oracle(move |x| Tensor::new(plain(&x[0].detach().to_vec::<f64>()?)?))
    };
    vec![
        sample("matrix", numbers([3, 4], 1)),
        sample("long", numbers([131], 2)).order(1),
        sample("several axes", numbers([2, 3, 4], 3)),
        sample("scalar", numbers((), 4)).order(0),
        sample("empty", numbers([0, 2], 5)).order(0),
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
        sample("empty beside", numbers([0, 3], 5), 1.into(), false),
        sample("empty along", numbers([2, 0], 6), 1.into(), true).order(0),
        sample("scalar", numbers((), 7), 0.into(), true).order(0),
    ]
}
