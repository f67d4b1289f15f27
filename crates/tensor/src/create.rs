//! Making tensors: constants, ranges, nested arrays, vectors.

use kernels::buffer::Buffer;

use crate::dtype::{DType, Element, Number, dispatch};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tape::Tensor;
use crate::value::Value;

impl Tensor {
    /// Zeros of type f32.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([2, 2])?.to_vec::<f32>()?, [0.0; 4]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn zeros(shape: impl Into<Shape>) -> Result<Tensor> {
        Tensor::filled("zeros", &shape.into(), 0f32)
    }

    /// Ones of type f32.
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn ones(shape: impl Into<Shape>) -> Result<Tensor> {
        Tensor::filled("ones", &shape.into(), 1f32)
    }

    /// The same value everywhere; the dtype is that of the value.
    ///
    /// ```
    /// use gabor_tensor::{DType, Tensor};
    /// assert_eq!(Tensor::full([3], 0.5f64)?.dtype(), DType::F64);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn full<T: Element>(shape: impl Into<Shape>, value: T) -> Result<Tensor> {
        Tensor::filled("full", &shape.into(), value)
    }

    fn filled<T: Element>(op: &'static str, shape: &Shape, value: T) -> Result<Tensor> {
        Ok(Tensor::plain(Value::full(op, shape, value)?))
    }

    /// The same value everywhere, in the shape and dtype of `self`.
    ///
    /// # Errors
    /// The shape does not fit in memory (`self` may be an expanded view).
    pub fn full_like(&self, value: f64) -> Result<Tensor> {
        Tensor::full_of("full_like", self.shape(), self.dtype(), value)
    }

    /// Zeros in the shape and dtype of `self`.
    ///
    /// # Errors
    /// As [`full_like`](Self::full_like).
    pub fn zeros_like(&self) -> Result<Tensor> {
        self.full_like(0.0)
    }

    /// Ones in the shape and dtype of `self`.
    ///
    /// # Errors
    /// As [`full_like`](Self::full_like).
    pub fn ones_like(&self) -> Result<Tensor> {
        self.full_like(1.0)
    }

    pub(crate) fn full_of(op: &'static str, shape: &Shape, dtype: DType, value: f64) -> Result<Tensor> {
        dispatch!(dtype, T => Tensor::filled(op, shape, <T as Element>::of_f64(value)))
    }

    /// The numbers from `start` up to, without, `end`, `step` apart.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::arange(0i64, 10, 3)?.to_vec::<i64>()?, [0, 3, 6, 9]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// `step` is 0 or leads away from `end`, or a bound is not finite.
    pub fn arange<T: Element + Number>(start: T, end: T, step: T) -> Result<Tensor> {
        let (first, last, by) = (Element::to_f64(start), Element::to_f64(end), Element::to_f64(step));
        let count = ((last - first) / by).ceil();
        if by == 0.0 || count < 0.0 || !count.is_finite() {
            return Err(Error::argument(
                "arange",
                format!("no numbers from {first} to {last} in steps of {by}; the step must lead to the end"),
            ));
        }
        let shape = Shape::from(count as usize);
        let value = Value::build("arange", &shape, |y: &mut [T]| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = <T as Element>::of_f64(first + by * i as f64);
            }
        })?;
        Ok(Tensor::plain(value))
    }

    /// `count` numbers from `start` to `end`, both included, evenly spaced.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::linspace(0f32, 1.0, 5)?.to_vec::<f32>()?, [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn linspace<T: Element + Number>(start: T, end: T, count: usize) -> Result<Tensor> {
        let (first, last) = (Element::to_f64(start), Element::to_f64(end));
        let step = if count > 1 { (last - first) / (count - 1) as f64 } else { 0.0 };
        let value = Value::build("linspace", &Shape::from(count), |y: &mut [T]| {
            for (i, y) in y.iter_mut().enumerate() {
                // From both ends, so that the last number is exact.
                let v = if 2 * i < count { first + step * i as f64 } else { last - step * (count - 1 - i) as f64 };
                *y = <T as Element>::of_f64(v);
            }
        })?;
        Ok(Tensor::plain(value))
    }

    /// The identity matrix of type f32 and shape `[n, n]`.
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn eye(n: usize) -> Result<Tensor> {
        let value = Value::build("eye", &Shape::from([n, n]), |y: &mut [f32]| {
            y.fill(0.0);
            y.iter_mut().step_by(n + 1).for_each(|d| *d = 1.0);
        })?;
        Ok(Tensor::plain(value))
    }

    /// A tensor of numbers, arrays, vectors or slices, nested up to four deep.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::new([[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]])?.shape(), &[2, 3]);
    /// assert_eq!(Tensor::new(vec![true, false])?.shape(), &[2]);
    /// assert_eq!(Tensor::new(1.5f32)?.item()?, 1.5);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Inner vectors have different lengths.
    pub fn new<N: Nested>(nested: N) -> Result<Tensor> {
        let mut shape = Vec::new();
        nested.sizes(&mut shape);
        let shape = Shape::from(shape);
        let mut elements = Vec::with_capacity(shape.checked_numel("new")?);
        nested.collect(&shape, &mut elements)?;
        Tensor::from_slice(&elements, shape)
    }

    /// The elements of `vec` in row-major order.
    ///
    /// # Errors
    /// The shape has another number of elements.
    pub fn from_vec<T: Element>(vec: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
        Tensor::from_slice(&vec, shape)
    }

    /// The elements of `slice` in row-major order.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [2, 2])?;
    /// assert_eq!(x.dims(), [2, 2]);
    /// assert!(Tensor::from_slice(&[1f32], [2, 2]).is_err());
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The shape has another number of elements.
    pub fn from_slice<T: Element>(slice: &[T], shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let numel = shape.checked_numel("from_slice")?;
        if numel != slice.len() {
            return Err(Error::shape(
                "from_slice",
                format!("{} elements cannot fill {shape:?} ({numel})", slice.len()),
            ));
        }
        Ok(Tensor::plain(Value::new("tensor", Buffer::from_slice(slice), shape)))
    }
}

