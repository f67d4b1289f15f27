//! Operators in user code: a forward, a backward, and the tape does the rest.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::tape::{Cx, Grads, Rule, Tensor, no_grad, record};
use crate::value::Value;

/// An operator of your own, as `torch.autograd.Function`.
///
/// ```
/// use gabor_tensor::{Function, Result, Tensor, apply, gradcheck};
/// #[derive(Debug)]
/// struct Cube;
/// impl Function for Cube {
///     fn name(&self) -> &'static str {
///         "cube"
///     }
///     fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
///         inputs[0].mul(&inputs[0])?.mul(&inputs[0])
///     }
///     fn backward(&self, inputs: &[Tensor], _output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
///         Ok(vec![Some(inputs[0].square()?.mul_scalar(3.0)?.mul(grad)?)])
///     }
/// }
/// gradcheck(|x| apply(Cube, &[&x[0]]), &[Tensor::new([1f64, -2.0])?])?;
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub trait Function: std::fmt::Debug + Send + Sync {
    /// The name that errors show.
    fn name(&self) -> &'static str;

    /// The result. Runs without recording.
    ///
    /// # Errors
    /// Whatever the operator cannot work with.
    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor>;

    /// The gradient of each input, given the inputs, the result and the gradient of the result; `None` stands for zero.
    /// Written in tensor operators it can be differentiated again.
    ///
    /// # Errors
    /// Whatever the computation refuses.
    fn backward(&self, inputs: &[Tensor], output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

/// Runs an operator of your own and records it.
///
/// # Errors
/// What its `forward` returns.
#[track_caller]
pub fn apply(function: impl Function + 'static, inputs: &[&Tensor]) -> Result<Tensor> {
    let detached: Vec<Tensor> = inputs.iter().map(|t| t.detach()).collect();
    let output = no_grad(|| function.forward(&detached))?.value;
    record(output.clone(), inputs, || Applied {
        function: Arc::new(function),
        inputs: inputs.iter().map(|&t| t.clone()).collect(),
        output,
    })
}

#[derive(Debug)]
struct Applied {
    function: Arc<dyn Function>,
    inputs: Vec<Tensor>,
    output: Value,
}
impl Rule for Applied {
    fn name(&self) -> String {
        self.function.name().to_owned()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let grads = self.function.backward(&self.inputs, &cx.output(&self.output), g)?;
        if grads.len() != self.inputs.len() {
            let message =
                format!("{} returned {} gradients for {} inputs", self.function.name(), grads.len(), self.inputs.len());
            return Err(Error::Autograd { op: "backward", message });
        }
        Ok(grads.into_iter().collect())
    }
}
