//! The workers besides the caller: threads of a pool of rayon that wait a little for the next job before they sleep.
//!
//! A training step is some hundred jobs of a few microseconds to milliseconds each. To wake a sleeping thread takes longer
//! than many of them, so a worker that has done its part first looks for the next job without sleeping, then lets other
//! threads run between the looks, and after about a fifth of a millisecond without work goes back to the pool,
//! which puts it to sleep. If there are more workers than cores, none of them waits like this.

use crate::isa::{self, Isa};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::any::Any;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

/// How often a thread looks before it lets others run, and how often it does that before it sleeps.
const LOOKS: usize = 1500;
const YIELDS: usize = 300;
/// Set in `Job::left` while the caller sleeps.
const ASLEEP: usize = 1 << (usize::BITS - 1);

/// What all workers are to do; lives on the caller's stack until all have done it.
struct Job<'a> {
    /// Called with the number of the worker, from 1.
    run: &'a (dyn Fn(usize) + Sync),
    isa: Isa,
    /// Workers that have not finished.
    left: AtomicUsize,
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Where a worker finds its job: null while it sleeps, [`waiting`] while it looks. On lines of its own.
#[repr(align(128))]
struct Slot(AtomicPtr<Job<'static>>);

/// The mark of a worker that looks for a job.
fn waiting() -> *mut Job<'static> {
    without_provenance_mut(align_of::<Job>())
}

/// Workers for a number of threads, of which the caller is one.
pub(super) struct Team {
    pub(super) threads: usize,
    pool: ThreadPool,
    slots: Vec<Arc<Slot>>,
    patient: bool,
}

impl Team {
    /// Starts the threads; None if the system gives none.
    pub(super) fn new(threads: usize) -> Option<Team> {
        let name = |i| format!("gabor-{i}");
        let pool = ThreadPoolBuilder::new().num_threads(threads - 1).thread_name(name).build().ok()?;
        let slots = (1..threads).map(|_| Arc::new(Slot(AtomicPtr::new(null_mut())))).collect();
        let patient = thread::available_parallelism().is_ok_and(|cores| threads <= cores.get());
        Some(Team { threads, pool, slots, patient })
    }

    /// Calls `run(0)` here and `run(1)` to `run(parts - 1)` on the workers, and returns when all have.
    ///
    /// A panic in any of them goes on here after the others have ended.
    pub(super) fn run(&mut self, parts: usize, run: &(dyn Fn(usize) + Sync)) {
        let workers = &self.slots[..parts - 1];
        let job = Job {
            run,
            isa: isa::isa(),
            left: AtomicUsize::new(workers.len()),
            caller: thread::current(),
            panic: Mutex::new(None),
        };
        let address = (&raw const job).cast::<Job<'static>>().cast_mut();
        for (i, slot) in workers.iter().enumerate() {
            if slot.0.swap(address, Ordering::AcqRel).is_null() {
                let (slot, patient) = (Arc::clone(slot), self.patient);
                self.pool.spawn(move || slot.work(i + 1, patient));
            }
        }
        let mine = catch_unwind(AssertUnwindSafe(|| run(0)));
        job.wait(self.patient);
        let theirs = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = mine.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Slot {
    /// The life of a worker between two sleeps.
    fn work(&self, part: usize, patient: bool) {
        let mut looks = 0;
        loop {
            let job = self.0.load(Ordering::Acquire);
            if job != waiting() {
                // SAFETY: the caller put its address there and waits until `left` is 0, to which this worker counts.
                unsafe { Job::finish(job, part, || self.0.store(waiting(), Ordering::Release)) };
                looks = if patient { 0 } else { LOOKS + YIELDS };
            } else if looks < LOOKS {
                spin_loop();
            } else if looks < LOOKS + YIELDS {
                thread::yield_now();
            } else if self.0.compare_exchange(job, null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
            looks += 1;
        }
    }
}

impl Job<'_> {
    /// Does a worker's part, frees the worker for the next job, and tells the caller.
    ///
    /// # Safety
    /// `job` points to a job that counts this worker in `left`; it may be gone when this returns.
    unsafe fn finish(job: *const Job, part: usize, free: impl FnOnce()) {
        // SAFETY: the job stays until `left` is 0.
        let this = unsafe { &*job };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| isa::with(this.isa, || (this.run)(part)))) {
            *this.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        let caller = this.caller.clone();
        free();
        // The last use of the job: after it the caller may return.
        if this.left.fetch_sub(1, Ordering::AcqRel) == ASLEEP + 1 {
            caller.unpark();
        }
    }

    /// Waits until all workers have finished: first looking, then asleep.
    fn wait(&self, patient: bool) {
        for _ in 0..if patient { 2 * LOOKS } else { 0 } {
            if self.left.load(Ordering::Acquire) == 0 {
                return;
            }
            spin_loop();
        }
        if self.left.fetch_or(ASLEEP, Ordering::AcqRel) > 0 {
            while self.left.load(Ordering::Acquire) != ASLEEP {
                thread::park();
            }
        }
    }
}
