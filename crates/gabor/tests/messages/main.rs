//! What is said to each of 81 mistakes that PyTorch's users make, word for word.
//!
//! Each row has the number of a mistake and either the exact text of the error or warning, or the reason why there is none:
//! the types leave no way to write it, or it is no mistake here. A number may have several rows.

use std::collections::BTreeMap;
use std::sync::Mutex;

use gabor::prelude::*;
use gabor::{Lint, set_warning_handler};

mod autograd;
mod convolution;
mod files;
mod linear;
mod losses;
mod optimizers;
mod pooling;

/// What comes of a mistake.
enum Case {
    /// The text of the error.
    Says(fn() -> Result<()>, &'static str),
    /// The warning; the code itself runs.
    Warns(fn() -> Result<()>, Lint, &'static str),
    /// The file of the workspace whose tests look for this text: they need what tests of this crate cannot have.
    Elsewhere(&'static str, &'static str),
    /// It does not compile.
    Impossible(&'static str),
    /// It works, and should.
    Fine(fn() -> Result<()>, &'static str),
}

struct Row(u8, &'static str, Case);

const MISTAKES: u8 = 81;

fn rows() -> Vec<Row> {
    let parts =
        [convolution::ROWS, pooling::ROWS, linear::ROWS, losses::ROWS, optimizers::ROWS, autograd::ROWS, files::ROWS];
    parts.into_iter().flatten().map(|Row(number, mistake, case)| Row(*number, mistake, case.clone())).collect()
}

impl Clone for Case {
    fn clone(&self) -> Self {
        match *self {
            Case::Says(code, text) => Case::Says(code, text),
            Case::Warns(code, lint, text) => Case::Warns(code, lint, text),
            Case::Elsewhere(file, text) => Case::Elsewhere(file, text),
            Case::Impossible(reason) => Case::Impossible(reason),
            Case::Fine(code, reason) => Case::Fine(code, reason),
        }
    }
}

static WARNINGS: Mutex<Vec<(Lint, String)>> = Mutex::new(Vec::new());

/// One test: warnings are told once in a process.
#[test]
fn every_mistake_has_its_text() {
    set_warning_handler(|lint, text| WARNINGS.lock().unwrap().push((lint, without_lines(text))));
    let mut wrong = Vec::new();
    for Row(number, mistake, case) in rows() {
        let mut complain = |got: String, expected: &str| {
            if got != expected {
                wrong.push(format!("B{number} ({mistake})\n     got: {got}\nexpected: {expected}"));
            }
        };
        match case {
            Case::Says(code, text) => {
                let said = code().map_or_else(|error| error.to_string(), |()| "no error".to_owned());
                complain(without_lines(&said), text);
            }
            Case::Warns(code, lint, text) => {
                WARNINGS.lock().unwrap().clear();
                complain(code().map_or_else(|error| error.to_string(), |()| String::new()), "");
                complain(format!("{:?}", WARNINGS.lock().unwrap()), &format!("{:?}", [(lint, text)]));
            }
            Case::Fine(code, _) => complain(code().map_or_else(|error| error.to_string(), |()| String::new()), ""),
            Case::Elsewhere(file, text) => {
                let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
                let found = std::fs::read_to_string(&path).is_ok_and(|tests| tests.contains(text));
                complain(format!("{found}"), "true");
            }
            Case::Impossible(_) => {}
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_mistake_is_accounted_for() {
    let mut kinds: BTreeMap<u8, &str> = BTreeMap::new();
    for Row(number, mistake, case) in rows() {
        assert!((1..=MISTAKES).contains(&number) && !mistake.is_empty(), "B{number}");
        let kind = match case {
            Case::Says(..) | Case::Warns(..) | Case::Elsewhere(..) => "tested",
            Case::Impossible(reason) | Case::Fine(_, reason) if reason.is_empty() => {
                panic!("B{number} has no reason")
            }
            Case::Impossible(_) => "impossible to write",
            Case::Fine(..) => "no mistake here",
        };
        // A text counts before a reason.
        let first = kinds.entry(number).or_insert(kind);
        if kind == "tested" {
            *first = kind;
        }
    }
    let missing: Vec<u8> = (1..=MISTAKES).filter(|number| !kinds.contains_key(number)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    for kind in ["tested", "impossible to write", "no mistake here"] {
        let numbers: Vec<_> = kinds.iter().filter(|(_, k)| **k == kind).map(|(n, _)| *n).collect();
        println!("{kind}: {} of {MISTAKES} {numbers:?}", numbers.len());
    }
}

/// Errors have the form `<op>: <what is wrong>, <numbers>; <usual fix>`: lower case, a colon early, no final period.
#[test]
fn every_text_has_the_form() {
    for Row(number, _, case) in rows() {
        let (Case::Says(_, text) | Case::Warns(_, _, text)) = case else { continue };
        assert!(text.split_once(": ").is_some_and(|(op, rest)| op.len() < 40 && !rest.is_empty()), "B{number}: {text}");
        assert!(!text.ends_with(['.', '!', ' ']), "B{number}: {text}");
    }
}

/// `text` with LINE for the lines of these files.
fn without_lines(text: &str) -> String {
    let mut parts = text.split("crates/gabor/tests/messages/");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once(".rs:").map_or(part, |(_, rest)| rest);
        out += "LINE";
        out += rest.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out
}

fn zeros<const N: usize>(shape: [usize; N]) -> Result<Tensor> {
    Tensor::zeros(shape)
}

/// A tensor of zeros that is not of type f32.
fn zeros_of<const N: usize>(dtype: DType, shape: [usize; N]) -> Result<Tensor> {
    Tensor::zeros(shape)?.to_dtype(dtype)
}
