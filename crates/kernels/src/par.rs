//! Threads: the only module that knows them.
//!
//! Work is divided into contiguous shares of as equal size as possible, one to a thread, and the caller works too. The end of a
//! long share is done in pieces by whoever is ready first: cores are seldom equally fast, and memory serves them unequally.
//! Each output element has one owner and is computed in one order, so results have the same bits for any number of
//! threads and whoever does them. Work of less than about 0.4 million operations stays on the caller's thread, and so does work that is
//! started from inside other parallel work or while another thread has the workers.

mod team;

use crate::element::Element;
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};
use team::Team;

/// The work below which threads cost more than they bring, in floating-point operations.
const THRESHOLD: usize = 400_000;

/// The work of a share, in floating-point operations, from which on its end is for whoever comes there first.
const LONG: usize = 1_000_000;
/// Pieces of the end of a share, a quarter of it.
const PIECES: usize = 3;
/// The most threads that help each other.
const MOST_HELPERS: usize = 64;

/// The number of threads, 0 until it is known.
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// The workers besides the caller, made for a number of threads, and locked by who has them at work.
static TEAM: Mutex<Option<Team>> = Mutex::new(None);

thread_local! {
    /// Whether this thread is at work for a caller of this module.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// The number of threads that kernels use, the caller's included.
///
/// At first the number of cores, or what the environment variable `GABOR_NUM_THREADS` says.
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let asked = std::env::var("GABOR_NUM_THREADS").ok().and_then(|v| v.trim().parse().ok()).filter(|&n| n > 0);
            let cores = || std::thread::available_parallelism().map_or(1, usize::from);
            let n = asked.unwrap_or_else(cores).min(1024);
            THREADS.compare_exchange(0, n, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(n)
        }
        n => n,
    }
}

/// Sets the number of threads that kernels use; 0 counts as 1. Results do not depend on it.
pub fn set_num_threads(n: usize) {
    THREADS.store(n.clamp(1, 1024), Ordering::Relaxed);
}

/// Marks this thread as busy until it is dropped.
struct Busy(bool);

impl Busy {
    fn new() -> Busy {
        Busy(BUSY.replace(true))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(self.0);
    }
}

/// Calls `f` with ranges that together are `0..n`, on several threads if `n * work_per_item` operations are worth it.
///
/// How many ranges there are depends on the number of threads and on which is faster: what `f` computes for an item must not.
pub fn for_each_range(n: usize, work_per_item: usize, f: impl Fn(Range<usize>) + Sync) {
    ranges(n, work_per_item, &f);
}

/// The threads among which `n` items of so many operations are divided, of so many that there are.
pub(crate) fn threads_for(n: usize, work_per_item: usize, threads: usize) -> usize {
    let alone = n <= 1 || n.saturating_mul(work_per_item) < THRESHOLD;
    if alone { 1 } else { threads.min(n) }
}

/// How many of some threads so many operations are worth being divided for, where that costs more than where there are items anyway.
pub(crate) fn threads_worth(work: usize, threads: usize) -> usize {
    threads.min(work / THRESHOLD).max(1)
}

/// [`for_each_range`], compiled once: the body of a kernel is then too, instead of once for each way to start it.
fn ranges(n: usize, work_per_item: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
    if n == 0 {
        return;
    }
    let parts = if BUSY.get() { 1 } else { threads_for(n, work_per_item, num_threads()) };
    let share = |part: usize| part * n / parts..(part + 1) * n / parts;
    let long = n >= 4 * PIECES * parts && n.saturating_mul(work_per_item) >= LONG * parts && parts <= MOST_HELPERS;
    let done = match parts {
        0 | 1 => false,
        _ if long => {
            let tail = |share: Range<usize>| share.end - share.len() / 4..share.end;
            let taken = [const { AtomicUsize::new(0) }; MOST_HELPERS];
            together(parts, &|part| {
                f(share(part).start..tail(share(part)).start);
                for owner in (part..parts).chain(0..part) {
                    let tail = tail(share(owner));
                    let next = || Some(taken[owner].fetch_add(1, Ordering::Relaxed)).filter(|&piece| piece < PIECES);
                    while let Some(piece) = next() {
                        let start = |piece: usize| tail.start + piece * tail.len() / PIECES;
                        f(start(piece)..start(piece + 1));
                    }
                }
            })
        }
        _ => together(parts, &|part| f(share(part))),
    };
    if !done {
        f(0..n);
    }
}

/// Calls `f` with 0 to `parts - 1`, each on a thread of its own; false if another caller has the workers, or none can start.
fn together(parts: usize, f: &(dyn Fn(usize) + Sync)) -> bool {
    let mut team = match TEAM.try_lock() {
        Ok(team) => team,
        Err(TryLockError::Poisoned(team)) => team.into_inner(),
        Err(TryLockError::WouldBlock) => return false,
    };
    let threads = num_threads();
    if team.as_ref().is_none_or(|t| t.threads != threads) {
        *team = Team::new(threads);
    }
    let Some(team) = team.as_mut().filter(|_| parts <= threads) else {
        return false;
    };
    team.run(parts, &|part| {
        let _busy = Busy::new();
        f(part);
    });
    true
}

/// A pointer that may cross threads: whoever uses it makes sure that no two threads write the same element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: the pointer is only a number until it is used, which is an unsafe operation of its own.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer; a method so that closures capture the whole wrapper.
    #[inline(always)]
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

