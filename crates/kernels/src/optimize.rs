//! Optimizer steps: one pass over weights, gradients and state.
//!
//! The plain loop is PyTorch's single-tensor step, operation by operation in its order, for one element at a time.
//! The tricks: everything happens in registers between one load and one store of each array, in vectors, and long arrays
//! are divided over the threads. Moments that have become subnormal are set to zero, since arithmetic
//! with subnormal numbers is slow and their effect on a weight is below its rounding.

mod step;

use crate::element::{Float, compiled_here};
use crate::math::MulAdd;
use step::{Rule, step};

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

/// What all rules do with a gradient first: its sign and the coupled weight decay.
#[derive(Clone, Copy)]
struct Gradient<T> {
    maximize: bool,
    decay: T,
}

impl<T: Float> Gradient<T> {
    fn new(maximize: bool, decay: f64) -> Self {
        Gradient { maximize, decay: T::real(decay) }
    }

    #[inline(always)]
    fn seen<M: MulAdd>(self, g: T, w: T) -> T {
        let g = if self.maximize { -g } else { g };
        if self.decay == T::ZERO { g } else { w.mul_add::<M>(self.decay, g) }
    }
}

/// The way from one number to another by a weight, as PyTorch's `lerp`.
#[derive(Clone, Copy)]
struct Lerp<T> {
    weight: T,
    rest: T,
    near: bool,
}

impl<T: Float> Lerp<T> {
    fn new(weight: f64) -> Self {
        let t = T::real(weight);
        Lerp { weight: t, rest: T::ONE - t, near: weight < 0.5 }
    }

    #[inline(always)]
    fn between<M: MulAdd>(self, from: T, to: T) -> T {
        let apart = to - from;
        if self.near { apart.mul_add::<M>(self.weight, from) } else { to - apart * self.rest }
    }
}

/// A moment without subnormal numbers.
#[inline(always)]
fn normal<T: Float>(v: T) -> T {
    if v.abs() < T::TINY { T::ZERO } else { v }
}

compiled_here! {
    trait StepKernels for f32, f64 = {
        fn sgd(rule: &Sgd, w: &mut [Self], g: &[Self], buffer: Option<&mut [Self]>, first: bool) = sgd_of;
        fn adam(rule: &Adam, step_number: u64, w: &mut [Self], g: &[Self], m: &mut [Self], v: &mut [Self], largest: Option<&mut [Self]>) = adam_of;
        fn rmsprop(rule: &RmsProp, w: &mut [Self], g: &[Self], s: &mut [Self], mean: Option<&mut [Self]>, buffer: Option<&mut [Self]>) = rmsprop_of;
        fn adagrad(rule: &Adagrad, step_number: u64, w: &mut [Self], g: &[Self], s: &mut [Self]) = adagrad_of;
    }
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
    <T as StepKernels>::sgd(rule, w, g, buffer, first);
}

fn sgd_of<T: Float>(rule: &Sgd, w: &mut [T], g: &[T], buffer: Option<&mut [T]>, first: bool) {
    let plain = Descent { gradient: Gradient::new(rule.maximize, rule.weight_decay), lr: T::real(-rule.lr) };
    if rule.momentum == 0.0 {
        return step(&plain, g, [w]);
    }
    let momentum = Momentum {
        plain,
        momentum: T::real(rule.momentum),
        fresh: T::real(1.0 - rule.dampening),
        nesterov: rule.nesterov,
        first,
    };
    step(&momentum, g, [w, buffer.expect("momentum needs a buffer")]);
}

/// SGD without momentum.
struct Descent<T> {
    gradient: Gradient<T>,
    lr: T,
}

impl<T: Float> Rule<T> for Descent<T> {
    #[inline(always)]
    fn update<M: MulAdd>(&self, g: T, [w, ..]: &mut [T; 4]) {
        *w = self.gradient.seen::<M>(g, *w).mul_add::<M>(self.lr, *w);
    }
}

/// SGD with momentum.
struct Momentum<T> {
    plain: Descent<T>,
    momentum: T,
    fresh: T,
    nesterov: bool,
    first: bool,
}

impl<T: Float> Rule<T> for Momentum<T> {
    #[inline(always)]
    fn update<M: MulAdd>(&self, g: T, [w, b, ..]: &mut [T; 4]) {
        let g = self.plain.gradient.seen::<M>(g, *w);
        let moved = if self.first { g } else { g.mul_add::<M>(self.fresh, *b * self.momentum) };
        *b = normal(moved);
        let along = if self.nesterov { moved.mul_add::<M>(self.momentum, g) } else { moved };
        *w = along.mul_add::<M>(self.plain.lr, *w);
    }
}

