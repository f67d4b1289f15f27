//! Numerical proof of gradients, of first and second order. Public, because users write operators too.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::random::Generator;
use crate::tape::{GradOptions, Tensor, grad};

/// The step of the central difference, and what may remain.
const EPS: f64 = 1e-6;
const ATOL: f64 = 1e-5;
const RTOL: f64 = 1e-3;

/// Compares the gradients of `f` with central differences, for every element of every f64 input.
///
/// The result of `f` is multiplied by a random tensor and summed, so that one backward pass is checked against all
/// differences. Also checked: a zero gradient of the result gives zero gradients, and gradients have the shapes of their inputs.
/// Keep inputs away from kinks and ties, where no derivative exists.
///
/// ```
/// use gabor_tensor::{Tensor, gradcheck};
/// gradcheck(|x| x[0].mul(&x[1]), &[Tensor::new([1f64, 2.0])?, Tensor::new([[3f64], [4.0]])?])?;
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
///
/// # Errors
/// [`Error::GradCheck`] names the element where the gradients differ most; an f32 input is refused, since its rounding hides mistakes.
pub fn gradcheck(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    check("gradcheck", &f, inputs)
}

/// Checks the gradients of the gradients of `f`: [`gradcheck`] of its backward pass.
///
/// # Errors
/// As [`gradcheck`].
pub fn gradgradcheck(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    let sample = f(inputs)?;
    let mut generator = Generator::new(0x9e37_79b9);
    let mut all = inputs.to_vec();
    all.push(generator.uniform(0.5, 1.5, sample.shape(), DType::F64)?);
    let float: Vec<usize> = (0..inputs.len()).filter(|&i| inputs[i].dtype().is_float()).collect();
    let backward = |xs: &[Tensor]| -> Result<Tensor> {
        let (gradient, xs) = xs.split_last().expect("one more than the inputs");
        // Under a plain call the inputs are not in a graph yet, but the inner gradient needs one.
        let leaves: Vec<Tensor> = xs
            .iter()
            .map(
                |x| if x.dtype().is_float() && !x.requires_grad() { x.clone().requires_grad_() } else { Ok(x.clone()) },
            )
            .collect::<Result<_>>()?;
        let wanted: Vec<&Tensor> = float.iter().map(|&i| &leaves[i]).collect();
        let y = f(&leaves)?;
        let options =
            GradOptions { gradient: Some(gradient), create_graph: true, allow_unused: true, ..GradOptions::default() };
        let grads = grad(&y, &wanted, &options)?;
        let mut total: Option<Tensor> = None;
        for (g, x) in grads.into_iter().zip(&wanted) {
            let Some(g) = g else { continue };
            // A fixed direction for each gradient, so that one scalar function stands for all of them.
            let direction = Generator::new(x.numel() as u64 + 17).uniform(0.5, 1.5, x.shape(), DType::F64)?;
            let part = g.mul(&direction)?.sum()?;
            total = Some(match total {
                None => part,
                Some(sum) => sum.add(&part)?,
            });
        }
        total.map_or_else(|| Tensor::full((), 0f64), Ok)
    };
    check("gradgradcheck", &backward, &all)
}

fn check(op: &'static str, f: &dyn Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    if let Some(x) = inputs.iter().find(|x| x.dtype() == DType::F32) {
        return Err(Error::DType { op, dtype: x.dtype(), expected: "f64 inputs" });
    }
    let leaves: Vec<Tensor> = inputs
        .iter()
        .map(|x| if x.dtype().is_float() { x.detach().requires_grad_() } else { Ok(x.clone()) })
        .collect::<Result<_>>()?;
    let y = f(&leaves)?;
    if y.dtype() != DType::F64 {
        return Err(Error::DType { op, dtype: y.dtype(), expected: "an f64 result" });
    }
    let cotangent = Generator::new(1).uniform(0.5, 1.5, y.shape(), DType::F64)?;
    let float: Vec<usize> = (0..inputs.len()).filter(|&i| inputs[i].dtype().is_float()).collect();
    let wanted: Vec<&Tensor> = float.iter().map(|&i| &leaves[i]).collect();
    let pull = |gradient: &Tensor| -> Result<Vec<Option<Tensor>>> {
        if !y.requires_grad() {
            return Ok(vec![None; wanted.len()]);
        }
        let options =
            GradOptions { gradient: Some(gradient), retain_graph: true, allow_unused: true, ..GradOptions::default() };
        grad(&y, &wanted, &options)
    };
    let analytic = pull(&cotangent)?;
    for (&i, g) in float.iter().zip(pull(&cotangent.zeros_like()?)?) {
        if let Some(g) = g
            && let Some(bad) = g.to_vec::<f64>()?.into_iter().find(|&v| v != 0.0)
        {
            let message =
                format!("input {i}: a zero gradient of the result gives {bad}; the rule does not multiply by it");
            return Err(Error::GradCheck { op, message });
        }
    }
    let cotangent = cotangent.to_vec::<f64>()?;
    let value = |xs: &[Tensor]| -> Result<f64> {
        Ok(f(xs)?.detach().to_vec::<f64>()?.iter().zip(&cotangent).map(|(y, c)| y * c).sum())
    };
    let mut worst: Option<(f64, String)> = None;
    for (&i, g) in float.iter().zip(analytic) {
        let x = inputs[i].to_vec::<f64>()?;
        let g = g.map_or_else(|| Ok(vec![0.0; x.len()]), |g| g.to_vec::<f64>())?;
        for (e, &at) in x.iter().enumerate() {
            let moved = |by: f64| -> Result<f64> {
                let mut x = x.clone();
                x[e] += by;
                let mut xs: Vec<Tensor> = inputs.to_vec();
                xs[i] = Tensor::from_slice(&x, inputs[i].shape())?;
                value(&xs)
            };
            let numeric = (moved(EPS)? - moved(-EPS)?) / (2.0 * EPS);
            let excess = (g[e] - numeric).abs() - (ATOL + RTOL * numeric.abs());
            // NaN must count as a difference.
            if (excess > 0.0 || excess.is_nan()) && worst.as_ref().is_none_or(|(w, _)| excess.is_nan() || excess > *w) {
                let text = format!(
                    "input {i} of shape {:?}, element {e} (value {at}): the rule says {}, differences say {numeric}",
                    inputs[i].shape(),
                    g[e]
                );
                worst = Some((excess, text));
            }
        }
    }
    worst.map_or(Ok(()), |(_, message)| Err(Error::GradCheck { op, message }))
}
