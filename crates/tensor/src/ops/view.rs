//! Views: other shapes, orders and parts of the same memory. Each family holds its own adjoint:
//! reshape ↔ reshape, permute ↔ inverse permute, expand ↔ sum, slice ↔ embed.

use smallvec::SmallVec;

use crate::dtype::{Element, dispatch};
use crate::error::{Error, Result};
use crate::layout::{Layout, Reshape, clamp_range};
use crate::shape::{Axes, Shape, axis_of};
use crate::tape::{Cx, Grads, Rule, Tensor, attach, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::{Value, copy_into};

impl Tensor {
    #[track_caller]
    fn reshaped(&self, shape: &Shape) -> Result<Tensor> {
        if shape == self.shape() {
            return Ok(self.clone());
        }
        let value = match self.value.layout.reshape(shape) {
            Some(layout) => self.value.with_layout(layout),
            None => {
                let copy = self.value.copy()?;
                copy.with_layout(Layout::contiguous(shape.clone()))
            }
        };
        record(value, &[self], || ReshapeRule { from: self.shape().clone() })
    }

    /// The same elements in another shape; one size may be -1. Copies only if the strides leave no other way.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::arange(0i64, 6, 1)?;
    /// assert_eq!(x.reshape([2, -1])?.shape(), &[2, 3]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Reshape>) -> Result<Tensor> {
        self.reshaped(&shape.into().resolve("reshape", self.shape())?)
    }

    /// As [`reshape`](Self::reshape), but never a copy.
    ///
    /// # Errors
    /// The number of elements differs, or the strides do not allow a view.
    #[track_caller]
    pub fn view(&self, shape: impl Into<Reshape>) -> Result<Tensor> {
        let shape = shape.into().resolve("view", self.shape())?;
        if self.value.layout.reshape(&shape).is_none() {
            let message = format!(
                "shape {:?} with strides {:?} cannot be seen as {shape:?} without a copy; use reshape",
                self.shape(),
                self.strides()
            );
            return Err(Error::shape("view", message));
        }
        self.reshaped(&shape)
    }

    /// Merges the dimensions from `start` to `end`, both included, into one.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([8, 16, 5, 5])?.flatten(1, -1)?.shape(), &[8, 400]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis is out of range, or `start` lies behind `end`.
    #[track_caller]
    pub fn flatten(&self, start: isize, end: isize) -> Result<Tensor> {
        let (a, b) = (axis_of("flatten", start, self.rank())?, axis_of("flatten", end, self.rank())?);
        if a > b {
            return Err(Error::argument(
                "flatten",
                format!("start {start} lies behind end {end} in {:?}", self.shape()),
            ));
        }
        if self.rank() == 0 {
            return self.reshaped(&Shape::from([1]));
        }
        let dims = self.dims();
        let mut shape: Vec<usize> = dims[..a].to_vec();
        shape.push(dims[a..=b].iter().product());
        shape.extend(&dims[b + 1..]);
        self.reshaped(&Shape::from(shape))
    }

    /// The dimensions in another order.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([2, 3, 4])?.permute([2, 0, -2])?.shape(), &[4, 2, 3]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `axes` does not name each dimension once.
    #[track_caller]
    pub fn permute(&self, axes: impl Into<Axes>) -> Result<Tensor> {
        let axes = axes.into();
        let order = axes.list("permute", self.rank())?;
        axes.mask("permute", self.rank())?;
        if order.len() != self.rank() {
            return Err(Error::shape(
                "permute",
                format!("{} axes for the {} dimensions of {:?}", order.len(), self.rank(), self.shape()),
            ));
        }
        Ok(self.permuted(&order))
    }

    #[track_caller]
    fn permuted(&self, order: &[usize]) -> Tensor {
        let value = self.value.with_layout(self.value.layout.permute(order));
        attach(value, &[self], || Permute { order: SmallVec::from_slice(order) })
    }

    /// Exchanges two dimensions.
    ///
    /// # Errors
    /// An axis is out of range.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (axis_of("transpose", a, self.rank())?, axis_of("transpose", b, self.rank())?);
        if a == b {
            return Ok(self.clone());
        }
        let mut order: SmallVec<[usize; 6]> = (0..self.rank()).collect();
        order.swap(a, b);
        Ok(self.permuted(&order))
    }

    /// The transpose of a matrix; vectors and scalars stay as they are.
    ///
    /// # Errors
    /// There are more than two dimensions.
    #[track_caller]
    pub fn t(&self) -> Result<Tensor> {
        match self.rank() {
            0 | 1 => Ok(self.clone()),
            2 => self.transpose(0, 1),
            _ => Err(Error::shape("t", format!("needs at most 2 dimensions, got {:?}; use transpose", self.shape()))),
        }
    }

    /// Repeats dimensions of size 1, and adds leading ones, without a copy; -1 keeps a size as it is.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1i64], [2]])?.expand([-1, 3])?;
    /// assert_eq!(x.to_vec::<i64>()?, [1, 1, 1, 2, 2, 2]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// A dimension that is not 1 differs, the new shape has fewer dimensions, or -1 stands for a new dimension.
    #[track_caller]
    pub fn expand(&self, shape: impl Into<Reshape>) -> Result<Tensor> {
        let wanted = shape.into().0;
        let fail = |why: &str| {
            Error::shape("expand", format!("{:?} cannot be expanded to {:?}; {why}", self.shape(), &wanted[..]))
        };
        let lead = wanted.len().checked_sub(self.rank()).ok_or_else(|| fail("it has more dimensions"))?;
        let mut shape = Shape::default();
        for (axis, &size) in wanted.iter().enumerate() {
            let from = axis.checked_sub(lead).map(|axis| self.dims()[axis]);
            shape.0.push(match (from, usize::try_from(size)) {
                (Some(from), Err(_)) if size == -1 => from,
                (None, Ok(size)) => size,
                (Some(from), Ok(size)) if from == size || from == 1 => size,
                (None, Err(_)) => return Err(fail("a new dimension needs a size")),
                (Some(_), Err(_)) => return Err(fail("sizes are not negative, except -1 for the same size")),
                (Some(_), Ok(_)) => return Err(fail("only sizes of 1 can be repeated")),
            });
        }
        self.expanded(&shape)
    }

    /// [`expand`](Self::expand) to a shape that is known to fit.
    #[track_caller]
    pub(crate) fn expanded(&self, shape: &Shape) -> Result<Tensor> {
        if shape == self.shape() {
            return Ok(self.clone());
        }
        shape.checked_numel("expand")?;
        let value = self.value.with_layout(self.value.layout.expand(shape));
        record(value, &[self], || Expand { from: self.shape().clone() })
    }

    /// [`expand`](Self::expand) under NumPy's name.
    ///
    /// # Errors
    /// As [`expand`](Self::expand).
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Reshape>) -> Result<Tensor> {
        self.expand(shape)
    }

    /// Sums over what [`expand`](Self::expand) repeated to get from `shape` to this one.
    #[track_caller]
    pub(crate) fn sum_to(&self, shape: &Shape) -> Result<Tensor> {
        let lead = self.rank() - shape.len();
        let axes: Vec<isize> = (0..self.rank())
            .filter(|&a| a < lead || (shape[a - lead] == 1 && self.dims()[a] != 1))
            .map(|a| a as isize)
            .collect();
        if axes.is_empty() { self.reshaped(shape) } else { self.sum_dim(axes, true)?.reshaped(shape) }
    }

    /// `count` positions of `axis` from `start` on, `step` apart; all known to fit.
    #[track_caller]
    pub(crate) fn sliced(&self, axis: usize, start: usize, count: usize, step: usize) -> Tensor {
        let value = self.value.with_layout(self.value.layout.slice(axis, start, count, step));
        attach(value, &[self], || Slice { axis, start, step, size: self.dims()[axis] })
    }

    /// `len` positions of an axis from `start` on, which may count from the end.
    ///
    /// # Errors
    /// The axis or a position is out of range.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: isize, len: usize) -> Result<Tensor> {
        let at = axis_of("narrow", axis, self.rank())?;
        let size = *self.dims().get(at).ok_or(Error::Axis { op: "narrow", axis, rank: 0 })?;
        let from = if start < 0 { start.saturating_add(size as isize) } else { start };
        if from < 0 || (from as usize).checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::argument(
                "narrow",
                format!("positions {start} to {start} + {len} do not fit in dimension {at} of size {size}"),
            ));
        }
        Ok(self.sliced(at, from as usize, len, 1))
    }

    /// Every `step`-th position of an axis from `start` up to, without, `end`; bounds are clamped as in Python.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::arange(0i64, 10, 1)?.slice(0, 1, Some(-1), 3)?.to_vec::<i64>()?, [1, 4, 7]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range or `step` is 0.
    #[track_caller]
    pub fn slice(&self, axis: isize, start: isize, end: Option<isize>, step: usize) -> Result<Tensor> {
        let at = axis_of("slice", axis, self.rank())?;
        let size = *self.dims().get(at).ok_or(Error::Axis { op: "slice", axis, rank: 0 })?;
        if step == 0 {
            return Err(Error::argument("slice", "step is 0; it must be at least 1"));
        }
        let (start, len) = clamp_range(start, end, size);
        Ok(self.sliced(at, start, len.div_ceil(step), step))
    }

    /// One position of an axis, which disappears. Negative positions count from the end.
    ///
    /// # Errors
    /// The axis or the position is out of range.
    #[track_caller]
    pub fn select(&self, axis: isize, index: isize) -> Result<Tensor> {
        let at = axis_of("select", axis, self.rank())?;
        let size = *self.dims().get(at).ok_or(Error::Axis { op: "select", axis, rank: 0 })?;
        let position = if index < 0 { index.saturating_add(size as isize) } else { index };
        if position < 0 || position as usize >= size {
            return Err(Error::Index { op: "select", index: index as i64, axis: at, size });
        }
        let row = self.sliced(at, position as usize, 1, 1);
        let value = row.value.with_layout(row.value.layout.remove(at));
        record(value, &[&row], || ReshapeRule { from: row.shape().clone() })
    }

    /// Removes dimensions of size 1: all of them with `()`, or those named (others than 1 stay).
    ///
    /// # Errors
    /// An axis is out of range or named twice.
    #[track_caller]
    pub fn squeeze(&self, axes: impl Into<Axes>) -> Result<Tensor> {
        let mask = axes.into().mask("squeeze", self.rank())?;
        let kept = self.dims().iter().zip(&mask).filter(|&(&size, &named)| !(named && size == 1));
        self.reshaped(&Shape(kept.map(|(&size, _)| size).collect()))
    }

    /// Adds a dimension of size 1 before `axis`; -1 adds it at the end.
    ///
    /// # Errors
    /// The axis is out of range.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Result<Tensor> {
        let at = axis_of("unsqueeze", axis, self.rank() + 1)?;
        let value = self.value.with_layout(self.value.layout.insert(at));
        record(value, &[self], || ReshapeRule { from: self.shape().clone() })
    }

    /// Windows of `size` along an axis, `step` apart: the axis counts the windows, a new last axis lies inside of them.
    /// PyTorch: `Tensor.unfold`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::arange(0i64, 5, 1)?.unfold_dim(0, 3, 2)?;
    /// assert_eq!((x.dims(), x.to_vec::<i64>()?), (&[2, 3][..], vec![0, 1, 2, 2, 3, 4]));
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range, `size` is larger than it, or `step` is 0.
    #[track_caller]
    pub fn unfold_dim(&self, axis: isize, size: usize, step: usize) -> Result<Tensor> {
        let at = axis_of("unfold", axis, self.rank())?;
        if self.rank() == 0 {
            return self.unsqueeze(0)?.unfold_dim(0, size, step)?.select(0, 0);
        }
        let length = *self.dims().get(at).ok_or(Error::Axis { op: "unfold", axis, rank: 0 })?;
        if size > length || step == 0 {
            let message = format!("windows of {size} in steps of {step} do not fit in dimension {at} of size {length}");
            return Err(Error::argument("unfold", message));
        }
        let value = self.value.with_layout(self.value.layout.windows(at, size, step));
        record(value, &[self], || Unfold { axis: at, step, length })
    }

    /// The same elements in row-major order; copies only if they are not.
    ///
    /// # Errors
    /// The copy does not fit in memory.
    #[track_caller]
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() {
            return Ok(self.clone());
        }
        record(self.value.copy()?, &[self], || ReshapeRule { from: self.shape().clone() })
    }
}

