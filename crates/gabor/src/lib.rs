//! A small, fast deep-learning framework for convolutional networks, in PyTorch's words.
//!
//! Everything of the tensor crate is at the root; layers, optimizers, data and files have a module each.
//!
//! ```
//! use gabor::prelude::*;
//! let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]])?.requires_grad_()?;
//! let loss = x.square()?.sum()?;
//! loss.backward()?;
//! assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [2.0, 4.0, 6.0, 8.0]);
//! # Ok::<(), gabor::Error>(())
//! ```
#![forbid(unsafe_code)]

pub use tensor::*;

/// Datasets and data loading.
pub use data;
/// Files: safetensors.
pub use io;
/// Modules, losses and initialisation.
pub use nn;
/// Optimizers and learning-rate schedules.
pub use optim;

/// What most programs use, by one line: `use gabor::prelude::*`.
pub mod prelude {
    pub use data::*;
    pub use nn::*;
    pub use optim::*;
    pub use tensor::{AvgPoolOptions, Conv2dOptions, ConvTranspose2dOptions, PadMode, Padding, PoolOptions};
    pub use tensor::{DType, Error, Gelu, Generator, Pair, Parameter, Result, Shape, State, Tensor};
    pub use tensor::{EmbeddingOptions, InterpolateMode, InterpolateOptions, ScaleFactor};
    pub use tensor::{manual_seed, no_grad, no_grad_guard};
}

/// The Rust blocks of the documents, run as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/src/autograd.md")]
    mod autograd {}
    #[doc = include_str!("../../../docs/src/coming-from-pytorch.md")]
    mod coming_from_pytorch {}
    #[doc = include_str!("../../../docs/src/your-own.md")]
    mod your_own {}
    #[doc = include_str!("../../../docs/src/mistakes.md")]
    mod mistakes {}
    #[doc = include_str!("../../../docs/src/speed.md")]
    mod speed {}
}
