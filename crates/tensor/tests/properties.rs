//! Properties of operators that follow from their mathematics, for every sample of the registry to which they apply. Whether
//! they apply is found out from the operator itself: one that commutes with shifting its input must conserve the sum of
//! gradients, one that gives whole numbers for whole numbers must give them exactly.

use std::collections::BTreeSet;

use gabor_tensor::testing::{OpSpec, Sample, all, close};
use gabor_tensor::{
    ConvAlgorithm, DType, GradOptions, Result, Tensor, grad, num_threads, set_conv_algorithm, set_num_threads,
};

/// Runs `property` on every sample and reports all failures together; gives the names for which it held and meant something.
fn for_each(property: impl Fn(&OpSpec, &Sample) -> Result<bool>) -> BTreeSet<&'static str> {
    let (mut failures, mut held) = (Vec::new(), BTreeSet::new());
    for spec in all() {
        for sample in (spec.samples)() {
            match property(spec, &sample) {
                Ok(true) => _ = held.insert(spec.name),
                Ok(false) => {}
                Err(why) => failures.push(format!("{} ({}): {why}", spec.name, sample.label)),
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    held
}

/// Fails unless the property meant something for these operators: a loop that skips everything proves nothing.
fn expect(held: &BTreeSet<&str>, names: &[&str]) {
    let missing: Vec<&&str> = names.iter().filter(|name| !held.contains(**name)).collect();
    assert!(missing.is_empty(), "the property was not tried on {missing:?}, only on {held:?}");
}

fn fail<T>(why: String) -> Result<T> {
    Err(gabor_tensor::Error::custom(why))
}

/// The inputs with another one at position `i`.
fn with(inputs: &[Tensor], i: usize, x: Tensor) -> Vec<Tensor> {
    let mut inputs = inputs.to_vec();
    inputs[i] = x;
    inputs
}

fn wide(x: &Tensor) -> Result<Vec<f64>> {
    x.detach().to_dtype(DType::F64)?.to_vec::<f64>()
}

/// The inputs with `value` as element `at` of input `i`.
fn planted(inputs: &[Tensor], i: usize, at: usize, value: f64) -> Result<Vec<Tensor>> {
    let mut x = inputs[i].to_vec::<f64>()?;
    x[at] = value;
    Ok(with(inputs, i, Tensor::from_slice(&x, inputs[i].shape())?))
}

/// Operators whose definition says otherwise, as PyTorch's does.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[
    ("nan", &["sort", "topk"], "elements move by their size, so one decides where others go"),
    ("nan", &["sign"], "the sign of NaN is 0"),
    ("nan", &["embedding"], "rows are scaled if their norm is too large, which NaN is not"),
    ("inf", &["embedding", "interpolate", "unfold", "fold"], "the plain computation multiplies by a matrix with zeros"),
    ("inf", &["softmax", "log_softmax"], "the plain computation does not subtract the maximum"),
    ("sum", &["embedding"], "the gradient of a padding row is dropped, that of frequent ones divided"),
];

fn excepted(property: &str, spec: &OpSpec) -> bool {
    EXCEPTIONS.iter().any(|(p, names, _)| *p == property && names.contains(&spec.name))
}

#[test]
fn a_nan_reaches_every_element_that_depends_on_it() {
    let held = for_each(|spec, s| {
        let y = (s.run)(&s.inputs)?;
        if !y.dtype().is_float() || excepted("nan", spec) {
            return Ok(false);
        }
        let mut tried = false;
        let before = wide(&y)?;
        for i in (0..s.inputs.len()).filter(|&i| s.inputs[i].dtype() == DType::F64) {
            let n = s.inputs[i].numel();
            // The ends and the middle stand for all.
            for at in BTreeSet::from([0, n / 2, n.saturating_sub(1)]).into_iter().filter(|&at| at < n) {
                let spoilt = wide(&(s.run)(&planted(&s.inputs, i, at, f64::NAN)?)?)?;
                for moved in [3.5, -3.5] {
                    let after = wide(&(s.run)(&planted(&s.inputs, i, at, moved)?)?)?;
                    for (e, (a, b)) in before.iter().zip(&after).enumerate() {
                        if a != b && !a.is_nan() && !spoilt[e].is_nan() {
                            return fail(format!(
                                "element {e} depends on input {i}[{at}] but is {} for NaN",
                                spoilt[e]
                            ));
                        }
                        tried |= a != b;
                    }
                }
            }
        }
        Ok(tried)
    });
    expect(&held, &["relu", "maximum", "max_pool2d", "clamp", "conv2d", "matmul", "softmax", "sum", "amax_dim", "abs"]);
}

#[test]
fn infinities_give_what_the_plain_computation_gives() {
    let held = for_each(|spec, s| {
        let Some(oracle) = s.oracle.as_ref().filter(|_| s.order > 0 && !excepted("inf", spec)) else {
            return Ok(false);
        };
        let Some(x) = s.inputs.first().filter(|x| x.dtype() == DType::F64 && x.numel() > 0) else { return Ok(false) };
        for value in [f64::INFINITY, f64::NEG_INFINITY] {
            let inputs = planted(&s.inputs, 0, x.numel() / 2, value)?;
            let (y, expected) = ((s.run)(&inputs)?, oracle(&inputs)?);
            if !close(&y, &expected, 1e-10, 1e-12)? {
                return fail(format!("{value} gives {y:?}, plainly {expected:?}"));
            }
        }
        Ok(true)
    });
    expect(&held, &["relu", "max_pool2d", "avg_pool2d", "conv2d", "matmul", "exp", "tanh", "sigmoid"]);
}

#[test]
fn whole_numbers_stay_exact_in_both_types() {
    let held = for_each(|_, s| {
        let round = |x: &Tensor| if x.dtype() == DType::F64 { x.mul_scalar(2.0)?.round() } else { Ok(x.clone()) };
        let narrow = |x: &Tensor| if x.dtype() == DType::F64 { x.to_dtype(DType::F32) } else { Ok(x.clone()) };
        let inputs: Vec<Tensor> = s.inputs.iter().map(round).collect::<Result<_>>()?;
        let small: Vec<Tensor> = inputs.iter().map(narrow).collect::<Result<_>>()?;
        if !inputs.iter().any(|x| x.dtype() == DType::F64) {
            return Ok(false);
        }
        let (y, z) = (wide(&(s.run)(&inputs)?)?, wide(&(s.run)(&small)?)?);
        let whole = |y: &[f64]| y.iter().all(|v| v.fract() == 0.0 && v.abs() < 1e6);
        if !whole(&y) || y.is_empty() {
            return Ok(false);
        }
        if y != z {
            return fail(format!("f64 gives {y:?}, f32 {z:?}"));
        }
        if let Some(oracle) = &s.oracle
            && wide(&oracle(&inputs)?)? != y
        {
            return fail(format!("the oracle does not give {y:?}"));
        }
        Ok(true)
    });
    expect(&held, &["conv2d", "conv_transpose2d", "matmul", "linear", "sum", "max_pool2d", "cumsum", "pad", "square"]);
}

/// The sum of the gradients of input `i` for a gradient of random whole numbers, and the sum of that.
fn sums(s: &Sample, i: usize) -> Result<Option<(f64, f64)>> {
    let x = s.inputs[i].detach().requires_grad_()?;
    let y = (s.run)(&with(&s.inputs, i, x.clone()))?;
    if !y.requires_grad() {
        return Ok(None);
    }
    let g = gabor_tensor::Generator::new(5).uniform(-1.0, 1.0, y.shape(), DType::F64)?;
    let options = GradOptions { gradient: Some(&g), allow_unused: true, ..GradOptions::default() };
    let Some(gx) = grad(&y, &[&x], &options)?.remove(0) else { return Ok(None) };
    Ok(Some((gx.sum()?.item()?, g.sum()?.item()?)))
}

#[test]
fn what_moves_with_its_input_conserves_the_sum_of_gradients() {
    let property = |factor: f64| {
        move |spec: &OpSpec, s: &Sample| {
            let mut tried = false;
            if excepted("sum", spec) {
                return Ok(false);
            }
            for i in (0..s.inputs.len()).filter(|&i| s.inputs[i].dtype() == DType::F64 && s.inputs[i].numel() > 0) {
                let moved = |by: f64| -> Result<Tensor> { (s.run)(&with(&s.inputs, i, s.inputs[i].add_scalar(by)?)) };
                let y = (s.run)(&s.inputs)?;
                if y.dtype() != DType::F64 || y.numel() == 0 {
                    continue;
                }
                // All y move by factor * c: then so does their sum, whose derivative by c is the sum of all gradients.
                let follows = |by: f64| close(&moved(by)?, &y.add_scalar(factor * by)?, 1e-9, 1e-9);
                if !(follows(0.01)? && follows(-0.01)? && follows(0.7)?) {
                    continue;
                }
                let Some((inner, outer)) = sums(s, i)? else { continue };
                if (inner - factor * outer).abs() > 1e-9 {
                    return fail(format!("input {i}: gradients sum to {inner}, those of the result to {outer}"));
                }
                tried = true;
            }
            Ok(tried)
        }
    };
    let conserving = for_each(property(1.0));
    let names = ["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "max", "amax_dim"];
    expect(&conserving, &names);
    expect(
        &conserving,
        &["reshape", "permute", "expand", "slice", "flip", "gather", "logsumexp", "interpolate", "add", "sort"],
    );
    expect(&for_each(property(0.0)), &["softmax", "log_softmax", "standardize", "var", "var_dim"]);
}

#[test]
fn sums_of_whole_numbers_are_the_same_for_any_number_of_threads() -> Result<()> {
    let whole = |shape: &[usize], seed| gabor_tensor::Generator::new(seed).randint(-4, 5, shape)?.to_dtype(DType::F32);
    let (x, w) = (whole(&[4, 8, 40, 40], 1)?, whole(&[16, 8, 3, 3], 2)?);
    let (a, b) = (whole(&[150, 200], 3)?, whole(&[200, 170], 4)?);
    let options = gabor_tensor::Conv2dOptions::new().padding(1);
    let results = || -> Result<Vec<Tensor>> {
        let (x, w) = (x.clone().requires_grad_()?, w.clone().requires_grad_()?);
        let y = x.conv2d(&w, None, &options)?;
        y.sum()?.backward()?;
        let grads = [x.grad(), w.grad()].into_iter().flatten();
        let sums = [a.matmul(&b)?, x.sum()?, x.sum_dim([0, 2, 3], false)?, x.cumsum(3)?, y.amax_dim(1, false)?];
        Ok(sums.into_iter().chain(grads).chain([y.detach()]).collect())
    };
    let exact = |t: &Tensor| t.detach().to_dtype(DType::F64);
    let (x64, w64) = (exact(&x)?, exact(&w)?);
    let expected = [exact(&a)?.matmul(&exact(&b)?)?, x64.sum()?, x64.sum_dim([0, 2, 3], false)?, x64.cumsum(3)?];
    let y64 = x64.conv2d(&w64, None, &options)?;
    let before = num_threads();
    // Winograd's filtering is no order of summation, and not exact.
    set_conv_algorithm(ConvAlgorithm::Direct);
    for threads in [1, 2, 3, 5] {
        set_num_threads(threads);
        let got = results()?;
        for (got, expected) in got.iter().zip(&expected).chain([(&got[7], &y64)]) {
            assert_eq!(wide(got)?, wide(expected)?, "{threads} threads");
        }
    }
    set_num_threads(before);
    set_conv_algorithm(ConvAlgorithm::Auto);
    Ok(())
}
