//! Losses and normalisation.

use benches::Refusal;
use gabor::State;
use gabor::nn::functional::{self, BatchNormOptions};
use gabor::nn::{
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss, Reduction, SmoothL1Loss,
};

use crate::call::{Call, Outputs, one};
use crate::operators::Operator;

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("mse_loss", |c| one(MSELoss::new().reduction(reduction(c)?).forward(c.tensor(0)?, c.tensor(1)?)?)),
    ("l1_loss", |c| one(L1Loss::new().reduction(reduction(c)?).forward(c.tensor(0)?, c.tensor(1)?)?)),
    ("smooth_l1_loss", smooth_l1_loss),
    ("huber_loss", huber_loss),
    ("cross_entropy", cross_entropy),
    ("nll_loss", nll_loss),
    ("binary_cross_entropy_with_logits", binary_cross_entropy_with_logits),
    ("binary_cross_entropy", binary_cross_entropy),
    ("batch_norm", batch_norm),
    ("layer_norm", layer_norm),
    ("group_norm", group_norm),
];

fn reduction(c: &Call<'_>) -> Result<Reduction, Refusal> {
    match c.attrs.text("reduction")?.unwrap_or("mean") {
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        "none" => Ok(Reduction::None),
        other => Err(Refusal::Type(format!("{other} names no Reduction"))),
    }
}

fn smooth_l1_loss(c: &Call<'_>) -> Outputs {
    let mut loss = SmoothL1Loss::new().reduction(reduction(c)?);
    if let Some(beta) = c.attrs.number("beta")? {
        loss = loss.beta(beta);
    }
    one(loss.forward(c.tensor(0)?, c.tensor(1)?)?)
}

fn huber_loss(c: &Call<'_>) -> Outputs {
    let mut loss = HuberLoss::new().reduction(reduction(c)?);
    if let Some(delta) = c.attrs.number("delta")? {
        loss = loss.delta(delta);
    }
    one(loss.forward(c.tensor(0)?, c.tensor(1)?)?)
}

fn cross_entropy(c: &Call<'_>) -> Outputs {
    let mut loss = CrossEntropyLoss::new().reduction(reduction(c)?);
    if let Some(weight) = c.optional(2)? {
        loss = loss.weight(weight.clone());
    }
    if let Some(index) = c.attrs.integer("ignore_index")? {
        loss = loss.ignore_index(index);
    }
    if let Some(share) = c.attrs.number("label_smoothing")? {
        loss = loss.label_smoothing(share);
    }
    one(loss.forward(c.tensor(0)?, c.tensor(1)?)?)
}

fn nll_loss(c: &Call<'_>) -> Outputs {
    let mut loss = NLLLoss::new().reduction(reduction(c)?);
    if let Some(weight) = c.optional(2)? {
        loss = loss.weight(weight.clone());
    }
    if let Some(index) = c.attrs.integer("ignore_index")? {
        loss = loss.ignore_index(index);
    }
    one(loss.forward(c.tensor(0)?, c.tensor(1)?)?)
}

fn binary_cross_entropy_with_logits(c: &Call<'_>) -> Outputs {
    let mut loss = BCEWithLogitsLoss::new().reduction(reduction(c)?);
    if let Some(weight) = c.named("weight")? {
        loss = loss.weight(weight.clone());
    }
    if let Some(weight) = c.named("pos_weight")? {
        loss = loss.pos_weight(weight.clone());
    }
    one(loss.forward(c.tensor(0)?, c.tensor(1)?)?)
}

fn binary_cross_entropy(c: &Call<'_>) -> Outputs {
    let mut loss = BCELoss::new().reduction(reduction(c)?);
    if let Some(weight) = c.named("weight")? {
        loss = loss.weight(weight.clone());
    }
    one(loss.forward(c.tensor(0)?, c.tensor(1)?)?)
}

fn batch_norm(c: &Call<'_>) -> Outputs {
    let default = BatchNormOptions::default();
    let options = BatchNormOptions {
        training: c.attrs.flag("training")?.unwrap_or(default.training),
        momentum: c.attrs.number("momentum")?.unwrap_or(default.momentum),
        eps: c.attrs.number("eps")?.unwrap_or(default.eps),
    };
    let running = |i: usize| Ok::<_, Refusal>(c.optional(i)?.map(|x| State::new(x.detach())));
    let (mean, var) = (running(1)?, running(2)?);
    let (weight, bias) = (c.optional(3)?, c.optional(4)?);
    one(functional::batch_norm(c.tensor(0)?, mean.as_ref(), var.as_ref(), weight, bias, &options)?)
}

fn layer_norm(c: &Call<'_>) -> Outputs {
    let shape = c.attrs.integers("normalized_shape")?.ok_or_else(|| Refusal::Type("no normalized_shape".to_owned()))?;
    let eps = c.attrs.number("eps")?.unwrap_or(1e-5);
    one(functional::layer_norm(c.tensor(0)?, &shape, c.named("weight")?, c.named("bias")?, eps)?)
}

fn group_norm(c: &Call<'_>) -> Outputs {
    let groups = c.attrs.integer("num_groups")?.ok_or_else(|| Refusal::Type("no num_groups".to_owned()))?;
    let eps = c.attrs.number("eps")?.unwrap_or(1e-5);
    one(functional::group_norm(c.tensor(0)?, groups, c.named("weight")?, c.named("bias")?, eps)?)
}
