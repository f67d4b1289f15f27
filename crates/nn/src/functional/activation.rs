//! Activations that are made of other operators. Their slopes at kinks are PyTorch's.

use tensor::{Error, Result, Tensor};

/// `min(max(x, 0), 6)`.
///
/// ```
/// use gabor_nn::functional::relu6;
/// use tensor::Tensor;
/// assert_eq!(relu6(&Tensor::new([-1f32, 3.0, 9.0])?)?.to_vec::<f32>()?, [0.0, 3.0, 6.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn relu6(x: &Tensor) -> Result<Tensor> {
    x.hardtanh(0.0, 6.0)
}

/// `min(max(x + 3, 0), 6) / 6`: the logistic function in straight lines.
///
/// ```
/// use gabor_nn::functional::hardsigmoid;
/// use tensor::Tensor;
/// assert_eq!(hardsigmoid(&Tensor::new([-4f32, 0.0, 4.0])?)?.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn hardsigmoid(x: &Tensor) -> Result<Tensor> {
    x.add_scalar(3.0)?.hardtanh(0.0, 6.0)?.div_scalar(6.0)
}

/// `x * hardsigmoid(x)`: MobileNet v3.
///
/// ```
/// use gabor_nn::functional::hardswish;
/// use tensor::Tensor;
/// assert_eq!(hardswish(&Tensor::new([-4f32, 1.5, 4.0])?)?.to_vec::<f32>()?, [0.0, 1.125, 4.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn hardswish(x: &Tensor) -> Result<Tensor> {
    x.mul(&x.add_scalar(3.0)?.hardtanh(0.0, 6.0)?)?.div_scalar(6.0)
}

/// `x * tanh(softplus(x))`.
///
/// ```
/// use gabor_nn::functional::mish;
/// use tensor::Tensor;
/// assert_eq!(mish(&Tensor::new([0f32, 25.0])?)?.to_vec::<f32>()?, [0.0, 25.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn mish(x: &Tensor) -> Result<Tensor> {
    x.mul(&x.softplus(1.0, 20.0)?.tanh()?)
}

/// `log(1 / (1 + exp(-x)))`, computed without overflow.
///
/// ```
/// use gabor_nn::functional::logsigmoid;
/// use tensor::Tensor;
/// assert_eq!(logsigmoid(&Tensor::new([-1000f32])?)?.item()?, -1000.0);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn logsigmoid(x: &Tensor) -> Result<Tensor> {
    // Above 50 softplus is straight to the last bit.
    x.neg()?.softplus(1.0, 50.0)?.neg()
}

/// `x / (1 + |x|)`.
///
/// ```
/// use gabor_nn::functional::softsign;
/// use tensor::Tensor;
/// assert_eq!(softsign(&Tensor::new([-1f32, 3.0])?)?.to_vec::<f32>()?, [-0.5, 0.75]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn softsign(x: &Tensor) -> Result<Tensor> {
    x.div(&x.abs()?.add_scalar(1.0)?)
}

/// `scale * elu(x, alpha)` with the numbers that keep mean 0 and variance 1: Klambauer et al., 2017.
///
/// ```
/// use gabor_nn::functional::selu;
/// use tensor::Tensor;
/// assert_eq!(selu(&Tensor::new([0f32, 1.0])?)?.to_vec::<f32>()?, [0.0, 1.050701]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn selu(x: &Tensor) -> Result<Tensor> {
    x.elu(SELU_ALPHA)?.mul_scalar(SELU_SCALE)
}

/// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`.
///
/// ```
/// use gabor_nn::functional::celu;
/// use tensor::Tensor;
/// assert_eq!(celu(&Tensor::new([-50f32, 3.0])?, 2.0)?.to_vec::<f32>()?, [-2.0, 3.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// `alpha` is 0 or NaN, or the dtype is not floating point.
#[track_caller]
pub fn celu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    if alpha == 0.0 || alpha.is_nan() {
        return Err(Error::argument("celu", format!("alpha is {alpha}; it must be a number other than 0")));
    }
    let below = up_to_zero(x)?.div_scalar(alpha)?.expm1()?.mul_scalar(alpha)?;
    x.relu()?.add(&below)
}

/// The elements up to 0, and 0 for larger ones; unlike that of `clamp`, the gradient at 0 is 1.
#[track_caller]
fn up_to_zero(x: &Tensor) -> Result<Tensor> {
    x.masked_fill(&x.detach().gt_scalar(0.0)?, 0.0)
}

