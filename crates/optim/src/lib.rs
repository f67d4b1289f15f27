//! Optimizers, learning-rate schedules and gradient clipping, in PyTorch's words and with PyTorch's formulas.
//!
//! ```
//! use gabor_optim::{Optimizer, SGD};
//! use tensor::{Parameter, Tensor};
//!
//! let w = Parameter::new(Tensor::new([4f32, -2.0])?)?;
//! let mut sgd = SGD::new(vec![w.clone()], 0.1).momentum(0.9).build()?;
//! for _ in 0..200 {
//!     sgd.zero_grad();
//!     w.tensor().square()?.sum()?.backward()?;
//!     sgd.step()?;
//! }
//! assert!(w.tensor().to_vec::<f32>()?.iter().all(|v| v.abs() < 1e-3));
//! # Ok::<(), tensor::Error>(())
//! ```
#![forbid(unsafe_code)]

mod adagrad;
mod adam;
mod averaged;
mod clip;
mod engine;
mod group;
mod optimizer;
mod rmsprop;
mod schedule;
mod sgd;
mod state;

pub use adagrad::{Adagrad, AdagradBuilder};
pub use adam::{Adam, AdamBuilder, AdamW, AdamWBuilder};
pub use averaged::AveragedModel;
pub use clip::{clip_grad_norm_, clip_grad_norm_checked_, clip_grad_value_, get_total_norm, grad_norm, parameter_norm};
pub use group::{Group, GroupOptions};
pub use optimizer::Optimizer;
pub use rmsprop::{RMSprop, RMSpropBuilder};
pub use schedule::cosine::{CosineAnnealingLR, CosineAnnealingWarmRestarts};
pub use schedule::cyclic::{CycleMode, CyclicLR};
pub use schedule::decay::{ExponentialLR, MultiStepLR, StepLR};
pub use schedule::lambda::{LambdaLR, MultiplicativeLR};
pub use schedule::one_cycle::{Anneal, OneCycleLR};
pub use schedule::plateau::{Mode, PlateauBuilder, ReduceLROnPlateau, ThresholdMode};
pub use schedule::ramp::{ConstantLR, LinearLR, PolynomialLR};
pub use schedule::sequence::{ChainedScheduler, SequentialLR};
pub use schedule::swa_lr::SWALR;
pub use schedule::{Progress, Rate, Schedule, ScheduleBuilder};
pub use sgd::{SGD, SGDBuilder};
pub use state::StateDict;
