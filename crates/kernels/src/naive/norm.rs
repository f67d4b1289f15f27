//! Twins of the kernels of normalisation, in double precision.

use crate::element::Float;
use crate::norm::Channels;

/// The elements of channel `c`.
fn channel<T: Float>(x: &[T], extent: Channels, c: usize) -> Vec<f64> {
    (0..x.len()).filter(|i| i / extent.inner % extent.channels == c).map(|i| x[i].f()).collect()
}

/// Mean and variance of each channel: the first half of [`crate::norm::standardize`].
pub fn moments<T: Float>(x: &[T], extent: Channels) -> Vec<f64> {
    let of = |c: usize| {
        let values = channel(x, extent, c);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        [mean, values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n]
    };
    (0..extent.channels).flat_map(of).collect()
}

/// Sums of the gradient, and of the gradient times `x - mean`, of each channel: the first half of
/// [`crate::norm::standardize_gradient`].
pub fn gradient_sums<T: Float>(g: &[T], x: &[T], mean: &[T], extent: Channels) -> Vec<f64> {
    let of = |c: usize| {
        let (g, x) = (channel(g, extent, c), channel(x, extent, c));
        [g.iter().sum::<f64>(), g.iter().zip(&x).map(|(g, x)| g * (x - mean[c].f())).sum::<f64>()]
    };
    (0..extent.channels).flat_map(of).collect()
}

/// Twin of [`crate::norm::affine`].
pub fn affine<T: Float>(x: &[T], c: &[T], extent: Channels, y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        let at = 3 * (i / extent.inner % extent.channels);
        *y = T::real((x[i].f() - c[at].f()) * c[at + 1].f() + c[at + 2].f());
    }
}

/// The gradient itself: the second half of [`crate::norm::standardize_gradient`].
pub fn gradient<T: Float>(g: &[T], x: &[T], c: &[T], extent: Channels, y: &mut [T]) {
    for (i, y) in y.iter_mut().enumerate() {
        let at = 4 * (i / extent.inner % extent.channels);
        let [mean, a, b, scale] = [0, 1, 2, 3].map(|k| c[at + k].f());
        *y = T::real((g[i].f() - a - (x[i].f() - mean) * b) * scale);
    }
}
