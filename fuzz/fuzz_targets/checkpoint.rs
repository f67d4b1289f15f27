//! Fuzzes the reader of checkpoints, and models and optimizers in files of their own.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gabor_fuzz::checkpoint(bytes));
