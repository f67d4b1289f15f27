//! Starting values of parameters. PyTorch: `torch.nn.init`.
//!
//! Layers start as PyTorch's do: weights uniform within `1 / sqrt(fan_in)` (`kaiming_uniform_` with `a = sqrt(5)`), biases
//! within the same bound. Numbers come from this thread's generator, see [`tensor::manual_seed`].

use tensor::{Error, Parameter, Result, Tensor, with_default_generator};

/// The function that follows a layer, for [`calculate_gain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonlinearity {
    /// None, or a convolution.
    Linear,
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// The rectifier.
    ReLU,
    /// The rectifier with a slope below 0.
    LeakyReLU,
    /// The self-normalising unit.
    SELU,
}

/// Whether the variance is kept in the forward or in the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FanMode {
    /// Forward: the number of inputs of an output.
    #[default]
    FanIn,
    /// Backward: the number of outputs of an input.
    FanOut,
}

/// The factor that keeps the variance after a nonlinearity; `param` is the slope of [`Nonlinearity::LeakyReLU`], else unused.
///
/// ```
/// use gabor_nn::init::{Nonlinearity, calculate_gain};
/// assert_eq!(calculate_gain(Nonlinearity::Tanh, None), 5.0 / 3.0);
/// assert_eq!(calculate_gain(Nonlinearity::LeakyReLU, Some(1.0)), 1.0);
/// ```
pub fn calculate_gain(nonlinearity: Nonlinearity, param: Option<f64>) -> f64 {
    match nonlinearity {
        Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::ReLU => 2f64.sqrt(),
        Nonlinearity::LeakyReLU => (2.0 / (1.0 + param.unwrap_or(0.01).powi(2))).sqrt(),
        Nonlinearity::SELU => 0.75,
    }
}

/// Inputs of an output and outputs of an input, for a weight of at least two dimensions: `[out, in, ...]`.
///
/// # Errors
/// There are fewer dimensions.
pub fn fan_in_and_fan_out(weight: &Parameter) -> Result<(usize, usize)> {
    if weight.is_lazy() {
        let message = format!("the parameter has open sizes (0), {:?}; materialize its module first", weight.shape());
        return Err(Error::argument("init", message));
    }
    let shape = weight.shape();
    match shape.split_first_chunk::<2>() {
        Some(([outputs, inputs], window)) => {
            let field: usize = window.iter().product();
            Ok((inputs * field, outputs * field))
        }
        None => Err(Error::shape("init", format!("fan in and fan out need at least 2 dimensions, shape is {shape:?}"))),
    }
}

/// Fills with numbers from `low` to below `high`.
///
/// # Errors
/// The result does not fit in memory.
pub fn uniform_(parameter: &Parameter, low: f64, high: f64) -> Result<()> {
    let (shape, dtype) = (parameter.shape(), parameter.dtype());
    parameter.set(&with_default_generator(|g| g.uniform(low, high, shape, dtype))?)
}

/// Fills with normally distributed numbers.
///
/// # Errors
/// `std` is negative or NaN.
pub fn normal_(parameter: &Parameter, mean: f64, std: f64) -> Result<()> {
    let (shape, dtype) = (parameter.shape(), parameter.dtype());
    parameter.set(&with_default_generator(|g| g.normal(mean, std, shape, dtype))?)
}

/// Fills with one number.
///
/// # Errors
/// The result does not fit in memory.
pub fn constant_(parameter: &Parameter, value: f64) -> Result<()> {
    parameter.set(&parameter.tensor().full_like(value)?)
}

/// Fills with 0.
///
/// # Errors
/// The result does not fit in memory.
pub fn zeros_(parameter: &Parameter) -> Result<()> {
    constant_(parameter, 0.0)
}

/// Fills with 1.
///
/// # Errors
/// The result does not fit in memory.
pub fn ones_(parameter: &Parameter) -> Result<()> {
    constant_(parameter, 1.0)
}

