//! What the machine can do at best: the roofs that times are held against.

use std::hint::black_box;
use std::time::{Duration, Instant};

use kernels::buffer::Buffer;
use kernels::copy::copy_slice;
use kernels::{par, peak};

/// Work that is worth all threads, whatever it is.
const MUCH: usize = 1 << 40;

/// The shortest time of a call in seconds, of all within `budget`, three at least.
pub fn shortest(budget: Duration, mut f: impl FnMut()) -> f64 {
    let (mut best, mut calls) = (f64::INFINITY, 0);
    let start = Instant::now();
    while calls < 3 || start.elapsed() < budget {
        let now = Instant::now();
        f();
        best = best.min(now.elapsed().as_secs_f64());
        calls += 1;
    }
    best
}

/// Floating-point operations a second of f32 multiply-adds on all threads, in GFLOP/s.
pub fn multiply_adds(budget: Duration) -> f64 {
    let threads = par::num_threads();
    let rounds = 200_000;
    let operations = threads * peak::multiply_adds(1).1 * rounds;
    let seconds = shortest(budget, || {
        par::for_each_range(threads, MUCH, |range| {
            for _ in range {
                black_box(peak::multiply_adds(rounds));
            }
        });
    });
    operations as f64 / seconds / 1e9
}

/// Bytes read and written a second by copies of blocks of `bytes` on each thread, in GB/s.
pub fn copies(bytes: usize, budget: Duration) -> f64 {
    let threads = par::num_threads();
    let words = bytes / 4;
    let (from, mut to) = (Buffer::filled(threads * words, 1f32), Buffer::filled(threads * words, 0f32));
    let to = to.make_mut();
    // Small blocks are copied many times in one measurement.
    let times = ((16 << 20) / bytes).max(1);
    let seconds = shortest(budget, || {
        par::for_each_chunk(to, words, MUCH, |i, to| {
            let from = &from[i * words..(i + 1) * words];
            for _ in 0..times {
                copy_slice(black_box(from), to);
                black_box(&mut *to);
            }
        });
    });
    (2 * bytes * threads * times) as f64 / seconds / 1e9
}

/// Microseconds to hand empty work to all threads and wait for it.
pub fn dispatch(budget: Duration) -> f64 {
    let times = 100;
    let seconds = shortest(budget, || {
        for _ in 0..times {
            par::for_each_range(par::num_threads(), MUCH, |range| {
                black_box(range);
            });
        }
    });
    seconds / f64::from(times) * 1e6
}

/// Microseconds to touch a page of 4 KiB for the first time.
pub fn page_fault(budget: Duration) -> f64 {
    let pages = 1 << 14;
    let seconds = shortest(budget, || {
        // Zeroed memory of more than 32 MiB always comes fresh from the system; less may be used again.
        let mut fresh = black_box(vec![0u8; pages * 4096]);
        fresh.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        black_box(&fresh);
    });
    seconds / pages as f64 * 1e6
}
