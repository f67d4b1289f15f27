//! Normalisation over batches, layers and groups: one operator behind all three.
//!
//! [`Tensor::standardize`] works on `[N, C, ...]`: a batch is that already, groups are `[1, N * G, C / G * S]`, and layers are
//! `[1, rows, features]`.

use tensor::{Error, Result, State, Tensor};

/// How [`batch_norm`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormOptions {
    /// Whether to use (and to learn) the statistics of this batch.
    pub training: bool,
    /// The weight of this batch in the running statistics.
    pub momentum: f64,
    /// Added to the variance before dividing.
    pub eps: f64,
}

impl Default for BatchNormOptions {
    fn default() -> Self {
        BatchNormOptions { training: false, momentum: 0.1, eps: 1e-5 }
    }
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` for each channel of `[N, C, ...]`.
///
/// While training, mean and variance are those of the batch, and the running statistics move towards them by `momentum` (with
/// the variance divided by `n - 1`). Otherwise they are the running statistics.
///
/// ```
/// use gabor_nn::functional::{BatchNormOptions, batch_norm};
/// use tensor::Tensor;
/// let x = Tensor::new([[1f64], [3.0]])?;
/// let options = BatchNormOptions { training: true, eps: 0.0, ..BatchNormOptions::default() };
/// assert_eq!(batch_norm(&x, None, None, None, None, &options)?.to_vec::<f64>()?, [-1.0, 1.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// Unless the batch is empty: the rank is below 2, a parameter does not have one element for each channel, there is only one
/// value for each channel while training, or there are no running statistics otherwise.
#[track_caller]
pub fn batch_norm(
    x: &Tensor,
    running_mean: Option<&State>,
    running_var: Option<&State>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    options: &BatchNormOptions,
) -> Result<Tensor> {
    batch_norm_then(x, running_mean, running_var, weight, bias, options, false)
}

/// [`batch_norm`], then ReLU if `relu`.
#[track_caller]
pub(crate) fn batch_norm_then(
    x: &Tensor,
    running_mean: Option<&State>,
    running_var: Option<&State>,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    options: &BatchNormOptions,
    relu: bool,
) -> Result<Tensor> {
    let op = "batch_norm";
    // PyTorch looks no further at an empty batch, and learns nothing from it.
    if x.dims().first() == Some(&0) {
        return if relu { x.relu() } else { x.mul_scalar(1.0) };
    }
    let &[n, channels, ..] = x.dims() else {
        return Err(Error::shape(op, format!("input has shape {:?}; expected [N, C, ...]", x.shape())));
    };
    let running = (running_mean.map(State::tensor), running_var.map(State::tensor));
    let given =
        [("running_mean", running.0.as_ref()), ("running_var", running.1.as_ref()), ("weight", weight), ("bias", bias)];
    for (name, tensor) in given {
        if let Some(tensor) = tensor.filter(|t| t.dims() != [channels]) {
            let message = format!(
                "{name} has shape {:?} and the input {:?} has {channels} channels; expected [{channels}]",
                tensor.shape(),
                x.shape()
            );
            return Err(Error::shape(op, message));
        }
    }
    let rest: usize = x.dims()[2..].iter().product();
    if options.training {
        let count = n * rest;
        if count == 1 {
            let message = format!(
                "only 1 value per channel while training, input has shape {:?}; use a batch of at least 2 (drop_last in the loader) or call eval()",
                x.shape()
            );
            return Err(Error::shape(op, message));
        }
        let standardize = if relu { Tensor::standardize_relu } else { Tensor::standardize };
        let (y, mean, var) = standardize(x, weight, bias, options.eps)?;
        if count > 0 {
            let unbiased = count as f64 / (count as f64 - 1.0);
            blend(running_mean, &mean, 1.0, options.momentum)?;
            blend(running_var, &var, unbiased, options.momentum)?;
        }
        Ok(y)
    } else {
        let (Some(mean), Some(var)) = running else {
            return Err(Error::argument(op, "running_mean and running_var are needed unless training"));
        };
        let (scale, shift) = scale_and_shift(&mean, &var, weight, bias, options.eps)?;
        let y = x.channel_affine(&scale, &shift)?;
        if relu { y.relu_() } else { Ok(y) }
    }
}

/// What batch norm in evaluation multiplies each channel with, and then adds.
#[track_caller]
pub(crate) fn scale_and_shift(
    mean: &Tensor,
    var: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let inverse = var.add_scalar(eps)?.rsqrt()?;
    let scale = weight.map_or_else(|| Ok(inverse.clone()), |w| w.mul(&inverse))?;
    let moved = mean.mul(&scale)?;
    let shift = bias.map_or_else(|| moved.neg(), |b| b.sub(&moved))?;
    Ok((scale, shift))
}

/// `running = (1 - momentum) * running + momentum * factor * batch`.
fn blend(running: Option<&State>, batch: &Tensor, factor: f64, momentum: f64) -> Result<()> {
    let Some(running) = running else { return Ok(()) };
    let old = running.tensor();
    let new = old.mul_scalar(1.0 - momentum)?.add(&batch.mul_scalar(momentum * factor)?)?;
    running.set(&new)
}

/// Standardises the last dimensions, which must be `normalized_shape`, then multiplies by `weight` and adds `bias` of that shape.
///
/// # Errors
/// The shape does not end in `normalized_shape`, or a parameter has another shape.
#[track_caller]
pub fn layer_norm(
    x: &Tensor,
    normalized_shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let op = "layer_norm";
    if normalized_shape.is_empty() || !x.dims().ends_with(normalized_shape) {
        let message =
            format!("input has shape {:?}; it must end in the normalized shape {normalized_shape:?}", x.shape());
        return Err(Error::shape(op, message));
    }
    for (name, tensor) in [("weight", weight), ("bias", bias)] {
        if let Some(tensor) = tensor.filter(|t| t.dims() != normalized_shape) {
            let message = format!("{name} has shape {:?}; expected {normalized_shape:?}", tensor.shape());
            return Err(Error::shape(op, message));
        }
    }
    let features: usize = normalized_shape.iter().product();
    let rows = x.dims()[..x.rank() - normalized_shape.len()].iter().product();
    rowwise(x, rows, features, weight, bias, eps)
}

/// Standardises `num_groups` groups of channels of each sample of `[N, C, ...]`, then multiplies each channel by `weight` and
/// adds `bias`, both `[C]`.
///
/// # Errors
/// The rank is below 2, there are no channels or no pixels, the groups do not divide the channels, or a parameter has another
/// shape.
#[track_caller]
pub fn group_norm(
    x: &Tensor,
    num_groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let op = "group_norm";
    let &[n, channels, ref rest @ ..] = x.dims() else {
        return Err(Error::shape(op, format!("input has shape {:?}; expected [N, C, ...]", x.shape())));
    };
    if channels == 0 || num_groups == 0 || channels % num_groups != 0 {
        let message = format!("{channels} channels (shape {:?}) cannot be divided into {num_groups} groups", x.shape());
        return Err(Error::shape(op, message));
    }
    if rest.contains(&0) {
        return Err(Error::shape(op, format!("input has shape {:?}; only the batch may be empty", x.shape())));
    }
    let mut shape = vec![1; x.rank() - 1];
    shape[0] = channels;
    let mut affine = [None, None];
    for (slot, (name, tensor)) in affine.iter_mut().zip([("weight", weight), ("bias", bias)]) {
        let Some(tensor) = tensor else { continue };
        if tensor.dims() != [channels] {
            let message = format!("{name} has shape {:?}; expected [{channels}]", tensor.shape());
            return Err(Error::shape(op, message));
        }
        *slot = Some(tensor.reshape(&shape[..])?);
    }
    let features = channels / num_groups * rest.iter().product::<usize>();
    let [weight, bias] = affine;
    rowwise(x, n * num_groups, features, weight.as_ref(), bias.as_ref(), eps)
}

/// Standardises `x`, read as `[rows, features]`, by row; the affine part broadcasts to `x`.
#[track_caller]
fn rowwise(
    x: &Tensor,
    rows: usize,
    features: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let flat = x.reshape(tensor::Shape::from([1, rows, features]))?;
    let mut y = flat.standardize(None, None, eps)?.0.reshape(x.shape())?;
    if let Some(weight) = weight {
        y = y.mul(weight)?;
    }
    match bias {
        Some(bias) => y.add(bias),
        None => Ok(y),
    }
}