/// Uniform within `gain * sqrt(6 / (fan_in + fan_out))`: Glorot and Bengio, 2010.
///
/// ```
/// use gabor_nn::{Linear, init};
/// let layer = Linear::new(3, 3).build()?;
/// init::xavier_uniform_(&layer.weight, 1.0)?;
/// assert!(layer.weight.tensor().abs()?.to_vec::<f32>()?.iter().all(|&w| w <= 1.0));
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// There are fewer than two dimensions.
pub fn xavier_uniform_(parameter: &Parameter, gain: f64) -> Result<()> {
    let (fan_in, fan_out) = fan_in_and_fan_out(parameter)?;
    let bound = 3f64.sqrt() * gain * (2.0 / (fan_in + fan_out) as f64).sqrt();
    uniform_(parameter, -bound, bound)
}

/// Normal with standard deviation `gain * sqrt(2 / (fan_in + fan_out))`: Glorot and Bengio, 2010.
///
/// # Errors
/// There are fewer than two dimensions.
pub fn xavier_normal_(parameter: &Parameter, gain: f64) -> Result<()> {
    let (fan_in, fan_out) = fan_in_and_fan_out(parameter)?;
    normal_(parameter, 0.0, gain * (2.0 / (fan_in + fan_out) as f64).sqrt())
}

/// Uniform within `gain * sqrt(3 / fan)`: He et al., 2015. `a` is the slope of [`Nonlinearity::LeakyReLU`].
///
/// # Errors
/// There are fewer than two dimensions.
pub fn kaiming_uniform_(parameter: &Parameter, a: f64, mode: FanMode, nonlinearity: Nonlinearity) -> Result<()> {
    let bound = 3f64.sqrt() * kaiming_std(parameter, a, mode, nonlinearity)?;
    uniform_(parameter, -bound, bound)
}

/// Normal with standard deviation `gain / sqrt(fan)`: He et al., 2015. `a` is the slope of [`Nonlinearity::LeakyReLU`].
///
/// # Errors
/// There are fewer than two dimensions.
pub fn kaiming_normal_(parameter: &Parameter, a: f64, mode: FanMode, nonlinearity: Nonlinearity) -> Result<()> {
    normal_(parameter, 0.0, kaiming_std(parameter, a, mode, nonlinearity)?)
}

fn kaiming_std(parameter: &Parameter, a: f64, mode: FanMode, nonlinearity: Nonlinearity) -> Result<f64> {
    let (fan_in, fan_out) = fan_in_and_fan_out(parameter)?;
    let fan = if mode == FanMode::FanIn { fan_in } else { fan_out };
    Ok(calculate_gain(nonlinearity, Some(a)) / (fan.max(1) as f64).sqrt())
}

/// Rows (or columns, whichever are fewer) that are orthonormal, times `gain`: Saxe et al., 2013.
///
/// # Errors
/// There are fewer than two dimensions.
pub fn orthogonal_(parameter: &Parameter, gain: f64) -> Result<()> {
    let shape = parameter.shape();
    if shape.len() < 2 {
        return Err(Error::shape("orthogonal_", format!("needs at least 2 dimensions, shape is {shape:?}")));
    }
    let (rows, columns) = (shape[0], shape[1..].iter().product::<usize>());
    let (count, len) = (rows.min(columns), rows.max(columns));
    let mut q = with_default_generator(|g| g.normal(0.0, 1.0, [count, len], tensor::DType::F64))?.to_vec::<f64>()?;
    for i in 0..count {
        let (before, from) = q.split_at_mut(i * len);
        let row = &mut from[..len];
        // Twice, since one pass leaves rounding errors that grow with the number of rows.
        for other in before.chunks_exact(len).chain(before.chunks_exact(len)) {
            let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let norm = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        row.iter_mut().for_each(|a| *a /= norm);
    }
    let q = Tensor::from_vec(q, [count, len])?;
    let q = if rows <= columns { q } else { q.t()? };
    parameter.set(&q.mul_scalar(gain)?.reshape(&shape)?.to_dtype(parameter.dtype())?)
}

/// A weight and, if wanted, a bias of `bias` elements, with PyTorch's starting values for linear layers and convolutions.
pub(crate) fn weight_and_bias(
    op: &'static str,
    shape: &[usize],
    bias: Option<usize>,
) -> Result<(Parameter, Option<Parameter>)> {
    if shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).is_none() {
        return Err(Error::TooLarge { op, shape: shape.to_vec() });
    }
    let weight = Parameter::new(Tensor::zeros(shape)?)?;
    let (fan_in, _) = fan_in_and_fan_out(&weight)?;
    // a = sqrt(5) makes the gain sqrt(1 / 3), so that the bound is this.
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    uniform_(&weight, -bound, bound)?;
    let Some(size) = bias else { return Ok((weight, None)) };
    let bias = Parameter::new(Tensor::zeros(size)?)?;
    uniform_(&bias, -bound, bound)?;
    Ok((weight, Some(bias)))
}

