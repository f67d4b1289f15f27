//! Gradient clipping, over all parameters together.

use crate::group::described;
use tensor::{DType, Error, Parameter, Result, Tensor};

/// The norm of all gradients together, as if they were one vector; 0 if there are none.
///
/// ```
/// use tensor::{Parameter, Tensor};
/// let (a, b) = (Parameter::new(Tensor::ones([1])?)?, Parameter::new(Tensor::ones([1])?)?);
/// a.set_grad(&Tensor::new([3f32])?)?;
/// b.set_grad(&Tensor::new([-4f32])?)?;
/// assert_eq!(gabor_optim::grad_norm(&[a, b], 2.0)?, 5.0);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// `norm_type` is not above 0 (infinity is: the largest absolute value).
pub fn grad_norm(parameters: &[Parameter], norm_type: f64) -> Result<f64> {
    total_norm(parameters.iter().filter_map(Parameter::grad), norm_type)
}

/// The norm of the values of all parameters together, as if they were one vector; for one parameter, give a slice of one.
///
/// ```
/// use tensor::{Parameter, Tensor};
/// let (a, b) = (Parameter::new(Tensor::new([3f32])?)?, Parameter::new(Tensor::new([-4f32])?)?);
/// assert_eq!(gabor_optim::parameter_norm(&[a.clone(), b], 2.0)?, 5.0);
/// assert_eq!(gabor_optim::parameter_norm(&[a], 2.0)?, 3.0);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// `norm_type` is not above 0 (infinity is: the largest absolute value).
pub fn parameter_norm(parameters: &[Parameter], norm_type: f64) -> Result<f64> {
    total_norm(parameters.iter().map(|parameter| parameter.tensor().detach()), norm_type)
}

/// The norm of all tensors together, as if they were one vector. PyTorch: `torch.nn.utils.get_total_norm`.
///
/// ```
/// use tensor::Tensor;
/// let tensors = [Tensor::new([1f32, -2.0])?, Tensor::new([2f32])?];
/// assert_eq!(gabor_optim::get_total_norm(&tensors, 2.0)?, 3.0);
/// assert_eq!(gabor_optim::get_total_norm(&tensors, f64::INFINITY)?, 2.0);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// `norm_type` is not above 0 (infinity is: the largest absolute value), or a tensor is not floating point.
pub fn get_total_norm(tensors: &[Tensor], norm_type: f64) -> Result<f64> {
    total_norm(tensors.iter().map(Tensor::detach), norm_type)
}

fn total_norm(tensors: impl Iterator<Item = Tensor>, norm_type: f64) -> Result<f64> {
    if norm_type.is_nan() || norm_type <= 0.0 {
        let message = format!("norm_type is {norm_type}; use a number above 0, such as 2.0 or f64::INFINITY");
        return Err(Error::argument("clip_grad_norm_", message));
    }
    let mut total = 0.0f64;
    for tensor in tensors {
        let part = match tensor.dtype() {
            DType::F64 => tensor.with_slice::<f64, _>(|g| gather(g.iter().copied(), norm_type))?,
            _ => tensor.with_slice::<f32, _>(|g| gather(g.iter().map(|&v| f64::from(v)), norm_type))?,
        };
        total = join(total, part, norm_type);
    }
    Ok(if norm_type == 2.0 {
        total.sqrt()
    } else if norm_type.is_infinite() {
        total
    } else {
        libm::pow(total, 1.0 / norm_type)
    })
}

/// The sum of powers, or the largest absolute value.
fn gather(values: impl Iterator<Item = f64>, norm_type: f64) -> f64 {
    if norm_type == 2.0 {
        values.map(|v| v * v).sum()
    } else if norm_type == 1.0 {
        values.map(f64::abs).sum()
    } else if norm_type.is_infinite() {
        values.fold(0.0, |total, v| join(total, v.abs(), norm_type))
    } else {
        values.map(|v| libm::pow(v.abs(), norm_type)).sum()
    }
}

fn join(total: f64, part: f64, norm_type: f64) -> f64 {
    if !norm_type.is_infinite() {
        total + part
    } else if part > total || part.is_nan() {
        // NaN is kept: no comparison with it holds.
        part
    } else {
        total
    }
}

