//! A process that is killed while it saves, and a disk that is full, leave the old file whole.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gabor_io::{Archive, write_tensors};
use tensor::{DType, Error, Generator, Result, Tensor};

const PATH: &str = "GABOR_TEST_SAVED_TO";

/// A file of one version: all of its tensors hold its number.
fn version(n: i64) -> Result<Vec<(String, Tensor)>> {
    let whole = |size: usize| Tensor::full([size], n)?.to_dtype(DType::I64);
    Ok(vec![("head".into(), whole(10)?), ("body".into(), whole(300_000)?), ("tail".into(), whole(1000)?)])
}

/// The version that a file holds; it must be one alone.
fn read(path: &Path) -> i64 {
    let archive = Archive::read(path).unwrap();
    assert_eq!(archive.tensors.len(), 3);
    let values: Vec<i64> = archive.tensors.iter().flat_map(|(_, t)| t.to_vec::<i64>().unwrap()).collect();
    assert!(values.iter().all(|&v| v == values[0]), "a mixture of versions");
    values[0]
}

#[test]
fn the_process_that_saves_without_end() -> Result<()> {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return Ok(()) };
    for n in read(&path) + 1.. {
        write_tensors(&path, &version(n)?)?;
    }
    Ok(())
}

#[test]
fn a_process_killed_while_saving_leaves_a_whole_file() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    write_tensors(&path, &version(0)?)?;
    let mut random = Generator::new(11);
    let (mut last, mut half) = (0, 0);
    for _ in 0..30 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_saves_without_end"])
            .env(PATH, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Once it saves, whoever looks sees one whole version or the next.
        let start = Instant::now();
        while read(&path) == last {
            assert!(start.elapsed() < Duration::from_secs(60), "it saves nothing");
        }
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let now = read(&path);
        assert!(now > last, "version {now} after {last}");
        last = now;
        // What the killed process had begun stays beside the file and disturbs nobody.
        for entry in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if entry != path {
                half += 1;
                std::fs::remove_file(entry).unwrap();
            }
        }
    }
    println!("30 kills, {half} in the middle of a save; {last} saves");
    assert!(half > 0, "no kill met a save");
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_and_leaves_the_old_file() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    write_tensors(&path, &version(1)?)?;
    // A limit on the size of files stands in for the disk; the shell sets it for a process of its own.
    let status = Command::new("sh")
        .args(["-c", "ulimit -f 64; trap '' XFSZ; exec \"$0\" --exact the_process_that_saves_once"])
        .arg(std::env::current_exe().unwrap())
        .env(PATH, &path)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    assert_eq!(read(&path), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "half a file stays");
    Ok(())
}

#[test]
fn the_process_that_saves_once() -> Result<()> {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return Ok(()) };
    let error = write_tensors(&path, &version(2)?).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("save: {}: ", path.display())), "{error}");
    Ok(())
}
