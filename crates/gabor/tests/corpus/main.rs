//! The readers of bytes stand what the fuzzer has found worth keeping: every file in `fuzz/corpus`.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub)]
mod readers;
mod seeds;

/// The files of one target, in order.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{target}: {} files", files.len());
    files
}

/// Runs every file, and every file that is cut short in the middle, through a reader.
fn run(target: &str, reader: fn(&[u8])) {
    for path in corpus(target) {
        let bytes = fs::read(&path).unwrap();
        for part in [&bytes[..], &bytes[..bytes.len() / 2]] {
            let whole = std::panic::catch_unwind(|| reader(part)).is_ok();
            assert!(whole, "{}, the first {} bytes", path.display(), part.len());
        }
    }
}

#[test]
fn idx() {
    run("idx", readers::idx);
}

#[test]
fn mnist() {
    run("mnist", readers::mnist);
}

#[test]
fn archive() {
    run("archive", readers::archive);
}

#[test]
fn checkpoint() {
    run("checkpoint", readers::checkpoint);
}

#[test]
fn state() {
    run("state", readers::state);
}
