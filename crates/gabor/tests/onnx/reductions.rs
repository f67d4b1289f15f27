//! Operators along axes, and products of matrices.

use gabor::Tensor;

use crate::node::{Node, Operator, Outputs, Stop, axes, front, one};

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("ReduceSum", |n| reduce(n, |x, axes, keep| x.sum_dim(axes, keep))),
    ("ReduceMean", |n| reduce(n, |x, axes, keep| x.mean_dim(axes, keep))),
    ("ReduceMax", |n| extreme(n, |x, axes, keep| x.amax_dim(axes, keep))),
    ("ReduceMin", |n| extreme(n, |x, axes, keep| x.amin_dim(axes, keep))),
    ("ReduceProd", |n| reduce(n, |x, axes, keep| x.prod_dim(axes, keep))),
    ("ReduceL1", |n| reduce(n, |x, axes, keep| x.abs()?.sum_dim(axes, keep))),
    ("ReduceL2", |n| reduce(n, |x, axes, keep| x.square()?.sum_dim(axes, keep)?.sqrt())),
    ("ReduceLogSum", |n| reduce(n, |x, axes, keep| x.sum_dim(axes, keep)?.log())),
    ("ReduceLogSumExp", |n| reduce(n, |x, axes, keep| x.logsumexp(axes, keep))),
    ("ReduceSumSquare", |n| reduce(n, |x, axes, keep| x.square()?.sum_dim(axes, keep))),
    ("ArgMax", |n| arg(n, |x, axis, keep| x.argmax(Some(axis), keep))),
    ("ArgMin", |n| arg(n, |x, axis, keep| x.argmin(Some(axis), keep))),
    ("Softmax", |n| along(n, |x, axis| x.softmax(axis))),
    ("LogSoftmax", |n| along(n, |x, axis| x.log_softmax(axis))),
    ("CumSum", cumsum),
    ("TopK", topk),
    ("MatMul", |n| one(n.x(0)?.matmul(n.x(1)?)?)),
    ("Gemm", gemm),
];

fn reduce(n: &Node<'_>, f: fn(&Tensor, Vec<isize>, bool) -> gabor::Result<Tensor>) -> Outputs {
    let (list, keep) = (n.list("axes", 1)?.unwrap_or_default(), n.int("keepdims", 1)? == 1);
    if n.int("noop_with_empty_axes", 0)? == 1 && list.is_empty() {
        return one(n.x(0)?.clone());
    }
    one(f(n.x(0)?, axes(&list), keep)?)
}

fn extreme(n: &Node<'_>, f: fn(&Tensor, Vec<isize>, bool) -> gabor::Result<Tensor>) -> Outputs {
    if n.x(0)?.numel() == 0 {
        return Err(Stop::Skipped("nothing has no largest or smallest element in PyTorch, which refuses it"));
    }
    reduce(n, f)
}

fn arg(n: &Node<'_>, f: fn(&Tensor, isize, bool) -> gabor::Result<Tensor>) -> Outputs {
    let (x, axis, keep) = (n.x(0)?, n.int("axis", 0)? as isize, n.int("keepdims", 1)? == 1);
    if n.int("select_last_index", 0)? == 0 {
        return one(f(x, axis, keep)?);
    }
    // The first one from behind.
    let last = x.dim(axis)? as f64 - 1.0;
    one(f(&x.flip(axis)?, axis, keep)?.neg()?.add_scalar(last)?)
}

/// Before version 13 everything from the axis on is one dimension.
fn along(n: &Node<'_>, f: fn(&Tensor, isize) -> gabor::Result<Tensor>) -> Outputs {
    let x = n.x(0)?;
    if n.opset >= 13 {
        return one(f(x, n.int("axis", -1)? as isize)?);
    }
    let axis = front(n.int("axis", 1)?, x.rank());
    let rows: usize = x.dims()[..axis].iter().product();
    one(f(&x.reshape([rows as isize, -1])?, 1)?.reshape(x.shape())?)
}

fn cumsum(n: &Node<'_>) -> Outputs {
    let (x, axis) = (n.x(0)?, n.x(1)?.item()? as isize);
    let reverse = n.int("reverse", 0)? == 1;
    let x = if reverse { x.flip(axis)? } else { x.clone() };
    let mut y = x.cumsum(axis)?;
    if n.int("exclusive", 0)? == 1 {
        y = y.sub(&x)?;
    }
    one(if reverse { y.flip(axis)? } else { y })
}

fn topk(n: &Node<'_>) -> Outputs {
    let k = n.x(1)?.to_dtype(gabor::DType::I64)?.to_vec::<i64>()?[0] as usize;
    n.int("sorted", 1)?;
    let (values, indices) = n.x(0)?.topk(k, n.int("axis", -1)? as isize, n.int("largest", 1)? == 1)?;
    Ok(vec![values, indices])
}

fn gemm(n: &Node<'_>) -> Outputs {
    n.int("broadcast", 1)?;
    let turned = |x: &Tensor, name: &str| Ok::<_, Stop>(if n.int(name, 0)? == 1 { x.t()? } else { x.clone() });
    let (a, b) = (turned(n.x(0)?, "transA")?, turned(n.x(1)?, "transB")?);
    let y = a.matmul(&b)?.mul_scalar(n.number("alpha", 1.0)?)?;
    let beta = n.number("beta", 1.0)?;
    one(match n.optional(2) {
        Some(c) => y.add(&c.mul_scalar(beta)?)?,
        None => y,
    })
}