#[derive(Debug)]
struct ReshapeRule {
    from: Shape,
}
impl Rule for ReshapeRule {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.reshaped(&self.from)])
    }
}

#[derive(Debug)]
struct Permute {
    order: SmallVec<[usize; 6]>,
}
impl Rule for Permute {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let mut inverse: SmallVec<[usize; 6]> = SmallVec::from_elem(0, self.order.len());
        for (to, &from) in self.order.iter().enumerate() {
            inverse[from] = to;
        }
        cx.each([&|| Ok(g.permuted(&inverse))])
    }
}

#[derive(Debug)]
struct Expand {
    from: Shape,
}
impl Rule for Expand {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.sum_to(&self.from)])
    }
}

#[derive(Debug)]
struct Slice {
    axis: usize,
    start: usize,
    step: usize,
    size: usize,
}
impl Rule for Slice {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| embed(g, self.axis, self.start, self.step, self.size)])
    }
}

/// The adjoint of a slice: zeros along `axis` to `size`, with `x` at the positions that the slice took.
#[track_caller]
pub(super) fn embed(x: &Tensor, axis: usize, start: usize, step: usize, size: usize) -> Result<Tensor> {
    let count = x.dims()[axis];
    let mut shape = x.shape().clone();
    shape.0[axis] = size;
    let value = dispatch!(x.dtype(), T => embedded::<T>(x, &shape, axis, start, step)?);
    record(value, &[x], || Embed { axis, start, step, count })
}

