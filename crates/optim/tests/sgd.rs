//! SGD: the formulas by hand, groups, states, and refusals.

use gabor_optim::{GroupOptions, Optimizer, SGD, SGDBuilder};
use tensor::{DType, Parameter, Result, Tensor};

fn parameter(values: &[f64]) -> Parameter {
    Parameter::new(Tensor::from_slice(values, values.len()).unwrap()).unwrap()
}

/// Two steps from 1 with gradients 1 and 0.5, and where they lead.
fn two_steps(options: impl Fn(SGDBuilder) -> SGDBuilder) -> f64 {
    let w = parameter(&[1.0]);
    let mut sgd = options(SGD::new(vec![w.clone()], 0.1)).build().unwrap();
    for grad in [1.0, 0.5] {
        w.set_grad(&Tensor::new([grad]).unwrap()).unwrap();
        sgd.step().unwrap();
    }
    w.tensor().item().unwrap()
}

#[test]
fn formulas() {
    let close = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-15, "{value} is not {expected}");
    close(two_steps(|b| b), 1.0 - 0.1 * 1.5);
    // Buffers 1 and 0.9 + 0.5.
    close(two_steps(|b| b.momentum(0.9)), 1.0 - 0.1 * (1.0 + 1.4));
    // Buffers 1 (the first is not dampened) and 0.9 + 0.7 * 0.5.
    close(two_steps(|b| b.momentum(0.9).dampening(0.3)), 1.0 - 0.1 * (1.0 + 1.25));
    // Steps 1 + 0.9 * 1 and 0.5 + 0.9 * 1.4.
    close(two_steps(|b| b.momentum(0.9).nesterov(true)), 1.0 - 0.1 * (1.9 + 1.76));
    close(two_steps(|b| b.maximize(true)), 1.0 + 0.1 * 1.5);
    // Gradients 1 + 0.2 * 1 and 0.5 + 0.2 * 0.88.
    close(two_steps(|b| b.weight_decay(0.2)), 0.88 - 0.1 * 0.676);
}

#[test]
fn parameters_without_gradient_and_frozen_ones_stay() -> Result<()> {
    let (a, b, c) = (parameter(&[1.0]), parameter(&[2.0]), parameter(&[3.0]));
    let mut sgd = SGD::new(vec![a.clone(), b.clone(), c.clone()], 1.0).weight_decay(0.5).build()?;
    a.set_grad(&Tensor::new([1.0])?)?;
    c.set_grad(&Tensor::new([1.0])?)?;
    c.requires_grad_(false);
    sgd.step()?;
    assert_eq!((a.tensor().item()?, b.tensor().item()?, c.tensor().item()?), (-0.5, 2.0, 3.0));
    sgd.zero_grad();
    assert!(a.grad().is_none());
    Ok(())
}

#[test]
fn groups_have_their_own_options() -> Result<()> {
    let (a, b) = (parameter(&[1.0]), parameter(&[1.0]));
    let own = GroupOptions::new().lr(0.5).momentum(0.0);
    let mut sgd = SGD::new(vec![a.clone()], 0.1).momentum(0.9).group(vec![b.clone()], own).build()?;
    for _ in 0..2 {
        a.set_grad(&Tensor::new([1.0])?)?;
        b.set_grad(&Tensor::new([1.0])?)?;
        sgd.step()?;
    }
    assert!((a.tensor().item()? - 0.71).abs() < 1e-15);
    assert_eq!(b.tensor().item()?, 0.0);
    sgd.set_lr(0.25)?;
    assert_eq!(sgd.groups().iter().map(|g| g.lr()).collect::<Vec<_>>(), [0.25, 0.25]);
    assert!(sgd.set_lr(f64::NAN).is_err());
    assert_eq!(sgd.lr(), 0.25);
    Ok(())
}

#[test]
fn an_f32_parameter_and_an_infinite_weight_without_decay() -> Result<()> {
    let w = Parameter::new(Tensor::new([f32::INFINITY, 1.0])?)?;
    let mut sgd = SGD::new(vec![w.clone()], 0.5).momentum(0.9).build()?;
    w.set_grad(&Tensor::new([1f32, 1.0])?)?;
    sgd.step()?;
    assert_eq!(w.tensor().to_vec::<f32>()?, [f32::INFINITY, 0.5]);
    assert_eq!(w.dtype(), DType::F32);
    Ok(())
}

