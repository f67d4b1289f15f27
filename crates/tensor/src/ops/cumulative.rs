//! Products, and running sums.

use kernels::reduce;

use super::reduce::{around, reduced_shape};
use crate::dtype::{DType, dispatch};
use crate::error::Result;
use crate::shape::{Axes, axis_of};
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::Value;

/// Integers and truth values as i64, where totals are kept.
#[track_caller]
fn widened(x: &Tensor) -> Result<Tensor> {
    if x.dtype().is_float() { Ok(x.clone()) } else { x.to_dtype(DType::I64) }
}

impl Tensor {
    /// The product of all elements; 1 if there are none. Integers and truth values multiply as i64.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([[1f32, 2.0], [3.0, 4.0]])?.prod()?.item()?, 24.0);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// None for tensors that fit in memory.
    #[track_caller]
    pub fn prod(&self) -> Result<Tensor> {
        self.prod_dim(Axes::ALL, false)
    }

    /// The product over `axes`, which disappear unless `keepdim`.
    ///
    /// Computed in halves by [`mul`](Self::mul), so the gradient is right beside zeros too.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f32, 2.0], [3.0, 4.0]])?;
    /// assert_eq!(x.prod_dim(0, false)?.to_vec::<f32>()?, [3.0, 8.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis is out of range or named twice.
    #[track_caller]
    pub fn prod_dim(&self, axes: impl Into<Axes>, keepdim: bool) -> Result<Tensor> {
        let mask = axes.into().reduced("prod", self.rank())?;
        let mut y = widened(self)?;
        for axis in (0..self.rank()).rev().filter(|&a| mask[a]) {
            y = halves(&y, axis)?;
        }
        if keepdim { Ok(y) } else { y.reshape(reduced_shape(self.shape(), &mask, false)) }
    }

    /// The sums of all elements up to each position of an axis. Integers and truth values sum as i64.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([1f32, 2.0, 3.0])?.cumsum(0)?.to_vec::<f32>()?, [1.0, 3.0, 6.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range.
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Result<Tensor> {
        let at = axis_of("cumsum", axis, self.rank())?;
        let x = widened(self)?;
        let (source, (outer, n, inner)) = (x.value.contiguous()?, around(x.shape(), at));
        let value = dispatch!(number "cumsum", x.dtype(), T => {
            Value::build("cumsum", x.shape(), |y: &mut [T]| reduce::cumsum(source.slice(), outer, n, inner, y))?
        });
        record(value, &[&x], || Cumsum { axis: at as isize })
    }
}

/// The product along an axis, which stays with size 1: the first half times the second, until one is left.
#[track_caller]
fn halves(x: &Tensor, axis: usize) -> Result<Tensor> {
    let (mut x, mut odd): (Tensor, Option<Tensor>) = (x.clone(), None);
    if x.dims()[axis] == 0 {
        let mut shape = x.shape().clone();
        shape.0[axis] = 1;
        return x.sum_dim(axis as isize, true)?.add(&x.scalar_like(1.0)?)?.reshape(&shape);
    }
    while x.dims()[axis] > 1 {
        let (n, half) = (x.dims()[axis], x.dims()[axis] / 2);
        if n % 2 == 1 {
            let last = x.sliced(axis, n - 1, 1, 1);
            odd = Some(odd.map_or_else(|| Ok(last.clone()), |odd| odd.mul(&last))?);
        }
        x = x.sliced(axis, 0, half, 1).mul(&x.sliced(axis, half, half, 1))?;
    }
    odd.map_or_else(|| Ok(x.clone()), |odd| x.mul(&odd))
}

#[derive(Debug)]
struct Cumsum {
    axis: isize,
}
impl Rule for Cumsum {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // Each element went into all sums behind it.
        cx.each([&|| g.flip(self.axis)?.cumsum(self.axis)?.flip(self.axis)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec {
        name: "prod",
        samples: || {
            let sample = |label, x: Tensor| Sample::new(label, vec![x], |x| x[0].prod());
            vec![
                sample("matrix", numbers([2, 3], 1)),
                sample("scalar", numbers((), 2)),
                sample("empty", numbers([0, 2], 3)),
                sample("two zeros", Tensor::new([2f64, 0.0, 3.0, 0.0, -1.5]).expect("small")),
                sample("integers", indices([5], 4, 4)).order(0),
            ]
        },
    },
    OpSpec {
        name: "prod_dim",
        samples: || {
            let sample = |label, x: Tensor, axes: Axes, keep: bool| {
                Sample::new(label, vec![x], move |x: &[Tensor]| x[0].prod_dim(axes.clone(), keep))
            };
            vec![
                sample("last", numbers([2, 7], 1), (-1).into(), false)
                    .oracle(|x| (1..7).try_fold(x[0].select(1, 0)?, |y, i| y.mul(&x[0].select(1, i)?))),
                sample("middle, kept", numbers([2, 3, 2], 2), 1.into(), true),
                sample("two axes", numbers([2, 3, 2], 3), [0, 2].into(), false),
                sample("one zero", Tensor::new([[2f64, 0.0, 3.0], [1.0, 2.0, 3.0]]).expect("small"), 1.into(), false),
                sample("empty along", numbers([2, 0], 4), 1.into(), true),
                sample("empty beside", numbers([0, 2], 5), 1.into(), false),
                sample("scalar", numbers((), 6), 0.into(), false),
            ]
        },
    },
    OpSpec {
        name: "cumsum",
        samples: || {
            let sample =
                |label, x: Tensor, axis: isize| Sample::new(label, vec![x], move |x: &[Tensor]| x[0].cumsum(axis));
            vec![
                sample("last", numbers([3, 4], 1), -1),
                sample("first", numbers([3, 4], 2), 0),
                sample("middle", numbers([2, 3, 2], 3), 1),
                sample("scalar", numbers((), 4), 0),
                sample("empty", numbers([0, 3], 5), 0),
                sample("integers", indices([6], 9, 6), 0).order(0),
            ]
        },
    },
];
