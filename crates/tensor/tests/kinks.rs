//! Gradients where no derivative exists, and results for NaN and infinity: PyTorch's choices.

use gabor_tensor::{DType, Gelu, PadMode, Result, Tensor};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

type Call = fn(&Tensor) -> Result<Tensor>;

/// The gradient of the sum of `f(x)`.
fn slope(f: Call, x: &[f64]) -> Vec<f64> {
    let x = Tensor::from_slice(x, [x.len()]).unwrap().requires_grad_().unwrap();
    f(&x).unwrap().sum().unwrap().backward().unwrap();
    x.grad().unwrap().to_vec::<f64>().unwrap()
}

fn equal(name: &str, got: &[f64], expected: &[f64]) {
    let same =
        got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
    assert!(same, "{name}: {got:?}, PyTorch has {expected:?}");
}

#[test]
fn gradients_at_kinks_are_those_of_pytorch() {
    let table: &[(&str, Call, &[f64], &[f64])] = &[
        ("relu at 0", Tensor::relu, &[0.0, -0.0, NAN], &[0.0, 0.0, 1.0]),
        ("abs at 0", Tensor::abs, &[0.0, -0.0, -2.0], &[0.0, 0.0, -1.0]),
        ("sign", Tensor::sign, &[0.0, 3.0], &[0.0, 0.0]),
        ("leaky_relu at 0", |x| x.leaky_relu(0.25), &[0.0, 1.0], &[0.25, 1.0]),
        ("elu at 0", |x| x.elu(0.5), &[0.0, 1.0], &[0.5, 1.0]),
        ("clamp at its ends", |x| x.clamp(Some(-1.0), Some(1.0)), &[-1.0, 1.0, 2.0, NAN], &[0.0, 0.0, 0.0, 0.0]),
        ("clamp from below", |x| x.clamp(Some(0.0), None), &[0.0, -1.0, NAN, INF], &[0.0, 0.0, 0.0, 1.0]),
        ("hardtanh at its ends", |x| x.hardtanh(-1.0, 1.0), &[-1.0, 1.0, 0.5, NAN], &[0.0, 0.0, 1.0, 1.0]),
        ("sqrt at 0", Tensor::sqrt, &[0.0, 4.0], &[INF, 0.25]),
        ("rsqrt at 0", Tensor::rsqrt, &[0.0], &[-INF]),
        ("log at 0", Tensor::log, &[0.0], &[INF]),
        ("reciprocal at 0", Tensor::reciprocal, &[0.0], &[-INF]),
        ("x^0 at 0", |x| x.pow_scalar(0.0), &[0.0, 2.0], &[0.0, 0.0]),
        ("x^1 at 0", |x| x.pow_scalar(1.0), &[0.0], &[1.0]),
        ("x^0.5 at 0", |x| x.pow_scalar(0.5), &[0.0], &[INF]),
        ("x^2 at 0", Tensor::square, &[0.0], &[0.0]),
        ("gelu far out", |x| x.gelu(Gelu::None), &[-100.0, 100.0], &[0.0, 1.0]),
        ("softplus beyond its threshold", |x| x.softplus(1.0, 20.0), &[30.0, 1000.0], &[1.0, 1.0]),
        ("max of ties", Tensor::max, &[1.0, 3.0, 3.0, 2.0], &[0.0, 0.5, 0.5, 0.0]),
        ("min of ties", Tensor::min, &[1.0, 1.0, 1.0, 1.0], &[0.25, 0.25, 0.25, 0.25]),
        ("max of NaN", Tensor::max, &[1.0, NAN, NAN], &[0.0, 0.5, 0.5]),
        ("amax of ties", |x| x.amax_dim(0, false), &[3.0, 3.0, 2.0], &[0.5, 0.5, 0.0]),
        ("max_dim of ties", |x| Ok(x.max_dim(0, false)?.0), &[1.0, 3.0, 3.0], &[0.0, 1.0, 0.0]),
        ("min_dim of ties", |x| Ok(x.min_dim(0, false)?.0), &[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0]),
        ("topk of ties", |x| Ok(x.topk(2, 0, true)?.0), &[3.0, 1.0, 3.0, 3.0], &[1.0, 0.0, 1.0, 0.0]),
        ("maximum of equals", |x| x.maximum(&Tensor::new([1f64, 1.0])?), &[1.0, 2.0], &[0.5, 1.0]),
        ("minimum of equals", |x| x.minimum(&Tensor::new([1f64, 1.0])?), &[1.0, 2.0], &[0.5, 0.0]),
        ("prod with a zero", Tensor::prod, &[0.0, 2.0, 3.0], &[6.0, 0.0, 0.0]),
        ("prod with two zeros", Tensor::prod, &[0.0, 0.0, 3.0], &[0.0, 0.0, 0.0]),
        ("std of equals", |x| x.std(1.0), &[2.0, 2.0], &[0.0, 0.0]),
        ("masked_fill", |x| x.masked_fill(&x.gt_scalar(0.0)?, 7.0), &[1.0, -1.0], &[0.0, 1.0]),
        (
            "reflect counts twice",
            |x| x.unsqueeze(0)?.pad(&[1, 0], PadMode::Reflect),
            &[1.0, 2.0, 3.0],
            &[1.0, 2.0, 1.0],
        ),
    ];
    for (name, f, x, expected) in table {
        equal(name, &slope(*f, x), expected);
    }
}

