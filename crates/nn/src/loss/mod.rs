//! The losses. Functions take PyTorch's defaults, modules take options.

mod binary;
mod cross_entropy;
mod divergence;
mod lint;
mod margin;
mod nll;
mod regression;

pub use binary::{BCELoss, BCEWithLogitsLoss, binary_cross_entropy, binary_cross_entropy_with_logits};
pub use cross_entropy::{CrossEntropyLoss, cross_entropy};
pub use divergence::{GaussianNLLLoss, KLDivLoss, PoissonNLLLoss, gaussian_nll_loss, kl_div, poisson_nll_loss};
pub use margin::{
    CosineEmbeddingLoss, HingeEmbeddingLoss, MarginRankingLoss, MultiLabelSoftMarginLoss, MultiMarginLoss,
    SoftMarginLoss, TripletMarginLoss, cosine_embedding_loss, hinge_embedding_loss, margin_ranking_loss,
    multi_margin_loss, multilabel_soft_margin_loss, soft_margin_loss, triplet_margin_loss,
};
pub use nll::{NLLLoss, nll_loss};
pub use regression::{HuberLoss, L1Loss, MSELoss, SmoothL1Loss, huber_loss, l1_loss, mse_loss, smooth_l1_loss};

use tensor::{Result, Tensor};

/// What becomes of the losses of single elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their mean, weighted where there are class weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// They stay.
    None,
}

impl Reduction {
    #[track_caller]
    fn of(self, losses: &Tensor) -> Result<Tensor> {
        match self {
            Reduction::Mean => losses.mean(),
            Reduction::Sum => losses.sum(),
            Reduction::None => Ok(losses.clone()),
        }
    }
}
