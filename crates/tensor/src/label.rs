//! Where a layer stands in its model, so that its errors can say so.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The path of a layer in its model, as in the keys of a state dict: `features.0`. A layer has one as a field; every
/// walk through a model (for its parameters, its state, `train`, `eval`) writes the path into it, and the longest wins.
///
/// A clone is a layer of its own: it starts with the same path and may get another.
///
/// ```
/// use gabor_tensor::{Error, Label};
/// let label = Label::default();
/// label.offer(["fc1"]);
/// label.offer(["classifier", "fc1"]);
/// label.offer(["fc1"]); // somebody walked through a part of the model
/// assert_eq!(label.path().as_deref(), Some("classifier.fc1"));
/// let error = Error::custom("linear: too narrow").at(&label, None);
/// assert_eq!(error.to_string(), "linear `classifier.fc1`: too narrow");
/// ```
#[derive(Default)]
pub struct Label {
    cell: Arc<Mutex<Option<Known>>>,
}

/// A path and how many names it has.
#[derive(Clone)]
struct Known {
    path: String,
    depth: usize,
}

impl Label {
    /// The longest path that was offered. It is empty if the layer is itself where a walk began.
    pub fn path(&self) -> Option<String> {
        self.known().as_ref().map(|known| known.path.clone())
    }

    /// Whether a path of so many names would tell nothing new: one as long is known. Cheaper than to offer it.
    pub fn knows(&self, names: usize) -> bool {
        self.known().as_ref().is_some_and(|known| known.depth >= names)
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a path, name by name, unless a longer one is known.
    pub fn offer<'a>(&self, names: impl IntoIterator<Item = &'a str, IntoIter: Clone>) {
        let names = names.into_iter();
        let mut cell = self.known();
        let depth = cell.as_ref().map_or(0, |known| known.depth);
        let same = || cell.as_ref().is_some_and(|known| segments(&known.path).eq(names.clone()));
        if names.clone().count() >= depth && !same() {
            let path = names.collect::<Vec<_>>().join(".");
            *cell = Some(Known { depth: segments(&path).count(), path });
        }
    }

    /// The same cell, so that an error sees a path that is found later.
    pub(crate) fn share(&self) -> Label {
        Label { cell: self.cell.clone() }
    }
}

impl Clone for Label {
    fn clone(&self) -> Self {
        Label { cell: Arc::new(Mutex::new(self.known().clone())) }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({})", self.path().unwrap_or_default())
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|name| !name.is_empty())
}

fn join(above: &str, below: &str) -> String {
    let dot = if above.is_empty() || below.is_empty() { "" } else { "." };
    format!("{above}{dot}{below}")
}

/// Where an error happened: the path of the layer if anybody knows it, else the line that called the layer.
#[derive(Default)]
pub struct Place {
    label: Option<Label>,
    below: String,
    line: Option<&'static Location<'static>>,
    /// Whether the label is that of a parameter, which the layer holds.
    parameter: bool,
}

impl Place {
    /// The place of the layer that `label` belongs to, called on `line`.
    pub(crate) fn of(label: &Label, line: Option<&'static Location<'static>>) -> Self {
        Place { label: Some(label.share()), line, ..Place::default() }
    }

    /// The place of the layer that holds the parameter with this label.
    pub(crate) fn of_owner(parameter: &Label) -> Self {
        Place { label: Some(parameter.share()), parameter: true, ..Place::default() }
    }

    /// Whether it is concluded from a parameter: a layer with a label knows better.
    pub(crate) fn is_guess(&self) -> bool {
        self.parameter
    }

    /// The place of a layer without a label, called on `line`.
    pub(crate) fn on(line: &'static Location<'static>) -> Self {
        Place { line: Some(line), ..Place::default() }
    }

    /// The path, as in the keys of a state dict; nothing if the layer was called alone or nobody walked through its model.
    pub fn path(&self) -> Option<String> {
        let path = join(&self.known().unwrap_or_default(), &self.below);
        Some(path).filter(|path| !path.is_empty())
    }

    fn known(&self) -> Option<String> {
        let path = self.label.as_ref().and_then(Label::path)?;
        if self.parameter {
            return Some(path.rsplit_once('.').map_or(String::new(), |(layer, _)| layer.to_owned()));
        }
        Some(path)
    }

    /// Seen from outside: the layer is called `name` there.
    pub(crate) fn enter(&mut self, name: &str) {
        match self.known() {
            // A walk through the whole model has seen the container too.
            Some(path) if segments(&path).any(|part| part == name) => {}
            Some(path) => {
                let below = join(name, &join(&path, &self.below));
                *self = Place { below, line: self.line, ..Place::default() };
            }
            None => self.below = join(name, &self.below),
        }
    }

    /// Seen from a container that has a label: what is at `position` failed.
    pub(crate) fn enter_labelled(&mut self, container: &Label, position: &str) {
        if self.known().is_none() {
            (self.label, self.parameter) = (Some(container.share()), false);
            self.below = join(position, &self.below);
        }
    }

    /// `text` of an error with the place behind the name of the operation.
    pub(crate) fn put_into(&self, text: &str) -> String {
        let place = match (self.path(), self.line) {
            (Some(path), _) => format!("`{path}`"),
            (None, Some(line)) => format!("at {}:{}", line.file(), line.line()),
            (None, None) => return text.to_owned(),
        };
        match text.split_once(": ") {
            Some((op, rest)) => format!("{op} {place}: {rest}"),
            None => format!("{place}: {text}"),
        }
    }
}

impl Clone for Place {
    fn clone(&self) -> Self {
        let label = self.label.as_ref().map(Label::share);
        Place { label, below: self.below.clone(), line: self.line, parameter: self.parameter }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.put_into("").trim_start_matches(':').trim_end_matches(": "))
    }
}
