//! Functions of elements, with broadcasting, in every layout.

use gabor_tensor::{DType, GradOptions, Result, Tensor, grad, gradcheck};
use proptest::prelude::*;

use crate::array::{Array, laid, layout, leaf, near, real, shape, size, whole};
use crate::few;

/// Two shapes that broadcast, and the common one.
fn broadcasting() -> impl Strategy<Value = [Vec<usize>; 3]> + Clone {
    let axis = (size(), 0..4u8).prop_map(|(n, kind)| match kind {
        0 => (1, n, n),
        1 => (n, 1, n),
        _ => (n, n, n),
    });
    (proptest::collection::vec(axis, 0..=4), 0..5usize, any::<bool>()).prop_map(|(axes, short, left)| {
        let [mut a, mut b] = [axes.iter().map(|x| x.0).collect::<Vec<_>>(), axes.iter().map(|x| x.1).collect()];
        let full: Vec<usize> = axes.iter().map(|x| x.2).collect();
        // One side may have fewer axes, if the other has the full sizes there.
        let (side, other) = if left { (&mut a, &b) } else { (&mut b, &a) };
        let short = (0..short.min(full.len())).take_while(|&i| other[i] == full[i]).count();
        side.drain(..short);
        [a, b, full]
    })
}

type Binary = (&'static str, fn(&Tensor, &Tensor) -> Result<Tensor>, fn(f64, f64) -> f64);

/// Exact on small whole numbers.
const EXACT: &[Binary] = &[
    ("add", Tensor::add, |a, b| a + b),
    ("sub", Tensor::sub, |a, b| a - b),
    ("mul", Tensor::mul, |a, b| a * b),
    ("maximum", Tensor::maximum, f64::max),
    ("minimum", Tensor::minimum, f64::min),
    ("eq", |a, b| a.eq(b)?.to_dtype(a.dtype()), |a, b| f64::from(a == b)),
    ("ne", |a, b| a.ne(b)?.to_dtype(a.dtype()), |a, b| f64::from(a != b)),
    ("lt", |a, b| a.lt(b)?.to_dtype(a.dtype()), |a, b| f64::from(a < b)),
    ("le", |a, b| a.le(b)?.to_dtype(a.dtype()), |a, b| f64::from(a <= b)),
    ("gt", |a, b| a.gt(b)?.to_dtype(a.dtype()), |a, b| f64::from(a > b)),
    ("ge", |a, b| a.ge(b)?.to_dtype(a.dtype()), |a, b| f64::from(a >= b)),
    ("where", |a, b| a.gt_scalar(0.0)?.where_cond(a, b), |a, b| if a > 0.0 { a } else { b }),
    (
        "masked_fill",
        |a, b| a.add(&b.zeros_like()?)?.masked_fill(&b.gt_scalar(0.0)?, 7.0),
        |a, b| {
            if b > 0.0 { 7.0 } else { a }
        },
    ),
];

const ROUNDED: &[Binary] =
    &[("div", Tensor::div, |a, b| a / b), ("pow", |a, b| a.abs()?.pow(b), |a, b| a.abs().powf(b))];

type Unary = (&'static str, fn(&Tensor) -> Result<Tensor>, fn(f64) -> f64);

const UNARY: &[Unary] = &[
    ("neg", Tensor::neg, |v| -v),
    ("abs", Tensor::abs, f64::abs),
    ("square", Tensor::square, |v| v * v),
    ("sqrt", Tensor::sqrt, f64::sqrt),
    ("rsqrt", Tensor::rsqrt, |v| 1.0 / v.sqrt()),
    ("reciprocal", Tensor::reciprocal, |v| 1.0 / v),
    ("exp", Tensor::exp, f64::exp),
    ("expm1", Tensor::expm1, f64::exp_m1),
    ("log", Tensor::log, f64::ln),
    ("log1p", Tensor::log1p, f64::ln_1p),
    ("sin", Tensor::sin, f64::sin),
    ("cos", Tensor::cos, f64::cos),
    ("tanh", Tensor::tanh, f64::tanh),
    ("sigmoid", Tensor::sigmoid, |v| 1.0 / (1.0 + (-v).exp())),
    ("silu", Tensor::silu, |v| v / (1.0 + (-v).exp())),
    ("relu", Tensor::relu, |v| if v > 0.0 || v.is_nan() { v } else { 0.0 }),
    ("leaky_relu", |x| x.leaky_relu(0.25), |v| if v > 0.0 { v } else { 0.25 * v }),
    ("elu", |x| x.elu(0.5), |v| if v > 0.0 { v } else { 0.5 * v.exp_m1() }),
    ("softplus", |x| x.softplus(1.0, 20.0), |v| if v > 20.0 { v } else { v.exp().ln_1p() }),
    ("clamp", |x| x.clamp(Some(-1.0), Some(1.5)), |v| v.clamp(-1.0, 1.5)),
    ("hardtanh", |x| x.hardtanh(-1.0, 1.0), |v| v.clamp(-1.0, 1.0)),
    ("sign", Tensor::sign, |v| {
        if v > 0.0 {
            1.0
        } else if v < 0.0 {
            -1.0
        } else {
            0.0
        }
    }),
    ("floor", Tensor::floor, f64::floor),
    ("ceil", Tensor::ceil, f64::ceil),
    ("round", Tensor::round, f64::round_ties_even),
];

proptest! {
    #![proptest_config(few(64))]

    #[test]
    fn pairs_broadcast([a, b, full] in broadcasting(), layouts in (layout(), layout()), seed in any::<u64>()) {
        let (a, b) = (laid(&whole(&a, seed), layouts.0), laid(&whole(&b, seed ^ 1), layouts.1));
        let (xs, ys) = (Array::of(&a), Array::of(&b));
        for (exact, table) in [(true, EXACT), (false, ROUNDED)] {
            for &(name, run, plain) in table {
                let expected = Array::build(&full, |i| plain(xs.broadcast_at(i), ys.broadcast_at(i)));
                for dtype in [DType::F32, DType::F64] {
                    let y = run(&laid(&a.to_dtype(dtype).unwrap(), layouts.0), &b.to_dtype(dtype).unwrap()).unwrap();
                    let tolerance = match (exact, dtype) {
                        (true, _) => 0.0,
                        (_, DType::F32) => 1e-6,
                        _ => 1e-14,
                    };
                    near(&Array::of(&y), &expected, tolerance).map_err(|e| e.to_string() + name)
                        .map_err(TestCaseError::fail)?;
                }
            }
        }
    }

    #[test]
    fn gradients_of_pairs_sum_over_what_was_repeated([a, b, full] in broadcasting(), seed in any::<u64>()) {
        let (a, b, g) = (whole(&a, seed), whole(&b, seed ^ 1), whole(&full, seed ^ 2));
        let (xs, ys, gs) = (Array::of(&a), Array::of(&b), Array::of(&g));
        let mut expected = [vec![0.0; xs.data.len()], vec![0.0; ys.data.len()]];
        // Element 0 of an array of its own positions, broadcast, says where a gradient belongs.
        let count = |x: &Array| Array { shape: x.shape.clone(), data: (0..x.data.len()).map(|i| i as f64).collect() };
        let (place_a, place_b) = (count(&xs), count(&ys));
        for i in crate::array::places(&full) {
            expected[0][place_a.broadcast_at(&i) as usize] += gs.at(&i) * ys.broadcast_at(&i);
            expected[1][place_b.broadcast_at(&i) as usize] += gs.at(&i) * xs.broadcast_at(&i);
        }
        for dtype in [DType::F32, DType::F64] {
            let (a, b, g) = (leaf(&a, dtype), leaf(&b, dtype), g.to_dtype(dtype).unwrap());
            let y = a.mul(&b).unwrap();
            let grads = grad(&y, &[&a, &b], &GradOptions { gradient: Some(&g), ..GradOptions::default() }).unwrap();
            prop_assert_eq!(&Array::of(grads[0].as_ref().unwrap()).data, &expected[0]);
            prop_assert_eq!(&Array::of(grads[1].as_ref().unwrap()).data, &expected[1]);
        }
    }

    #[test]
    fn functions_of_one_number(shape in shape(0..=4), layout in layout(), seed in any::<u64>(), special in any::<bool>()) {
        let mut x = laid(&real(&shape, seed), layout);
        if special {
            let (high, low) = (x.gt_scalar(1.0).unwrap(), x.lt_scalar(-1.0).unwrap());
            x = laid(&x.masked_fill(&high, f64::NAN).unwrap().masked_fill(&low, f64::NEG_INFINITY).unwrap(), layout);
        }
        // The oracle sees the elements as f32 has them, so that only the function is compared.
        let x = x.to_dtype(DType::F32).unwrap();
        for &(name, run, plain) in UNARY {
            let expected = Array::of(&x);
            let expected = Array { data: expected.data.iter().map(|&v| plain(v)).collect(), ..expected };
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-13)] {
                let y = run(&laid(&x.to_dtype(dtype).unwrap(), layout)).unwrap();
                let x = laid(&x, layout);
                let expected = Array { data: Array::of(&x).data.iter().map(|&v| plain(v)).collect(), ..expected.clone() };
                near(&Array::of(&y), &expected, tolerance).map_err(|e| TestCaseError::fail(e.to_string() + name))?;
            }
        }
    }
}

proptest! {
    #![proptest_config(few(12))]

    #[test]
    fn pairs_have_the_right_derivatives([a, b, _] in broadcasting(), seed in any::<u64>()) {
        let (a, b) = (real(&a, seed), real(&b, seed ^ 1).abs().unwrap().add_scalar(0.5).unwrap());
        gradcheck(|t| t[0].mul(&t[1])?.div(&t[1].add(&t[0].square()?)?), &[a.clone(), b.clone()]).unwrap();
        gradcheck(|t| t[1].pow(&t[0])?.sub(&t[0]), &[a, b]).unwrap();
    }
}
