//! Optimizer steps: one pass over weights, gradients and state.
//!
//! The plain loop is PyTorch's single-tensor step, operation by operation in its order, for one element at a time.
//! The tricks: everything happens in registers between one load and one store of each array, and the hyperparameters
//! are branches outside of the loop. Moments that have become subnormal are set to zero, since arithmetic
//! with subnormal numbers is slow and their effect on a weight is below its rounding.

use crate::element::Float;
use crate::math::{MulAdd, Stepwise};

/// Hyperparameters of stochastic gradient descent, named and meant as in `torch.optim.SGD`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Factor of the momentum buffer; 0 for none.
    pub momentum: f64,
    /// How much of a new gradient does not enter the momentum buffer.
    pub dampening: f64,
    /// Factor of the weights that is added to the gradient.
    pub weight_decay: f64,
    /// Looks ahead along the momentum.
    pub nesterov: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
}

/// Hyperparameters of Adam and AdamW, named and meant as in `torch.optim.Adam`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// AdamW: the decay shrinks the weights and does not enter the gradient.
    pub decoupled: bool,
    /// Climbs instead of descending.
    pub maximize: bool,
}

/// Hyperparameters of RMSprop, named and meant as in `torch.optim.RMSprop`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the mean square.
    pub alpha: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Factor of the weights that is added to the gradient.
    pub weight_decay: f64,
    /// Factor of the momentum buffer.
    pub momentum: f64,
    /// Climbs instead of descending.
    pub maximize: bool,
}

/// Hyperparameters of Adagrad, named and meant as in `torch.optim.Adagrad`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// Learning rate.
    pub lr: f64,
    /// How fast the learning rate falls with the steps.
    pub lr_decay: f64,
    /// Factor of the weights that is added to the gradient.
    pub weight_decay: f64,
    /// Added to the root of the sum of squares.
    pub eps: f64,
    /// Climbs instead of descending.
    pub maximize: bool,
}

/// The gradient as the rules see it: sign and coupled weight decay applied.
#[inline(always)]
fn seen<T: Float, M: MulAdd>(g: T, w: T, maximize: bool, decay: T) -> T {
    let g = if maximize { -g } else { g };
    if decay == T::ZERO { g } else { w.mul_add::<M>(decay, g) }
}

/// A moment without subnormal numbers.
#[inline(always)]
fn normal<T: Float>(v: T) -> T {
    if v.abs() < T::TINY { T::ZERO } else { v }
}

/// One step of stochastic gradient descent on `w`, in PyTorch's order:
/// `g += weight_decay * w; b = momentum * b + (1 - dampening) * g; g = nesterov ? g + momentum * b : b; w -= lr * g`.
///
/// `buffer` is the momentum buffer, needed unless `momentum` is 0. On its `first` step it becomes a copy of the gradient,
/// without dampening, whatever it held.
///
/// # Panics
/// The slices differ in length, or there is momentum and no buffer.
pub fn sgd<T: Float>(rule: &Sgd, w: &mut [T], g: &[T], buffer: Option<&mut [T]>, first: bool) {
    assert_eq!(w.len(), g.len(), "a gradient for each weight");
    let (lr, decay, momentum) = (T::real(-rule.lr), T::real(rule.weight_decay), T::real(rule.momentum));
    if rule.momentum == 0.0 {
        for (w, &g) in w.iter_mut().zip(g) {
            *w = seen::<T, Stepwise>(g, *w, rule.maximize, decay).mul_add::<Stepwise>(lr, *w);
        }
        return;
    }
    let buffer = buffer.expect("momentum needs a buffer");
    assert_eq!(w.len(), buffer.len(), "a momentum for each weight");
    let fresh = T::real(1.0 - rule.dampening);
    for ((w, &g), b) in w.iter_mut().zip(g).zip(buffer) {
        let g = seen::<T, Stepwise>(g, *w, rule.maximize, decay);
        let moved = if first { g } else { g.mul_add::<Stepwise>(fresh, *b * momentum) };
        *b = normal(moved);
        let step = if rule.nesterov { moved.mul_add::<Stepwise>(momentum, g) } else { moved };
        *w = step.mul_add::<Stepwise>(lr, *w);
    }
}

