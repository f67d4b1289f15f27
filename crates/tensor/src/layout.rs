//! Layout: shape, strides and offset. Pure arithmetic; views are made here and nowhere else.

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::sizes::Sizes;

/// Where the elements of a tensor lie in its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) shape: Shape,
    /// Distance of neighbours along each axis, in elements; 0 repeats one element.
    pub(crate) strides: Sizes,
    pub(crate) offset: usize,
}

impl Layout {
    #[inline]
    pub(crate) fn contiguous(shape: Shape) -> Self {
        let strides = shape.strides();
        Layout { shape, strides, offset: 0 }
    }

    /// Row-major without gaps, wherever it starts. Dimensions of size 1 may have any stride.
    pub(crate) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size == 0 {
                return true;
            }
            if size != 1 {
                if stride != expected {
                    return false;
                }
                expected *= size;
            }
        }
        true
    }

    pub(crate) fn numel(&self) -> usize {
        self.shape.numel()
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// `axes` is a permutation of all axes.
    pub(crate) fn permute(&self, axes: &[usize]) -> Layout {
        Layout {
            shape: Shape(axes.iter().map(|&a| self.shape[a]).collect()),
            strides: axes.iter().map(|&a| self.strides[a]).collect(),
            offset: self.offset,
        }
    }

    /// Repeats dimensions of size 1 and adds leading ones; the shapes are known to fit.
    pub(crate) fn expand(&self, shape: &Shape) -> Layout {
        let lead = shape.len() - self.rank();
        let mut strides = Sizes::from_elem(0, shape.len());
        for (axis, (&size, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            strides[lead + axis] = if size == shape[lead + axis] { stride } else { 0 };
        }
        Layout { shape: shape.clone(), strides, offset: self.offset }
    }

    /// Every `step`-th of `count` elements of an axis from `start` on; the range is known to fit.
    pub(crate) fn slice(&self, axis: usize, start: usize, count: usize, step: usize) -> Layout {
        let mut layout = self.clone();
        layout.shape.0[axis] = count;
        // Nothing lies behind an empty tensor, so no offset may point past its start.
        if layout.numel() > 0 {
            layout.offset += start * self.strides[axis];
        }
        layout.strides[axis] = self.strides[axis].saturating_mul(step);
        layout
    }

    pub(crate) fn remove(&self, axis: usize) -> Layout {
        let mut layout = self.clone();
        layout.shape.0.remove(axis);
        layout.strides.remove(axis);
        layout
    }

    pub(crate) fn insert(&self, axis: usize) -> Layout {
        let mut layout = self.clone();
        let stride = if axis < self.rank() { self.strides[axis].saturating_mul(self.shape[axis].max(1)) } else { 1 };
        layout.shape.0.insert(axis, 1);
        layout.strides.insert(axis, stride);
        layout
    }

    /// Windows of `size` along an axis, `step` apart: the axis counts windows, a new last axis lies inside of them.
    pub(crate) fn windows(&self, axis: usize, size: usize, step: usize) -> Layout {
        let mut layout = self.clone();
        layout.shape.0[axis] = (self.shape[axis] - size) / step + 1;
        layout.strides[axis] = self.strides[axis].saturating_mul(step);
        layout.shape.0.push(size);
        layout.strides.push(self.strides[axis]);
        layout
    }

    /// The same elements in another shape without a copy, if the strides allow it. Element counts are known to agree.
    pub(crate) fn reshape(&self, shape: &Shape) -> Option<Layout> {
        if self.numel() == 0 || self.is_contiguous() {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(shape.clone()) });
        }
        // Merge old dimensions that are contiguous with each other, then cut each merged block into new dimensions.
        let mut blocks: SmallVec<[(usize, usize); 6]> = SmallVec::new(); // (size, stride of its last element)
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            if size == 1 {
                continue;
            }
            match blocks.last_mut() {
                Some((n, s)) if *s == size * stride => (*n, *s) = (*n * size, stride),
                _ => blocks.push((size, stride)),
            }
        }
        let mut strides = Sizes::from_elem(1, shape.len());
        let mut axis = shape.len();
        for &(mut size, mut stride) in blocks.iter().rev() {
            while size > 1 {
                axis = axis.checked_sub(1)?;
                strides[axis] = stride;
                if size % shape[axis] != 0 {
                    return None;
                }
                size /= shape[axis];
                stride *= shape[axis];
            }
        }
        Some(Layout { shape: shape.clone(), strides, offset: self.offset })
    }
}

