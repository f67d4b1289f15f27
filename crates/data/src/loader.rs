//! Batches of a dataset: in order or shuffled, on the caller's thread or prepared ahead on another.
//!
//! What comes out follows from the dataset, the options and the number of the epoch alone: neither `prefetch` nor the
//! caller's random numbers change it.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use tensor::{Error, Generator, Result, Tensor, with_default_generator};

use crate::dataset::Dataset;

/// An input batch and its targets, or why there are none.
type Batch = Result<(Tensor, Tensor)>;

/// Walks a dataset in batches.
///
/// ```
/// use gabor_data::{DataLoader, TensorDataset};
/// use tensor::Tensor;
///
/// let data = TensorDataset::new(Tensor::zeros([10, 3])?, Tensor::arange(0i64, 10, 1)?)?;
/// let loader = DataLoader::new(data, 4).shuffle(7).drop_last(true).prefetch(2);
/// assert_eq!(loader.len(), 2);
/// for epoch in 0..3 {
///     for batch in &loader {
///         let (x, y) = batch?;
///         assert_eq!((x.dims(), y.dims()), (&[4, 3][..], &[4][..]));
///     }
/// }
/// # Ok::<(), gabor_data::Error>(())
/// ```
pub struct DataLoader {
    dataset: Arc<dyn Dataset>,
    batch_size: usize,
    seed: u64,
    shuffle: bool,
    drop_last: bool,
    prefetch: usize,
    epoch: AtomicU64,
}

impl DataLoader {
    /// Batches of `batch_size` pairs of `dataset` in order; the last one may be smaller.
    ///
    /// A batch size of 0 is reported by the first batch.
    pub fn new(dataset: impl Dataset + 'static, batch_size: usize) -> Self {
        DataLoader {
            dataset: Arc::new(dataset),
            batch_size,
            seed: 0,
            shuffle: false,
            drop_last: false,
            prefetch: 0,
            epoch: AtomicU64::new(0),
        }
    }

    /// Another random order in each epoch. The order follows from `seed` and the number of the epoch.
    #[must_use]
    pub fn shuffle(mut self, seed: u64) -> Self {
        (self.shuffle, self.seed) = (true, seed);
        self
    }

    /// Whether a last batch that is not full is left out.
    #[must_use]
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// Prepares up to `batches` batches ahead on a background thread; 0 prepares each when it is asked for, which is better where
    /// kernels keep all cores busy and a batch takes little: one of 64 images of MNIST takes 15 us.
    #[must_use]
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// The number of batches in an epoch.
    #[allow(clippy::len_without_is_empty, reason = "PyTorch's len(loader); nobody asks whether a loader is empty")]
    pub fn len(&self) -> usize {
        match self.drop_last {
            true => self.dataset.len().checked_div(self.batch_size).unwrap_or(0),
            false if self.batch_size == 0 => 0,
            false => self.dataset.len().div_ceil(self.batch_size),
        }
    }

    /// The dataset.
    pub fn dataset(&self) -> &dyn Dataset {
        &*self.dataset
    }

    /// The number of the next epoch, from 0.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Makes `epoch` the next one, so that a training run that was interrupted sees the same batches again.
    ///
    /// ```
    /// use gabor_data::{DataLoader, Digits, Split};
    ///
    /// let loader = || Ok::<_, gabor_data::Error>(DataLoader::new(Digits::load(Split::Test)?, 100).shuffle(7));
    /// let (first, resumed) = (loader()?, loader()?);
    /// first.iter(); // epoch 0
    /// resumed.set_epoch(1);
    /// let labels = |l: &DataLoader| l.iter().next().unwrap()?.1.to_vec::<i64>();
    /// assert_eq!(labels(&first)?, labels(&resumed)?);
    /// # Ok::<(), gabor_data::Error>(())
    /// ```
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Starts the next epoch. After an error there are no further batches.
    ///
    /// With [`prefetch`](Self::prefetch), a panic of the dataset arrives at the caller's `next`; an iterator dropped
    /// early lets its thread go, which ends after the batch that it is busy with.
    pub fn iter(&self) -> Batches {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        match self.plan(epoch) {
            Ok(plan) if self.prefetch > 0 && plan.count > 1 => self.ahead(plan),
            Ok(plan) => Batches { remaining: plan.count, source: Source::Now(Box::new(plan)) },
            Err(error) => Batches { remaining: 1, source: Source::Failed(error) },
        }
    }

