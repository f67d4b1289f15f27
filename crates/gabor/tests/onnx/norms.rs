//! Normalisation.

use gabor::nn::functional::{self, BatchNormOptions};
use gabor::{PadMode, State};

use crate::node::{Node, Operator, Outputs, Stop, front, one};

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", instance),
    ("GroupNormalization", group),
    ("LayerNormalization", layer),
    ("LRN", local_response),
];

/// ONNX weighs the old statistics with its momentum, and takes the variance of the batch as it is.
fn batch(n: &Node<'_>) -> Outputs {
    let x = n.x(0)?;
    let (mean, var) = (State::new(n.x(3)?.clone()), State::new(n.x(4)?.clone()));
    let new = 1.0 - n.number("momentum", 0.9)?;
    let training = n.int("training_mode", 0)? == 1;
    for old in ["is_test", "spatial", "consumed_inputs"] {
        n.ints(old)?;
    }
    let options = BatchNormOptions { training, momentum: new, eps: n.number("epsilon", 1e-5)? };
    let y = functional::batch_norm(x, Some(&mean), Some(&var), n.optional(1), n.optional(2), &options)?;
    if !training {
        return one(y);
    }
    let count = (x.numel() / x.dims()[1]) as f64;
    let kept = n.x(4)?.mul_scalar(1.0 - new)?;
    let learnt = var.tensor().sub(&kept)?.mul_scalar((count - 1.0) / count)?;
    Ok(vec![y, mean.tensor(), kept.add(&learnt)?])
}

fn instance(n: &Node<'_>) -> Outputs {
    let groups = n.x(0)?.dims()[1];
    one(functional::group_norm(n.x(0)?, groups, n.optional(1), n.optional(2), n.number("epsilon", 1e-5)?)?)
}

fn group(n: &Node<'_>) -> Outputs {
    let groups = n.int("num_groups", 1)? as usize;
    n.int("stash_type", 1)?;
    if n.x(1)?.numel() != n.x(0)?.dims()[1] {
        return Err(Stop::Skipped("the weights belong to groups, those of PyTorch to channels"));
    }
    one(functional::group_norm(n.x(0)?, groups, n.optional(1), n.optional(2), n.number("epsilon", 1e-5)?)?)
}

/// Mean and inverse deviation, which ONNX gives too, are written with reductions.
fn layer(n: &Node<'_>) -> Outputs {
    let (x, eps) = (n.x(0)?, n.number("epsilon", 1e-5)?);
    n.int("stash_type", 1)?;
    let axis = front(n.int("axis", -1)?, x.rank());
    let shape = &x.dims()[axis..];
    let y = functional::layer_norm(x, shape, n.optional(1), n.optional(2), eps)?;
    let axes: Vec<isize> = (axis..x.rank()).map(|axis| axis as isize).collect();
    let inverse = x.var_dim(axes.clone(), 0.0, true)?.add_scalar(eps)?.rsqrt()?;
    Ok(vec![y, x.mean_dim(axes, true)?, inverse])
}

/// There is no such layer; squares are summed over windows of the channels.
fn local_response(n: &Node<'_>) -> Outputs {
    let (x, size) = (n.x(0)?, n.int("size", 1)?);
    let (before, after) = ((size - 1) / 2, (size - 1) - (size - 1) / 2);
    let mut margins = vec![0; 2 * (x.rank() - 2)];
    margins.extend([before as isize, after as isize]);
    let squares = x.square()?.pad(&margins, PadMode::Constant(0.0))?;
    let sums = squares.unfold_dim(1, size as usize, 1)?.sum_dim(-1, false)?;
    let scale = sums.mul_scalar(n.number("alpha", 1e-4)? / size as f64)?.add_scalar(n.number("bias", 1.0)?)?;
    one(x.div(&scale.pow_scalar(n.number("beta", 0.75)?)?)?)
}
