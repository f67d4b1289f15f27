//! The rules about one file. Each returns its complaints; the tests at the end show that each can complain.

use crate::source::{body, code, shipped, words};

const LONGEST: usize = 600;

pub(crate) fn length(text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines > LONGEST {
        vec![format!("{lines} lines, at most {LONGEST}; split it by what it is about")]
    } else {
        vec![]
    }
}

pub(crate) fn first_line(text: &str) -> Vec<String> {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("//! ") { vec![] } else { vec!["the first line is not a `//!` sentence".into()] }
}

pub(crate) fn no_unsafe(text: &str) -> Vec<String> {
    numbered(&code(text), |line| words(line).any(|word| word == "unsafe"), "unsafe code outside of crates/kernels")
}

pub(crate) fn forbids_unsafe(text: &str) -> Vec<String> {
    if code(text).contains("#![forbid(unsafe_code)]") { vec![] } else { vec!["no #![forbid(unsafe_code)]".into()] }
}

/// Each unsafe block and impl stands below a comment that says `SAFETY:`, at most three lines of the same statement between.
pub(crate) fn safety_comments(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let explained = |at: usize| {
        let mut rows = lines[..at].iter().rev().map(|line| line.trim_start());
        let comment = rows.by_ref().take(3).any(|row| row.starts_with("//"));
        let near = lines[at.saturating_sub(3)..=at].iter().any(|line| line.contains("SAFETY:"));
        let above = lines[..at].iter().rev().skip_while(|row| !row.trim_start().starts_with("//"));
        let mut above = above.take_while(|row| row.trim_start().starts_with("//"));
        near || (comment && above.any(|row| row.contains("SAFETY:")))
    };
    let code = code(text);
    let opens = |line: &str| {
        let tight: String = line.split_whitespace().collect::<Vec<_>>().join(" ");
        tight.contains("unsafe {") || tight.contains("unsafe impl")
    };
    let bare = code.lines().enumerate().filter(|(at, line)| opens(line) && !explained(*at));
    bare.map(|(at, _)| format!("line {}: unsafe without `// SAFETY:`", at + 1)).collect()
}

pub(crate) fn leftovers(text: &str) -> Vec<String> {
    let marks = ["todo!(", "dbg!(", "unimplemented!(", ".unwrap()"];
    let found = |line: &str| marks.iter().any(|mark| line.contains(mark));
    numbered(&shipped(text), found, "an unfinished or unchecked place (todo!, dbg!, unimplemented!, unwrap())")
}

pub(crate) fn file_name(path: &str) -> Vec<String> {
    let vague = |part: &&str| vague(part.trim_end_matches(".rs"));
    path.split('/').filter(vague).map(|part| format!("`{part}` says nothing about its contents")).collect()
}

fn vague(name: &str) -> bool {
    ["util", "utils", "helper", "helpers", "common", "misc"].contains(&name)
        || name.ends_with("_impl")
        || name.ends_with("_inner")
        || name.contains("Manager")
}

/// Declared names: those that other crates declare (`Mutex::into_inner`) may be used.
pub(crate) fn names(text: &str) -> Vec<String> {
    const DECLARES: [&str; 9] = ["fn", "mod", "struct", "enum", "trait", "type", "const", "static", "macro_rules"];
    let code = code(text);
    let all: Vec<&str> = words(&code).collect();
    let declared = all.windows(2).filter(|pair| DECLARES.contains(&pair[0]) && vague(pair[1]));
    declared.map(|pair| format!("`{}` says nothing about what it is", pair[1])).collect()
}

/// In each run of `mod name;` lines (attributes between them do not count) the names ascend.
pub(crate) fn module_order(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut last = String::new();
    for line in code(text).lines().map(str::trim) {
        if line.starts_with("#[") {
            continue;
        }
        let item = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
        let Some(name) = item.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) else {
            last.clear();
            continue;
        };
        if name < last.as_str() {
            complaints.push(format!("`mod {name}` comes after `mod {last}`"));
        }
        last = name.to_string();
    }
    complaints
}

