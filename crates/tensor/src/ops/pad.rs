//! Margins around a tensor: a constant, or the tensor's own elements mirrored, repeated or wrapped.
//!
//! A constant margin is the adjoint of slicing. The other modes pick positions along one axis after the other by
//! `index_select`, whose adjoint adds back what was picked more than once.

use crate::dtype::{Element, dispatch};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::shape::Shape;
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::{Value, copy_into};

/// What [`Tensor::pad`] fills margins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// A number.
    Constant(f64),
    /// The tensor mirrored at its edge, without the edge itself.
    Reflect,
    /// The element at the edge.
    Replicate,
    /// The tensor from its other end.
    Circular,
}

/// The padding of one axis: positions added before and after it; negative ones are taken away.
#[derive(Clone, Copy, Debug)]
struct Margin {
    axis: usize,
    before: isize,
    after: isize,
    /// Of the result.
    size: usize,
}

impl Tensor {
    /// Adds margins; `pad` holds a pair (before, after) for each axis from the last one backwards, and negative numbers cut
    /// off. PyTorch: `F.pad(x, pad, mode, value)`.
    ///
    /// A constant goes around any number of axes. The other modes go around the last one, two or three axes, with one or two
    /// axes before them.
    ///
    /// ```
    /// use gabor_tensor::{PadMode, Tensor};
    /// let x = Tensor::new([[1i64, 2, 3]])?;
    /// assert_eq!(x.pad(&[1, -1], PadMode::Constant(0.0))?.to_vec::<i64>()?, [0, 1, 2]);
    /// assert_eq!(x.pad(&[2, 1], PadMode::Reflect)?.to_vec::<i64>()?, [3, 2, 1, 2, 3, 2]);
    /// assert_eq!(x.pad(&[2, 1], PadMode::Replicate)?.to_vec::<i64>()?, [1, 1, 1, 2, 3, 3]);
    /// assert_eq!(x.pad(&[2, 1], PadMode::Circular)?.to_vec::<i64>()?, [2, 3, 1, 2, 3, 1]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `pad` has an odd length or is longer than twice the number of dimensions; more is cut off than there is; a mirrored
    /// margin is not smaller than its axis, or a wrapped one is larger; the constant is not whole beside integers; the result
    /// does not fit in memory.
    #[track_caller]
    pub fn pad(&self, pad: &[isize], mode: PadMode) -> Result<Tensor> {
        let margins = self.margins(pad)?;
        if let PadMode::Constant(value) = mode {
            return self.framed(&margins, value);
        }
        let (axes, rank) = (margins.len(), self.rank());
        if !(1..=3).contains(&axes) || !(axes + 1..=axes + 2).contains(&rank) {
            let message = format!(
                "{mode:?} goes around the last 1 to 3 axes with 1 or 2 before them, got {} numbers for shape {:?}; add a dimension with unsqueeze",
                pad.len(),
                self.shape()
            );
            return Err(Error::shape("pad", message));
        }
        let batch = rank - axes - 1;
        if mode != PadMode::Circular && self.dims()[batch..].contains(&0) {
            let message = format!("only a batch dimension may be 0 with {mode:?}, got shape {:?}", self.shape());
            return Err(Error::shape("pad", message));
        }
        margins.iter().try_fold(self.clone(), |x, &margin| x.extended(margin, mode))
    }

    /// The pairs of `pad` with the sizes they lead to.
    fn margins(&self, pad: &[isize]) -> Result<Vec<Margin>> {
        if !pad.len().is_multiple_of(2) || pad.len() / 2 > self.rank() {
            let message = format!(
                "{} numbers for shape {:?}; give a pair for each axis, at most {}",
                pad.len(),
                self.shape(),
                2 * self.rank()
            );
            return Err(Error::argument("pad", message));
        }
        let margin = |(i, pair): (usize, &[isize])| {
            let axis = self.rank() - 1 - i;
            let (before, after, from) = (pair[0], pair[1], self.dims()[axis]);
            let size = from.checked_add_signed(before).and_then(|n| n.checked_add_signed(after));
            // Both ends together, and each alone, can only lose what is there.
            match size {
                Some(size) if before.saturating_neg() <= from as isize && after.saturating_neg() <= from as isize => {
                    Ok(Margin { axis, before, after, size })
                }
                _ => Err(Error::argument(
                    "pad",
                    format!("({before}, {after}) leaves no valid size of dimension {axis}, which has {from}"),
                )),
            }
        };
        pad.chunks_exact(2).enumerate().map(margin).collect()
    }

    #[track_caller]
    fn framed(&self, margins: &[Margin], value: f64) -> Result<Tensor> {
        let (mut x, mut shape) = (self.clone(), self.shape().clone());
        let mut starts = vec![0; self.rank()];
        for &Margin { axis, before, after, size } in margins {
            shape.0[axis] = size;
            starts[axis] = before.max(0) as usize;
            let (skip, drop) = ((-before).max(0) as usize, (-after).max(0) as usize);
            if skip > 0 || drop > 0 {
                x = x.sliced(axis, skip, (x.dims()[axis] - skip).saturating_sub(drop), 1);
            }
        }
        if x.shape() == &shape {
            return Ok(x);
        }
        // Refuses fractions among integers.
        self.scalar_like(value)?;
        let y = dispatch!(x.dtype(), T => framed::<T>(&x, &starts, &shape, value)?);
        record(y, &[&x], || Framed { starts, sizes: x.shape().clone() })
    }

