//! The golden runner: does Gabor compute what PyTorch computed, and refuse what it refused?
//!
//! `GOLDEN_DIR=DIR cargo test --release -p gabor --test golden -- --nocapture` reads every `*.json` of a directory; without
//! the variable, the committed `golden/cases`. It prints a line for each file, each failing case with its largest error,
//! and last `golden: P passed, F failed, S skipped`. What is skipped is listed, with a reason, in `golden/exceptions.rs`.
#![forbid(unsafe_code)]

#[path = "golden/call.rs"]
mod call;
#[path = "golden/compare.rs"]
mod compare;
#[path = "golden/exceptions.rs"]
mod exceptions;
#[path = "golden/format.rs"]
mod format;
#[path = "golden/losses.rs"]
mod losses;
#[path = "golden/nets.rs"]
mod nets;
#[path = "golden/operators.rs"]
mod operators;
#[path = "golden/pointwise.rs"]
mod pointwise;
#[path = "golden/reductions.rs"]
mod reductions;
#[path = "golden/schedules.rs"]
mod schedules;
#[path = "golden/training.rs"]
mod training;
#[path = "golden/views.rs"]
mod views;
#[path = "golden/windows.rs"]
mod windows;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use format::{Case, Suite};

std::thread_local! {
    /// Where the last caught panic came from.
    static PANICKED_AT: std::cell::Cell<String> = const { std::cell::Cell::new(String::new()) };
}

/// How one case ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

/// One case: an exception, or a check that may panic (which is a failure).
fn outcome(suite: &Suite, case: &Case) -> Outcome {
    if let Some(reason) = exceptions::reason(suite, case) {
        return Outcome::Skipped(reason);
    }
    let check = || match suite.name.as_str() {
        "nets" => nets::check(suite, case),
        "optimizers" => training::optimizers(suite, case),
        "schedules" => schedules::check(suite, case),
        _ => operators::check(suite, case),
    };
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(problem)) => Outcome::Failed(problem),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Outcome::Failed(format!("panic at {}: {text}", PANICKED_AT.take()))
        }
    }
}

fn directory() -> PathBuf {
    let committed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases");
    std::env::var_os("GOLDEN_DIR").map_or_else(committed, PathBuf::from)
}

#[test]
fn golden() {
    // A case that panics is reported by its name; the usual message would only be noise between the lines.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        PANICKED_AT.set(info.location().map(ToString::to_string).unwrap_or_default())
    }));
    let report = run();
    std::panic::set_hook(usual);
    let failed = report.unwrap_or_else(|problem| panic!("golden: {problem}"));
    assert_eq!(failed, 0, "golden: {failed} cases failed, each is named above");
}

/// Runs all cases of the directory and prints the report; gives the number of failures.
fn run() -> Result<usize, String> {
    let directory = directory();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let files = format::files(&directory)?;
    for file in &files {
        let suite = Suite::read(file)?;
        let (mut good, mut lines, mut left_out, mut left_out_of) = (0, Vec::new(), Vec::new(), Vec::new());
        for case in &suite.cases {
            match outcome(&suite, case) {
                Outcome::Passed => {
                    good += 1;
                    if let Some((parts, reason)) = exceptions::left_to_rounding(case) {
                        left_out_of.push(format!("  not compared in {}: {}: {reason}", case.name, parts.join(", ")));
                    }
                }
                Outcome::Failed(problem) => lines.push(format!("  FAILED {}: {problem}", case.name)),
                Outcome::Skipped(reason) => left_out.push(format!("  skipped {}: {reason}", case.name)),
            }
        }
        println!("{} {good}/{}", suite.name, suite.cases.len());
        passed += good;
        failed += lines.len();
        skipped += left_out.len();
        lines.iter().chain(&left_out).chain(&left_out_of).for_each(|line| println!("{line}"));
    }
    println!("golden: {passed} passed, {failed} failed, {skipped} skipped");
    if files.is_empty() { Err(format!("no *.json in {}", directory.display())) } else { Ok(failed) }
}
