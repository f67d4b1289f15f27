//! Errors of layers say where the layer stands.
//!
//! Each layer that can fail has a [`Label`], a shared cell. Walks through a model write the layer's path into it, and
//! [`Label::leave`] puts the label into the errors of the layer. The path is read when the error is shown: a container that
//! the error passes, or [`Forward::call`](crate::Forward::call), may find it later.

use std::borrow::Cow;

use tensor::{Error, Parameter, Result, Tensor, caller};

use crate::hooks::Hooks;
use crate::module::{Module, Visitor};

/// Where a layer stands in its model, for its errors, and what is to run before and after it, for hooks.
///
/// A layer of your own has one as a field, and its `forward` begins with [`enter`](Self::enter) and ends in
/// [`leave`](Self::leave). A clone is a layer of its own, without hooks.
///
/// ```
/// use gabor_nn::{Forward, Label, Module};
/// use tensor::{Parameter, Result, Tensor};
/// #[derive(Module)]
/// struct Scale {
///     factor: Parameter,
///     label: Label,
/// }
/// impl Forward for Scale {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         let x = self.label.enter(x)?;
///         self.label.leave(&x, x.mul(&self.factor.tensor()))
///     }
/// }
/// #[derive(Module)]
/// struct Net {
///     scale: Scale,
/// }
/// let scale = Scale { factor: Parameter::new(Tensor::ones([3])?)?, label: Label::default() };
/// let net = Net { scale };
/// net.register_forward_hook("scale", |_, y| Ok(Some(y.mul_scalar(2.0)?)))?;
/// assert_eq!(net.scale.forward(&Tensor::ones([3])?)?.to_vec::<f32>()?, [2.0; 3]);
/// net.eval();
/// let error = net.scale.forward(&Tensor::ones([2])?).unwrap_err();
/// assert_eq!(error.to_string(), "mul `scale`: shapes [2] and [3] do not broadcast, dimension 0 is 2 and 3");
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Label {
    place: tensor::Label,
    hooks: Hooks,
}

impl Label {
    /// The input that the layer is to use: `x`, or what hooks make of it.
    ///
    /// # Errors
    /// Those of hooks, with the place of the layer.
    #[track_caller]
    #[inline]
    pub fn enter<'a>(&self, x: &'a Tensor) -> Result<Cow<'a, Tensor>> {
        self.named(self.hooks.before(x))
    }

    /// The output of the layer for the input `x`: `result`, or what hooks make of it. An error says in which layer it happened.
    ///
    /// # Errors
    /// That of `result`, or of a hook.
    #[track_caller]
    #[inline]
    pub fn leave(&self, x: &Tensor, result: Result<Tensor>) -> Result<Tensor> {
        self.named(match result {
            Ok(y) => self.hooks.after(x, y),
            error => error,
        })
    }

    /// `result`, whose error says in which layer it happened: the path, or the line that called the layer.
    ///
    /// # Errors
    /// That of `result`.
    #[track_caller]
    #[inline]
    pub fn named<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(error.at(&self.place, Some(caller()))),
        }
    }

    /// The path in the model, as in the keys of a state dict, once a walk through the model has found it.
    pub fn path(&self) -> Option<String> {
        self.place.path()
    }

    /// Whether a path of so many names would tell nothing new.
    pub(crate) fn knows(&self, names: usize) -> bool {
        self.place.knows(names)
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// `error`, which happened at `position` of the container that this is the label of.
    pub(crate) fn placed(&self, error: Error, position: &str) -> Error {
        error.in_labelled(&self.place, position)
    }
}

/// `result` of a layer without a label, whose error names the line that called it; a container adds the path.
#[track_caller]
#[inline]
pub(crate) fn called<T>(result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => Err(error.called_at(caller())),
    }
}

impl Module for Label {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.label(self);
    }
    fn is_submodule(&self) -> bool {
        false
    }
}

/// Writes paths into the labels of a module that is called `path` in its model.
#[derive(Default)]
pub(crate) struct Walk {
    path: Vec<String>,
}

impl Walk {
    /// Through all of `module`, which stands at `path`.
    pub(crate) fn through(module: &dyn Module, path: &str) {
        let path = path.split('.').filter(|name| !name.is_empty()).map(String::from).collect();
        module.visit(&mut Walk { path });
    }
}

impl Visitor for Walk {
    fn enter(&mut self, name: &str) {
        self.path.push(name.to_owned());
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn parameter(&mut self, parameter: &Parameter) {
        parameter.label().offer(self.path.iter().map(String::as_str));
    }

    fn label(&mut self, label: &Label) {
        offer(label, self.path.iter().map(String::as_str));
    }
}

/// The label is a field of the layer, so the last name of `path` is not the layer's.
pub(crate) fn offer<'a>(label: &Label, path: impl ExactSizeIterator<Item = &'a str> + Clone) {
    let depth = path.len().saturating_sub(1);
    label.place.offer(path.take(depth));
}
