//! A captured step gives the bits of the step itself, for every operator that can be repeated; it refuses the others.

use gabor_tensor::testing::{Sample, all, rearranged};
use gabor_tensor::{CapturedStep, DType, Parameter, Result, Tensor, unrecorded};

/// The patterns of the elements as f64, where NaN differs from NaN only by its pattern.
fn bits(x: &Tensor) -> Vec<u64> {
    x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap().iter().map(|v| v.to_bits()).collect()
}

/// The result and the gradients of one run of the sample, with parameters for floating inputs.
fn once(
    parameters: &[Option<Parameter>],
    whole: &[&Tensor],
    run: impl FnOnce(&[&Tensor]) -> Result<Tensor>,
) -> Result<Vec<Vec<u64>>> {
    parameters.iter().flatten().for_each(Parameter::zero_grad);
    let mut seen = vec![bits(&run(whole)?)];
    seen.extend(parameters.iter().flatten().map(|p| p.grad().map_or(vec![], |grad| bits(&grad))));
    Ok(seen)
}

/// Whether the sample can be captured; if so, it is compared with itself for three sets of inputs.
fn same(sample: &Sample, dtype: DType) -> bool {
    let made = |x: &Tensor| Parameter::new(x.to_dtype(dtype).unwrap()).unwrap();
    let parameters: Vec<Option<Parameter>> =
        sample.inputs.iter().map(|x| x.dtype().is_float().then(|| made(x))).collect();
    let whole: Vec<&Tensor> = sample.inputs.iter().filter(|x| !x.dtype().is_float()).collect();
    let step = |whole: &[Tensor]| {
        let mut rest = whole.iter();
        let inputs: Vec<Tensor> = parameters
            .iter()
            .map(|p| p.as_ref().map_or_else(|| rest.next().unwrap().clone(), Parameter::tensor))
            .collect();
        let y = (sample.run)(&inputs)?;
        if y.requires_grad() {
            y.square()?.sum()?.backward()?;
        }
        Ok(y)
    };
    let mut captured = CapturedStep::new(step);
    for round in 0..4 {
        let plain = once(&parameters, &whole, |whole| step(&whole.iter().map(|&x| x.clone()).collect::<Vec<_>>()));
        let repeated = once(&parameters, &whole, |whole| captured.run(whole));
        match (plain, repeated) {
            (Ok(plain), Ok(repeated)) => assert_eq!(plain, repeated, "round {round}"),
            (Ok(_), Err(error)) if round == 0 => {
                assert!(error.to_string().starts_with("captured step: "), "{error}");
                return false;
            }
            (Err(_), Err(_)) => return true,
            other => panic!("round {round}: {other:?}"),
        }
        for p in parameters.iter().flatten() {
            // The third time the elements have no order that could be used as it is.
            let next = p.tensor().detach().mul_scalar(0.75).unwrap();
            p.set(&if round == 1 { rearranged(&next).unwrap() } else { next }).unwrap();
        }
    }
    true
}

#[test]
fn every_operator_is_the_same_or_refused() {
    let (mut yes, mut no) = (vec![], vec![]);
    for spec in all() {
        for sample in (spec.samples)() {
            for dtype in [DType::F32, DType::F64] {
                let known = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| same(&sample, dtype)));
                let list = match known.unwrap_or_else(|_| panic!("{}, {}, {dtype}", spec.name, sample.label)) {
                    true => &mut yes,
                    false => &mut no,
                };
                if list.last() != Some(&spec.name) {
                    list.push(spec.name);
                }
            }
        }
    }
    println!("captured: {yes:?}\nrefused: {no:?}");
    assert!(!no.contains(&"conv2d") && !no.contains(&"square"));
    // What small CNNs are made of. Some samples of a few have integers or vectors, which are refused.
    for name in [
        "add",
        "mul",
        "square",
        "relu",
        "sigmoid",
        "tanh",
        "sum",
        "mean",
        "conv2d",
        "linear",
        "matmul",
        "max_pool2d",
        "avg_pool2d",
        "class_losses",
        "reshape",
        "to_dtype",
    ] {
        assert!(yes.contains(&name), "{name}");
    }
}

