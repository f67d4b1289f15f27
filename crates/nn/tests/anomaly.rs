//! Anomaly mode through layers and losses: which line and which layer a NaN is blamed on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gabor_nn::{CrossEntropyLoss, Forward, Linear, Module, NLLLoss, ReLU, Reduction, Sigmoid, seq};
use tensor::{Error, Result, Tensor, detect_anomaly, detect_anomaly_guard};

/// The mode is one for the process, so these tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nan(shape: [usize; 2]) -> Tensor {
    Tensor::full(shape, f32::NAN).unwrap()
}

fn blamed(error: &Error, line: u32) {
    let text = error.to_string();
    assert!(text.ends_with(&format!("called at {}:{line}", file!())), "line {line}: {text}");
}

/// A layer of a user, with a line of its own.
#[derive(Module)]
struct Root;
impl Forward for Root {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.sqrt()
    }
}
const ROOT: u32 = line!() - 3;

#[test]
fn a_layer_is_blamed_on_the_line_that_called_it() -> Result<()> {
    let _turn = turn();
    let layer = Linear::new(3, 2).build()?;
    blamed(&detect_anomaly(|| layer.forward(&nan([1, 3]))).unwrap_err(), line!());
    let net = seq![Linear::new(3, 3), seq![ReLU, Sigmoid]?]?;
    blamed(&detect_anomaly(|| net.forward(&nan([1, 3]))).unwrap_err(), line!());
    blamed(&detect_anomaly(|| net.call(&nan([1, 3]))).unwrap_err(), line!());
    let boxed: Box<dyn Forward> = Box::new(ReLU);
    blamed(&detect_anomaly(|| boxed.forward(&nan([1, 3]))).unwrap_err(), line!());
    Ok(())
}

#[test]
fn a_users_layer_inside_of_a_container_is_blamed_on_its_own_line() -> Result<()> {
    let _turn = turn();
    let net = seq![ReLU, seq![Root, ReLU]?]?;
    let x = Tensor::new([[-1f32, 4.0]])?.neg()?.neg()?;
    let net_of_negatives = seq![Root]?;
    let error = detect_anomaly(|| net_of_negatives.forward(&x)).unwrap_err();
    blamed(&error, ROOT);
    assert!(
        error.to_string().starts_with("sqrt `0`: the result is NaN at [0, 0] of [1, 2], where input 0 is -1"),
        "{error}"
    );
    detect_anomaly(|| net.forward(&x))?;
    Ok(())
}

#[test]
fn losses_are_blamed_on_the_line_that_called_them() -> Result<()> {
    let _turn = turn();
    let target = Tensor::new([0i64])?;
    let error = detect_anomaly(|| CrossEntropyLoss::new().forward(&nan([1, 3]), &target)).unwrap_err();
    blamed(&error, line!() - 1);
    Ok(())
}

#[test]
fn a_mean_over_nothing_says_why() -> Result<()> {
    let _turn = turn();
    let loss = CrossEntropyLoss::new();
    let (logits, ignored) = (Tensor::zeros([64, 10])?, Tensor::full([64], -100i64)?);
    assert!(loss.forward(&logits, &ignored)?.item()?.is_nan(), "as in PyTorch, unless the mode is on");
    let _guard = detect_anomaly_guard();
    let text = |result: Result<Tensor>| result.unwrap_err().to_string();
    assert_eq!(
        text(loss.forward(&logits, &ignored)),
        "cross_entropy: all 64 targets equal ignore_index -100, so the mean is 0 / 0; skip such batches or check the labels"
    );
    assert_eq!(
        text(NLLLoss::new().forward(&Tensor::zeros([0, 10])?, &Tensor::zeros([0])?.to_dtype(tensor::DType::I64)?)),
        "nll_loss: there are no targets, so the mean is 0 / 0; skip empty batches"
    );
    assert_eq!(CrossEntropyLoss::new().reduction(Reduction::Sum).forward(&logits, &ignored)?.item()?, 0.0);
    Ok(())
}
