//! An operator case: outputs, gradients through the given cotangents, or a refusal.

use benches::Refusal;
use gabor::{GradOptions, Tensor};

use crate::call::{Call, Outputs};
use crate::compare::{self, Tolerance};
use crate::format::{Case, Suite};
use crate::{losses, pointwise, reductions, views, windows};

/// How an operator is called.
pub(crate) type Operator = fn(&Call<'_>) -> Outputs;

/// The table of operators that `name` stands in.
fn find(name: &str) -> Option<Operator> {
    let tables = [losses::TABLE, pointwise::TABLE, reductions::TABLE, views::TABLE, windows::TABLE];
    tables.concat().iter().find(|(known, _)| *known == name).map(|&(_, operator)| operator)
}

/// Complains if the case does not come out as PyTorch has it.
pub(crate) fn check(suite: &Suite, case: &Case) -> Result<(), String> {
    let operator = find(&suite.name).ok_or_else(|| format!("the runner knows no operator {}", suite.name))?;
    let call = Call::read(suite, case)?;
    let result = operator(&call);
    if let Some(error) = case.field("error") {
        return match result {
            Err(Refusal::Library(_) | Refusal::Type(_)) => Ok(()),
            Err(unknown @ Refusal::Unknown(_)) => Err(unknown.to_string()),
            Ok(outputs) => Err(format!("gave {:?}; PyTorch refuses with {error}", shapes(&outputs))),
        };
    }
    let outputs = result.and_then(|outputs| call.attrs.finish().map(|()| outputs)).map_err(|e| e.to_string())?;
    let keys: Vec<&str> = case.keys("outputs").into_iter().flatten().collect();
    if outputs.len() != keys.len() {
        return Err(format!("{} outputs instead of {}", outputs.len(), keys.len()));
    }
    let work = work(&suite.name, &call, &outputs);
    for (i, (output, key)) in outputs.iter().zip(keys).enumerate() {
        let expected = suite.tensor(key)?;
        compare::tensors(&format!("out{i}"), output, &expected, tolerance(&expected, work))?;
    }
    gradients(suite, case, &call, &outputs, work)
}

/// Pulls the cotangents back through all outputs and compares the gradient of each leaf.
fn gradients(suite: &Suite, case: &Case, call: &Call<'_>, outputs: &[Tensor], work: usize) -> Result<(), String> {
    let grads: Vec<&str> = case.keys("grads").into_iter().flatten().collect();
    if grads.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = case.keys("grad_of").into_iter().flatten().collect();
    let leaves: Vec<&Tensor> = names
        .iter()
        .map(|&key| call.tensors.get(key).ok_or_else(|| format!("no input {key}")))
        .collect::<Result<_, _>>()?;
    let cotangents = case.keys("cotangent");
    let mut flows = Vec::new();
    for (output, key) in outputs.iter().zip(cotangents) {
        if let Some(key) = key {
            flows.push((output, suite.tensor(key)?));
        }
    }
    let text = |e: gabor::Error| format!("gradients: {e}");
    let results: Vec<Option<Tensor>> = match flows.as_slice() {
        [(output, cotangent)] => {
            output.backward_with(cotangent).map_err(text)?;
            leaves.iter().map(|leaf| leaf.grad()).collect()
        }
        flows => {
            let mut sums: Vec<Option<Tensor>> = vec![None; leaves.len()];
            for (output, cotangent) in flows {
                let options = GradOptions {
                    gradient: Some(cotangent),
                    retain_graph: true,
                    allow_unused: true,
                    create_graph: false,
                };
                let parts = gabor::grad(output, &leaves, &options).map_err(text)?;
                for (sum, part) in sums.iter_mut().zip(parts) {
                    *sum = match (sum.take(), part) {
                        (Some(a), Some(b)) => Some(a.add(&b).map_err(text)?),
                        (a, b) => a.or(b),
                    };
                }
            }
            sums
        }
    };
    for (i, ((result, leaf), key)) in results.into_iter().zip(&leaves).zip(grads).enumerate() {
        let expected = suite.tensor(key)?;
        let result = result.map_or_else(|| leaf.detach().zeros_like().map_err(text), Ok)?;
        let allowed = tolerance(&expected, work);
        compare::tensors(&format!("grad of {}", names[i]), &result, &expected, allowed)?;
    }
    Ok(())
}

fn tolerance(expected: &Tensor, work: usize) -> Tolerance {
    Tolerance::of(expected.dtype(), work / expected.numel().max(1))
}

fn shapes(outputs: &[Tensor]) -> Vec<&[usize]> {
    outputs.iter().map(Tensor::dims).collect()
}

/// About how many products or summands the call works through, for the f32 tolerance: a value of a tensor of `n` elements
/// sums `work / n` of them.
fn work(operator: &str, call: &Call<'_>, outputs: &[Tensor]) -> usize {
    let out = outputs.iter().map(Tensor::numel).max().unwrap_or(1);
    let size = |input: usize| call.tensor(input).map_or(1, Tensor::numel);
    let dim = |input: usize, axis: isize| call.tensor(input).and_then(|x| Ok(x.dim(axis)?)).unwrap_or(1).max(1);
    match operator {
        "conv2d" => out * size(1) / dim(1, 0),
        "conv_transpose2d" => size(0) * size(1) / dim(1, 0),
        "matmul" | "bmm" | "linear" => out * dim(0, -1),
        // A value may depend on the whole input.
        "softmax" | "log_softmax" | "cumsum" | "logsumexp" | "batch_norm" | "layer_norm" | "group_norm" => {
            out * size(0)
        }
        // Each element of the input enters once, or each of the output is made from one of a broadcast input.
        _ => size(0).max(out),
    }
}
