//! Batch normalisation, for features and for images.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tensor::{DType, Error, Parameter, Result, State, Tensor};

use super::options;
use crate::functional::{self, BatchNormOptions};
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, Training};

macro_rules! batch_norm {
    ($(#[$doc:meta])* $name:ident, $builder:ident, $lazy:ident, $rank:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $name {
            /// `[num_features]`, if affine; starts as 1.
            pub weight: Option<Parameter>,
            /// `[num_features]`, if affine; starts as 0.
            pub bias: Option<Parameter>,
            /// `[num_features]`, if tracked; starts as 0.
            pub running_mean: Option<State>,
            /// `[num_features]`, if tracked; starts as 1.
            pub running_var: Option<State>,
            /// How many batches were seen, i64, if tracked.
            pub num_batches_tracked: Option<State>,
            /// Unknown while the layer is lazy.
            #[module(skip)]
            num_features: OnceLock<usize>,
            eps: f64,
            momentum: Option<f64>,
            /// Whether the running statistics are the averages over all batches now, whatever the momentum.
            #[module(skip)]
            cumulative: Arc<AtomicBool>,
            training: Training,
            label: Label,
        }

        #[doc = concat!("Makes a [`", stringify!($name), "`].")]
        #[derive(Clone, Copy, Debug)]
        #[must_use = "call build, or put it into seq!"]
        pub struct $builder {
            num_features: usize,
            eps: f64,
            momentum: Option<f64>,
            affine: bool,
            track_running_stats: bool,
            lazy: bool,
        }

        #[doc = concat!("A [`", stringify!($name), "`] whose `num_features` is taken from its first input, from a file, or by")]
        #[doc = concat!("[`materialize`](crate::Forward::materialize). PyTorch: `torch.nn.", stringify!($lazy), "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $lazy;

        impl $lazy {
            /// With eps 1e-5, momentum 0.1, weight, bias and running statistics.
            #[expect(clippy::new_ret_no_self, reason = "PyTorch's has no arguments either; the options follow, then build")]
            pub fn new() -> $builder {
                $builder { lazy: true, ..$name::new(0) }
            }
        }

        impl $name {
            /// For `num_features` channels, with eps 1e-5, momentum 0.1, weight, bias and running statistics.
            #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
            pub fn new(num_features: usize) -> $builder {
                $builder { num_features, eps: 1e-5, momentum: Some(0.1), affine: true, track_running_stats: true, lazy: false }
            }
        }

        impl $builder {
            /// Sets what is added to the variance before dividing.
            pub fn eps(mut self, eps: f64) -> Self {
                self.eps = eps;
                self
            }

            /// Sets the weight of a batch in the running statistics; `None` averages over all batches.
            pub fn momentum(mut self, momentum: impl Into<Option<f64>>) -> Self {
                self.momentum = momentum.into();
                self
            }

            /// Sets whether there are a weight and a bias.
            pub fn affine(mut self, affine: bool) -> Self {
                self.affine = affine;
                self
            }

            /// Sets whether running statistics are kept; without them the batch's are used in evaluation too.
            pub fn track_running_stats(mut self, track: bool) -> Self {
                self.track_running_stats = track;
                self
            }

            /// The layer.
            ///
            /// # Errors
            /// `num_features` is 0, or an option is NaN or negative.
            pub fn build(self) -> Result<$name> {
                if !self.lazy {
                    options::sizes("batch_norm", &[("num_features", self.num_features)])?;
                }
                options::epsilon("batch_norm", self.eps)?;
                if let Some(momentum) = self.momentum.filter(|m| !(0.0..=1.0).contains(m)) {
                    return Err(Error::argument("batch_norm", format!("momentum is {momentum}; it must be from 0 to 1")));
                }
                let size = self.num_features;
                let learned = |value: f32| match (self.affine, self.lazy) {
                    (false, _) => Ok(None),
                    (true, false) => Parameter::new(Tensor::full(size, value)?).map(Some),
                    (true, true) => Parameter::lazy(&[0]).map(Some),
                };
                let kept = |value: f32| match (self.track_running_stats, self.lazy) {
                    (false, _) => Ok::<_, Error>(None),
                    (true, false) => Ok(Some(State::new(Tensor::full(size, value)?))),
                    (true, true) => State::lazy(&[0]).map(Some),
                };
                let count = self.track_running_stats.then(|| Ok::<_, Error>(State::new(Tensor::new(0i64)?))).transpose()?;
                Ok($name {
                    weight: learned(1.0)?,
                    bias: learned(0.0)?,
                    running_mean: kept(0.0)?,
                    running_var: kept(1.0)?,
                    num_batches_tracked: count,
                    num_features: if self.lazy { OnceLock::new() } else { OnceLock::from(self.num_features) },
                    eps: self.eps,
                    momentum: self.momentum,
                    cumulative: Arc::default(),
                    training: Training::default(),
                    label: Label::default(),
                })
            }
        }

        impl Forward for $name {
            /// # Errors
            /// Rank or channels do not fit, or there is only one value for each channel while training.
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                let x = self.label.enter(x)?;
                self.label.leave(&x, self.normalise(&x, false))
            }

            fn per_image(&self) -> bool {
                !self.training.get() && self.running_mean.is_some()
            }
        }

        impl $name {
            /// Sets the running statistics back to mean 0 and variance 1, and the count of batches to 0.
            ///
            /// # Errors
            /// There is no memory for them.
            pub fn reset_running_stats(&self) -> Result<()> {
                let start = [(&self.running_mean, 0.0), (&self.running_var, 1.0), (&self.num_batches_tracked, 0.0)];
                for (state, value) in start {
                    state.as_ref().map_or(Ok(()), |state| state.set(&state.tensor().full_like(value)?))?;
                }
                Ok(())
            }

            /// Sets whether the running statistics are the averages over all batches; gives what it was.
            pub(crate) fn set_cumulative(&self, on: bool) -> bool {
                self.cumulative.swap(on, Ordering::Relaxed)
            }

            /// The number of channels of a lazy layer: that of its parts which a file has given, else that of the input.
            #[cold]
            fn size_from(&self, got: usize) -> Result<usize> {
                let learned = [&self.weight, &self.bias].into_iter().flatten().filter(|p| !p.is_lazy()).map(Parameter::shape);
                let kept = [&self.running_mean, &self.running_var].into_iter().flatten().filter(|s| !s.is_lazy());
                let mut known = learned.chain(kept.map(|s| s.tensor().shape().clone()));
                let size = known.next().map_or(got, |shape| shape[0]);
                if size != got {
                    return Ok(size);
                }
                options::sizes("batch_norm", &[("num_features", size)])?;
                for (parameter, value) in [(&self.weight, 1f32), (&self.bias, 0.0)] {
                    parameter.as_ref().map_or(Ok(()), |p| p.materialize(&Tensor::full(size, value)?))?;
                }
                for (state, value) in [(&self.running_mean, 0f32), (&self.running_var, 1.0)] {
                    state.as_ref().map_or(Ok(()), |s| s.materialize(&Tensor::full(size, value)?))?;
                }
                Ok(*self.num_features.get_or_init(|| size))
            }

            /// With ReLU after it if `relu`.
            fn normalise(&self, x: &Tensor, relu: bool) -> Result<Tensor> {
                if !$rank.contains(&x.rank()) {
                    let message = format!(concat!("input has shape {:?} ({} dimensions), expected ", $expected), x.shape(), x.rank());
                    return Err(Error::shape("batch_norm", message));
                }
                let got = x.dims()[1];
                let num_features = match self.num_features.get() {
                    Some(&size) => size,
                    None => self.size_from(got)?,
                };
                if got != num_features {
                    let message = format!(
                        "input has {got} channels (shape {:?}), this layer expects {}; use {}::new({got}) or change what comes before",
                        x.shape(),
                        num_features,
                        stringify!($name)
                    );
                    return Err(Error::shape("batch_norm", message));
                }
                let training = self.training.get();
                let tracked = self.num_batches_tracked.as_ref().filter(|_| training);
                let seen = tracked.map(|count| Ok::<_, Error>(count.tensor().to_dtype(DType::I64)?.item()? + 1.0)).transpose()?;
                let momentum = self.momentum.filter(|_| !self.cumulative.load(Ordering::Relaxed));
                let options = BatchNormOptions {
                    training: training || self.running_mean.is_none() || self.running_var.is_none(),
                    momentum: momentum.unwrap_or_else(|| 1.0 / seen.unwrap_or(1.0)),
                    eps: self.eps,
                };
                let y = functional::batch_norm_then(
                    x,
                    self.running_mean.as_ref(),
                    self.running_var.as_ref(),
                    self.weight.as_ref().map(Parameter::tensor).as_ref(),
                    self.bias.as_ref().map(Parameter::tensor).as_ref(),
                    &options,
                    relu,
                )?;
                if let (Some(count), Some(seen)) = (tracked, seen) {
                    count.set(&Tensor::full((), seen as i64)?)?;
                }
                Ok(y)
            }
        }

        impl IntoLayer for $builder {
            fn into_layer(self) -> Result<Layer> {
                Ok(Box::new(self.build()?))
            }
        }
    };
}

