//! Convolution, pooling and matrix products.

use benches::Refusal;
use gabor::{AvgPoolOptions, Conv2dOptions, ConvTranspose2dOptions, Padding, Pair, PoolOptions};
use gabor::{InterpolateMode, InterpolateOptions, ScaleFactor};
use serde_json::Value;

use crate::call::{Call, Outputs, one};
use crate::operators::Operator;

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("matmul", |c| one(c.tensor(0)?.matmul(c.tensor(1)?)?)),
    ("bmm", |c| one(c.tensor(0)?.bmm(c.tensor(1)?)?)),
    ("linear", |c| one(c.tensor(0)?.linear(c.tensor(1)?, c.optional(2)?)?)),
    ("conv2d", conv2d),
    ("conv_transpose2d", conv_transpose2d),
    ("max_pool2d", max_pool2d),
    ("avg_pool2d", avg_pool2d),
    ("adaptive_avg_pool2d", |c| one(c.tensor(0)?.adaptive_avg_pool2d(output_size(c)?)?)),
    ("adaptive_max_pool2d", adaptive_max_pool2d),
    ("unfold", unfold),
    ("interpolate", interpolate),
    ("fold", fold),
    ("pixel_shuffle", |c| one(c.tensor(0)?.pixel_shuffle(c.attrs.integer("upscale_factor")?.unwrap_or(0))?)),
    ("pixel_unshuffle", |c| one(c.tensor(0)?.pixel_unshuffle(c.attrs.integer("downscale_factor")?.unwrap_or(0))?)),
];

/// Builder methods are called only for the arguments that are given, so that the library's own defaults are tested.
macro_rules! given {
    ($options:ident, $c:ident, $read:ident: $($name:ident),+) => {
        $(if let Some(value) = $c.attrs.$read(stringify!($name))? {
            $options = $options.$name(value);
        })+
    };
}

fn conv2d(c: &Call<'_>) -> Outputs {
    let mut options = Conv2dOptions::new();
    given!(options, c, pair: stride, dilation);
    given!(options, c, integer: groups);
    match c.attrs.value("padding") {
        None => {}
        Some(Value::String(text)) if text == "same" => options = options.padding(Padding::Same),
        Some(Value::String(text)) if text == "valid" => options = options.padding(Padding::Valid),
        Some(Value::String(text)) => return Err(Refusal::Type(format!("{text} names no variant of Padding"))),
        Some(_) => given!(options, c, pair: padding),
    }
    one(c.tensor(0)?.conv2d(c.tensor(1)?, c.optional(2)?, &options)?)
}

fn conv_transpose2d(c: &Call<'_>) -> Outputs {
    let mut options = ConvTranspose2dOptions::new();
    given!(options, c, pair: stride, padding, output_padding, dilation);
    given!(options, c, integer: groups);
    one(c.tensor(0)?.conv_transpose2d(c.tensor(1)?, c.optional(2)?, &options)?)
}

fn kernel_size(c: &Call<'_>) -> Result<Pair, Refusal> {
    c.attrs.pair("kernel_size")?.ok_or_else(|| Refusal::Type("no kernel_size".to_owned()))
}

fn max_pool2d(c: &Call<'_>) -> Outputs {
    let mut options = PoolOptions::new(kernel_size(c)?);
    given!(options, c, pair: stride, padding, dilation);
    given!(options, c, flag: ceil_mode);
    if c.attrs.flag("return_indices")?.unwrap_or(false) {
        let (values, indices) = c.tensor(0)?.max_pool2d_with_indices(&options)?;
        return Ok(vec![values, indices]);
    }
    one(c.tensor(0)?.max_pool2d(&options)?)
}

fn avg_pool2d(c: &Call<'_>) -> Outputs {
    let mut options = AvgPoolOptions::new(kernel_size(c)?);
    given!(options, c, pair: stride, padding);
    given!(options, c, flag: ceil_mode, count_include_pad);
    if let Some(divisor) = c.attrs.integer::<i64>("divisor_override")? {
        options = options.divisor_override(divisor);
    }
    one(c.tensor(0)?.avg_pool2d(&options)?)
}

