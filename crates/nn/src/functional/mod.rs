//! Functions behind the layers, as `torch.nn.functional`. Losses take PyTorch's defaults here; their options are in the
//! modules, such as [`CrossEntropyLoss`](crate::CrossEntropyLoss).

mod activation;
mod corr2d;
mod dropout;
mod norm;

pub use crate::loss::{
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cross_entropy, gaussian_nll_loss,
    hinge_embedding_loss, huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss, multi_margin_loss,
    multilabel_soft_margin_loss, nll_loss, poisson_nll_loss, smooth_l1_loss, soft_margin_loss, triplet_margin_loss,
};
pub use activation::{
    celu, glu, hardshrink, hardsigmoid, hardswish, logsigmoid, mish, prelu, relu6, selu, softshrink, softsign,
    tanhshrink, threshold,
};
pub use corr2d::corr2d;
pub use dropout::{alpha_dropout, dropout, dropout2d};
pub use norm::{BatchNormOptions, batch_norm, group_norm, layer_norm};
pub(crate) use norm::{batch_norm_then, scale_and_shift};

use tensor::{Result, Tensor};

/// `x @ weight.T + bias` over the last dimension of `x`.
///
/// # Errors
/// As [`Tensor::linear`].
#[track_caller]
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    x.linear(weight, bias)
}
