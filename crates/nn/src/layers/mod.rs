//! The layers, one file each.

mod adaptive_avg_pool2d;
mod adaptive_max_pool2d;
mod avg_pool2d;
mod batch_norm;
mod conv2d;
mod conv_transpose2d;
mod dropout;
mod dropout2d;
mod elu;
mod flatten;
mod gelu;
mod group_norm;
mod hardtanh;
mod identity;
mod layer_norm;
mod leaky_relu;
mod linear;
mod log_softmax;
mod max_pool2d;
mod options;
mod relu;
mod sigmoid;
mod silu;
mod softmax;
mod softplus;
mod tanh;
mod unflatten;

pub use adaptive_avg_pool2d::AdaptiveAvgPool2d;
pub use adaptive_max_pool2d::AdaptiveMaxPool2d;
pub use avg_pool2d::AvgPool2d;
pub use batch_norm::{
    BatchNorm1d, BatchNorm1dBuilder, BatchNorm2d, BatchNorm2dBuilder, LazyBatchNorm1d, LazyBatchNorm2d,
};
pub use conv_transpose2d::{ConvTranspose2d, ConvTranspose2dBuilder, LazyConvTranspose2d};
pub use conv2d::{Conv2d, Conv2dBuilder, LazyConv2d, PaddingMode};
pub use dropout::Dropout;
pub use dropout2d::Dropout2d;
pub use elu::ELU;
pub use flatten::Flatten;
pub use gelu::GELU;
pub use group_norm::{GroupNorm, GroupNormBuilder};
pub use hardtanh::Hardtanh;
pub use identity::Identity;
pub use layer_norm::{LayerNorm, LayerNormBuilder};
pub use leaky_relu::LeakyReLU;
pub use linear::{LazyLinear, Linear, LinearBuilder};
pub use log_softmax::LogSoftmax;
pub use max_pool2d::MaxPool2d;
pub use relu::ReLU;
pub use sigmoid::Sigmoid;
pub use silu::SiLU;
pub use softmax::Softmax;
pub use softplus::Softplus;
pub use tanh::Tanh;
pub use unflatten::Unflatten;
