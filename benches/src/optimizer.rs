//! An optimizer by PyTorch's name and options.

use gabor::Parameter;
use gabor::optim::{Adagrad, Adam, AdamW, Optimizer, RMSprop, SGD};

use crate::arguments::{Arguments, Refusal};

/// Calls a builder's method for each option that is given, so that the others keep their defaults.
macro_rules! given {
    ($builder:ident, $options:ident, $read:ident: $($name:ident),+) => {
        $(if let Some(value) = $options.$read(stringify!($name))? {
            $builder = $builder.$name(value);
        })+
    };
}

/// The optimizer `name` of `torch.optim` over `parameters`.
///
/// ```
/// use benches::{Arguments, optimizer};
/// let options = serde_json::json!({"lr": 0.1, "momentum": 0.9});
/// let sgd = optimizer("SGD", &Arguments::new(options.as_object().unwrap()), Vec::new());
/// assert!(sgd.is_err()); // no parameters
/// ```
///
/// # Errors
/// The name or an option is not known, or the optimizer refuses a value.
pub fn optimizer(
    name: &str,
    options: &Arguments<'_>,
    parameters: Vec<Parameter>,
) -> Result<Box<dyn Optimizer>, Refusal> {
    let lr = |default: f64| Ok::<f64, Refusal>(options.number("lr")?.unwrap_or(default));
    let made: Box<dyn Optimizer> = match name {
        "SGD" => {
            let mut builder = SGD::new(parameters, lr(1e-3)?);
            given!(builder, options, number: momentum, dampening, weight_decay);
            given!(builder, options, flag: nesterov, maximize);
            Box::new(builder.build()?)
        }
        "Adam" => {
            let mut builder = Adam::new(parameters, lr(1e-3)?);
            given!(builder, options, number: eps, weight_decay);
            given!(builder, options, flag: amsgrad, maximize);
            if let Some(betas) = betas(options)? {
                builder = builder.betas(betas);
            }
            Box::new(builder.build()?)
        }
        "AdamW" => {
            let mut builder = AdamW::new(parameters, lr(1e-3)?);
            given!(builder, options, number: eps, weight_decay);
            given!(builder, options, flag: amsgrad, maximize);
            if let Some(betas) = betas(options)? {
                builder = builder.betas(betas);
            }
            Box::new(builder.build()?)
        }
        "RMSprop" => {
            let mut builder = RMSprop::new(parameters, lr(1e-2)?);
            given!(builder, options, number: alpha, eps, weight_decay, momentum);
            given!(builder, options, flag: centered, maximize);
            Box::new(builder.build()?)
        }
        "Adagrad" => {
            let mut builder = Adagrad::new(parameters, lr(1e-2)?);
            given!(builder, options, number: lr_decay, weight_decay, initial_accumulator_value, eps);
            given!(builder, options, flag: maximize);
            Box::new(builder.build()?)
        }
        other => return Err(Refusal::Unknown(format!("optimizer {other}"))),
    };
    options.finish()?;
    Ok(made)
}

fn betas(options: &Arguments<'_>) -> Result<Option<(f64, f64)>, Refusal> {
    match options.numbers("betas")?.as_deref() {
        None => Ok(None),
        Some(&[first, second]) => Ok(Some((first, second))),
        Some(other) => Err(Refusal::Type(format!("betas is {other:?}; expected two numbers"))),
    }
}
