//! Anomaly mode: what the first NaN is told by, and that the mode is off by default and for other threads' sake counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gabor_tensor::{
    Error, Function, GradOptions, Parameter, Result, Tensor, apply, detect_anomaly, detect_anomaly_guard, grad,
    is_anomaly_enabled, no_grad, set_detect_anomaly,
};

/// The mode is one for the process, so these tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, [values.len()]).unwrap().requires_grad_().unwrap()
}

/// The text of an error that names the line `below` this one, in this file.
#[track_caller]
fn expect(error: Error, text: &str, below: i64) {
    let line = std::panic::Location::caller().line() as i64 + below;
    assert_eq!(error.to_string(), text.replace("HERE", &format!("{}:{line}", file!())));
}

#[test]
fn a_result_is_named_with_its_inputs_and_its_line() -> Result<()> {
    let _turn = turn();
    let _guard = detect_anomaly_guard();
    let x = leaf(&[1.0, 4.0, -4.0]).reshape([3, 1])?;
    let error = x.log().unwrap_err();
    expect(error, "log: the result is NaN at [2, 0] of [3, 1], where input 0 is -4; called at HERE", -1);
    let (zero, inf) = (leaf(&[0.0, 0.0]), leaf(&[1.0, f64::INFINITY]));
    let error = zero.div(&zero).unwrap_err();
    expect(error, "div: the result is NaN at [0] of [2], where input 0 is 0 and input 1 is 0; called at HERE", -1);
    let error = zero.matmul(&inf).unwrap_err();
    let text =
        "matmul: the result is NaN at [0, 0] of [1, 1], where no input holds NaN but input 1 is infinite at [1, 0]";
    expect(error, &format!("{text}; called at HERE"), -3);
    Ok(())
}

#[test]
fn a_nan_from_outside_is_told_apart() -> Result<()> {
    let _turn = turn();
    let x = leaf(&[1.0, f64::NAN]);
    let error = detect_anomaly(|| x.mul_scalar(2.0)).unwrap_err();
    let text = "mul_scalar: input 0 of shape [2] already holds NaN, first at [1]; it comes from data, from parameters, or \
                from before anomaly mode was on; called at HERE";
    expect(error, text, -3);
    Ok(())
}

#[test]
fn results_without_gradients_are_checked_too() {
    let _turn = turn();
    let x = leaf(&[-1.0]);
    let error = detect_anomaly(|| no_grad(|| x.sqrt())).unwrap_err();
    expect(error, "sqrt: the result is NaN at [0] of [1], where input 0 is -1; called at HERE", -1);
    let error = detect_anomaly(|| x.detach().log1p()?.log1p()).unwrap_err();
    assert!(matches!(error, Error::Anomaly { .. }), "{error}");
}

#[test]
fn operators_and_composed_methods_report_the_line_of_the_user() {
    let _turn = turn();
    let zero = leaf(&[0.0]);
    let lines: [fn(&Tensor) -> Result<Tensor>; 4] = [
        |x| x.div(x),
        |x| x.sub_scalar(1.0)?.log(),
        |x| x.narrow(0, 0, 0)?.mean_dim(0, false),
        |x| x.sub_scalar(1.0)?.logsumexp(0, false)?.sqrt(),
    ];
    for (i, f) in lines.into_iter().enumerate() {
        let error = detect_anomaly(|| f(&zero)).unwrap_err().to_string();
        let line = line!() as usize - 7 + i;
        assert!(error.ends_with(&format!("called at {}:{line}", file!())), "{error}");
    }
    let panic = std::panic::catch_unwind(|| detect_anomaly(|| &zero / &zero)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.ends_with(&format!("called at {}:{}", file!(), line!() - 2)), "{text}");
}

#[test]
fn a_gradient_is_named_with_the_operation_its_line_and_the_pass() -> Result<()> {
    let _turn = turn();
    let x = leaf(&[4.0, 0.0]);
    detect_anomaly(|| -> Result<()> {
        let y = x.sqrt()?;
        let z = y.mul_scalar(0.0)?.sum()?;
        let error = z.backward().unwrap_err();
        let (made, pass) = (line!() - 3, line!() - 1);
        assert_eq!(
            error.to_string(),
            format!(
                "sqrt: its gradient for input 0 is NaN at [1] of [2], where the input is 0 and the gradient of its result \
                 is 0; called at {0}:{made}, backward at {0}:{pass}",
                file!()
            )
        );
        Ok(())
    })?;
    assert!(x.grad().is_none(), "nothing is stored");
    Ok(())
}

