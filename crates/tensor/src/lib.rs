//! Strided tensors with a tape-based autograd graph.
//!
//! A [`Tensor`] is a value plus, perhaps, a memory of how it was made. Methods return [`Result`]; the operators `+ - * /`
//! panic with the same text.
//!
//! ```
//! use gabor_tensor::Tensor;
//! let x = Tensor::arange(0f32, 6.0, 1.0)?.reshape([2, 3])?.requires_grad_()?;
//! let loss = (&x * 2.0).square()?.mean()?;
//! loss.backward()?;
//! assert_eq!(x.grad().unwrap().shape(), &[2, 3]);
//! # Ok::<(), gabor_tensor::Error>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "approx")]
mod approx;
mod captured;
mod create;
mod display;
mod dtype;
mod error;
mod function;
mod gradcheck;
mod index;
mod label;
mod layout;
mod operators;
mod ops;
mod parameter;
mod program;
mod random;
mod read;
mod runs;
mod shape;
mod sizes;
mod storage;
mod tape;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod value;
mod warning;

pub use kernels::buffer::{Stats as MemoryStats, stats as memory_stats, trim as release_memory};
pub use kernels::conv::{ConvAlgorithm, conv_algorithm, set_conv_algorithm};
pub use kernels::par::{num_threads, set_num_threads};

pub use captured::{CapturedStep, unrecorded};
pub use create::Nested;
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use function::{Function, apply};
pub use gradcheck::{gradcheck, gradgradcheck};
pub use index::{Index, IntoIndices};
pub use label::{Label, Place};
pub use layout::Reshape;
pub use ops::*;
pub use parameter::{Parameter, State};
pub use random::{Generator, manual_seed, with_default_generator};
pub use shape::{Axes, Pair, Shape};
pub use tape::{
    AnomalyGuard, GradOptions, HookHandle, NoGradGuard, Tensor, called_from, caller, detect_anomaly,
    detect_anomaly_guard, grad, grad_enabled, gradients, is_anomaly_enabled, no_grad, no_grad_guard,
    set_detect_anomaly,
};
pub use warning::{Lint, is_untold, set_warning_handler, warn_once};