/// A shape for [`reshape`](crate::Tensor::reshape) and [`expand`](crate::Tensor::expand), in which one size may be -1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape(pub(crate) SmallVec<[isize; 6]>);

impl Reshape {
    /// The sizes for `numel` elements, with the -1 worked out.
    pub(crate) fn resolve(&self, op: &'static str, from: &Shape) -> Result<Shape> {
        let numel = from.numel();
        let fail =
            |why: &str| Error::shape(op, format!("{numel} elements ({from:?}) cannot fill {:?}{why}", &self.0[..]));
        let (mut known, mut hole) = (1usize, None);
        let mut sizes = Sizes::new();
        for (axis, &size) in self.0.iter().enumerate() {
            if size == -1 && hole.replace(axis).is_none() {
                sizes.push(1);
            } else if size < 0 {
                return Err(fail(if size == -1 { "; only one size may be -1" } else { "; sizes are not negative" }));
            } else {
                sizes.push(size as usize);
            }
        }
        let given = Shape(sizes);
        known *= given.checked_numel(op)?;
        let mut shape = given;
        if let Some(axis) = hole {
            if known == 0 || !numel.is_multiple_of(known) {
                return Err(fail(if known == 0 { "; -1 is ambiguous beside a size of 0" } else { "" }));
            }
            shape.0[axis] = numel / known;
        } else if known != numel {
            return Err(fail(&format!(" ({known})")));
        }
        Ok(shape)
    }
}

impl<const N: usize> From<[isize; N]> for Reshape {
    fn from(sizes: [isize; N]) -> Self {
        Reshape(SmallVec::from_slice(&sizes))
    }
}

impl From<&[isize]> for Reshape {
    fn from(sizes: &[isize]) -> Self {
        Reshape(SmallVec::from_slice(sizes))
    }
}

impl From<&[usize]> for Reshape {
    fn from(sizes: &[usize]) -> Self {
        Reshape::from(&Shape::from(sizes))
    }
}

impl From<Vec<isize>> for Reshape {
    fn from(sizes: Vec<isize>) -> Self {
        Reshape(SmallVec::from_vec(sizes))
    }
}

impl From<&Shape> for Reshape {
    fn from(shape: &Shape) -> Self {
        Reshape(shape.iter().map(|&n| isize::try_from(n).unwrap_or(isize::MAX)).collect())
    }
}

impl From<Shape> for Reshape {
    fn from(shape: Shape) -> Self {
        Reshape::from(&shape)
    }
}

macro_rules! tuples {
    ($(($($t:ty),+)),+) => { $(
        impl From<($($t,)+)> for Reshape {
            fn from(sizes: ($($t,)+)) -> Self {
                Reshape::from(Shape::from(sizes))
            }
        }
    )+ };
}
tuples!((usize, usize), (usize, usize, usize), (usize, usize, usize, usize));

impl From<isize> for Reshape {
    fn from(size: isize) -> Self {
        Reshape(SmallVec::from_slice(&[size]))
    }
}

impl From<()> for Reshape {
    fn from((): ()) -> Self {
        Reshape(SmallVec::new())
    }
}

/// The start and length of a range on an axis of `size`, clamped as Python clamps slices.
pub(crate) fn clamp_range(start: isize, end: Option<isize>, size: usize) -> (usize, usize) {
    let place = |v: isize| {
        let n = size as isize;
        (if v < 0 { v.saturating_add(n).max(0) } else { v.min(n) }) as usize
    };
    let (start, end) = (place(start), end.map_or(size, place));
    (start, end.saturating_sub(start))
}
