//! Losses of distributions, margins and several labels beside PyTorch's numbers.

use gabor_nn::*;
use tensor::{Result, Tensor, gradcheck};

fn x() -> Result<Tensor> {
    Tensor::new([[0.5f64, -1.25, 2.0], [0.0, 1.5, -0.75]])
}

fn t() -> Result<Tensor> {
    Tensor::new([[0.25f64, 0.0, 0.75], [1.0, 0.5, 0.0]])
}

fn signs() -> Result<Tensor> {
    Tensor::new([[1f64, -1.0, 1.0], [-1.0, 1.0, 1.0]])
}

fn var() -> Result<Tensor> {
    Tensor::new([[0.5f64, 1.0, 2.0], [0.25, 4.0, 1e-9]])
}

/// The loss of `input` and the gradient that it gives there.
fn check(input: &Tensor, loss: impl Fn(&Tensor) -> Result<Tensor>, value: f64, slopes: [f64; 6]) -> Result<()> {
    let x = input.detach().requires_grad_()?;
    let l = loss(&x)?;
    l.backward()?;
    let grad = x.grad().expect("a leaf").to_vec::<f64>()?;
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-11 * b.abs().max(1.0);
    assert!(near(l.item()?, value), "{} {value}", l.item()?);
    assert!(grad.iter().zip(slopes).all(|(&a, b)| near(a, b)), "{grad:?} {slopes:?}");
    Ok(())
}

#[test]
fn divergence() -> Result<()> {
    let (x, t) = (x()?, t()?);
    let kl = KLDivLoss::new;
    let sum = [-0.25, 0.0, -0.75, -1.0, -0.5, 0.0];
    check(&x, |x| kl().forward(x, &t), -0.5473181224831302, sum.map(|v| v / 6.0))?;
    check(&x, |x| kl().reduction(Reduction::Sum).forward(x, &t), -3.283908734898781, sum)?;
    check(&x, |x| kl().batch_mean().forward(x, &t), -1.6419543674493906, sum.map(|v| v / 2.0))?;
    let log = x.flip(1)?.mul_scalar(0.5)?;
    let slopes =
        [-std::f64::consts::E, -0.5352614285189903, -1.2840254166877414, -0.6872892787909722, -2.117000016612675, -1.0];
    check(&x, |x| kl().log_target(true).reduction(Reduction::Sum).forward(x, &log), -1.6488486641557765, slopes)?;
    assert!(kl().forward(&x, &Tensor::ones([2, 3])?).is_err(), "f32 beside f64");
    Ok(())
}

#[test]
fn poisson_and_gaussian() -> Result<()> {
    let (x, t, var) = (x()?, t()?, var()?);
    let p = PoissonNLLLoss::new;
    let more = t.add_scalar(1.0)?;
    let slopes = [0.066453545117, -0.11891586719, 0.939842683155, -1.0 / 6.0, 0.49694817839, -0.087938907876];
    let poisson = |x: &Tensor| p().forward(x, &more);
    check(&x, poisson, 1.8172229649283416, slopes)?;
    let four = t.mul_scalar(4.0)?;
    let slopes = [0.108120211783, 0.047750799477, 0.731509349822, -0.5, 0.413614845056, 0.07872775879];
    check(&x, |x| p().full(true).forward(x, &four), 1.8919148293269703, slopes)?;
    let rates = x.abs()?.add_scalar(0.1)?;
    let slopes = [0.09722222338, 1.0 / 6.0, 0.107142857426, -1.499999833333, 0.114583333659, 1.0 / 6.0];
    check(&rates, |x| p().log_input(false).forward(x, &t), 1.3731394274837587, slopes)?;

    let g = GaussianNLLLoss::new;
    let slopes = [0.083333333333, -0.208333333333, 0.104166666667, -0.666666666667, 0.041666666667, -125000.0];
    check(&x, |x| g().forward(x, &t, &var), 46874.408603286836, slopes)?;
    let full = g().full(true).reduction(Reduction::Sum);
    check(&x, |x| full.forward(x, &t, &var), 281251.9652509203, slopes.map(|v| v * 6.0))?;
    let rows = Tensor::new([0.5f64, 2.0])?;
    let slopes = [0.083333333333, -0.416666666667, 0.416666666667, -0.083333333333, 0.083333333333, -0.0625];
    check(&x, |x| g().forward(x, &t, &rows), 0.6380208333333334, slopes)?;
    let v = var.clone().requires_grad_()?;
    g().forward(&x, &t, &v)?.backward()?;
    let grad = v.grad().expect("a leaf").to_vec::<f64>()?;
    assert!((grad[0] - 0.14583333333333334).abs() < 1e-9 && (grad[5] / -4.6875e10 - 1.0).abs() < 1e-4, "{grad:?}");
    let text = g().forward(&x, &t, &rows.neg()?).unwrap_err().to_string();
    assert_eq!(text, "gaussian_nll_loss: a variance is below 0; let softplus or exp make it");
    let text = g().forward(&x, &t, &Tensor::ones([3])?.to_dtype(x.dtype())?).unwrap_err().to_string();
    assert!(text.contains("var has shape [3, 1] and input [2, 3]"), "{text}");
    Ok(())
}

