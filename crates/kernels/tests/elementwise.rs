//! Elementwise kernels against their twins: values, special values, and bits that depend on nothing but the operands.

use gabor_kernels::elementwise::*;
use gabor_kernels::{isa, naive, par};

/// Lengths around vector widths, blocks and chunks.
const LENGTHS: [usize; 16] = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 100, 1025, 16_385, 50_000];

const UNARY: [Unary; 35] = [
    Unary::Neg,
    Unary::Abs,
    Unary::Sign,
    Unary::Square,
    Unary::Sqrt,
    Unary::Rsqrt,
    Unary::Reciprocal,
    Unary::Exp,
    Unary::Expm1,
    Unary::Ln,
    Unary::Log1p,
    Unary::Sin,
    Unary::Cos,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Relu,
    Unary::Erf,
    Unary::Silu,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::Floor,
    Unary::Ceil,
    Unary::Round,
    Unary::LeakyRelu(0.01),
    Unary::Elu(1.5),
    Unary::Softplus { beta: 2.0, threshold: 20.0 },
    Unary::Clamp { min: -1.0, max: 0.5 },
    Unary::PowScalar(0.5),
    Unary::PowScalar(2.0),
    Unary::PowScalar(3.0),
    Unary::PowScalar(-1.0),
    Unary::PowScalar(1.75),
    Unary::PowScalar(0.0),
    Unary::AddScalar(0.75),
    Unary::MulScalar(-3.0),
];

const BINARY: [Binary; 11] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Maximum,
    Binary::Minimum,
    Binary::Pow,
    Binary::ReluGrad,
    Binary::SigmoidGrad,
    Binary::SquareGrad,
    Binary::TanhGrad,
];

/// Numbers of both signs, some whole, with special ones in between.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-42, 3e38, 1.0, -1.0, 0.5, 1e9];
    (0..n)
        .map(|i| match i % 13 {
            5 => special[(i / 13) % special.len()],
            7 => (next() * 10.0).round(),
            _ => next() * 8.0,
        })
        .collect()
}

fn close(y: f64, truth: f64, tolerance: f64) -> bool {
    y == truth
        || (y.is_nan() && truth.is_nan())
        || (y - truth).abs() <= tolerance * truth.abs().max(f64::from(f32::MIN_POSITIVE))
        || (y.is_infinite() && truth.abs() >= f64::from(f32::MAX) && y.signum() == truth.signum())
        || (y == 0.0 && truth.abs() < 1e-45)
}

#[test]
fn functions_of_one_element_equal_their_twins() {
    for &set in isa::available() {
        isa::with(set, || {
            for n in LENGTHS {
                let x = numbers(n, 3);
                for op in UNARY {
                    let mut y = vec![0.0f32; n];
                    unary(op, &x, &mut y);
                    for (&x, &y) in x.iter().zip(&y) {
                        // Sums that cancel keep an absolute error; PyTorch's roots are not powers at the edges.
                        let cancels = match op {
                            Unary::Gelu | Unary::GeluTanh => 1e-6,
                            _ => 0.0,
                        };
                        if matches!(op, Unary::PowScalar(0.5)) && (x == f32::NEG_INFINITY || x == 0.0) {
                            continue;
                        }
                        let edge = matches!(op, Unary::Silu | Unary::Gelu | Unary::GeluTanh) && x == f32::NEG_INFINITY;
                        let truth = naive::elementwise::unary(op, f64::from(x));
                        let good = close(f64::from(y), truth, 4e-7) || (f64::from(y) - truth).abs() < cancels;
                        assert!(
                            good || (edge && (y.is_nan() || y == 0.0)),
                            "{set:?} {op:?}({x:e}) = {y:e}, not {truth:e}"
                        );
                    }
                    let mut z = x.clone();
                    unary_in_place(op, &mut z);
                    assert!(same(&y, &z), "{set:?} {op:?} in place, {n} elements");
                }
            }
        });
    }
}

/// Equal bits, where any NaN equals any other.
fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

