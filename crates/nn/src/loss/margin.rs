//! Losses that ask for a distance from the wrong side, and losses of several labels.

use tensor::{Error, Result, State, Tensor};

use super::Reduction;
use super::nll::{Picked, check_weight, class_axis};
use crate::Module;

/// All must be floating point and of one dtype.
pub(super) fn checked(op: &'static str, tensors: &[&Tensor]) -> Result<()> {
    let dtype = tensors[0].dtype();
    if !dtype.is_float() {
        return Err(Error::DType { op, dtype, expected: "f32 or f64" });
    }
    match tensors.iter().find(|tensor| tensor.dtype() != dtype) {
        Some(other) => Err(Error::DTypes { op, lhs: dtype, rhs: other.dtype() }),
        None => Ok(()),
    }
}

/// The mean of `log(1 + exp(-target * input))`.
///
/// # Errors
/// As [`SoftMarginLoss::forward`].
#[track_caller]
pub fn soft_margin_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    SoftMarginLoss::new().forward(input, target)
}

/// `log(1 + exp(-target * input))` with targets of 1 and -1. PyTorch: `torch.nn.SoftMarginLoss`.
///
/// ```
/// use gabor_nn::SoftMarginLoss;
/// use tensor::Tensor;
/// let loss = SoftMarginLoss::new().forward(&Tensor::new([-1000f32])?, &Tensor::new([1f32])?)?;
/// assert_eq!(loss.item()?, 1000.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct SoftMarginLoss {
    #[module(skip)]
    reduction: Reduction,
}

impl Default for SoftMarginLoss {
    fn default() -> Self {
        SoftMarginLoss { reduction: Reduction::Mean }
    }
}

impl SoftMarginLoss {
    /// With the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss; both are broadcast.
    ///
    /// # Errors
    /// The shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        checked("soft_margin_loss", &[input, target])?;
        self.reduction.of(&target.mul(input)?.neg()?.softplus(1.0, 50.0)?)
    }
}

/// The mean of `input` where the target is 1, and `max(0, 1 - input)` where it is -1.
///
/// # Errors
/// As [`HingeEmbeddingLoss::forward`].
#[track_caller]
pub fn hinge_embedding_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    HingeEmbeddingLoss::new().forward(input, target)
}

/// `input` where the target is 1, and `max(0, margin - input)` where it is -1; `input` is a distance. PyTorch: `torch.nn.HingeEmbeddingLoss`.
///
/// ```
/// use gabor_nn::HingeEmbeddingLoss;
/// use tensor::Tensor;
/// let (input, target) = (Tensor::new([0.5f32, 0.25])?, Tensor::new([1f32, -1.0])?);
/// assert_eq!(HingeEmbeddingLoss::new().forward(&input, &target)?.item()?, 0.625);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct HingeEmbeddingLoss {
    margin: f64,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for HingeEmbeddingLoss {
    fn default() -> Self {
        HingeEmbeddingLoss { margin: 1.0, reduction: Reduction::Mean }
    }
}

impl HingeEmbeddingLoss {
    /// With margin 1 and the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the distance that the others should have; 1 unless set.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss; both are broadcast.
    ///
    /// # Errors
    /// The shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        checked("hinge_embedding_loss", &[input, target])?;
        let labels = target.detach();
        let near = input.masked_fill(&labels.eq_scalar(-1.0)?, 0.0)?;
        let far = input.neg()?.add_scalar(self.margin)?.clamp(Some(0.0), None)?;
        self.reduction.of(&near.add(&far.masked_fill(&labels.eq_scalar(1.0)?, 0.0)?)?)
    }
}

/// The mean of `max(0, -target * (first - second))`.
///
/// # Errors
/// As [`MarginRankingLoss::forward`].
#[track_caller]
pub fn margin_ranking_loss(first: &Tensor, second: &Tensor, target: &Tensor) -> Result<Tensor> {
    MarginRankingLoss::new().forward(first, second, target)
}