/// One step of Adam or AdamW on `w`, in PyTorch's order:
/// `m += (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g * g;
/// w -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)`.
///
/// `step_number` counts from 1. `m` and `v` start as zeros. With `largest` (AMSGrad) the largest `v` so far takes its place.
///
/// # Panics
/// The slices differ in length.
pub fn adam<T: Float>(
    rule: &Adam,
    step_number: u64,
    w: &mut [T],
    g: &[T],
    m: &mut [T],
    v: &mut [T],
    largest: Option<&mut [T]>,
) {
    <T as StepKernels>::adam(rule, step_number, w, g, m, v, largest);
}

fn adam_of<T: Float>(
    rule: &Adam,
    step_number: u64,
    w: &mut [T],
    g: &[T],
    m: &mut [T],
    v: &mut [T],
    largest: Option<&mut [T]>,
) {
    let correction1 = 1.0 - libm::pow(rule.beta1, step_number as f64);
    let correction2 = 1.0 - libm::pow(rule.beta2, step_number as f64);
    let (shrink, decay) =
        if rule.decoupled { (1.0 - rule.lr * rule.weight_decay, 0.0) } else { (1.0, rule.weight_decay) };
    let moments = Moments {
        gradient: Gradient::new(rule.maximize, decay),
        shrink: T::real(shrink),
        mean: Lerp::new(1.0 - rule.beta1),
        beta2: T::real(rule.beta2),
        fresh2: T::real(1.0 - rule.beta2),
        size: T::real(-(rule.lr / correction1)),
        root: T::real(correction2.sqrt()),
        eps: T::real(rule.eps),
        largest: largest.is_some(),
    };
    match largest {
        None => step(&moments, g, [w, m, v]),
        Some(largest) => step(&moments, g, [w, m, v, largest]),
    }
}

/// Adam and its variants.
struct Moments<T> {
    gradient: Gradient<T>,
    shrink: T,
    mean: Lerp<T>,
    beta2: T,
    fresh2: T,
    size: T,
    root: T,
    eps: T,
    largest: bool,
}

impl<T: Float> Rule<T> for Moments<T> {
    #[inline(always)]
    fn update<M: MulAdd>(&self, g: T, [w, m, v, top]: &mut [T; 4]) {
        let kept = *w * self.shrink;
        let g = self.gradient.seen::<M>(g, kept);
        *m = normal(self.mean.between::<M>(*m, g));
        *v = normal((self.fresh2 * g).mul_add::<M>(g, *v * self.beta2));
        *top = if *v > *top || v.nan() { *v } else { *top };
        let square = if self.largest { *top } else { *v };
        *w = kept + self.size * *m / (square.sqrt() / self.root + self.eps);
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
    mean: Option<&mut [T]>,
    buffer: Option<&mut [T]>,
) {
    <T as StepKernels>::rmsprop(rule, w, g, s, mean, buffer);
}

fn rmsprop_of<T: Float>(
    rule: &RmsProp,
    w: &mut [T],
    g: &[T],
    s: &mut [T],
    mean: Option<&mut [T]>,
    buffer: Option<&mut [T]>,
) {
    let squares = Squares {
        gradient: Gradient::new(rule.maximize, rule.weight_decay),
        lr: T::real(-rule.lr),
        alpha: T::real(rule.alpha),
        fresh: T::real(1.0 - rule.alpha),
        mean: Lerp::new(1.0 - rule.alpha),
        eps: T::real(rule.eps),
        momentum: T::real(rule.momentum),
    };
    assert!(rule.momentum == 0.0 || buffer.is_some(), "momentum needs a buffer");
    match (mean, buffer.filter(|_| rule.momentum != 0.0)) {
        (None, None) => step(&Plain(squares), g, [w, s]),
        (None, Some(buffer)) => step(&Moving(squares), g, [w, s, buffer]),
        (Some(mean), None) => step(&Centred(squares), g, [w, s, mean]),
        (Some(mean), Some(buffer)) => step(&CentredMoving(squares), g, [w, s, mean, buffer]),
    }
}

/// What the variants of RMSprop share.
struct Squares<T> {
    gradient: Gradient<T>,
    lr: T,
    alpha: T,
    fresh: T,
    mean: Lerp<T>,
    eps: T,
    momentum: T,
}

impl<T: Float> Squares<T> {
    /// The gradient as it is seen, with the mean square brought up to date.
    #[inline(always)]
    fn square<M: MulAdd>(&self, g: T, w: T, s: &mut T) -> T {
        let g = self.gradient.seen::<M>(g, w);
        *s = normal((self.fresh * g).mul_add::<M>(g, *s * self.alpha));
        g
    }

