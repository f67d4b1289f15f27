//! Instance normalisation.

use tensor::{Error, Parameter, Result, State, Tensor};

use super::options;
use crate::functional::{self, BatchNormOptions};
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, Training};

/// Standardises each channel of each image, then scales and shifts it. PyTorch: `torch.nn.InstanceNorm2d`.
///
/// Input `[N, num_features, H, W]` or without `N`. With running statistics, evaluation uses those, and training moves them towards
/// the average over the batch.
///
/// ```
/// use gabor_nn::{Forward, InstanceNorm2d, Module};
/// use tensor::Tensor;
/// let layer = InstanceNorm2d::new(1).eps(0.0).build()?;
/// assert!(layer.parameters().is_empty());
/// let x = Tensor::new([[[[1f32, 3.0]]], [[[10.0, 30.0]]]])?;
/// assert_eq!(layer.forward(&x)?.to_vec::<f32>()?, [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct InstanceNorm2d {
    /// `[num_features]`, if affine; starts as 1.
    pub weight: Option<Parameter>,
    /// `[num_features]`, if affine; starts as 0.
    pub bias: Option<Parameter>,
    /// `[num_features]`, if tracked; starts as 0.
    pub running_mean: Option<State>,
    /// `[num_features]`, if tracked; starts as 1.
    pub running_var: Option<State>,
    /// Only there for the state dict, if tracked: PyTorch does not count here either.
    pub num_batches_tracked: Option<State>,
    num_features: usize,
    eps: f64,
    momentum: f64,
    training: Training,
    label: Label,
}

/// Makes an [`InstanceNorm2d`].
#[derive(Clone, Copy, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct InstanceNorm2dBuilder {
    num_features: usize,
    eps: f64,
    momentum: f64,
    affine: bool,
    track_running_stats: bool,
}

impl InstanceNorm2d {
    /// For `num_features` channels, with eps 1e-5, momentum 0.1, and no weight, bias and running statistics.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(num_features: usize) -> InstanceNorm2dBuilder {
        InstanceNorm2dBuilder { num_features, eps: 1e-5, momentum: 0.1, affine: false, track_running_stats: false }
    }
}

impl InstanceNorm2dBuilder {
    /// Sets what is added to the variance before dividing.
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets the weight of a batch in the running statistics.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Sets whether there are a weight and a bias.
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// Sets whether running statistics are kept, and used in evaluation.
    pub fn track_running_stats(mut self, track: bool) -> Self {
        self.track_running_stats = track;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// `num_features` is 0, or an option is NaN or negative.
    pub fn build(self) -> Result<InstanceNorm2d> {
        let (op, size) = ("instance_norm", self.num_features);
        options::sizes(op, &[("num_features", size)])?;
        options::epsilon(op, self.eps)?;
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::argument(op, format!("momentum is {}; it must be from 0 to 1", self.momentum)));
        }
        let learned = |value: f32| self.affine.then(|| Parameter::new(Tensor::full(size, value)?)).transpose();
        let kept = |tensor: Result<Tensor>| self.track_running_stats.then(|| Ok(State::new(tensor?))).transpose();
        Ok(InstanceNorm2d {
            weight: learned(1.0)?,
            bias: learned(0.0)?,
            running_mean: kept(Tensor::full(size, 0f32))?,
            running_var: kept(Tensor::full(size, 1f32))?,
            num_batches_tracked: kept(Tensor::new(0i64))?,
            num_features: size,
            eps: self.eps,
            momentum: self.momentum,
            training: Training::default(),
            label: Label::default(),
        })
    }
}

impl InstanceNorm2d {
    #[track_caller]
    fn normalise(&self, x: &Tensor) -> Result<Tensor> {
        let (op, c) = ("instance_norm", self.num_features);
        let (n, high, wide) = match *x.dims() {
            [n, channels, high, wide] if channels == c => (n, high, wide),
            [channels, high, wide] if channels == c => (1, high, wide),
            _ => {
                let message = format!(
                    "input has shape {:?}, expected [N, {c}, H, W] or [{c}, H, W]; use InstanceNorm2d::new with the channels of the input",
                    x.shape()
                );
                return Err(Error::shape(op, message));
            }
        };
        let (mean, var) = (self.running_mean.as_ref(), self.running_var.as_ref());
        let training = self.training.get() || mean.is_none() || var.is_none();
        if training && high * wide == 1 {
            let message = format!("one value for each channel, shape {:?}; images need at least 2 pixels", x.shape());
            return Err(Error::shape(op, message));
        }
        if n == 0 {
            return x.mul_scalar(1.0);
        }
        // Each channel of each image is a channel of one image.
        let row =
            |state: &State| Ok(State::new(state.tensor().unsqueeze(0)?.expand(&[n, c][..])?.reshape(&[n * c][..])?));
        let rows = [mean, var].map(|state| state.map(row).transpose());
        let [means, vars] = rows;
        let (means, vars) = (means?, vars?);
        let flat = x.reshape(&[1, n * c, high, wide][..])?;
        let options = BatchNormOptions { training, momentum: self.momentum, eps: self.eps };
        let mut y =
            functional::batch_norm(&flat, means.as_ref(), vars.as_ref(), None, None, &options)?.reshape(x.shape())?;
        if training {
            for (state, rows) in [(mean, means), (var, vars)] {
                if let Some((state, rows)) = state.zip(rows) {
                    state.set(&rows.tensor().reshape(&[n, c][..])?.mean_dim(0, false)?)?;
                }
            }
        }
        if let Some(weight) = &self.weight {
            y = y.mul(&weight.tensor().reshape(&[c, 1, 1][..])?)?;
        }
        match &self.bias {
            Some(bias) => y.add(&bias.tensor().reshape(&[c, 1, 1][..])?),
            None => Ok(y),
        }
    }
}

impl Forward for InstanceNorm2d {
    /// # Errors
    /// Rank or channels do not fit, or the image has one pixel while its statistics are used.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.normalise(&x))
    }
}

impl IntoLayer for InstanceNorm2dBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