pub(crate) fn no_threads(text: &str) -> Vec<String> {
    let found = |line: &str| line.contains("rayon") || line.contains("thread::spawn") || line.contains("thread::scope");
    numbered(&shipped(text), found, "threads are started in crates/kernels/src/par.rs only")
}

/// A file of operators that has a rule lists its specs, and the registry lists the file's specs.
pub(crate) fn registered(name: &str, text: &str, registry: &str) -> Vec<String> {
    if !code(text).contains("impl Rule for") {
        return vec![];
    }
    let module = name.trim_end_matches(".rs").replace('/', "::");
    let here = words(&code(text)).any(|word| word == "SPECS");
    let there = code(registry).contains(&format!("{module}::SPECS"));
    match (here, there) {
        (true, true) => vec![],
        (false, _) => vec!["has a rule and no SPECS".into()],
        (true, false) => vec![format!("ops::ALL does not list {module}::SPECS")],
    }
}

/// Public functions and layers' `forward` that return a result with tensors hand the caller's line down to the tape.
pub(crate) fn track_caller(text: &str) -> Vec<String> {
    let code = shipped(text);
    let lines: Vec<&str> = code.lines().collect();
    let mut complaints = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let start = line.trim_start();
        if !start.starts_with("pub fn ") && !start.starts_with("fn forward(&self, x: &Tensor)") {
            continue;
        }
        let end = lines[at..].iter().position(|line| line.contains('{')).map_or(at, |n| at + n);
        let signature = lines[at..=end].concat();
        let result = signature.rsplit("->").next().unwrap_or_default();
        let attributes = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
        let tracked = attributes.into_iter().any(|line| line.contains("track_caller"));
        if result.contains("Result<") && result.contains("Tensor") && !tracked {
            complaints.push(format!("line {}: no #[track_caller] above `{}`", at + 1, start.trim_end()));
        }
    }
    complaints
}

/// Paths of one machine, and package registries other than the public one.
pub(crate) fn machine(text: &str) -> Vec<String> {
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let absolute = |line: &str| {
        paths.iter().any(|path| {
            line.match_indices(path)
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-/".contains(c)))
        })
    };
    let public = concat!("registry+https", "://github.com/rust-lang/crates.io-index");
    let registry = |line: &str| {
        let source = line.strip_prefix("source = ").is_some_and(|s| !s.contains(public));
        source || line.contains(concat!("replace", "-with")) || line.contains(concat!("index", "-url"))
    };
    [numbered(text, absolute, "a path of one machine"), numbered(text, registry, "a registry of one machine")].concat()
}

/// How many lines of `fn name`'s body hold code.
pub(crate) fn body_lines(text: &str, name: &str) -> Option<usize> {
    Some(body(text, name)?.lines().filter(|line| !line.trim().is_empty()).count())
}

/// How many lines of code the first Rust block of the README has, hidden lines apart.
pub(crate) fn readme_program(text: &str) -> Option<usize> {
    let block = text.split("```rust").nth(1)?.split_once('\n')?.1.split("```").next()?;
    let hidden = |line: &str| line.starts_with("# ") || line == "#";
    Some(code(block).lines().filter(|line| !line.trim().is_empty() && !hidden(line)).count())
}

