//! Operators that move or choose elements: shapes, slices, joining.

use benches::Refusal;
use gabor::{Axes, DType, EmbeddingOptions, PadMode, Tensor};

use crate::call::{Call, Outputs, one};
use crate::operators::Operator;

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("reshape", |c| one(c.tensor(0)?.reshape(needed(c, "shape")?)?)),
    ("expand", |c| one(c.tensor(0)?.expand(needed(c, "size")?)?)),
    ("permute", |c| one(c.tensor(0)?.permute(needed(c, "dims")?)?)),
    ("transpose", |c| one(c.tensor(0)?.transpose(c.axis("dim0", 0)?, c.axis("dim1", 1)?)?)),
    ("narrow", narrow),
    ("select", |c| one(c.tensor(0)?.select(c.axis("dim", 0)?, c.axis("index", 0)?)?)),
    ("squeeze", squeeze),
    ("unsqueeze", |c| one(c.tensor(0)?.unsqueeze(c.axis("dim", 0)?)?)),
    ("cat", |c| one(Tensor::cat(&c.list(0)?, c.axis("dim", 0)?)?)),
    ("stack", |c| one(Tensor::stack(&c.list(0)?, c.axis("dim", 0)?)?)),
    ("chunk", |c| Ok(c.tensor(0)?.chunk(c.attrs.integer("chunks")?.unwrap_or(0), c.axis("dim", 0)?)?)),
    ("split", split),
    ("flip", |c| one(c.tensor(0)?.flip(needed(c, "dims")?)?)),
    ("pad_constant", pad),
    ("pad_reflect", pad),
    ("pad_replicate", pad),
    ("pad_circular", pad),
    ("index_select", |c| one(c.tensor(0)?.index_select(c.axis("dim", 0)?, &index(c)?)?)),
    ("gather", |c| one(c.tensor(0)?.gather(c.axis("dim", 0)?, &index(c)?)?)),
    ("one_hot", |c| one(c.tensor(0)?.one_hot(c.axis("num_classes", -1)?)?)),
    ("embedding", embedding),
    ("scatter_add", |c| one(c.tensor(0)?.scatter_add(c.axis("dim", 0)?, &index(c)?, named(c, "src")?)?)),
    ("index_add", index_add),
    ("flatten", |c| one(c.tensor(0)?.flatten(c.axis("start_dim", 0)?, c.axis("end_dim", -1)?)?)),
    ("repeat", |c| {
        let times = c.attrs.integers::<usize>("repeats")?.ok_or_else(|| Refusal::Type("no repeats".to_owned()))?;
        one(c.tensor(0)?.repeat(times)?)
    }),
    ("t", |c| one(c.tensor(0)?.t()?)),
    ("broadcast_to", |c| one(c.tensor(0)?.broadcast_to(needed(c, "size")?)?)),
    ("unfold_dim", |c| {
        let size = |name: &str| c.attrs.integer(name)?.ok_or_else(|| Refusal::Type(format!("no {name}")));
        one(c.tensor(0)?.unfold_dim(c.axis("dimension", 0)?, size("size")?, size("step")?)?)
    }),
];

/// A list that must be given.
fn needed(c: &Call<'_>, name: &str) -> Result<Vec<isize>, Refusal> {
    c.attrs.integers(name)?.ok_or_else(|| Refusal::Type(format!("no {name}")))
}

/// PyTorch lets an index that holds nothing have any dtype; here it is i64.
fn index(c: &Call<'_>) -> Result<Tensor, Refusal> {
    let index = c.named("index")?.ok_or_else(|| Refusal::Type("no index".to_owned()))?;
    Ok(if index.numel() == 0 { index.to_dtype(DType::I64)? } else { index.clone() })
}

fn named<'a>(c: &'a Call<'_>, name: &str) -> Result<&'a Tensor, Refusal> {
    c.named(name)?.ok_or_else(|| Refusal::Type(format!("no {name}")))
}

fn index_add(c: &Call<'_>) -> Outputs {
    let alpha = c.attrs.number("alpha")?.unwrap_or(1.0);
    let source = named(c, "source")?;
    let source = if alpha == 1.0 { source.clone() } else { source.mul_scalar(alpha)? };
    one(c.tensor(0)?.index_add(c.axis("dim", 0)?, &index(c)?, &source)?)
}

fn narrow(c: &Call<'_>) -> Outputs {
    let (axis, start) = (c.axis("dim", 0)?, c.axis("start", 0)?);
    one(c.tensor(0)?.narrow(axis, start, c.attrs.integer("length")?.unwrap_or(0))?)
}

fn squeeze(c: &Call<'_>) -> Outputs {
    let axes = c.attrs.integers::<isize>("dim")?.map_or(Axes::ALL, Axes::from);
    one(c.tensor(0)?.squeeze(axes)?)
}

fn split(c: &Call<'_>) -> Outputs {
    let (sizes, axis) = (c.attrs.integers::<usize>("split_size")?.unwrap_or_default(), c.axis("dim", 0)?);
    let list = c.attrs.value("split_size").is_some_and(|value| value.is_array());
    Ok(match sizes.as_slice() {
        &[size] if !list => c.tensor(0)?.split(size, axis)?,
        sizes => c.tensor(0)?.split_sizes(sizes, axis)?,
    })
}

fn pad(c: &Call<'_>) -> Outputs {
    let mode = match c.attrs.text("mode")?.unwrap_or("constant") {
        "constant" => PadMode::Constant(c.attrs.number("value")?.unwrap_or(0.0)),
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Replicate,
        "circular" => PadMode::Circular,
        other => return Err(Refusal::Type(format!("{other} names no PadMode"))),
    };
    one(c.tensor(0)?.pad(&needed(c, "pad")?, mode)?)
}

fn embedding(c: &Call<'_>) -> Outputs {
    let defaults = EmbeddingOptions::new();
    let options = EmbeddingOptions {
        padding_idx: c.attrs.integer("padding_idx")?,
        max_norm: c.attrs.number("max_norm")?,
        norm_type: c.attrs.number("norm_type")?.unwrap_or(defaults.norm_type),
        scale_grad_by_freq: c.attrs.flag("scale_grad_by_freq")?.unwrap_or(defaults.scale_grad_by_freq),
    };
    // Sparse gradients are left out; `false` asks for none.
    c.attrs.flag("sparse")?;
    one(c.tensor(1)?.embedding_with(c.tensor(0)?, &options)?)
}
