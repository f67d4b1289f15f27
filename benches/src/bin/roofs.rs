//! Prints what this machine can do at best, and what an operator on a single element costs.
//!
//! usage: `roofs [--threads N] [--budget SECONDS]`
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use benches::{processor, roofs};
use gabor::Tensor;

/// Nanoseconds of an operator on one element that is recorded for gradients, and of its way back.
fn operator(budget: Duration) -> gabor::Result<f64> {
    let x = Tensor::ones([1])?.requires_grad_()?;
    let count = 1000;
    let mut failed = Ok(());
    let chain = || {
        let mut y = x.clone();
        for _ in 0..count {
            y = y.add(&x)?;
        }
        x.zero_grad();
        y.backward()
    };
    let seconds = roofs::shortest(budget, || failed = chain());
    failed?;
    Ok(seconds / f64::from(count) * 1e9)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut threads, mut budget) = (2, 0.5);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--threads" => threads = value.parse()?,
            "--budget" => budget = value.parse()?,
            other => return Err(format!("{other}: unknown; usage: roofs [--threads N] [--budget SECONDS]").into()),
        }
    }
    let budget = Duration::try_from_secs_f64(budget)?;
    println!("{}, {:?}", processor(), kernels::isa::isa());
    for threads in [1, threads] {
        kernels::par::set_num_threads(threads);
        println!("{threads} threads:");
        println!("  multiply-adds of f32      {:8.1} GFLOP/s", roofs::multiply_adds(budget));
        for (place, bytes) in [("16 KiB", 8 << 10), ("512 KiB", 256 << 10), ("8 MiB", 4 << 20), ("256 MiB", 128 << 20)]
        {
            println!("  copies within {place:8}    {:8.1} GB/s read and written", roofs::copies(bytes, budget));
        }
        println!("  dispatch of empty work    {:8.3} us", roofs::dispatch(budget));
    }
    println!("first touch of 4 KiB        {:8.3} us", roofs::page_fault(budget));
    println!("small operator, both ways   {:8.0} ns", operator(budget)?);
    Ok(())
}
