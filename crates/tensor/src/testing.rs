//! The registry of operators: samples from which tests, gradient checks and benches are made.

use std::fmt;
use std::sync::Arc;

use crate::dtype::DType;
use crate::error::Result;
use crate::random::Generator;
use crate::tape::Tensor;

/// One operator: its name and what to try it on. Each operator's file lists its own.
#[derive(Debug, Clone, Copy)]
pub struct OpSpec {
    /// The name of the method, as errors show it.
    pub name: &'static str,
    /// Calls that together reach every branch: odd, strided, dilated, grouped, tied, empty.
    pub samples: fn() -> Vec<Sample>,
}

/// Every operator of the crate.
pub fn all() -> impl Iterator<Item = &'static OpSpec> {
    crate::ops::ALL.iter().copied().flatten()
}

/// The types of the rules that backward passes of this process have run, with their paths.
pub fn rules_run() -> Vec<&'static str> {
    crate::tape::lock(&crate::tape::RULES_RUN).iter().copied().collect()
}

type Call = Arc<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

/// One call of an operator. Floating inputs are f64.
#[derive(Clone)]
pub struct Sample {
    /// What is special about it.
    pub label: &'static str,
    /// The arguments that are tensors.
    pub inputs: Vec<Tensor>,
    /// The call.
    pub run: Call,
    /// The same result computed in the plainest way, where the call is not plain already.
    pub oracle: Option<Call>,
    /// How often the call can be differentiated and checked numerically here: 0, 1 or 2.
    pub order: u8,
}

impl Sample {
    /// A call that is checked to the second order.
    pub fn new(
        label: &'static str,
        inputs: Vec<Tensor>,
        run: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        Sample { label, inputs, run: Arc::new(run), oracle: None, order: 2 }
    }

    /// Adds the plain computation that the result must equal.
    #[must_use]
    pub fn oracle(mut self, oracle: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static) -> Self {
        self.oracle = Some(Arc::new(oracle));
        self
    }

    /// Sets how often the call is differentiated: 0 for kinks, ties and results without gradients.
    #[must_use]
    pub fn order(mut self, order: u8) -> Self {
        self.order = order;
        self
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.label, self.inputs)
    }
}

/// Numbers for a sample: from -2 to 2, all different, none near 0, in random order.
pub fn numbers(shape: impl Into<crate::Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let n = shape.numel();
    let order = Generator::new(seed).randperm(n).and_then(|p| p.to_vec::<i64>()).expect("a small permutation");
    let spread: Vec<f64> = order
        .iter()
        .map(|&i| {
            let v = (i as f64 + 0.5) / n as f64 * 4.0 - 2.0;
            if v < 0.0 { v - 0.05 } else { v + 0.05 }
        })
        .collect();
    Tensor::from_slice(&spread, shape).expect("as many numbers as the shape holds")
}

/// As [`numbers`], between 0.1 and 2.1.
pub fn positive(shape: impl Into<crate::Shape>, seed: u64) -> Tensor {
    numbers(shape, seed).abs().and_then(|x| x.add_scalar(0.05)).expect("small numbers")
}

/// Indices below `bound`, of type i64.
pub fn indices(shape: impl Into<crate::Shape>, bound: i64, seed: u64) -> Tensor {
    Generator::new(seed).randint(0, bound, shape).expect("a bound above 0")
}

/// `f` of each element of an f64 tensor: the plainest oracle.
pub fn map(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    Tensor::from_vec(x.to_vec::<f64>()?.into_iter().map(f).collect(), x.shape())
}

/// `f` of each pair of elements of two tensors, broadcast, as f64.
pub fn zip(a: &Tensor, b: &Tensor, f: impl Fn(f64, f64) -> f64) -> Result<Tensor> {
    let shape = crate::shape::broadcast("zip", a.shape(), b.shape())?;
    let wide = |x: &Tensor| x.detach().to_dtype(DType::F64)?.expand(&shape)?.to_vec::<f64>();
    Tensor::from_vec(wide(a)?.into_iter().zip(wide(b)?).map(|(a, b)| f(a, b)).collect(), shape)
}

/// The same elements in another arrangement in memory: transposed, with gaps, behind an offset.
pub fn rearranged(x: &Tensor) -> Result<Tensor> {
    let order: Vec<isize> = (0..x.rank() as isize).rev().collect();
    let turned = x.detach().permute(order.clone())?.contiguous()?;
    // Double the innermost axis with a copy in between, then take every second position from 1 on.
    let gaps = match x.rank() {
        0 => return Tensor::stack(&[&x.detach(), &x.detach()], 0)?.select(0, 1),
        _ => Tensor::stack(&[&turned, &turned], -1)?.flatten(-2, -1)?.slice(-1, 1, None, 2)?,
    };
    gaps.permute(order)
}

/// Whether both have the same shape and, element by element, `|a - b| <= atol + rtol * |b|`; NaN equals NaN.
pub fn close(a: &Tensor, b: &Tensor, rtol: f64, atol: f64) -> Result<bool> {
    if a.shape() != b.shape() {
        return Ok(false);
    }
    let (a, b) = (a.detach().to_dtype(DType::F64)?.to_vec::<f64>()?, b.detach().to_dtype(DType::F64)?.to_vec::<f64>()?);
    Ok(a.iter().zip(&b).all(|(&a, &b)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= atol + rtol * b.abs()))
}
