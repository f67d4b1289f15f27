//! What the runner leaves out, and why. Nothing else is skipped.

use serde_json::Value;

use crate::format::{Case, Suite};

/// Files of operators that do not exist here yet.
const OPERATORS: &[(&str, &str)] = &[("embedding", "the operator comes with the parity release")];

/// Operators that are on their way.
const PENDING: &[&str] = &[
    "amax",
    "amin",
    "argmax",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cumsum",
    "flip",
    "gather",
    "group_norm",
    "huber_loss",
    "index_select",
    "l1_loss",
    "layer_norm",
    "log_softmax",
    "logsumexp",
    "max_dim",
    "mse_loss",
    "nets",
    "nll_loss",
    "one_hot",
    "optimizers",
    "pad_circular",
    "pad_constant",
    "pad_reflect",
    "pad_replicate",
    "schedules",
    "smooth_l1_loss",
    "softmax",
    "unfold",
];

/// Optimizers and schedules that do not exist here yet.
const TRAINING: &[&str] = &[
    "RMSprop",
    "Adagrad",
    "LinearLR",
    "CosineAnnealingWarmRestarts",
    "OneCycleLR",
    "PolynomialLR",
    "ConstantLR",
    "ReduceLROnPlateau",
];

/// Why a case is left out, if it is.
pub(crate) fn reason(suite: &Suite, case: &Case) -> Option<&'static str> {
    if let Some(&(_, reason)) = OPERATORS.iter().find(|(name, _)| *name == suite.name) {
        return Some(reason);
    }
    if PENDING.contains(&suite.name.as_str()) {
        return Some("not there yet");
    }
    if suite.name == "optimizers" || suite.name == "schedules" {
        let field = |name| case.field(name).and_then(Value::as_str).unwrap_or_default();
        if TRAINING.contains(&field("optimizer")) || TRAINING.contains(&field("schedule")) {
            return Some("it comes with the parity release");
        }
        let options = case.field("options").and_then(Value::as_object);
        if options.is_some_and(|options| options.get("amsgrad") == Some(&Value::Bool(true))) {
            return Some("amsgrad comes with the parity release");
        }
    }
    None
}
