//! What the runner leaves out, and why. Nothing else is skipped.

use serde_json::Value;

use crate::format::{Case, Suite};

/// Arguments of operators that do not exist here.
const ARGUMENTS: &[(&str, &str, &str)] =
    &[("embedding", "sparse", "not applicable: there is no sparse layout, a gradient is a whole tensor")];

/// Layers that subtract the mean of what comes in.
const CENTERING: &[&str] = &["BatchNorm1d", "BatchNorm2d"];

/// What of a trained net is not compared, and why: a bias before batch normalisation changes nothing, so that its exact
/// gradient is 0. Adam divides the rounding error that f32 leaves by its own size and walks by it.
pub(crate) fn left_to_rounding(case: &Case) -> Option<(Vec<String>, &'static str)> {
    let text = |name: &str| case.field(name).and_then(Value::as_str).unwrap_or_default();
    if text("dtype") != "f32" || !["Adam", "AdamW", "RMSprop", "Adagrad"].contains(&text("optimizer")) {
        return None;
    }
    let kind = |layer: &Value| layer.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let has_bias = |layer: &Value| layer.get("bias") != Some(&Value::Bool(false));
    let mut names = Vec::new();
    for (i, pair) in case.list("layers").windows(2).enumerate() {
        if ["Conv2d", "Linear"].contains(&kind(&pair[0]).as_str())
            && has_bias(&pair[0])
            && CENTERING.contains(&kind(&pair[1]).as_str())
        {
            names.extend([format!("{i}.bias"), format!("{}.running_mean", i + 1)]);
        }
    }
    if names.is_empty() {
        return None;
    }
    // The running mean follows the bias with a delay, which shows in the answers.
    names.push("logits".to_owned());
    Some((names, "the exact gradient of a bias before batch normalisation is 0, Adam follows its rounding in f32"))
}

/// Why a case is left out, if it is.
pub(crate) fn reason(suite: &Suite, case: &Case) -> Option<&'static str> {
    let attrs = case.field("attrs").and_then(Value::as_object)?;
    let given = |name: &str| attrs.get(name).is_some_and(|value| !value.is_null() && *value != Value::Bool(false));
    let single = |sizes: &Vec<Value>| sizes.iter().all(|size| size.as_u64() == Some(1));
    let alone = attrs.get("normalized_shape").and_then(Value::as_array).is_some_and(single);
    if suite.name == "layer_norm" && alone && case.field("dtype").and_then(Value::as_str) == Some("f32") {
        return Some(
            "the exact gradient of layer norm over one value is 0, as here; PyTorch's is its rounding error in f32",
        );
    }
    if suite.name == "pixel_unshuffle" && case.keys("inputs").iter().flatten().any(|key| empty(suite, key)) {
        return Some("PyTorch hands an empty input back in its old shape; here it has the shape of the formula");
    }
    ARGUMENTS.iter().find(|(op, name, _)| *op == suite.name && given(name)).map(|&(_, _, reason)| reason)
}

fn empty(suite: &Suite, key: &str) -> bool {
    suite.tensor(key).is_ok_and(|x| x.numel() == 0)
}
