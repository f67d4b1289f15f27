//! Large batches in pieces.
//!
//! A batch whose activations leave the caches streams through memory at every layer. Where each image has its result by itself and
//! nothing is remembered for gradients, some images at a time can go through all layers that are left. Not with hooks, which
//! expect the whole batch, or while anomalies are looked for, and not where weights, which each piece reads and prepares again,
//! are nearly as large as a piece.

use tensor::{Parameter, Result, Tensor, grad_enabled, is_anomaly_enabled};

use crate::hooks::Hooks;
use crate::label::Label;
use crate::module::Visitor;
use crate::sequential::Layer;

/// Bytes of activations between two layers that are worth a division. What a layer reads and writes is then twice as much and more.
const LARGE: usize = 4 << 20;
/// Bytes of a piece's activations at the layer where the batch is divided.
const PIECE: usize = 2 << 20;

/// The number of images in a piece; None if the layers take the whole batch.
pub(crate) fn images(layers: &[Layer], hooks: &[Hooks], x: &Tensor) -> Option<usize> {
    let bytes = x.numel() * x.dtype().size();
    if grad_enabled() || bytes <= LARGE || x.rank() != 4 || is_anomaly_enabled() {
        return None;
    }
    let images = x.dims()[0];
    if images < 2 || layers.len() < 2 || !layers.iter().all(|layer| layer.per_image()) {
        return None;
    }
    let mut contents = Contents { bytes: 0, hooked: hooks.iter().any(|hooks| !hooks.is_empty()) };
    layers.iter().for_each(|layer| layer.visit(&mut contents));
    if contents.hooked || 3 * contents.bytes > PIECE {
        return None;
    }
    let pieces = images.div_ceil((PIECE / (bytes / images)).max(1));
    Some(images.div_ceil(pieces))
}

/// The result of `run` for each piece of the batch, one after the other.
///
/// # Errors
/// As `run`, whose error then tells of a piece.
pub(crate) fn each(x: &Tensor, images: usize, run: impl Fn(Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let n = x.dims()[0];
    let piece = |start: usize| run(x.narrow(0, start as isize, images.min(n - start))?);
    let results: Vec<Tensor> = (0..n).step_by(images).map(piece).collect::<Result<_>>()?;
    Tensor::cat(&results.iter().collect::<Vec<_>>(), 0)
}

/// Bytes of parameters inside of layers, and whether a hook is set on one.
struct Contents {
    bytes: usize,
    hooked: bool,
}

impl Visitor for Contents {
    fn parameter(&mut self, parameter: &Parameter) {
        self.bytes += parameter.shape().numel() * parameter.dtype().size();
    }

    fn hooks(&mut self, hooks: &Hooks) {
        self.hooked |= !hooks.is_empty();
    }

    fn label(&mut self, label: &Label) {
        self.hooked |= !label.hooks().is_empty();
    }
}