#[test]
fn a_restored_state_continues_bit_for_bit() -> Result<()> {
    let run = |w: &Parameter, sgd: &mut SGD, steps: std::ops::Range<usize>| -> Result<()> {
        for step in steps {
            w.set_grad(&w.tensor().detach().sin()?.mul_scalar(1.0 + step as f64)?)?;
            sgd.step()?;
        }
        Ok(())
    };
    let w = parameter(&[0.3, -0.7, 1.9]);
    let mut sgd = SGD::new(vec![w.clone()], 0.05).momentum(0.9).nesterov(true).build()?;
    run(&w, &mut sgd, 0..3)?;
    let (state, middle) = (sgd.state_dict()?, Parameter::new(w.tensor().detach())?);
    assert_eq!(state.number("state.0.step"), Some(3.0));
    assert_eq!(state.tensor("state.0.momentum_buffer").map(|t| t.dims().to_vec()), Some(vec![3]));
    run(&w, &mut sgd, 3..6)?;

    let mut resumed = SGD::new(vec![middle.clone()], 0.9).build()?;
    resumed.load_state_dict(&state)?;
    run(&middle, &mut resumed, 3..6)?;
    assert_eq!(middle.tensor().to_vec::<f64>()?, w.tensor().to_vec::<f64>()?);
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_names_every_misfit_and_changes_nothing() -> Result<()> {
    let w = parameter(&[1.0, 2.0]);
    let mut sgd = SGD::new(vec![w.clone()], 0.1).momentum(0.9).build()?;
    w.set_grad(&Tensor::new([1.0, 1.0])?)?;
    sgd.step()?;
    let mut other = SGD::new(vec![parameter(&[1.0]), parameter(&[1.0])], 0.5).build()?;
    let text = other.load_state_dict(&sgd.state_dict()?).unwrap_err().to_string();
    assert_eq!(
        text,
        "SGD: the state does not fit: group 0 has 2 parameters here and 1 in the state, \
         state.0.momentum_buffer is f64 [2] and the parameter f64 [1], state.1.step is missing; build it as it was when saved"
    );
    assert_eq!(other.lr(), 0.5);
    let mut state = sgd.state_dict()?;
    state.kind = "Adam".into();
    assert!(other.load_state_dict(&state).unwrap_err().to_string().starts_with("SGD: the state is that of Adam"));
    Ok(())
}

#[test]
fn refusals() {
    let w = parameter(&[1.0]);
    let text = |builder: SGDBuilder| builder.build().unwrap_err().to_string();
    let sgd = |lr| SGD::new(vec![w.clone()], lr);
    let negative = "use a finite number that is not negative";
    for lr in [-0.1, f64::NAN, f64::INFINITY] {
        assert_eq!(text(sgd(lr)), format!("SGD: lr is {lr}; {negative}"));
    }
    assert_eq!(text(sgd(0.1).momentum(f64::NAN)), format!("SGD: momentum is NaN; {negative}"));
    assert_eq!(text(sgd(0.1).weight_decay(-1.0)), format!("SGD: weight_decay is -1; {negative}"));
    assert_eq!(text(sgd(0.1).dampening(f64::NAN)), "SGD: dampening is NaN; use a finite number");
    let nesterov = "SGD: nesterov needs a momentum and no dampening, momentum is 0 and dampening 0; set momentum(0.9) and dampening(0.0)";
    assert_eq!(text(sgd(0.1).nesterov(true)), nesterov);
    assert!(sgd(0.1).momentum(0.9).dampening(0.1).nesterov(true).build().is_err());
    let empty = "no parameters; is the module empty, or are all of its parameters frozen?";
    assert_eq!(text(SGD::new(vec![], 0.1)), format!("SGD: {empty}"));
    assert_eq!(text(sgd(0.1).group(vec![], GroupOptions::new())), format!("SGD: group 1: {empty}"));
    assert_eq!(
        text(sgd(0.1).group(vec![parameter(&[1.0]), w.clone()], GroupOptions::new())),
        "SGD: the parameter of shape [1] is parameter 0 of group 0 and parameter 1 of group 1; name each parameter once"
    );
    assert!(text(SGD::new(vec![w.clone(), w.clone()], 0.1)).contains("parameter 1 of group 0"));
    assert_eq!(
        text(sgd(0.1).group(vec![parameter(&[1.0])], GroupOptions::new().eps(1.0))),
        "SGD: group 1: there is no option eps; the options are lr, momentum, dampening, weight_decay, nesterov, maximize"
    );
}

#[test]
fn steps_happen_in_place() -> Result<()> {
    let w = Parameter::new(Tensor::ones([1000])?)?;
    let mut sgd = SGD::new(vec![w.clone()], 0.1).momentum(0.9).build()?;
    let place = || w.tensor().with_slice::<f32, _>(|s| s.as_ptr().addr());
    let before = place()?;
    for _ in 0..3 {
        sgd.zero_grad();
        // The loss still lives during the step, as in any training loop.
        let loss = w.tensor().square()?.sum()?;
        loss.backward()?;
        sgd.step()?;
    }
    assert_eq!(place()?, before);
    // Somebody who keeps the value keeps it as it was.
    let kept = w.tensor().detach();
    let values = kept.to_vec::<f32>()?;
    sgd.step()?;
    assert_eq!(kept.to_vec::<f32>()?, values);
    assert_ne!(w.tensor().to_vec::<f32>()?, values);
    Ok(())
}

#[test]
fn a_parameter_without_sizes_is_refused() -> Result<()> {
    let lazy = Parameter::lazy(&[4, 0])?;
    let error = SGD::new(vec![lazy.clone()], 0.1).build().unwrap_err().to_string();
    assert_eq!(
        error,
        "SGD: the parameter of shape [4, 0] has open sizes (0), its layer is lazy; call net.materialize(&[1, 1, 28, 28]), with the shape of your input, or run a batch first"
    );
    lazy.materialize(&Tensor::ones([4, 2])?)?;
    assert!(SGD::new(vec![lazy], 0.1).build().is_ok());
    Ok(())
}
