//! CPU kernels of Gabor: slices in, slices out.
//!
//! A kernel takes contiguous row-major slices and a checked geometry; it knows no tensors. Each picks the instruction set
//! that [`isa`] detected and divides large work over the threads of [`par`]; results have the same bits for any number
//! of threads. All `unsafe` code of the project is in this crate, behind functions that check what they are given.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod adaptive_pool;
pub mod buffer;
pub mod class_loss;
pub mod conv;
mod conv_channels;
mod conv_clipped;
mod conv_cost;
mod conv_depthwise;
mod conv_direct;
mod conv_images;
mod conv_input_channels;
mod conv_input_columns;
mod conv_input_cost;
mod conv_parts;
mod conv_pointwise;
mod conv_positions;
mod conv_weight;
mod conv_weight_channels;
mod conv_weight_cost;
mod conv_weight_images;
mod conv_weight_inputs;
pub mod copy;
pub mod element;
pub mod elementwise;
pub mod gemm;
pub mod handle;
pub mod isa;
pub mod math;
pub mod naive;
pub mod norm;
pub mod optimize;
pub mod par;
pub mod peak;
mod planes;
pub mod pool;
pub mod reduce;
mod softmax;
mod tile;
mod transpose;
mod winograd;