/// 0 from `-lambd` to `lambd`, `x` elsewhere.
///
/// ```
/// use gabor_nn::functional::hardshrink;
/// use tensor::Tensor;
/// assert_eq!(hardshrink(&Tensor::new([-2f32, 0.5, 1.0])?, 0.5)?.to_vec::<f32>()?, [-2.0, 0.0, 1.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn hardshrink(x: &Tensor, lambd: f64) -> Result<Tensor> {
    let near = x.detach();
    x.masked_fill(&near.ge_scalar(-lambd)?.logical_and(&near.le_scalar(lambd)?)?, 0.0)
}

/// `x` moved towards 0 by `lambd`, and 0 where that would pass 0.
///
/// ```
/// use gabor_nn::functional::softshrink;
/// use tensor::Tensor;
/// assert_eq!(softshrink(&Tensor::new([-2f32, 0.5, 1.0])?, 0.5)?.to_vec::<f32>()?, [-1.5, 0.0, 0.5]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// `lambd` is negative or NaN, or the dtype is not floating point.
#[track_caller]
pub fn softshrink(x: &Tensor, lambd: f64) -> Result<Tensor> {
    if lambd.is_nan() || lambd < 0.0 {
        return Err(Error::argument("softshrink", format!("lambd is {lambd}; it must be at least 0")));
    }
    let near = x.detach();
    let inside = near.ge_scalar(-lambd)?.logical_and(&near.le_scalar(lambd)?)?;
    x.sub(&near.clamp(Some(-lambd), Some(lambd))?)?.masked_fill(&inside, 0.0)
}

/// `x - tanh(x)`.
///
/// ```
/// use gabor_nn::functional::tanhshrink;
/// use tensor::Tensor;
/// assert_eq!(tanhshrink(&Tensor::new([0f32, 25.0])?)?.to_vec::<f32>()?, [0.0, 24.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn tanhshrink(x: &Tensor) -> Result<Tensor> {
    x.sub(&x.tanh()?)
}

/// `x` where it is above `threshold`, else `value`.
///
/// ```
/// use gabor_nn::functional::threshold;
/// use tensor::Tensor;
/// assert_eq!(threshold(&Tensor::new([0f32, 2.0])?, 1.0, 9.0)?.to_vec::<f32>()?, [9.0, 2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The dtype is not floating point.
#[track_caller]
pub fn threshold(x: &Tensor, threshold: f64, value: f64) -> Result<Tensor> {
    x.masked_fill(&x.detach().le_scalar(threshold)?, value)
}

/// `x` where it is positive, else `weight * x`; `weight` has one element, or one for each channel `x[:, c]`.
///
/// ```
/// use gabor_nn::functional::prelu;
/// use tensor::Tensor;
/// let x = Tensor::new([[-2f32, -2.0, 4.0]])?;
/// assert_eq!(prelu(&x, &Tensor::new([0.5f32, 0.0, 1.0])?)?.to_vec::<f32>()?, [-1.0, 0.0, 4.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The shapes or dtypes do not fit, or the dtype is not floating point.
#[track_caller]
pub fn prelu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let op = "prelu";
    let channels = if x.rank() >= 2 { x.dims()[1] } else { 1 };
    if weight.rank() > 1 || weight.numel() != 1 && weight.numel() != channels {
        let (weight, x) = (weight.shape(), x.shape());
        let message =
            format!("weight {weight:?} for input {x:?}; it has one element, or one for each of {channels} channels");
        return Err(Error::shape(op, message));
    }
    let mut shape = vec![1; x.rank().max(1)];
    if weight.numel() != 1 {
        shape[1] = channels;
    }
    let below = up_to_zero(x)?.mul(&weight.reshape(&shape[..x.rank()])?)?;
    x.relu()?.add(&below)
}

/// `a * sigmoid(b)` with the halves `a` and `b` of `x` along `dim`.
///
/// ```
/// use gabor_nn::functional::glu;
/// use tensor::Tensor;
/// assert_eq!(glu(&Tensor::new([4f32, 0.0])?, -1)?.to_vec::<f32>()?, [2.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// There is no such dimension, its size is odd, or the dtype is not floating point.
#[track_caller]
pub fn glu(x: &Tensor, dim: isize) -> Result<Tensor> {
    let size = x.dim(dim)?;
    if size % 2 != 0 {
        let message = format!("dimension {dim} of {:?} has the odd size {size}; it is cut into two halves", x.shape());
        return Err(Error::shape("glu", message));
    }
    let half = size / 2;
    x.narrow(dim, 0, half)?.mul(&x.narrow(dim, half as isize, half)?.sigmoid()?)
}

pub(super) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
pub(super) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
