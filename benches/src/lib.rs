//! What the yardstick, the criterion benches and the golden runner share: PyTorch's calls, nets and optimizers read from
//! JSON at run time.
//!
//! A net is a list of layers, each an object with PyTorch's class name under `type` and its arguments under their own
//! names. An argument that is not understood is an error, never silence.
#![forbid(unsafe_code)]

mod arguments;
mod layers;
mod optimizer;

pub use arguments::{Arguments, Refusal};
pub use layers::net;
pub use optimizer::optimizer;
