//! CPU kernels of Gabor: slices in, slices out.
pub mod adaptive_pool;
pub mod buffer;
pub mod conv;
pub mod copy;
pub mod element;
pub mod elementwise;
pub mod gemm;
pub mod math;
pub mod optimize;
pub mod pool;
pub mod reduce;
mod softmax;
