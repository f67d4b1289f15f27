//! The way that led to a tensor, for messages.

use kernels::handle::DynHandle;

use super::{Kind, Rule, Saved, Tensor, lock};
use crate::error::Error;
use crate::label::Label;
use crate::shape::Shape;

/// Longer ways are cut off.
const STEPS: usize = 1000;

/// One operation on the way.
pub(crate) struct Past {
    /// The shape of its result.
    pub(crate) shape: Shape,
    /// Its rule.
    pub(crate) rule: DynHandle<dyn Rule>,
    /// How many of its inputs are recorded and have four dimensions.
    pub(crate) images: usize,
}

/// `error` of an operation on `tensors`: it happened in the layer of the first parameter among them.
#[cold]
pub(crate) fn in_owner(error: Error, tensors: &[&Tensor]) -> Error {
    let label = |tensor: &&Tensor| match &tensor.node.as_ref()?.kind {
        Kind::Leaf { label, .. } => label.get().map(Label::share),
        Kind::Op { .. } => None,
    };
    match tensors.iter().find_map(label) {
        Some(parameter) => error.in_owner_of(&parameter),
        None => error,
    }
}

impl Tensor {
    /// The operations that led to this tensor, newest first; of several inputs the way goes on with the first.
    pub(crate) fn past(&self) -> Vec<Past> {
        let mut past = Vec::new();
        let mut next = self.node.as_ref();
        while let Some(node) = next
            && past.len() < STEPS
            && let Kind::Op { rule, parents } = &node.kind
        {
            let Saved::Rule(rule) = lock(rule).clone() else { break };
            let images = parents.iter().flatten().filter(|parent| parent.shape.len() == 4).count();
            past.push(Past { shape: node.shape.clone(), rule, images });
            next = parents.first().and_then(Option::as_ref);
        }
        past
    }

    /// The name in a model of the parameter that this tensor is the value of.
    pub(crate) fn parameter_name(&self) -> Option<String> {
        self.node.as_ref()?.parameter_name()
    }

    /// Says that this leaf is the value of the parameter with this label.
    pub(crate) fn belongs_to(&self, parameter: &Label) {
        if let Some(Kind::Leaf { label, .. }) = self.node.as_ref().map(|node| &node.kind) {
            // A leaf belongs to one parameter, the first.
            let _ = label.set(parameter.share());
        }
    }
}

impl super::Node {
    pub(super) fn parameter_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Leaf { label, .. } => label.get()?.path().filter(|name| !name.is_empty()),
            Kind::Op { .. } => None,
        }
    }
}
