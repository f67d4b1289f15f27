//! CPU kernels of Gabor: slices in, slices out.
