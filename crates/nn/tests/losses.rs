//! The losses against their formulas, their corners, their derivatives, and what they refuse.

use gabor_nn::functional::{corr2d, cross_entropy, mse_loss};
use gabor_nn::{
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, Module, NLLLoss, Reduction, SmoothL1Loss,
};
use tensor::{DType, Error, Generator, Result, Tensor, gradcheck, gradgradcheck};

const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

fn uniform(low: f64, high: f64, shape: &[usize], seed: u64) -> Result<Tensor> {
    Generator::new(seed).uniform(low, high, shape, DType::F64)
}

/// First and second derivatives with respect to the input and, if it is one, a floating target.
fn check(f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>, input: &Tensor, target: &Tensor) -> Result<()> {
    let both = [input.clone(), target.clone()];
    gradcheck(|xs| f(&xs[0], &xs[1]), &both)?;
    gradgradcheck(|xs| f(&xs[0], &xs[1]), &both)
}

fn close(a: &Tensor, b: &Tensor) -> Result<()> {
    assert_eq!(a.shape(), b.shape());
    for (a, b) in a.to_vec::<f64>()?.into_iter().zip(b.to_vec::<f64>()?) {
        assert!((a - b).abs() < 1e-12 || a.is_nan() && b.is_nan(), "{a} and {b}");
    }
    Ok(())
}

#[test]
fn distances_have_the_right_derivatives() -> Result<()> {
    let (x, y) = (uniform(-3.0, 3.0, &[3, 4], 1)?, uniform(-3.0, 3.0, &[4], 2)?);
    for reduction in REDUCTIONS {
        check(|x, y| MSELoss::new().reduction(reduction).forward(x, y), &x, &y)?;
        check(|x, y| L1Loss::new().reduction(reduction).forward(x, y), &x, &y)?;
        check(|x, y| SmoothL1Loss::new().beta(1.5).reduction(reduction).forward(x, y), &x, &y)?;
        check(|x, y| SmoothL1Loss::new().beta(0.0).reduction(reduction).forward(x, y), &x, &y)?;
        check(|x, y| HuberLoss::new().delta(0.7).reduction(reduction).forward(x, y), &x, &y)?;
    }
    Ok(())
}

#[test]
fn binary_losses_have_the_right_derivatives() -> Result<()> {
    let (p, y) = (uniform(0.1, 0.9, &[3, 4], 1)?, uniform(0.0, 1.0, &[3, 4], 2)?);
    let (logits, w) = (uniform(-4.0, 4.0, &[3, 4], 3)?, uniform(0.5, 2.0, &[4], 4)?);
    for reduction in REDUCTIONS {
        check(|p, y| BCELoss::new().weight(w.clone()).reduction(reduction).forward(p, y), &p, &y)?;
        let loss = BCEWithLogitsLoss::new().weight(w.clone()).pos_weight(w.clone()).reduction(reduction);
        check(|x, y| loss.forward(x, y), &logits, &y)?;
        let plain = BCEWithLogitsLoss::new().reduction(reduction).forward(&logits, &y)?;
        close(&plain, &BCELoss::new().reduction(reduction).forward(&logits.sigmoid()?, &y)?)?;
    }
    // At the ends the logarithm is held and the slope stays finite.
    let x = Tensor::new([0f64, 1.0])?.requires_grad_()?;
    let loss = BCELoss::new().reduction(Reduction::Sum).forward(&x, &Tensor::new([1f64, 0.0])?)?;
    assert_eq!(loss.item()?, 200.0);
    loss.backward()?;
    assert!(x.grad().map(|g| g.to_vec::<f64>()).transpose()?.is_some_and(|g| g.iter().all(|g| g.is_finite())));
    let extreme = Tensor::new([-800f32, 800.0])?;
    assert_eq!(BCEWithLogitsLoss::new().forward(&extreme, &Tensor::new([0f32, 1.0])?)?.item()?, 0.0);
    Ok(())
}

