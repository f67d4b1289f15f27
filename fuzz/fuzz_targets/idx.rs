//! Fuzzes the reader of IDX files, plain and gzipped.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gabor_fuzz::idx(bytes));
