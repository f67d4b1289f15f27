//! Shapes, axes and broadcasting: sizes only, no data.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::sizes::Sizes;

/// The sizes of a tensor's dimensions, outermost first. `[]` is a scalar.
///
/// ```
/// use gabor_tensor::{Shape, Tensor};
/// let x = Tensor::zeros((2, 3))?;
/// assert_eq!(x.shape(), &Shape::from([2, 3]));
/// assert_eq!(x.shape().numel(), 6);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub(crate) Sizes);

impl Shape {
    /// The number of elements; 1 for a scalar.
    pub fn numel(&self) -> usize {
        // Wraps only beside a 0, which makes the product right again: other shapes are checked when they are made.
        self.0.iter().fold(1, |n: usize, &size| n.wrapping_mul(size))
    }

    /// The number of elements, or an error if it (or its size in bytes) overflows.
    #[inline]
    pub(crate) fn checked_numel(&self, op: &'static str) -> Result<usize> {
        match self.0.small_product() {
            Some(numel) => Ok(numel),
            None => self.large_numel(op),
        }
    }

    #[inline(never)]
    fn large_numel(&self, op: &'static str) -> Result<usize> {
        // Beside a 0 the other sizes must not overflow either: products of some of them are taken everywhere.
        let (mut numel, mut bound, mut fits) = (1usize, 1usize, true);
        for &size in &self.0 {
            let (product, overflow) = bound.overflowing_mul(size.max(1));
            (bound, fits) = (product, fits & !overflow);
            numel = numel.wrapping_mul(size);
        }
        if fits && bound <= isize::MAX as usize / 16 { Ok(numel) } else { Err(self.too_large(op)) }
    }

    #[cold]
    fn too_large(&self, op: &'static str) -> Error {
        Error::TooLarge { op, shape: self.to_vec() }
    }

    /// Strides of a contiguous row-major tensor of this shape, in elements.
    #[inline]
    pub(crate) fn strides(&self) -> Sizes {
        self.0.strides()
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0[..])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0[..])
    }
}

impl PartialEq<[usize]> for Shape {
    fn eq(&self, other: &[usize]) -> bool {
        self.0[..] == *other
    }
}

impl<const N: usize> PartialEq<[usize; N]> for Shape {
    fn eq(&self, other: &[usize; N]) -> bool {
        self.0[..] == other[..]
    }
}

impl From<()> for Shape {
    fn from((): ()) -> Self {
        Shape::default()
    }
}

impl From<usize> for Shape {
    fn from(size: usize) -> Self {
        Shape(Sizes::from_slice(&[size]))
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Shape(Sizes::from_slice(&sizes))
    }
}

impl<const N: usize> From<&[usize; N]> for Shape {
    fn from(sizes: &[usize; N]) -> Self {
        Shape(Sizes::from_slice(sizes))
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Shape(Sizes::from_slice(sizes))
    }
}

impl From<Vec<usize>> for Shape {
    fn from(sizes: Vec<usize>) -> Self {
        Shape(Sizes::from_slice(&sizes))
    }
}

impl From<&Vec<usize>> for Shape {
    fn from(sizes: &Vec<usize>) -> Self {
        Shape(Sizes::from_slice(sizes))
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        shape.clone()
    }
}

macro_rules! shape_of_tuple {
    ($($name:ident: $t:ty),+) => {
        impl From<($($t,)+)> for Shape {
            fn from(($($name,)+): ($($t,)+)) -> Self {
                Shape(Sizes::from_slice(&[$($name),+]))
            }
        }
    };
}
shape_of_tuple!(a: usize);
shape_of_tuple!(a: usize, b: usize);
shape_of_tuple!(a: usize, b: usize, c: usize);
shape_of_tuple!(a: usize, b: usize, c: usize, d: usize);
shape_of_tuple!(a: usize, b: usize, c: usize, d: usize, e: usize);
shape_of_tuple!(a: usize, b: usize, c: usize, d: usize, e: usize, f: usize);

/// A pair of sizes for the height and the width: an integer stands for both.
///
/// ```
/// use gabor_tensor::Pair;
/// assert_eq!(Pair::from(3), Pair::from((3, 3)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Along the height.
    pub h: usize,
    /// Along the width.
    pub w: usize,
}

impl From<usize> for Pair {
    fn from(size: usize) -> Self {
        Pair { h: size, w: size }
    }
}

impl From<(usize, usize)> for Pair {
    fn from((h, w): (usize, usize)) -> Self {
        Pair { h, w }
    }
}

impl From<[usize; 2]> for Pair {
    fn from([h, w]: [usize; 2]) -> Self {
        Pair { h, w }
    }
}

impl Pair {
    /// Refuses a 0 in the argument `name` of a window.
    ///
    /// ```
    /// use gabor_tensor::Pair;
    /// let error = Pair::from((0, 2)).at_least_one("conv2d", "stride").unwrap_err();
    /// assert_eq!(error.to_string(), "conv2d: stride is (0, 2); it must be at least 1");
    /// ```
    ///
    /// # Errors
    /// One of the two is 0.
    #[inline]
    pub fn at_least_one(self, op: &'static str, name: &str) -> Result<()> {
        if self.h > 0 && self.w > 0 { Ok(()) } else { Err(self.holds_zero(op, name)) }
    }

