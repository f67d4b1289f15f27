//! Fuzzes the reader of stored states of optimizers and schedules.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gabor_fuzz::state(bytes));
