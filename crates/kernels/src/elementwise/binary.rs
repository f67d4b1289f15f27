//! Functions of two elements.

use super::{Binary, CHUNK, Compare, Operand, SIMPLE};
use crate::element::{Element, Float, Number, compiled_here};
use crate::isa;
use crate::math::{Loops, MulAdd, vectorised};
use crate::par;

/// Passes the function of the operation to a loop.
macro_rules! with_function {
    ($op:expr, $f:ident => $run:expr) => {
        match $op {
            Binary::Add => {
                let $f = |a: T, b: T| a.plus(b);
                $run
            }
            Binary::Sub => {
                let $f = |a: T, b: T| a.minus(b);
                $run
            }
            Binary::Mul => {
                let $f = |a: T, b: T| a.times(b);
                $run
            }
            Binary::Div => {
                let $f = |a: T, b: T| a.over(b);
                $run
            }
            Binary::Maximum => {
                let $f = |a: T, b: T| if a > b || a.nan() { a } else { b };
                $run
            }
            Binary::Minimum => {
                let $f = |a: T, b: T| if a < b || a.nan() { a } else { b };
                $run
            }
            Binary::Pow => {
                let $f = |a: T, b: T| a.power(b);
                $run
            }
            Binary::ReluGrad if T::FLOAT => {
                let $f = |g: T, y: T| if y <= T::ZERO { T::ZERO } else { g };
                $run
            }
            Binary::SigmoidGrad if T::FLOAT => {
                let $f = |g: T, y: T| g.times(y).times(T::ONE.minus(y));
                $run
            }
            Binary::SquareGrad if T::FLOAT => {
                let $f = |g: T, x: T| g.times(x.plus(x));
                $run
            }
            Binary::TanhGrad if T::FLOAT => {
                let $f = |g: T, y: T| g.times(T::ONE.minus(y.times(y)));
                $run
            }
            Binary::ReluGrad | Binary::SigmoidGrad | Binary::SquareGrad | Binary::TanhGrad => {
                panic!("gradients are of floating-point numbers")
            }
        }
    };
}

compiled_here! {
    trait NumberLoops for f32, f64, i64, u8 = {
        fn zip(op: Binary, a: Operand<'_, Self>, b: Operand<'_, Self>, y: &mut [Self]) = zip_of;
        fn update(op: Binary, y: &mut [Self], b: Operand<'_, Self>) = update_of;
    }
}

compiled_here! {
    trait ElementLoops for f32, f64, i64, u8, bool = {
        fn compare(op: Compare, a: Operand<'_, Self>, b: Operand<'_, Self>, y: &mut [bool]) = compare_of;
        fn select(cond: &[bool], a: Operand<'_, Self>, b: Operand<'_, Self>, y: &mut [Self]) = select_of;
    }
}

compiled_here! {
    trait AxpyLoops for f32, f64 = {
        fn axpy(alpha: Self, x: &[Self], y: &mut [Self]) = axpy_of;
    }
}

/// One chunk of [`binary`].
fn zip_of<T: Number>(op: Binary, a: Operand<'_, T>, b: Operand<'_, T>, y: &mut [T]) {
    if T::ALL {
        return vectorised::<T, _>(Zip { op, a, b, y });
    }
    let (mut left, mut right) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
    for (i, y) in y.chunks_mut(BLOCK).enumerate() {
        slices(op, a.block(i, y.len(), &mut left), b.block(i, y.len(), &mut right), y);
    }
}

/// One chunk of [`binary_in_place`].
fn update_of<T: Number>(op: Binary, y: &mut [T], b: Operand<'_, T>) {
    if T::ALL {
        return vectorised::<T, _>(Update { op, y, b });
    }
    let (mut left, mut right) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
    for (i, y) in y.chunks_mut(BLOCK).enumerate() {
        left[..y.len()].copy_from_slice(y);
        slices(op, &left, b.block(i, y.len(), &mut right), y);
    }
}

/// One chunk of [`compare`].
fn compare_of<T: Element>(op: Compare, a: Operand<'_, T>, b: Operand<'_, T>, y: &mut [bool]) {
    // Each loop is compiled for each type, set and kind of operands: b < a is a > b.
    let (a, b) = if matches!(op, Compare::Gt | Compare::Ge) { (b, a) } else { (a, b) };
    isa::dispatch::<T, _>(|| match op {
        Compare::Eq => each(a, b, y, |a, b| a == b),
        Compare::Ne => each(a, b, y, |a, b| a != b),
        Compare::Lt | Compare::Gt => each(a, b, y, |a, b| a < b),
        Compare::Le | Compare::Ge => each(a, b, y, |a, b| a <= b),
    });
}

/// Elements that types other than f32 compute at a time, with an operand for each: loops for each kind of operands would be many.
const BLOCK: usize = 64;

/// The loop of those types.
#[inline(never)]
fn slices<T: Number>(op: Binary, a: &[T], b: &[T], y: &mut [T]) {
    with_function!(op, f => y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = f(a, b)));
}

/// One chunk of [`select`].
fn select_of<T: Element>(cond: &[bool], a: Operand<'_, T>, b: Operand<'_, T>, y: &mut [T]) {
    isa::dispatch::<T, _>(|| choose(cond, a, b, y));
}

/// `y[i] = op(a[i], b[i])`.
///
/// # Panics
/// A slice operand has another length than the result.
pub fn binary<T: Number>(op: Binary, a: Operand<'_, T>, b: Operand<'_, T>, y: &mut [T]) {
    a.check(y.len());
    b.check(y.len());
    let work = cost(op) * CHUNK.min(y.len());
    par::for_each_chunk(y, CHUNK, work, |i, y| {
        let (a, b) = (a.chunk(i, y.len()), b.chunk(i, y.len()));
        T::zip(op, a, b, y);
    });
}

