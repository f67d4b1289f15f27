//! Losses and dropout.

use gabor::nn::{CrossEntropyLoss, NLLLoss, Reduction};
use gabor::{DType, Tensor};

use crate::node::{Node, Operator, Outputs, Stop};

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] =
    &[("NegativeLogLikelihoodLoss", nll), ("SoftmaxCrossEntropyLoss", cross_entropy), ("Dropout", dropout)];

fn reduction(n: &Node<'_>) -> Result<Reduction, Stop> {
    match n.text("reduction", "mean")? {
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        "none" => Ok(Reduction::None),
        other => Err(Stop::Failed(format!("reduction {other}"))),
    }
}

/// PyTorch's default for the label that does not count is one that no label has.
fn nll(n: &Node<'_>) -> Outputs {
    let mut loss = NLLLoss::new().reduction(reduction(n)?).ignore_index(n.int("ignore_index", -100)?);
    if let Some(weight) = n.optional(2) {
        loss = loss.weight(weight.clone());
    }
    Ok(vec![loss.forward(n.x(0)?, n.x(1)?)?])
}

fn cross_entropy(n: &Node<'_>) -> Outputs {
    let mut loss = CrossEntropyLoss::new().reduction(reduction(n)?).ignore_index(n.int("ignore_index", -100)?);
    if let Some(weight) = n.optional(2) {
        loss = loss.weight(weight.clone());
    }
    Ok(vec![loss.forward(n.x(0)?, n.x(1)?)?, n.x(0)?.log_softmax(1)?])
}

fn dropout(n: &Node<'_>) -> Outputs {
    n.int("seed", 0)?;
    let ratio = match n.optional(1) {
        Some(ratio) => ratio.item()?,
        None => n.number("ratio", 0.5)?,
    };
    let training = n.optional(2).map_or(Ok(0.0), Tensor::item)? != 0.0;
    if training && ratio > 0.0 {
        return Err(Stop::Skipped("which elements are dropped depends on the random numbers"));
    }
    let y = gabor::nn::functional::dropout(n.x(0)?, ratio, training)?;
    let kept = n.x(0)?.ones_like()?.to_dtype(DType::Bool)?;
    Ok(vec![y, kept])
}
