//! The switch between training and evaluation that some layers have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::module::{Module, Visitor};

/// Whether a layer is training. A layer that behaves differently then has such a field; [`Module::train`] and
/// [`Module::eval`] set it. Clones share the switch.
///
/// ```
/// use gabor_nn::{Module, Training};
/// #[derive(Module)]
/// struct Noise {
///     training: Training,
/// }
/// let noise = Noise { training: Training::default() };
/// assert!(noise.training.get());
/// noise.eval();
/// assert!(!noise.training.get());
/// ```
#[derive(Clone, Debug)]
pub struct Training(Arc<AtomicBool>);

impl Default for Training {
    /// New layers are training.
    fn default() -> Self {
        Training(Arc::new(AtomicBool::new(true)))
    }
}

impl Training {
    /// Whether the layer is training.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Switches between training and evaluation.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}

impl Module for Training {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.training(self);
    }
    fn is_submodule(&self) -> bool {
        false
    }
}

impl Training {
    /// Switches all of a module for as long as the result lives; then every switch is as before.
    pub(crate) fn all(module: &dyn Module, on: bool) -> Switched {
        let mut switches = Switched(Vec::new());
        module.visit(&mut switches);
        switches.0.iter().for_each(|(training, _)| training.set(on));
        switches
    }
}

/// Switches and what they were.
pub(crate) struct Switched(Vec<(Training, bool)>);

impl Visitor for Switched {
    fn training(&mut self, training: &Training) {
        self.0.push((training.clone(), training.get()));
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        // Backwards, so that a switch that was met twice ends as it was at first.
        self.0.iter().rev().for_each(|(training, on)| training.set(*on));
    }
}
