//! Choosing between two tensors by a mask.

use std::borrow::Cow;

use kernels::elementwise::{Operand, select};

use super::arith::both;
use crate::dtype::{DType, Element, dispatch};
use crate::error::{Error, Result};
use crate::shape::broadcast;
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::Value;

impl Tensor {
    /// `a` where `self` is true, else `b`; all three are broadcast. PyTorch: `torch.where(self, a, b)`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([-1f32, 2.0])?;
    /// let y = x.gt_scalar(0.0)?.where_cond(&x, &Tensor::zeros([2])?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `self` is not bool, the dtypes of `a` and `b` differ, or the shapes do not broadcast.
    #[track_caller]
    pub fn where_cond(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if self.dtype() != DType::Bool {
            return Err(Error::DType { op: "where", dtype: self.dtype(), expected: "a bool condition" });
        }
        let (a, b) = both("where", a, b)?;
        let shape = broadcast("where", self.shape(), a.shape())?;
        let (mask, a, b) = (self.expanded(&shape)?, a.expanded(&shape)?, b.expanded(&shape)?);
        let mask = mask.value.contiguous()?.into_owned();
        let value = dispatch!(a.dtype(), T => choose::<T>(&mask, &a.value, &b.value)?);
        record(value, &[&a, &b], || Where { mask })
    }

    /// `value` where `mask` is true, else the element; the mask is broadcast to the tensor.
    ///
    /// # Errors
    /// `mask` is not bool or does not broadcast, or the tensor holds integers and `value` is not whole.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: f64) -> Result<Tensor> {
        if mask.dtype() != DType::Bool {
            return Err(Error::DType { op: "masked_fill", dtype: mask.dtype(), expected: "a bool mask" });
        }
        if self.dtype() == DType::U8 && value.abs() >= 256.0 {
            return Err(Error::argument(
                "masked_fill",
                format!("{value} does not fit into u8; convert with to_dtype first"),
            ));
        }
        mask.where_cond(&self.scalar_like(value)?, self)
    }
}

/// Elements in row-major order, or one that is repeated everywhere.
fn operand<T: Element>(value: &Value) -> Operand<'_, T> {
    let repeated =
        value.layout.strides.iter().zip(value.shape().iter()).all(|(&stride, &size)| stride == 0 || size == 1);
    if repeated {
        Operand::Scalar(value.storage.slice::<T>()[value.layout.offset])
    } else {
        Operand::Slice(value.slice())
    }
}

/// The value itself if it is row-major or one element that is repeated.
fn flat(v: &Value) -> Result<Cow<'_, Value>> {
    if v.layout.strides.iter().all(|&s| s == 0) { Ok(Cow::Borrowed(v)) } else { v.contiguous() }
}

fn choose<T: Element>(mask: &Value, a: &Value, b: &Value) -> Result<Value> {
    let (a, b) = (flat(a)?, flat(b)?);
    Value::build("where", mask.shape(), |y: &mut [T]| {
        if !y.is_empty() {
            select(mask.slice(), operand(&a), operand(&b), y);
        }
    })
}

#[derive(Debug)]
struct Where {
    mask: Value,
}
impl Rule for Where {
    fn name(&self) -> String {
        "where_cond".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let mask = Tensor::plain(self.mask.clone());
        let zero = g.scalar_like(0.0)?;
        cx.each([&|| mask.where_cond(g, &zero), &|| mask.where_cond(&zero, g)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec {
        name: "where_cond",
        samples: || {
            let sample = |label, mask: Tensor, a: Tensor, b: Tensor| {
                Sample::new(label, vec![mask, a, b], |x| x[0].to_dtype(DType::Bool)?.where_cond(&x[1], &x[2])).oracle(
                    |x| {
                        let mask = x[0].to_dtype(DType::F64)?;
                        mask.mul(&x[1])?.add(&mask.neg()?.add_scalar(1.0)?.mul(&x[2])?)
                    },
                )
            };
            vec![
                sample("equal shapes", indices([3, 4], 2, 1), numbers([3, 4], 2), numbers([3, 4], 3)),
                sample("all three broadcast", indices([3, 1], 2, 4), numbers([4], 5), numbers([2, 1, 1], 6)),
                sample("scalars", indices((), 2, 7), numbers((), 8), numbers((), 9)),
                sample("scalar mask", indices((), 2, 10), numbers([3], 11), numbers([3], 12)),
                sample("empty", indices([0, 2], 2, 13), numbers([2], 14), numbers((), 15)),
            ]
        },
    },
    OpSpec {
        name: "masked_fill",
        samples: || {
            let sample = |label, x: Tensor, mask: Tensor| {
                Sample::new(label, vec![x, mask], |x| x[0].masked_fill(&x[1].to_dtype(DType::Bool)?, 3.0))
            };
            vec![
                sample("equal shapes", numbers([3, 4], 1), indices([3, 4], 2, 2)),
                sample("row", numbers([3, 4], 3), indices([4], 2, 4)),
                sample("scalar", numbers((), 5), indices((), 2, 6)),
                sample("empty", numbers([0], 7), indices([1], 2, 8)),
                sample("integers", indices([6], 9, 9), indices([6], 2, 10)).order(0),
            ]
        },
    },
];
