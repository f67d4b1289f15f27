//! Adam and AdamW: steps scaled by running averages of the gradient and of its square.

use kernels::optimize;
use tensor::{Parameter, Result};

use crate::engine::{Arrays, Engine, Real, array, face};
use crate::group::{Group, Plan};

const ARRAYS: [&str; 3] = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];

fn plan(parameters: Vec<Parameter>, lr: f64, weight_decay: f64) -> Plan {
    let options = [
        ("lr", lr),
        ("beta1", 0.9),
        ("beta2", 0.999),
        ("eps", 1e-8),
        ("weight_decay", weight_decay),
        ("amsgrad", 0.0),
        ("maximize", 0.0),
    ];
    Plan::new(parameters, &options)
}

/// Adam, as PyTorch's.
///
/// With gradient `g`, parameter `w`, averages `m` and `v` that start at 0, and the step number `t` from 1:
///
/// ```text
/// g = -g                               if maximize
/// g = g + weight_decay w
/// m = beta1 m + (1 - beta1) g
/// v = beta2 v + (1 - beta2) g g        amsgrad: the largest v so far is used below
/// w = w - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
/// ```
///
/// ```
/// use gabor_optim::{Adam, Optimizer};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::new([1f64, -20.0])?)?;
/// let mut adam = Adam::new(vec![w.clone()], 0.5).build()?;
/// w.tensor().square()?.sum()?.backward()?;
/// adam.step()?;
/// // The first step is lr long whatever the size of the gradient.
/// let after = w.tensor().to_vec::<f64>()?;
/// assert!((after[0] - 0.5).abs() < 1e-6 && (after[1] + 19.5).abs() < 1e-6);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Adam {
    engine: Engine,
}

face!(Adam, AdamBuilder, update_adam);

/// Options of [`Adam`] before it is built.
///
/// ```
/// use gabor_optim::{Adam};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// let optimizer = Adam::new(vec![w], 1e-3).betas((0.9, 0.99)).eps(1e-6).amsgrad(true).build()?;
/// # let _ = optimizer;
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call build"]
pub struct AdamBuilder {
    plan: Plan,
}

impl Adam {
    /// Adam over `parameters` with learning rate `lr` (PyTorch's default is 1e-3), betas (0.9, 0.999), eps 1e-8 and weight
    /// decay 0.0 unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(parameters: Vec<Parameter>, lr: f64) -> AdamBuilder {
        AdamBuilder { plan: plan(parameters, lr, 0.0) }
    }
}

impl AdamBuilder {
    /// The smoothing constants of the gradient and of its square; (0.9, 0.999) unless set.
    pub fn betas(self, betas: (f64, f64)) -> Self {
        self.with("beta1", betas.0).with("beta2", betas.1)
    }

    /// The term that keeps the denominator from 0; 1e-8 unless set.
    pub fn eps(self, eps: f64) -> Self {
        self.with("eps", eps)
    }

    /// The L2 penalty, added to the gradient; 0.0 unless set.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        self.with("weight_decay", weight_decay)
    }

    /// Whether to divide by the largest average of squares so far; `false` unless set.
    pub fn amsgrad(self, on: bool) -> Self {
        self.flag("amsgrad", on)
    }

    /// The optimizer.
    ///
    /// # Errors
    /// An option is NaN, infinite or negative, or a beta is not below 1; a group is empty; a parameter appears twice.
    pub fn build(self) -> Result<Adam> {
        Ok(Adam { engine: Engine::new("Adam", &ARRAYS, self.plan.build("Adam")?)? })
    }
}

/// Adam with decoupled weight decay, as PyTorch's `AdamW`.
///
/// Like [`Adam`](crate::Adam), but the decay shrinks the parameter itself before the step, `w = w - lr weight_decay w`, and the gradient
/// stays free of it.
///
/// ```
/// use gabor_optim::{AdamW, Optimizer};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::new([4f64])?)?;
/// let mut adam = AdamW::new(vec![w.clone()], 0.5).weight_decay(0.5).build()?;
/// w.set_grad(&Tensor::new([0f64])?)?;
/// adam.step()?;
/// assert_eq!(w.tensor().item()?, 3.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdamW {
    engine: Engine,
}

face!(AdamW, AdamWBuilder, update_adamw);

/// Options of [`AdamW`] before it is built.
///
/// ```
/// use gabor_optim::{AdamW};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// let optimizer = AdamW::new(vec![w], 1e-3).weight_decay(0.05).build()?;
/// # let _ = optimizer;
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call build"]
pub struct AdamWBuilder {
    plan: Plan,
}

impl AdamW {
    /// AdamW over `parameters` with learning rate `lr` (PyTorch's default is 1e-3), betas (0.9, 0.999), eps 1e-8 and weight
    /// decay 0.01 unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(parameters: Vec<Parameter>, lr: f64) -> AdamWBuilder {
        AdamWBuilder { plan: plan(parameters, lr, 0.01) }
    }
}

impl AdamWBuilder {
    /// The smoothing constants of the gradient and of its square; (0.9, 0.999) unless set.
    pub fn betas(self, betas: (f64, f64)) -> Self {
        self.with("beta1", betas.0).with("beta2", betas.1)
    }

    /// The term that keeps the denominator from 0; 1e-8 unless set.
    pub fn eps(self, eps: f64) -> Self {
        self.with("eps", eps)
    }

    /// The share of the learning rate by which parameters shrink in each step; 0.01 unless set.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        self.with("weight_decay", weight_decay)
    }

    /// Whether to divide by the largest average of squares so far; `false` unless set.
    pub fn amsgrad(self, on: bool) -> Self {
        self.flag("amsgrad", on)
    }

    /// The optimizer.
    ///
    /// # Errors
    /// An option is NaN, infinite or negative, or a beta is not below 1; a group is empty; a parameter appears twice.
    pub fn build(self) -> Result<AdamW> {
        Ok(AdamW { engine: Engine::new("AdamW", &ARRAYS, self.plan.build("AdamW")?)? })
    }
}

fn update_adam<T: Real>(group: &Group, t: u64, w: &mut [T], g: &[T], arrays: &mut Arrays<T>) {
    update(group, t, w, g, arrays, false);
}

fn update_adamw<T: Real>(group: &Group, t: u64, w: &mut [T], g: &[T], arrays: &mut Arrays<T>) {
    update(group, t, w, g, arrays, true);
}

fn update<T: Real>(group: &Group, t: u64, w: &mut [T], g: &[T], arrays: &mut Arrays<T>, decoupled: bool) {
    let rule = optimize::Adam {
        lr: group.lr(),
        beta1: group.get("beta1"),
        beta2: group.get("beta2"),
        eps: group.get("eps"),
        weight_decay: group.get("weight_decay"),
        decoupled,
        maximize: group.flag("maximize"),
    };
    let [m, v, largest] = &mut arrays[..] else { return };
    let (m, v) = (array(m, g.len(), 0.0), array(v, g.len(), 0.0));
    let largest = group.flag("amsgrad").then(|| array(largest, g.len(), 0.0));
    optimize::adam(&rule, t, w, g, m, v, largest);
}
