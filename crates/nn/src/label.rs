//! Errors of layers say where the layer stands.
//!
//! Each layer that can fail has a [`Label`], a shared cell. Walks through a model write the layer's path into it, and
//! [`named`] puts the label into the errors of the layer. The path is read when the error is shown: a container that the
//! error passes, or [`Forward::call`](crate::Forward::call), may find it later.

use std::panic::Location;

use tensor::{Label, Parameter, Result};

use crate::module::{Module, Visitor};

impl Module for Label {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.label(self);
    }
    fn is_submodule(&self) -> bool {
        false
    }
}

/// `result`, whose error says in which layer it happened: the path in `label`, or the line that called the layer.
///
/// ```
/// use gabor_nn::{Forward, Label, Module, named};
/// use tensor::{Parameter, Result, Tensor};
/// #[derive(Module)]
/// struct Scale {
///     factor: Parameter,
///     label: Label,
/// }
/// impl Forward for Scale {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         named(&self.label, x.mul(&self.factor.tensor()))
///     }
/// }
/// #[derive(Module)]
/// struct Net {
///     scale: Scale,
/// }
/// let scale = Scale { factor: Parameter::new(Tensor::ones([3])?)?, label: Label::default() };
/// let net = Net { scale };
/// assert_eq!(net.num_parameters(), 3);
/// let error = net.scale.forward(&Tensor::ones([2])?).unwrap_err();
/// assert_eq!(error.to_string(), "mul `scale`: shapes [2] and [3] do not broadcast, dimension 0 is 2 and 3");
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// That of `result`.
#[track_caller]
#[inline]
pub fn named<T>(label: &Label, result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => Err(error.at(label, Some(Location::caller()))),
    }
}

/// Writes paths into the labels of a module that is called `path` in its model.
#[derive(Default)]
pub(crate) struct Walk {
    path: Vec<String>,
}

impl Walk {
    /// Through all of `module`, which stands at `path`.
    pub(crate) fn through<M: Module + ?Sized>(module: &M, path: &str) {
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
    label.offer(path.take(depth));
}
