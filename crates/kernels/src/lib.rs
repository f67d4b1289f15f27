//! CPU kernels of Gabor: slices in, slices out.
pub mod buffer;
pub mod copy;
pub mod element;
pub mod elementwise;
pub mod reduce;
