//! Stochastic gradient descent.

use kernels::optimize;
use tensor::{Error, Parameter, Result};

use crate::engine::{Arrays, Engine, Real, array, face};
use crate::group::{Group, Plan};

/// Stochastic gradient descent with momentum, as PyTorch's `SGD`.
///
/// With gradient `g`, parameter `w` and buffer `b` (which starts as the first `g`):
///
/// ```text
/// g = -g                    if maximize
/// g = g + weight_decay w
/// b = momentum b + (1 - dampening) g
/// g = b                     or g + momentum b if nesterov; without momentum g stays
/// w = w - lr g
/// ```
///
/// ```
/// use gabor_optim::{Optimizer, SGD};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::new([1f32, 2.0])?)?;
/// let mut sgd = SGD::new(vec![w.clone()], 0.25).build()?;
/// w.tensor().square()?.sum()?.backward()?;
/// sgd.step()?;
/// assert_eq!(w.tensor().to_vec::<f32>()?, [0.5, 1.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SGD {
    engine: Engine,
}

face!(SGD, SGDBuilder, update);

/// Options of [`SGD`] before it is built.
///
/// ```
/// use gabor_optim::{SGD};
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// let optimizer = SGD::new(vec![w], 0.1).momentum(0.9).nesterov(true).weight_decay(5e-4).build()?;
/// # let _ = optimizer;
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call build"]
pub struct SGDBuilder {
    plan: Plan,
}

impl SGD {
    /// SGD over `parameters` with learning rate `lr`, and momentum, dampening, weight decay 0 unless set.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(parameters: Vec<Parameter>, lr: f64) -> SGDBuilder {
        let options = [
            ("lr", lr),
            ("momentum", 0.0),
            ("dampening", 0.0),
            ("weight_decay", 0.0),
            ("nesterov", 0.0),
            ("maximize", 0.0),
        ];
        SGDBuilder { plan: Plan::new(parameters, &options) }
    }
}

impl SGDBuilder {
    /// The share of the previous step that is kept; 0 unless set.
    pub fn momentum(self, momentum: f64) -> Self {
        self.with("momentum", momentum)
    }

    /// The share of the gradient that momentum leaves out; 0 unless set.
    pub fn dampening(self, dampening: f64) -> Self {
        self.with("dampening", dampening)
    }

    /// The L2 penalty; 0 unless set.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        self.with("weight_decay", weight_decay)
    }

    /// Whether to look ahead along the momentum; `false` unless set.
    pub fn nesterov(self, on: bool) -> Self {
        self.flag("nesterov", on)
    }

    /// The optimizer.
    ///
    /// ```
    /// use gabor_optim::SGD;
    /// use tensor::{Parameter, Tensor};
    /// let w = Parameter::new(Tensor::ones([2])?)?;
    /// let error = SGD::new(vec![w], 0.1).momentum(-0.5).build().unwrap_err();
    /// assert_eq!(error.to_string(), "SGD: momentum is -0.5; use a finite number that is not negative");
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An option is NaN, infinite or negative; `nesterov` without momentum or with dampening; a group is empty; a
    /// parameter appears twice.
    pub fn build(self) -> Result<SGD> {
        let groups = self.plan.build("SGD")?;
        for group in &groups {
            let (momentum, dampening) = (group.get("momentum"), group.get("dampening"));
            if group.flag("nesterov") && (momentum == 0.0 || dampening != 0.0) {
                return Err(Error::argument(
                    "SGD",
                    format!(
                        "nesterov needs a momentum and no dampening, momentum is {momentum} and dampening {dampening}; set momentum(0.9) and dampening(0.0)"
                    ),
                ));
            }
        }
        Ok(SGD { engine: Engine::new("SGD", &["momentum_buffer"], groups)? })
    }
}

fn update<T: Real>(group: &Group, _: u64, w: &mut [T], g: &[T], arrays: &mut Arrays<T>) {
    let rule = optimize::Sgd {
        lr: group.lr(),
        momentum: group.get("momentum"),
        dampening: group.get("dampening"),
        weight_decay: group.get("weight_decay"),
        nesterov: group.flag("nesterov"),
        maximize: group.flag("maximize"),
    };
    let first = arrays[0].is_none();
    let buffer = (rule.momentum != 0.0).then(|| array(&mut arrays[0], w.len(), 0.0));
    optimize::sgd(&rule, w, g, buffer, first);
}
