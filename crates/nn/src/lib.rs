//! PyTorch's modules: layers, losses, initialisation, and what finds the parameters in them.
//!
//! ```
//! use gabor_nn::{AvgPool2d, Conv2d, Flatten, Forward, Linear, Module, Sigmoid, seq};
//! use tensor::Tensor;
//!
//! let net = seq![
//!     Conv2d::new(1, 6, 5).padding(2), Sigmoid, AvgPool2d::new(2).stride(2),
//!     Flatten, Linear::new(6 * 14 * 14, 10),
//! ]?;
//! assert_eq!(net.forward(&Tensor::zeros([8, 1, 28, 28])?)?.shape(), &[8, 10]);
//! assert_eq!(net.state_dict()[0].0, "0.weight");
//! # Ok::<(), tensor::Error>(())
//! ```
#![forbid(unsafe_code)]

mod containers;
mod fields;
mod fold;
pub mod functional;
mod hooks;
pub mod init;
mod label;
mod layers;
mod loss;
mod module;
mod pieces;
mod sequential;
mod state;
mod summary;
mod training;
mod tree;
mod update_bn;

pub use containers::{ModuleDict, ModuleList};
pub use hooks::{HookHandle, Hooked, Hooks};
pub use label::Label;
pub use layers::*;
pub use loss::{
    BCELoss, BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, GaussianNLLLoss, HingeEmbeddingLoss, HuberLoss,
    KLDivLoss, L1Loss, MSELoss, MarginRankingLoss, MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss,
    Reduction, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss,
};
pub use module::{Forward, Module, Visitor};
pub use nn_derive::Module;
pub use sequential::{IntoLayer, Layer, Sequential};
pub use state::LoadReport;
pub use summary::{Summary, SummaryRow, summary};
#[doc(hidden)]
pub use tensor::Error;
pub use training::Training;
pub use tree::AsModule;
pub use update_bn::update_bn;
