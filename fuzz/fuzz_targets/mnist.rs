//! Fuzzes the reader of pairs of files of the MNIST data set.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gabor_fuzz::mnist(bytes));
