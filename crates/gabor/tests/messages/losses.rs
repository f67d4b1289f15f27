//! Cross entropy and its kin.

use super::{Case::*, Row, zeros, zeros_of};
use gabor::Lint;
use gabor::prelude::*;

fn loss(logits: Result<Tensor>, target: Result<Tensor>) -> Result<()> {
    functional::cross_entropy(&logits?, &target?).map(drop)
}

/// 64 targets of class 0, with one of another class at position 17.
fn labels(odd: i64) -> Result<Tensor> {
    let mut labels = vec![0; 64];
    labels[17] = odd;
    Tensor::from_slice(&labels, [64])
}

pub(crate) const ROWS: &[Row] = &[
    Row(
        41,
        "another number of targets",
        Says(
            || loss(zeros([2, 10]), Tensor::new([0i64, 1, 2])),
            "cross_entropy: logits are [2, 10] (2 samples) but there are 3 targets; take both from one batch",
        ),
    ),
    Row(
        41,
        "targets with a dimension too many",
        Says(
            || loss(zeros([2, 10]), Tensor::new([[0i64], [1]])),
            "cross_entropy: targets have shape [2, 1], expected [2]; take the last dimension away with squeeze(1)",
        ),
    ),
    Row(
        42,
        "labels that start at 1",
        Says(
            || loss(zeros([64, 10]), labels(10)),
            "cross_entropy: target 10 at position 17 is not one of 10 classes (0 to 9); do the labels start at 1?",
        ),
    ),
    Row(
        42,
        "a negative label",
        Says(
            || loss(zeros([64, 10]), labels(-1)),
            "cross_entropy: target -1 at position 17 is not one of 10 classes (0 to 9); to leave samples out, set ignore_index",
        ),
    ),
    Row(
        42,
        "more classes than outputs",
        Says(
            || functional::nll_loss(&zeros([64, 10])?, &labels(25)?).map(drop),
            "nll_loss: target 25 at position 17 is not one of 10 classes (0 to 9); has the last layer an output for each class?",
        ),
    ),
    Row(
        43,
        "labels that are floats",
        Says(
            || loss(zeros([2, 10]), zeros([2])),
            "cross_entropy: targets are f32 of shape [2], expected classes of type i64 or u8; convert with to_dtype(DType::I64), or give probabilities of shape [2, 10]",
        ),
    ),
    Row(
        43,
        "labels that are bytes",
        Fine(|| loss(zeros([2, 10]), zeros_of(DType::U8, [2])), "any whole numbers will do"),
    ),
    Row(
        43,
        "logits that are whole numbers",
        Says(
            || loss(zeros_of(DType::I64, [2, 10]), Tensor::new([0i64, 1])),
            "cross_entropy: i64 is not supported, expected f32 or f64 logits; convert with to_dtype",
        ),
    ),
    Row(
        44,
        "one-hot rows of whole numbers",
        Says(
            || loss(zeros([2, 3]), Tensor::new([[1i64, 0, 0], [0, 1, 0]])),
            "cross_entropy: targets have the shape of the logits [2, 3], so they are read as probabilities, but they are i64; convert one-hot rows with to_dtype, or give classes without the dimension of the classes",
        ),
    ),
    Row(
        45,
        "weights for other classes",
        Says(
            || {
                let loss = CrossEntropyLoss::new().weight(zeros([2])?);
                loss.forward(&zeros([2, 3])?, &Tensor::new([0i64, 1])?).map(drop)
            },
            "cross_entropy: weight has shape [2]; expected [3], one for each class",
        ),
    ),
    Row(
        46,
        "ignore_index with probabilities",
        Says(
            || CrossEntropyLoss::new().ignore_index(1).forward(&zeros([2, 3])?, &zeros([2, 3])?).map(drop),
            "cross_entropy: ignore_index is 1 and the targets are probabilities; it needs classes",
        ),
    ),
    Row(
        47,
        "label smoothing above 1",
        Says(
            || CrossEntropyLoss::new().label_smoothing(1.5).forward(&zeros([1, 3])?, &Tensor::new([0i64])?).map(drop),
            "cross_entropy: label_smoothing is 1.5; it must be from 0 to 1",
        ),
    ),
    Row(
        47,
        "label smoothing below 0",
        Says(
            || CrossEntropyLoss::new().label_smoothing(-0.1).forward(&zeros([1, 3])?, &Tensor::new([0i64])?).map(drop),
            "cross_entropy: label_smoothing is -0.1; it must be from 0 to 1",
        ),
    ),
    Row(
        48,
        "an image of targets of another size",
        Says(
            || loss(zeros([2, 3, 5]), zeros_of(DType::I64, [2, 4])),
            "cross_entropy: targets have shape [2, 4] and logits [2, 3, 5]; expected [2, 5], or that of the logits for probabilities",
        ),
    ),
    Row(
        49,
        "logits without dimensions",
        Says(
            || loss(Tensor::new(1f32), Tensor::new(0i64)),
            "cross_entropy: logits are a scalar; expected [C] or [N, C, ...]",
        ),
    ),
    Row(50, "an unknown reduction", Impossible("Reduction is an enum")),
    Row(
        51,
        "nothing but ignored targets",
        Warns(
            || loss(zeros([4, 10]), Tensor::full(4, -100i64)),
            Lint::NothingCounted,
            "cross_entropy: all 4 targets are -100 and left out, the mean of nothing is NaN; check the labels",
        ),
    ),
    Row(
        52,
        "softmax before cross_entropy",
        Warns(
            // A sample of the calls is looked at.
            || (0..64).try_for_each(|_| loss(Tensor::randn([4, 3])?.softmax(1), Tensor::new([0i64, 1, 2, 0]))),
            Lint::SoftmaxTwice,
            "cross_entropy: the logits [4, 3] look like probabilities, each sample sums to 1; leave out the softmax, cross_entropy contains it",
        ),
    ),
    Row(
        52,
        "softmax before nll_loss",
        Warns(
            || {
                let targets = Tensor::new([0i64, 1, 2, 0])?;
                (0..64).try_for_each(|_| functional::nll_loss(&Tensor::randn([4, 3])?.softmax(1)?, &targets).map(drop))
            },
            Lint::NoLogarithm,
            "nll_loss: the logarithms [4, 3] look like probabilities, each sample sums to 1; use log_softmax instead of softmax, or cross_entropy on raw scores",
        ),
    ),
];
