//! Hooks on gradients and gradients kept at results: order, replacement, removal, failure. Numbers are PyTorch's.

use std::sync::{Arc, Mutex};

use gabor_tensor::{DType, Error, GradOptions, Parameter, Result, Tensor, grad};

fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, [values.len()]).unwrap().requires_grad_().unwrap()
}

type Seen = Arc<Mutex<Vec<(&'static str, Vec<f64>)>>>;

/// A hook that notes what it sees and multiplies it.
fn noting(seen: &Seen, name: &'static str, by: f64) -> impl Fn(&Tensor) -> Result<Option<Tensor>> + use<> {
    let seen = seen.clone();
    move |g| {
        seen.lock().unwrap().push((name, g.to_vec::<f64>()?));
        g.mul_scalar(by).map(Some)
    }
}

#[test]
fn hooks_run_in_order_and_each_sees_what_the_one_before_left() -> Result<()> {
    let seen = Seen::default();
    let x = leaf(&[1.0, 2.0]);
    let y = x.mul_scalar(2.0)?;
    y.retain_grad()?;
    y.register_hook(noting(&seen, "a", 2.0))?;
    y.register_hook(noting(&seen, "b", 5.0))?;
    let z = y.mul_scalar(3.0)?.sum()?;
    let keep = GradOptions { retain_graph: true, ..GradOptions::default() };
    let g = grad(&z, &[&y], &keep)?.remove(0).unwrap();
    assert_eq!(g.to_vec::<f64>()?, [30.0, 30.0], "what hooks leave is what `grad` gives");
    assert_eq!(*seen.lock().unwrap(), [("a", vec![3.0, 3.0]), ("b", vec![6.0, 6.0])]);
    assert_eq!(y.grad().unwrap().to_vec::<f64>()?, [30.0, 30.0], "kept behind the last hook");
    let g = grad(&z, &[&x], &keep)?.remove(0).unwrap();
    assert_eq!(g.to_vec::<f64>()?, [60.0, 60.0]);
    assert_eq!(y.grad().unwrap().to_vec::<f64>()?, [60.0, 60.0], "kept gradients add up");
    z.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f64>()?, [60.0, 60.0]);
    assert_eq!(y.grad().unwrap().to_vec::<f64>()?, [90.0, 90.0]);
    y.zero_grad();
    assert!(y.grad().is_none());
    Ok(())
}

#[test]
fn a_leaf_hook_sees_the_whole_gradient_once_in_each_pass() -> Result<()> {
    let seen = Seen::default();
    let w = leaf(&[1.0, 1.0]);
    let handle = w.register_hook(noting(&seen, "w", 10.0))?;
    w.sum()?.add(&w.sum()?)?.backward()?;
    assert_eq!(w.grad().unwrap().to_vec::<f64>()?, [20.0, 20.0]);
    w.sum()?.backward()?;
    assert_eq!(w.grad().unwrap().to_vec::<f64>()?, [30.0, 30.0], "hooks see the new part only");
    assert_eq!(*seen.lock().unwrap(), [("w", vec![2.0, 2.0]), ("w", vec![1.0, 1.0])]);
    handle.remove();
    handle.remove();
    w.sum()?.backward()?;
    assert_eq!(w.grad().unwrap().to_vec::<f64>()?, [31.0, 31.0]);
    drop(w);
    handle.remove();
    Ok(())
}

#[test]
fn a_hook_that_returns_nothing_only_looks() -> Result<()> {
    let x = leaf(&[2.0]);
    let count = Arc::new(Mutex::new(0));
    let counted = count.clone();
    let handle = x.register_hook(move |g| {
        *counted.lock().unwrap() += 1;
        assert!(!g.requires_grad(), "nothing is recorded in a plain pass");
        Ok(None)
    })?;
    drop(handle);
    x.square()?.sum()?.backward()?;
    assert_eq!((x.grad().unwrap().item()?, *count.lock().unwrap()), (4.0, 1), "a dropped handle removes nothing");
    Ok(())
}

