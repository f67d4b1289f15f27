//! Reversed axes. A flip is its own adjoint.

use kernels::copy::copy_slice;

use super::reduce::around;
use crate::dtype::{Element, dispatch};
use crate::error::Result;
use crate::shape::Axes;
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::Value;

/// The middle of `[outer, n, inner]` in reverse order.
fn reversed<T: Element>(x: &[T], (outer, n, inner): (usize, usize, usize), y: &mut [T]) {
    for o in 0..outer {
        let block = o * n * inner..(o + 1) * n * inner;
        let (x, y) = (&x[block.clone()], &mut y[block]);
        if inner == 1 {
            y.iter_mut().zip(x.iter().rev()).for_each(|(y, &v)| *y = v);
        } else if inner > 0 {
            y.chunks_exact_mut(inner).zip(x.chunks_exact(inner).rev()).for_each(|(y, x)| copy_slice(x, y));
        }
    }
}

impl Tensor {
    /// The elements in reverse order along each of `axes`; `()` names all of them, an empty list none.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1i64, 2], [3, 4]])?;
    /// assert_eq!(x.flip(1)?.to_vec::<i64>()?, [2, 1, 4, 3]);
    /// assert_eq!(x.flip([0, 1])?.to_vec::<i64>()?, [4, 3, 2, 1]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis is out of range or named twice.
    #[track_caller]
    pub fn flip(&self, axes: impl Into<Axes>) -> Result<Tensor> {
        let axes = axes.into();
        let mask = axes.mask("flip", self.rank())?;
        let mut value = self.value.clone();
        for axis in (0..self.rank()).filter(|&a| mask[a] && self.dims()[a] > 1) {
            let (x, geometry) = (value.contiguous()?, around(self.shape(), axis));
            value = dispatch!(self.dtype(), T => {
                Value::build("flip", self.shape(), |y: &mut [T]| reversed(x.slice(), geometry, y))?
            });
        }
        record(value, &[self], || Flip { axes })
    }
}

#[derive(Debug)]
struct Flip {
    axes: Axes,
}
impl Rule for Flip {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.flip(self.axes.clone())])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[OpSpec {
    name: "flip",
    samples: || {
        let sample = |label, x: Tensor, axes: Axes| {
            Sample::new(label, vec![x], move |x: &[Tensor]| x[0].flip(axes.clone())).oracle(|x| Ok(x[0].clone()))
        };
        // The oracle of these two is the tensor itself: nothing is turned.
        let turned = |label, x: Tensor, axes: Axes| Sample { oracle: None, ..sample(label, x, axes) };
        vec![
            turned("last", numbers([3, 4], 1), (-1).into()),
            turned("first and last", numbers([2, 3, 4], 2), [0, 2].into()),
            turned("all", numbers([2, 3], 3), ().into()),
            sample("none", numbers([2, 3], 4), Vec::new().into()),
            sample("scalar", numbers((), 5), 0.into()),
            turned("empty", numbers([0, 3], 6), [0, 1].into()),
            turned("integers", indices([7], 9, 7), 0.into()).order(0),
        ]
    },
}];
