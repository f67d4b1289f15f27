//! Optimizers, step by step.

use benches::{Arguments, optimizer};
use gabor::Parameter;

use crate::compare::{self, Tolerance};
use crate::format::{Case, Suite};

/// The parameter after each step, with the gradients of the file.
pub(crate) fn optimizers(suite: &Suite, case: &Case) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let parameter = Parameter::new(suite.tensor(case.text("start")?)?).map_err(|e| text(&e))?;
    let options = Arguments::new(case.object("options")?);
    let mut optimizer = optimizer(case.text("optimizer")?, &options, vec![parameter.clone()]).map_err(|e| text(&e))?;
    let (grads, wanted) = (case.keys("grads"), case.keys("params"));
    if grads.is_empty() || grads.len() != wanted.len() {
        return Err(format!("{} gradients and {} results", grads.len(), wanted.len()));
    }
    for (step, (grad, wanted)) in grads.into_iter().zip(wanted).enumerate() {
        let grad = suite.tensor(grad.ok_or("a gradient without a key")?)?;
        parameter.set_grad(&grad).and_then(|()| optimizer.step()).map_err(|e| text(&e))?;
        let wanted = suite.tensor(wanted.ok_or("a result without a key")?)?;
        let what = format!("parameter after step {}", step + 1);
        compare::tensors(&what, &parameter.tensor(), &wanted, Tolerance::of(wanted.dtype(), 1))?;
    }
    Ok(())
}
