//! Layers in a list and layers by name, for models that call them themselves.

use std::any::Any;
use std::ops::Index;

use tensor::{Error, Result};

use crate::module::{Module, Visitor};
use crate::sequential::{IntoLayer, Layer};
use crate::tree;

/// Layers in a list, named by their positions; the model calls them as it likes. PyTorch: `torch.nn.ModuleList`.
///
/// A `Vec` of one type of layer does the same.
///
/// ```
/// use gabor_nn::{Forward, Linear, Module, ModuleList, Tanh};
/// use tensor::Tensor;
/// let mut layers = ModuleList::new();
/// layers.push(Linear::new(4, 4))?;
/// layers.push(Tanh)?;
/// let mut x = Tensor::zeros([2, 4])?;
/// for layer in &layers {
///     x = x.add(&layer.forward(&x)?)?;
/// }
/// assert_eq!(layers[0].type_name(), "Linear");
/// assert_eq!(layers.state_dict()[0].0, "0.weight");
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Default)]
pub struct ModuleList {
    layers: Vec<Layer>,
}

impl ModuleList {
    /// No layers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer at the end. PyTorch: `append`.
    ///
    /// # Errors
    /// The options of the layer do not make sense.
    pub fn push(&mut self, layer: impl IntoLayer) -> Result<()> {
        self.insert(self.len(), layer)
    }

    /// Adds a layer before position `at`.
    ///
    /// # Errors
    /// There are fewer layers than `at`, or the options of the layer do not make sense.
    pub fn insert(&mut self, at: usize, layer: impl IntoLayer) -> Result<()> {
        if at > self.len() {
            return Err(Error::argument("insert", format!("position {at} of {} layers; use push", self.len())));
        }
        let layer = layer.into_layer().map_err(|error| error.in_layer(&at.to_string()))?;
        self.layers.insert(at, layer);
        Ok(())
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layer at a position, if there is one.
    pub fn get(&self, at: usize) -> Option<&Layer> {
        self.layers.get(at)
    }

    /// The layers in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Layer> {
        self.layers.iter()
    }
}

impl std::fmt::Debug for ModuleList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let types = self.layers.iter().map(|layer| layer.type_name()).enumerate();
        write!(f, "ModuleList")?;
        f.debug_map().entries(types).finish()
    }
}

impl From<Vec<Layer>> for ModuleList {
    fn from(layers: Vec<Layer>) -> Self {
        ModuleList { layers }
    }
}

impl<'a> IntoIterator for &'a ModuleList {
    type Item = &'a Layer;
    type IntoIter = std::slice::Iter<'a, Layer>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Index<usize> for ModuleList {
    type Output = Layer;

    fn index(&self, at: usize) -> &Layer {
        &self.layers[at]
    }
}

impl Module for ModuleList {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.layers.visit(visitor);
    }

    fn named_children(&self) -> Vec<(String, &dyn Module)> {
        self.layers.named_children()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// Layers by name, in the order in which they were put in. PyTorch: `torch.nn.ModuleDict`.
///
/// ```
/// use gabor_nn::{Forward, Module, ModuleDict, ReLU, Tanh};
/// use tensor::Tensor;
/// let mut activations = ModuleDict::new();
/// activations.insert("relu", ReLU)?;
/// activations.insert("tanh", Tanh)?;
/// let y = activations["relu"].forward(&Tensor::new([-1f32])?)?;
/// assert_eq!(y.item()?, 0.0);
/// assert!(activations.get("gelu").is_none());
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Default)]
pub struct ModuleDict {
    layers: Vec<(String, Layer)>,
}

impl ModuleDict {
    /// No layers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer, or replaces the one of this name.
    ///
    /// # Errors
    /// The name is empty or has a dot in it, which separates names in paths; or the options of the layer make no sense.
    pub fn insert(&mut self, name: &str, layer: impl IntoLayer) -> Result<()> {
        if name.is_empty() || name.contains('.') {
            let message = format!("a layer is called {name:?}; use a name without dots that is not empty");
            return Err(Error::argument("insert", message));
        }
        let layer = layer.into_layer().map_err(|error| error.in_layer(name))?;
        match self.layers.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = layer,
            None => self.layers.push((name.to_owned(), layer)),
        }
        Ok(())
    }

    /// The layer of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|(own, _)| own == name).map(|(_, layer)| layer)
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Names and layers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Layer)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), layer))
    }
}

impl std::fmt::Debug for ModuleDict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModuleDict")?;
        f.debug_map().entries(self.iter().map(|(name, layer)| (name, layer.type_name()))).finish()
    }
}

impl Index<&str> for ModuleDict {
    type Output = Layer;

    /// # Panics
    /// There is no such name; see [`get`](ModuleDict::get).
    fn index(&self, name: &str) -> &Layer {
        self.get(name).unwrap_or_else(|| panic!("module_dict: no layer is called {name:?}"))
    }
}

impl Module for ModuleDict {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (name, layer) in &self.layers {
            visitor.enter(name);
            layer.visit(visitor);
            visitor.leave();
        }
    }

    fn named_children(&self) -> Vec<(String, &dyn Module)> {
        tree::submodules(self.layers.iter().map(|(name, layer)| (name, layer as &dyn Module)))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
