//! Dropping elements or channels at random.

use super::activation::{SELU_ALPHA, SELU_SCALE};
use tensor::{DType, Error, Result, Tensor, with_default_generator};

/// Sets each element to 0 with probability `p` and multiplies the others by `1 / (1 - p)`; `x` itself unless `training`.
///
/// ```
/// use gabor_nn::functional::dropout;
/// use tensor::Tensor;
/// let y = dropout(&Tensor::ones([1000])?, 0.5, true)?.to_vec::<f32>()?;
/// assert!(y.iter().all(|&v| v == 0.0 || v == 2.0));
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// `p` is not from 0 to 1, or the dtype is not floating point.
#[track_caller]
pub fn dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    drop_out("dropout", x, p, training, x.dims())
}

/// Sets each channel `[n, c]` to 0 with probability `p` and multiplies the others by `1 / (1 - p)`; `x` itself unless
/// `training`.
///
/// # Errors
/// `p` is not from 0 to 1, the rank is below 2, or the dtype is not floating point.
#[track_caller]
pub fn dropout2d(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    if x.rank() < 2 {
        let message = format!("input has shape {:?}; expected [N, C, H, W]", x.shape());
        return Err(Error::shape("dropout2d", message));
    }
    let mut mask = vec![1; x.rank()];
    mask[..2].copy_from_slice(&x.dims()[..2]);
    drop_out("dropout2d", x, p, training, &mask)
}

/// Sets each element to the lower limit of [`selu`](super::selu) with probability `p`, then scales and shifts all, so that mean 0 and
/// variance 1 stay; `x` itself unless `training`.
///
/// # Errors
/// `p` is not from 0 to 1, or the dtype is not floating point.
#[track_caller]
pub fn alpha_dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    // What is kept is 1, before the scaling of ordinary dropout.
    let kept = drop_out("alpha_dropout", &x.detach().full_like(1.0)?, p, training, x.dims())?;
    if !training || p == 0.0 {
        return Ok(x.clone());
    }
    if p == 1.0 {
        return x.mul_scalar(0.0);
    }
    let kept = kept.mul_scalar(1.0 - p)?;
    let low = -SELU_ALPHA * SELU_SCALE;
    let scale = 1.0 / ((low * low * p + 1.0) * (1.0 - p)).sqrt();
    let dropped = kept.sub_scalar(1.0)?.mul_scalar(-low)?;
    x.mul(&kept)?.add(&dropped)?.mul_scalar(scale)?.sub_scalar(scale * low * p)
}

#[track_caller]
fn drop_out(op: &'static str, x: &Tensor, p: f64, training: bool, mask: &[usize]) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&p) {
        return Err(Error::argument(op, format!("p is {p}; a probability must be from 0 to 1")));
    }
    if !x.dtype().is_float() {
        return Err(Error::DType { op, dtype: x.dtype(), expected: "f32 or f64" });
    }
    if !training || p == 0.0 {
        return Ok(x.clone());
    }
    if p == 1.0 {
        return x.mul_scalar(0.0);
    }
    let chance = with_default_generator(|g| g.rand(mask, DType::F32))?;
    let kept = chance.ge_scalar(p)?.to_dtype(x.dtype())?;
    x.mul(&kept.mul_scalar(1.0 / (1.0 - p))?)
}