/// One step of Adam or AdamW on `w`, in PyTorch's order:
/// `m += (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g * g;
/// w -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)`.
///
/// `step` counts from 1. `m` and `v` start as zeros. With `largest` (AMSGrad) the largest `v` so far takes its place.
///
/// # Panics
/// The slices differ in length.
pub fn adam<T: Float>(
    rule: &Adam,
    step: u64,
    w: &mut [T],
    g: &[T],
    m: &mut [T],
    v: &mut [T],
    largest: Option<&mut [T]>,
) {
    assert_eq!(w.len(), g.len(), "a gradient for each weight");
    assert_eq!(w.len(), m.len(), "a first moment for each weight");
    assert_eq!(w.len(), v.len(), "a second moment for each weight");
    if let Some(largest) = &largest {
        assert_eq!(w.len(), largest.len(), "a largest moment for each weight");
    }
    let correction1 = 1.0 - libm::pow(rule.beta1, step as f64);
    let correction2 = 1.0 - libm::pow(rule.beta2, step as f64);
    let size = T::real(-(rule.lr / correction1));
    let root = T::real(correction2.sqrt());
    let (shrink, decay) = if rule.decoupled {
        (T::real(1.0 - rule.lr * rule.weight_decay), T::ZERO)
    } else {
        (T::ONE, T::real(rule.weight_decay))
    };
    let (fresh1, beta2, fresh2) = (T::real(1.0 - rule.beta1), T::real(rule.beta2), T::real(1.0 - rule.beta2));
    let near = 1.0 - rule.beta1 < 0.5;
    let rest1 = T::ONE - fresh1;
    let eps = T::real(rule.eps);
    let update = |w: T, g: T, m: &mut T, v: &mut T| {
        let w = w * shrink;
        let g = seen::<T, Stepwise>(g, w, rule.maximize, decay);
        let apart = g - *m;
        *m = normal(if near { apart.mul_add::<Stepwise>(fresh1, *m) } else { g - apart * rest1 });
        *v = normal(*v * beta2 + fresh2 * g * g);
        w
    };
    let parts = w.iter_mut().zip(g).zip(m.iter_mut().zip(v));
    match largest {
        None => {
            for ((w, &g), (m, v)) in parts {
                let kept = update(*w, g, m, v);
                *w = kept + size * *m / (v.sqrt() / root + eps);
            }
        }
        Some(largest) => {
            for (((w, &g), (m, v)), top) in parts.zip(largest) {
                let kept = update(*w, g, m, v);
                *top = if *v > *top || v.nan() { *v } else { *top };
                *w = kept + size * *m / (top.sqrt() / root + eps);
            }
        }
    }
}

/// One step of RMSprop on `w`, in PyTorch's order:
/// `s = alpha * s + (1 - alpha) * g * g; d = sqrt(s) + eps; w -= lr * g / d`, or with momentum `b = momentum * b + g / d;
/// w -= lr * b`.
///
/// `s` is the mean square, from zeros. With `mean`, the mean gradient from zeros, the rule is centred: `d = sqrt(s - mean^2) + eps`.
/// `buffer` is the momentum buffer from zeros, needed unless `momentum` is 0.
///
/// # Panics
/// The slices differ in length, or there is momentum and no buffer.
pub fn rmsprop<T: Float>(
    rule: &RmsProp,
    w: &mut [T],
    g: &[T],
    s: &mut [T],
    mut mean: Option<&mut [T]>,
    mut buffer: Option<&mut [T]>,
) {
    assert_eq!(w.len(), g.len(), "a gradient for each weight");
    assert_eq!(w.len(), s.len(), "a mean square for each weight");
    let n = w.len();
    assert!(mean.as_ref().is_none_or(|m| m.len() == n), "a mean gradient for each weight");
    assert!(buffer.as_ref().is_none_or(|b| b.len() == n), "a momentum for each weight");
    assert!(rule.momentum == 0.0 || buffer.is_some(), "momentum needs a buffer");
    let (lr, decay, momentum) = (T::real(-rule.lr), T::real(rule.weight_decay), T::real(rule.momentum));
    let (alpha, fresh, eps) = (T::real(rule.alpha), T::real(1.0 - rule.alpha), T::real(rule.eps));
    let near = 1.0 - rule.alpha < 0.5;
    for i in 0..n {
        let g = seen::<T, Stepwise>(g[i], w[i], rule.maximize, decay);
        let square = normal(s[i] * alpha + fresh * g * g);
        s[i] = square;
        let variance = match &mut mean {
            Some(mean) => {
                let apart = g - mean[i];
                mean[i] =
                    normal(if near { apart.mul_add::<Stepwise>(fresh, mean[i]) } else { g - apart * (T::ONE - fresh) });
                square - mean[i] * mean[i]
            }
            None => square,
        };
        let d = variance.sqrt() + eps;
        match &mut buffer {
            Some(buffer) if rule.momentum != 0.0 => {
                let moved = buffer[i] * momentum + g / d;
                buffer[i] = normal(moved);
                w[i] = moved.mul_add::<Stepwise>(lr, w[i]);
            }
            _ => w[i] = w[i] + lr * g / d,
        }
    }
}

/// One step of Adagrad on `w`, in PyTorch's order: `s += g * g; w -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(s) + eps)`.
///
/// `step` counts from 1. `s` is the sum of squares, from the initial accumulator value.
///
/// # Panics
/// The slices differ in length.
pub fn adagrad<T: Float>(rule: &Adagrad, step: u64, w: &mut [T], g: &[T], s: &mut [T]) {
    assert_eq!(w.len(), g.len(), "a gradient for each weight");
    assert_eq!(w.len(), s.len(), "a sum of squares for each weight");
    let lr = T::real(-(rule.lr / (1.0 + (step.saturating_sub(1)) as f64 * rule.lr_decay)));
    let (decay, eps) = (T::real(rule.weight_decay), T::real(rule.eps));
    for ((w, &g), s) in w.iter_mut().zip(g).zip(s) {
        let g = seen::<T, Stepwise>(g, *w, rule.maximize, decay);
        *s = *s + g * g;
        *w = *w + lr * g / (s.sqrt() + eps);
    }
}
