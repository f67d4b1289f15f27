//! A safetensors file in memory: named tensors and a few words about them.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::json;
use tensor::{Error, Result, Tensor};

use crate::{atomic, elements, header};

/// Named tensors and a few words about them: what a safetensors file holds.
///
/// ```
/// use gabor_io::Archive;
/// use tensor::Tensor;
/// let mut archive = Archive::new(vec![("w".to_string(), Tensor::new([[1f32, 2.0]])?)]);
/// archive.metadata.insert("epoch".to_string(), "3".to_string());
/// let back = Archive::from_bytes(&archive.to_bytes()?)?;
/// assert_eq!(back.tensor("w").unwrap().to_vec::<f32>()?, [1.0, 2.0]);
/// assert_eq!(back.metadata["epoch"], "3");
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// The tensors by name. Files keep their order within types of equal size, larger ones first.
    pub tensors: Vec<(String, Tensor)>,
    /// Words about them, by name.
    pub metadata: BTreeMap<String, String>,
}

const RESERVED: &str = "__metadata__";

impl Archive {
    /// These tensors without metadata.
    pub fn new(tensors: Vec<(String, Tensor)>) -> Self {
        Archive { tensors, metadata: BTreeMap::new() }
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor)
    }

    /// The file as bytes; the same archive always gives the same ones.
    ///
    /// # Errors
    /// Two tensors have the same name, or one has the reserved name `__metadata__`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to("save", &mut |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// The archive in the bytes of a file. f16 and bf16 become f32, narrow integers i64.
    ///
    /// # Errors
    /// The bytes are no safetensors file, the whole of it and nothing else, with types that exist here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Archive> {
        parse(bytes).map_err(|message| Error::format("load", message))
    }

    /// Writes a file: beside `path` first, then renamed to it.
    ///
    /// ```no_run
    /// # use gabor_io::Archive;
    /// Archive::default().write("empty.safetensors")?;
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes), or the system refuses; the old file is still there then.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        atomic::replace("save", path, |file: &mut dyn Write| {
            self.write_to("save", &mut |part| file.write_all(part).map_err(|error| Error::io("save", path, &error)))
        })
    }

    /// Reads a file.
    ///
    /// ```
    /// # use gabor_io::Archive;
    /// let error = Archive::read("no-such-file.safetensors").unwrap_err().to_string();
    /// assert!(error.starts_with("load: no-such-file.safetensors: "));
    /// ```
    ///
    /// # Errors
    /// The system refuses, or as [`from_bytes`](Self::from_bytes); the error names the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Archive> {
        let path = path.as_ref();
        let failed = |error: std::io::Error| Error::io("load", path, &error);
        let about = std::fs::metadata(path).map_err(failed)?;
        // A device may never end.
        if !about.is_file() {
            return Err(Error::format("load", format!("{}: not a file; name a safetensors file", path.display())));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        parse(&bytes).map_err(|message| Error::format("load", format!("{}: {message}", path.display())))
    }

    fn write_to(&self, op: &'static str, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut seen = HashSet::new();
        for (name, _) in &self.tensors {
            if name == RESERVED {
                return Err(Error::format(op, format!("a tensor is called {RESERVED}; the format reserves this name")));
            }
            if !seen.insert(name) {
                return Err(Error::format(op, format!("two tensors are called {name:?}; give each its own name")));
            }
        }
        // Larger elements first keeps each tensor aligned to its elements.
        let mut tensors: Vec<_> = self.tensors.iter().collect();
        tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size()));

        let mut fields = Vec::new();
        if !self.metadata.is_empty() {
            fields.push(format!("{}:{}", json!(RESERVED), json!(self.metadata)));
        }
        let mut start = 0usize;
        for (name, tensor) in &tensors {
            // An expanded view may have more elements than memory.
            let size = tensor.numel().checked_mul(tensor.dtype().size());
            let end = size.and_then(|size| size.checked_add(start));
            let end = end.ok_or_else(|| Error::TooLarge { op, shape: tensor.dims().to_vec() })?;
            let (dtype, shape) = (elements::name(tensor.dtype()), tensor.dims());
            let about = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
            fields.push(format!("{}:{about}", json!(name)));
            start = end;
        }
        let mut header = format!("{{{}}}", fields.join(","));
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        write(&(header.len() as u64).to_le_bytes())?;
        write(header.as_bytes())?;
        tensors.iter().try_for_each(|(_, tensor)| write(&elements::to_bytes(tensor)?))
    }
}

/// The archive, or what is wrong with the bytes.
fn parse(bytes: &[u8]) -> Result<Archive, String> {
    // What torch.save writes: a zip archive around a pickle, or long ago a pickle alone.
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        return Err("a pickle, which may hold code, as torch.save writes; save the state dict in Python with \
                    safetensors.torch.save_file"
            .to_string());
    }
    let broken = |error| format!("not a whole safetensors file of {} bytes, {error}; save it again", bytes.len());
    // This checks all lengths, offsets and shapes against the bytes that are there; nothing is copied before.
    let (length, about) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let text = bytes.get(8..8 + length).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("");
    if !text.starts_with('{') {
        return Err("the header does not begin with {; save it again".to_string());
    }
    if let Some(key) = header::duplicate_key(text) {
        return Err(format!("two tensors are called {key:?}; save it again"));
    }
    let data = bytes.get(8 + length..).unwrap_or(&[]);
    let mut tensors = Vec::new();
    for name in about.offset_keys() {
        let Some(info) = about.info(&name) else { continue };
        let (start, end) = info.data_offsets;
        let data = data.get(start..end).ok_or_else(|| format!("tensor {name:?} lies outside of the file"))?;
        let tensor = elements::from_bytes(info.dtype, &info.shape, data);
        tensors.push((name.clone(), tensor.map_err(|message| format!("tensor {name:?}: {message}"))?));
    }
    let metadata = about.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(Archive { tensors, metadata })
}

/// The tensors of a safetensors file, in its order.
///
/// # Errors
/// As [`Archive::read`].
///
/// ```no_run
/// for (name, tensor) in gabor_io::read_tensors("lenet.safetensors")? {
///     println!("{name} {:?}", tensor.shape());
/// }
/// # Ok::<(), tensor::Error>(())
/// ```
pub fn read_tensors(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>> {
    Ok(Archive::read(path)?.tensors)
}

/// Writes tensors to a safetensors file: beside `path` first, then renamed to it.
///
/// # Errors
/// As [`Archive::write`].
///
/// ```no_run
/// # use tensor::Tensor;
/// gabor_io::write_tensors("kernel.safetensors", &[("weight".to_string(), Tensor::new([[1f32, -1.0]])?)])?;
/// # Ok::<(), tensor::Error>(())
/// ```
pub fn write_tensors(path: impl AsRef<Path>, tensors: &[(String, Tensor)]) -> Result<()> {
    Archive::new(tensors.to_vec()).write(path)
}