fn numbered(text: &str, found: impl Fn(&str) -> bool, complaint: &str) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| found(line));
    lines.map(|(at, _)| format!("line {}: {complaint}", at + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn differs(rule: impl Fn(&str) -> Vec<String>, good: &str, bad: &str) {
        assert_eq!(rule(good), [""; 0], "complains about good text");
        assert!(!rule(bad).is_empty(), "does not see what is wrong with {bad:?}");
    }

    #[test]
    fn each_rule_can_complain() {
        differs(length, &"\n".repeat(600), &"\n".repeat(601));
        differs(first_line, "//! Sums.\n", "use std::fmt;\n//! Sums.");
        differs(no_unsafe, "// unsafe { }", "let x = unsafe { f() };");
        differs(forbids_unsafe, "//! A.\n#![forbid(unsafe_code)]", "//! A.\n// #![forbid(unsafe_code)]");
        differs(leftovers, "x.unwrap_or(1) // .unwrap()\n#[cfg(test)]\nmod t { fn f() { x.unwrap() } }", "x.unwrap()");
        differs(leftovers, "let a = \"todo!()\";", "fn f() { todo!() }");
        differs(leftovers, "/// ```\n/// dbg!(x)\n/// ```", "let y = dbg!(x);");
        differs(file_name, "crates/tensor/src/shape.rs", "crates/tensor/src/utils.rs");
        differs(file_name, "crates/tensor/src/shape.rs", "crates/common/src/lib.rs");
        differs(names, "let implement = common + cell.into_inner();", "mod helpers;");
        differs(names, "fn forward() {}", "fn forward_impl() {}");
        differs(names, "struct Pool;", "struct BufferManager;");
        differs(module_order, "mod a;\npub mod b;\n#[cfg(test)]\nmod c;\n\nmod a;", "mod b;\n#[cfg(unix)]\nmod a;");
        differs(no_threads, "// rayon\nuse crate::par;", "use rayon::prelude::*;");
        differs(machine, "let p = \"data/home/x\"; // https://example.org/root/x", concat!("cd /wo", "rk/x"));
        let traced =
            "#[track_caller]\n#[inline]\npub fn relu(&self) -> Result<Tensor> {\n}\npub fn len(&self) -> usize {\n}";
        differs(track_caller, traced, "pub fn split(\n    &self,\n) -> Result<Vec<Tensor>> {");
        differs(
            track_caller,
            "fn go(x: &Tensor) -> Result<Tensor> {",
            "fn forward(&self, x: &Tensor) -> Result<Tensor> {",
        );
        differs(
            machine,
            "source = \"registry+https://github.com/rust-lang/crates.io-index\"",
            "source = \"registry+https://a.b\"",
        );
    }

    #[test]
    fn safety_comments_are_looked_for_in_the_right_place() {
        let good = "// SAFETY: the pointer is inside of the slice,\n// as checked above.\nlet x =\n    unsafe { *p };";
        differs(safety_comments, good, "// The pointer.\nlet x = unsafe { *p };");
        let far = "// SAFETY: for another one.\nlet a = 1;\nlet b = 2;\nlet c = 3;\nlet d = 4;\nlet x = unsafe { *p };";
        differs(safety_comments, "// SAFETY: no data.\nunsafe impl Send for A {}", far);
        differs(safety_comments, "/// # Safety\nunsafe fn f() {}", "unsafe impl Send for A {}");
    }

    #[test]
    fn an_unregistered_rule_is_seen() {
        let registry = "pub const ALL: &[&[OpSpec]] = &[unary::SPECS];";
        let rule = "impl Rule for Exp {}";
        let listed = "impl Rule for Exp {}\npub(super) const SPECS: &[OpSpec] = &[];";
        assert_eq!(registered("unary.rs", listed, registry), [""; 0]);
        assert_eq!(registered("view.rs", "fn f() {}", registry), [""; 0]);
        assert_eq!(registered("unary.rs", rule, registry), ["has a rule and no SPECS"]);
        assert_eq!(registered("view.rs", listed, registry), ["ops::ALL does not list view::SPECS"]);
    }

    #[test]
    fn lines_of_code_are_counted() {
        let text =
            "fn main() -> Result<()> {\n    // A comment.\n    let a = [1,\n        2];\n\n    Ok(())\n}\nfn b() {}";
        assert_eq!(body_lines(text, "main"), Some(3));
        assert_eq!(body_lines(text, "c"), None);
        assert_eq!(readme_program("# A\n```rust\n# hidden\nlet a = 1; // b\n// c\nlet b = 2;\n```\n"), Some(2));
    }
}
