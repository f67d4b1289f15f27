//! The loader: which batches come in which order, and what happens when things go wrong on the other thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gabor_data::{DataLoader, Dataset, Error, Result};
use tensor::{Tensor, manual_seed};

/// The numbers below `len`, an input and a target each; counts the batches it was asked for.
#[derive(Clone)]
struct Numbers {
    len: usize,
    asked: Arc<AtomicUsize>,
    at: fn(usize) -> Result<()>,
}

fn numbers(len: usize) -> Numbers {
    Numbers { len, asked: Arc::default(), at: |_| Ok(()) }
}

impl Dataset for Numbers {
    fn len(&self) -> usize {
        self.len
    }
    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        (self.at)(self.asked.fetch_add(1, Ordering::SeqCst))?;
        let x = Tensor::from_vec(indices.iter().map(|&i| i as i64).collect(), indices.len())?;
        Ok((x.clone(), x))
    }
}

fn epoch(loader: &DataLoader) -> Vec<Vec<i64>> {
    loader.iter().map(|batch| batch.unwrap().0.to_vec().unwrap()).collect()
}

#[test]
fn batches_come_in_order_and_the_last_may_be_smaller() {
    for prefetch in [0, 1, 3] {
        let loader = DataLoader::new(numbers(5), 2).prefetch(prefetch);
        assert_eq!(epoch(&loader), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!((loader.len(), loader.dataset().len()), (3, 5));
        let loader = loader.drop_last(true);
        assert_eq!(epoch(&loader), [[0, 1], [2, 3]]);
        assert_eq!(loader.len(), 2);
    }
}

#[test]
fn sizes_at_the_edges() {
    for prefetch in [0, 2] {
        let batches = |len, size| epoch(&DataLoader::new(numbers(len), size).prefetch(prefetch)).len();
        assert_eq!(batches(0, 3), 0);
        assert_eq!(batches(3, 3), 1);
        assert_eq!(batches(4, 3), 2);
        assert_eq!(batches(3, usize::MAX), 1);
        assert!(epoch(&DataLoader::new(numbers(2), 3).prefetch(prefetch).drop_last(true)).is_empty());
    }
}

#[test]
fn a_batch_size_of_zero_is_an_error() {
    let loader = DataLoader::new(numbers(5), 0).prefetch(1);
    let mut batches = loader.iter();
    let error = batches.next().unwrap().unwrap_err().to_string();
    assert_eq!(error, "data_loader: the batch size is 0; it must be at least 1");
    assert!(batches.next().is_none());
    assert_eq!((loader.len(), DataLoader::new(numbers(5), 0).drop_last(true).len()), (0, 0));
}

#[test]
fn every_epoch_is_another_permutation_and_the_seed_repeats_them() {
    let loader = |prefetch| DataLoader::new(numbers(100), 8).shuffle(3).prefetch(prefetch);
    let (a, b) = (loader(0), loader(2));
    let epochs: Vec<Vec<i64>> = (0..3).map(|_| epoch(&a).concat()).collect();
    for order in &epochs {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(&epoch(&b).concat(), order);
    }
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
    assert_ne!(epoch(&DataLoader::new(numbers(100), 8).shuffle(4)).concat(), epochs[0]);
    b.set_epoch(1);
    assert_eq!(epoch(&b).concat(), epochs[1]);
    assert_eq!(b.epoch(), 2);
}

#[test]
fn the_order_of_a_seed_is_the_same_in_every_release() {
    assert_eq!(epoch(&DataLoader::new(numbers(10), 10).shuffle(42)), [[1, 3, 8, 7, 6, 2, 4, 9, 0, 5]]);
}

#[test]
fn random_numbers_of_a_dataset_do_not_depend_on_the_thread_or_the_caller() {
    let noisy = |prefetch| {
        let data = numbers(6).map(|x| Tensor::rand([x.numel()]));
        DataLoader::new(data, 2).shuffle(1).prefetch(prefetch)
    };
    let draw = |loader: &DataLoader| -> Vec<Vec<f32>> {
        loader.iter().map(|batch| batch.unwrap().0.to_vec().unwrap()).collect()
    };
    let (now, ahead) = (noisy(0), noisy(2));
    manual_seed(5);
    let first = draw(&now);
    let after = Tensor::rand([1]).unwrap().item().unwrap();
    manual_seed(5);
    assert_eq!(after, Tensor::rand([1]).unwrap().item().unwrap(), "the loader used the caller's numbers");
    assert_eq!(draw(&ahead), first);
    assert_ne!(draw(&ahead), first, "the second epoch draws others");
    assert_ne!(first[0], first[1]);
}

#[test]
fn an_error_arrives_in_its_place_and_ends_the_epoch() {
    for prefetch in [0, 1, 4] {
        let mut data = numbers(10);
        data.at = |n| if n == 2 { Err(Error::custom("disk: gone")) } else { Ok(()) };
        let all: Vec<_> = DataLoader::new(data, 2).prefetch(prefetch).iter().collect();
        assert_eq!(all.len(), 3);
        assert!(all[0].is_ok() && all[1].is_ok());
        assert_eq!(all[2].as_ref().unwrap_err().to_string(), "disk: gone");
    }
}

#[test]
fn a_panic_arrives_at_the_caller_and_then_there_is_nothing() {
    for prefetch in [0, 1, 4] {
        let mut data = numbers(10);
        data.at = |n| if n == 1 { panic!("bad image") } else { Ok(()) };
        let mut batches = DataLoader::new(data, 2).prefetch(prefetch).iter();
        assert!(batches.next().unwrap().is_ok());
        let panic = catch_unwind(AssertUnwindSafe(|| batches.next())).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"bad image"));
        if prefetch > 0 {
            assert!(batches.next().is_none());
        }
    }
}

#[test]
fn dropping_an_iterator_early_returns_at_once_and_its_thread_ends() {
    let mut data = numbers(1000);
    data.at = |_| {
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    };
    let held = Arc::new(data);
    let loader = DataLoader::new(held.clone(), 1).prefetch(3);
    let start = Instant::now();
    for taken in 0..4 {
        let batches = loader.iter();
        assert_eq!(batches.take(taken).count(), taken);
    }
    drop(loader);
    // The threads let go of the dataset; nobody waited for 1000 batches.
    while Arc::strong_count(&held) > 1 {
        assert!(start.elapsed() < Duration::from_secs(10), "a thread is still alive");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn prefetch_runs_no_further_ahead_than_asked() {
    let data = numbers(100);
    let asked = data.asked.clone();
    let mut batches = DataLoader::new(data, 1).prefetch(3).iter();
    batches.next().unwrap().unwrap();
    let start = Instant::now();
    while asked.load(Ordering::SeqCst) < 1 + 3 {
        assert!(start.elapsed() < Duration::from_secs(10), "the thread does not run ahead");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(asked.load(Ordering::SeqCst), 1 + 3);
}

#[test]
fn a_loader_is_shared_between_threads_and_prints_its_options() {
    fn shared<T: Send + Sync>(_: &T) {}
    let loader = DataLoader::new(numbers(5), 2).shuffle(9).prefetch(1);
    shared(&loader);
    assert_eq!(
        format!("{loader:?}"),
        "DataLoader { len: 5, batch_size: 2, shuffle: Some(9), drop_last: false, prefetch: 1, epoch: 0 }"
    );
    assert_eq!(loader.iter().size_hint(), (1, Some(3)));
}
