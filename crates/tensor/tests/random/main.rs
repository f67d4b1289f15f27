//! Random shapes, layouts and options against the plainest computation, and hostile ones that must not panic.
//!
//! Inputs are small whole numbers, so results of sums and products are exact in f32 and in every order: where the plain
//! computation is exact, so must be the kernels. `PROPTEST_CASES` sets the number of cases of each test and makes them new ones;
//! without it, few and always the same ones run.

mod array;
mod conv;
mod elementwise;
mod hostile;
mod index;
mod linear;
mod pool;
mod reduce;
mod views;

use proptest::test_runner::{Config, RngSeed};

/// `cases` of always the same seed, unless the environment asks for more.
fn few(cases: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let config = Config { failure_persistence: None, ..Config::default() };
    if asked.is_some() { config } else { Config { cases, rng_seed: RngSeed::Fixed(14), ..config } }
}
