//! Names of parameters and buffers, and loading values by name.

use std::collections::HashMap;
use std::fmt::Write;

use tensor::{DType, Error, Label, Parameter, Result, State, Tensor};

use crate::label;
use crate::module::{Module, Visitor};

/// What is kept under a name.
#[derive(Debug)]
pub(crate) enum Entry {
    Parameter(Parameter),
    State(State),
}

impl Entry {
    pub(crate) fn tensor(&self) -> Tensor {
        match self {
            Entry::Parameter(parameter) => parameter.tensor().detach(),
            Entry::State(state) => state.tensor(),
        }
    }

    fn set(&self, value: &Tensor) -> Result<()> {
        match self {
            Entry::Parameter(parameter) => parameter.set(value),
            Entry::State(state) => state.set(value),
        }
    }

    pub(crate) fn to_dtype(&self, dtype: DType) -> Result<()> {
        match self {
            Entry::Parameter(parameter) => parameter.to_dtype_(dtype),
            Entry::State(state) if state.tensor().dtype().is_float() => state.to_dtype_(dtype),
            Entry::State(_) => Ok(()),
        }
    }
}

/// All parameters and buffers in PyTorch's order: of each module first its parameters, then its buffers, then its
/// submodules, each in the order of the fields.
pub(crate) fn collect<M: Module + ?Sized>(module: &M) -> Vec<(String, Entry)> {
    let mut collector = Collector { path: Vec::new(), counts: vec![0], found: Vec::new() };
    module.visit(&mut collector);
    collector.found.sort_by(|a, b| a.order.cmp(&b.order));
    collector.found.into_iter().map(|found| (found.name, found.entry)).collect()
}

/// The order inside one module, of what is at the end of a path and what is deeper.
const PARAMETER: u8 = 0;
const STATE: u8 = 1;
const SUBMODULE: u8 = 2;

struct Collector {
    path: Vec<(String, usize)>,
    /// How many fields were entered, for each open level.
    counts: Vec<usize>,
    found: Vec<Found>,
}

struct Found {
    /// For each level of the path: what kind of thing it is, and which field.
    order: Vec<(u8, usize)>,
    name: String,
    entry: Entry,
}

impl Collector {
    fn add(&mut self, kind: u8, entry: Entry) {
        let name = self.path.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".");
        let mut order: Vec<(u8, usize)> = self.path.iter().map(|&(_, at)| (SUBMODULE, at)).collect();
        if let Some(last) = order.last_mut() {
            last.0 = kind;
        }
        self.found.push(Found { order, name, entry });
    }
}

impl Visitor for Collector {
    fn enter(&mut self, name: &str) {
        let at = self.counts.last_mut().map_or(0, |count| std::mem::replace(count, *count + 1));
        self.path.push((name.to_owned(), at));
        self.counts.push(0);
    }

    fn leave(&mut self) {
        self.path.pop();
        self.counts.pop();
    }

    fn parameter(&mut self, parameter: &Parameter) {
        parameter.label().offer(self.path.iter().map(|(name, _)| name.as_str()));
        self.add(PARAMETER, Entry::Parameter(parameter.clone()));
    }

    fn state(&mut self, state: &State) {
        self.add(STATE, Entry::State(state.clone()));
    }

    fn label(&mut self, label: &Label) {
        label::offer(label, self.path.iter().map(|(name, _)| name.as_str()));
    }
}

/// What [`Module::load_state_dict`] left alone when it was not strict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Entries of the module that the state does not have.
    pub missing: Vec<String>,
    /// Entries of the state that the module does not have.
    pub unexpected: Vec<String>,
}

/// Checks everything, then sets everything.
pub(crate) fn load(own: &[(String, Entry)], state: &[(String, Tensor)], strict: bool) -> Result<LoadReport> {
    let given: HashMap<&str, &Tensor> = state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let expected: HashMap<&str, &Entry> = own.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
    let (mut missing, mut misshapen, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (name, entry) in own {
        match given.get(name.as_str()) {
            None => missing.push(name.clone()),
            Some(tensor) if tensor.shape() != entry.tensor().shape() => misshapen.push((name, *tensor, entry)),
            Some(tensor) => values.push((entry, tensor.detach().to_dtype(entry.tensor().dtype())?)),
        }
    }
    let surplus = state.iter().filter(|(name, _)| !expected.contains_key(name.as_str()));
    let unexpected: Vec<String> = surplus.map(|(name, _)| name.clone()).collect();
    if misshapen.is_empty() && (!strict || missing.is_empty() && unexpected.is_empty()) {
        for (entry, value) in values {
            entry.set(&value)?;
        }
        return Ok(LoadReport { missing, unexpected });
    }
    let mut text = String::from("the state does not fit the module");
    for (count, kind) in [(missing.len(), "missing"), (unexpected.len(), "unexpected"), (misshapen.len(), "misshapen")]
    {
        if count > 0 {
            // Writing into a string does not fail.
            let _ = write!(text, ", {count} {kind}");
        }
    }
    for name in &missing {
        let near = nearest(name, unexpected.iter().map(String::as_str)).map(|n| format!("; the state has {n}"));
        let _ = write!(
            text,
            "\n  missing {name} {:?}{}",
            expected[name.as_str()].tensor().shape(),
            near.unwrap_or_default()
        );
    }
    for name in &unexpected {
        let near = nearest(name, missing.iter().map(String::as_str)).map(|n| format!("; the module has {n}"));
        let _ = write!(text, "\n  unexpected {name} {:?}{}", given[name.as_str()].shape(), near.unwrap_or_default());
    }
    for (name, tensor, entry) in &misshapen {
        let shapes = (tensor.shape(), entry.tensor());
        let _ =
            write!(text, "\n  misshapen {name}, the state has {:?} and the module {:?}", shapes.0, shapes.1.shape());
    }
    Err(Error::format("load_state_dict", text))
}

/// The most similar name, if one is similar at all.
fn nearest<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = others.map(|other| (distance(name, other), other)).min_by_key(|&(d, _)| d);
    near.filter(|&(d, other)| d <= name.len().max(other.len()) / 2).map(|(_, other)| other)
}

/// How many insertions, deletions and replacements make one name of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, d) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn the_edit_distance_counts_changes() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("conv.weight", "conv1.weight"), 1);
    }
}
