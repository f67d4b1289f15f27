//! Values: a storage and a layout, the arrays below the tape. Operators compute here, without gradients.

use std::borrow::Cow;
use std::ops::Deref;

use kernels::buffer::Buffer;
use kernels::copy::{copy_slice, copy_strided};
use kernels::elementwise::{self, Binary, Compare, Operand, Unary};
use kernels::handle::Handle;

use crate::dtype::{DType, Element, Float, Number, dispatch};
use crate::error::Result;
use crate::layout::Layout;
use crate::program;
use crate::runs::Runs;
use crate::shape::Shape;
use crate::storage::{Storage, unfilled};

/// A plain array: what a tensor holds besides its memory of how it was made. Clones share it.
///
/// It stands behind a pointer because tensors are moved and cloned much more often than made: two words move in registers, and
/// copying a layout soon after it was written in pieces costs the processor more than the counter.
#[derive(Clone, Debug)]
pub(crate) struct Value(Handle<Array>);

/// What a [`Value`] points to.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) storage: Storage,
    pub(crate) layout: Layout,
    // What is asked of the layout at every step.
    numel: usize,
    contiguous: bool,
}

impl Deref for Value {
    type Target = Array;
    fn deref(&self) -> &Array {
        &self.0
    }
}

impl Value {
    /// A contiguous array; `buffer` has as many elements as `shape`.
    pub(crate) fn new<T: Element>(op: &'static str, buffer: Buffer<T>, shape: Shape) -> Value {
        Value::of(op, buffer, &shape)
    }

    #[inline]
    fn of<T: Element>(op: &'static str, buffer: Buffer<T>, shape: &Shape) -> Value {
        debug_assert_eq!(buffer.len(), shape.numel());
        // Made in its place, it need not be moved.
        let value = Value(Handle::with(|| {
            let numel = buffer.len();
            let (storage, layout) = (T::wrap(buffer), Layout::contiguous(shape.clone()));
            Array { storage, layout, numel, contiguous: true }
        }));
        if !program::is_plain() {
            program::made(op, &value);
        }
        value
    }

    /// An array whose elements `fill` writes, all of them.
    pub(crate) fn build<T: Element>(op: &'static str, shape: &Shape, fill: impl FnOnce(&mut [T])) -> Result<Value> {
        let mut value = Value::unfilled::<T>(op, shape)?;
        fill(value.owned().expect("nobody else has it"));
        Ok(value)
    }

    /// An array to be written completely. Not inlined, since every operator makes some.
    #[inline(never)]
    fn unfilled<T: Element>(op: &'static str, shape: &Shape) -> Result<Value> {
        if !program::is_plain()
            && let Some(old) = program::spare(T::DTYPE, shape)
        {
            return Ok(old);
        }
        Ok(Value::of(op, unfilled::<T>(op, shape)?, shape))
    }

    pub(crate) fn full<T: Element>(op: &'static str, shape: &Shape, value: T) -> Result<Value> {
        let y = Value::build(op, shape, |y: &mut [T]| y.fill(value))?;
        program::constant(&y);
        Ok(y)
    }

    pub(crate) fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    pub(crate) fn with_layout(&self, layout: Layout) -> Value {
        let (numel, contiguous) = (layout.numel(), layout.is_contiguous());
        Value(Handle::new(Array { storage: self.storage.clone(), layout, numel, contiguous }))
    }

    /// The number of elements.
    pub(crate) fn numel(&self) -> usize {
        self.numel
    }

