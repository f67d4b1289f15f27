//! The fully connected layer.

use tensor::{Error, Parameter, Result, Tensor};

use crate::init;
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Module};

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
}

/// Makes a [`Linear`].
#[derive(Clone, Copy, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct LinearBuilder {
    in_features: usize,
    out_features: usize,
    bias: bool,
}

impl Linear {
    /// A layer from `in_features` to `out_features`, with a bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(in_features: usize, out_features: usize) -> LinearBuilder {
        LinearBuilder { in_features, out_features, bias: true }
    }

    /// The size of the last dimension that comes in.
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
        for (name, size) in [("in_features", self.in_features), ("out_features", self.out_features)] {
            if size == 0 {
                return Err(Error::argument("linear", format!("{name} is 0; it must be at least 1")));
            }
        }
        let shape = [self.out_features, self.in_features];
        let (weight, bias) = init::weight_and_bias("linear", &shape, self.bias.then_some(self.out_features))?;
        Ok(Linear { weight, bias })
    }
}

impl Forward for Linear {
    /// # Errors
    /// The last dimension is not `in_features`, or the dtype differs.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let expected = self.in_features();
        if x.dims().last() != Some(&expected) {
            return Err(misfit(x, expected));
        }
        x.linear(&self.weight.tensor(), self.bias.as_ref().map(Parameter::tensor).as_ref())
    }
}

#[cold]
fn misfit(x: &Tensor, expected: usize) -> Error {
    let shape = x.dims();
    let Some(&features) = shape.last() else {
        return Error::shape("linear", format!("input is a scalar, this layer expects [..., {expected}]"));
    };
    let rest: usize = shape[1..].iter().product();
    let fix = if shape.len() > 2 && rest == expected {
        format!("the dimensions after the first have {rest} elements together, did you forget Flatten?")
    } else {
        format!("use Linear::new({features}, ..) or change the layer before")
    };
    let message =
        format!("input has {features} features per row (shape {shape:?}), this layer expects {expected}; {fix}");
    Error::shape("linear", message)
}

impl IntoLayer for LinearBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
