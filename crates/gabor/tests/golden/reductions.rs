//! Operators along axes: sums, extremes, softmax.

use benches::Refusal;
use gabor::Axes;

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
    ("max_dim", max_dim),
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
fn var(c: &Call<'_>) -> Outputs {
    let unbiased = c.attrs.flag("unbiased")?.unwrap_or(true);
    let correction = c.attrs.number("correction")?.unwrap_or(if unbiased { 1.0 } else { 0.0 });
    one(c.tensor(0)?.var_dim(axes(c)?, correction, keepdim(c)?)?)
}

fn max_dim(c: &Call<'_>) -> Outputs {
    let (values, indices) = c.tensor(0)?.max_dim(c.axis("dim", 0)?, keepdim(c)?)?;
    Ok(vec![values, indices])
}
