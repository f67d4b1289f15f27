//! Runs a small operator again and again, recorded for gradients, for `benches/overhead.py` to count.
//!
//! usage: `small_operators OPERATOR forward|both TIMES`, on one thread
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Instant;

use gabor::{Conv2dOptions, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: small_operators add|mul|relu|sum|conv2d forward|both TIMES";
    let mut words = std::env::args().skip(1);
    let operator = words.next().ok_or(usage)?;
    let back = match words.next().as_deref() {
        Some("forward") => false,
        Some("both") => true,
        _ => return Err(usage.into()),
    };
    let times: usize = words.next().ok_or(usage)?.parse()?;
    kernels::par::set_num_threads(1);
    let x = Tensor::ones([1, 1, 6, 8])?.requires_grad_()?;
    let other = Tensor::ones([1, 1, 6, 8])?;
    let kernel = Tensor::ones([1, 1, 1, 2])?.requires_grad_()?;
    let options = Conv2dOptions::new();
    let apply = || match operator.as_str() {
        "add" => x.add(&other),
        "mul" => x.mul(&other),
        "relu" => x.relu(),
        "sum" => x.sum(),
        "conv2d" => x.conv2d(&kernel, None, &options),
        _ => Err(gabor::Error::custom(usage)),
    };
    let gradient = Tensor::ones(apply()?.shape())?;
    let start = Instant::now();
    for _ in 0..times {
        let y = apply()?;
        if back {
            x.zero_grad();
            kernel.zero_grad();
            y.backward_with(&gradient)?;
        }
    }
    println!("{}", start.elapsed().as_nanos());
    Ok(())
}