#[test]
fn class_losses_have_the_right_derivatives() -> Result<()> {
    let w = uniform(0.5, 2.0, &[3], 9)?;
    for (shape, target) in [(&[4, 3][..], &[4][..]), (&[2, 3, 2, 2], &[2, 2, 2]), (&[3], &[])] {
        let x = uniform(-2.0, 2.0, shape, 5)?;
        let classes = Generator::new(6).randint(0, 3, target)?;
        let probabilities = uniform(-1.0, 1.0, shape, 7)?.softmax(if shape.len() > 1 { 1 } else { 0 })?;
        for reduction in REDUCTIONS {
            for smoothing in [0.0, 0.3] {
                let plain = CrossEntropyLoss::new().reduction(reduction).label_smoothing(smoothing);
                let weighted = plain.clone().weight(w.clone());
                let ignoring = weighted.clone().ignore_index(1);
                for loss in [plain, weighted] {
                    check(|x, t| loss.forward(x, t), &x, &classes)?;
                    check(|x, t| loss.forward(x, t), &x, &probabilities)?;
                }
                check(|x, t| ignoring.forward(x, t), &x, &classes.zeros_like()?)?;
                if target.len() == 1 {
                    check(|x, t| ignoring.forward(x, t), &x, &Tensor::new([0i64, 1, 2, 1])?)?;
                }
            }
            let nll = NLLLoss::new().weight(w.clone()).reduction(reduction);
            let axis = if shape.len() > 1 { 1 } else { 0 };
            close(
                &nll.forward(&x.log_softmax(axis)?, &classes)?,
                &CrossEntropyLoss::new().weight(w.clone()).reduction(reduction).forward(&x, &classes)?,
            )?;
        }
    }
    Ok(())
}

#[test]
fn classes_are_probabilities_of_one() -> Result<()> {
    let (x, classes) = (uniform(-2.0, 2.0, &[5, 4], 1)?, Tensor::new([0i64, 3, 1, 2, 2])?);
    let one_hot = classes.one_hot(4)?.to_dtype(DType::F64)?;
    for reduction in REDUCTIONS {
        for smoothing in [0.0, 0.2] {
            let loss = CrossEntropyLoss::new().reduction(reduction).label_smoothing(smoothing);
            close(&loss.forward(&x, &classes)?, &loss.forward(&x, &one_hot)?)?;
        }
    }
    let bytes = classes.to_dtype(DType::U8)?;
    close(&cross_entropy(&x, &bytes)?, &cross_entropy(&x, &classes)?)
}

#[test]
fn ignored_targets_do_not_count() -> Result<()> {
    let x = Tensor::new([[0f64, f64::INFINITY], [0.0, 0.0], [1.0, 2.0]])?;
    let targets = Tensor::new([-100i64, 1, -100])?;
    assert!((cross_entropy(&x, &targets)?.item()? - 2f64.ln()).abs() < 1e-12, "even a NaN does not count there");
    let none = CrossEntropyLoss::new().reduction(Reduction::None).label_smoothing(0.1).forward(&x, &targets)?;
    let none = none.to_vec::<f64>()?;
    assert_eq!((none[0], none[2]), (0.0, 0.0));
    let all = Tensor::new([-100i64, -100, -100])?;
    assert!(cross_entropy(&x, &all)?.item()?.is_nan(), "PyTorch's mean of nothing");
    assert_eq!(CrossEntropyLoss::new().reduction(Reduction::Sum).forward(&x, &all)?.item()?, 0.0);
    Ok(())
}

