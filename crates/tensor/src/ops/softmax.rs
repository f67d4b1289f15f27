//! Softmax, its logarithm, and the logarithm of a sum of exponentials.
//!
//! The largest element is subtracted before `exp`, so no finite row overflows. Rules are written in terms of the results.

use kernels::reduce;

use super::reduce::{around, reduced_shape, unreduce};
use crate::DType;
use crate::dtype::dispatch;
use crate::error::Result;
use crate::shape::{Axes, Shape, axis_of};
use crate::tape::{Cx, Grads, Rule, Tensor, no_grad_guard, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, numbers};
use crate::value::Value;

impl Tensor {
    /// `exp(x) / sum(exp(x))` along an axis. A row of `-inf` alone gives NaN.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let y = Tensor::new([[0f32, 0.0], [1000.0, 0.0]])?.softmax(-1)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.5, 0.5, 1.0, 0.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range, or the dtype is not floating point.
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Result<Tensor> {
        let (at, y) = self.normalise("softmax", axis, false)?;
        record(y.clone(), &[self], || Softmax { axis: at, y })
    }

    /// `x - log(sum(exp(x)))` along an axis: the logarithm of [`softmax`](Self::softmax), exact for small probabilities.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let y = Tensor::new([0f64, 1e4])?.log_softmax(0)?;
    /// assert_eq!(y.to_vec::<f64>()?, [-1e4, 0.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range, or the dtype is not floating point.
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Result<Tensor> {
        let (at, y) = self.normalise("log_softmax", axis, true)?;
        record(y.clone(), &[self], || LogSoftmax { axis: at, y })
    }

    fn normalise(&self, op: &'static str, axis: isize, log: bool) -> Result<(isize, Value)> {
        let at = axis_of(op, axis, self.rank())?;
        let (x, (outer, n, inner)) = (self.value.contiguous()?, around(self.shape(), at));
        let y = dispatch!(float op, self.dtype(), T => {
            let kernel = if log { reduce::log_softmax::<T> } else { reduce::softmax::<T> };
            Value::build(op, self.shape(), |y: &mut [T]| kernel(x.slice(), outer, n, inner, y))?
        });
        Ok((at as isize, y))
    }

    /// `log(sum(exp(x)))` over `axes`, which disappear unless `keepdim`; `-inf` where there is nothing, or `-inf` alone, to
    /// sum. Integers are taken as f32.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1000f64, 1000.0], [f64::NEG_INFINITY, f64::NEG_INFINITY]])?;
    /// assert_eq!(x.logsumexp(1, false)?.to_vec::<f64>()?, [1000.0 + 2f64.ln(), f64::NEG_INFINITY]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis is out of range or named twice.
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Into<Axes>, keepdim: bool) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return self.to_dtype(DType::F32)?.logsumexp(axes, keepdim);
        }
        let axes = axes.into();
        let mask = axes.reduced("logsumexp", self.rank())?;
        let kept = reduced_shape(self.shape(), &mask, true);
        let y = {
            let _off = no_grad_guard();
            shifted_log_sum(&self.detach(), axes)?
        };
        let y = y.value.into_contiguous()?;
        let kept_y = record(y.clone(), &[self], || LogSumExp { x: self.clone(), y, kept })?;
        if keepdim { Ok(kept_y) } else { kept_y.reshape(reduced_shape(self.shape(), &mask, false)) }
    }
}

/// `log(sum(exp(x)))` over axes that stay with size 1.
#[track_caller]
fn shifted_log_sum(x: &Tensor, axes: Axes) -> Result<Tensor> {
    if x.numel() == 0 {
        return x.sum_dim(axes, true)?.log();
    }
    // An infinite maximum is not subtracted: inf - inf would be NaN.
    let largest = x.amax_dim(axes.clone(), true)?;
    let infinite = largest.abs()?.eq_scalar(f64::INFINITY)?;
    let shift = largest.masked_fill(&infinite, 0.0)?;
    x.sub(&shift)?.exp()?.sum_dim(axes, true)?.log()?.add(&shift)
}

#[derive(Debug)]
struct Softmax {
    axis: isize,
    y: Value,
}
impl Rule for Softmax {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // y (g - sum(g y))
        cx.each([&|| {
            let y = cx.output(&self.y);
            y.mul(&g.sub(&g.mul(&y)?.sum_dim(self.axis, true)?)?)
        }])
    }
}

#[derive(Debug)]
struct LogSoftmax {
    axis: isize,
    y: Value,
}
impl Rule for LogSoftmax {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // g - exp(y) sum(g)
        cx.each([&|| g.sub(&cx.output(&self.y).exp()?.mul(&g.sum_dim(self.axis, true)?)?)])
    }
}

#[derive(Debug)]
struct LogSumExp {
    x: Tensor,
    y: Value,
    kept: Shape,
}
impl Rule for LogSumExp {
    fn name(&self) -> String {
        "logsumexp".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // g exp(x - y)
        cx.each([&|| unreduce(g, &self.kept, self.x.shape())?.mul(&self.x.sub(&cx.output(&self.y))?.exp()?)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec {
        name: "softmax",
        samples: || {
            along(Tensor::softmax, |x, axis| {
                let e = x.exp()?;
                e.div(&e.sum_dim(axis, true)?)
            })
        },
    },
    OpSpec {
        name: "log_softmax",
        samples: || along(Tensor::log_softmax, |x, axis| x.sub(&x.exp()?.sum_dim(axis, true)?.log()?)),
    },
    OpSpec {
        name: "logsumexp",
        samples: || {
            let sample = |label, x: Tensor, axes: Axes, keep: bool| {
                let same = axes.clone();
                Sample::new(label, vec![x], move |x: &[Tensor]| x[0].logsumexp(axes.clone(), keep))
                    .oracle(move |x| x[0].exp()?.sum_dim(same.clone(), keep)?.log())
            };
            vec![
                sample("last", numbers([3, 4], 1), (-1).into(), false),
                sample("two axes, kept", numbers([2, 3, 4], 2), [0, 2].into(), true),
                sample("all", numbers([2, 3], 3), ().into(), false),
                sample("scalar", numbers((), 4), 0.into(), false),
                sample("empty along", numbers([2, 0], 5), 1.into(), false).order(0),
                sample("empty beside", numbers([0, 2], 6), 1.into(), false),
                sample("a row of -inf", infinite(), 1.into(), false).order(0),
            ]
        },
    },
];

/// One row without a finite element, and one with some.
#[cfg(any(test, feature = "testing"))]
fn infinite() -> Tensor {
    Tensor::new([[f64::NEG_INFINITY, f64::NEG_INFINITY], [f64::NEG_INFINITY, 1.0]]).expect("small")
}

#[cfg(any(test, feature = "testing"))]
fn along(f: fn(&Tensor, isize) -> Result<Tensor>, plain: fn(&Tensor, isize) -> Result<Tensor>) -> Vec<Sample> {
    let sample = |label, x: Tensor, axis: isize| {
        Sample::new(label, vec![x], move |x: &[Tensor]| f(&x[0], axis)).oracle(move |x| plain(&x[0], axis))
    };
    vec![
        sample("last", numbers([3, 4], 1), -1),
        sample("first", numbers([3, 4], 2), 0),
        sample("middle", numbers([2, 3, 2], 3), 1),
        sample("scalar", numbers((), 4), 0),
        sample("empty along", numbers([2, 0], 5), 1),
        sample("empty beside", numbers([0, 2], 6), 1),
        sample("a row of -inf", infinite(), 1).order(0),
    ]
}