/// `max(0, -target * (first - second) + margin)`: the first should be larger where the target is 1, smaller where it is -1. PyTorch: `torch.nn.MarginRankingLoss`.
///
/// ```
/// use gabor_nn::MarginRankingLoss;
/// use tensor::Tensor;
/// let (a, b) = (Tensor::new([3f32, 1.0])?, Tensor::new([1f32, 2.0])?);
/// assert_eq!(MarginRankingLoss::new().forward(&a, &b, &Tensor::ones([2])?)?.item()?, 0.5);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct MarginRankingLoss {
    margin: f64,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for MarginRankingLoss {
    fn default() -> Self {
        MarginRankingLoss { margin: 0.0, reduction: Reduction::Mean }
    }
}

impl MarginRankingLoss {
    /// With margin 0 and the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets by how much; 0 unless set.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss; all are broadcast.
    ///
    /// # Errors
    /// The shapes do not broadcast, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, first: &Tensor, second: &Tensor, target: &Tensor) -> Result<Tensor> {
        checked("margin_ranking_loss", &[first, second, target])?;
        let losses = target.mul(&first.sub(second)?)?.neg()?.add_scalar(self.margin)?.clamp(Some(0.0), None)?;
        self.reduction.of(&losses)
    }
}

/// The mean of `1 - cos` where the target is 1, and `max(0, cos)` where it is -1.
///
/// # Errors
/// As [`CosineEmbeddingLoss::forward`].
#[track_caller]
pub fn cosine_embedding_loss(first: &Tensor, second: &Tensor, target: &Tensor) -> Result<Tensor> {
    CosineEmbeddingLoss::new().forward(first, second, target)
}

/// `1 - cos` where the target is 1, and `max(0, cos - margin)` where it is -1, with the cosine of the angle between two vectors. PyTorch: `torch.nn.CosineEmbeddingLoss`.
///
/// ```
/// use gabor_nn::CosineEmbeddingLoss;
/// use tensor::Tensor;
/// let (a, b) = (Tensor::new([[1f32, 0.0]])?, Tensor::new([[0f32, 2.0]])?);
/// assert_eq!(CosineEmbeddingLoss::new().forward(&a, &b, &Tensor::new([1f32])?)?.item()?, 1.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct CosineEmbeddingLoss {
    margin: f64,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for CosineEmbeddingLoss {
    fn default() -> Self {
        CosineEmbeddingLoss { margin: 0.0, reduction: Reduction::Mean }
    }
}

impl CosineEmbeddingLoss {
    /// With margin 0 and the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the cosine that the others may have, from -1 to 1; 0 unless set.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss for vectors `[N, D]` and targets `[N]`, or `[D]` and a scalar.
    ///
    /// # Errors
    /// The shapes do not fit, or the dtypes differ.
    #[track_caller]
    pub fn forward(&self, first: &Tensor, second: &Tensor, target: &Tensor) -> Result<Tensor> {
        let op = "cosine_embedding_loss";
        checked(op, &[first, second])?;
        if first.shape() != second.shape() || first.rank() == 0 || target.dims() != &first.dims()[..first.rank() - 1] {
            let (a, b, t) = (first.shape(), second.shape(), target.shape());
            return Err(Error::shape(
                op,
                format!("vectors {a:?} and {b:?}, targets {t:?}; expected [N, D] twice and [N]"),
            ));
        }
        let square = |x: &Tensor| x.square()?.sum_dim(-1, false)?.add_scalar(1e-12);
        let length = square(first)?.mul(&square(second)?)?.sqrt()?;
        let cosine = first.mul(second)?.sum_dim(-1, false)?.div(&length)?;
        let labels = target.detach();
        let near = cosine.neg()?.add_scalar(1.0)?.masked_fill(&labels.ne_scalar(1.0)?, 0.0)?;
        let far = cosine.sub_scalar(self.margin)?.clamp(Some(0.0), None)?.masked_fill(&labels.ne_scalar(-1.0)?, 0.0)?;
        self.reduction.of(&near.add(&far)?)
    }
}

