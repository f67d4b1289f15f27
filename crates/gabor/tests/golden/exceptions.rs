//! What the runner leaves out, and why. Nothing else is skipped.

use serde_json::Value;

use crate::format::{Case, Suite};

/// Arguments of operators that do not exist here.
const ARGUMENTS: &[(&str, &str, &str)] = &[
    ("embedding", "max_norm", "rows are not renormalised in place: tensors are values"),
    ("embedding", "scale_grad_by_freq", "gradients are not scaled by how often a row is used"),
    ("embedding", "sparse", "there are no sparse gradients"),
];

/// Why a case is left out, if it is.
pub(crate) fn reason(suite: &Suite, case: &Case) -> Option<&'static str> {
    let attrs = case.field("attrs").and_then(Value::as_object)?;
    let given = |name: &str| attrs.get(name).is_some_and(|value| !value.is_null() && *value != Value::Bool(false));
    ARGUMENTS.iter().find(|(op, name, _)| *op == suite.name && given(name)).map(|&(_, _, reason)| reason)
}