/// [`weight_and_bias`] without values yet: sizes of 0 are open.
pub(crate) fn lazy_weight_and_bias(
    op: &'static str,
    shape: &[usize],
    bias: Option<usize>,
) -> Result<(Parameter, Option<Parameter>)> {
    if shape.iter().filter(|&&size| size > 0).try_fold(1usize, |n, &size| n.checked_mul(size)).is_none() {
        return Err(Error::TooLarge { op, shape: shape.to_vec() });
    }
    Ok((Parameter::lazy(shape)?, bias.map(|size| Parameter::lazy(&[size])).transpose()?))
}

/// Gives those that are lazy the values that [`weight_and_bias`] gives.
pub(crate) fn materialize(
    op: &'static str,
    weight: &Parameter,
    bias: Option<&Parameter>,
    shape: &[usize],
) -> Result<()> {
    let (first, second) = weight_and_bias(op, shape, bias.map(|bias| bias.shape()[0]))?;
    weight.materialize(&first.tensor())?;
    match bias.zip(second) {
        Some((bias, second)) => bias.materialize(&second.tensor()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_rows_are_orthonormal() -> Result<()> {
        for shape in [[3, 5], [5, 3], [4, 4]] {
            let w = Parameter::new(Tensor::zeros(shape)?)?;
            orthogonal_(&w, 2.0)?;
            let rows = if shape[0] <= shape[1] { w.tensor().detach() } else { w.tensor().detach().t()? };
            let (n, rows) = (shape[0].min(shape[1]), rows.contiguous()?);
            for i in 0..n {
                for j in 0..n {
                    let dot = rows.select(0, i as isize)?.mul(&rows.select(0, j as isize)?)?.sum()?.item()?;
                    assert!((dot - if i == j { 4.0 } else { 0.0 }).abs() < 1e-5);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn bounds_are_pytorchs() -> Result<()> {
        tensor::manual_seed(1);
        let (w, b) = weight_and_bias("conv2d", &[64, 4, 5, 5], Some(64))?;
        let bound = 0.1f32; // 1 / sqrt(4 * 5 * 5)
        for p in [w, b.expect("asked for")] {
            let v = p.tensor().to_vec::<f32>()?;
            assert!(v.iter().all(|x| x.abs() <= bound));
            assert!(v.iter().any(|x| *x > 0.9 * bound) && v.iter().any(|x| *x < -0.9 * bound));
        }
        let w = Parameter::new(Tensor::zeros([100, 200])?)?;
        kaiming_normal_(&w, 0.0, FanMode::FanIn, Nonlinearity::ReLU)?;
        let std = w.tensor().detach().std(1.0)?.item()?;
        assert!((std - 0.1).abs() < 0.003, "{std}");
        Ok(())
    }
}