fn refused(step: impl Fn(&[Tensor]) -> Result<Tensor>) -> String {
    CapturedStep::new(step).run(&[&Tensor::ones([2, 3]).unwrap()]).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_repeated_is_refused_by_name() {
    let w = Parameter::new(Tensor::ones([3]).unwrap()).unwrap();
    for (error, want) in [
        (refused(|x| x[0].add(&Tensor::rand([2, 3])?)), "uniform cannot be repeated"),
        (refused(|x| x[0].mul_scalar(x[0].sum()?.item()?)), "the step looks at elements that differ from run to run"),
        (refused(|x| x[0].cumsum(0)), "cumsum cannot be repeated"),
        (
            refused(|x| {
                w.zero_grad();
                x[0].mul(&w.tensor())
            }),
            "stored gradients change in other ways than by backward; call zero_grad outside",
        ),
        (
            refused(|x| {
                w.set(&Tensor::zeros([3])?)?;
                x[0].mul(&w.tensor())
            }),
            "the step sets a parameter; do that outside",
        ),
        (
            refused(|x| {
                w.modify(|w: &mut [f32]| w.fill(2.0))?;
                x[0].mul(&w.tensor())
            }),
            "the step changes elements in place",
        ),
        (
            refused(|x| {
                let y = x[0].mul(&w.tensor())?;
                y.retain_grad()?;
                y.sum()?.backward()?;
                Ok(y)
            }),
            "hooks and retained gradients of tensors cannot be repeated",
        ),
        (
            refused(|x| {
                x[0].mul(&w.tensor())?.sum()?.backward()?;
                w.grad().expect("a gradient").sum()
            }),
            "the step reads a stored gradient, which grows from run to run; do that outside",
        ),
        (
            refused(|x| CapturedStep::new(|x: &[Tensor]| x[0].neg()).run(&[&x[0]])),
            "another one is being recorded; run one of them outside",
        ),
    ] {
        assert_eq!(error, format!("captured step: {want}"));
    }
    // Nothing is left behind.
    assert_eq!(Tensor::rand([2, 3]).unwrap().cumsum(0).unwrap().shape(), &[2, 3]);
}

#[test]
fn inputs_may_be_views_of_one_tensor_which_the_step_uses_too() -> Result<()> {
    let data = Tensor::arange(0f32, 24.0, 1.0)?.reshape([6, 4])?;
    let step = |x: &[Tensor]| x[0].mul(&x[1])?.add(&data.narrow(0, 0, 2)?);
    let mut captured = CapturedStep::new(step);
    for (i, j) in [(0, 2), (2, 2), (4, 0), (1, 3)] {
        let (a, b) = (data.narrow(0, i, 2)?, data.narrow(0, j, 2)?);
        assert_eq!(bits(&captured.run(&[&a, &b])?), bits(&step(&[a, b])?));
    }
    // Columns, so that the elements have gaps.
    let (a, b) = (data.narrow(1, 0, 2)?.t()?, data.narrow(1, 2, 2)?.t()?);
    let step = |x: &[Tensor]| x[0].sub(&x[1]);
    let mut captured = CapturedStep::new(step);
    for (a, b) in [(&a, &b), (&b, &a), (&a, &a)] {
        assert_eq!(bits(&captured.run(&[a, b])?), bits(&step(&[a.clone(), b.clone()])?));
    }
    Ok(())
}

#[test]
fn what_is_made_unrecorded_is_not_taken_for_what_lay_there_before() -> Result<()> {
    let mut captured = CapturedStep::new(|x: &[Tensor]| {
        drop(x[0].neg()?);
        // In the memory of what was just dropped, unless that is kept.
        let one = unrecorded(|| Tensor::ones([4]))?;
        x[0].add(&one)
    });
    for start in [0.0f32, 5.0, 9.0] {
        let x = Tensor::arange(start, start + 4.0, 1.0)?;
        assert_eq!(bits(&captured.run(&[&x])?), bits(&x.add_scalar(1.0)?));
    }
    Ok(())
}

#[test]
fn other_shapes_run_as_they_are_and_kept_results_stay() -> Result<()> {
    let mut captured = CapturedStep::new(|x: &[Tensor]| x[0].exp()?.sum_dim(0, false));
    let of = |n: usize, start: f32| Tensor::arange(start, start + n as f32, 1.0)?.reshape((n / 2, 2));
    let mut kept = vec![];
    for (n, start) in [(6, 0.0), (6, 1.0), (4, 0.0), (6, 0.0), (6, 2.0), (0, 0.0)] {
        let x = of(n, start)?;
        kept.push((captured.run(&[&x])?, x.exp()?.sum_dim(0, false)?));
    }
    assert!(kept.iter().all(|(a, b)| bits(a) == bits(b)));
    Ok(())
}

#[test]
fn gradients_add_up_unless_they_are_forgotten() -> Result<()> {
    let w = Parameter::new(Tensor::new([1f32, -2.0])?)?;
    let mut captured = CapturedStep::new(|_: &[Tensor]| {
        let y = w.tensor().square()?.sum()?;
        y.backward()?;
        Ok(y)
    });
    for n in 1..5 {
        captured.run(&[])?;
        let kept = w.grad().unwrap();
        assert_eq!(kept.to_vec::<f32>()?, [2.0 * n as f32, -4.0 * n as f32]);
    }
    w.zero_grad();
    w.set(&Tensor::new([3f32, 0.5])?)?;
    assert_eq!(captured.run(&[])?.item()?, 9.25);
    assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [6.0, 1.0]);
    w.to_dtype_(DType::F64)?;
    assert!(captured.run(&[]).unwrap_err().to_string().starts_with("captured step: dtypes differ, f32 and f64"));
    Ok(())
}

#[test]
fn an_error_of_one_run_does_not_harm_the_next() -> Result<()> {
    let w = Parameter::new(Tensor::zeros([2, 3])?)?;
    let mut captured = CapturedStep::new(|classes: &[Tensor]| {
        let y = w.tensor().class_losses(1, &classes[0])?.sum()?;
        y.backward()?;
        Ok(y)
    });
    let (good, bad) = (Tensor::new([0i64, 2])?, Tensor::new([0i64, 3])?);
    let first = bits(&captured.run(&[&good])?);
    for _ in 0..3 {
        assert!(captured.run(&[&bad]).is_err());
        assert_eq!(bits(&captured.run(&[&good])?), first);
    }
    assert!(format!("{captured:?}").contains("recorded"));
    Ok(())
}

#[test]
fn a_panic_while_recording_ends_the_recording() -> Result<()> {
    let mut captured = CapturedStep::new(|_: &[Tensor]| -> Result<Tensor> { panic!("the step's own") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| captured.run(&[]))).is_err());
    let mut captured = CapturedStep::new(|x: &[Tensor]| {
        assert!(unrecorded(|| x[0].sum()?.item())? > 0.0);
        x[0].neg()
    });
    assert_eq!(captured.run(&[&Tensor::ones(())?])?.item()?, -1.0);
    assert_eq!(captured.run(&[&Tensor::full((), 2.0)?])?.item()?, -2.0);
    Ok(())
}