/// The mean of `max(0, |anchor - positive| - |anchor - negative| + 1)`.
///
/// # Errors
/// As [`TripletMarginLoss::forward`].
#[track_caller]
pub fn triplet_margin_loss(anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    TripletMarginLoss::new().forward(anchor, positive, negative)
}

/// `max(0, |anchor - positive| - |anchor - negative| + margin)`: the positive should be nearer to the anchor than the negative. PyTorch: `torch.nn.TripletMarginLoss`.
///
/// ```
/// use gabor_nn::TripletMarginLoss;
/// use tensor::Tensor;
/// let (a, p, n) = (Tensor::new([[0f32]])?, Tensor::new([[2f32]])?, Tensor::new([[5f32]])?);
/// assert_eq!(TripletMarginLoss::new().margin(4.0).forward(&a, &p, &n)?.item()?, 1.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct TripletMarginLoss {
    margin: f64,
    p: f64,
    eps: f64,
    swap: bool,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for TripletMarginLoss {
    fn default() -> Self {
        TripletMarginLoss { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

impl TripletMarginLoss {
    /// With margin 1, the Euclidean norm and the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets by how much; 1 unless set.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Sets the order of the norm; 2 unless set.
    #[must_use]
    pub fn p(mut self, p: f64) -> Self {
        self.p = p;
        self
    }

    /// Sets what is added to differences, so that equal vectors have a slope; 1e-6 unless set.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Sets whether the positive may stand for the anchor if it is nearer to the negative.
    #[must_use]
    pub fn swap(mut self, swap: bool) -> Self {
        self.swap = swap;
        self
    }

    /// Sets the reduction.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss for vectors `[N, D]` or `[D]`.
    ///
    /// # Errors
    /// The shapes or dtypes differ, or `p` is not above 0.
    #[track_caller]
    pub fn forward(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
        let op = "triplet_margin_loss";
        checked(op, &[anchor, positive, negative])?;
        if anchor.shape() != positive.shape() || anchor.shape() != negative.shape() || anchor.rank() == 0 {
            let (a, b, c) = (anchor.shape(), positive.shape(), negative.shape());
            return Err(Error::shape(
                op,
                format!("anchor {a:?}, positive {b:?} and negative {c:?} must have one shape, [N, D]"),
            ));
        }
        if self.p.is_nan() || self.p <= 0.0 {
            return Err(Error::argument(op, format!("p is {}; use a number above 0", self.p)));
        }
        let distance = |a: &Tensor, b: &Tensor| {
            let apart = a.sub(b)?.add_scalar(self.eps)?;
            if self.p == 2.0 {
                return apart.square()?.sum_dim(-1, false)?.sqrt();
            }
            apart.abs()?.pow_scalar(self.p)?.sum_dim(-1, false)?.pow_scalar(1.0 / self.p)
        };
        let mut far = distance(anchor, negative)?;
        if self.swap {
            far = far.minimum(&distance(positive, negative)?)?;
        }
        let losses = distance(anchor, positive)?.sub(&far)?.add_scalar(self.margin)?.clamp(Some(0.0), None)?;
        self.reduction.of(&losses)
    }
}

/// The mean over samples and classes of the binary cross entropy of logits.
///
/// # Errors
/// As [`MultiLabelSoftMarginLoss::forward`].
#[track_caller]
pub fn multilabel_soft_margin_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    MultiLabelSoftMarginLoss::new().forward(input, target)
}

/// The mean over classes of the binary cross entropy of logits, for samples with several labels. PyTorch: `torch.nn.MultiLabelSoftMarginLoss`.
///
/// ```
/// use gabor_nn::MultiLabelSoftMarginLoss;
/// use tensor::Tensor;
/// let loss = MultiLabelSoftMarginLoss::new().forward(&Tensor::zeros([1, 3])?, &Tensor::new([[1f32, 0.0, 1.0]])?)?;
/// assert!((loss.item()? - 2f64.ln()).abs() < 1e-6);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct MultiLabelSoftMarginLoss {
    weight: Option<State>,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for MultiLabelSoftMarginLoss {
    fn default() -> Self {
        MultiLabelSoftMarginLoss { weight: None, reduction: Reduction::Mean }
    }
}

impl MultiLabelSoftMarginLoss {
    /// Without weights, with the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a weight for each class.
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

    /// The loss for logits `[N, C]` or `[C]` and targets of 0 and 1 in the same shape.
    ///
    /// # Errors
    /// The shapes or dtypes differ, or the weights are not one for each class.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let op = "multilabel_soft_margin_loss";
        checked(op, &[input, target])?;
        if input.shape() != target.shape() || input.rank() == 0 {
            let message = format!(
                "input has shape {:?} and target {:?}; they must be equal, [N, C]",
                input.shape(),
                target.shape()
            );
            return Err(Error::shape(op, message));
        }
        let unlikely = input.neg()?.softplus(1.0, 50.0)?;
        let mut losses = target.neg()?.add_scalar(1.0)?.mul(input)?.add(&unlikely)?;
        if let Some(weight) = &self.weight {
            let weight = weight.tensor();
            check_weight(
                op,
                &input.reshape([-1, input.dims()[input.rank() - 1] as isize])?,
                Some(&weight),
                input.dims()[input.rank() - 1],
            )?;
            losses = losses.mul(&weight)?;
        }
        self.reduction.of(&losses.mean_dim(-1, false)?)
    }
}

/// The mean of `sum over c of max(0, 1 - input[target] + input[c]) / C`, without `c = target`.
///
/// # Errors
/// As [`MultiMarginLoss::forward`].
#[track_caller]
pub fn multi_margin_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    MultiMarginLoss::new().forward(input, target)
}