#[test]
fn the_place_of_an_element_does_not_matter() {
    let n = 20_011;
    let (x, b) = (numbers(n, 5), numbers(n, 6));
    for &set in isa::available() {
        isa::with(set, || {
            for op in UNARY {
                let (mut whole, mut parts) = (vec![0.0f32; n], vec![0.0f32; n]);
                unary(op, &x, &mut whole);
                let mut start = 0;
                for step in [1, 2, 15, 16, 17, 5, 333].into_iter().cycle() {
                    let end = (start + step).min(n);
                    unary(op, &x[start..end], &mut parts[start..end]);
                    start = end;
                    if start == n {
                        break;
                    }
                }
                assert!(same(&whole, &parts), "{set:?} {op:?}");
            }
            for op in BINARY {
                let (mut whole, mut parts) = (vec![0.0f32; n], vec![0.0f32; n]);
                binary(op, Operand::Slice(&x), Operand::Slice(&b), &mut whole);
                for (i, y) in parts.chunks_mut(37).enumerate() {
                    let part = i * 37..i * 37 + y.len();
                    binary(op, Operand::Slice(&x[part.clone()]), Operand::Slice(&b[part]), y);
                }
                assert!(same(&whole, &parts), "{set:?} {op:?}");
            }
        });
    }
}

#[test]
fn functions_of_two_elements_equal_their_twins() {
    for &set in isa::available() {
        isa::with(set, || {
            for n in LENGTHS {
                let (a, b) = (numbers(n, 7), numbers(n, 8));
                for op in BINARY {
                    let check = |a: f32, b: f32, y: f32| {
                        let truth = naive::elementwise::binary(op, f64::from(a), f64::from(b));
                        let exact = f64::from(truth as f32);
                        // 1 - y * y cancels, and an overflow on the way stays one.
                        let rough = matches!(op, Binary::SigmoidGrad | Binary::SquareGrad | Binary::TanhGrad);
                        let lost = f64::from(a * b * b).abs() * 1e-6;
                        assert!(
                            close(f64::from(y), exact, 2e-7)
                                || (rough && (!y.is_finite() || (f64::from(y) - truth).abs() <= lost + 1e-6)),
                            "{set:?} {op:?}({a:e}, {b:e}) = {y:e}, not {truth:e}"
                        );
                    };
                    let mut y = vec![0.0f32; n];
                    binary(op, Operand::Slice(&a), Operand::Slice(&b), &mut y);
                    (0..n).for_each(|i| check(a[i], b[i], y[i]));
                    let mut z = a.clone();
                    binary_in_place(op, &mut z, Operand::Slice(&b));
                    assert!(same(&y, &z));
                    binary(op, Operand::Slice(&a), Operand::Scalar(0.75), &mut y);
                    (0..n).for_each(|i| check(a[i], 0.75, y[i]));
                    let mut z = a.clone();
                    binary_in_place(op, &mut z, Operand::Scalar(0.75));
                    assert!(same(&y, &z));
                    binary(op, Operand::Scalar(-0.5), Operand::Slice(&b), &mut y);
                    (0..n).for_each(|i| check(-0.5, b[i], y[i]));
                    binary(op, Operand::Scalar(1.5), Operand::Scalar(0.25), &mut y);
                    (0..n).for_each(|i| check(1.5, 0.25, y[i]));
                }
            }
        });
    }
}

#[test]
fn integers_wrap_and_divide_towards_zero() {
    let mut y = [0i64; 4];
    let (a, b) = ([i64::MAX, -7, 5, 2], [1, 2, 0, 63]);
    binary(Binary::Add, Operand::Slice(&a), Operand::Slice(&b), &mut y);
    assert_eq!(y, [i64::MIN, -5, 5, 65]);
    binary(Binary::Div, Operand::Slice(&a), Operand::Slice(&b), &mut y);
    assert_eq!(y, [i64::MAX, -3, 0, 0]);
    binary(Binary::Pow, Operand::Slice(&a), Operand::Slice(&b), &mut y);
    assert_eq!(y, [i64::MAX, 49, 1, i64::MIN]);
    let mut y = [0u8; 2];
    binary(Binary::Mul, Operand::Slice(&[200u8, 3]), Operand::Scalar(2), &mut y);
    assert_eq!(y, [144, 6]);
}

