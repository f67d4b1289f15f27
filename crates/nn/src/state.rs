//! Names of parameters and buffers, and loading values by name.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use tensor::{DType, Error, Parameter, Result, State, Tensor};

use crate::label::{self, Label};
use crate::module::{Module, Visitor};

/// What is kept under a name.
#[derive(Debug)]
enum Entry {
    Parameter(Parameter),
    State(State),
}

impl Entry {
    fn tensor(&self) -> Tensor {
        match self {
            Entry::Parameter(parameter) => parameter.tensor().detach(),
            Entry::State(state) => state.tensor(),
        }
    }

    fn is_lazy(&self) -> bool {
        match self {
            Entry::Parameter(parameter) => parameter.is_lazy(),
            Entry::State(state) => state.is_lazy(),
        }
    }

    /// Whether a tensor of these sizes can be loaded. A lazy entry takes its open sizes, which are 0, from the tensor.
    fn takes(&self, dims: &[usize]) -> bool {
        let own = self.tensor();
        let fits = |(&own, &other): (&usize, &usize)| own == other || own == 0 && other > 0;
        own.dims() == dims || self.is_lazy() && own.rank() == dims.len() && own.dims().iter().zip(dims).all(fits)
    }

    fn set(&self, value: &Tensor) -> Result<()> {
        // The state of a layer that was lazy itself leaves this one as it is.
        let open = self.is_lazy() && self.tensor().numel() == 0 && value.numel() == 0;
        match self {
            _ if open => Ok(()),
            Entry::Parameter(parameter) if parameter.is_lazy() => parameter.materialize(value),
            Entry::State(state) if state.is_lazy() => state.materialize(value),
            Entry::Parameter(parameter) => parameter.set(value),
            Entry::State(state) => state.set(value),
        }
    }

    fn to_dtype(&self, dtype: DType) -> Result<()> {
        match self {
            Entry::Parameter(parameter) => parameter.to_dtype_(dtype),
            Entry::State(state) if state.tensor().dtype().is_float() => state.to_dtype_(dtype),
            Entry::State(_) => Ok(()),
        }
    }
}

