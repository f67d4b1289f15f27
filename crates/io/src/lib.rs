//! Files of tensors: models, optimizers and checkpoints in the safetensors format, which PyTorch reads too.
//!
//! Files are written beside their destination and renamed into place, so that an interrupted save leaves the old file
//! as it was. Reading trusts nothing: a truncated or hostile file is an [`Error::Format`](tensor::Error::Format) that
//! names it.
//!
//! `save(path, &net)` and `load(path, &net)` are all that most programs need.
//!
//! ```
//! use tensor::Tensor;
//! # let folder = std::env::temp_dir().join(format!("gabor-io-lib-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! let path = folder.join("digits.safetensors");
//! gabor_io::write_tensors(&path, &[("images".to_string(), Tensor::ones([2, 8, 8])?)])?;
//! let tensors = gabor_io::read_tensors(&path)?;
//! assert_eq!(tensors[0].0, "images");
//! assert_eq!(tensors[0].1.shape(), &[2, 8, 8]);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), tensor::Error>(())
//! ```
#![forbid(unsafe_code)]

mod archive;
mod atomic;
mod checkpoint;
mod elements;
mod header;
mod model;
mod optimizer;

pub use archive::{Archive, read_tensors, write_tensors};
pub use checkpoint::Checkpoint;
pub use model::{load, save};
pub use optimizer::{load_optimizer, save_optimizer};
