//! Losses of yes and no, given probabilities or logits.

use tensor::{Error, Function, Result, State, Tensor, apply};

use super::Reduction;
use crate::Module;

/// The mean of `-(target * log(input) + (1 - target) * log(1 - input))`; logarithms are held above -100.
///
/// # Errors
/// As [`BCELoss::forward`].
#[track_caller]
pub fn binary_cross_entropy(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    BCELoss::new().forward(input, target)
}

/// The mean of [`binary_cross_entropy`] of `sigmoid(input)`, computed without overflow.
///
/// ```
/// use gabor_nn::functional::binary_cross_entropy_with_logits;
/// use tensor::Tensor;
/// let loss = binary_cross_entropy_with_logits(&Tensor::new([-1000f32])?, &Tensor::new([1f32])?)?;
/// assert_eq!(loss.item()?, 1000.0);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// As [`BCEWithLogitsLoss::forward`].
#[track_caller]
pub fn binary_cross_entropy_with_logits(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    BCEWithLogitsLoss::new().forward(input, target)
}

/// `-weight * (target * log(input) + (1 - target) * log(1 - input))`; logarithms are held above -100.
/// PyTorch: `torch.nn.BCELoss`.
///
/// ```
/// use gabor_nn::BCELoss;
/// use tensor::Tensor;
/// let loss = BCELoss::new().forward(&Tensor::new([0.5f32, 0.0])?, &Tensor::new([1f32, 0.0])?)?;
/// assert!((loss.item()? - 2f64.ln() / 2.0).abs() < 1e-6);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default, Module)]
pub struct BCELoss {
    weight: Option<State>,
    #[module(skip)]
    reduction: Reduction,
}

impl BCELoss {
    /// Without weights, with the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets weights that broadcast to the input.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.weight = Some(State::new(weight));
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss; input and target have the same shape.
    ///
    /// # Errors
    /// The shapes or dtypes differ, or an input is not from 0 to 1.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let op = "binary_cross_entropy";
        same_shape(op, input, target)?;
        let plain = input.detach();
        let outside = plain.ge_scalar(0.0)?.logical_and(&plain.le_scalar(1.0)?)?.logical_not()?;
        if outside.to_vec::<bool>()?.contains(&true) {
            let message = "an input is not from 0 to 1; use binary_cross_entropy_with_logits for logits";
            return Err(Error::argument(op, message));
        }
        weighted(&apply(Entropy, &[input, target])?, self.weight.as_ref(), self.reduction)
    }
}

/// [`BCELoss`] of `sigmoid(input)`, computed without overflow. PyTorch: `torch.nn.BCEWithLogitsLoss`.
#[derive(Clone, Debug, Default, Module)]
pub struct BCEWithLogitsLoss {
    weight: Option<State>,
    #[module(skip)]
    reduction: Reduction,
    pos_weight: Option<State>,
}

impl BCEWithLogitsLoss {
    /// Without weights, with the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets weights that broadcast to the input.
    #[must_use]
    pub fn weight(mut self, weight: Tensor) -> Self {
        self.weight = Some(State::new(weight));
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Sets weights of the positive part, `target * log(sigmoid(input))`, that broadcast to the input.
    #[must_use]
    pub fn pos_weight(mut self, weight: Tensor) -> Self {
        self.pos_weight = Some(State::new(weight));
        self
    }

    /// The loss; input and target have the same shape.
    ///
    /// # Errors
    /// The shapes or dtypes differ, or a weight does not broadcast.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        same_shape("binary_cross_entropy_with_logits", input, target)?;
        // -log(sigmoid(x)). Above 50 it is straight to the last bit.
        let unlikely = input.neg()?.softplus(1.0, 50.0)?;
        let positive = match &self.pos_weight {
            None => unlikely,
            Some(weight) => weight.tensor().sub_scalar(1.0)?.mul(target)?.add_scalar(1.0)?.mul(&unlikely)?,
        };
        let losses = target.neg()?.add_scalar(1.0)?.mul(input)?.add(&positive)?;
        weighted(&losses, self.weight.as_ref(), self.reduction)
    }
}

fn same_shape(op: &'static str, input: &Tensor, target: &Tensor) -> Result<()> {
    if input.shape() != target.shape() {
        let message =
            format!("input has shape {:?} and target {:?}; they must be equal", input.shape(), target.shape());
        return Err(Error::shape(op, message));
    }
    if input.dtype() != target.dtype() {
        return Err(Error::DTypes { op, lhs: input.dtype(), rhs: target.dtype() });
    }
    Ok(())
}

#[track_caller]
fn weighted(losses: &Tensor, weight: Option<&State>, reduction: Reduction) -> Result<Tensor> {
    match weight {
        Some(weight) => reduction.of(&losses.mul(&weight.tensor())?),
        None => reduction.of(losses),
    }
}

/// The losses of single elements. The slope stays finite at 0 and 1, where the logarithms are held.
#[derive(Debug)]
struct Entropy;

impl Function for Entropy {
    fn name(&self) -> &'static str {
        "binary_cross_entropy"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let (x, y) = (&inputs[0], &inputs[1]);
        let (yes, no) = (held_log(x)?, held_log(&x.neg()?.add_scalar(1.0)?)?);
        // (y - 1) log(1 - x) - y log(x)
        y.sub_scalar(1.0)?.mul(&no)?.sub(&y.mul(&yes)?)
    }

    fn backward(&self, inputs: &[Tensor], _output: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, y) = (&inputs[0], &inputs[1]);
        let rest = x.neg()?.add_scalar(1.0)?;
        let slope = x.sub(y)?.div(&x.mul(&rest)?.clamp(Some(1e-12), None)?)?;
        let target = if y.requires_grad() { Some(held_log(&rest)?.sub(&held_log(x)?)?.mul(g)?) } else { None };
        Ok(vec![Some(slope.mul(g)?), target])
    }
}

#[track_caller]
fn held_log(x: &Tensor) -> Result<Tensor> {
    x.log()?.clamp(Some(-100.0), None)
}
