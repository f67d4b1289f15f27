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
