//! The engine: accumulation, freeing, second order, deep graphs, threads.

use gabor_tensor::{Error, GradOptions, Parameter, Result, Tensor, grad, gradients, no_grad};

fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, [values.len()]).unwrap().requires_grad_().unwrap()
}

#[test]
fn a_tensor_used_twice_gets_both_gradients() -> Result<()> {
    let x = leaf(&[3.0]);
    let y = x.mul(&x)?.add(&x)?;
    y.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f64>()?, [7.0]);
    Ok(())
}

#[test]
fn gradients_add_up_until_they_are_cleared() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    x.square()?.sum()?.backward()?;
    let first = x.grad().unwrap();
    x.square()?.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f64>()?, [4.0, 8.0]);
    assert_eq!(first.to_vec::<f64>()?, [2.0, 4.0], "a gradient that was handed out does not change");
    x.zero_grad();
    assert!(x.grad().is_none());
    Ok(())
}

#[test]
fn a_second_pass_through_a_freed_graph_says_so() -> Result<()> {
    let x = leaf(&[1.0]);
    let y = x.exp()?.sum()?;
    let made = line!() - 1;
    y.backward_retain()?;
    y.backward()?;
    let first = line!() - 1;
    assert_eq!(
        y.backward().unwrap_err().to_string(),
        format!(
            "backward: what the operation with result [] at {0}:{made} had saved was freed by the pass at {0}:{first}; \
             compute the loss again, or use backward_retain (retain_graph) for the first pass",
            file!()
        )
    );
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let e = x.mul_scalar(2.0)?.backward().unwrap_err().to_string();
    assert_eq!(e, "backward: needs a scalar, got [2]; call sum() or mean() first, or use backward_with");
    let e = Tensor::ones([1])?.backward().unwrap_err().to_string();
    assert!(e.starts_with("backward: nothing to differentiate"), "{e}");
    let e = x.mul_scalar(2.0)?.backward_with(&Tensor::ones([3])?).unwrap_err().to_string();
    assert_eq!(e, "backward_with: the gradient has shape [3] and the result [2]; they must be equal");
    let e = Tensor::new([1i64])?.requires_grad_().unwrap_err().to_string();
    assert_eq!(e, "requires_grad_: i64 is not supported, expected f32 or f64; convert with to_dtype");
    let unused = leaf(&[1.0]);
    let e = grad(&x.sum()?, &[&unused], &GradOptions::default()).unwrap_err().to_string();
    assert_eq!(e, "grad: the result does not depend on input 0 of shape [1]; set allow_unused to get None for it");
    let options = GradOptions { allow_unused: true, ..GradOptions::default() };
    assert!(grad(&x.sum()?, &[&unused], &options)?[0].is_none());
    assert!(matches!(x.exp()?.requires_grad_(), Err(Error::Autograd { .. })));
    Ok(())
}

#[test]
fn third_derivatives_come_from_repeating_the_rule() -> Result<()> {
    let x = leaf(&[2.0]);
    let again = GradOptions { create_graph: true, ..GradOptions::default() };
    let mut y = x.pow_scalar(5.0)?.sum()?;
    for expected in [80.0, 160.0, 240.0] {
        y = grad(&y, &[&x], &again)?.remove(0).unwrap().sum()?;
        assert!((y.item()? - expected).abs() < 1e-9, "{y}");
    }
    Ok(())
}

#[test]
fn intermediate_results_have_gradients_too() -> Result<()> {
    let x = leaf(&[2.0]);
    let y = x.square()?;
    let z = y.square()?.sum()?;
    let g = gradients(&z, &[&y, &x])?;
    assert_eq!((g[0].item()?, g[1].item()?), (8.0, 32.0));
    assert!(x.grad().is_none(), "grad leaves the slots alone");
    Ok(())
}

