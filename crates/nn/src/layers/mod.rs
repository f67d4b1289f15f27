//! The layers, one file each.

mod elu;
mod flatten;
mod gelu;
mod hardtanh;
mod identity;
mod leaky_relu;
mod linear;
mod relu;
mod sigmoid;
mod silu;
mod softplus;
mod tanh;
mod unflatten;

pub use elu::ELU;
pub use flatten::Flatten;
pub use gelu::GELU;
pub use hardtanh::Hardtanh;
pub use identity::Identity;
pub use leaky_relu::LeakyReLU;
pub use linear::{Linear, LinearBuilder};
pub use relu::ReLU;
pub use sigmoid::Sigmoid;
pub use silu::SiLU;
pub use softplus::Softplus;
pub use tanh::Tanh;
pub use unflatten::Unflatten;