    #[cold]
    fn holds_zero(self, op: &'static str, name: &str) -> Error {
        let hint = match name {
            "dilation" => ", which means no gaps",
            "stride" if op.contains("pool") => "; left out, it is the kernel size",
            _ => "",
        };
        Error::argument(op, format!("{name} is {self}; it must be at least 1{hint}"))
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.h == self.w { write!(f, "{}", self.h) } else { write!(f, "({}, {})", self.h, self.w) }
    }
}

/// Which axes an operation works on: one, several, or all. Negative ones count from the end.
///
/// ```
/// use gabor_tensor::Tensor;
/// let x = Tensor::ones([2, 3, 4])?;
/// assert_eq!(x.sum_dim(-1, false)?.shape(), &[2, 3]);
/// assert_eq!(x.sum_dim([0, 2], true)?.shape(), &[1, 3, 1]);
/// assert_eq!(x.sum_dim((), false)?.item()?, 24.0);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axes(Option<SmallVec<[isize; 6]>>);

impl Axes {
    /// All axes.
    pub const ALL: Axes = Axes(None);

    /// The axes of a tensor of `rank` dimensions as a mask; each may be named once.
    pub(crate) fn mask(&self, op: &'static str, rank: usize) -> Result<SmallVec<[bool; 6]>> {
        let Some(axes) = &self.0 else { return Ok(SmallVec::from_elem(true, rank)) };
        let mut mask: SmallVec<[bool; 6]> = SmallVec::from_elem(false, rank);
        for &axis in axes {
            let at = axis_of(op, axis, rank)?;
            // A scalar has no dimension to mark: axes 0 and -1 of it mean itself.
            if rank > 0 && std::mem::replace(&mut mask[at], true) {
                return Err(Error::argument(op, format!("dimension {at} appears more than once in {axes:?}")));
            }
        }
        Ok(mask)
    }

    /// Whether a reduction is over all axes, for which an empty list stands too.
    pub(crate) fn are_all(&self) -> bool {
        self.0.as_ref().is_none_or(|axes| axes.is_empty())
    }

    /// As [`mask`](Self::mask) for a reduction.
    pub(crate) fn reduced(&self, op: &'static str, rank: usize) -> Result<SmallVec<[bool; 6]>> {
        if self.are_all() { Axes::ALL.mask(op, rank) } else { self.mask(op, rank) }
    }

    /// The axes in the order given, or all of them.
    pub(crate) fn list(&self, op: &'static str, rank: usize) -> Result<SmallVec<[usize; 6]>> {
        match &self.0 {
            None => Ok((0..rank).collect()),
            Some(axes) => axes.iter().map(|&axis| axis_of(op, axis, rank)).collect(),
        }
    }
}

impl From<()> for Axes {
    fn from((): ()) -> Self {
        Axes::ALL
    }
}

impl From<std::ops::RangeFull> for Axes {
    fn from(_: std::ops::RangeFull) -> Self {
        Axes::ALL
    }
}

impl From<isize> for Axes {
    fn from(axis: isize) -> Self {
        Axes(Some(SmallVec::from_slice(&[axis])))
    }
}

impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Self {
        Axes(Some(SmallVec::from_slice(&axes)))
    }
}

impl From<&[isize]> for Axes {
    fn from(axes: &[isize]) -> Self {
        Axes(Some(SmallVec::from_slice(axes)))
    }
}

impl From<Vec<isize>> for Axes {
    fn from(axes: Vec<isize>) -> Self {
        Axes(Some(SmallVec::from_vec(axes)))
    }
}

/// The axis counted from the front; a scalar takes 0 and -1, as in PyTorch.
pub(crate) fn axis_of(op: &'static str, axis: isize, rank: usize) -> Result<usize> {
    let n = rank.max(1) as isize;
    if (-n..n).contains(&axis) {
        Ok(if axis < 0 { axis + n } else { axis } as usize)
    } else {
        Err(Error::Axis { op, axis, rank })
    }
}

/// The common shape of two operands: sizes are equal or one of them is 1, aligned at the end.
pub(crate) fn broadcast(op: &'static str, lhs: &Shape, rhs: &Shape) -> Result<Shape> {
    if lhs == rhs {
        return Ok(lhs.clone());
    }
    let (long, short) = if lhs.len() >= rhs.len() { (lhs, rhs) } else { (rhs, lhs) };
    let mut shape = long.clone();
    let skip = long.len() - short.len();
    for (size, &other) in shape.0[skip..].iter_mut().zip(short.iter()) {
        if *size == 1 {
            *size = other;
        } else if other != 1 && other != *size {
            return Err(Error::Broadcast { op, lhs: lhs.to_vec(), rhs: rhs.to_vec() });
        }
    }
    Ok(shape)
}
