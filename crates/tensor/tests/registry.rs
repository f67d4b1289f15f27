//! One loop for each property that every operator has.

use gabor_tensor::testing::{OpSpec, Sample, all, close, rearranged};
use gabor_tensor::{DType, Error, Function, Result, Tensor, apply, gradcheck, gradgradcheck};

/// Runs `property` on every sample and reports all failures together.
fn for_each(property: impl Fn(&OpSpec, &Sample) -> Result<(), String>) {
    let mut failures = Vec::new();
    for spec in all() {
        for sample in (spec.samples)() {
            if let Err(why) = property(spec, &sample) {
                failures.push(format!("{} ({}): {why}", spec.name, sample.label));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

fn text(error: Error) -> String {
    error.to_string()
}

/// The elements as bits, so that NaN equals NaN and 0 differs from -0.
fn bits(x: &Tensor) -> Vec<u64> {
    let wide = if x.dtype().is_float() { x.detach().to_dtype(DType::F64) } else { x.to_dtype(DType::I64) };
    let wide = wide.unwrap();
    match wide.dtype() {
        DType::F64 => wide.to_vec::<f64>().unwrap().into_iter().map(f64::to_bits).collect(),
        _ => wide.to_vec::<i64>().unwrap().into_iter().map(|v| v as u64).collect(),
    }
}

fn same(a: &Tensor, b: &Tensor) -> Result<(), String> {
    if (a.dtype(), a.shape()) != (b.dtype(), b.shape()) {
        return Err(format!("{} {:?} against {} {:?}", a.dtype(), a.shape(), b.dtype(), b.shape()));
    }
    if bits(a) == bits(b) { Ok(()) } else { Err(format!("{a:?} against {b:?}")) }
}

#[test]
fn every_operator_has_samples_and_a_name_of_its_own() {
    let mut names: Vec<&str> = all().map(|spec| spec.name).collect();
    for spec in all() {
        let labels: Vec<&str> = (spec.samples)().iter().map(|s| s.label).collect();
        assert!(labels.len() >= 3, "{} has {} samples", spec.name, labels.len());
        let mut unique = labels.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), labels.len(), "{}: {labels:?}", spec.name);
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
}

#[test]
fn results_equal_the_oracle() {
    for_each(|_, s| {
        let Some(oracle) = &s.oracle else { return Ok(()) };
        let (y, expected) = ((s.run)(&s.inputs).map_err(text)?, oracle(&s.inputs).map_err(text)?);
        let equal = y.dtype() == expected.dtype() && close(&y, &expected, 1e-10, 1e-12).map_err(text)?;
        if equal { Ok(()) } else { Err(format!("{y:?} against {expected:?}")) }
    });
}

#[test]
fn the_same_call_twice_gives_the_same_bits() {
    for_each(|_, s| same(&(s.run)(&s.inputs).map_err(text)?, &(s.run)(&s.inputs).map_err(text)?));
}

#[test]
fn memory_order_does_not_change_a_bit() {
    for_each(|_, s| {
        let moved: Vec<Tensor> = s.inputs.iter().map(rearranged).collect::<Result<_>>().map_err(text)?;
        same(&(s.run)(&moved).map_err(text)?, &(s.run)(&s.inputs).map_err(text)?)
    });
}

/// The first position of the first axis, repeated over the whole axis without a copy.
fn repeated(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 || x.dims()[0] == 0 { Ok(x.clone()) } else { x.narrow(0, 0, 1)?.expand(x.shape()) }
}

#[test]
fn expanded_inputs_do_not_change_a_bit() {
    for_each(|_, s| {
        let views: Vec<Tensor> = s.inputs.iter().map(repeated).collect::<Result<_>>().map_err(text)?;
        let copies: Vec<Tensor> = views.iter().map(Tensor::contiguous).collect::<Result<_>>().map_err(text)?;
        match ((s.run)(&views), (s.run)(&copies)) {
            (Ok(y), Ok(expected)) => same(&y, &expected),
            (Err(a), Err(b)) if a.to_string() == b.to_string() => Ok(()),
            (a, b) => Err(format!("{a:?} against {b:?}")),
        }
    });
}

#[test]
fn f32_agrees_with_f64() {
    for_each(|_, s| {
        let narrow = |x: &Tensor| if x.dtype() == DType::F64 { x.to_dtype(DType::F32) } else { Ok(x.clone()) };
        let inputs: Vec<Tensor> = s.inputs.iter().map(narrow).collect::<Result<_>>().map_err(text)?;
        let (y, expected) = ((s.run)(&inputs).map_err(text)?, (s.run)(&s.inputs).map_err(text)?);
        let mixed = s.inputs.iter().any(|x| x.dtype() == DType::F64) && expected.dtype() == DType::F64;
        if mixed && y.dtype() != DType::F32 {
            return Err(format!("f32 gives {}", y.dtype()));
        }
        if close(&y, &expected, 1e-4, 1e-5).map_err(text)? {
            Ok(())
        } else {
            Err(format!("{y:?} against {expected:?}"))
        }
    });
}

#[test]
fn first_derivatives_are_right() {
    for_each(|_, s| if s.order < 1 { Ok(()) } else { gradcheck(|x| (s.run)(x), &s.inputs).map_err(text) });
}

#[test]
fn second_derivatives_are_right() {
    for_each(|_, s| if s.order < 2 { Ok(()) } else { gradgradcheck(|x| (s.run)(x), &s.inputs).map_err(text) });
}

/// `x^3` with a rule that is off by a factor.
#[derive(Debug)]
struct WrongFirst;
impl Function for WrongFirst {
    fn name(&self) -> &'static str {
        "wrong_first"
    }
    fn forward(&self, x: &[Tensor]) -> Result<Tensor> {
        x[0].pow_scalar(3.0)
    }
    fn backward(&self, x: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(x[0].square()?.mul_scalar(3.01)?.mul(grad)?)])
    }
}

/// `x^3` with the right gradient, computed outside of the graph: its own gradient is lost.
#[derive(Debug)]
struct WrongSecond;
impl Function for WrongSecond {
    fn name(&self) -> &'static str {
        "wrong_second"
    }
    fn forward(&self, x: &[Tensor]) -> Result<Tensor> {
        x[0].pow_scalar(3.0)
    }
    fn backward(&self, x: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(x[0].detach().square()?.mul_scalar(3.0)?.mul(grad)?)])
    }
}

#[test]
fn a_wrong_rule_is_found() -> Result<()> {
    let x = [Tensor::new([0.5f64, -1.5])?];
    let error = gradcheck(|x| apply(WrongFirst, &[&x[0]]), &x).unwrap_err();
    assert!(matches!(error, Error::GradCheck { op: "gradcheck", .. }), "{error}");
    assert!(error.to_string().contains("element 1 (value -1.5)"), "names the worst element: {error}");

    gradcheck(|x| apply(WrongSecond, &[&x[0]]), &x)?;
    let error = gradgradcheck(|x| apply(WrongSecond, &[&x[0]]), &x).unwrap_err();
    assert!(matches!(error, Error::GradCheck { op: "gradgradcheck", .. }), "{error}");
    Ok(())
}