#[test]
fn margins() -> Result<()> {
    let (x, t, s) = (x()?, t()?, signs()?);
    let soft = [-0.0629234448, 0.037116689804, -0.01986715367, 0.083333333333, -0.030404253968, -0.113196449863];
    check(&x, |x| SoftMarginLoss::new().forward(x, &s), 0.4807275902043417, soft)?;
    let sixths = [1.0, -1.0, 1.0, -1.0, 1.0, 1.0].map(|v| v / 6.0);
    check(&x, |x| HingeEmbeddingLoss::new().margin(1.5).forward(x, &s), 1.25, sixths)?;
    let slopes = [-1.0 / 6.0, 0.0, 0.0, 0.0, 0.0, -1.0 / 6.0];
    check(&x, |x| MarginRankingLoss::new().margin(0.5).forward(x, &t, &s), 0.25, slopes)?;
    let labels = Tensor::new([1f64, -1.0])?;
    let slopes = [-0.0289127519, -0.091674579196, -0.050068424022, 0.266666666667, 0.026666666667, 0.053333333333];
    let cosine = |margin| CosineEmbeddingLoss::new().margin(margin);
    check(&x, |x| cosine(0.2).forward(x, &t, &labels), 0.1737132067406927, slopes)?;
    check(&x, |x| cosine(-1.0).forward(x, &t, &labels), 0.7737132067406928, slopes)?;
    let slopes = [0.288231691001, -0.240961225595, -0.08636586017, -0.553119263749, 0.191961826707, 0.187089870405];
    check(&x, |x| TripletMarginLoss::new().forward(x, &t, &s), 1.081918925349914, slopes)?;
    let swapped = TripletMarginLoss::new().margin(2.0).p(1.5).swap(true);
    let slopes = [0.485250955327, -0.171659063931, -0.047787298126, -0.685531701907, 0.132099447883, 0.115938801322];
    check(&x, |x| swapped.forward(x, &t, &s), 2.140606696932412, slopes)?;
    Ok(())
}

#[test]
fn labels() -> Result<()> {
    let (x, b) = (x()?, Tensor::new([[1f64, 0.0, 1.0], [0.0, 1.0, 1.0]])?);
    let soft = [-0.0629234448, 0.037116689804, -0.01986715367, 0.083333333333, -0.030404253968, -0.113196449863];
    check(&x, |x| MultiLabelSoftMarginLoss::new().forward(x, &b), 0.48072759020434164, soft)?;
    let weights = Tensor::new([1f64, 2.0, 0.5])?;
    let weighted = MultiLabelSoftMarginLoss::new().weight(weights.clone()).reduction(Reduction::Sum);
    let slopes = [-0.125846889599, 0.148466759217, -0.01986715367, 0.166666666667, -0.121617015871, -0.113196449863];
    check(&x, |x| weighted.forward(x, &b), 0.9019361306584128, slopes)?;

    let classes = Tensor::new([2i64, 0])?;
    let multi = MultiMarginLoss::new;
    let slopes = [0.0, 0.0, 0.0, -1.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0];
    check(&x, |x| multi().forward(x, &classes), 0.4583333333333333, slopes)?;
    let squared = multi().p(2.0).margin(0.5).weight(weights);
    check(&x, |x| squared.forward(x, &classes), 2.0 / 3.0, [0.0, 0.0, 0.0, -2.0 / 3.0, 2.0 / 3.0, 0.0])?;
    let one = multi().forward(&x.select(0, 1)?, &Tensor::new(0i64)?)?.item()?;
    assert!((one - 2.75 / 3.0).abs() < 1e-12, "{one}");
    assert!(multi().p(3.0).forward(&x, &classes).is_err());
    assert!(multi().forward(&x, &Tensor::new([3i64, 0])?).is_err());
    assert!(multi().forward(&x, &Tensor::new([-1i64, 0])?).is_err());
    Ok(())
}

#[test]
fn misfits_are_errors() -> Result<()> {
    let (x, s) = (x()?, signs()?);
    let wrong = Tensor::new([[1f64, 2.0]])?;
    assert!(MultiLabelSoftMarginLoss::new().forward(&x, &wrong).is_err());
    assert!(MultiLabelSoftMarginLoss::new().weight(Tensor::new([1f64])?).forward(&x, &s).is_err());
    assert!(TripletMarginLoss::new().forward(&x, &s, &wrong).is_err());
    assert!(TripletMarginLoss::new().p(0.0).forward(&x, &s, &s).is_err());
    assert!(CosineEmbeddingLoss::new().forward(&x, &s, &x).is_err());
    let whole = Tensor::new([1i64])?;
    assert!(
        SoftMarginLoss::new().forward(&whole, &whole).is_err() && KLDivLoss::new().forward(&whole, &whole).is_err()
    );
    let scalar = Tensor::new(1f64)?;
    assert!(CosineEmbeddingLoss::new().forward(&scalar, &scalar, &scalar).is_err());
    assert!(TripletMarginLoss::new().forward(&scalar, &scalar, &scalar).is_err());
    Ok(())
}

#[test]
fn gradients_hold() -> Result<()> {
    let (x, t, s) = (x()?, t()?.add_scalar(0.1)?, signs()?);
    gradcheck(|x| KLDivLoss::new().forward(&x[0], &x[1]), &[x.clone(), t.clone()])?;
    gradcheck(|x| PoissonNLLLoss::new().full(true).forward(&x[0], &x[1]), &[x.clone(), t.mul_scalar(3.0)?])?;
    let v = var()?.add_scalar(0.3)?;
    gradcheck(|x| GaussianNLLLoss::new().forward(&x[0], &x[1], &x[2]), &[x.clone(), t.clone(), v])?;
    gradcheck(|x| TripletMarginLoss::new().forward(&x[0], &x[1], &x[2]), &[x.clone(), t.clone(), s])?;
    let labels = Tensor::new([1f64, -1.0])?;
    gradcheck(|x| CosineEmbeddingLoss::new().forward(&x[0], &x[1], &labels), &[x, t])?;
    Ok(())
}
