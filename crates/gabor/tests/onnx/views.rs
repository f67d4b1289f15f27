//! Operators that move or choose elements.

use gabor::{DType, PadMode, Tensor};

use crate::node::{Node, Operator, Outputs, Stop, axes, front, one};

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("Concat", |n| one(Tensor::cat(&n.inputs().collect::<Vec<_>>(), n.int("axis", 1)? as isize)?)),
    ("Flatten", flatten),
    ("Reshape", reshape),
    ("Transpose", transpose),
    ("Expand", expand),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Slice", slice),
    ("Split", split),
    ("Pad", pad),
    ("Gather", gather),
    ("GatherElements", |n| {
        let axis = n.int("axis", 0)? as isize;
        one(n.x(0)?.gather(axis, &from_front(n.x(1)?, n.x(0)?.dim(axis)?)?)?)
    }),
    ("ScatterElements", scatter),
    ("OneHot", one_hot),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
    ("Col2Im", col2im),
];

fn flatten(n: &Node<'_>) -> Outputs {
    let x = n.x(0)?;
    let axis = front(n.int("axis", 1)?, x.rank());
    let rows: usize = x.dims()[..axis].iter().product();
    one(x.reshape([rows as isize, -1])?)
}

/// 0 keeps a size, unless it is allowed to be one.
fn reshape(n: &Node<'_>) -> Outputs {
    let (x, allowed) = (n.x(0)?, n.int("allowzero", 0)? == 1);
    let wanted = n.list("shape", 1)?.unwrap_or_default();
    let size = |(i, &size): (usize, &i64)| if size == 0 && !allowed { x.dims()[i] as isize } else { size as isize };
    one(x.reshape(wanted.iter().enumerate().map(size).collect::<Vec<isize>>())?)
}

fn transpose(n: &Node<'_>) -> Outputs {
    let x = n.x(0)?;
    let reversed = (0..x.rank() as i64).rev().collect();
    one(x.permute(axes(&n.ints("perm")?.unwrap_or(reversed)))?)
}

/// The shapes broadcast to each other, so that 1 keeps a size.
fn expand(n: &Node<'_>) -> Outputs {
    let (x, wanted) = (n.x(0)?, n.numbers(1)?.unwrap_or_default());
    let mut shape = axes(&wanted);
    let skip = shape.len().saturating_sub(x.rank());
    for (size, &from) in shape[skip..].iter_mut().zip(x.dims()) {
        *size = (*size).max(from as isize);
    }
    one(x.expand(shape)?)
}

fn squeeze(n: &Node<'_>) -> Outputs {
    one(match n.list("axes", 1)? {
        Some(list) => n.x(0)?.squeeze(axes(&list))?,
        None => n.x(0)?.squeeze(())?,
    })
}

fn unsqueeze(n: &Node<'_>) -> Outputs {
    let (x, list) = (n.x(0)?, n.list("axes", 1)?.unwrap_or_default());
    let mut list: Vec<usize> = list.iter().map(|&axis| front(axis, x.rank() + list.len())).collect();
    list.sort_unstable();
    one(list.into_iter().try_fold(x.clone(), |x, axis| x.unsqueeze(axis as isize))?)
}

/// Steps backwards are steps forwards in the flipped tensor.
fn slice(n: &Node<'_>) -> Outputs {
    let x = n.x(0)?;
    let (starts, ends) = (n.list("starts", 1)?.unwrap_or_default(), n.list("ends", 2)?.unwrap_or_default());
    let all = (0..starts.len() as i64).collect();
    let (named, steps) = (n.list("axes", 3)?.unwrap_or(all), n.numbers(4)?.unwrap_or(vec![1; starts.len()]));
    let mut y = x.clone();
    for (i, &axis) in named.iter().enumerate() {
        let (axis, size) = (axis as isize, x.dim(axis as isize)? as i64);
        let inside = |v: i64| if v < 0 { (v + size).max(-1) } else { v.min(size) };
        y = if steps[i] > 0 {
            let (start, end) = (inside(starts[i]).max(0), inside(ends[i]).max(0));
            y.slice(axis, start as isize, Some(end as isize), steps[i] as usize)?
        } else {
            let (start, end) = (inside(starts[i]).min(size - 1), inside(ends[i]));
            let (start, end) = (size - 1 - start, size - 1 - end);
            y.flip(axis)?.slice(axis, start as isize, Some(end as isize), steps[i].unsigned_abs() as usize)?
        };
    }
    one(y)
}

/// Without sizes the last of the equal parts may be smaller.
fn split(n: &Node<'_>) -> Outputs {
    let (x, axis) = (n.x(0)?, n.int("axis", 0)? as isize);
    let size = x.dim(axis)?;
    let sizes = n.list("split", 1)?;
    let parts = n.int("num_outputs", n.outputs as i64)? as usize;
    Ok(match sizes {
        Some(sizes) => x.split_sizes(&sizes.iter().map(|&size| size as usize).collect::<Vec<usize>>(), axis)?,
        None => x.split(size.div_ceil(parts.max(1)), axis)?,
    })
}

