//! Downloading a data set over plain http, verified by checksum.
//!
//! A file is received in memory, its MD5 compared, and only then written beside its place and renamed: whatever breaks off,
//! nothing half-done remains. The checksum also stands in for TLS, which would need a C compiler: a mirror, or someone
//! between, can refuse to send the file but cannot send another one unnoticed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use md5::{Digest, Md5};
use tensor::{Error, Result};
use ureq::Agent;

use crate::idx;
use crate::mnist::{LIMIT, Packed, Source, find};
use crate::progress::Progress;

/// How long a mirror may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one file may take: the largest has 26 MB.
const HOUR: Duration = Duration::from_secs(3600);

/// Downloads what is missing of `source` to torchvision's folder below `root`.
pub(crate) fn download(source: &Source, root: &Path) -> Result<()> {
    download_with(&agent(PATIENCE, ureq::Proxy::try_from_env()), source, root)
}

fn agent(patience: Duration, proxy: Option<ureq::Proxy>) -> Agent {
    let config = Agent::config_builder()
        .timeout_resolve(Some(patience))
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .timeout_global(Some(HOUR))
        .proxy(proxy)
        .build();
    Agent::new_with_config(config)
}

fn download_with(agent: &Agent, source: &Source, root: &Path) -> Result<()> {
    let folder = source.raw(root);
    for file in &source.files {
        let packed = folder.join(format!("{}.gz", file.name));
        match find(&folder, file.name).map(|path| (idx::read(&path, LIMIT), path)) {
            Some((Ok(_), _)) => {}
            // A damaged gzipped file is replaced; one that was unpacked is the user's, who decides.
            Some((Err(error), path)) if path != packed => return Err(error),
            _ => {
                let bytes = fetch(agent, source, file, &folder)?;
                write(source.op, &packed, &bytes)?;
            }
        }
    }
    Ok(())
}

/// The file from the first mirror that has it.
fn fetch(agent: &Agent, source: &Source, file: &Packed, folder: &Path) -> Result<Vec<u8>> {
    let mut failures = Vec::new();
    for mirror in source.mirrors {
        let address = format!("{mirror}{}.gz", file.name);
        match receive(agent, &address, file) {
            Ok(bytes) => return Ok(bytes),
            Err(reason) => failures.push(format!("{address}: {reason}")),
        }
    }
    Err(Error::format(
        source.op,
        format!(
            "no mirror has {}.gz: {}; try again later, or put the file into {} by hand",
            file.name,
            failures.join(", "),
            folder.display()
        ),
    ))
}

/// What the mirror sends under `address`, if it is the file; else what is wrong.
fn receive(agent: &Agent, address: &str, file: &Packed) -> Result<Vec<u8>, String> {
    let response = agent.get(address).call().map_err(|error| error.to_string())?;
    let total = response.body().content_length();
    let mut body = response.into_body().into_reader().take(LIMIT as u64 + 1);
    let mut progress = Progress::new(&format!("{}.gz", file.name), total);
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("{error} after {} bytes", bytes.len())),
        }
        if bytes.len() > LIMIT {
            return Err(format!("more than {LIMIT} bytes"));
        }
        progress.at(bytes.len() as u64);
    }
    let sum: String = Md5::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if sum != file.md5 {
        return Err(format!("the checksum of the {} bytes is {sum}, expected {}", bytes.len(), file.md5));
    }
    progress.finish(bytes.len() as u64);
    Ok(bytes)
}

/// Puts `bytes` at `path` in one step. On failure neither the file nor a new folder remains.
fn write(op: &'static str, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut new_folders = Vec::new();
    for folder in path.ancestors().skip(1).take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        new_folders.push(folder);
    }
    let part = PathBuf::from(format!("{}.{}.part", path.display(), std::process::id()));
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    written.map_err(|error| {
        // Best effort: the error that matters is the first one. Only empty folders can be removed.
        let _ = fs::remove_file(&part);
        new_folders.iter().for_each(|folder| drop(fs::remove_dir(folder)));
        Error::io(op, path, &error)
    })
}

#[cfg(test)]
mod tests;
