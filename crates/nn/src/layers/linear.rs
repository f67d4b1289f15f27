//! The fully connected layer.

use tensor::{Parameter, Result, Tensor};

use super::options;
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, init};

/// `x @ weight.T + bias` over the last dimension. PyTorch: `torch.nn.Linear`.
///
/// Input `[..., in_features]`, result `[..., out_features]`. Both start uniform within `1 / sqrt(in_features)`.
///
/// ```
/// use gabor_nn::{Forward, Linear};
/// use tensor::Tensor;
/// let layer = Linear::new(400, 120).build()?;
/// assert_eq!(layer.forward(&Tensor::zeros([64, 400])?)?.shape(), &[64, 120]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Linear {
    /// `[out_features, in_features]`.
    pub weight: Parameter,
    /// `[out_features]`.
    pub bias: Option<Parameter>,
    label: Label,
}

/// Makes a [`Linear`].
#[derive(Clone, Copy, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct LinearBuilder {
    in_features: usize,
    out_features: usize,
    bias: bool,
    lazy: bool,
}

/// A [`Linear`] whose `in_features` is taken from its first input, from a file, or by
/// [`materialize`](crate::Forward::materialize). PyTorch: `torch.nn.LazyLinear`.
///
/// The layer is a `Linear` from the beginning; until its size is known, its parameters are empty and optimizers refuse
/// them.
///
/// ```
/// use gabor_nn::{Conv2d, Flatten, Forward, LazyLinear, Module, ReLU, seq};
/// let net = seq![Conv2d::new(1, 6, 5), ReLU, Flatten, LazyLinear::new(10)]?;
/// assert_eq!(net.materialize(&[1, 1, 28, 28])?.to_vec(), [1, 10]);
/// assert_eq!(net.get_parameter("3.weight")?.shape().to_vec(), [10, 6 * 24 * 24]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LazyLinear;

impl LazyLinear {
    /// A layer to `out_features`, with a bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(out_features: usize) -> LinearBuilder {
        LinearBuilder { in_features: 0, out_features, bias: true, lazy: true }
    }
}

impl Linear {
    /// A layer from `in_features` to `out_features`, with a bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(in_features: usize, out_features: usize) -> LinearBuilder {
        LinearBuilder { in_features, out_features, bias: true, lazy: false }
    }

    /// The size of the last dimension that comes in; 0 while it is open.
    pub fn in_features(&self) -> usize {
        self.weight.shape()[1]
    }

    /// The size of the last dimension that goes out.
    pub fn out_features(&self) -> usize {
        self.weight.shape()[0]
    }
}

impl LinearBuilder {
    /// Sets whether there is a bias.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// The layer, with PyTorch's starting values.
    ///
    /// # Errors
    /// A size is 0 or the weight does not fit in memory.
    pub fn build(self) -> Result<Linear> {
        if self.lazy {
            options::sizes("linear", &[("out_features", self.out_features)])?;
            let bias = self.bias.then_some(self.out_features);
            let (weight, bias) = init::lazy_weight_and_bias("linear", &[self.out_features, 0], bias)?;
            return Ok(Linear { weight, bias, label: Label::default() });
        }
        options::sizes("linear", &[("in_features", self.in_features), ("out_features", self.out_features)])?;
        let shape = [self.out_features, self.in_features];
        let (weight, bias) = init::weight_and_bias("linear", &shape, self.bias.then_some(self.out_features))?;
        Ok(Linear { weight, bias, label: Label::default() })
    }
}

impl Forward for Linear {
    /// # Errors
    /// The last dimension is not `in_features`, or the dtype differs.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        if self.weight.is_lazy() {
            self.label.named(self.size_from(&x))?;
        }
        let bias = self.bias.as_ref().map(Parameter::tensor);
        self.label.leave(&x, x.linear(&self.weight.tensor(), bias.as_ref()))
    }

    fn per_image(&self) -> bool {
        true
    }
}

impl Linear {
    #[cold]
    fn size_from(&self, x: &Tensor) -> Result<()> {
        let in_features = x.dims().last().copied().unwrap_or(0);
        options::sizes("linear", &[("in_features", in_features)])?;
        init::materialize("linear", &self.weight, self.bias.as_ref(), &[self.out_features(), in_features])
    }
}

impl IntoLayer for LinearBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
