//! The operators, one file each, and the slice that lists them all.

mod activation;
mod advice;
mod arith;
mod avg_pool2d;
mod cast;
mod cat;
mod class_loss;
mod compare;
mod conv2d;
mod conv_transpose2d;
mod cumulative;
mod embedding;
mod extreme;
mod flip;
mod gather;
mod interpolate;
mod matmul;
mod max_pool2d;
mod pad;
mod pixel_shuffle;
mod reduce;
mod select;
mod softmax;
mod sort;
mod standardize;
mod unary;
mod unfold;
mod view;
mod window;

pub use activation::Gelu;
pub use avg_pool2d::AvgPoolOptions;
pub use conv_transpose2d::ConvTranspose2dOptions;
pub use conv2d::Conv2dOptions;
pub use embedding::EmbeddingOptions;
pub use interpolate::{InterpolateMode, InterpolateOptions, ScaleFactor};
pub use max_pool2d::PoolOptions;
pub use pad::PadMode;
pub use window::Padding;

/// Every operator with its samples: each file lists its own in `SPECS`.
#[cfg(any(test, feature = "testing"))]
pub(crate) const ALL: &[&[crate::testing::OpSpec]] = &[
    activation::SPECS,
    arith::SPECS,
    avg_pool2d::SPECS,
    cast::SPECS,
    cat::SPECS,
    class_loss::SPECS,
    compare::SPECS,
    conv2d::SPECS,
    conv_transpose2d::SPECS,
    cumulative::SPECS,
    embedding::SPECS,
    extreme::SPECS,
    flip::SPECS,
    gather::SPECS,
    interpolate::SPECS,
    matmul::SPECS,
    max_pool2d::SPECS,
    pad::SPECS,
    pixel_shuffle::SPECS,
    reduce::SPECS,
    select::SPECS,
    softmax::SPECS,
    sort::SPECS,
    standardize::SPECS,
    unary::SPECS,
    unfold::SPECS,
    view::SPECS,
];
