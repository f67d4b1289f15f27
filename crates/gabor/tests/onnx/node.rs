//! One node: its inputs, and its attributes by name.

use benches::{Arguments, Refusal};
use gabor::{DType, Tensor};

use crate::format::{Case, Suite};

/// Why a case did not come to its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It needs something that does not exist here.
    Skipped(&'static str),
    /// It should have worked.
    Failed(String),
}

impl From<gabor::Error> for Stop {
    fn from(error: gabor::Error) -> Self {
        Stop::Failed(error.to_string())
    }
}

impl From<Refusal> for Stop {
    fn from(error: Refusal) -> Self {
        Stop::Failed(error.to_string())
    }
}

impl From<String> for Stop {
    fn from(problem: String) -> Self {
        Stop::Failed(problem)
    }
}

/// What a node gives.
pub(crate) type Outputs = Result<Vec<Tensor>, Stop>;

/// How a node is computed.
pub(crate) type Operator = fn(&Node<'_>) -> Outputs;

/// A node.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    inputs: Vec<Option<Tensor>>,
    attrs: Arguments<'a>,
    /// The version of the operator set.
    pub(crate) opset: i64,
    /// How many outputs it has.
    pub(crate) outputs: usize,
}

impl<'a> Node<'a> {
    pub(crate) fn read(suite: &Suite, case: &'a Case) -> Result<Node<'a>, Stop> {
        let inputs = case.keys("inputs").into_iter().map(|key| key.map(|key| suite.tensor(key)).transpose());
        let opset = case.field("opset").and_then(serde_json::Value::as_i64).unwrap_or_default();
        let (inputs, attrs) = (inputs.collect::<Result<_, _>>()?, Arguments::new(case.object("attrs")?));
        Ok(Node { inputs, attrs, opset, outputs: case.list("outputs").len() })
    }

    /// All inputs that are there.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Tensor> {
        self.inputs.iter().flatten()
    }

    /// Input `i`, if it is there.
    pub(crate) fn optional(&self, i: usize) -> Option<&Tensor> {
        self.inputs.get(i)?.as_ref()
    }

    /// Input `i`.
    pub(crate) fn x(&self, i: usize) -> Result<&Tensor, Stop> {
        self.optional(i).ok_or_else(|| Stop::Failed(format!("no input {i}")))
    }

    /// The whole numbers of input `i`.
    pub(crate) fn numbers(&self, i: usize) -> Result<Option<Vec<i64>>, Stop> {
        let Some(x) = self.optional(i) else { return Ok(None) };
        Ok(Some(x.to_dtype(DType::I64)?.to_vec()?))
    }

    /// A list that older versions have as an attribute and newer ones as an input.
    pub(crate) fn list(&self, name: &str, i: usize) -> Result<Option<Vec<i64>>, Stop> {
        let attribute = self.ints(name)?;
        if attribute.is_some() { Ok(attribute) } else { self.numbers(i) }
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Stop> {
        Ok(self.attrs.integers(name)?)
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, Stop> {
        Ok(self.attrs.integer(name)?.unwrap_or(default))
    }

    pub(crate) fn number(&self, name: &str, default: f64) -> Result<f64, Stop> {
        Ok(self.attrs.number(name)?.unwrap_or(default))
    }

    pub(crate) fn text(&self, name: &str, default: &'a str) -> Result<&'a str, Stop> {
        Ok(self.attrs.text(name)?.unwrap_or(default))
    }

    /// Complains of attributes that nobody has read.
    pub(crate) fn finish(&self) -> Result<(), Stop> {
        Ok(self.attrs.finish()?)
    }
}

/// One output.
pub(crate) fn one(x: Tensor) -> Outputs {
    Ok(vec![x])
}

/// ONNX's axes as Gabor's.
pub(crate) fn axes(list: &[i64]) -> Vec<isize> {
    list.iter().map(|&axis| axis as isize).collect()
}

/// An axis counted from the front.
pub(crate) fn front(axis: i64, rank: usize) -> usize {
    if axis < 0 { (axis + rank as i64) as usize } else { axis as usize }
}
