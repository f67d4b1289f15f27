//! PyTorch's modules: layers, losses, initialisation, and what finds the parameters in them.
//!
//! ```
//! use gabor_nn::{Flatten, Forward, Linear, Module, Sigmoid, seq};
//! use tensor::Tensor;
//!
//! let net = seq![Flatten, Linear::new(28 * 28, 64), Sigmoid, Linear::new(64, 10)]?;
//! assert_eq!(net.forward(&Tensor::zeros([8, 1, 28, 28])?)?.shape(), &[8, 10]);
//! assert_eq!(net.state_dict()[0].0, "1.weight");
//! # Ok::<(), tensor::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod init;
mod layers;
mod module;
mod sequential;
mod state;
mod training;

pub use layers::*;
pub use module::{Forward, Module, Visitor};
pub use nn_derive::Module;
pub use sequential::{IntoLayer, Layer, Sequential};
pub use state::LoadReport;
#[doc(hidden)]
pub use tensor::Error;
pub use training::Training;
