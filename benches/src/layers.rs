//! A net from a list of layers.

use gabor::nn::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, ConvTranspose2d, Dropout,
    Dropout2d, ELU, Flatten, Forward, GELU, GroupNorm, Hardtanh, Identity, IntoLayer, Layer, LayerNorm, LeakyReLU,
    Linear, LogSoftmax, MaxPool2d, Module, PaddingMode, ReLU, Sequential, SiLU, Sigmoid, Softmax, Softplus, Tanh,
};
use gabor::{Padding, Pair, Result, Tensor};
use serde_json::{Map, Value};

use crate::arguments::{Arguments, Refusal};

/// `relu(body(x) + shortcut(x))`; a shortcut without layers is the identity.
#[derive(Module)]
struct Residual {
    body: Sequential,
    shortcut: Sequential,
}

impl Forward for Residual {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.body.forward(x)?.add_(&self.shortcut.forward(x)?)?.relu_()
    }
}

/// The net of a list of layers, with PyTorch's starting values from the default generator.
///
/// ```
/// use gabor::nn::Module;
/// let list = serde_json::json!([
///     {"type": "Flatten"}, {"type": "Linear", "in_features": 4, "out_features": 3}, {"type": "ReLU"}
/// ]);
/// let net = benches::net(&list).unwrap();
/// assert_eq!(net.num_parameters(), 15);
/// assert!(benches::net(&serde_json::json!([{"type": "ReLU", "speed": 3}])).is_err());
/// ```
///
/// # Errors
/// A layer or an argument is not known, or the layer refuses a value. The error names the layer's place.
pub fn net(list: &Value) -> Result<Sequential, Refusal> {
    let layers = list.as_array().ok_or_else(|| Refusal::Type("a net is a list of layers".to_owned()))?;
    let mut net = Sequential::new();
    for (place, layer) in layers.iter().enumerate() {
        let arguments = layer.as_object().ok_or_else(|| Refusal::Type(format!("layer {place} is no object")))?;
        net.push(self::layer(arguments).map_err(|refusal| at(place, refusal))?)?;
    }
    Ok(net)
}

/// The refusal with the place of its layer.
fn at(place: usize, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Library(error) => Refusal::Library(error.in_layer(&place.to_string())),
        Refusal::Type(text) => Refusal::Type(format!("layer {place}: {text}")),
        Refusal::Unknown(text) => Refusal::Unknown(format!("layer {place}: {text}")),
    }
}

/// Calls a builder's method for each argument that is given, so that the others keep their defaults.
macro_rules! given {
    ($builder:ident, $arguments:ident, $read:ident: $($name:ident),+) => {
        $(if let Some(value) = $arguments.$read(stringify!($name))? {
            $builder = $builder.$name(value);
        })+
    };
}

