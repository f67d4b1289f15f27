//! Pooling.

use super::{Case::*, Row, zeros, zeros_of};
use gabor::prelude::*;

fn max(x: Result<Tensor>, options: PoolOptions) -> Result<()> {
    x?.max_pool2d(&options).map(drop)
}

pub(crate) const ROWS: &[Row] = &[
    Row(
        18,
        "an image without its channel",
        Says(
            || max(zeros([3, 4]), PoolOptions::new(2)),
            "max_pool2d: input has shape [3, 4] (2 dimensions), expected [N, C, H, W] or [C, H, W]; for one grey image use reshape([1, 1, 3, 4])",
        ),
    ),
    Row(
        18,
        "a vector into a layer",
        Says(
            || seq![AvgPool2d::new(2)]?.forward(&zeros([8])?).map(drop),
            "avg_pool2d `0`: input has shape [8] (1 dimension), expected [N, C, H, W] or [C, H, W]",
        ),
    ),
    Row(
        19,
        "an empty image",
        Says(
            || max(zeros([2, 1, 10, 0]), PoolOptions::new(2)),
            "max_pool2d: dimension 3 of input [2, 1, 10, 0] is empty; only the batch may be",
        ),
    ),
    Row(
        19,
        "an empty batch",
        Fine(|| max(zeros([0, 1, 4, 4]), PoolOptions::new(2)), "its result is empty too, as in PyTorch"),
    ),
    Row(
        20,
        "kernel 0",
        Says(
            || max(zeros([1, 1, 4, 4]), PoolOptions::new((0, 2))),
            "max_pool2d: kernel_size is (0, 2); it must be at least 1",
        ),
    ),
    Row(
        20,
        "a layer with kernel 0",
        Says(|| seq![MaxPool2d::new(0)].map(drop), "max_pool2d `0`: kernel_size is 0; it must be at least 1"),
    ),
    Row(
        21,
        "stride 0",
        Says(
            || AvgPool2d::new(2).stride(0).build().map(drop),
            "avg_pool2d: stride is 0; it must be at least 1; left out, it is the kernel size",
        ),
    ),
    Row(
        21,
        "stride 0 for the function",
        Says(
            || max(zeros([1, 1, 4, 4]), PoolOptions::new(2).stride((1, 0))),
            "max_pool2d: stride is (1, 0); it must be at least 1; left out, it is the kernel size",
        ),
    ),
    Row(
        22,
        "dilation 0",
        Says(
            || MaxPool2d::new(2).dilation(0).build().map(drop),
            "max_pool2d: dilation is 0; it must be at least 1, which means no gaps",
        ),
    ),
    Row(23, "padding below 0", Impossible("padding is a usize or a pair of them")),
    Row(
        24,
        "padding of more than half of the window",
        Says(
            || seq![MaxPool2d::new(2).padding(4)].map(drop),
            "max_pool2d `0`: padding 4 is more than half of the window (2), some windows would see only padding; at most 1 is possible",
        ),
    ),
    Row(
        24,
        "padding of more than half of the window, average",
        Says(
            || zeros([1, 1, 4, 4])?.avg_pool2d(&AvgPoolOptions::new(3).padding((0, 2))).map(drop),
            "avg_pool2d: padding 2 is more than half of the window (3), some windows would see only padding; at most 1 is possible",
        ),
    ),
    Row(
        25,
        "padding of more than half of a dilated window",
        Says(
            || max(zeros([1, 1, 8, 8]), PoolOptions::new(3).dilation(2).padding(3)),
            "max_pool2d: padding 3 is more than half of the window (5), some windows would see only padding; at most 2 is possible",
        ),
    ),
    Row(
        25,
        "padding of half of a dilated window",
        Fine(
            || max(zeros([1, 1, 8, 8]), PoolOptions::new(3).dilation(2).padding(2)),
            "the dilated window is what slides, so its half counts",
        ),
    ),
    Row(
        26,
        "a window larger than the image",
        Says(
            || seq![ReLU, MaxPool2d::new(2)]?.forward(&zeros([1, 1, 1, 4])?).map(drop),
            "max_pool2d `1`: the window 2x2 with dilation 1 and padding 0 does not fit in the input 1x4; use larger images or fewer pooling layers",
        ),
    ),
    Row(
        26,
        "a window larger than what pooling left of the image",
        Says(
            || {
                let layers = seq![Conv2d::new(1, 6, 5), MaxPool2d::new(2), Tanh, AvgPool2d::new(2), AvgPool2d::new(2)]?;
                layers.forward(&zeros([1, 1, 9, 28])?).map(drop)
            },
            "avg_pool2d `4`: the window 2x2 with dilation 1 and padding 0 does not fit in the input 1x6; use images of at least 12x28 or fewer pooling layers",
        ),
    ),
    Row(27, "a list of sizes of the wrong length", Impossible("sizes are Pair: a number or two")),
    Row(
        28,
        "divisor 0",
        Says(
            || AvgPool2d::new(2).divisor_override(0).build().map(drop),
            "avg_pool2d: divisor_override is 0; leave it out to divide by the number of elements",
        ),
    ),
    Row(
        29,
        "a window that overflows",
        Says(
            || max(zeros([1, 1, 4, 4]), PoolOptions::new(3).dilation(usize::MAX)),
            "max_pool2d: kernel 3 with dilation 18446744073709551615 is too large to compute with",
        ),
    ),
    Row(
        30,
        "the gradient of a pooling of another shape",
        Impossible(
            "users cannot call the backward kernels; the engine compares the shape of every gradient that a rule gives, see 73",
        ),
    ),
    Row(
        31,
        "LPPool2d with norm 0",
        Says(
            || seq![LPPool2d::new(0.0, 2)].map(drop),
            "lp_pool2d `0`: norm_type is 0; it must be a number other than 0",
        ),
    ),
    Row(
        26,
        "pooling of whole numbers",
        Says(
            || zeros_of(DType::I64, [1, 1, 4, 4])?.avg_pool2d(&AvgPoolOptions::new(2)).map(drop),
            "avg_pool2d: i64 is not supported, expected f32 or f64; convert with to_dtype",
        ),
    ),
];
