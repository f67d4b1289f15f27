//! Neighbouring layers that are computed as one, where nobody could see what lies between.
//!
//! In evaluation batch norm is `scale[c] * y + shift[c]`, so `conv(x, w, b)` and then the norm is
//! `conv(x, scale * w, scale * b + shift)`: a pass over the activations less. Only without gradients, as the weights that
//! then learn are the unscaled ones. A ReLU after a convolution is taken while its results are written. In training, batch norm and
//! a ReLU after it take their passes over memory together, and the gradient of the one is never written. Nothing of this with
//! hooks, or while anomalies are looked for.

use tensor::{Parameter, Result, Tensor, grad_enabled, is_anomaly_enabled};

use crate::hooks::Hooks;
use crate::layers::{BatchNorm2d, Conv2d, PaddingMode, ReLU};
use crate::sequential::Layer;

/// How many of the first layers are computed as one, and their result for `x`; None if each is computed by itself.
#[track_caller]
pub(crate) fn in_one(layers: &[Layer], hooks: &[Hooks], x: &Tensor) -> Option<(usize, Result<Tensor>)> {
    if layers.len() < 2 || !hooks[1].is_empty() || is_anomaly_enabled() {
        return None;
    }
    if is_relu(&layers[1]) {
        let layer = layers[0].as_any()?;
        let norm = |norm: &BatchNorm2d| norm.forward_relu(x);
        let conv = |conv: &Conv2d| conv.forward_relu(x);
        return layer.downcast_ref().and_then(norm).or_else(|| layer.downcast_ref().and_then(conv)).map(|y| (2, y));
    }
    let relu = layers.len() > 2 && hooks[2].is_empty() && is_relu(&layers[2]);
    let y = convolve_and_normalise(&layers[0], &layers[1], relu, x)?;
    Some((if relu { 3 } else { 2 }, y))
}

/// Whether the layer is a ReLU.
pub(crate) fn is_relu(layer: &Layer) -> bool {
    layer.as_any().is_some_and(|layer| layer.is::<ReLU>())
}

/// Convolution and batch norm by running statistics, and ReLU if asked for; None if they are not such layers, or not in such a
/// state.
#[track_caller]
fn convolve_and_normalise(first: &Layer, second: &Layer, relu: bool, x: &Tensor) -> Option<Result<Tensor>> {
    if grad_enabled() {
        return None;
    }
    let conv = first.as_any()?.downcast_ref::<Conv2d>()?;
    let norm = second.as_any()?.downcast_ref::<BatchNorm2d>()?;
    if conv.weight.is_lazy() || conv.padding_mode() != PaddingMode::Zeros || conv.hooked() || norm.hooked() {
        return None;
    }
    let (weight, bias) = (conv.weight.tensor(), conv.bias.as_ref().map(Parameter::tensor));
    // To scale large weights takes longer than to scale a small image.
    if x.numel() < 2 * weight.numel() {
        return None;
    }
    // What does not fit is left to the layers themselves, whose errors say so.
    let (scale, shift) = norm.scale_and_shift()?.ok()?;
    let channels = weight.dims()[0];
    let fits = |t: &Tensor| t.dims() == [channels] && t.dtype() == weight.dtype();
    if !fits(&scale) || !fits(&shift) || x.rank() != 4 {
        return None;
    }
    let folded = || -> Result<(Tensor, Tensor)> {
        let column = scale.reshape([channels as isize, 1, 1, 1])?;
        let bias = bias.map_or_else(|| Ok(shift.clone()), |bias| bias.mul(&scale)?.add(&shift))?;
        Ok((weight.mul(&column)?, bias))
    };
    Some(folded().and_then(|(weight, bias)| conv.with(x, &weight, Some(&bias), relu)))
}