fn embedded<T: Element>(x: &Tensor, shape: &Shape, axis: usize, start: usize, step: usize) -> Result<Value> {
    let (source, part) =
        (x.value.contiguous()?, Layout::contiguous(shape.clone()).slice(axis, start, x.dims()[axis], step));
    Value::build("slice", shape, |y: &mut [T]| {
        y.fill(T::default());
        copy_into(source.slice::<T>(), y, &part);
    })
}

#[derive(Debug)]
struct Embed {
    axis: usize,
    start: usize,
    step: usize,
    count: usize,
}
impl Rule for Embed {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| Ok(g.sliced(self.axis, self.start, self.count, self.step))])
    }
}

#[derive(Debug)]
struct Unfold {
    axis: usize,
    step: usize,
    length: usize,
}
impl Rule for Unfold {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        // Position i of every window goes back to where it was taken: a slice for each i.
        cx.each([&|| {
            let size = g.dims()[g.rank() - 1];
            let place = |i: usize| embed(&g.select(-1, i as isize)?, self.axis, i, self.step, self.length);
            if size == 0 {
                return embed(&g.sum_dim(-1, false)?.sliced(self.axis, 0, 0, 1), self.axis, 0, 1, self.length);
            }
            (1..size).try_fold(place(0)?, |sum, i| sum.add(&place(i)?))
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec {
        name: "reshape",
        samples: || {
            vec![
                case("merge and split", numbers([2, 6], 1), |x| x.reshape([3, -1])),
                case("transposed", numbers([3, 4], 2), |x| x.t()?.reshape([2, 6])),
                case("to a scalar", numbers([1, 1], 3), |x| x.reshape(())),
                case("empty", numbers([0, 3], 4), |x| x.reshape([3, 0])),
                case("integers", indices([6], 9, 5), |x| x.reshape([2, 3])).order(0),
            ]
        },
    },
    OpSpec {
        name: "view",
        samples: || {
            vec![
                case("split", numbers([6, 2], 1), |x| x.view([2, 3, 2])),
                case("scalar", numbers((), 2), |x| x.view([1, 1])),
                case("empty", numbers([0, 3], 3), |x| x.view([3, 0])),
            ]
        },
    },
    OpSpec {
        name: "flatten",
        samples: || {
            vec![
                case("all", numbers([2, 3, 2], 1), |x| x.flatten(0, -1)),
                case("inner", numbers([2, 3, 2], 2), |x| x.flatten(1, 2)),
                case("scalar", numbers((), 3), |x| x.flatten(0, -1)),
                case("empty", numbers([0, 3], 4), |x| x.flatten(0, 1)),
            ]
        },
    },
    OpSpec {
        name: "permute",
        samples: || {
            vec![
                case("turn", numbers([2, 3, 4], 1), |x| x.permute([2, 0, -2])),
                case("transpose", numbers([2, 3], 2), |x| x.transpose(0, -1)),
                case("t", numbers([2, 3], 3), Tensor::t),
                case("scalar", numbers((), 4), |x| x.permute(Vec::new())),
                case("contiguous", numbers([2, 3], 5), |x| x.t()?.contiguous()),
            ]
        },
    },
    OpSpec {
        name: "expand",
        samples: || {
            vec![
                case("column", numbers([3, 1], 1), |x| x.expand([3, 4])),
                case("more dimensions", numbers([3], 2), |x| x.expand([2, 2, 3])),
                case("scalar", numbers((), 3), |x| x.expand([2, 3])),
                case("to nothing", numbers([1, 2], 4), |x| x.expand([0, 2])),
            ]
        },
    },
    OpSpec {
        name: "slice",
        samples: || {
            vec![
                case("steps", numbers([7, 2], 1), |x| x.slice(0, 1, Some(-1), 2)),
                case("narrow", numbers([3, 5], 2), |x| x.narrow(-1, -3, 2)),
                case("select", numbers([3, 4], 3), |x| x.select(0, -1)),
                case("nothing", numbers([3, 4], 4), |x| x.slice(1, 3, Some(1), 1)),
                case("index", numbers([3, 4, 2], 5), |x| x.i((1, 1..3))),
            ]
        },
    },
    OpSpec {
        name: "squeeze",
        samples: || {
            vec![
                case("all", numbers([1, 3, 1], 1), |x| x.squeeze(())),
                case("one", numbers([1, 3, 1], 2), |x| x.squeeze(-1)),
                case("not of size 1", numbers([1, 3], 3), |x| x.squeeze(1)),
                case("unsqueeze", numbers([2, 3], 4), |x| x.unsqueeze(1)),
                case("unsqueeze a scalar", numbers((), 5), |x| x.unsqueeze(-1)),
            ]
        },
    },
    OpSpec {
        name: "unfold_dim",
        samples: || {
            vec![
                case("overlapping", numbers([7], 1), |x| x.unfold_dim(0, 3, 2)),
                case("gaps", numbers([2, 7], 2), |x| x.unfold_dim(1, 2, 3)),
                case("outer", numbers([4, 2], 3), |x| x.unfold_dim(0, 2, 1)),
                case("whole", numbers([3], 4), |x| x.unfold_dim(-1, 3, 1)),
                case("windows of nothing", numbers([2, 3], 6), |x| x.unfold_dim(1, 0, 1)),
                case("windows of nothing in nothing", numbers([2, 0], 7), |x| x.unfold_dim(1, 0, 1)),
                case("twice", numbers([3, 4], 5), |x| x.unfold_dim(0, 2, 1)?.unfold_dim(1, 2, 1)),
            ]
        },
    },
];

#[cfg(any(test, feature = "testing"))]
fn case(label: &'static str, x: Tensor, f: fn(&Tensor) -> Result<Tensor>) -> Sample {
    Sample::new(label, vec![x], move |x: &[Tensor]| f(&x[0]))
}
