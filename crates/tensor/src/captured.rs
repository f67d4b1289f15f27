//! Captured steps: a step of a training loop that is recorded once and then repeated without its overhead.

use std::fmt;

use crate::dtype::DType;
use crate::error::Result;
use crate::program::{self, Program};
use crate::shape::Shape;
use crate::tape::{Tensor, grad_enabled, is_anomaly_enabled};

/// Runs `f` without recording it into a [`CapturedStep`]: for checks that may be left out when the step repeats.
///
/// ```
/// use gabor_tensor::{CapturedStep, Tensor, unrecorded};
/// let mut step = CapturedStep::new(|x: &[Tensor]| {
///     assert!(unrecorded(|| x[0].min()?.item())? >= 0.0);
///     x[0].sqrt()
/// });
/// assert_eq!(step.run(&[&Tensor::new(4f32)?])?.item()?, 2.0);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub fn unrecorded<R>(f: impl FnOnce() -> R) -> R {
    program::quietly(f)
}

/// A function of tensors that is recorded when it runs first. Later runs repeat its kernels alone, in memory that stays: no
/// checks, no graph. Every bit is the same as without.
///
/// The function may use parameters, whose value is that of each run, and call [`backward`](Tensor::backward), which adds to the
/// stored gradients each time; other tensors that it uses stay what they were. `zero_grad` and the step of the optimizer
/// belong outside, between two runs. What else the function does happens only when it is recorded: hooks of layers,
/// `println!`, branches, the mode of layers. It works on one thread.
///
/// The function runs as it is for inputs of other shapes or dtypes, such as a last small batch, where recording for gradients
/// is switched otherwise ([`no_grad`](crate::no_grad)), and in anomaly mode.
///
/// ```
/// use gabor_tensor::{CapturedStep, Parameter, Tensor};
/// let w = Parameter::new(Tensor::new([1f32, 2.0])?)?;
/// let mut step = CapturedStep::new(|x: &[Tensor]| {
///     let loss = x[0].mul(&w.tensor())?.square()?.sum()?;
///     loss.backward()?;
///     Ok(loss)
/// });
/// let x = Tensor::ones([2])?;
/// for expected in [5.0, 0.2] {
///     w.zero_grad();
///     assert!((step.run(&[&x])?.item()? - expected).abs() < 1e-6);
///     w.update(|w, grad| w - grad * 0.4)?;
/// }
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub struct CapturedStep<F> {
    step: F,
    recorded: Option<Recorded>,
}

struct Recorded {
    program: Program,
    inputs: Vec<(Shape, DType)>,
    /// Whether gradients were recorded.
    grad: bool,
}

impl<F: Fn(&[Tensor]) -> Result<Tensor>> CapturedStep<F> {
    /// The step `step`, which has not run.
    pub fn new(step: F) -> Self {
        CapturedStep { step, recorded: None }
    }

    /// Runs the step: records it the first time, repeats it after that. The result has no place in the graph.
    ///
    /// # Errors
    /// Those of the step; or it does something that cannot be repeated, such as drawing random numbers or looking at elements.
    #[track_caller]
    pub fn run(&mut self, inputs: &[&Tensor]) -> Result<Tensor> {
        let anomalies = is_anomaly_enabled();
        match &mut self.recorded {
            Some(recorded) if !anomalies && recorded.fits(inputs) => {
                recorded.program.run(inputs.iter().map(|x| x.value.clone())).map(Tensor::plain)
            }
            None if !anomalies => self.record(inputs),
            _ => {
                let inputs: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
                Ok((self.step)(&inputs)?.detach())
            }
        }
    }

    #[track_caller]
    fn record(&mut self, inputs: &[&Tensor]) -> Result<Tensor> {
        let values: Vec<_> = inputs.iter().map(|x| x.value.clone()).collect();
        let (y, program) = program::record(&values, |copies| {
            let inputs: Vec<Tensor> = copies.into_iter().map(Tensor::plain).collect();
            Ok((self.step)(&inputs)?.value)
        })?;
        let inputs = inputs.iter().map(|x| (x.shape().clone(), x.dtype())).collect();
        self.recorded = Some(Recorded { program, inputs, grad: grad_enabled() });
        Ok(Tensor::plain(y))
    }
}

impl Recorded {
    fn fits(&self, inputs: &[&Tensor]) -> bool {
        let same = |(x, (shape, dtype)): (&&Tensor, &(Shape, DType))| x.shape() == shape && x.dtype() == *dtype;
        self.grad == grad_enabled() && inputs.len() == self.inputs.len() && inputs.iter().zip(&self.inputs).all(same)
    }
}

impl<F> fmt::Debug for CapturedStep<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.recorded.is_some() { "recorded" } else { "new" };
        write!(f, "CapturedStep({state})")
    }
}