/// `null` stands for the size of the input; one number for both.
fn output_size(c: &Call<'_>) -> Result<Pair, Refusal> {
    let dims = c.tensor(0)?.dims();
    let size = |value: &Value, from_end: usize| match value {
        Value::Null => {
            let size = dims.len().checked_sub(from_end).map(|axis| dims[axis]);
            size.ok_or_else(|| Refusal::Type("no dimension to keep".to_owned()))
        }
        value => {
            let size = value.as_i64().and_then(|n| usize::try_from(n).ok());
            size.ok_or_else(|| Refusal::Type(format!("output_size {value}")))
        }
    };
    match c.attrs.value("output_size") {
        Some(Value::Array(list)) if list.len() == 2 => Ok(Pair::from((size(&list[0], 2)?, size(&list[1], 1)?))),
        Some(Value::Array(list)) if list.len() == 1 => Ok(Pair::from((size(&list[0], 2)?, size(&list[0], 1)?))),
        value => {
            let value = value.unwrap_or(&Value::Null);
            Ok(Pair::from((size(value, 2)?, size(value, 1)?)))
        }
    }
}

fn adaptive_max_pool2d(c: &Call<'_>) -> Outputs {
    let (values, indices) = c.tensor(0)?.adaptive_max_pool2d(output_size(c)?)?;
    Ok(if c.attrs.flag("return_indices")?.unwrap_or(false) { vec![values, indices] } else { vec![values] })
}

fn unfold(c: &Call<'_>) -> Outputs {
    let pair = |name: &str, default: usize| Ok::<_, Refusal>(c.attrs.pair(name)?.unwrap_or(Pair::from(default)));
    let (dilation, padding, stride) = (pair("dilation", 1)?, pair("padding", 0)?, pair("stride", 1)?);
    one(c.tensor(0)?.unfold(kernel_size(c)?, dilation, padding, stride)?)
}

fn interpolate(c: &Call<'_>) -> Outputs {
    let factor = match c.attrs.numbers("scale_factor")?.as_deref() {
        None => None,
        Some(&[factor]) => Some(ScaleFactor::from(factor)),
        Some(&[h, w]) => Some(ScaleFactor::from((h, w))),
        Some(list) => return Err(Refusal::Type(format!("scale_factor {list:?}; expected one or two"))),
    };
    let size = c.attrs.pair("size")?;
    let mut options = match (size, factor) {
        (Some(size), None) => InterpolateOptions::size(size),
        (None, Some(factor)) => InterpolateOptions::scale_factor(factor),
        (size, scale_factor) => InterpolateOptions { size, scale_factor, ..InterpolateOptions::size(1) },
    };
    options = options.mode(match c.attrs.text("mode")?.unwrap_or("nearest") {
        "nearest" => InterpolateMode::Nearest,
        "nearest-exact" => InterpolateMode::NearestExact,
        "bilinear" => InterpolateMode::Bilinear,
        "bicubic" => InterpolateMode::Bicubic,
        "area" => InterpolateMode::Area,
        other => return Err(Refusal::Type(format!("{other} names no InterpolateMode"))),
    });
    given!(options, c, flag: align_corners, recompute_scale_factor);
    one(c.tensor(0)?.interpolate(&options)?)
}

fn fold(c: &Call<'_>) -> Outputs {
    let pair = |name: &str, default: usize| Ok::<_, Refusal>(c.attrs.pair(name)?.unwrap_or(Pair::from(default)));
    let (dilation, padding, stride) = (pair("dilation", 1)?, pair("padding", 0)?, pair("stride", 1)?);
    one(c.tensor(0)?.fold(pair("output_size", 0)?, kernel_size(c)?, dilation, padding, stride)?)
}
