//! Fuzzes the reader of safetensors files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gabor_fuzz::archive(bytes));