/// All parameters and buffers in PyTorch's order: of each module first its parameters, then its buffers, then its
/// submodules, each in the order of the fields.
fn collect(module: &dyn Module) -> Vec<(String, Entry)> {
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

/// The parameters with their names, a shared one once.
pub(crate) fn named_parameters(module: &dyn Module) -> Vec<(String, Parameter)> {
    let mut seen = HashSet::new();
    let parameters = collect(module).into_iter().filter_map(|(name, entry)| match entry {
        Entry::Parameter(parameter) => Some((name, parameter)),
        Entry::State(_) => None,
    });
    parameters.filter(|(_, parameter)| seen.insert(parameter.id())).collect()
}

/// The buffers with their names, a shared one once.
pub(crate) fn named_buffers(module: &dyn Module) -> Vec<(String, State)> {
    let mut seen = HashSet::new();
    let states = collect(module).into_iter().filter_map(|(name, entry)| match entry {
        Entry::State(state) => Some((name, state)),
        Entry::Parameter(_) => None,
    });
    states.filter(|(_, state)| seen.insert(state.id())).collect()
}

pub(crate) fn state_dict(module: &dyn Module) -> Vec<(String, Tensor)> {
    collect(module).into_iter().map(|(name, entry)| (name, entry.tensor())).collect()
}

pub(crate) fn to_dtype(module: &dyn Module, dtype: DType) -> Result<()> {
    collect(module).iter().try_for_each(|(_, entry)| entry.to_dtype(dtype))
}

pub(crate) fn requires_grad_(module: &dyn Module, on: bool) {
    module.parameters().iter().for_each(|parameter| parameter.requires_grad_(on));
}

/// The number of elements of the parameters that are there yet.
pub(crate) fn num_parameters(module: &dyn Module) -> usize {
    module.parameters().iter().filter(|p| !p.is_lazy()).map(|parameter| parameter.shape().numel()).sum()
}

pub(crate) fn get_parameter(module: &dyn Module, name: &str) -> Result<Parameter> {
    let own = collect(module);
    let parameters = own.iter().filter_map(|(own, entry)| match entry {
        Entry::Parameter(parameter) => Some((own.as_str(), parameter)),
        Entry::State(_) => None,
    });
    find("get_parameter", parameters, name).cloned()
}

pub(crate) fn get_buffer(module: &dyn Module, name: &str) -> Result<State> {
    let own = collect(module);
    let states = own.iter().filter_map(|(own, entry)| match entry {
        Entry::State(state) => Some((own.as_str(), state)),
        Entry::Parameter(_) => None,
    });
    find("get_buffer", states, name).cloned()
}

fn find<'a, T>(op: &'static str, mut entries: impl Iterator<Item = (&'a str, T)> + Clone, name: &str) -> Result<T> {
    if let Some((_, found)) = entries.clone().find(|(own, _)| *own == name) {
        return Ok(found);
    }
    let names: Vec<&str> = entries.by_ref().map(|(own, _)| own).collect();
    let near = nearest(name, &names, true).map(|near| format!("perhaps `{near}`"));
    let fix = near.unwrap_or_else(|| "list the names with named_parameters or named_buffers".to_owned());
    Err(Error::argument(op, format!("there is no `{name}`; {fix}")))
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
pub(crate) fn load(module: &dyn Module, state: &[(String, Tensor)], strict: bool) -> Result<LoadReport> {
    let own = collect(module);
    let (mut given, mut duplicate) = (HashMap::<&str, &Tensor>::new(), Vec::new());
    for (name, tensor) in state {
        if given.insert(name, tensor).is_some() {
            duplicate.push(name);
        }
    }
    duplicate.sort_unstable();
    duplicate.dedup();
    let expected: HashMap<&str, &Entry> = own.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
    let (mut missing, mut misshapen, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (name, entry) in &own {
        match given.get(name.as_str()) {
            None => missing.push(name.clone()),
            Some(tensor) if !entry.takes(tensor.dims()) => misshapen.push((name, *tensor, entry)),
            Some(tensor) => values.push((entry, tensor.detach().to_dtype(entry.tensor().dtype())?)),
        }
    }
    let surplus = state.iter().filter(|(name, _)| !expected.contains_key(name.as_str()));
    let unexpected: Vec<String> = surplus.map(|(name, _)| name.clone()).collect();
    if misshapen.is_empty() && duplicate.is_empty() && (!strict || missing.is_empty() && unexpected.is_empty()) {
        for (entry, value) in values {
            entry.set(&value)?;
        }
        return Ok(LoadReport { missing, unexpected });
    }
    let mut text = String::from("the state does not fit the module");
    let counts = [
        (missing.len(), "missing"),
        (unexpected.len(), "unexpected"),
        (misshapen.len(), "misshapen"),
        (duplicate.len(), "twice"),
    ];
    for (count, kind) in counts {
        if count > 0 {
            // Writing into a string does not fail.
            let _ = write!(text, ", {count} {kind}");
        }
    }
    let (absent, surplus): (Vec<&str>, Vec<&str>) =
        (missing.iter().map(String::as_str).collect(), unexpected.iter().map(String::as_str).collect());
    if let Some(prefix) = common_prefix(&surplus, &absent) {
        let _ = write!(text, "; the names of the state begin with `{prefix}`, take it away");
    } else if let Some(prefix) = common_prefix(&absent, &surplus) {
        let _ = write!(text, "; the names of the module begin with `{prefix}`, put it before those of the state");
    }
    let few = length(&absent).saturating_mul(length(&surplus)) <= COMPARISONS;
    for name in &missing {
        let near = nearest(name, &surplus, few).map(|n| format!("; the state has {n}"));
        let _ = write!(
            text,
            "\n  missing {name} {:?}{}",
            expected[name.as_str()].tensor().shape(),
            near.unwrap_or_default()
        );
    }
    for name in &unexpected {
        let near = nearest(name, &absent, few).map(|n| format!("; the module has {n}"));
        let _ = write!(text, "\n  unexpected {name} {:?}{}", given[name.as_str()].shape(), near.unwrap_or_default());
    }
    for (name, tensor, entry) in &misshapen {
        let shapes = (tensor.shape(), entry.tensor());
        let _ =
            write!(text, "\n  misshapen {name}, the state has {:?} and the module {:?}", shapes.0, shapes.1.shape());
    }
    for name in &duplicate {
        let _ = write!(text, "\n  twice {name}, the state has it more than once");
    }
    Err(Error::format("load_state_dict", text))
}

/// What all of `longer` have before a name of `shorter`: wrappers such as PyTorch's DataParallel leave `module.` there.
fn common_prefix<'a>(longer: &[&'a str], shorter: &[&str]) -> Option<&'a str> {
    let first = longer.first()?;
    let shorter: HashSet<&str> = shorter.iter().copied().collect();
    // Names come from files: one of a million dots would be compared a million times.
    let longest = shorter.iter().map(|name| name.len()).max()?;
    let dots = first.match_indices('.').map(|(at, _)| &first[..=at]);
    dots.filter(|prefix| first.len() - prefix.len() <= longest)
        .find(|prefix| longer.iter().all(|name| name.strip_prefix(prefix).is_some_and(|rest| shorter.contains(rest))))
}

/// How many pairs of characters are compared at most to find similar names: names come from files, and two lists of
/// thousands would take minutes.
const COMPARISONS: usize = 30_000_000;

fn length(names: &[&str]) -> usize {
    names.iter().map(|name| name.len()).sum()
}

/// The most similar name, if one is similar at all and there are `few` enough to look.
fn nearest<'a>(name: &str, others: &[&'a str], few: bool) -> Option<&'a str> {
    if !few || name.len().saturating_mul(length(others)) > COMPARISONS {
        return None;
    }
    let near = others.iter().map(|&other| (distance(name, other), other)).min_by_key(|&(d, _)| d);
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