#[test]
fn a_graph_from_before_is_checked_without_its_inputs() -> Result<()> {
    let _turn = turn();
    let x = leaf(&[0.0]);
    let z = x.sqrt()?.mul_scalar(0.0)?.sum()?;
    let error = detect_anomaly(|| grad(&z, &[&x], &GradOptions::default())).unwrap_err().to_string();
    assert!(error.starts_with("sqrt: its gradient for input 0 is NaN at [0] of [1], where the gradient"), "{error}");
    Ok(())
}

#[test]
fn other_sources_of_nan_are_named() -> Result<()> {
    let _turn = turn();
    let _guard = detect_anomaly_guard();
    let x = leaf(&[1.0, 2.0]);
    let nan = Tensor::new([0.0, f64::NAN])?;
    let error = x.mul_scalar(2.0)?.backward_with(&nan).unwrap_err().to_string();
    assert_eq!(error, "backward_with: the gradient to start with is NaN at [1] of [2]");
    let y = x.mul_scalar(2.0)?;
    y.register_hook(move |_| Ok(Some(nan.clone())))?;
    let error = y.sum()?.backward().unwrap_err().to_string();
    let end = "failed: register_hook: the gradient that the hook returned is NaN at [1] of [2]";
    assert!(error.starts_with("backward: a hook on the gradient of mul_scalar at ") && error.ends_with(end), "{error}");
    Ok(())
}

/// `x` whose rule divides 0 by 0.
#[derive(Debug)]
struct Careless;
impl Function for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }
    fn forward(&self, x: &[Tensor]) -> Result<Tensor> {
        Ok(x[0].clone())
    }
    fn backward(&self, x: &[Tensor], _: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let zero = x[0].zeros_like()?;
        Ok(vec![Some(g.mul(&zero.div(&zero)?)?)])
    }
}

#[test]
fn a_function_of_ones_own_is_named_as_it_names_itself() -> Result<()> {
    let _turn = turn();
    let _guard = detect_anomaly_guard();
    let error = apply(Careless, &[&leaf(&[1.0])])?.sum()?.backward().unwrap_err().to_string();
    assert!(
        error.starts_with("careless: its gradient for input 0 is NaN at [0] of [1], where the input is 1"),
        "{error}"
    );
    Ok(())
}

#[test]
fn infinities_and_healthy_steps_pass() -> Result<()> {
    let _turn = turn();
    let _guard = detect_anomaly_guard();
    assert_eq!(Tensor::new(0f32)?.log()?.item()?, f64::NEG_INFINITY);
    let w = Parameter::new(Tensor::ones([3, 2])?)?;
    let y = w.tensor().matmul(&Tensor::ones([2])?)?.softmax(0)?.log()?.sum()?;
    let again = GradOptions { create_graph: true, ..GradOptions::default() };
    let g = grad(&y, &[&w.tensor()], &again)?.remove(0).unwrap();
    g.square()?.sum()?.backward()?;
    assert!(w.grad().is_some());
    Ok(())
}

#[test]
fn guards_nest_with_each_other_and_with_the_switch() {
    let _turn = turn();
    assert!(!is_anomaly_enabled(), "off by default");
    let (outer, inner) = (detect_anomaly_guard(), detect_anomaly_guard());
    drop(outer);
    assert!(is_anomaly_enabled());
    set_detect_anomaly(true);
    set_detect_anomaly(true);
    drop(inner);
    assert!(is_anomaly_enabled(), "the switch holds it");
    std::thread::scope(|s| s.spawn(|| assert!(is_anomaly_enabled(), "for all threads")).join().unwrap());
    set_detect_anomaly(false);
    set_detect_anomaly(false);
    assert!(!is_anomaly_enabled());
    let guards: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..1000 {
                    let _guard = detect_anomaly_guard();
                    assert!(is_anomaly_enabled());
                }
            })
        })
        .collect();
    guards.into_iter().for_each(|g| g.join().unwrap());
    assert!(!is_anomaly_enabled(), "nothing is left over");
}
