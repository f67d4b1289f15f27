//! RMSprop: steps scaled by a running average of the squared gradient.

use kernels::optimize;
use tensor::{Parameter, Result};

use crate::engine::{Arrays, Engine, Real, array, face};
use crate::group::{Group, Plan};

/// RMSprop, as PyTorch's.
///
/// With gradient `g`, parameter `w`, and averages `v`, `a` and a buffer `b` that start at 0:
///
/// ```text
/// g = -g                               if maximize
/// g = g + weight_decay w
/// v = alpha v + (1 - alpha) g g
/// a = alpha a + (1 - alpha) g          if centered
/// d = sqrt(v) + eps                    centered: sqrt(v - a a) + eps
/// b = momentum b + g / d
/// w = w - lr b
/// ```
///
/// ```
/// use gabor_optim::{Optimizer, RMSprop};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::new([4f64])?)?;
/// let mut rmsprop = RMSprop::new(vec![w.clone()], 0.1).alpha(0.75).build()?;
/// w.set_grad(&Tensor::new([6f64])?)?;
/// rmsprop.step()?;
/// // The average is a quarter of 36, so the step is 0.1 * 6 / 3.
/// assert!((w.tensor().item()? - 3.8).abs() < 1e-8);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RMSprop {
    engine: Engine,
}

face!(RMSprop, RMSpropBuilder, update);

/// Options of [`RMSprop`] before it is built.
///
/// ```
/// use gabor_optim::{RMSprop};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// let optimizer = RMSprop::new(vec![w], 1e-2).alpha(0.9).momentum(0.9).centered(true).build()?;
/// # let _ = optimizer;
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call build"]
pub struct RMSpropBuilder {
    plan: Plan,
}

impl RMSprop {
    /// RMSprop over `parameters` with learning rate `lr` (PyTorch's default is 1e-2), alpha 0.99, eps 1e-8, no weight
    /// decay and no momentum unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(parameters: Vec<Parameter>, lr: f64) -> RMSpropBuilder {
        let options = [
            ("lr", lr),
            ("alpha", 0.99),
            ("eps", 1e-8),
            ("weight_decay", 0.0),
            ("momentum", 0.0),
            ("centered", 0.0),
            ("maximize", 0.0),
        ];
        RMSpropBuilder { plan: Plan::new(parameters, &options) }
    }
}

impl RMSpropBuilder {
    /// The smoothing constant; 0.99 unless set.
    pub fn alpha(self, alpha: f64) -> Self {
        self.with("alpha", alpha)
    }

    /// The term that keeps the denominator from 0; 1e-8 unless set.
    pub fn eps(self, eps: f64) -> Self {
        self.with("eps", eps)
    }

    /// The L2 penalty; 0 unless set.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        self.with("weight_decay", weight_decay)
    }

    /// The share of the previous step that is kept; 0 unless set.
    pub fn momentum(self, momentum: f64) -> Self {
        self.with("momentum", momentum)
    }

    /// Whether to subtract the square of the average gradient, an estimate of the variance; `false` unless set.
    pub fn centered(self, on: bool) -> Self {
        self.flag("centered", on)
    }

    /// The optimizer.
    ///
    /// # Errors
    /// An option is NaN, infinite or negative; a group is empty; a parameter appears twice.
    pub fn build(self) -> Result<RMSprop> {
        let arrays = &["square_avg", "momentum_buffer", "grad_avg"];
        Ok(RMSprop { engine: Engine::new("RMSprop", arrays, self.plan.build("RMSprop")?)? })
    }
}

fn update<T: Real>(group: &Group, _: u64, w: &mut [T], g: &[T], arrays: &mut Arrays<T>) {
    let rule = optimize::RmsProp {
        lr: group.lr(),
        alpha: group.get("alpha"),
        eps: group.get("eps"),
        weight_decay: group.get("weight_decay"),
        momentum: group.get("momentum"),
        maximize: group.flag("maximize"),
    };
    let [squares, buffer, mean] = &mut arrays[..] else { return };
    let mean = group.flag("centered").then(|| array(mean, g.len(), 0.0));
    let buffer = (rule.momentum != 0.0).then(|| array(buffer, g.len(), 0.0));
    optimize::rmsprop(&rule, w, g, array(squares, g.len(), 0.0), mean, buffer);
}
