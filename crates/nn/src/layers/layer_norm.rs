//! Layer normalisation.

use tensor::{Error, Parameter, Result, Shape, Tensor};

use super::options;
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, functional};

/// Standardises the last dimensions of each sample, then scales and shifts them. PyTorch: `torch.nn.LayerNorm`.
///
/// ```
/// use gabor_nn::{Forward, LayerNorm};
/// use tensor::Tensor;
/// let layer = LayerNorm::new([3, 4]).build()?;
/// assert_eq!(layer.forward(&Tensor::randn([2, 3, 4])?)?.shape(), &[2, 3, 4]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// `normalized_shape`, if affine; starts as 1.
    pub weight: Option<Parameter>,
    /// `normalized_shape`, if affine; starts as 0.
    pub bias: Option<Parameter>,
    normalized_shape: Shape,
    eps: f64,
    label: Label,
}

/// Makes a [`LayerNorm`].
#[derive(Clone, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct LayerNormBuilder {
    normalized_shape: Shape,
    eps: f64,
    elementwise_affine: bool,
    bias: bool,
}

impl LayerNorm {
    /// Over the last dimensions, which must have these sizes; with eps 1e-5, weight and bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(normalized_shape: impl Into<Shape>) -> LayerNormBuilder {
        LayerNormBuilder { normalized_shape: normalized_shape.into(), eps: 1e-5, elementwise_affine: true, bias: true }
    }
}

impl LayerNormBuilder {
    /// Sets what is added to the variance before dividing.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether there are a weight and a bias.
    pub fn elementwise_affine(mut self, affine: bool) -> Self {
        self.elementwise_affine = affine;
        self
    }

    /// Sets whether there is a bias beside the weight.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// There is no dimension, one is 0, or `eps` is NaN or negative.
    pub fn build(self) -> Result<LayerNorm> {
        let shape = &self.normalized_shape;
        if shape.is_empty() || shape.contains(&0) {
            let message = format!("normalized_shape is {shape:?}; it needs at least one dimension, none of them 0");
            return Err(Error::argument("layer_norm", message));
        }
        options::epsilon("layer_norm", self.eps)?;
        let learned = |on: bool, value: f32| on.then(|| Parameter::new(Tensor::full(shape, value)?)).transpose();
        Ok(LayerNorm {
            weight: learned(self.elementwise_affine, 1.0)?,
            bias: learned(self.elementwise_affine && self.bias, 0.0)?,
            normalized_shape: shape.clone(),
            eps: self.eps,
            label: Label::default(),
        })
    }
}

impl Forward for LayerNorm {
    /// # Errors
    /// The shape does not end in `normalized_shape`.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.as_ref().map(Parameter::tensor), self.bias.as_ref().map(Parameter::tensor));
        let x = self.label.enter(x)?;
        self.label
            .leave(&x, functional::layer_norm(&x, &self.normalized_shape, weight.as_ref(), bias.as_ref(), self.eps))
    }
}

impl IntoLayer for LayerNormBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
