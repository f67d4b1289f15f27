//! The operators, one file each, and the slice that lists them all.

mod activation;
mod arith;
mod cast;
mod cat;
mod compare;
mod reduce;
mod select;
mod unary;
mod view;

pub use activation::Gelu;
