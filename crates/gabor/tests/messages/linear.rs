//! Linear layers, shapes, dropout, batch normalisation.

use super::{Case::*, Row, zeros, zeros_of};
use gabor::prelude::*;

pub(crate) const ROWS: &[Row] = &[
    Row(
        32,
        "other features",
        Says(
            || seq![Flatten, Linear::new(256, 120)]?.forward(&zeros([64, 400])?).map(drop),
            "linear `1`: input has 400 features (shape [64, 400]), the weight expects 256; use Linear::new(400, 120) or change what comes before",
        ),
    ),
    Row(
        32,
        "images of another size",
        Says(
            || {
                let net = lenet(400)?;
                net.eval();
                net.forward(&zeros([2, 1, 28, 28])?).map(drop)
            },
            "linear `7`: input has 256 features (shape [2, 256], flattened from [2, 16, 4, 4]), the weight expects 400; use padding 2 in `0`, or Linear::new(256, 120)",
        ),
    ),
    Row(
        32,
        "images of another size, before the layers know their names",
        Says(
            || lenet(400)?.forward(&zeros([2, 1, 28, 28])?).map(drop),
            "linear `7`: input has 256 features (shape [2, 256], flattened from [2, 16, 4, 4]), the weight expects 400; use padding 2 in the conv2d with weight [6, 1, 5, 5], or Linear::new(256, 120)",
        ),
    ),
    Row(
        32,
        "images that no padding makes fit",
        Says(
            || lenet(401)?.forward(&zeros([2, 1, 28, 28])?).map(drop),
            "linear `7`: input has 256 features (shape [2, 256], flattened from [2, 16, 4, 4]), the weight expects 401; use Linear::new(256, 120) or change what comes before",
        ),
    ),
    Row(
        32,
        "inner sizes of a matrix product",
        Says(
            || zeros([64, 400])?.matmul(&zeros([256, 120])?).map(drop),
            "matmul: the inner sizes 400 and 256 of [64, 400] and [256, 120] differ",
        ),
    ),
    Row(
        32,
        "a weight that is not transposed",
        Says(
            || zeros([64, 400])?.matmul(&zeros([120, 400])?).map(drop),
            "matmul: the inner sizes 400 and 120 of [64, 400] and [120, 400] differ; transpose the second",
        ),
    ),
    Row(
        33,
        "f64 into a layer",
        Says(
            || seq![Linear::new(2, 1)]?.forward(&zeros_of(DType::F64, [1, 2])?).map(drop),
            "linear `0`: dtypes differ, f64 and f32; convert one with to_dtype(DType::F32)",
        ),
    ),
    Row(
        33,
        "whole numbers times floats",
        Says(
            || zeros_of(DType::I64, [1, 2])?.matmul(&zeros([2, 1])?).map(drop),
            "matmul: dtypes differ, i64 and f32; convert one with to_dtype(DType::F32)",
        ),
    ),
    Row(
        34,
        "a forgotten Flatten",
        Says(
            || seq![MaxPool2d::new(2), Linear::new(400, 120)]?.forward(&zeros([64, 16, 10, 10])?).map(drop),
            "linear `1`: input has 5 features (shape [64, 16, 5, 5]), the weight expects 400; did you forget Flatten?",
        ),
    ),
    Row(
        35,
        "reshape to another number of elements",
        Says(|| zeros([4, 4])?.reshape([3, 5]).map(drop), "reshape: 16 elements ([4, 4]) cannot fill [3, 5] (15)"),
    ),
    Row(
        35,
        "reshape with a rest",
        Says(|| zeros([4, 4])?.reshape([3, -1]).map(drop), "reshape: 16 elements ([4, 4]) cannot fill [3, -1]"),
    ),
    Row(
        36,
        "view of a transpose",
        Says(
            || zeros([2, 3])?.t()?.view(6).map(drop),
            "view: shape [3, 2] with strides [1, 3] cannot be seen as [6] without a copy; use reshape",
        ),
    ),
    Row(
        37,
        "shapes that do not broadcast",
        Says(
            || zeros([2, 3])?.add(&zeros([2, 4])?).map(drop),
            "add: shapes [2, 3] and [2, 4] do not broadcast, dimension 1 is 3 and 4",
        ),
    ),
    Row(
        38,
        "a dimension out of range",
        Says(|| zeros([2, 3])?.sum_dim(2, false).map(drop), "sum: dimension 2 is out of range, expected -2 to 1"),
    ),
    Row(
        38,
        "an index out of range",
        Says(|| zeros([2, 3])?.select(1, 3).map(drop), "select: index 3 is out of range for dimension 1 of size 3"),
    ),
    Row(
        39,
        "a probability above 1",
        Says(|| seq![Dropout::new(1.5)].map(drop), "dropout `0`: p is 1.5; a probability must be from 0 to 1"),
    ),
    Row(
        39,
        "a probability of NaN",
        Says(|| nn_dropout(f64::NAN), "dropout: p is NaN; a probability must be from 0 to 1"),
    ),
    Row(
        40,
        "batch normalisation of one value",
        Says(
            || seq![ReLU, BatchNorm2d::new(16)]?.forward(&zeros([1, 16, 1, 1])?).map(drop),
            "batch_norm `1`: only 1 value per channel while training, input has shape [1, 16, 1, 1]; use a batch of at least 2 (drop_last in the loader) or call eval()",
        ),
    ),
    Row(
        40,
        "batch normalisation of other channels",
        Says(
            || seq![BatchNorm2d::new(16)]?.forward(&zeros([4, 6, 5, 5])?).map(drop),
            "batch_norm `0`: input has 6 channels (shape [4, 6, 5, 5]), this layer expects 16; use BatchNorm2d::new(6) or change what comes before",
        ),
    ),
    Row(
        40,
        "one value in evaluation",
        Fine(
            || {
                let net = seq![BatchNorm2d::new(16)]?;
                net.eval();
                net.forward(&zeros([1, 16, 1, 1])?).map(drop)
            },
            "the running statistics are used",
        ),
    ),
];

fn nn_dropout(p: f64) -> Result<()> {
    functional::dropout(&zeros([2])?, p, true).map(drop)
}

fn lenet(features: usize) -> Result<Sequential> {
    let (first, second) = (Conv2d::new(1, 6, 5), Conv2d::new(6, 16, 5));
    seq![first, ReLU, MaxPool2d::new(2), second, Sigmoid, AvgPool2d::new(2), Flatten, Linear::new(features, 120)]
}