#[test]
fn wrong_arguments_are_named() -> Result<()> {
    let x = Tensor::zeros([2, 10])?;
    let text = |result: Result<Tensor>| result.err().map_or_else(|| "accepted".to_owned(), |e: Error| e.to_string());
    let cases = [
        (
            cross_entropy(&x, &Tensor::new([1i64, 2, 3])?),
            "cross_entropy: logits are [2, 10] (2 samples) but there are 3 targets; take both from one batch",
        ),
        (
            cross_entropy(&x, &Tensor::new([1i64, 10])?),
            "cross_entropy: target 10 at position 1 is not one of 10 classes (0 to 9); do the labels start at 1?",
        ),
        (
            cross_entropy(&x, &Tensor::new([-1i64, 1])?),
            "cross_entropy: target -1 at position 0 is not one of 10 classes (0 to 9); to leave samples out, set ignore_index",
        ),
        (
            cross_entropy(&x, &Tensor::new([1f32, 2.0])?),
            "cross_entropy: targets are f32 of shape [2], expected classes of type i64 or u8; convert with to_dtype(DType::I64), or give probabilities of shape [2, 10]",
        ),
        (
            cross_entropy(&x, &Tensor::full([2, 10], 1i64)?),
            "cross_entropy: targets have the shape of the logits [2, 10], so they are read as probabilities, but they are i64; \
             convert one-hot rows with to_dtype, or give classes without the dimension of the classes",
        ),
        (
            CrossEntropyLoss::new().weight(Tensor::ones([2])?).forward(&x, &Tensor::new([1i64, 2])?),
            "cross_entropy: weight has shape [2]; expected [10], one for each class",
        ),
        (
            CrossEntropyLoss::new().ignore_index(0).forward(&x, &x),
            "cross_entropy: ignore_index is 0 and the targets are probabilities; it needs classes",
        ),
        (
            CrossEntropyLoss::new().label_smoothing(1.5).forward(&x, &x),
            "cross_entropy: label_smoothing is 1.5; it must be from 0 to 1",
        ),
        (
            cross_entropy(&Tensor::zeros([2, 3, 5])?, &Tensor::full([2, 4], 1i64)?),
            "cross_entropy: targets have shape [2, 4] and logits [2, 3, 5]; expected [2, 5], or that of the logits for probabilities",
        ),
        (
            cross_entropy(&Tensor::zeros(())?, &Tensor::new(1i64)?),
            "cross_entropy: logits are a scalar; expected [C] or [N, C, ...]",
        ),
        (
            mse_loss(&x, &Tensor::zeros([3])?),
            "mse_loss: shapes [2, 10] and [3] do not broadcast, dimension 1 is 10 and 3",
        ),
        (HuberLoss::new().delta(-1.0).forward(&x, &x), "huber_loss: delta is -1; it must be above 0"),
        (SmoothL1Loss::new().beta(f64::NAN).forward(&x, &x), "smooth_l1_loss: beta is NaN; it must be at least 0"),
        (
            BCELoss::new().forward(&Tensor::new([1.5f32])?, &Tensor::new([1f32])?),
            "binary_cross_entropy: an input is not from 0 to 1; use binary_cross_entropy_with_logits for logits",
        ),
        (
            BCEWithLogitsLoss::new().forward(&x, &Tensor::zeros([2])?),
            "binary_cross_entropy_with_logits: input has shape [2, 10] and target [2]; they must be equal",
        ),
        (
            corr2d(&x, &Tensor::zeros([1, 2, 2])?),
            "corr2d: image [2, 10] and kernel [1, 2, 2] do not fit; expected [H, W] with [h, w], or [C, H, W] with [C, h, w] or [O, C, h, w]",
        ),
    ];
    for (result, expected) in cases {
        assert_eq!(text(result), expected);
    }
    Ok(())
}

#[test]
fn weights_are_buffers() -> Result<()> {
    let loss = CrossEntropyLoss::new().weight(Tensor::ones([3])?);
    assert_eq!(loss.state_dict()[0].0, "weight");
    loss.to_dtype(DType::F64)?;
    assert_eq!(loss.state_dict()[0].1.dtype(), DType::F64);
    Ok(())
}

#[test]
fn cross_correlation_takes_the_tutorials_shapes() -> Result<()> {
    let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([3, 3])?;
    let k = Tensor::arange(0f32, 4.0, 1.0)?.reshape([2, 2])?;
    let image = Tensor::stack(&[&x, &x.add_scalar(1.0)?], 0)?;
    let kernel = Tensor::stack(&[&k, &k.add_scalar(1.0)?], 0)?;
    assert_eq!(corr2d(&image, &kernel)?.to_vec::<f32>()?, [56.0, 72.0, 104.0, 120.0]);
    let kernels = Tensor::stack(&[&kernel, &kernel.add_scalar(1.0)?, &kernel.add_scalar(2.0)?], 0)?;
    let planes = corr2d(&image, &kernels)?;
    assert_eq!(planes.shape(), &[3, 2, 2]);
    assert_eq!(planes.to_vec::<f32>()?[4..], [76.0, 100.0, 148.0, 172.0, 96.0, 128.0, 192.0, 224.0]);
    Ok(())
}
