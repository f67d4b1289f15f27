//! Gradients.

use super::{Case::*, Row, zeros, zeros_of};
use gabor::prelude::*;
use gabor::{Function, GradOptions, Lint, apply, detect_anomaly, grad};

fn leaf() -> Result<Tensor> {
    Tensor::ones([3])?.requires_grad_()
}

pub(crate) const ROWS: &[Row] = &[
    Row(
        63,
        "backward of a vector",
        Says(
            || leaf()?.square()?.backward(),
            "backward: needs a scalar, got [3]; call sum() or mean() first, or use backward_with",
        ),
    ),
    Row(
        64,
        "backward of whole numbers",
        Says(
            || leaf()?.to_dtype(DType::I64)?.sum()?.backward(),
            "backward: i64 numbers have no gradient; compute the loss in f32 or f64",
        ),
    ),
    Row(
        65,
        "backward of what nothing requires",
        Says(
            || zeros([3])?.sum()?.backward(),
            "backward: nothing to differentiate, no input of this result requires grad; was it made under no_grad, detached, or from frozen parameters?",
        ),
    ),
    Row(
        65,
        "backward under no_grad",
        Says(
            || no_grad(|| leaf()?.sum())?.backward(),
            "backward: nothing to differentiate, no input of this result requires grad; was it made under no_grad, detached, or from frozen parameters?",
        ),
    ),
    Row(
        66,
        "backward twice",
        Says(
            || {
                let loss = leaf()?.square()?.sum()?;
                loss.backward()?;
                loss.backward()
            },
            "backward: what the operation with result [] at LINE had saved was freed by the pass at LINE; compute the loss again, or use backward_retain (retain_graph) for the first pass",
        ),
    ),
    Row(
        67,
        "assignment into a leaf",
        Says(
            || leaf()?.assign(0, &Tensor::new(1f32)?),
            "assign: assignment is not recorded; use where_cond or cat, or detach() both tensors",
        ),
    ),
    Row(
        67,
        "changing a parameter while gradients are recorded",
        Impossible("a Parameter's value changes by set, update or an optimizer, which record nothing"),
    ),
    Row(
        68,
        "assignment into a view of a leaf",
        Says(
            || leaf()?.narrow(0, 0, 2)?.assign(0, &Tensor::new(1f32)?),
            "assign: assignment is not recorded; use where_cond or cat, or detach() both tensors",
        ),
    ),
    Row(
        69,
        "changing a tensor that a gradient needs",
        Impossible(
            "values do not change: assign takes &mut Tensor and copies what somebody else holds, and so does an optimizer",
        ),
    ),
    Row(
        70,
        "whole numbers that require grad",
        Says(
            || zeros_of(DType::I64, [3])?.requires_grad_().map(drop),
            "requires_grad_: i64 is not supported, expected f32 or f64; convert with to_dtype",
        ),
    ),
    Row(
        70,
        "a parameter of whole numbers",
        Says(
            || Parameter::new(zeros_of(DType::U8, [3])?).map(drop),
            "requires_grad_: u8 is not supported, expected f32 or f64; convert with to_dtype",
        ),
    ),
    Row(
        71,
        "a result that shall be a leaf",
        Says(
            || leaf()?.square()?.requires_grad_().map(drop),
            "requires_grad_: only leaves can be changed, this is a result; call detach() first",
        ),
    ),
    Row(
        72,
        "the gradient of a result",
        Warns(
            || {
                let y = leaf()?.square()?;
                y.sum()?.backward()?;
                assert!(y.grad().is_none());
                Ok(())
            },
            Lint::GradOfResult,
            "grad: results keep no gradient, this one of shape [3] was made at LINE; call retain_grad() before backward()",
        ),
    ),
    Row(
        73,
        "an operator of one's own whose gradient has another shape",
        Says(
            || apply(Doubled, &[&leaf()?])?.sum()?.backward(),
            "backward: the rule of doubled at LINE returned a gradient of f32 [] for input 0, which is f32 [3]",
        ),
    ),
    Row(
        73,
        "a gradient of another shape",
        Says(
            || leaf()?.square()?.backward_with(&zeros([4])?),
            "backward_with: the gradient has shape [4] and the result [3]; they must be equal",
        ),
    ),
    Row(
        73,
        "an input that the result does not depend on",
        Says(
            || grad(&leaf()?.sum()?, &[&leaf()?], &GradOptions::default()).map(drop),
            "grad: the result does not depend on input 0 of shape [3]; set allow_unused to get None for it",
        ),
    ),
    Row(
        74,
        "a gradient of another dtype",
        Says(
            || leaf()?.square()?.backward_with(&zeros_of(DType::F64, [3])?),
            "backward_with: dtypes differ, f64 and f32; convert one with to_dtype(DType::F32)",
        ),
    ),
    Row(
        75,
        "reading the elements of a tensor that requires grad",
        Fine(|| leaf()?.to_vec::<f32>().map(drop), "reading copies, and does no harm to the graph"),
    ),
    Row(
        75,
        "reading elements of another dtype",
        Says(
            || leaf()?.to_vec::<f64>().map(drop),
            "to_vec: dtypes differ, f64 and f32; convert one with to_dtype(DType::F32)",
        ),
    ),
    Row(
        76,
        "a NaN in forward, in anomaly mode",
        Says(
            || detect_anomaly(|| Tensor::new([4f32, -1.0])?.sqrt().map(drop)),
            "sqrt: the result is NaN at [1] of [2], where input 0 is -1; called at LINE",
        ),
    ),
    Row(
        76,
        "a NaN in backward, in anomaly mode",
        Says(
            || {
                let x = zeros([1])?.requires_grad_()?;
                detect_anomaly(|| x.sqrt()?.mul_scalar(0.0)?.sum()?.backward())
            },
            "sqrt: its gradient for input 0 is NaN at [0] of [1], where the input is 0 and the gradient of its result is 0; called at LINE, backward at LINE",
        ),
    ),
];

/// Twice the input, with a gradient of the wrong shape.
#[derive(Debug)]
struct Doubled;

impl Function for Doubled {
    fn name(&self) -> &'static str {
        "doubled"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        inputs[0].mul_scalar(2.0)
    }

    fn backward(&self, _: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.sum()?)])
    }
}
