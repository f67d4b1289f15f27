//! The loop of all optimizers: over weights, gradients and up to three arrays of state.

use crate::element::Float;
use crate::math::{Loops, MulAdd, vectorised};
use crate::par::{self, Shared};

/// Elements of one piece of work for a thread.
const CHUNK: usize = 8 * 1024;
/// What an element costs, in floating-point operations, memory traffic included.
const WORK: usize = 40;

/// What happens to one weight.
pub(super) trait Rule<T>: Sync {
    /// Brings the weight, `arrays[0]`, and its state up to date. What the rule has no array for is 0.
    fn update<M: MulAdd>(&self, g: T, arrays: &mut [T; 4]);
}

/// Runs a rule over weights and their state.
///
/// # Panics
/// The slices differ in length.
pub(super) fn step<T: Float, R: Rule<T>, const N: usize>(rule: &R, g: &[T], arrays: [&mut [T]; N]) {
    for array in &arrays {
        assert_eq!(array.len(), g.len(), "gradient, weights and state have the same length");
    }
    let shared = arrays.map(|a| Shared(a.as_mut_ptr()));
    par::for_each_range(g.len().div_ceil(CHUNK), WORK * CHUNK.min(g.len()), |chunks| {
        let (start, end) = (chunks.start * CHUNK, (chunks.end * CHUNK).min(g.len()));
        // SAFETY: the arrays have g.len() elements, they are borrowed for as long as this runs, and no other range has
        // these elements.
        let arrays =
            shared.each_ref().map(|a| unsafe { std::slice::from_raw_parts_mut(a.get().add(start), end - start) });
        vectorised::<T, _>(Steps { rule, g: &g[start..end], arrays });
    });
}

/// The loop over one range.
struct Steps<'a, T, R, const N: usize> {
    rule: &'a R,
    g: &'a [T],
    arrays: [&'a mut [T]; N],
}

impl<T: Float, R: Rule<T>, const N: usize> Loops for Steps<'_, T, R, N> {
    #[inline(always)]
    fn run<M: MulAdd>(mut self) {
        let (rule, g) = (self.rule, self.g);
        match &mut self.arrays[..] {
            [w] => one::<T, R, M>(rule, g, w),
            [w, a] => two::<T, R, M>(rule, g, w, a),
            [w, a, b] => three::<T, R, M>(rule, g, w, a, b),
            [w, a, b, c] => four::<T, R, M>(rule, g, w, a, b, c),
            _ => {}
        }
    }
}

// Separate arguments tell the compiler that the arrays do not overlap.

#[inline(always)]
fn one<T: Float, R: Rule<T>, M: MulAdd>(rule: &R, g: &[T], w: &mut [T]) {
    for (&g, w) in g.iter().zip(w) {
        let mut at = [*w, T::ZERO, T::ZERO, T::ZERO];
        rule.update::<M>(g, &mut at);
        *w = at[0];
    }
}

#[inline(always)]
fn two<T: Float, R: Rule<T>, M: MulAdd>(rule: &R, g: &[T], w: &mut [T], a: &mut [T]) {
    for ((&g, w), a) in g.iter().zip(w).zip(a) {
        let mut at = [*w, *a, T::ZERO, T::ZERO];
        rule.update::<M>(g, &mut at);
        [*w, *a, ..] = at;
    }
}

#[inline(always)]
fn three<T: Float, R: Rule<T>, M: MulAdd>(rule: &R, g: &[T], w: &mut [T], a: &mut [T], b: &mut [T]) {
    for (((&g, w), a), b) in g.iter().zip(w).zip(a).zip(b) {
        let mut at = [*w, *a, *b, T::ZERO];
        rule.update::<M>(g, &mut at);
        [*w, *a, *b, _] = at;
    }
}

#[inline(always)]
fn four<T: Float, R: Rule<T>, M: MulAdd>(rule: &R, g: &[T], w: &mut [T], a: &mut [T], b: &mut [T], c: &mut [T]) {
    for ((((&g, w), a), b), c) in g.iter().zip(w).zip(a).zip(b).zip(c) {
        let mut at = [*w, *a, *b, *c];
        rule.update::<M>(g, &mut at);
        [*w, *a, *b, *c] = at;
    }
}
