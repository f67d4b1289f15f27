//! Checkpoints: a model, its optimizer and schedules, and notes, in one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nn::Module;
use optim::StateDict;
use tensor::{Error, Result, Tensor};

use crate::archive::Archive;
use crate::model::in_file;
use crate::optimizer::{put, take};

/// All that is needed to go on training where it stopped, in one file that is whole or not there.
///
/// ```
/// use gabor_io::Checkpoint;
/// use nn::{Linear, Module};
/// use optim::{Optimizer, SGD, Schedule, StepLR};
/// # let folder = std::env::temp_dir().join(format!("gabor-io-checkpoint-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("epoch-3.safetensors");
/// let net = Linear::new(2, 3).build()?;
/// let mut sgd = SGD::new(net.parameters(), 0.1).momentum(0.9).build()?;
/// let mut schedule = StepLR::new(&sgd, 30).build()?;
///
/// Checkpoint::new(&net)
///     .with_state("optimizer", sgd.state_dict()?)
///     .with_state("schedule", schedule.state_dict())
///     .with_note("epoch", 3)
///     .save(&path)?;
///
/// let checkpoint = Checkpoint::open(&path)?;
/// checkpoint.load_model(&net)?;
/// sgd.load_state_dict(checkpoint.state("optimizer")?)?;
/// schedule.load_state_dict(checkpoint.state("schedule")?)?;
/// assert_eq!(checkpoint.note("epoch"), Some("3"));
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    path: PathBuf,
    model: Vec<(String, Tensor)>,
    states: BTreeMap<String, StateDict>,
    notes: BTreeMap<String, String>,
}

impl Checkpoint {
    /// A checkpoint of the values that the module has now.
    pub fn new(module: &dyn Module) -> Self {
        Checkpoint { model: module.state_dict(), ..Self::default() }
    }

    /// Adds the state of an optimizer or a schedule under a name of your choice.
    #[must_use]
    pub fn with_state(mut self, name: &str, state: StateDict) -> Self {
        self.states.insert(name.to_string(), state);
        self
    }

    /// Adds a note, such as the epoch or the seed.
    #[must_use]
    pub fn with_note(mut self, name: &str, note: impl ToString) -> Self {
        self.notes.insert(name.to_string(), note.to_string());
        self
    }

    /// Writes the file: beside `path` first, then renamed to it.
    ///
    /// # Errors
    /// The name of a state has a dot in it, or the system refuses; an old file is still there then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let model = self.model.iter().map(|(name, tensor)| (format!("model.{name}"), tensor.clone()));
        let mut archive = Archive::new(model.collect());
        for (name, state) in &self.states {
            if name.contains('.') {
                return Err(Error::argument("save", format!("a state is called {name:?}; use a name without dots")));
            }
            put(&mut archive, &format!("states.{name}."), state);
        }
        archive.metadata.extend(self.notes.iter().map(|(name, note)| (format!("notes.{name}"), note.clone())));
        archive.metadata.insert("format".into(), "gabor checkpoint".into());
        archive.write(path)
    }

    /// Reads a file of [`save`](Self::save).
    ///
    /// # Errors
    /// The file is missing, broken or no checkpoint.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let archive = Archive::read(path)?;
        let broken = |message: String| Error::format("load", format!("{}: {message}", path.display()));
        if archive.metadata.get("format").is_none_or(|format| format != "gabor checkpoint") {
            return Err(broken("no checkpoint, perhaps a model alone; read it with load".into()));
        }
        let mut checkpoint = Checkpoint { path: path.to_path_buf(), ..Self::default() };
        for name in archive.metadata.keys() {
            if let Some(note) = name.strip_prefix("notes.") {
                checkpoint.notes.insert(note.to_string(), archive.metadata[name].clone());
            }
            let state = name.strip_prefix("states.").and_then(|rest| rest.strip_suffix(".kind"));
            if let Some(state) = state.filter(|state| !state.contains('.')) {
                let found = take(&archive, &format!("states.{state}.")).map_err(broken)?;
                checkpoint.states.insert(state.to_string(), found);
            }
        }
        for (name, tensor) in archive.tensors {
            if let Some(name) = name.strip_prefix("model.") {
                checkpoint.model.push((name.to_string(), tensor));
            } else if let Some((state, name)) = name.strip_prefix("states.").and_then(|rest| rest.split_once('.'))
                && let Some(state) = checkpoint.states.get_mut(state)
            {
                state.tensors.push((name.to_string(), tensor));
            }
        }
        Ok(checkpoint)
    }

    /// Gives a module the values of the checkpoint.
    ///
    /// # Errors
    /// Entries are missing, unexpected or of another shape; all are listed, and nothing is changed.
    pub fn load_model(&self, module: &dyn Module) -> Result<()> {
        module.load_state_dict(&self.model, true).map(drop).map_err(|error| in_file(&self.path, error))
    }

    /// The values of the model by name.
    pub fn model(&self) -> &[(String, Tensor)] {
        &self.model
    }

    /// The state under this name, for `load_state_dict`.
    ///
    /// # Errors
    /// There is none; the error lists those that are there.
    pub fn state(&self, name: &str) -> Result<&StateDict> {
        self.states.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.states.keys().map(String::as_str).collect();
            let text = format!("{}: no state is called {name:?}; there are {names:?}", self.path.display());
            Error::format("load", text)
        })
    }

    /// The note under this name.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }
}
