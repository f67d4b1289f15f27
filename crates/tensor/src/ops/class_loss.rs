//! The cross entropy of classes, given logits: the logarithm of the softmax and the choice of a class as one operator.

use kernels::{class_loss, reduce};

use super::reduce::around;
use crate::dtype::{DType, dispatch};
use crate::error::{Error, Result};
use crate::program::{compute, compute_two};
use crate::shape::axis_of;
use crate::tape::{Cx, Grads, Rule, Tensor, grad_enabled, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::Value;

impl Tensor {
    /// `-log(softmax(x)[class])` along an axis: for each place outside of the axis the loss of one class. `classes` is i64 and has
    /// the shape without the axis. What `cross_entropy` is before its reduction.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let loss = Tensor::zeros([2, 10])?.class_losses(1, &Tensor::new([3i64, 7])?)?;
    /// assert_eq!(loss.shape(), &[2]);
    /// assert!((loss.mean()?.item()? - 10f64.ln()).abs() < 1e-6);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range, the dtype is not floating point, `classes` is not i64 or has another shape, or holds a number
    /// that is no position of the axis.
    #[track_caller]
    pub fn class_losses(&self, axis: isize, classes: &Tensor) -> Result<Tensor> {
        let op = "class_losses";
        let at = axis_of(op, axis, self.rank())?;
        if classes.dtype() != DType::I64 {
            return Err(Error::DType { op, dtype: classes.dtype(), expected: "i64 classes" });
        }
        let mut shape = self.shape().clone();
        if self.rank() > 0 {
            shape.0.remove(at);
        }
        if classes.shape() != &shape {
            let message = format!(
                "classes have shape {:?} and the input {:?}; expected {shape:?}, one for each place outside of dimension {at}",
                classes.shape(),
                self.shape()
            );
            return Err(Error::shape(op, message));
        }
        let (x, classes) = (self.value.contiguous()?, classes.value.contiguous()?.into_owned());
        let (outer, n, inner) = around(self.shape(), at);
        let (logs, losses) = compute_two([&*x, &classes], move |[x, classes]| {
            if let Some(&index) = classes.slice::<i64>().iter().find(|&&class| class < 0 || class as usize >= n) {
                return Err(Error::Index { op, index, axis: at, size: n });
            }
            dispatch!(float op, x.dtype(), T => {
                let logs = Value::build(op, x.shape(), |y: &mut [T]| reduce::log_softmax(x.slice(), outer, n, inner, y))?;
                let losses = Value::build(op, &shape, |y: &mut [T]| {
                    class_loss::class_loss(logs.slice(), classes.slice(), n, inner, y);
                })?;
                Ok((logs, losses))
            })
        })?;
        record(losses, &[self], || ClassLosses { x: self.clone(), axis: at as isize, classes, logs })
    }
}

#[derive(Debug)]
struct ClassLosses {
    x: Tensor,
    axis: isize,
    classes: Value,
    logs: Value,
}
impl Rule for ClassLosses {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // g (softmax(x) - 1 at the class)
        cx.each([&|| {
            let (_, n, inner) = around(self.x.shape(), self.axis as usize);
            if grad_enabled() {
                // In operators, so that it can be differentiated again.
                let probabilities = self.x.log_softmax(self.axis)?.exp()?;
                if self.x.rank() == 0 {
                    return probabilities.sub_scalar(1.0)?.mul(g);
                }
                let (g, classes) = (g.unsqueeze(self.axis)?, Tensor::plain(self.classes.clone()).unsqueeze(self.axis)?);
                return probabilities.mul(&g)?.scatter_add(self.axis, &classes, &g.neg()?);
            }
            let g = g.value.contiguous()?;
            let value = compute([&self.logs, &self.classes, &*g], move |[logs, classes, g]| {
                dispatch!(float "class_losses", logs.dtype(), T => {
                    Value::build("class_losses", logs.shape(), |gx: &mut [T]| {
                        class_loss::class_loss_grad(logs.slice(), classes.slice(), g.slice(), n, inner, gx);
                    })
                })
            })?;
            Ok(Tensor::plain(value))
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[OpSpec {
    name: "class_losses",
    samples: || {
        let sample = |label, x: Tensor, axis: isize, classes: Tensor| {
            let same = classes.clone();
            Sample::new(label, vec![x], move |x: &[Tensor]| x[0].class_losses(axis, &classes)).oracle(move |x| {
                let logs = x[0].log_softmax(axis)?;
                if x[0].rank() == 0 {
                    return logs.neg();
                }
                logs.gather(axis, &same.unsqueeze(axis)?)?.squeeze(axis)?.neg()
            })
        };
        vec![
            sample("rows", numbers([3, 4], 1), 1, indices([3], 4, 2)),
            sample("one row", numbers([5], 3), 0, indices((), 5, 4)),
            sample("images", numbers([2, 3, 2, 2], 5), 1, indices([2, 2, 2], 3, 6)),
            sample("columns", numbers([3, 4], 7), -2, indices([4], 3, 8)),
            sample("one class", numbers([2, 1], 9), 1, indices([2], 1, 10)),
            sample("scalar", numbers((), 11), 0, indices((), 1, 12)),
            sample("no rows", numbers([0, 3], 13), 1, indices([0], 3, 14)),
            sample("long", numbers([37, 3], 15), 1, indices([37], 3, 16)),
        ]
    },
}];
