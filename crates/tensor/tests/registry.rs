//! Every operator of the registry: oracle, memory layouts, first and second derivatives, precision, repeatability.

use gabor_tensor::testing::{Sample, all, close, rearranged};
use gabor_tensor::{DType, Result, Tensor, gradcheck, gradgradcheck};

fn for_each(check: impl Fn(&Sample) -> Result<()>) {
    let mut failures = Vec::new();
    for spec in all() {
        for sample in (spec.samples)() {
            if let Err(error) = check(&sample) {
                failures.push(format!("{} ({}): {error}", spec.name, sample.label));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn failed(what: &str, a: &Tensor, b: &Tensor) -> gabor_tensor::Error {
    gabor_tensor::Error::custom(format!("{what}\n{a}\n{b}"))
}

#[test]
fn results_equal_the_definition() {
    for_each(|s| {
        let Some(oracle) = &s.oracle else { return Ok(()) };
        let (y, plain) = ((s.run)(&s.inputs)?, oracle(&s.inputs)?);
        if close(&y, &plain, 1e-12, 1e-13)? { Ok(()) } else { Err(failed("differs from the definition", &y, &plain)) }
    });
}

#[test]
fn the_layout_of_the_inputs_does_not_change_a_bit() {
    for_each(|s| {
        let y = (s.run)(&s.inputs)?;
        let moved: Vec<Tensor> = s.inputs.iter().map(rearranged).collect::<Result<_>>()?;
        let z = (s.run)(&moved)?;
        if close(&y, &z, 0.0, 0.0)? { Ok(()) } else { Err(failed("depends on the layout", &y, &z)) }
    });
}

#[test]
fn first_derivatives() {
    for_each(|s| if s.order >= 1 { gradcheck(|x| (s.run)(x), &s.inputs) } else { Ok(()) });
}

#[test]
fn second_derivatives() {
    for_each(|s| if s.order >= 2 { gradgradcheck(|x| (s.run)(x), &s.inputs) } else { Ok(()) });
}

#[test]
fn f32_agrees_with_f64() {
    for_each(|s| {
        let single = |x: &Tensor| if x.dtype().is_float() { x.to_dtype(DType::F32) } else { Ok(x.clone()) };
        let inputs: Vec<Tensor> = s.inputs.iter().map(single).collect::<Result<_>>()?;
        let (y, double) = ((s.run)(&inputs)?, (s.run)(&s.inputs)?);
        if close(&y, &double, 1e-4, 1e-4)? { Ok(()) } else { Err(failed("f32 is far from f64", &y, &double)) }
    });
}

#[test]
fn repeating_a_call_gives_the_same_bits() {
    for_each(|s| {
        let (y, z) = ((s.run)(&s.inputs)?, (s.run)(&s.inputs)?);
        if close(&y, &z, 0.0, 0.0)? { Ok(()) } else { Err(failed("two runs differ", &y, &z)) }
    });
}
