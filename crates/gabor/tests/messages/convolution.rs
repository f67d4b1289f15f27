//! Convolutions.

use super::{Case::*, Row, zeros, zeros_of};
use gabor::prelude::*;

fn conv(x: Result<Tensor>, w: Result<Tensor>, options: Conv2dOptions) -> Result<()> {
    x?.conv2d(&w?, None, &options).map(drop)
}

fn plain() -> Conv2dOptions {
    Conv2dOptions::new()
}

pub(crate) const ROWS: &[Row] = &[
    Row(
        1,
        "an image without its channel",
        Says(
            || conv(zeros([28, 28]), zeros([6, 1, 5, 5]), plain()),
            "conv2d: input has shape [28, 28] (2 dimensions), expected [N, C, H, W] or [C, H, W]; for one grey image use reshape([1, 1, 28, 28])",
        ),
    ),
    Row(
        1,
        "five dimensions",
        Says(
            || seq![Conv2d::new(1, 6, 5)]?.forward(&zeros([2, 1, 1, 28, 28])?).map(drop),
            "conv2d `0`: input has shape [2, 1, 1, 28, 28] (5 dimensions), expected [N, C, H, W] or [C, H, W]",
        ),
    ),
    Row(
        13,
        "an image without rows, which padding would make large enough",
        Says(
            || conv(zeros([1, 1, 0, 5]), zeros([1, 1, 3, 3]), plain().padding(2)),
            "conv2d: dimension 2 of input [1, 1, 0, 5] is empty; only the batch may be",
        ),
    ),
    Row(
        13,
        "no image at all",
        Fine(
            || conv(zeros([0, 1, 5, 5]), zeros([1, 1, 3, 3]), plain().padding(2)),
            "its result is empty too, as in PyTorch",
        ),
    ),
    Row(
        2,
        "a weight of another rank",
        Says(
            || conv(zeros([1, 6, 28, 28]), zeros([6, 5, 5]), plain()),
            "conv2d: weight has shape [6, 5, 5] (3 dimensions); expected [out, in / groups, h, w]",
        ),
    ),
    Row(
        3,
        "other channels",
        Says(
            || seq![ReLU, Conv2d::new(6, 16, 5)]?.forward(&zeros([1, 1, 28, 28])?).map(drop),
            "conv2d `1`: input has 1 channel (shape [1, 1, 28, 28]), the weight [16, 6, 5, 5] expects 6; change the layer before, or let this one take 1",
        ),
    ),
    Row(
        3,
        "other channels in groups",
        Says(
            || conv(zeros([2, 3, 8, 8]), zeros([4, 2, 3, 3]), plain().groups(2)),
            "conv2d: input has 3 channels (shape [2, 3, 8, 8]), the weight [4, 2, 3, 3] expects 4 in 2 groups; change the layer before, or let this one take 3",
        ),
    ),
    Row(
        3,
        "channels last",
        Says(
            || conv(zeros([8, 32, 32, 3]), zeros([6, 3, 5, 5]), plain()),
            "conv2d: input has 32 channels (shape [8, 32, 32, 3]), the weight [6, 3, 5, 5] expects 3; the channels seem to be last, use permute([0, 3, 1, 2])",
        ),
    ),
    Row(
        3,
        "channels last, one image",
        Says(
            || conv(zeros([32, 32, 3]), zeros([6, 3, 5, 5]), plain()),
            "conv2d: input has 32 channels (shape [32, 32, 3]), the weight [6, 3, 5, 5] expects 3; the channels seem to be last, use permute([2, 0, 1])",
        ),
    ),
    Row(
        3,
        "other channels, transposed",
        Says(
            || {
                let options = ConvTranspose2dOptions::new();
                zeros([1, 2, 4, 4])?.conv_transpose2d(&zeros([3, 1, 2, 2])?, None, &options).map(drop)
            },
            "conv_transpose2d: input has 2 channels (shape [1, 2, 4, 4]), the weight [3, 1, 2, 2] expects 3; change the layer before, or let this one take 2",
        ),
    ),
    Row(4, "padding below 0", Impossible("padding is a usize or a pair of them")),
    Row(
        5,
        "stride 0",
        Says(
            || Conv2d::new(1, 6, 5).stride((0, 1)).build().map(drop),
            "conv2d: stride is (0, 1); it must be at least 1",
        ),
    ),
    // Several faults at once: the options come before the channels, in PyTorch's order.
    Row(
        5,
        "stride 0 before dilation 0, groups 0 and wrong channels",
        Says(
            || conv(zeros([1, 3, 8, 8]), zeros([4, 2, 3, 3]), plain().stride(0).dilation(0).groups(0)),
            "conv2d: stride is 0; it must be at least 1",
        ),
    ),
    Row(
        6,
        "dilation 0 before groups 0 and wrong channels",
        Says(
            || conv(zeros([1, 3, 8, 8]), zeros([4, 2, 3, 3]), plain().dilation((0, 1)).groups(0)),
            "conv2d: dilation is (0, 1); it must be at least 1, which means no gaps",
        ),
    ),
    Row(
        7,
        "groups 0 before wrong channels",
        Says(
            || conv(zeros([1, 3, 8, 8]), zeros([4, 2, 3, 3]), plain().groups(0)),
            "conv2d: groups is 0; use 1 for an ordinary convolution",
        ),
    ),
    Row(
        7,
        "a layer of groups 0",
        Says(
            || Conv2d::new(6, 6, 3).groups(0).build().map(drop),
            "conv2d: groups is 0; use 1 for an ordinary convolution",
        ),
    ),
    Row(
        8,
        "groups that do not divide the input channels",
        Says(
            || Conv2d::new(6, 8, 3).groups(4).build().map(drop),
            "conv2d: in_channels 6 is not divisible by groups 4; the divisors are 1, 2, 3, 6",
        ),
    ),
    Row(
        9,
        "groups that do not divide the output channels",
        Says(
            || seq![ReLU, Conv2d::new(4, 6, 3).groups(4)].map(drop),
            "conv2d `1`: out_channels 6 is not divisible by groups 4; the divisors are 1, 2, 3, 6",
        ),
    ),
    Row(
        9,
        "groups that do not divide the weight",
        Says(
            || conv(zeros([1, 6, 8, 8]), zeros([4, 2, 3, 3]), plain().groups(3)),
            "conv2d: 4 output channels of the weight [4, 2, 3, 3] cannot be divided into 3 groups; use a divisor of both numbers of channels",
        ),
    ),
    Row(
        10,
        "fewer output channels than groups",
        Says(
            || conv(zeros([1, 6, 8, 8]), zeros([1, 2, 3, 3]), plain().groups(3)),
            "conv2d: 1 output channel of the weight [1, 2, 3, 3] cannot be divided into 3 groups; use a divisor of both numbers of channels",
        ),
    ),
    Row(
        11,
        "a bias of another size",
        Says(
            || zeros([1, 6, 8, 8])?.conv2d(&zeros([16, 6, 3, 3])?, Some(&zeros([6])?), &plain()).map(drop),
            "conv2d: bias has shape [6]; expected [16], one for each output channel",
        ),
    ),
    Row(
        11,
        "channels before a bias of another size",
        Says(
            || zeros([1, 1, 8, 8])?.conv2d(&zeros([16, 6, 3, 3])?, Some(&zeros([6])?), &plain()).map(drop),
            "conv2d: input has 1 channel (shape [1, 1, 8, 8]), the weight [16, 6, 3, 3] expects 6; change the layer before, or let this one take 1",
        ),
    ),
    Row(
        12,
        "bytes into a layer",
        Says(
            || seq![Conv2d::new(1, 6, 5)]?.forward(&zeros_of(DType::U8, [1, 1, 28, 28])?).map(drop),
            "conv2d `0`: dtypes differ, u8 and f32; convert one with to_dtype(DType::F32), and divide bytes of images by 255",
        ),
    ),
    Row(
        12,
        "f64 into a layer",
        Says(
            || seq![Conv2d::new(1, 6, 5)]?.forward(&zeros_of(DType::F64, [1, 1, 28, 28])?).map(drop),
            "conv2d `0`: dtypes differ, f64 and f32; convert one with to_dtype(DType::F32)",
        ),
    ),
    Row(
        12,
        "whole numbers on both sides",
        Says(
            || conv(zeros_of(DType::I64, [1, 1, 8, 8]), zeros_of(DType::I64, [1, 1, 3, 3]), plain()),
            "conv2d: i64 is not supported, expected f32 or f64; convert with to_dtype",
        ),
    ),
    Row(
        13,
        "a kernel larger than the image",
        Says(
            || seq![ReLU, Conv2d::new(1, 1, 3).dilation(2)]?.forward(&zeros([1, 1, 2, 2])?).map(drop),
            "conv2d `1`: the input is 2x2 (2x2 with padding) but the kernel covers 5x5 (size 3x3, dilation 2x2); add padding, drop a pooling layer, or use larger images",
        ),
    ),
    Row(
        13,
        "a kernel larger than what pooling left of the image",
        Says(
            || {
                let layers = || seq![Conv2d::new(1, 6, 5), MaxPool2d::new(2), ReLU, Conv2d::new(6, 16, 5)];
                layers()?.forward(&zeros([1, 1, 12, 13])?).map(drop)
            },
            "conv2d `3`: the input is 4x4 (4x4 with padding) but the kernel covers 5x5 (size 5x5, dilation 1x1); add padding, drop a pooling layer, or use images of at least 14x14",
        ),
    ),
    Row(
        14,
        "padding 'same' with a stride",
        Says(
            || Conv2d::new(1, 1, 3).padding(Padding::Same).stride(2).build().map(drop),
            "conv2d: padding 'same' needs stride 1, got 2; give the padding as numbers",
        ),
    ),
    Row(15, "an unknown padding or padding mode", Impossible("both are enums: Padding, PaddingMode")),
    Row(
        16,
        "sizes that overflow",
        Says(
            || conv(zeros([1, 1, 4, 4]), zeros([1, 1, 2, 2]), plain().padding(usize::MAX / 4)),
            "conv2d: a tensor of shape [1, 1, 9223372036854775809, 9223372036854775809] does not fit in memory",
        ),
    ),
    Row(
        16,
        "a kernel that overflows",
        Says(
            || conv(zeros([1, 1, 4, 4]), zeros([1, 1, 3, 3]), plain().dilation(usize::MAX)),
            "conv2d: kernel 3x3 with its dilation and padding is too large to compute with",
        ),
    ),
    Row(
        16,
        "a padding that overflows, with few places",
        Says(
            || {
                let few = plain().padding(usize::MAX / 8).stride(usize::MAX / 8);
                conv(zeros([1, 1, 4, 4]), zeros([1, 1, 3, 3]), few)
            },
            "conv2d: kernel 3x3 with its dilation and padding is too large to compute with",
        ),
    ),
    Row(
        17,
        "no input channels",
        Says(|| Conv2d::new(0, 6, 5).build().map(drop), "conv2d: in_channels is 0; it must be at least 1"),
    ),
    Row(
        17,
        "no output features",
        Says(|| seq![Linear::new(4, 0)].map(drop), "linear `0`: out_features is 0; it must be at least 1"),
    ),
];