    /// Whether the elements lie in row-major order without gaps, wherever they start.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.contiguous
    }

    /// The elements in row-major order; the value must be contiguous and of this dtype.
    pub(crate) fn slice<T: Element>(&self) -> &[T] {
        debug_assert!(self.contiguous);
        if self.numel == 0 {
            // The offset of an empty view may lie behind the end.
            return &[];
        }
        &self.storage.slice::<T>()[self.layout.offset..self.layout.offset + self.numel]
    }

    /// The same elements in row-major order, copied only if they are not.
    pub(crate) fn contiguous(&self) -> Result<Cow<'_, Value>> {
        Ok(if self.contiguous { Cow::Borrowed(self) } else { Cow::Owned(self.copy()?) })
    }

    /// As [`contiguous`](Self::contiguous) for a value that is not used any more.
    pub(crate) fn into_contiguous(self) -> Result<Value> {
        if self.contiguous { Ok(self) } else { self.copy() }
    }

    /// A new row-major array of the same elements.
    pub(crate) fn copy(&self) -> Result<Value> {
        program::compute([self], |[value]| {
            dispatch!(value.dtype(), T => {
                let (l, x) = (&value.layout, value.storage.slice::<T>());
                Value::build("contiguous", &l.shape, |y: &mut [T]| copy_strided(x, l.offset, &l.shape, &l.strides, y))
            })
        })
    }

    /// The elements for writing, if nobody else holds the array or its buffer and they fill it in row-major order.
    pub(crate) fn unique<T: Element>(&mut self) -> Option<&mut [T]> {
        if program::recording() {
            program::refuse("the step changes elements in place");
        }
        if !self.contiguous {
            return None;
        }
        let (start, n) = (self.layout.offset, self.numel);
        self.owned()?.get_mut(start..start + n)
    }

    /// Whether nobody else holds the array or its buffer, which it fills in row-major order.
    pub(crate) fn is_unique(&mut self) -> bool {
        dispatch!(self.dtype(), T => {
            let n = self.storage.slice::<T>().len();
            self.unique::<T>().is_some_and(|all| all.len() == n)
        })
    }

    /// All elements of the buffer, if nobody else holds it.
    fn owned<T: Element>(&mut self) -> Option<&mut [T]> {
        T::peek_mut(&mut self.0.get_mut()?.storage)?.get_mut()
    }

    /// `f(x)` for each element.
    pub(crate) fn unary<T: Element + Float>(&self, name: &'static str, op: Unary) -> Result<Value> {
        program::compute([&*self.contiguous()?], move |[x]| {
            Value::build(name, x.shape(), |y: &mut [T]| elementwise::unary(op, x.slice(), y))
        })
    }

    /// `f(a, b)` for each pair of elements; both have the same shape.
    pub(crate) fn binary<T: Element + Number>(name: &'static str, op: Binary, a: &Value, b: &Value) -> Result<Value> {
        program::compute([a, b], move |[a, b]| zip::<T, T>(name, a, b, |a, b, y| elementwise::binary(op, a, b, y)))
    }

    /// Where `f(a, b)` holds; both have the same shape.
    pub(crate) fn compare<T: Element>(name: &'static str, op: Compare, a: &Value, b: &Value) -> Result<Value> {
        zip::<T, bool>(name, a, b, |a, b, y| elementwise::compare(op, a, b, y))
    }

    /// The elements of `self` as type `U`.
    pub(crate) fn cast<U: Element>(&self) -> Result<Value> {
        if self.dtype() == U::DTYPE {
            return Ok(self.clone());
        }
        program::compute([&*self.contiguous()?], |[x]| {
            dispatch!(x.dtype(), T => {
                Value::build("to_dtype", x.shape(), |y: &mut [U]| elementwise::cast::<T, U>(x.slice(), y))
            })
        })
    }

    /// Adds `other` of the same shape and dtype: into this buffer if nobody else sees it.
    pub(crate) fn plus(self, other: &Value) -> Result<Value> {
        self.update("add", Binary::Add, other)
    }

    /// `f(x, other)` for each element, where `other` has the same shape and dtype: in this buffer if nobody else sees it.
    pub(crate) fn update(self, name: &'static str, op: Binary, other: &Value) -> Result<Value> {
        program::change(self, [other], move |mut value, [other]| {
            dispatch!(number name, value.dtype(), T => {
                if other.contiguous
                    && let Some(y) = value.unique::<T>() {
                        elementwise::binary_in_place(op, y, Operand::Slice(other.slice()));
                        return Ok(value);
                    }
                Value::binary::<T>(name, op, &value, other)
            })
        })
    }
}

/// Runs `f` over pairs of stretches of `a` and `b` that have the same shape.
fn zip<T: Element, U: Element>(
    name: &'static str,
    a: &Value,
    b: &Value,
    f: impl Fn(Operand<'_, T>, Operand<'_, T>, &mut [U]),
) -> Result<Value> {
    let shape = a.shape();
    if a.contiguous && b.contiguous {
        return Value::build(name, shape, |y: &mut [U]| f(Operand::Slice(a.slice()), Operand::Slice(b.slice()), y));
    }
    if let (Some(a), Some(b)) = (whole::<T>(a), whole::<T>(b)) {
        return Value::build(name, shape, |y: &mut [U]| f(a, b, y));
    }
    let runs = Runs::new([&a.layout, &b.layout]);
    // Operands with gaps inside of a run, or with very short runs, are cheaper to copy once.
    if runs.strides.iter().any(|&s| s > 1) || (runs.len < 4 && shape.numel() > 64) {
        return zip(name, &a.copy()?, &b.copy()?, f);
    }
    let (xs, ys) = (a.storage.slice::<T>(), b.storage.slice::<T>());
    Value::build(name, shape, |out: &mut [U]| {
        let mut rest = out;
        // The walk is compiled once for all types; a call is little for a run.
        let visit: &mut dyn FnMut([usize; 2]) = &mut |[i, j]| {
            let (y, tail) = std::mem::take(&mut rest).split_at_mut(runs.len);
            rest = tail;
            let x = stretch(xs, i, runs.strides[0], runs.len);
            f(x, stretch(ys, j, runs.strides[1], runs.len), y);
        };
        runs.for_each(visit);
    })
}

/// All elements: in row-major order, or a number that was expanded.
fn whole<T: Element>(x: &Value) -> Option<Operand<'_, T>> {
    if x.contiguous {
        return Some(Operand::Slice(x.slice()));
    }
    let number = x.numel > 0 && x.layout.strides.iter().all(|&stride| stride == 0);
    number.then(|| Operand::Scalar(x.storage.slice::<T>()[x.layout.offset]))
}

/// The elements of one run: a stretch, or one element repeated.
fn stretch<T: Element>(x: &[T], at: usize, stride: usize, len: usize) -> Operand<'_, T> {
    if stride == 0 { Operand::Scalar(x[at]) } else { Operand::Slice(&x[at..at + len]) }
}

/// Writes `source`, in row-major order, to the elements of `into` that `part` names.
pub(crate) fn copy_into<T: Element>(source: &[T], into: &mut [T], part: &Layout) {
    if source.is_empty() {
        return;
    }
    let runs = Runs::new([part]);
    let mut rows = source.chunks_exact(runs.len.max(1));
    runs.for_each(|[at]| {
        let row = rows.next().expect("the source has the shape of the part");
        if runs.strides[0] == 1 {
            copy_slice(row, &mut into[at..at + row.len()]);
        } else {
            into[at..].iter_mut().step_by(runs.strides[0].max(1)).zip(row).for_each(|(y, &v)| *y = v);
        }
    });
}
