//! The loss of classes and its gradient, given the logarithms of probabilities over the middle axis of `[outer, n, inner]`.
//!
//! The plain loops: `y[o, i] = -l[o, t[o, i], i]`, and with `l` the logarithm of the softmax of x the gradient by x,
//! `gx[o, k, i] = g[o, i] * (exp(l[o, k, i]) - (k == t[o, i]))`.
//! The trick: all exponentials are taken in one go; what is left is a product each and a difference for each class.

use crate::element::Float;
use crate::elementwise::{Unary, unary};
use crate::par;

/// Writes `-l[o, t[o, i], i]` to `y`.
///
/// # Panics
/// The slices do not have `outer * n * inner` or `outer * inner` elements, or a class is not from 0 to `n - 1`.
pub fn class_loss<T: Float>(l: &[T], classes: &[i64], n: usize, inner: usize, y: &mut [T]) {
    check(l.len(), classes, n, inner, y.len());
    for (at, (y, &class)) in y.iter_mut().zip(classes).enumerate() {
        *y = -l[place(at, class, n, inner)];
    }
}

/// Writes the gradient of the losses by what the softmax was taken of to `gx`; `g` is that of the losses.
///
/// # Panics
/// As [`class_loss`].
pub fn class_loss_grad<T: Float>(l: &[T], classes: &[i64], g: &[T], n: usize, inner: usize, gx: &mut [T]) {
    check(l.len(), classes, n, inner, g.len());
    assert_eq!(l.len(), gx.len(), "class_loss: a gradient for each logarithm");
    unary(Unary::Exp, l, gx);
    let group = n * inner;
    let groups = (8 * 1024 / group.max(1)).max(1);
    par::for_each_chunk(gx, groups * group, 4 * groups * group, |i, gx| {
        let first = i * groups * inner;
        for (o, gx) in gx.chunks_exact_mut(group).enumerate() {
            let g = &g[first + o * inner..][..inner];
            for row in gx.chunks_exact_mut(inner) {
                row.iter_mut().zip(g).for_each(|(gx, &g)| *gx = *gx * g);
            }
            for (at, &g) in g.iter().enumerate() {
                let class = classes[first + o * inner + at];
                let gx = &mut gx[place(at, class, n, inner)];
                *gx = *gx - g;
            }
        }
    });
}

/// Where the class of result `at` is.
fn place(at: usize, class: i64, n: usize, inner: usize) -> usize {
    let class = usize::try_from(class).ok().filter(|&class| class < n).expect("class_loss: a class is from 0 to n - 1");
    (at / inner * n + class) * inner + at % inner
}

fn check(l: usize, classes: &[i64], n: usize, inner: usize, results: usize) {
    assert_eq!(classes.len(), results, "class_loss: a class for each result");
    assert!(inner == 0 || results.is_multiple_of(inner), "class_loss: whole groups");
    assert_eq!(l, results * n, "class_loss: a logarithm for each class");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa;

    /// Numbers below 0 and classes for them.
    fn operands(outer: usize, n: usize, inner: usize) -> (Vec<f32>, Vec<i64>, Vec<f32>) {
        let l = (0..outer * n * inner).map(|i| -(((i * 37 + 11) % 101) as f32) / 17.0).collect();
        let classes = (0..outer * inner).map(|i| ((i * 5 + 2) % n) as i64).collect();
        (l, classes, (0..outer * inner).map(|i| (i % 7) as f32 - 3.0).collect())
    }

    #[test]
    fn losses_and_gradients_are_those_of_the_definition_for_any_number_of_threads() {
        for (outer, n, inner) in
            [(0, 3, 2), (2, 3, 0), (1, 1, 1), (5, 10, 1), (2, 3, 4), (3, 17, 5), (3000, 10, 1), (2, 9, 6000)]
        {
            let (l, classes, g) = operands(outer, n, inner);
            let mut bits = Vec::new();
            for &set in isa::available() {
                for threads in [1, 2] {
                    par::set_num_threads(threads);
                    let (mut y, mut gx) = (vec![9.0; outer * inner], vec![9.0; l.len()]);
                    isa::with(set, || {
                        class_loss(&l, &classes, n, inner, &mut y);
                        class_loss_grad(&l, &classes, &g, n, inner, &mut gx);
                    });
                    for at in 0..l.len() {
                        let (o, k, i) = (at / (n * inner), at / inner % n, at % inner);
                        let result = o * inner + i;
                        let hit = classes[result] == k as i64;
                        assert!(!hit || y[result] == -l[at]);
                        let truth = f64::from(g[result]) * (f64::from(l[at]).exp() - f64::from(u8::from(hit)));
                        assert!((f64::from(gx[at]) - truth).abs() <= 1e-6, "[{outer}, {n}, {inner}] {at}");
                    }
                    bits.push((set, gx));
                }
            }
            assert!(bits.chunks(2).all(|pair| pair[0] == pair[1]));
        }
    }

    #[test]
    #[should_panic(expected = "a class is from 0 to n - 1")]
    fn a_class_outside_is_refused() {
        class_loss(&[0.0f32; 6], &[0, 3], 3, 1, &mut [0.0; 2]);
    }
}