#[test]
fn results_for_nan_and_infinity_are_those_of_pytorch() {
    let table: &[(&str, Call, &[f64], &[f64])] = &[
        ("relu", Tensor::relu, &[NAN, -INF, INF], &[NAN, 0.0, INF]),
        ("max", Tensor::max, &[1.0, NAN, INF], &[NAN]),
        ("min", Tensor::min, &[1.0, NAN, -INF], &[NAN]),
        ("amax", |x| x.amax_dim(0, false), &[NAN, 1.0], &[NAN]),
        ("max_dim", |x| Ok(x.max_dim(0, false)?.0), &[1.0, NAN], &[NAN]),
        ("maximum", |x| x.maximum(&Tensor::new([1f64, NAN])?), &[NAN, 1.0], &[NAN, NAN]),
        ("clamp", |x| x.clamp(Some(0.0), Some(1.0)), &[NAN, -INF, INF], &[NAN, 0.0, 1.0]),
        ("softmax of -inf", |x| x.softmax(0), &[-INF, -INF], &[NAN, NAN]),
        ("softmax beside -inf", |x| x.softmax(0), &[-INF, 0.0], &[0.0, 1.0]),
        ("softmax of inf", |x| x.softmax(0), &[INF, 0.0], &[NAN, NAN]),
        ("log_softmax beside -inf", |x| x.log_softmax(0), &[-INF, 0.0], &[-INF, 0.0]),
        ("log_softmax of large numbers", |x| x.log_softmax(0), &[1e4, 0.0], &[0.0, -1e4]),
        ("logsumexp of -inf", |x| x.logsumexp(0, false), &[-INF, -INF], &[-INF]),
        ("logsumexp of inf", |x| x.logsumexp(0, false), &[INF, 0.0], &[INF]),
        ("sort puts NaN last", |x| Ok(x.sort(0, false)?.0), &[NAN, 2.0, -INF, 1.0], &[-INF, 1.0, 2.0, NAN]),
        ("sort puts NaN first", |x| Ok(x.sort(0, true)?.0), &[1.0, NAN, INF], &[NAN, INF, 1.0]),
        ("topk takes NaN", |x| Ok(x.topk(1, 0, true)?.0), &[1.0, NAN], &[NAN]),
        ("mean of nothing", |x| x.narrow(0, 0, 0)?.mean(), &[1.0], &[NAN]),
        ("sum of nothing", |x| x.narrow(0, 0, 0)?.sum(), &[1.0], &[0.0]),
        ("prod of nothing", |x| x.narrow(0, 0, 0)?.prod(), &[1.0], &[1.0]),
        ("var of one", |x| x.var(1.0), &[1.0], &[NAN]),
    ];
    for (name, f, x, expected) in table {
        let y = f(&Tensor::from_slice(x, [x.len()]).unwrap()).unwrap();
        equal(name, &y.to_vec::<f64>().unwrap(), expected);
    }
}

#[test]
fn positions_take_the_first_of_ties_and_the_first_nan() -> Result<()> {
    let at = |x: &[f64]| -> Result<(f64, f64)> {
        let x = Tensor::from_slice(x, [x.len()])?;
        Ok((x.argmax(None, false)?.item()?, x.argmin(Some(0), false)?.item()?))
    };
    assert_eq!(at(&[1.0, 3.0, 3.0, 1.0])?, (1.0, 0.0));
    assert_eq!(at(&[1.0, NAN, 5.0, NAN])?, (1.0, 1.0));
    Ok(())
}

#[test]
fn gradients_pass_a_change_of_dtype() -> Result<()> {
    let x = Tensor::new([1f64, 2.0])?.requires_grad_()?;
    x.to_dtype(DType::F32)?.square()?.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f64>()?, [2.0, 4.0]);
    assert!(!x.to_dtype(DType::I64)?.requires_grad());
    Ok(())
}

#[test]
fn an_empty_list_of_axes_reduces_all() -> Result<()> {
    let (x, none) = (Tensor::new([[1f64, 2.0], [3.0, 6.0]])?, Vec::<isize>::new());
    let all = [
        (x.sum_dim(none.clone(), false)?, 12.0),
        (x.mean_dim(none.clone(), false)?, 3.0),
        (x.var_dim(none.clone(), 0.0, false)?, 3.5),
        (x.amax_dim(none.clone(), false)?, 6.0),
        (x.amin_dim(none.clone(), false)?, 1.0),
        (x.prod_dim(none.clone(), false)?, 36.0),
    ];
    for (y, expected) in all {
        assert_eq!((y.rank(), y.item()?), (0, expected));
    }
    assert_eq!(x.flip(none)?.to_vec::<f64>()?, [1.0, 2.0, 3.0, 6.0]);
    Ok(())
}

#[test]
fn the_padding_row_of_an_embedding_gets_no_gradient() -> Result<()> {
    let weight = Tensor::new([[1f64], [2.0], [3.0]])?.requires_grad_()?;
    weight.embedding(&Tensor::new([0i64, 2, 2, 1])?, Some(-1))?.sum()?.backward()?;
    assert_eq!(weight.grad().unwrap().to_vec::<f64>()?, [1.0, 1.0, 0.0]);
    Ok(())
}

#[test]
fn views_behind_an_offset_are_read_at_their_place() -> Result<()> {
    let x = Tensor::new([1f64, 2.0, 3.0])?.select(0, 1)?;
    assert_eq!(x.sum()?.item()?, 2.0);
    assert_eq!(x.max()?.item()?, 2.0);
    assert_eq!(x.prod()?.item()?, 2.0);
    assert_eq!(x.logsumexp(0, false)?.item()?, 2.0);
    assert_eq!(x.cumsum(0)?.item()?, 2.0);
    Ok(())
}