    /// The mean square about the mean, which is brought up to date.
    #[inline(always)]
    fn about<M: MulAdd>(&self, g: T, s: T, mean: &mut T) -> T {
        *mean = normal(self.mean.between::<M>(*mean, g));
        s - *mean * *mean
    }

    /// The step along a gradient.
    #[inline(always)]
    fn along(&self, g: T, w: &mut T, square: T) {
        *w = *w + self.lr * g / (square.sqrt() + self.eps);
    }

    /// The step along the momentum.
    #[inline(always)]
    fn moved<M: MulAdd>(&self, g: T, w: &mut T, square: T, b: &mut T) {
        let moved = *b * self.momentum + g / (square.sqrt() + self.eps);
        *b = normal(moved);
        *w = moved.mul_add::<M>(self.lr, *w);
    }
}

/// RMSprop as it is.
struct Plain<T>(Squares<T>);
/// RMSprop with momentum.
struct Moving<T>(Squares<T>);
/// RMSprop about the mean gradient.
struct Centred<T>(Squares<T>);
/// RMSprop about the mean gradient, with momentum.
struct CentredMoving<T>(Squares<T>);

impl<T: Float> Rule<T> for Plain<T> {
    #[inline(always)]
    fn update<M: MulAdd>(&self, g: T, [w, s, ..]: &mut [T; 4]) {
        let g = self.0.square::<M>(g, *w, s);
        self.0.along(g, w, *s);
    }
}

impl<T: Float> Rule<T> for Moving<T> {
    #[inline(always)]
    fn update<M: MulAdd>(&self, g: T, [w, s, b, _]: &mut [T; 4]) {
        let g = self.0.square::<M>(g, *w, s);
        self.0.moved::<M>(g, w, *s, b);
    }
}

impl<T: Float> Rule<T> for Centred<T> {
    #[inline(always)]
    fn update<M: MulAdd>(&self, g: T, [w, s, mean, _]: &mut [T; 4]) {
        let g = self.0.square::<M>(g, *w, s);
        self.0.along(g, w, self.0.about::<M>(g, *s, mean));
    }
}

impl<T: Float> Rule<T> for CentredMoving<T> {
    #[inline(always)]
    fn update<M: MulAdd>(&self, g: T, [w, s, mean, b]: &mut [T; 4]) {
        let g = self.0.square::<M>(g, *w, s);
        self.0.moved::<M>(g, w, self.0.about::<M>(g, *s, mean), b);
    }
}

/// One step of Adagrad on `w`, in PyTorch's order: `s += g * g; w -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(s) + eps)`.
///
/// `step_number` counts from 1. `s` is the sum of squares, from the initial accumulator value.
///
/// # Panics
/// The slices differ in length.
pub fn adagrad<T: Float>(rule: &Adagrad, step_number: u64, w: &mut [T], g: &[T], s: &mut [T]) {
    <T as StepKernels>::adagrad(rule, step_number, w, g, s);
}

fn adagrad_of<T: Float>(rule: &Adagrad, step_number: u64, w: &mut [T], g: &[T], s: &mut [T]) {
    let lr = rule.lr / (1.0 + step_number.saturating_sub(1) as f64 * rule.lr_decay);
    let sums =
        Sums { gradient: Gradient::new(rule.maximize, rule.weight_decay), lr: T::real(-lr), eps: T::real(rule.eps) };
    step(&sums, g, [w, s]);
}

/// Adagrad.
struct Sums<T> {
    gradient: Gradient<T>,
    lr: T,
    eps: T,
}

impl<T: Float> Rule<T> for Sums<T> {
    #[inline(always)]
    fn update<M: MulAdd>(&self, g: T, [w, s, ..]: &mut [T; 4]) {
        let g = self.gradient.seen::<M>(g, *w);
        *s = g.mul_add::<M>(g, *s);
        *w = *w + self.lr * g / (s.sqrt() + self.eps);
    }
}
