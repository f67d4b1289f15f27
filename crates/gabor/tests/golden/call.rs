//! One call: positional inputs and named arguments, with leaves where gradients are asked for.

use std::collections::HashMap;

use benches::{Arguments, Refusal};
use gabor::Tensor;
use serde_json::Value;

use crate::format::{Case, Suite};

/// A positional input.
#[derive(Debug)]
pub(crate) enum Input {
    /// `None` in PyTorch.
    Nothing,
    /// A tensor.
    Tensor(Tensor),
    /// A plain number.
    Number(f64),
    /// Several tensors.
    List(Vec<Tensor>),
    /// A list that holds something else.
    Mixed(String),
}

/// What an operator is called with.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    inputs: Vec<Input>,
    /// The other arguments by their PyTorch names.
    pub(crate) attrs: Arguments<'a>,
    /// The tensors of the call by key; those of `grad_of` are leaves.
    pub(crate) tensors: HashMap<String, Tensor>,
}

/// What an operator gives: its outputs, or why there are none.
pub(crate) type Outputs = Result<Vec<Tensor>, Refusal>;

impl<'a> Call<'a> {
    /// Reads the call of a case.
    pub(crate) fn read(suite: &Suite, case: &'a Case) -> Result<Call<'a>, String> {
        let leaves: Vec<&str> = case.keys("grad_of").into_iter().flatten().collect();
        let mut tensors = HashMap::new();
        let mut tensor = |key: &str| -> Result<Tensor, String> {
            let mut x = suite.tensor(key)?;
            if leaves.contains(&key) {
                x = x.requires_grad_().map_err(|e| e.to_string())?;
            }
            tensors.insert(key.to_owned(), x.clone());
            Ok(x)
        };
        let mut inputs = Vec::new();
        for value in case.list("inputs") {
            inputs.push(match value {
                Value::Null => Input::Nothing,
                Value::String(key) => Input::Tensor(tensor(key)?),
                Value::Number(number) => Input::Number(number.as_f64().ok_or("an input that is no f64")?),
                Value::Array(list) => match list.iter().map(Value::as_str).collect::<Option<Vec<&str>>>() {
                    Some(keys) => Input::List(keys.into_iter().map(&mut tensor).collect::<Result<_, String>>()?),
                    None => Input::Mixed(value.to_string()),
                },
                other => return Err(format!("an input {other}")),
            });
        }
        let attrs = case.object("attrs")?;
        for key in attrs.values().filter_map(|value| value.get("tensor")?.as_str()) {
            tensor(key)?;
        }
        Ok(Call { inputs, attrs: Arguments::new(attrs), tensors })
    }

    /// The positional input `i`, `Nothing` past the last.
    pub(crate) fn input(&self, i: usize) -> &Input {
        self.inputs.get(i).unwrap_or(&Input::Nothing)
    }

    /// A positional input that must be a tensor.
    pub(crate) fn tensor(&self, i: usize) -> Result<&Tensor, Refusal> {
        self.optional(i)?.ok_or_else(|| Refusal::Type(format!("input {i} is None; expected a tensor")))
    }

    /// A positional input that must be a tensor or nothing.
    pub(crate) fn optional(&self, i: usize) -> Result<Option<&Tensor>, Refusal> {
        match self.input(i) {
            Input::Nothing => Ok(None),
            Input::Tensor(x) => Ok(Some(x)),
            other => Err(Refusal::Type(format!("input {i} is {other:?}; expected a tensor"))),
        }
    }

    /// A positional input that must be a list of tensors.
    pub(crate) fn list(&self, i: usize) -> Result<Vec<&Tensor>, Refusal> {
        match self.input(i) {
            Input::List(list) => Ok(list.iter().collect()),
            Input::Mixed(list) => Err(Refusal::Type(format!("input {i} is {list}; expected tensors only"))),
            other => Err(Refusal::Type(format!("input {i} is {other:?}; expected a list of tensors"))),
        }
    }

    /// A named argument that is a tensor.
    pub(crate) fn named(&self, name: &str) -> Result<Option<&Tensor>, Refusal> {
        let Some(value) = self.attrs.value(name) else { return Ok(None) };
        let key = value.get("tensor").and_then(Value::as_str);
        let tensor = key.and_then(|key| self.tensors.get(key));
        tensor.map(Some).ok_or_else(|| Refusal::Type(format!("{name} is {value}; expected a tensor")))
    }

    /// Whether a named argument is there and is a tensor rather than a plain value.
    pub(crate) fn is_tensor(&self, name: &str) -> bool {
        self.attrs.value(name).is_some_and(|value| value.get("tensor").is_some())
    }

    /// A named axis; `default` where it is not given.
    pub(crate) fn axis(&self, name: &str, default: isize) -> Result<isize, Refusal> {
        Ok(self.attrs.integer::<isize>(name)?.unwrap_or(default))
    }
}

/// One output.
pub(crate) fn one(x: Tensor) -> Outputs {
    Ok(vec![x])
}
