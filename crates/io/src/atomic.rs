//! Writing a file so that its name always holds either the old content or the whole new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tensor::{Error, Result};

/// Removes the temporary file unless it has been renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that brought us here matters more than this one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Lets `write` fill a new file in the folder of `path`, then renames it to `path`.
pub(crate) fn replace(op: &'static str, path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let failed = |error: io::Error| Error::io(op, path, &error);
    // A link stays a link: its target is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let name = target.file_name().ok_or_else(|| failed(io::ErrorKind::IsADirectory.into()))?;
    if target.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));

    let (mut temporary, file) = create(folder, &name.to_string_lossy()).map_err(failed)?;
    if let Ok(old) = fs::metadata(&target) {
        file.set_permissions(old.permissions()).map_err(failed)?;
    }
    let mut buffered = BufWriter::with_capacity(1 << 20, file);
    write(&mut buffered)?;
    let file = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    drop(file);
    fs::rename(&temporary.path, &target).map_err(failed)?;
    temporary.renamed = true;
    // The new name survives a power cut once the folder is written. Not every system can do that; the file is whole anyway.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// A new file that nothing else uses.
fn create(folder: &Path, name: &str) -> io::Result<(Temporary, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Long names of models leave room for the suffix.
    let stem: String = name.chars().take(100).collect();
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{stem}.{}-{count}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((Temporary { path, renamed: false }, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_save_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.safetensors");
        replace("save", &path, |w| w.write_all(b"old").map_err(|e| Error::io("save", &path, &e))).unwrap();
        let error = replace("save", &path, |w| {
            w.write_all(&[0; 100_000]).map_err(|e| Error::io("save", &path, &e))?;
            Err(Error::custom("the power went out"))
        });
        assert_eq!(error.unwrap_err().to_string(), "the power went out");
        let panicked = std::panic::catch_unwind(|| replace("save", &path, |_| panic!("half-way")));
        assert!(panicked.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn impossible_places_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("missing/net.safetensors"), Path::new("/"), Path::new("")] {
            let error = replace("save", path, |_| Ok(())).unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
