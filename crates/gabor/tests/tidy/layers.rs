//! Who may import whom: the table of ARCHITECTURE.md as data.

use crate::source::shipped;

/// The modules of `tensor`, lowest layer first. A module imports from its own layer and from those below.
const TENSOR: &[&[&str]] = &[
    &["dtype", "error", "label", "shape", "sizes", "warning"],
    &["layout", "runs"],
    &["program", "storage", "value"],
    &["tape"],
    &["ops"],
    &[
        "approx",
        "captured",
        "create",
        "display",
        "function",
        "gradcheck",
        "index",
        "operators",
        "parameter",
        "random",
        "read",
        "testing",
    ],
];

/// Imports that run upward, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("dtype", "storage", "the sealed half of `Element` names the enum that holds a buffer of each type")];

/// The crates, lowest layer first. A crate depends on those of lower layers only.
const CRATES: &[&[&str]] =
    &[&["kernels", "nn-derive"], &["tensor"], &["nn"], &["optim", "data"], &["io"], &["train"], &["gabor"]];

fn layer(table: &[&[&str]], name: &str) -> Option<usize> {
    table.iter().position(|row| row.contains(&name))
}

/// Complaints about the `crate::` paths of one file of `tensor`, `path` relative to its `src`.
pub(crate) fn tensor_imports(path: &str, text: &str) -> Vec<String> {
    let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    if module == "lib" {
        return vec![];
    }
    let Some(own) = layer(TENSOR, module) else {
        return vec![format!(
            "`{module}` is in no layer; add it to the table of ARCHITECTURE.md and tests/tidy/layers.rs"
        )];
    };
    let mut complaints = Vec::new();
    for target in targets(&shipped(text)) {
        // Names without a module of their own (`crate::Tensor`) are re-exports of lib.rs; a file names their module instead.
        let allowed = EXCEPTIONS.iter().any(|(from, to, _)| *from == module && *to == target);
        match layer(TENSOR, &target) {
            Some(other) if other > own && !allowed => {
                complaints.push(format!("`{module}` imports the higher `{target}`"))
            }
            _ => {}
        }
    }
    complaints
}

/// The first names behind `crate::`, also inside of braces.
fn targets(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, mark) in code.match_indices("crate::") {
        let rest = &code[at + mark.len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => split(list),
            None => vec![rest],
        };
        let first =
            |name: &str| name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        found.extend(names.into_iter().map(first).filter(|name| !name.is_empty()));
    }
    found
}

/// Splits `a::{b, c}, d}...` at the commas of the outermost list.
fn split(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Complaints about the `[dependencies]` of one crate.
pub(crate) fn crate_imports(name: &str, manifest: &str) -> Vec<String> {
    let Some(own) = layer(CRATES, name) else {
        return vec![format!("the crate `{name}` is in no layer; add it to tests/tidy/layers.rs")];
    };
    let mut complaints = Vec::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim();
        }
        let key: String = line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
        if section == "[dependencies]" && layer(CRATES, &key).is_some_and(|other| other >= own) {
            complaints.push(format!("`{name}` depends on `{key}`, which is not below it"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upward_imports_are_seen() {
        assert_eq!(tensor_imports("tape.rs", "use crate::{error::{Error, Result}, value};"), [""; 0]);
        assert_eq!(
            tensor_imports("tape.rs", "use crate::{error::{Error, Result}, ops};"),
            ["`tape` imports the higher `ops`"]
        );
        assert_eq!(
            tensor_imports("layout.rs", "fn f(t: crate::tape::Tensor) {}"),
            ["`layout` imports the higher `tape`"]
        );
        assert_eq!(tensor_imports("layout.rs", "#[cfg(test)]\nmod tests { use crate::tape::Tensor; }"), [""; 0]);
        assert_eq!(tensor_imports("ops/view.rs", "use crate::tape::record; // crate::read"), [""; 0]);
        assert_eq!(tensor_imports("dtype.rs", "use crate::storage::Storage;"), [""; 0]);
        assert_eq!(tensor_imports("novel.rs", "").len(), 1);
    }

    #[test]
    fn upward_dependencies_are_seen() {
        let manifest = "[package]\nname = \"gabor-nn\"\n[dependencies]\ntensor.workspace = true\n[dev-dependencies]\noptim = \"1\"";
        assert_eq!(crate_imports("nn", manifest), [""; 0]);
        assert_eq!(crate_imports("tensor", "[dependencies]\nnn.workspace = true").len(), 1);
        assert_eq!(crate_imports("novel", "").len(), 1);
    }

    #[test]
    fn exceptions_are_still_needed() {
        for (from, to, reason) in EXCEPTIONS {
            assert!(layer(TENSOR, to) > layer(TENSOR, from), "{from} may import {to} anyway");
            assert!(!reason.is_empty());
        }
    }
}
