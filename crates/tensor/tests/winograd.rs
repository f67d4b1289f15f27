//! Winograd's filtering on random sizes: results and gradients in f32 near those in f64, which are summed directly.

use gabor_tensor::{
    Conv2dOptions, ConvAlgorithm, DType, Generator, GradOptions, Result, Tensor, grad, set_conv_algorithm,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

fn few(cases: u32) -> Config {
    let config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var("PROPTEST_CASES").is_ok() {
        config
    } else {
        Config { cases, rng_seed: RngSeed::Fixed(3), ..config }
    }
}

/// The result, and the gradients of input, weight and bias.
fn all(inputs: &[Tensor], stride: usize, padding: (usize, usize), dtype: DType) -> Result<Vec<Vec<f64>>> {
    let leaf = |x: &Tensor| x.to_dtype(dtype)?.requires_grad_();
    let [x, w, b] = [leaf(&inputs[0])?, leaf(&inputs[1])?, leaf(&inputs[2])?];
    let y = x.conv2d(&w, Some(&b), &Conv2dOptions::new().stride(stride).padding(padding))?;
    let g = Generator::new(7).uniform(-1.0, 1.0, y.shape(), DType::F64)?.to_dtype(DType::F32)?.to_dtype(dtype)?;
    let grads = grad(&y, &[&x, &w, &b], &GradOptions { gradient: Some(&g), ..GradOptions::default() })?;
    let wide = |t: &Tensor| t.detach().to_dtype(DType::F64)?.to_vec::<f64>();
    std::iter::once(Some(y)).chain(grads).flatten().map(|t| wide(&t)).collect()
}

proptest! {
    #![proptest_config(few(24))]

    #[test]
    fn results_and_gradients_are_near_the_direct_sums(
        (n, c, k) in (1..4usize, 1..24usize, 1..24usize),
        (h, w) in (3..24usize, 3..24usize),
        (kernel, padding) in prop_oneof![
            (Just(3usize), (0..3usize, 0..3usize)),
            (Just(5usize), (0..5usize, 0..5usize)),
            // Several pieces.
            (prop_oneof![Just(4usize), Just(7)], (0..4usize, 0..4usize)),
        ],
        stride in 1..4usize,
        seed in any::<u64>(),
    ) {
        // All tests of this process ask for it.
        set_conv_algorithm(ConvAlgorithm::Winograd);
        // Without padding the kernel must fit.
        let (h, w) = (h.max(kernel), w.max(kernel));
        let shapes = [vec![n, c, h, w], vec![k, c, kernel, kernel], vec![k]];
        let random = |(i, shape): (usize, &Vec<usize>)| {
            // Numbers that both types hold, so that only the computation differs.
            let x = Generator::new(seed ^ i as u64).uniform(-1.0, 1.0, &shape[..], DType::F32).unwrap();
            x.to_dtype(DType::F64).unwrap()
        };
        let inputs: Vec<Tensor> = shapes.iter().enumerate().map(random).collect();
        let (got, expected) = (all(&inputs, stride, padding, DType::F32).unwrap(), all(&inputs, stride, padding, DType::F64).unwrap());
        for (what, (got, expected)) in ["result", "input", "weight", "bias"].iter().zip(got.iter().zip(&expected)) {
            let largest = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            for (a, b) in got.iter().zip(expected) {
                prop_assert!((a - b).abs() <= 1e-5 * largest, "{}: {} against {}, at most {}", what, a, b, largest);
            }
        }
    }
}

#[test]
fn infinity_and_nan_reach_only_what_sees_them() -> Result<()> {
    set_conv_algorithm(ConvAlgorithm::Winograd);
    for (kernel, stride, padding) in [(3, 1, (1, 1)), (5, 1, (2, 3)), (7, 1, (3, 2)), (5, 2, (2, 1))] {
        with_kernel(kernel, stride, padding)?;
    }
    Ok(())
}

fn with_kernel(kernel: usize, stride: usize, padding: (usize, usize)) -> Result<()> {
    let shapes = [vec![2, 9, 12, 13], vec![17, 9, kernel, kernel], vec![17]];
    for value in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 3e38] {
        // In the input or in the weight: of neither does a tile spread it.
        for place in [0, 1] {
            let mut inputs: Vec<Tensor> = shapes
                .iter()
                .map(|shape| Generator::new(1).uniform(0.5, 1.0, &shape[..], DType::F64))
                .collect::<Result<_>>()?;
            let mut numbers = inputs[place].to_vec::<f64>()?;
            numbers[40] = value;
            inputs[place] = Tensor::from_slice(&numbers, inputs[place].shape())?;
            for (got, expected) in
                all(&inputs, stride, padding, DType::F32)?.iter().zip(&all(&inputs, stride, padding, DType::F64)?)
            {
                let narrow = |v: f64| f64::from(v as f32);
                let same = |a: f64, b: f64| {
                    a == narrow(b)
                        || (a.is_nan() && b.is_nan())
                        || (a - b).abs() <= 1e-4 * (1.0 + b.abs())
                        || b.abs() > 1e37
                };
                let bad = got.iter().zip(expected).position(|(&a, &b)| !same(a, b));
                assert!(bad.is_none(), "{value} at {place}: {:?}", bad.map(|i| (got[i], expected[i])));
            }
        }
    }
    Ok(())
}
