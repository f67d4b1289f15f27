//! What every optimizer does.

use tensor::Result;

use crate::group::Group;
use crate::state::StateDict;

/// Moves parameters along the gradients that `backward` stored in them.
///
/// Parameters without a gradient, and frozen ones, stay as they are. Optimizers of your own implement the five
/// required methods; schedules and files work with them as with those of this crate. A `Box<dyn Optimizer>` is one too.
///
/// ```
/// use gabor_optim::{Group, Optimizer, StateDict};
/// use tensor::{Parameter, Result, Tensor};
///
/// /// Steps of fixed length against the sign of the gradient.
/// struct SignSGD(Vec<Group>);
///
/// impl Optimizer for SignSGD {
///     fn step(&mut self) -> Result<()> {
///         for group in &self.0 {
///             for w in group.parameters() {
///                 w.update(|w, grad| w - grad.sign().expect("floats have signs") * group.lr())?;
///             }
///         }
///         Ok(())
///     }
///     fn groups(&self) -> &[Group] {
///         &self.0
///     }
///     fn groups_mut(&mut self) -> &mut [Group] {
///         &mut self.0
///     }
///     fn state_dict(&self) -> Result<StateDict> {
///         Ok(StateDict::new("SignSGD"))
///     }
///     fn load_state_dict(&mut self, _: &StateDict) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let w = Parameter::new(Tensor::new([4f64, -2.0])?)?;
/// let mut sign = SignSGD(vec![Group::new("SignSGD", vec![w.clone()], &[("lr", 0.5)])?]);
/// w.tensor().square()?.sum()?.backward()?;
/// sign.step()?;
/// assert_eq!(w.tensor().to_vec::<f64>()?, [3.5, -1.5]);
/// # Ok::<(), tensor::Error>(())
/// ```
pub trait Optimizer {
    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// A parameter has changed its dtype since the optimizer was built.
    fn step(&mut self) -> Result<()>;

    /// The parameter groups.
    fn groups(&self) -> &[Group];

    /// The parameter groups, for changing their options.
    fn groups_mut(&mut self) -> &mut [Group];

    /// The options and what has been remembered so far, for a file.
    ///
    /// # Errors
    /// There is no memory for the copy.
    fn state_dict(&self) -> Result<StateDict>;

    /// Takes over stored options and memories; nothing changes if they do not fit.
    ///
    /// # Errors
    /// The state belongs to another optimizer, or to other numbers or shapes of parameters; all misfits are named.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()>;

    /// Forgets the gradients of all parameters.
    ///
    /// ```
    /// # use gabor_optim::{Optimizer, SGD};
    /// # use tensor::{Parameter, Tensor};
    /// let w = Parameter::new(Tensor::ones([2])?)?;
    /// let sgd = SGD::new(vec![w.clone()], 0.1).build()?;
    /// w.tensor().sum()?.backward()?;
    /// sgd.zero_grad();
    /// assert!(w.grad().is_none());
    /// # Ok::<(), tensor::Error>(())
    /// ```
    fn zero_grad(&self) {
        for group in self.groups() {
            group.parameters().iter().for_each(tensor::Parameter::zero_grad);
        }
    }

    /// The learning rate of the first group.
    fn lr(&self) -> f64 {
        self.groups().first().map_or(0.0, Group::lr)
    }

    /// Sets the learning rate of every group.
    ///
    /// # Errors
    /// `lr` is negative, NaN or infinite.
    fn set_lr(&mut self, lr: f64) -> Result<()> {
        self.groups_mut().iter_mut().try_for_each(|group| group.set_lr(lr))
    }
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn step(&mut self) -> Result<()> {
        (**self).step()
    }

    fn groups(&self) -> &[Group] {
        (**self).groups()
    }

    fn groups_mut(&mut self) -> &mut [Group] {
        (**self).groups_mut()
    }

    fn state_dict(&self) -> Result<StateDict> {
        (**self).state_dict()
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        (**self).load_state_dict(state)
    }
}