#[test]
fn hooks_take_part_in_gradients_of_gradients() -> Result<()> {
    let x = leaf(&[3.0]);
    let y = x.square()?;
    // dz/dy = 2y becomes its square, so dz/dx = 4 y^2 * 2x = 8 x^5, whose derivative is 40 x^4.
    let handle = y.register_hook(|g| g.square().map(Some))?;
    let z = y.square()?.sum()?;
    let again = GradOptions { create_graph: true, ..GradOptions::default() };
    let first = grad(&z, &[&x], &again)?.remove(0).unwrap();
    assert_eq!(first.item()?, 8.0 * 3f64.powi(5));
    handle.remove();
    let second = grad(&first, &[&x], &GradOptions::default())?.remove(0).unwrap();
    assert_eq!(second.item()?, 40.0 * 81.0);
    Ok(())
}

#[test]
fn a_hook_that_fails_ends_the_pass_and_says_where_the_gradient_belongs() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let y = x.exp()?;
    let line = line!() - 1;
    y.register_hook(|_| Err(Error::custom("too large")))?;
    let error = y.sum()?.backward().unwrap_err();
    let text = format!("backward: a hook on the gradient of exp at {}:{line} failed: too large", file!());
    assert_eq!(error.to_string(), text);
    assert!(matches!(error, Error::Hook { .. }));
    let w = leaf(&[1.0, 2.0]);
    let line = line!() - 1;
    w.register_hook(|g| g.narrow(0, 0, 1).map(Some))?;
    let error = w.sum()?.backward().unwrap_err().to_string();
    assert!(w.grad().is_none());
    // The leaf is made in a function of this file.
    assert!(line > 0 && error.starts_with("backward: a hook on the gradient of the leaf [2] at "), "{error}");
    let end = "failed: register_hook: the hook returned f64 [1] for a gradient of f64 [2]; return one like it, or None";
    assert!(error.ends_with(end), "{error}");
    Ok(())
}

#[test]
fn what_needs_no_gradient_takes_no_hooks() -> Result<()> {
    let x = Tensor::ones([2])?;
    let e = x.register_hook(|_| Ok(None)).unwrap_err().to_string();
    let text = "the tensor of shape [2] does not require grad, so it gets no gradient; call requires_grad_ first";
    assert_eq!(e, format!("register_hook: {text}"));
    assert_eq!(x.retain_grad().unwrap_err().to_string(), format!("retain_grad: {text}"));
    let y = leaf(&[1.0]).exp()?;
    assert!(y.grad().is_none(), "results keep nothing unless asked");
    leaf(&[1.0]).retain_grad()
}

#[test]
fn hooks_of_parameters_stay_through_changes_of_value_and_dtype() -> Result<()> {
    let w = Parameter::new(Tensor::ones([2])?)?;
    let handle = w.register_hook(|g| g.mul_scalar(3.0).map(Some))?;
    w.set(&Tensor::zeros([2])?)?;
    w.tensor().sum()?.backward()?;
    assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [3.0, 3.0]);
    w.to_dtype_(DType::F64)?;
    w.tensor().sum()?.backward()?;
    assert_eq!(w.grad().unwrap().to_vec::<f64>()?, [3.0, 3.0]);
    handle.remove();
    w.zero_grad();
    w.tensor().sum()?.backward()?;
    assert_eq!(w.grad().unwrap().to_vec::<f64>()?, [1.0, 1.0], "the handle follows the hook");
    w.requires_grad_(false);
    assert!(w.register_hook(|_| Ok(None)).is_err());
    Ok(())
}

#[test]
fn a_hook_may_remove_itself() -> Result<()> {
    let x = leaf(&[1.0]);
    let own: Arc<Mutex<Option<gabor_tensor::HookHandle>>> = Arc::default();
    let inside = own.clone();
    let handle = x.register_hook(move |g| {
        if let Some(handle) = inside.lock().unwrap().take() {
            handle.remove();
        }
        g.mul_scalar(2.0).map(Some)
    })?;
    *own.lock().unwrap() = Some(handle);
    x.sum()?.backward()?;
    x.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().item()?, 3.0);
    Ok(())
}

#[test]
fn differentiating_by_a_result_leaves_what_lies_below_alone() -> Result<()> {
    let x = leaf(&[2.0]);
    let y = x.square()?;
    let z = y.exp()?.sum()?;
    grad(&z, &[&y], &GradOptions::default())?;
    y.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().item()?, 4.0, "as in PyTorch the graph below y was not used and not freed");
    Ok(())
}