/// `y[i] = op(y[i], b[i])`.
///
/// # Panics
/// A slice operand has another length than the result.
pub fn binary_in_place<T: Number>(op: Binary, y: &mut [T], b: Operand<'_, T>) {
    b.check(y.len());
    let work = cost(op) * CHUNK.min(y.len());
    par::for_each_chunk(y, CHUNK, work, |i, y| {
        let b = b.chunk(i, y.len());
        T::update(op, y, b);
    });
}

/// About how many operations a function takes, memory traffic included.
fn cost(op: Binary) -> usize {
    if op == Binary::Pow { 1000 } else { SIMPLE }
}

/// The loop over one chunk.
struct Zip<'a, T> {
    op: Binary,
    a: Operand<'a, T>,
    b: Operand<'a, T>,
    y: &'a mut [T],
}

impl<T: Number> Loops for Zip<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Zip { op, a, b, y } = self;
        with_function!(op, f => each(a, b, y, f));
    }
}

/// The loop over one chunk that is operand and result.
struct Update<'a, T> {
    op: Binary,
    y: &'a mut [T],
    b: Operand<'a, T>,
}

impl<T: Number> Loops for Update<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        let Update { op, y, b } = self;
        with_function!(op, f => each_in_place(y, b, f));
    }
}

/// `y[i] = op(a[i], b[i])`.
///
/// # Panics
/// A slice operand has another length than the result.
pub fn compare<T: Element + PartialOrd>(op: Compare, a: Operand<'_, T>, b: Operand<'_, T>, y: &mut [bool]) {
    a.check(y.len());
    b.check(y.len());
    let work = SIMPLE * CHUNK.min(y.len());
    par::for_each_chunk(y, CHUNK, work, |i, y| {
        let (a, b) = (a.chunk(i, y.len()), b.chunk(i, y.len()));
        T::compare(op, a, b, y);
    });
}

/// `y[i] = if cond[i] { a[i] } else { b[i] }`.
///
/// # Panics
/// The condition or a slice operand has another length than the result.
pub fn select<T: Element>(cond: &[bool], a: Operand<'_, T>, b: Operand<'_, T>, y: &mut [T]) {
    assert_eq!(cond.len(), y.len(), "condition and result have the same length");
    a.check(y.len());
    b.check(y.len());
    par::for_each_chunk(y, CHUNK, SIMPLE * CHUNK.min(cond.len()), |i, y| {
        let (a, b) = (a.chunk(i, y.len()), b.chunk(i, y.len()));
        let cond = &cond[i * CHUNK..i * CHUNK + y.len()];
        T::select(cond, a, b, y);
    });
}

/// The loop of [`select`] for each kind of operands.
#[inline(always)]
fn choose<T: Element>(cond: &[bool], a: Operand<'_, T>, b: Operand<'_, T>, y: &mut [T]) {
    let y = y.iter_mut().zip(cond);
    match (a, b) {
        (Operand::Slice(a), Operand::Slice(b)) => {
            for ((y, &c), (&a, &b)) in y.zip(a.iter().zip(b)) {
                *y = if c { a } else { b };
            }
        }
        (Operand::Slice(a), Operand::Scalar(b)) => y.zip(a).for_each(|((y, &c), &a)| *y = if c { a } else { b }),
        (Operand::Scalar(a), Operand::Slice(b)) => y.zip(b).for_each(|((y, &c), &b)| *y = if c { a } else { b }),
        (Operand::Scalar(a), Operand::Scalar(b)) => y.for_each(|(y, &c)| *y = if c { a } else { b }),
    }
}

/// `y[i] += alpha * x[i]`.
///
/// # Panics
/// The slices differ in length.
pub fn axpy<T: Float>(alpha: T, x: &[T], y: &mut [T]) {
    <T as AxpyLoops>::axpy(alpha, x, y);
}

fn axpy_of<T: Float>(alpha: T, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "operand and result have the same length");
    par::for_each_chunk(y, CHUNK, SIMPLE * CHUNK.min(x.len()), |i, y| {
        vectorised::<T, _>(Axpy { alpha, x: &x[i * CHUNK..i * CHUNK + y.len()], y });
    });
}

/// The loop over one chunk of [`axpy`].
struct Axpy<'a, T> {
    alpha: T,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Float> Loops for Axpy<'_, T> {
    #[inline(always)]
    fn run<M: MulAdd>(self) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = self.alpha.mul_add::<M>(x, *y);
        }
    }
}

/// The loop of a function for each kind of operands.
#[inline(always)]
fn each<T: Copy, U: Copy>(a: Operand<'_, T>, b: Operand<'_, T>, y: &mut [U], f: impl Fn(T, T) -> U) {
    match (a, b) {
        (Operand::Slice(a), Operand::Slice(b)) => {
            y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = f(a, b))
        }
        (Operand::Slice(a), Operand::Scalar(b)) => y.iter_mut().zip(a).for_each(|(y, &a)| *y = f(a, b)),
        (Operand::Scalar(a), Operand::Slice(b)) => y.iter_mut().zip(b).for_each(|(y, &b)| *y = f(a, b)),
        (Operand::Scalar(a), Operand::Scalar(b)) => y.fill(f(a, b)),
    }
}

/// As [`each`] with the result as the left operand.
#[inline(always)]
fn each_in_place<T: Copy>(y: &mut [T], b: Operand<'_, T>, f: impl Fn(T, T) -> T) {
    match b {
        Operand::Slice(b) => y.iter_mut().zip(b).for_each(|(y, &b)| *y = f(*y, b)),
        Operand::Scalar(b) => y.iter_mut().for_each(|y| *y = f(*y, b)),
    }
}