/// `sum over c of max(0, margin - input[target] + input[c])^p / C`, without `c = target`: the right class should win by a margin. PyTorch: `torch.nn.MultiMarginLoss`.
///
/// ```
/// use gabor_nn::MultiMarginLoss;
/// use tensor::Tensor;
/// let loss = MultiMarginLoss::new().forward(&Tensor::new([[0f32, 0.5]])?, &Tensor::new([0i64])?)?;
/// assert_eq!(loss.item()?, 0.75);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct MultiMarginLoss {
    p: f64,
    margin: f64,
    weight: Option<State>,
    #[module(skip)]
    reduction: Reduction,
}

impl Default for MultiMarginLoss {
    fn default() -> Self {
        MultiMarginLoss { p: 1.0, margin: 1.0, weight: None, reduction: Reduction::Mean }
    }
}

impl MultiMarginLoss {
    /// With power 1, margin 1 and the mean.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the power, 1 or 2; 1 unless set.
    #[must_use]
    pub fn p(mut self, p: f64) -> Self {
        self.p = p;
        self
    }

    /// Sets the margin; 1 unless set.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Sets a weight for each class.
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

    /// The loss for scores `[N, C]` and classes `[N]`, or `[C]` and a scalar.
    ///
    /// # Errors
    /// The shapes do not fit, a target is no class, `p` is not 1 or 2, or the weights are not one for each class.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Result<Tensor> {
        let op = "multi_margin_loss";
        if self.p != 1.0 && self.p != 2.0 {
            return Err(Error::argument(op, format!("p is {}; it must be 1 or 2", self.p)));
        }
        checked(op, &[input])?;
        let (axis, classes) = class_axis(op, input)?;
        let weight = self.weight.as_ref().map(State::tensor);
        // No class is left out: an index that no target has.
        let picked = Picked::new(op, input, target, weight.as_ref(), i64::MIN)?;
        let index = target.unsqueeze(axis as isize)?;
        let right = input.gather(axis as isize, &index)?;
        let mut terms = input.sub(&right)?.add_scalar(self.margin)?.relu()?;
        if self.p == 2.0 {
            terms = terms.square()?;
        }
        let own = Tensor::arange(0i64, classes as i64, 1)?.eq(&target.unsqueeze(-1)?)?;
        let mut losses = terms.masked_fill(&own, 0.0)?.sum_dim(-1, false)?.div_scalar(classes as f64)?;
        if let Some(weights) = &picked.weights {
            losses = losses.mul(weights)?;
        }
        self.reduction.of(&losses)
    }
}