#[test]
fn comparisons_with_nan_hold_only_for_unequal() {
    let (a, b) = ([1.0f64, 2.0, f64::NAN, -0.0], [2.0f64, 2.0, f64::NAN, 0.0]);
    let expected = [
        (Compare::Eq, [false, true, false, true]),
        (Compare::Ne, [true, false, true, false]),
        (Compare::Lt, [true, false, false, false]),
        (Compare::Le, [true, true, false, true]),
        (Compare::Gt, [false, false, false, false]),
        (Compare::Ge, [false, true, false, true]),
    ];
    for (op, expected) in expected {
        let mut y = [false; 4];
        compare(op, Operand::Slice(&a), Operand::Slice(&b), &mut y);
        assert_eq!(y, expected, "{op:?}");
    }
}

#[test]
fn selection_takes_slices_and_numbers() {
    for n in LENGTHS {
        let (a, b) = (numbers(n, 1), numbers(n, 2));
        let cond: Vec<bool> = (0..n).map(|i| i % 3 == 0).collect();
        let mut y = vec![0.0f32; n];
        select(&cond, Operand::Slice(&a), Operand::Slice(&b), &mut y);
        assert!(same(&y, &(0..n).map(|i| if cond[i] { a[i] } else { b[i] }).collect::<Vec<_>>()));
        select(&cond, Operand::Scalar(7.0), Operand::Slice(&b), &mut y);
        assert!(same(&y, &(0..n).map(|i| if cond[i] { 7.0 } else { b[i] }).collect::<Vec<_>>()));
        select(&cond, Operand::Slice(&a), Operand::Scalar(7.0), &mut y);
        assert!(same(&y, &(0..n).map(|i| if cond[i] { a[i] } else { 7.0 }).collect::<Vec<_>>()));
        select(&cond, Operand::Scalar(1.0), Operand::Scalar(7.0), &mut y);
        assert!(same(&y, &(0..n).map(|i| if cond[i] { 1.0 } else { 7.0 }).collect::<Vec<_>>()));
    }
}

#[test]
fn conversions_truncate_saturate_and_wrap() {
    let x = [1.9f32, -1.9, 300.0, f32::NAN, 1e30, 0.0];
    let mut i = [0i64; 6];
    cast(&x, &mut i);
    assert_eq!(i, [1, -1, 300, 0, i64::MAX, 0]);
    let mut u = [0u8; 6];
    cast(&x, &mut u);
    assert_eq!(u, [1, 0, 255, 0, 255, 0]);
    cast(&i, &mut u);
    assert_eq!(u, [1, 255, 44, 0, 255, 0]);
    let mut b = [false; 6];
    cast(&x, &mut b);
    assert_eq!(b, [true, true, true, true, true, false]);
    let mut d = [0f64; 6];
    cast(&b, &mut d);
    assert_eq!(d, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    let mut wide = [0i64];
    cast(&[i64::MAX - 1], &mut wide);
    assert_eq!(wide, [i64::MAX - 1], "integers do not pass through floats");
}

#[test]
fn threads_do_not_change_bits() {
    let n = 400_001;
    let (x, b) = (numbers(n, 9), numbers(n, 10));
    let results = [1, 2, 3].map(|threads| {
        par::set_num_threads(threads);
        let mut y = vec![0.0f32; n];
        unary(Unary::Exp, &x, &mut y);
        axpy(0.3, &b, &mut y);
        binary_in_place(Binary::Mul, &mut y, Operand::Slice(&x));
        unary_in_place(Unary::Tanh, &mut y);
        y
    });
    assert!(same(&results[0], &results[1]) && same(&results[0], &results[2]));
}