batch_norm!(
    /// Standardises each feature over the batch, then scales and shifts it. PyTorch: `torch.nn.BatchNorm1d`.
    ///
    /// Input `[N, num_features]` or `[N, num_features, L]`.
    ///
    /// ```
    /// use gabor_nn::{BatchNorm1d, Forward};
    /// use tensor::Tensor;
    /// let layer = BatchNorm1d::new(1).build()?;
    /// let y = layer.forward(&Tensor::new([[1f32], [3.0]])?)?;
    /// assert!((y.to_vec::<f32>()?[1] - 1.0).abs() < 1e-4);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    BatchNorm1d, BatchNorm1dBuilder, LazyBatchNorm1d, 2..=3, "[N, C] or [N, C, L]"
);

batch_norm!(
    /// Standardises each channel over the batch and the image, then scales and shifts it. PyTorch: `torch.nn.BatchNorm2d`.
    ///
    /// Input `[N, num_features, H, W]`. While training, the statistics are those of the batch, and the running ones move
    /// towards them; in evaluation the running ones are used.
    ///
    /// ```
    /// use gabor_nn::{BatchNorm2d, Forward, Module};
    /// use tensor::Tensor;
    /// let layer = BatchNorm2d::new(3).build()?;
    /// let names: Vec<String> = layer.state_dict().into_iter().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]);
    /// assert_eq!(layer.forward(&Tensor::randn([4, 3, 5, 5])?)?.shape(), &[4, 3, 5, 5]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    BatchNorm2d, BatchNorm2dBuilder, LazyBatchNorm2d, 4..=4, "[N, C, H, W]"
);

impl BatchNorm2d {
    /// Whether a hook is set on this layer.
    pub(crate) fn hooked(&self) -> bool {
        !self.label.hooks().is_empty()
    }

    /// The result with ReLU after it; None where hooks may look at what lies between, or the statistics are running ones.
    #[track_caller]
    pub(crate) fn forward_relu(&self, x: &Tensor) -> Option<Result<Tensor>> {
        let running = self.running_mean.is_some() && self.running_var.is_some() && !self.training.get();
        (!running && !self.hooked()).then(|| self.label.named(self.normalise(x, true)))
    }

    /// What evaluation multiplies each channel with, and then adds; None where it takes the statistics of the batch.
    #[track_caller]
    pub(crate) fn scale_and_shift(&self) -> Option<Result<(Tensor, Tensor)>> {
        let running = self.running_mean.as_ref().zip(self.running_var.as_ref());
        let (mean, var) = running.filter(|_| !self.training.get() && self.num_features.get().is_some())?;
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        let (weight, bias) = (weight.map(Parameter::tensor), bias.map(Parameter::tensor));
        let (mean, var) = (mean.tensor(), var.tensor());
        Some(functional::scale_and_shift(&mean, &var, weight.as_ref(), bias.as_ref(), self.eps))
    }
}
