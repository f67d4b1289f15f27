//! Group normalisation.

use tensor::{Parameter, Result, Tensor};

use super::options;
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, functional};

/// Standardises groups of channels of each sample, then scales and shifts each channel. PyTorch: `torch.nn.GroupNorm`.
///
/// Input `[N, num_channels, ...]`.
///
/// ```
/// use gabor_nn::{Forward, GroupNorm};
/// use tensor::Tensor;
/// let layer = GroupNorm::new(2, 6).build()?;
/// assert_eq!(layer.forward(&Tensor::randn([2, 6, 4, 4])?)?.shape(), &[2, 6, 4, 4]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct GroupNorm {
    /// `[num_channels]`, if affine; starts as 1.
    pub weight: Option<Parameter>,
    /// `[num_channels]`, if affine; starts as 0.
    pub bias: Option<Parameter>,
    num_groups: usize,
    eps: f64,
    label: Label,
}

/// Makes a [`GroupNorm`].
#[derive(Clone, Copy, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct GroupNormBuilder {
    num_groups: usize,
    num_channels: usize,
    eps: f64,
    affine: bool,
}

impl GroupNorm {
    /// `num_channels` in `num_groups` groups, with eps 1e-5, weight and bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(num_groups: usize, num_channels: usize) -> GroupNormBuilder {
        GroupNormBuilder { num_groups, num_channels, eps: 1e-5, affine: true }
    }
}

impl GroupNormBuilder {
    /// Sets what is added to the variance before dividing.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether there are a weight and a bias.
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// A number is 0, the groups do not divide the channels, or `eps` is NaN or negative.
    pub fn build(self) -> Result<GroupNorm> {
        let op = "group_norm";
        options::sizes(op, &[("num_groups", self.num_groups), ("num_channels", self.num_channels)])?;
        options::divisible(op, "num_channels", self.num_channels, self.num_groups)?;
        options::epsilon(op, self.eps)?;
        let learned =
            |value: f32| self.affine.then(|| Parameter::new(Tensor::full(self.num_channels, value)?)).transpose();
        Ok(GroupNorm {
            weight: learned(1.0)?,
            bias: learned(0.0)?,
            num_groups: self.num_groups,
            eps: self.eps,
            label: Label::default(),
        })
    }
}

impl Forward for GroupNorm {
    /// # Errors
    /// The rank is below 2, or the channels do not fit.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.as_ref().map(Parameter::tensor), self.bias.as_ref().map(Parameter::tensor));
        let x = self.label.enter(x)?;
        self.label.leave(&x, functional::group_norm(&x, self.num_groups, weight.as_ref(), bias.as_ref(), self.eps))
    }

    fn per_image(&self) -> bool {
        true
    }
}

impl IntoLayer for GroupNormBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