#[test]
fn a_gradient_that_somebody_holds_is_not_written_over() -> Result<()> {
    type Layer = fn(&Tensor) -> Result<Tensor>;
    let layers: [Layer; 3] = [Tensor::relu, Tensor::sigmoid, |x| Ok(x.standardize(None, None, 0.1)?.0)];
    for layer in layers {
        let x = Tensor::new([[-1f64, 0.5], [2.0, 0.25]])?.requires_grad_()?;
        let gradient = |twice: bool| -> Result<(Tensor, Tensor)> {
            x.zero_grad();
            let middle = x.mul_scalar(2.0)?;
            let y = layer(&middle)?;
            y.retain_grad()?;
            // Given by the caller, kept for `y`, and shared by the two operands of the sum.
            let g = Tensor::new([[1f64, -2.0], [3.0, 4.0]])?;
            if twice { y.add(&y)? } else { y.mul_scalar(2.0)? }.backward_with(&g)?;
            assert_eq!(g.to_vec::<f64>()?, [1.0, -2.0, 3.0, 4.0]);
            assert_eq!(y.grad().expect("it is kept").to_vec::<f64>()?, [2.0, -4.0, 6.0, 8.0]);
            Ok((x.grad().expect("a gradient"), y))
        };
        let ((sum, _), (product, _)) = (gradient(true)?, gradient(false)?);
        assert_eq!(sum.to_vec::<f64>()?, product.to_vec::<f64>()?);
        // The same as part of a graph, which keeps all gradients.
        let again = GradOptions { create_graph: true, ..GradOptions::default() };
        let weights = Tensor::new([[2f64, -4.0], [6.0, 8.0]])?;
        let total = layer(&x.mul_scalar(2.0)?)?.mul(&weights)?.sum()?;
        let recorded = grad(&total, &[&x], &again)?.remove(0).expect("a gradient").to_vec::<f64>()?;
        let near = recorded.iter().zip(sum.to_vec::<f64>()?).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near, "{recorded:?} and {sum:?}");
    }
    Ok(())
}

#[test]
fn nothing_is_recorded_under_no_grad() -> Result<()> {
    let x = leaf(&[2.0]);
    let y = no_grad(|| x.exp())?;
    assert!(!y.requires_grad());
    assert!(x.exp()?.requires_grad());
    assert!(!x.exp()?.detach().requires_grad());
    Ok(())
}

#[test]
fn a_chain_of_100_000_nodes_is_built_run_and_dropped() -> Result<()> {
    let x = leaf(&[1.0]);
    let mut y = x.clone();
    for _ in 0..100_000 {
        y = y.mul(&x)?.add_scalar(0.0)?;
    }
    y.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().item()?, 100_001.0);
    let mut y = x.clone();
    for _ in 0..100_000 {
        y = y.mul(&y)?;
    }
    drop(y);
    Ok(())
}

#[test]
fn graphs_cross_threads() -> Result<()> {
    let x = leaf(&[1.0, 2.0]);
    let y = std::thread::scope(|s| s.spawn(|| x.square()?.sum()).join().unwrap())?;
    std::thread::scope(|s| s.spawn(|| y.backward()).join().unwrap())?;
    assert_eq!(x.grad().unwrap().to_vec::<f64>()?, [2.0, 4.0]);
    Ok(())
}

#[test]
fn parameters_are_replaced_and_frozen() -> Result<()> {
    let w = Parameter::new(Tensor::ones([2])?)?;
    let same = w.clone();
    w.tensor().square()?.sum()?.backward()?;
    w.update(|w, grad| w - grad * 0.5)?;
    assert_eq!(same.tensor().to_vec::<f32>()?, [0.0, 0.0]);
    assert_eq!(w.id(), same.id());
    same.modify::<f32, _>(|w| w[0] = 5.0)?;
    assert_eq!(w.tensor().to_vec::<f32>()?, [5.0, 0.0]);
    w.requires_grad_(false);
    assert!(!w.tensor().square()?.requires_grad());
    assert!(w.set(&Tensor::ones([3])?).is_err());
    Ok(())
}

#[test]
fn a_parameter_changed_in_place_leaves_the_graph_alone() -> Result<()> {
    let w = Parameter::new(Tensor::full([1], 3f32)?)?;
    let y = w.tensor().square()?.sum()?;
    w.modify::<f32, _>(|w| w[0] = 100.0)?;
    y.backward()?;
    assert_eq!(w.grad().unwrap().item()?, 6.0, "the value that was used counts, not the new one");
    Ok(())
}
