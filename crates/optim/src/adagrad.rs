//! Adagrad: steps scaled by the sum of all squared gradients so far.

use kernels::optimize;
use tensor::{Parameter, Result};

use crate::engine::{Arrays, Engine, Real, array, face};
use crate::group::{Group, Plan};

/// Adagrad, as PyTorch's.
///
/// With gradient `g`, parameter `w`, the sum `s` that starts at `initial_accumulator_value`, and the step number `t` from 1:
///
/// ```text
/// g = -g                               if maximize
/// g = g + weight_decay w
/// s = s + g g
/// w = w - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)
/// ```
///
/// ```
/// use gabor_optim::{Adagrad, Optimizer};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::new([1f64])?)?;
/// let mut adagrad = Adagrad::new(vec![w.clone()], 0.1).build()?;
/// for grad in [3f64, 4.0] {
///     w.set_grad(&Tensor::new([grad])?)?;
///     adagrad.step()?;
/// }
/// // Steps 0.1 * 3 / 3 and 0.1 * 4 / 5.
/// assert!((w.tensor().item()? - 0.82).abs() < 1e-9);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Adagrad {
    engine: Engine,
}

face!(Adagrad, AdagradBuilder, update);

/// Options of [`Adagrad`] before it is built.
///
/// ```
/// use gabor_optim::{Adagrad};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// let optimizer = Adagrad::new(vec![w], 1e-2).lr_decay(0.1).initial_accumulator_value(0.1).build()?;
/// # let _ = optimizer;
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call build"]
pub struct AdagradBuilder {
    plan: Plan,
}

impl Adagrad {
    /// Adagrad over `parameters` with learning rate `lr` (PyTorch's default is 1e-2), eps 1e-10 and all else 0 unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(parameters: Vec<Parameter>, lr: f64) -> AdagradBuilder {
        let options = [
            ("lr", lr),
            ("lr_decay", 0.0),
            ("weight_decay", 0.0),
            ("initial_accumulator_value", 0.0),
            ("eps", 1e-10),
            ("maximize", 0.0),
        ];
        AdagradBuilder { plan: Plan::new(parameters, &options) }
    }
}

impl AdagradBuilder {
    /// How fast the learning rate falls; 0 unless set.
    pub fn lr_decay(self, lr_decay: f64) -> Self {
        self.with("lr_decay", lr_decay)
    }

    /// The L2 penalty; 0 unless set.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        self.with("weight_decay", weight_decay)
    }

    /// Where the sums of squares start; 0 unless set.
    pub fn initial_accumulator_value(self, value: f64) -> Self {
        self.with("initial_accumulator_value", value)
    }

    /// The term that keeps the denominator from 0; 1e-10 unless set.
    pub fn eps(self, eps: f64) -> Self {
        self.with("eps", eps)
    }

    /// The optimizer.
    ///
    /// # Errors
    /// An option is NaN, infinite or negative; a group is empty; a parameter appears twice.
    pub fn build(self) -> Result<Adagrad> {
        Ok(Adagrad { engine: Engine::new("Adagrad", &["sum"], self.plan.build("Adagrad")?)? })
    }
}

fn update<T: Real>(group: &Group, t: u64, w: &mut [T], g: &[T], arrays: &mut Arrays<T>) {
    let rule = optimize::Adagrad {
        lr: group.lr(),
        lr_decay: group.get("lr_decay"),
        weight_decay: group.get("weight_decay"),
        eps: group.get("eps"),
        maximize: group.flag("maximize"),
    };
    let start = group.get("initial_accumulator_value");
    optimize::adagrad(&rule, t, w, g, array(&mut arrays[0], g.len(), start));
}
