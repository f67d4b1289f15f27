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
    pub use tensor::{DType, Error, Generator, Pair, Parameter, Result, Shape, Tensor, manual_seed, no_grad};
}
