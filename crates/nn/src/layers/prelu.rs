//! PReLU.

use tensor::{Parameter, Result, Tensor};

use super::options;
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, functional};

/// `x` where it is positive, else a learned multiple of it. PyTorch: `torch.nn.PReLU`.
///
/// ```
/// use gabor_nn::{Forward, PReLU};
/// use tensor::Tensor;
/// let layer = PReLU::new(1).build()?;
/// assert_eq!(layer.forward(&Tensor::new([-4f32, 2.0])?)?.to_vec::<f32>()?, [-1.0, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct PReLU {
    /// `[num_parameters]`.
    pub weight: Parameter,
    label: Label,
}

/// Makes a [`PReLU`].
#[derive(Clone, Copy, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct PReLUBuilder {
    num_parameters: usize,
    init: f64,
}

impl PReLU {
    /// With one slope for all (1) or one for each channel, which start as 0.25.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(num_parameters: usize) -> PReLUBuilder {
        PReLUBuilder { num_parameters, init: 0.25 }
    }
}

impl PReLUBuilder {
    /// Sets where the slopes start.
    pub fn init(mut self, init: f64) -> Self {
        self.init = init;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// `num_parameters` is 0.
    pub fn build(self) -> Result<PReLU> {
        options::sizes("prelu", &[("num_parameters", self.num_parameters)])?;
        let weight = Parameter::new(Tensor::full(self.num_parameters, self.init as f32)?)?;
        Ok(PReLU { weight, label: Label::default() })
    }
}

impl Forward for PReLU {
    /// # Errors
    /// There are several slopes, and not one for each channel.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, functional::prelu(&x, &self.weight.tensor()))
    }

    fn per_image(&self) -> bool {
        true
    }
}

impl IntoLayer for PReLUBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
