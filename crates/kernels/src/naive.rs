//! The obvious twin of each kernel, in the fewest lines: the oracle of the tests, and the definition of what is computed.

pub mod conv;
pub mod copy;
pub mod elementwise;
pub mod gemm;
pub mod norm;
pub mod optimize;
pub mod pool;
pub mod reduce;