fn layer(map: &Map<String, Value>) -> Result<Layer, Refusal> {
    let a = Arguments::new(map);
    let kind = a.text("type")?.ok_or_else(|| Refusal::Unknown("a layer without a type".to_owned()))?;
    let number = |name: &str, default: f64| Ok::<f64, Refusal>(a.number(name)?.unwrap_or(default));
    let layer = match kind {
        "Conv2d" => conv2d(&a)?,
        "ConvTranspose2d" => conv_transpose2d(&a)?,
        "Linear" => {
            let mut builder = Linear::new(size(&a, "in_features")?, size(&a, "out_features")?);
            given!(builder, a, flag: bias);
            builder.into_layer()?
        }
        "MaxPool2d" => {
            let mut builder = MaxPool2d::new(pair(&a, "kernel_size")?);
            given!(builder, a, pair: stride, padding, dilation);
            given!(builder, a, flag: ceil_mode);
            builder.into_layer()?
        }
        "AvgPool2d" => {
            let mut builder = AvgPool2d::new(pair(&a, "kernel_size")?);
            given!(builder, a, pair: stride, padding);
            given!(builder, a, flag: ceil_mode, count_include_pad);
            if let Some(divisor) = a.integer::<i64>("divisor_override")? {
                builder = builder.divisor_override(divisor);
            }
            builder.into_layer()?
        }
        "AdaptiveAvgPool2d" => AdaptiveAvgPool2d::new(pair(&a, "output_size")?).into_layer()?,
        "AdaptiveMaxPool2d" => AdaptiveMaxPool2d::new(pair(&a, "output_size")?).into_layer()?,
        "BatchNorm1d" => {
            let mut builder = BatchNorm1d::new(size(&a, "num_features")?);
            given!(builder, a, number: eps, momentum);
            given!(builder, a, flag: affine, track_running_stats);
            builder.into_layer()?
        }
        "BatchNorm2d" => {
            let mut builder = BatchNorm2d::new(size(&a, "num_features")?);
            given!(builder, a, number: eps, momentum);
            given!(builder, a, flag: affine, track_running_stats);
            builder.into_layer()?
        }
        "GroupNorm" => {
            let mut builder = GroupNorm::new(size(&a, "num_groups")?, size(&a, "num_channels")?);
            given!(builder, a, number: eps);
            given!(builder, a, flag: affine);
            builder.into_layer()?
        }
        "LayerNorm" => {
            let shape = a.integers::<usize>("normalized_shape")?.unwrap_or_default();
            let mut builder = LayerNorm::new(shape);
            given!(builder, a, number: eps);
            given!(builder, a, flag: elementwise_affine, bias);
            builder.into_layer()?
        }
        "Dropout" => Dropout::new(number("p", 0.5)?).into_layer()?,
        "Dropout2d" => Dropout2d::new(number("p", 0.5)?).into_layer()?,
        "Flatten" => {
            let (start, end) = (a.integer("start_dim")?.unwrap_or(1), a.integer("end_dim")?.unwrap_or(-1));
            Flatten::new(start, end).into_layer()?
        }
        "Identity" => Identity.into_layer()?,
        "ReLU" => ReLU.into_layer()?,
        "Sigmoid" => Sigmoid.into_layer()?,
        "Tanh" => Tanh.into_layer()?,
        "SiLU" => SiLU.into_layer()?,
        "GELU" => match a.text("approximate")?.unwrap_or("none") {
            "none" => GELU::default().into_layer()?,
            "tanh" => GELU::tanh().into_layer()?,
            other => return Err(Refusal::Type(format!("{other} names no form of GELU"))),
        },
        "LeakyReLU" => LeakyReLU::new(number("negative_slope", 0.01)?).into_layer()?,
        "ELU" => ELU::new(number("alpha", 1.0)?).into_layer()?,
        "Hardtanh" => Hardtanh::new(number("min_val", -1.0)?, number("max_val", 1.0)?).into_layer()?,
        "Softplus" => Softplus::new().beta(number("beta", 1.0)?).threshold(number("threshold", 20.0)?).into_layer()?,
        "Softmax" => Softmax::new(a.integer("dim")?.unwrap_or(-1)).into_layer()?,
        "LogSoftmax" => LogSoftmax::new(a.integer("dim")?.unwrap_or(-1)).into_layer()?,
        "Residual" => {
            let part = |name: &str| net(a.value(name).unwrap_or(&Value::Null));
            Residual { body: part("body")?, shortcut: part("shortcut")? }.into_layer()?
        }
        other => return Err(Refusal::Unknown(format!("layer {other}"))),
    };
    a.finish()?;
    Ok(layer)
}

fn conv2d(a: &Arguments<'_>) -> Result<Layer, Refusal> {
    let (channels, filters) = (size(a, "in_channels")?, size(a, "out_channels")?);
    let mut builder = Conv2d::new(channels, filters, pair(a, "kernel_size")?);
    given!(builder, a, pair: stride, dilation);
    given!(builder, a, integer: groups);
    given!(builder, a, flag: bias);
    match a.value("padding") {
        None => {}
        Some(Value::String(text)) => match text.as_str() {
            "same" => builder = builder.padding(Padding::Same),
            "valid" => builder = builder.padding(Padding::Valid),
            other => return Err(Refusal::Type(format!("padding {other}"))),
        },
        Some(_) => given!(builder, a, pair: padding),
    }
    if let Some(mode) = a.text("padding_mode")? {
        builder = builder.padding_mode(match mode {
            "zeros" => PaddingMode::Zeros,
            "reflect" => PaddingMode::Reflect,
            "replicate" => PaddingMode::Replicate,
            "circular" => PaddingMode::Circular,
            other => return Err(Refusal::Type(format!("padding_mode {other}"))),
        });
    }
    Ok(builder.into_layer()?)
}

fn conv_transpose2d(a: &Arguments<'_>) -> Result<Layer, Refusal> {
    let (channels, filters) = (size(a, "in_channels")?, size(a, "out_channels")?);
    let mut builder = ConvTranspose2d::new(channels, filters, pair(a, "kernel_size")?);
    given!(builder, a, pair: stride, padding, output_padding, dilation);
    given!(builder, a, integer: groups);
    given!(builder, a, flag: bias);
    Ok(builder.into_layer()?)
}

fn size(a: &Arguments<'_>, name: &str) -> Result<usize, Refusal> {
    a.integer(name)?.ok_or_else(|| Refusal::Type(format!("no {name}")))
}

fn pair(a: &Arguments<'_>, name: &str) -> Result<Pair, Refusal> {
    a.pair(name)?.ok_or_else(|| Refusal::Type(format!("no {name}")))
}