/// Divides `y` into chunks of `chunk` elements, of which the last may be short, and calls `f(index, chunk)` for each.
///
/// Runs on several threads if `work_per_chunk` operations for each chunk are worth it. Nothing happens if `chunk` is 0.
///
/// ```
/// let mut y = vec![0; 10];
/// gabor_kernels::par::for_each_chunk(&mut y, 4, 1, |i, y: &mut [i64]| y.fill(i as i64));
/// assert_eq!(y, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
/// ```
pub fn for_each_chunk<T: Element>(
    y: &mut [T],
    chunk: usize,
    work_per_chunk: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    for_each_chunk2(y, chunk, &mut [(); 0], 0, work_per_chunk, |i, y, _| f(i, y));
}

/// [`for_each_chunk`] for two results: calls `f(index, chunk of a, chunk of b)`.
///
/// There are as many chunks as `a` has; the chunks of `b` beyond its end are short or empty.
pub fn for_each_chunk2<A: Send, B: Send>(
    a: &mut [A],
    chunk_a: usize,
    b: &mut [B],
    chunk_b: usize,
    work_per_chunk: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    if chunk_a == 0 {
        return;
    }
    if a.len() <= chunk_a {
        // One chunk stays here; small operators come this way.
        if !a.is_empty() {
            let end = chunk_b.min(b.len());
            f(0, a, &mut b[..end]);
        }
        return;
    }
    let (len_a, len_b) = (a.len(), b.len());
    let (a, b) = (Shared(a.as_mut_ptr()), Shared(b.as_mut_ptr()));
    for_each_range(len_a.div_ceil(chunk_a), work_per_chunk, |range| {
        for i in range {
            let at = i * chunk_a;
            // SAFETY: chunk i is inside of the slice and only the owner of i touches it.
            let mine = unsafe { std::slice::from_raw_parts_mut(a.get().add(at), chunk_a.min(len_a - at)) };
            let at = (i.saturating_mul(chunk_b)).min(len_b);
            // SAFETY: as above.
            let other = unsafe { std::slice::from_raw_parts_mut(b.get().add(at), chunk_b.min(len_b - at)) };
            f(i, mine, other);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_visited_once() {
        for n in [0, 1, 2, 3, 7, 100] {
            for work in [0, THRESHOLD] {
                let mut seen = vec![0u8; n];
                for_each_chunk(&mut seen, 1, work, |_, y| y[0] += 1);
                assert!(seen.iter().all(|&s| s == 1));
            }
        }
    }

    #[test]
    fn items_of_long_shares_are_visited_once() {
        for n in [4 * PIECES * 2 - 1, 4 * PIECES * 2, 99, 1000] {
            let mut seen = vec![0u8; n];
            for_each_chunk(&mut seen, 1, LONG, |_, y| y[0] += 1);
            assert!(seen.iter().all(|&s| s == 1));
        }
    }

    #[test]
    fn who_is_ready_first_helps_the_others() {
        if num_threads() < 2 {
            return;
        }
        // Until the workers are free: other tests use them too.
        for _ in 0..1000 {
            let (starts, helped) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
            for_each_range(1000, LONG, |range| {
                starts.lock().unwrap().push(range.start);
                if range.start == 0 && range.end < 1000 {
                    // This thread is busy until somebody else has begun with the end of its share.
                    let start = std::time::Instant::now();
                    while !starts.lock().unwrap().contains(&range.end) {
                        assert!(start.elapsed().as_secs() < 60, "nobody helps");
                        std::thread::yield_now();
                    }
                    helped.store(1, Ordering::Relaxed);
                }
            });
            if helped.into_inner() == 1 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the workers were never free");
    }

    #[test]
    fn chunks_of_two_results_go_together() {
        let (mut a, mut b) = (vec![0i64; 11], vec![0i64; 4]);
        for_each_chunk2(&mut a, 3, &mut b, 1, THRESHOLD, |i, a, b| {
            a.fill(i as i64);
            b.fill(i as i64);
        });
        assert_eq!(a, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]);
        assert_eq!(b, [0, 1, 2, 3]);
    }

    #[test]
    fn nested_work_stays_on_its_thread() {
        for_each_range(4, THRESHOLD, |outer| {
            let me = std::thread::current().id();
            for_each_range(4, THRESHOLD, |_| assert_eq!(std::thread::current().id(), me));
            assert!(!outer.is_empty());
        });
    }

    #[test]
    fn callers_at_once_and_workers_asleep() {
        let work = || {
            for round in 0..20 {
                let mut seen = vec![0u8; 64];
                for_each_chunk(&mut seen, 1, THRESHOLD, |_, y| y[0] += 1);
                assert!(seen.iter().all(|&s| s == 1));
                // Longer than a worker looks for the next job.
                std::thread::sleep(std::time::Duration::from_millis(round % 3));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(work);
            }
        });
    }

    #[test]
    fn more_workers_than_cores() {
        let mut team = Team::new(9).unwrap();
        for parts in [2, 9, 3] {
            let done = AtomicUsize::new(0);
            team.run(parts, &|part| {
                done.fetch_add(1 << (4 * part), Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), (0..parts).map(|part| 1 << (4 * part)).sum());
        }
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let caught = std::panic::catch_unwind(|| for_each_range(2, THRESHOLD, |r| assert!(r.start == 7)));
        assert!(caught.is_err());
        assert!(!BUSY.get());
        // On whichever thread it was: all of them work on.
        for part in 0..8 {
            let caught = std::panic::catch_unwind(|| {
                for_each_range(8, THRESHOLD, |range| assert!(!range.contains(&part), "part {part}"));
            });
            assert!(caught.is_err());
            let mut seen = vec![0u8; 100];
            for_each_chunk(&mut seen, 1, THRESHOLD, |_, y| y[0] += 1);
            assert!(seen.iter().all(|&s| s == 1));
        }
    }
}
