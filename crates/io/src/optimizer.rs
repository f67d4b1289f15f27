//! Optimizers and schedules in files: tensors as such, numbers as exact text in the metadata.

use std::path::Path;

use optim::{Optimizer, StateDict};
use tensor::{Error, Result};

use crate::archive::Archive;
use crate::model::in_file;

/// Writes the options and the memory of an optimizer to a safetensors file.
///
/// ```
/// use optim::{Optimizer, SGD};
/// use tensor::{Parameter, Tensor};
/// # let folder = std::env::temp_dir().join(format!("gabor-io-optimizer-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("sgd.safetensors");
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// let mut sgd = SGD::new(vec![w.clone()], 0.1).momentum(0.9).build()?;
/// w.tensor().square()?.sum()?.backward()?;
/// sgd.step()?;
/// gabor_io::save_optimizer(&path, &sgd)?;
///
/// let mut resumed = SGD::new(vec![w], 0.5).build()?;
/// gabor_io::load_optimizer(&path, &mut resumed)?;
/// assert_eq!(resumed.lr(), 0.1);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The system refuses; an old file is still there then.
pub fn save_optimizer(path: impl AsRef<Path>, optimizer: &dyn Optimizer) -> Result<()> {
    let mut archive = Archive::default();
    put(&mut archive, "", &optimizer.state_dict()?);
    archive.write(path)
}

/// Restores an optimizer from a file of [`save_optimizer`]. It must be built over as many parameters of the same shapes.
///
/// # Errors
/// The file is missing, broken or that of another optimizer; nothing is changed then.
pub fn load_optimizer(path: impl AsRef<Path>, optimizer: &mut dyn Optimizer) -> Result<()> {
    let path = path.as_ref();
    let archive = Archive::read(path)?;
    let mut state =
        take(&archive, "").map_err(|message| Error::format("load", format!("{}: {message}", path.display())))?;
    state.tensors = archive.tensors;
    optimizer.load_state_dict(&state).map_err(|error| in_file(path, error))
}

/// Adds a state to an archive, with `prefix` before each name.
pub(crate) fn put(archive: &mut Archive, prefix: &str, state: &StateDict) {
    archive.metadata.insert(format!("{prefix}kind"), state.kind.clone());
    // Rust prints the shortest decimal that reads back as the same number, also for infinities and NaN.
    let numbers = state.numbers.iter().map(|(name, value)| (format!("{prefix}{name}"), value.to_string()));
    archive.metadata.extend(numbers);
    archive.tensors.extend(state.tensors.iter().map(|(name, t)| (format!("{prefix}{name}"), t.clone())));
}

/// The state under `prefix` without its tensors, or what is wrong with it.
pub(crate) fn take(archive: &Archive, prefix: &str) -> Result<StateDict, String> {
    let kind = archive.metadata.get(&format!("{prefix}kind"));
    let kind = kind.ok_or("the file holds no state of an optimizer; load a file that save_optimizer wrote")?;
    let mut state = StateDict::new(kind);
    // A range, since a file may have as many states as words.
    for (name, text) in archive.metadata.range(prefix.to_string()..) {
        let Some(name) = name.strip_prefix(prefix) else { break };
        if name == "kind" {
            continue;
        }
        let value = text.parse().map_err(|_| format!("{name} is {text:?}, which is no number"))?;
        state.numbers.push((name.to_string(), value));
    }
    Ok(state)
}
