//! Tolerances, and the largest error between what came out and what PyTorch has.

use gabor::{DType, Tensor};

/// Two values agree if they differ by at most `rtol * |expected| + atol`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    /// Of the expected value.
    pub(crate) rtol: f64,
    /// Whatever the value.
    pub(crate) atol: f64,
}

impl Tolerance {
    /// For outputs and gradients: 1e-9 and 1e-11 in f64; in f32 those of `torch.testing`, times the square root of the
    /// number of terms that a value sums up. Integers and truth values must be equal.
    pub(crate) fn of(dtype: DType, terms: usize) -> Tolerance {
        let scale = (terms.max(1) as f64).sqrt();
        match dtype {
            DType::F64 => Tolerance { rtol: 1e-9, atol: 1e-11 },
            DType::F32 => Tolerance { rtol: 1.3e-6 * scale, atol: 1e-5 * scale },
            _ => Tolerance { rtol: 0.0, atol: 0.0 },
        }
    }

    /// The same number for both parts.
    pub(crate) fn both(size: f64) -> Tolerance {
        Tolerance { rtol: size, atol: size }
    }

    /// Complains with the largest error, in units of what is allowed, if any pair of numbers differs by more.
    /// NaN equals NaN.
    pub(crate) fn check(self, what: &str, actual: &[f64], expected: &[f64]) -> Result<(), String> {
        if actual.len() != expected.len() {
            return Err(format!("{what}: {} values instead of {}", actual.len(), expected.len()));
        }
        let excess = |&(a, e): &(f64, f64)| {
            let error = if a == e || (a.is_nan() && e.is_nan()) { 0.0 } else { (a - e).abs() };
            let ratio = if error == 0.0 { 0.0 } else { error / (self.rtol * e.abs() + self.atol) };
            if ratio.is_nan() { f64::INFINITY } else { ratio }
        };
        let pairs = actual.iter().copied().zip(expected.iter().copied());
        let worst = pairs.enumerate().map(|(i, pair)| (excess(&pair), i, pair)).max_by(|a, b| a.0.total_cmp(&b.0));
        match worst {
            Some((ratio, i, (a, e))) if ratio > 1.0 => Err(format!(
                "{what}: largest error {:.3e}, {ratio:.1} times what is allowed: {a} instead of {e} at element {i}",
                (a - e).abs()
            )),
            _ => Ok(()),
        }
    }
}

/// Complains unless shape and dtype are equal and the values agree.
pub(crate) fn tensors(what: &str, actual: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Result<(), String> {
    if actual.dtype() != expected.dtype() {
        return Err(format!("{what}: dtype {} instead of {}", actual.dtype(), expected.dtype()));
    }
    if actual.shape() != expected.shape() {
        return Err(format!("{what}: shape {} instead of {}", actual.shape(), expected.shape()));
    }
    if let (Ok(a), Ok(e)) = (actual.to_vec::<i64>(), expected.to_vec::<i64>()) {
        let differing = a.iter().zip(&e).position(|(a, e)| a != e);
        return differing.map_or(Ok(()), |i| Err(format!("{what}: {} instead of {} at element {i}", a[i], e[i])));
    }
    tolerance.check(what, &values(actual)?, &values(expected)?)
}

/// All values as f64.
pub(crate) fn values(x: &Tensor) -> Result<Vec<f64>, String> {
    x.detach().to_dtype(DType::F64).and_then(|x| x.to_vec::<f64>()).map_err(|e| e.to_string())
}
