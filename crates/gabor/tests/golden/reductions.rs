//! Operators along axes: sums, extremes, softmax.

use benches::Refusal;
use gabor::{Axes, Tensor};

use crate::call::{Call, Outputs, one};
use crate::operators::Operator;

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("sum", |c| one(c.tensor(0)?.sum_dim(axes(c)?, keepdim(c)?)?)),
    ("mean", |c| one(c.tensor(0)?.mean_dim(axes(c)?, keepdim(c)?)?)),
    ("var", var),
    ("amax", |c| one(c.tensor(0)?.amax_dim(axes(c)?, keepdim(c)?)?)),
    ("amin", |c| one(c.tensor(0)?.amin_dim(axes(c)?, keepdim(c)?)?)),
    ("argmax", |c| one(c.tensor(0)?.argmax(c.attrs.integer("dim")?, keepdim(c)?)?)),
    ("argmin", |c| one(c.tensor(0)?.argmin(c.attrs.integer("dim")?, keepdim(c)?)?)),
    ("max_dim", max_dim),
    ("min_dim", |c| both(c.tensor(0)?.min_dim(c.axis("dim", 0)?, keepdim(c)?)?)),
    ("max_all", |c| one(c.tensor(0)?.max()?)),
    ("min_all", |c| one(c.tensor(0)?.min()?)),
    ("prod", |c| one(c.tensor(0)?.prod_dim(axes(c)?, keepdim(c)?)?)),
    ("std", |c| one(c.tensor(0)?.std_dim(axes(c)?, correction(c)?, keepdim(c)?)?)),
    ("sort", sort),
    ("topk", topk),
    ("logsumexp", |c| one(c.tensor(0)?.logsumexp(axes(c)?, keepdim(c)?)?)),
    ("softmax", |c| one(c.tensor(0)?.softmax(c.axis("dim", -1)?)?)),
    ("log_softmax", |c| one(c.tensor(0)?.log_softmax(c.axis("dim", -1)?)?)),
    ("cumsum", |c| one(c.tensor(0)?.cumsum(c.axis("dim", 0)?)?)),
];

/// The axes under `dim`: none and an empty list mean all.
fn axes(c: &Call<'_>) -> Result<Axes, Refusal> {
    Ok(match c.attrs.integers::<isize>("dim")? {
        Some(list) if !list.is_empty() => Axes::from(list),
        _ => Axes::ALL,
    })
}

fn keepdim(c: &Call<'_>) -> Result<bool, Refusal> {
    Ok(c.attrs.flag("keepdim")?.unwrap_or(false))
}

/// `unbiased` is the older spelling of `correction`.
fn correction(c: &Call<'_>) -> Result<f64, Refusal> {
    let unbiased = c.attrs.flag("unbiased")?.unwrap_or(true);
    Ok(c.attrs.number("correction")?.unwrap_or(if unbiased { 1.0 } else { 0.0 }))
}

fn var(c: &Call<'_>) -> Outputs {
    one(c.tensor(0)?.var_dim(axes(c)?, correction(c)?, keepdim(c)?)?)
}

fn both((values, indices): (Tensor, Tensor)) -> Outputs {
    Ok(vec![values, indices])
}

fn max_dim(c: &Call<'_>) -> Outputs {
    both(c.tensor(0)?.max_dim(c.axis("dim", 0)?, keepdim(c)?)?)
}

/// Sorting is stable here whether that is asked for or not.
fn sort(c: &Call<'_>) -> Outputs {
    c.attrs.flag("stable")?;
    both(c.tensor(0)?.sort(c.axis("dim", -1)?, c.attrs.flag("descending")?.unwrap_or(false))?)
}

/// Sorted whether that is asked for or not.
fn topk(c: &Call<'_>) -> Outputs {
    c.attrs.flag("sorted")?;
    let k = c.attrs.integer("k")?.ok_or_else(|| Refusal::Type("no k".to_owned()))?;
    both(c.tensor(0)?.topk(k, c.axis("dim", -1)?, c.attrs.flag("largest")?.unwrap_or(true))?)
}
