//! Gradient clipping over all parameters together.

use gabor_optim::{clip_grad_norm_, clip_grad_norm_checked_, clip_grad_value_, grad_norm};
use tensor::{Parameter, Result, Tensor};

fn with_grads(grads: &[&[f64]]) -> Vec<Parameter> {
    let one = |grad: &&[f64]| {
        let parameter = Parameter::new(Tensor::full(grad.len(), 0f64).unwrap()).unwrap();
        parameter.set_grad(&Tensor::from_slice(grad, grad.len()).unwrap()).unwrap();
        parameter
    };
    grads.iter().map(one).collect()
}

fn grads(parameters: &[Parameter]) -> Vec<f64> {
    parameters.iter().flat_map(|p| p.grad().unwrap().to_vec::<f64>().unwrap()).collect()
}

#[test]
fn one_factor_for_all() -> Result<()> {
    let ps = with_grads(&[&[1.0, -2.0], &[2.0], &[4.0]]);
    assert_eq!(clip_grad_norm_(&ps, 1.0, 2.0)?, 5.0);
    let factor = 1.0 / 5.000001;
    assert_eq!(grads(&ps), [factor, -2.0 * factor, 2.0 * factor, 4.0 * factor]);
    assert!((grad_norm(&ps, 2.0)? - 1.0).abs() < 1e-6);
    // Below the limit nothing changes.
    let before = grads(&ps);
    clip_grad_norm_(&ps, 3.0, 2.0)?;
    assert_eq!(grads(&ps), before);
    Ok(())
}

#[test]
fn other_norms() -> Result<()> {
    let ps = with_grads(&[&[1.0, -2.0], &[2.0], &[-4.0]]);
    assert_eq!(grad_norm(&ps, 1.0)?, 9.0);
    assert_eq!(grad_norm(&ps, f64::INFINITY)?, 4.0);
    assert!((grad_norm(&ps, 3.0)? - (1.0f64 + 8.0 + 8.0 + 64.0).cbrt()).abs() < 1e-12);
    assert_eq!(clip_grad_norm_(&ps, 2.0, f64::INFINITY)?, 4.0);
    assert!((grads(&ps)[3] + 2.0).abs() < 1e-5);
    let none = Parameter::new(Tensor::zeros([2])?)?;
    assert_eq!(clip_grad_norm_(std::slice::from_ref(&none), 1.0, 2.0)?, 0.0);
    assert!(none.grad().is_none());
    assert_eq!(clip_grad_norm_(&[], 1.0, 2.0)?, 0.0);
    Ok(())
}

#[test]
fn norms_that_are_not_finite() -> Result<()> {
    for (grad, norm_type) in [(f64::NAN, 2.0), (f64::INFINITY, 2.0), (f64::NAN, f64::INFINITY), (f64::NAN, 1.5)] {
        let ps = with_grads(&[&[1.0], &[grad], &[2.0]]);
        let text = clip_grad_norm_checked_(&ps, 1.0, norm_type).unwrap_err().to_string();
        assert!(text.contains("in the gradient of the parameter of shape [1]"), "{text}");
        assert_eq!(grads(&ps)[0], 1.0);
        let norm = clip_grad_norm_(&ps, 1.0, norm_type)?;
        assert_eq!(norm.is_nan(), grad.is_nan());
        assert!(grads(&ps)[0].is_nan() == grad.is_nan() && grads(&ps)[1].is_nan());
    }
    Ok(())
}

#[test]
fn values() -> Result<()> {
    let ps = with_grads(&[&[3.0, -0.25, f64::NAN], &[f64::NEG_INFINITY]]);
    clip_grad_value_(&ps, 0.5)?;
    let found = grads(&ps);
    assert_eq!((found[0], found[1], found[3]), (0.5, -0.25, -0.5));
    assert!(found[2].is_nan());
    Ok(())
}

#[test]
fn refusals() {
    let ps = with_grads(&[&[1.0]]);
    let text = clip_grad_norm_(&ps, -1.0, 2.0).unwrap_err().to_string();
    assert_eq!(text, "clip_grad_norm_: max_norm is -1; use a number that is not negative");
    assert!(clip_grad_norm_(&ps, f64::NAN, 2.0).is_err());
    for norm_type in [0.0, -1.0, f64::NAN] {
        assert!(clip_grad_norm_(&ps, 1.0, norm_type).is_err());
    }
    assert!(clip_grad_value_(&ps, f64::NAN).is_err());
    assert!(clip_grad_value_(&ps, -0.5).is_err());
    assert_eq!(grads(&ps), [1.0]);
}
