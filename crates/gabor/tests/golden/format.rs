//! The files: a list of cases in `OP.json`, their tensors in `OP.safetensors`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use gabor::Tensor;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// One file of cases.
#[derive(Debug)]
pub(crate) struct Suite {
    /// The file's name without its ending: the operator, or `nets`, `optimizers`, `schedules`.
    pub(crate) name: String,
    /// The cases in the order of the file.
    pub(crate) cases: Vec<Case>,
    tensors: HashMap<String, Result<Tensor, String>>,
}

/// One case, its fields as they stand in the file.
#[derive(Debug)]
pub(crate) struct Case {
    /// Unique in its file.
    pub(crate) name: String,
    fields: Map<String, Value>,
}

/// The `*.json` files of a directory, in order of their names.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    Ok(files)
}

impl Suite {
    /// Reads a file of cases and the tensors beside it, if there are any.
    pub(crate) fn read(path: &Path) -> Result<Suite, String> {
        let complain = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| complain(&e))?;
        let list: Vec<Map<String, Value>> = serde_json::from_str(&text).map_err(|e| complain(&e))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let cases = list.into_iter().enumerate().map(|(i, fields)| Case {
            name: fields.get("name").and_then(Value::as_str).map_or_else(|| format!("{name}[{i}]"), str::to_owned),
            fields,
        });
        let cases = cases.collect();
        let beside = path.with_extension("safetensors");
        let mut tensors = HashMap::new();
        if beside.exists() {
            let bytes = std::fs::read(&beside).map_err(|e| complain(&e))?;
            let file = SafeTensors::deserialize(&bytes).map_err(|e| complain(&e))?;
            tensors.extend(file.iter().map(|(key, view)| (key.to_owned(), tensor(&view))));
        }
        Ok(Suite { name, cases, tensors })
    }

    /// The tensor of a key.
    pub(crate) fn tensor(&self, key: &str) -> Result<Tensor, String> {
        self.tensors.get(key).cloned().unwrap_or_else(|| Err(format!("no tensor {key} in the file")))
    }
}

impl Case {
    /// A field, if it is there and not `null`.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// A field that must be a string.
    pub(crate) fn text(&self, name: &str) -> Result<&str, String> {
        self.field(name).and_then(Value::as_str).ok_or_else(|| format!("the case has no text {name}"))
    }

    /// A field that must be an object.
    pub(crate) fn object(&self, name: &str) -> Result<&Map<String, Value>, String> {
        self.field(name).and_then(Value::as_object).ok_or_else(|| format!("the case has no object {name}"))
    }

    /// A field that is a list; empty if it is not there.
    pub(crate) fn list(&self, name: &str) -> &[Value] {
        self.field(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// A field that is a list of keys or `null`.
    pub(crate) fn keys(&self, name: &str) -> Vec<Option<&str>> {
        self.list(name).iter().map(Value::as_str).collect()
    }

    /// A field that is a list of numbers.
    pub(crate) fn numbers(&self, name: &str) -> Vec<f64> {
        self.list(name).iter().filter_map(Value::as_f64).collect()
    }
}

/// A tensor of the file. 32-bit integers become 64-bit ones, as an index has here.
fn tensor(view: &safetensors::tensor::TensorView<'_>) -> Result<Tensor, String> {
    fn words<const N: usize, T>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&word| read(word)).collect()
    }
    let (bytes, shape) = (view.data(), view.shape());
    let made = match view.dtype() {
        Dtype::F64 => Tensor::from_vec(words(bytes, f64::from_le_bytes), shape),
        Dtype::F32 => Tensor::from_vec(words(bytes, f32::from_le_bytes), shape),
        Dtype::I64 => Tensor::from_vec(words(bytes, i64::from_le_bytes), shape),
        Dtype::I32 => Tensor::from_vec(words(bytes, |b| i64::from(i32::from_le_bytes(b))), shape),
        Dtype::U8 => Tensor::from_vec(bytes.to_vec(), shape),
        Dtype::BOOL => Tensor::from_vec(bytes.iter().map(|&b| b != 0).collect::<Vec<bool>>(), shape),
        other => return Err(format!("a tensor of dtype {other:?}")),
    };
    made.map_err(|e| e.to_string())
}