/// ONNX lists all beginnings and then all ends; axes that are not padded are left out, as few axes may be mirrored.
fn pad(n: &Node<'_>) -> Outputs {
    let x = n.x(0)?;
    let pads = n.list("pads", 1)?.unwrap_or_default();
    let named = n.numbers(3)?.unwrap_or_else(|| (0..pads.len() as i64 / 2).collect());
    let value = match n.optional(2) {
        Some(value) => value.item()?,
        None => n.number("value", 0.0)?,
    };
    let mut margins = vec![0; 2 * x.rank()];
    for (i, &axis) in named.iter().enumerate() {
        let at = 2 * (x.rank() - 1 - front(axis, x.rank()));
        margins[at] = pads[i] as isize;
        margins[at + 1] = pads[i + named.len()] as isize;
    }
    while margins.ends_with(&[0, 0]) {
        margins.truncate(margins.len() - 2);
    }
    let mode = match n.text("mode", "constant")? {
        "constant" => PadMode::Constant(value),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Replicate,
        "wrap" => PadMode::Circular,
        other => return Err(Stop::Failed(format!("mode {other}"))),
    };
    one(x.pad(&margins, mode)?)
}

/// Indices from the end, which PyTorch refuses, counted from the front.
fn from_front(index: &Tensor, size: usize) -> gabor::Result<Tensor> {
    index.lt_scalar(0.0)?.where_cond(&index.add_scalar(size as f64)?, index)
}

fn gather(n: &Node<'_>) -> Outputs {
    let x = n.x(0)?;
    let axis = front(n.int("axis", 0)?, x.rank());
    let index = from_front(n.x(1)?, x.dims()[axis])?;
    let mut shape = x.dims()[..axis].to_vec();
    shape.extend(index.dims());
    shape.extend(&x.dims()[axis + 1..]);
    one(x.index_select(axis as isize, &index.reshape(-1)?)?.reshape(&shape[..])?)
}

fn scatter(n: &Node<'_>) -> Outputs {
    let (x, axis) = (n.x(0)?, n.int("axis", 0)? as isize);
    if n.text("reduction", "none")? != "add" {
        return Err(Stop::Skipped("there is no scatter but scatter_add"));
    }
    one(x.scatter_add(axis, &from_front(n.x(1)?, x.dim(axis)?)?, n.x(2)?)?)
}

/// Numbers from the end are allowed, others outside give a row of zeros: a class more takes those.
fn one_hot(n: &Node<'_>) -> Outputs {
    let depth = n.x(1)?.to_dtype(DType::I64)?.to_vec::<i64>()?[0];
    let index = from_front(&n.x(0)?.to_dtype(DType::I64)?, depth as usize)?;
    let outside = index.lt_scalar(0.0)?.logical_or(&index.ge_scalar(depth as f64)?)?;
    let rows = index.masked_fill(&outside, depth as f64)?.one_hot(depth as isize + 1)?.narrow(-1, 0, depth as usize)?;
    let values = n.x(2)?;
    let hot = rows.eq_scalar(1.0)?.where_cond(&values.select(0, 1)?, &values.select(0, 0)?)?;
    let last = hot.rank() as isize - 1;
    let axis = front(n.int("axis", -1)?, hot.rank()) as isize;
    let mut order: Vec<isize> = (0..last).collect();
    order.insert(axis as usize, last);
    one(hot.permute(order)?)
}

fn depth_to_space(n: &Node<'_>) -> Outputs {
    let (x, r) = (n.x(0)?, n.int("blocksize", 1)? as usize);
    if n.text("mode", "DCR")? == "CRD" {
        return one(x.pixel_shuffle(r)?);
    }
    // Blocks before channels: turned round, it is the same.
    let [batch, channels, h, w] = *x.dims() else { return Err(Stop::Failed("no images".to_owned())) };
    let turned = x.reshape(&[batch, r * r, channels / (r * r), h, w][..])?.transpose(1, 2)?;
    one(turned.reshape(&[batch, channels, h, w][..])?.pixel_shuffle(r)?)
}

fn space_to_depth(n: &Node<'_>) -> Outputs {
    let (x, r) = (n.x(0)?, n.int("blocksize", 1)? as usize);
    let y = x.pixel_unshuffle(r)?;
    let [batch, channels, h, w] = *y.dims() else { return Err(Stop::Failed("no images".to_owned())) };
    let turned = y.reshape(&[batch, channels / (r * r), r * r, h, w][..])?.transpose(1, 2)?;
    one(turned.reshape(&[batch, channels, h, w][..])?)
}

fn col2im(n: &Node<'_>) -> Outputs {
    let (image, block) = (n.numbers(1)?.unwrap_or_default(), n.numbers(2)?.unwrap_or_default());
    let pair = |list: Option<Vec<i64>>, default: usize| match list.as_deref() {
        Some(&[h, w]) => Some((h as usize, w as usize)),
        None => Some((default, default)),
        _ => None,
    };
    let (dilations, strides) = (pair(n.ints("dilations")?, 1), pair(n.ints("strides")?, 1));
    let pads = match n.ints("pads")?.as_deref() {
        None => Some((0, 0)),
        Some(&[top, left, bottom, right]) if (top, left) == (bottom, right) => Some((top as usize, left as usize)),
        Some(_) => None,
    };
    let (Some(size), Some(kernel), Some(dilation), Some(padding), Some(stride)) =
        (pair(Some(image), 0), pair(Some(block), 0), dilations, pads, strides)
    else {
        return Err(Stop::Skipped("fold knows images only, padded alike on both sides"));
    };
    one(n.x(0)?.fold(size, kernel, dilation, padding, stride)?)
}
