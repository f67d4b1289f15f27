//! Layers one after the other.

use std::any::Any;
use std::panic::Location;

use tensor::{Error, Result, Tensor, called_from};

use crate::fold::{in_one, is_relu};
use crate::hooks::Hooks;
use crate::label::{Label, Walk};
use crate::module::{Forward, LIBRARY, Module, Visitor};
use crate::pieces;

/// A layer of any type.
pub type Layer = Box<dyn Forward + Send + Sync>;

/// What can be put into a [`Sequential`]: finished layers, and builders, which are built then.
pub trait IntoLayer {
    /// The finished layer.
    ///
    /// # Errors
    /// The options of the layer do not make sense.
    fn into_layer(self) -> Result<Layer>;
}

impl<L: Forward + Send + Sync + 'static> IntoLayer for L {
    fn into_layer(self) -> Result<Layer> {
        self.check()?;
        Ok(Box::new(self))
    }
}

/// Layers one after the other, named by their positions: `0.weight`, `2.weight`. PyTorch: `torch.nn.Sequential`.
///
/// [`seq!`](crate::seq) makes one from a list.
///
/// ```
/// use gabor_nn::{Forward, Linear, Module, Sequential, Tanh};
/// use tensor::Tensor;
/// let mut net = Sequential::new();
/// net.push(Linear::new(4, 3))?;
/// net.push(Tanh)?;
/// assert_eq!(net.forward(&Tensor::zeros([2, 4])?)?.shape(), &[2, 3]);
/// assert_eq!(format!("{net:?}"), "Sequential(0: Linear, 1: Tanh)");
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Layer>,
    /// Of the layers, for those that keep none themselves.
    hooks: Vec<Hooks>,
    label: Label,
}

impl Sequential {
    /// No layers yet: the result is the input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer at the end.
    ///
    /// # Errors
    /// The options of the layer do not make sense.
    pub fn push(&mut self, layer: impl IntoLayer) -> Result<()> {
        let layer = layer.into_layer().map_err(|error| error.in_layer(&self.layers.len().to_string()))?;
        self.layers.push(layer);
        self.hooks.push(Hooks::default());
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

    /// The layers in order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The result of the layers from `i` on for `y`, which went into layer `i`.
    #[track_caller]
    fn run(&self, mut i: usize, mut y: Tensor) -> Result<Tensor> {
        while let Some((layer, hooks)) = self.layers.get(i).zip(self.hooks.get(i)) {
            if let Some(images) = pieces::images(&self.layers[i..], &self.hooks[i..], &y)
                && let Ok(y) = pieces::each(&y, images, |y| self.run(i, y))
            {
                return Ok(y);
            }
            if hooks.is_empty() && is_relu(layer) {
                // In the memory of what went in, if nothing else holds it.
                y = y.relu_().map_err(|error| self.placed(error, i))?;
                i += 1;
                continue;
            }
            let in_one = if hooks.is_empty() { in_one(&self.layers[i..], &self.hooks[i..], &y) } else { None };
            let (count, result) = in_one.unwrap_or_else(|| {
                let run = |x: &Tensor| {
                    let x = hooks.before(x)?;
                    hooks.after(&x, layer.forward(&x)?)
                };
                (1, run(&y))
            });
            y = result.map_err(|error| self.placed(error, i))?;
            i += count;
        }
        Ok(y)
    }

    /// The error of layer `i`, which knows its path after this walk even if there was none before.
    #[cold]
    fn placed(&self, error: Error, i: usize) -> Error {
        Walk::through(self, &self.label.path().unwrap_or_default());
        self.label.placed(error, &i.to_string())
    }
}

impl From<Vec<Layer>> for Sequential {
    fn from(layers: Vec<Layer>) -> Self {
        Sequential { hooks: layers.iter().map(|_| Hooks::default()).collect(), layers, label: Label::default() }
    }
}

impl Module for Sequential {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (i, (layer, hooks)) in self.layers.iter().zip(&self.hooks).enumerate() {
            visitor.enter(&i.to_string());
            visitor.hooks(hooks);
            layer.visit(visitor);
            visitor.leave();
        }
        visitor.enter("label");
        visitor.label(&self.label);
        visitor.leave();
    }
    fn named_children(&self) -> Vec<(String, &dyn Module)> {
        self.layers.named_children()
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl Forward for Sequential {
    /// # Errors
    /// As the layer that fails, with its path.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        let y = called_from(Location::caller(), LIBRARY, || self.run(0, x.clone().into_owned()));
        self.label.leave(&x, Ok(y?))
    }

    fn per_image(&self) -> bool {
        self.layers.iter().all(|layer| layer.per_image())
    }
}

impl std::fmt::Debug for Sequential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> =
            self.layers.iter().enumerate().map(|(i, layer)| format!("{i}: {}", layer.type_name())).collect();
        write!(f, "Sequential({})", names.join(", "))
    }
}

/// A [`Sequential`] of builders and layers; the result is a `Result`.
///
/// ```
/// use gabor_nn::{Linear, ReLU, Module, seq};
/// let net = seq![Linear::new(784, 64), ReLU, Linear::new(64, 10)]?;
/// assert_eq!(net.num_parameters(), 784 * 64 + 64 + 64 * 10 + 10);
/// # Ok::<(), tensor::Error>(())
/// ```
#[macro_export]
macro_rules! seq {
    ($($layer:expr),* $(,)?) => {
        (|| {
            #[allow(unused_mut)]
            let mut sequential = $crate::Sequential::new();
            $( sequential.push($layer)?; )*
            ::core::result::Result::<_, $crate::Error>::Ok(sequential)
        })()
    };
}
