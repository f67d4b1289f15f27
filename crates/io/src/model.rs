//! Models in files: the state dict as safetensors, under PyTorch's names.

use std::path::Path;

use nn::Module;
use tensor::{Error, Result};

use crate::archive::Archive;

/// Writes the parameters and buffers of a module to a safetensors file: beside `path` first, then renamed to it.
///
/// Names and shapes are those of PyTorch's state dict, so that `safetensors.torch.load_file` and `load_state_dict` read
/// the file there.
///
/// ```
/// use nn::{Flatten, Forward, Linear, Module, Sigmoid, seq};
/// use tensor::Tensor;
/// # let folder = std::env::temp_dir().join(format!("gabor-io-model-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("net.safetensors");
/// let net = seq![Flatten, Linear::new(64, 16), Sigmoid, Linear::new(16, 10)]?;
/// gabor_io::save(&path, &net)?;
///
/// let other = seq![Flatten, Linear::new(64, 16), Sigmoid, Linear::new(16, 10)]?;
/// gabor_io::load(&path, &other)?;
/// let x = Tensor::rand([1, 8, 8])?;
/// assert_eq!(net.forward(&x)?.to_vec::<f32>()?, other.forward(&x)?.to_vec::<f32>()?);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The system refuses; an old file is still there then.
pub fn save(path: impl AsRef<Path>, module: &dyn Module) -> Result<()> {
    let mut archive = Archive::new(module.state_dict());
    // What PyTorch's own tools write and ask for.
    archive.metadata.insert("format".into(), "pt".into());
    archive.write(path)
}

/// Reads the parameters and buffers of a module from a safetensors file. Numbers of another dtype are converted.
///
/// ```
/// use nn::{Linear, Module};
/// # let folder = std::env::temp_dir().join(format!("gabor-io-load-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("net.safetensors");
/// gabor_io::save(&path, &Linear::new(2, 3).build()?)?;
/// let text = gabor_io::load(&path, &Linear::new(2, 4).build()?).unwrap_err().to_string();
/// assert!(text.contains("2 misshapen") && text.contains("weight") && text.contains("bias"));
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The file is missing or broken, or entries are missing, unexpected or of another shape; the error lists all of those
/// with the nearest names. Nothing is changed then.
pub fn load(path: impl AsRef<Path>, module: &dyn Module) -> Result<()> {
    let path = path.as_ref();
    let archive = Archive::read(path)?;
    module.load_state_dict(&archive.tensors, true).map(drop).map_err(|error| in_file(path, error))
}

/// The same error with the file's name in it.
pub(crate) fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Format { op, message } => Error::format(op, format!("{}: {message}", path.display())),
        error => error,
    }
}