    #[track_caller]
    fn extended(&self, margin: Margin, mode: PadMode) -> Result<Tensor> {
        let Margin { axis, before, after, size } = margin;
        let from = self.dims()[axis];
        let (n, wide) = (from as isize, before.max(after));
        let refuse = |rule: &str| {
            Err(Error::argument("pad", format!("({before}, {after}) for dimension {axis} of size {from}; {rule}")))
        };
        match mode {
            PadMode::Reflect if wide >= n => return refuse("a mirrored margin must be smaller than the dimension"),
            PadMode::Circular if wide > n => return refuse("a wrapped margin must not be larger than the dimension"),
            PadMode::Reflect | PadMode::Replicate if size == 0 => return refuse("at least one position must be left"),
            _ => {}
        }
        if before == 0 && after == 0 {
            return Ok(self.clone());
        }
        // Wrapping goes around what is left after cutting.
        let first = if mode == PadMode::Circular { (-before).max(0) } else { 0 };
        let left = if mode == PadMode::Circular { n - first - (-after).max(0) } else { n };
        if left <= 0 && size > 0 {
            return refuse("too much is cut off");
        }
        let source = |i: usize| {
            let at = i as isize - before;
            let at = match mode {
                PadMode::Reflect => (if at < 0 { -at } else { at }).min(2 * (n - 1) - at),
                PadMode::Circular => first + (at - first).rem_euclid(left),
                _ => at.clamp(0, n - 1),
            };
            at as i64
        };
        if self.numel() == 0 {
            return self.framed(&[margin], 0.0);
        }
        let mut shape = self.shape().clone();
        shape.0[axis] = size;
        shape.checked_numel("pad")?;
        let index = Value::build("pad", &Shape::from(size), |y: &mut [i64]| {
            y.iter_mut().enumerate().for_each(|(i, y)| *y = source(i));
        })?;
        self.index_select(axis as isize, &Tensor::plain(index))
    }
}

fn framed<T: Element>(x: &Tensor, starts: &[usize], shape: &Shape, value: f64) -> Result<Value> {
    shape.checked_numel("pad")?;
    let source = x.value.contiguous()?;
    let mut part = Layout::contiguous(shape.clone());
    for (axis, &start) in starts.iter().enumerate() {
        part = part.slice(axis, start, x.dims()[axis], 1);
    }
    Value::build("pad", shape, |y: &mut [T]| {
        y.fill(T::of_f64(value));
        if !source.slice::<T>().is_empty() {
            copy_into(source.slice::<T>(), y, &part);
        }
    })
}

#[derive(Debug)]
struct Framed {
    starts: Vec<usize>,
    sizes: Shape,
}
impl Rule for Framed {
    fn name(&self) -> String {
        "pad".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| {
            let cut = |g: Tensor, (axis, (&start, &size)): (usize, (&usize, &usize))| {
                if g.dims()[axis] == size { g } else { g.sliced(axis, start, size, 1) }
            };
            Ok(self.starts.iter().zip(self.sizes.iter()).enumerate().fold(g.clone(), cut))
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[OpSpec {
    name: "pad",
    samples: || {
        use PadMode::{Circular, Constant, Reflect, Replicate};
        let sample = |label, x: Tensor, pad: &'static [isize], mode: PadMode| {
            Sample::new(label, vec![x], move |x: &[Tensor]| x[0].pad(pad, mode))
        };
        vec![
            sample("constant", numbers([2, 3], 1), &[1, 2, 0, 1], Constant(1.5)),
            sample("constant, one axis", numbers([2, 3, 2], 2), &[2, 0], Constant(0.0)),
            sample("constant, cut", numbers([3, 5], 3), &[-1, 2, 1, -1], Constant(-1.0)),
            sample("cut only", numbers([3, 5], 4), &[-1, -2], Constant(0.0)),
            sample("no pair", numbers((), 5), &[], Constant(0.0)),
            sample("constant, empty", numbers([0, 2], 6), &[0, 0, 1, 2], Constant(3.0)),
            sample("constant, integers", indices([4], 9, 7), &[1, 1], Constant(7.0)).order(0),
            sample("reflect", numbers([2, 3, 4], 8), &[2, 3, 1, 0], Reflect),
            sample("reflect, cut", numbers([2, 5], 9), &[-2, 3], Reflect),
            sample("replicate", numbers([2, 2, 3], 10), &[3, 1, 0, 2], Replicate),
            sample("replicate, three axes", numbers([1, 2, 1, 3], 11), &[1, 1, 1, 1, 2, 0], Replicate),
            sample("replicate, empty batch", numbers([0, 2, 3], 12), &[1, 1], Replicate),
            sample("circular", numbers([2, 3, 2], 13), &[2, 1, 0, 3], Circular),
            sample("circular, cut", numbers([1, 5], 14), &[-1, 2], Circular),
            sample("reflect, integers", indices([1, 4], 9, 15), &[1, 1], Reflect).order(0),
        ]
    },
}];