/// Scales all gradients by one factor so that their norm together is at most `max_norm`; returns the norm before.
///
/// The factor is `max_norm / (norm + 1e-6)`, as in PyTorch. With a norm that is not finite the gradients become 0 or NaN;
/// see [`clip_grad_norm_checked_`].
///
/// ```
/// use gabor_optim::clip_grad_norm_;
/// use tensor::{Parameter, Tensor};
/// let (a, b) = (Parameter::new(Tensor::ones([1])?)?, Parameter::new(Tensor::ones([1])?)?);
/// a.set_grad(&Tensor::new([3f32])?)?;
/// b.set_grad(&Tensor::new([-4f32])?)?;
/// let norm = clip_grad_norm_(&[a.clone(), b], 1.0, 2.0)?;
/// assert_eq!(norm, 5.0);
/// assert!((a.grad().unwrap().item()? - 0.6).abs() < 1e-6);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// `max_norm` is negative or NaN; `norm_type` is not above 0.
pub fn clip_grad_norm_(parameters: &[Parameter], max_norm: f64, norm_type: f64) -> Result<f64> {
    clip(parameters, max_norm, norm_type, false)
}

/// [`clip_grad_norm_`] with PyTorch's `error_if_nonfinite`: gradients with a NaN or infinite norm stay as they are.
///
/// ```
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// w.set_grad(&Tensor::new([1f32, f32::NAN])?)?;
/// let error = gabor_optim::clip_grad_norm_checked_(&[w], 1.0, 2.0).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "clip_grad_norm_: the total norm of order 2 is NaN, in the gradient of the parameter of shape [2]; lower the learning rate, or look for a division by 0"
/// );
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// As [`clip_grad_norm_`], or the norm is NaN or infinite.
pub fn clip_grad_norm_checked_(parameters: &[Parameter], max_norm: f64, norm_type: f64) -> Result<f64> {
    clip(parameters, max_norm, norm_type, true)
}

fn clip(parameters: &[Parameter], max_norm: f64, norm_type: f64, error_if_nonfinite: bool) -> Result<f64> {
    if max_norm.is_nan() || max_norm < 0.0 {
        let message = format!("max_norm is {max_norm}; use a number that is not negative");
        return Err(Error::argument("clip_grad_norm_", message));
    }
    let norm = grad_norm(parameters, norm_type)?;
    if error_if_nonfinite && !norm.is_finite() {
        let mut place = String::new();
        for parameter in parameters {
            if !grad_norm(std::slice::from_ref(parameter), norm_type)?.is_finite() {
                place = format!(", in the gradient of {}", described(parameter));
                break;
            }
        }
        let message = format!(
            "the total norm of order {norm_type} is {norm}{place}; lower the learning rate, or look for a division by 0"
        );
        return Err(Error::argument("clip_grad_norm_", message));
    }
    let factor = max_norm / (norm + 1e-6);
    // A factor of NaN scales too: it shows.
    if factor.is_nan() || factor < 1.0 {
        for_each_grad(parameters, |grad| grad.mul_scalar(factor))?;
    }
    Ok(norm)
}

/// Clamps each element of each gradient to `-clip_value ..= clip_value`. NaN stays NaN.
///
/// ```
/// use gabor_optim::clip_grad_value_;
/// use tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([3])?)?;
/// w.set_grad(&Tensor::new([0.5f32, -7.0, 2.0])?)?;
/// clip_grad_value_(&[w.clone()], 1.0)?;
/// assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [0.5, -1.0, 1.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// `clip_value` is negative or NaN.
pub fn clip_grad_value_(parameters: &[Parameter], clip_value: f64) -> Result<()> {
    if clip_value.is_nan() || clip_value < 0.0 {
        let message = format!("clip_value is {clip_value}; use a number that is not negative");
        return Err(Error::argument("clip_grad_value_", message));
    }
    for_each_grad(parameters, |grad| grad.clamp(Some(-clip_value), Some(clip_value)))
}

fn for_each_grad(parameters: &[Parameter], f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    for parameter in parameters {
        if let Some(grad) = parameter.grad() {
            // Another number is still the gradient that an optimizer may have used.
            let used = parameter.use_grad();
            parameter.set_grad(&f(&grad)?)?;
            if used {
                parameter.use_grad();
            }
        }
    }
    Ok(())
}
