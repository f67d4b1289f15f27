//! Datasets and loading them in batches.
//!
//! A [`Dataset`] answers for any list of indices with a batch of inputs and one of targets; a [`DataLoader`] chooses the
//! indices, shuffles them anew in each epoch and, if asked, prepares batches on a thread of its own.
//!
//! ```
//! use gabor_data::{DataLoader, Digits, Split};
//!
//! let loader = DataLoader::new(Digits::load(Split::Train)?, 64).shuffle(1).prefetch(2);
//! for batch in loader.iter().take(3) {
//!     let (images, labels) = batch?;
//!     assert_eq!(images.shape(), &[64, 1, 8, 8]);
//!     assert_eq!(labels.shape(), &[64]);
//! }
//! # Ok::<(), gabor_data::Error>(())
//! ```
//!
//! | data | where it comes from | images |
//! |---|---|---|
//! | [`Digits`] | embedded in this crate | 1,797 of 8x8 |
//! | [`Mnist`], [`FashionMnist`], [`Kmnist`] | a folder in torchvision's layout, or downloaded there with the feature `download` | 70,000 of 28x28 |
//! | [`read_idx`] | a file in the IDX format, gzipped or plain | |
//! | [`TensorDataset`] | tensors of your own | |
#![forbid(unsafe_code)]

mod dataset;
mod digits;
#[cfg(feature = "download")]
mod download;
mod idx;
mod images;
mod loader;
mod mnist;
#[cfg(feature = "download")]
mod progress;
mod transform;

pub use dataset::{Dataset, Map, TensorDataset};
pub use digits::Digits;
pub use idx::{parse_idx, read_idx};
pub use images::{LabelledImages, Split};
pub use loader::{Batches, DataLoader};
pub use mnist::{FashionMnist, Kmnist, Mnist};
pub use tensor::{Error, Result};
pub use transform::normalize;
