//! Sums, means and variances over any axes. An empty list of axes stands for all of them.

use kernels::reduce;

use crate::dtype::{DType, Element, Number, dispatch};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::shape::{Axes, Shape};
use crate::tape::{Cx, Grads, Rule, Tensor, record};
use crate::value::Value;

/// A kernel that reduces the middle of `[outer, n, inner]`.
pub(super) type Kernel<T> = fn(&[T], usize, usize, usize, &mut [T]);

/// Reduces the marked axes to size 1, one block of neighbours at a time from the last.
pub(super) fn reduce_axes<T: Element>(op: &'static str, x: &Value, mask: &[bool], kernel: Kernel<T>) -> Result<Value> {
    let mut value = x.contiguous()?;
    let mut end = mask.len();
    while let Some(last) = mask[..end].iter().rposition(|&m| m) {
        let first = mask[..last].iter().rposition(|&m| !m).map_or(0, |i| i + 1);
        let shape = value.shape().clone();
        let sizes = |axes: std::ops::Range<usize>| shape[axes].iter().product::<usize>();
        let (outer, n, inner) = (sizes(0..first), sizes(first..last + 1), sizes(last + 1..shape.len()));
        let mut reduced = shape.clone();
        reduced.0[first..=last].fill(1);
        value = Value::build(op, &reduced, |y: &mut [T]| kernel(value.slice(), outer, n, inner, y))?;
        end = first;
    }
    Ok(value)
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
pub(super) fn unreduce(g: &Tensor, kept: &Shape, full: &Shape) -> Result<Tensor> {
    g.reshape(kept)?.expand(full)
}

/// How many elements fall into one result.
pub(super) fn group_size(shape: &Shape, mask: &[bool]) -> usize {
    shape.iter().zip(mask).filter(|&(_, &m)| m).map(|(&size, _)| size).product()
}

fn sum_kernel<T: Number>(x: &[T], outer: usize, n: usize, inner: usize, y: &mut [T]) {
    reduce::sum(x, outer, n, inner, y);
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
    pub fn sum(&self) -> Result<Tensor> {
        self.sum_dim(Axes::ALL, false)
    }

    /// The sum over `axes`, which disappear unless `keepdim`.
    ///
    /// # Errors
    /// An axis is out of range or named twice.
    pub fn sum_dim(&self, axes: impl Into<Axes>, keepdim: bool) -> Result<Tensor> {
        if matches!(self.dtype(), DType::Bool | DType::U8) {
            return self.to_dtype(DType::I64)?.sum_dim(axes, keepdim);
        }
        let mask = axes.into().reduced("sum", self.rank())?;
        let value =
            dispatch!(number "sum", self.dtype(), T => reduce_axes::<T>("sum", &self.value, &mask, sum_kernel)?);
        let kept = value.shape().clone();
        let value = reshaped(&value, reduced_shape(self.shape(), &mask, keepdim));
        Ok(record(value, &[self], || Sum { kept, full: self.shape().clone() }))
    }

    /// The mean of all elements.
    ///
    /// # Errors
    /// The dtype is not floating point.
    pub fn mean(&self) -> Result<Tensor> {
        self.mean_dim(Axes::ALL, false)
    }

    /// The mean over `axes`, which disappear unless `keepdim`; NaN where there is nothing to average.
    ///
    /// # Errors
    /// The dtype is not floating point, or an axis is out of range or named twice.
    pub fn mean_dim(&self, axes: impl Into<Axes>, keepdim: bool) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::DType { op: "mean", dtype: self.dtype(), expected: "f32 or f64" });
        }
        let axes = axes.into();
        let n = group_size(self.shape(), &axes.reduced("mean", self.rank())?);
        self.sum_dim(axes, keepdim)?.div_scalar(n as f64)
    }

    /// The variance of all elements: squared distances from the mean, divided by their number less `correction`
    /// (1 in PyTorch's default, 0 for the population).
    ///
    /// # Errors
    /// The dtype is not floating point.
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
    pub fn var_dim(&self, axes: impl Into<Axes>, correction: f64, keepdim: bool) -> Result<Tensor> {
        let axes = axes.into();
        let n = group_size(self.shape(), &axes.reduced("var", self.rank())?) as f64;
        let centred = self.sub(&self.mean_dim(axes.clone(), true)?)?;
        // As PyTorch: too few elements divide by 0, never by a negative number.
        centred.square()?.sum_dim(axes, keepdim)?.div_scalar((n - correction).max(0.0))
    }

    /// The standard deviation of all elements, the root of [`var`](Self::var).
    ///
    /// # Errors
    /// The dtype is not floating point.
    pub fn std(&self, correction: f64) -> Result<Tensor> {
        self.var(correction)?.sqrt()
    }

    /// The standard deviation over `axes`, the root of [`var_dim`](Self::var_dim).
    ///
    /// # Errors
    /// As [`var_dim`](Self::var_dim).
    pub fn std_dim(&self, axes: impl Into<Axes>, correction: f64, keepdim: bool) -> Result<Tensor> {
        self.var_dim(axes, correction, keepdim)?.sqrt()
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
