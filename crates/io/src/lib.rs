//! Part of Gabor.
#![forbid(unsafe_code)]
