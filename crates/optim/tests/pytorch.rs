//! Each optimizer against PyTorch 2.15, step by step, in f64 and f32.

use gabor_optim::{Adagrad, Adam, AdamW, Optimizer, RMSprop, SGD};
use serde_json::Value;
use tensor::{DType, Parameter, Result, Tensor};

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn build(case: &Value, parameters: Vec<Parameter>) -> Box<dyn Optimizer> {
    let options = &case["options"];
    let number = |name: &str, default: f64| options[name].as_f64().unwrap_or(default);
    let flag = |name: &str| options[name].as_bool().unwrap_or(false);
    let betas = options["betas"].as_array().map_or((0.9, 0.999), |b| (b[0].as_f64().unwrap(), b[1].as_f64().unwrap()));
    let lr = number("lr", f64::NAN);
    let decay = number("weight_decay", 0.0);
    match case["optimizer"].as_str().unwrap() {
        "SGD" => Box::new(
            SGD::new(parameters, lr)
                .momentum(number("momentum", 0.0))
                .dampening(number("dampening", 0.0))
                .nesterov(flag("nesterov"))
                .weight_decay(decay)
                .maximize(flag("maximize"))
                .build()
                .unwrap(),
        ),
        "Adam" => Box::new(
            Adam::new(parameters, lr)
                .betas(betas)
                .eps(number("eps", 1e-8))
                .weight_decay(decay)
                .amsgrad(flag("amsgrad"))
                .maximize(flag("maximize"))
                .build()
                .unwrap(),
        ),
        "AdamW" => Box::new(
            AdamW::new(parameters, lr)
                .betas(betas)
                .weight_decay(number("weight_decay", 0.01))
                .amsgrad(flag("amsgrad"))
                .build()
                .unwrap(),
        ),
        "RMSprop" => Box::new(
            RMSprop::new(parameters, lr)
                .alpha(number("alpha", 0.99))
                .momentum(number("momentum", 0.0))
                .centered(flag("centered"))
                .weight_decay(decay)
                .build()
                .unwrap(),
        ),
        "Adagrad" => Box::new(
            Adagrad::new(parameters, lr)
                .lr_decay(number("lr_decay", 0.0))
                .initial_accumulator_value(number("initial_accumulator_value", 0.0))
                .weight_decay(decay)
                .build()
                .unwrap(),
        ),
        other => panic!("no optimizer {other}"),
    }
}

#[test]
fn every_step_is_pytorchs() -> Result<()> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/optimizers.json")).unwrap();
    assert_eq!(cases.len(), 17);
    for (case, (dtype, tolerance)) in
        cases.iter().flat_map(|case| [(DType::F64, 1e-13), (DType::F32, 2e-6)].map(|t| (case, t)))
    {
        let of = |value: &Value| Tensor::new(numbers(value))?.to_dtype(dtype);
        let w = Parameter::new(of(&case["start"])?)?;
        let mut optimizer = build(case, vec![w.clone()]);
        for (step, grad) in case["grads"].as_array().unwrap().iter().enumerate() {
            w.set_grad(&of(grad)?)?;
            // A state that is stored and restored half-way must not matter.
            if step == 4 {
                let state = optimizer.state_dict()?;
                optimizer = build(case, vec![w.clone()]);
                optimizer.load_state_dict(&state)?;
            }
            optimizer.step()?;
            let now = w.tensor().detach().to_dtype(DType::F64)?.to_vec::<f64>()?;
            for (value, expected) in now.iter().zip(numbers(&case["params"][step])) {
                let off = (value - expected).abs();
                assert!(
                    off <= tolerance * (1.0 + expected.abs()),
                    "{} {dtype} step {step}: {value} {expected}",
                    case["name"]
                );
            }
        }
    }
    Ok(())
}

#[test]
fn refusals() {
    let w = Parameter::new(Tensor::ones([2]).unwrap()).unwrap();
    let ws = || vec![w.clone()];
    assert_eq!(
        Adam::new(ws(), 0.1).betas((1.0, 0.9)).build().unwrap_err().to_string(),
        "Adam: beta1 is 1; use a number from 0 up to, without, 1"
    );
    assert_eq!(
        AdamW::new(ws(), 0.1).eps(f64::NAN).build().unwrap_err().to_string(),
        "AdamW: eps is NaN; use a finite number that is not negative"
    );
    assert!(Adam::new(ws(), 0.1).betas((0.9, f64::NAN)).build().is_err());
    assert!(Adam::new(ws(), f64::INFINITY).build().is_err());
    assert!(AdamW::new(vec![], 0.1).build().is_err());
    assert!(RMSprop::new(ws(), 0.1).alpha(-0.1).build().is_err());
    assert!(RMSprop::new(ws(), 0.1).momentum(f64::NAN).build().is_err());
    assert!(Adagrad::new(ws(), 0.1).lr_decay(-1.0).build().is_err());
    assert!(Adagrad::new(ws(), 0.1).initial_accumulator_value(f64::INFINITY).build().is_err());
}

#[test]
fn adamw_without_a_given_decay_decays() -> Result<()> {
    let w = Parameter::new(Tensor::new([1.0])?)?;
    let mut adam = AdamW::new(vec![w.clone()], 0.5).build()?;
    w.set_grad(&Tensor::new([0.0])?)?;
    adam.step()?;
    assert_eq!(w.tensor().item()?, 0.995);
    Ok(())
}