    fn plan(&self, epoch: u64) -> Result<Plan> {
        if self.batch_size == 0 {
            return Err(Error::argument("data_loader", "the batch size is 0; it must be at least 1"));
        }
        let random = Generator::new(self.seed).fork(epoch);
        let order = match self.shuffle {
            true => Some(permutation(random.clone(), self.dataset.len())?.into()),
            false => None,
        };
        Ok(Plan {
            dataset: self.dataset.clone(),
            len: self.dataset.len(),
            order,
            batch_size: self.batch_size,
            random,
            next: 0,
            count: self.len(),
        })
    }

    /// Hands the plan to a thread, or keeps it where the system has no thread to give.
    fn ahead(&self, plan: Plan) -> Batches {
        let remaining = plan.count;
        let kept = plan.clone();
        let (sender, receiver) = sync_channel(self.prefetch - 1); // and one in the hands of the thread
        let work = move || {
            for batch in plan {
                // The iterator is gone: nobody wants the rest.
                if sender.send(batch).is_err() {
                    return;
                }
            }
        };
        let source = match Builder::new().name("gabor-data".into()).spawn(work) {
            Ok(worker) => Source::Ahead { batches: receiver, worker: Some(worker) },
            Err(_) => Source::Now(Box::new(kept)),
        };
        Batches { remaining, source }
    }
}

impl fmt::Debug for DataLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataLoader")
            .field("len", &self.dataset.len())
            .field("batch_size", &self.batch_size)
            .field("shuffle", &self.shuffle.then_some(self.seed))
            .field("drop_last", &self.drop_last)
            .field("prefetch", &self.prefetch)
            .field("epoch", &self.epoch)
            .finish()
    }
}

impl IntoIterator for &DataLoader {
    type Item = Batch;
    type IntoIter = Batches;
    fn into_iter(self) -> Batches {
        self.iter()
    }
}

/// One epoch's batches; made by [`DataLoader::iter`].
pub struct Batches {
    source: Source,
    remaining: usize,
}

enum Source {
    Now(Box<Plan>),
    Ahead { batches: Receiver<Batch>, worker: Option<JoinHandle<()>> },
    Failed(Error),
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.remaining == 0 {
            return None;
        }
        self.remaining -= 1;
        let batch = match &mut self.source {
            Source::Now(plan) => plan.next(),
            Source::Failed(error) => Some(Err(error.clone())),
            Source::Ahead { batches, worker } => batches.recv().ok().or_else(|| {
                // The thread ended before its last batch: it panicked.
                let panic = worker.take().and_then(|worker| worker.join().err());
                self.remaining = 0;
                panic.map(|panic| resume_unwind(panic))
            }),
        };
        if !matches!(batch, Some(Ok(_))) {
            self.remaining = 0;
        }
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error ends the epoch early.
        (self.remaining.min(1), Some(self.remaining))
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

/// What an epoch will be: all that is random about it is decided.
#[derive(Clone)]
struct Plan {
    dataset: Arc<dyn Dataset>,
    len: usize,
    order: Option<Arc<[usize]>>,
    batch_size: usize,
    random: Generator,
    next: usize,
    count: usize,
}

impl Iterator for Plan {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.next == self.count {
            return None;
        }
        let start = self.next * self.batch_size;
        let end = self.len.min(start.saturating_add(self.batch_size));
        let _lent = Lent::new(self.random.fork(1 + self.next as u64));
        self.next += 1;
        Some(match &self.order {
            Some(order) => self.dataset.batch(&order[start..end]),
            None => self.dataset.batch(&(start..end).collect::<Vec<_>>()),
        })
    }
}

/// While it lives, the thread's default generator is one of the loader's: a dataset that draws random numbers
/// (augmentation) draws the same ones on any thread and leaves those of the caller alone.
struct Lent(Generator);

impl Lent {
    fn new(mut generator: Generator) -> Self {
        with_default_generator(|default| std::mem::swap(default, &mut generator));
        Lent(generator)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        with_default_generator(|default| std::mem::swap(default, &mut self.0));
    }
}

/// The numbers below `len` in random order.
fn permutation(mut random: Generator, len: usize) -> Result<Vec<usize>> {
    random.randperm(len)?.with_slice(|order: &[i64]| order.iter().map(|&i| i as usize).collect())
}