/// Numbers in nested arrays, vectors or slices, from which [`Tensor::new`] makes a tensor.
pub trait Nested {
    /// The type of the numbers inside.
    type Item: Element;
    /// Appends the sizes, outermost first.
    fn sizes(&self, sizes: &mut Vec<usize>);
    /// Appends the numbers in row-major order; `sizes` are those expected here.
    ///
    /// # Errors
    /// An inner length differs.
    fn collect(&self, sizes: &[usize], into: &mut Vec<Self::Item>) -> Result<()>;
}

macro_rules! nested_number {
    ($($t:ty),+) => {$(
        impl Nested for $t {
            type Item = $t;
            fn sizes(&self, _: &mut Vec<usize>) {}
            fn collect(&self, _: &[usize], into: &mut Vec<$t>) -> Result<()> {
                into.push(*self);
                Ok(())
            }
        }
    )+};
}
nested_number!(f32, f64, i64, u8, bool);

impl<N: Nested> Nested for [N] {
    type Item = N::Item;
    fn sizes(&self, sizes: &mut Vec<usize>) {
        sizes.push(self.len());
        if let Some(first) = self.first() {
            first.sizes(sizes);
        }
    }
    fn collect(&self, sizes: &[usize], into: &mut Vec<N::Item>) -> Result<()> {
        match sizes.split_first() {
            Some((&size, rest)) if size == self.len() => self.iter().try_for_each(|inner| inner.collect(rest, into)),
            _ => Err(Error::shape(
                "new",
                format!("inner lengths differ, {} and {}", self.len(), sizes.first().unwrap_or(&0)),
            )),
        }
    }
}

impl<N: Nested, const LEN: usize> Nested for [N; LEN] {
    type Item = N::Item;
    fn sizes(&self, sizes: &mut Vec<usize>) {
        self[..].sizes(sizes);
    }
    fn collect(&self, sizes: &[usize], into: &mut Vec<N::Item>) -> Result<()> {
        self[..].collect(sizes, into)
    }
}

impl<N: Nested> Nested for Vec<N> {
    type Item = N::Item;
    fn sizes(&self, sizes: &mut Vec<usize>) {
        self[..].sizes(sizes);
    }
    fn collect(&self, sizes: &[usize], into: &mut Vec<N::Item>) -> Result<()> {
        self[..].collect(sizes, into)
    }
}

impl<N: Nested + ?Sized> Nested for &N {
    type Item = N::Item;
    fn sizes(&self, sizes: &mut Vec<usize>) {
        (**self).sizes(sizes);
    }
    fn collect(&self, sizes: &[usize], into: &mut Vec<N::Item>) -> Result<()> {
        (**self).collect(sizes, into)
    }
}
