//! A second opinion: the operator test vectors of the ONNX project, computed with Gabor.
//!
//! `cargo test -p gabor --test onnx -- --nocapture` reads `onnx/cases`, which `onnx/convert.py` wrote. It prints a line for
//! each operator, each failing and each skipped case with the reason, and last `onnx: P passed, F failed, S skipped`.
//! Attributes without a counterpart are written with the operators that there are, where that says something about them.
#![forbid(unsafe_code)]

#[path = "golden/compare.rs"]
#[allow(dead_code, reason = "shared with the golden runner, which needs more of it")]
mod compare;
#[path = "golden/format.rs"]
#[allow(dead_code, reason = "shared with the golden runner, which needs more of it")]
mod format;
#[path = "onnx/losses.rs"]
mod losses;
#[path = "onnx/node.rs"]
mod node;
#[path = "onnx/norms.rs"]
mod norms;
#[path = "onnx/pointwise.rs"]
mod pointwise;
#[path = "onnx/pools.rs"]
mod pools;
#[path = "onnx/reductions.rs"]
mod reductions;
#[path = "onnx/resize.rs"]
mod resize;
#[path = "onnx/views.rs"]
mod views;
#[path = "onnx/windows.rs"]
mod windows;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use format::{Case, Suite};
use node::{Node, Operator, Stop};

/// Cases whose results ONNX has written out with four digits.
const ROUNDED: &[&str] = &["averagepool_2d_ceil_last_window_starts_on_pad"];

/// How one case ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// The operator of a type of node.
fn find(op: &str) -> Option<Operator> {
    let tables = [
        losses::TABLE,
        norms::TABLE,
        pointwise::TABLE,
        pools::TABLE,
        reductions::TABLE,
        resize::TABLE,
        views::TABLE,
        windows::TABLE,
    ];
    tables.concat().iter().find(|(known, _)| *known == op).map(|&(_, operator)| operator)
}

fn check(suite: &Suite, case: &Case) -> Result<(), Stop> {
    let op = case.text("op")?;
    let operator = find(op).ok_or_else(|| Stop::Failed(format!("the runner knows no {op}")))?;
    let node = Node::read(suite, case)?;
    let outputs = operator(&node)?;
    node.finish()?;
    let keys = case.keys("outputs");
    if outputs.len() < keys.len() {
        return Err(Stop::Failed(format!("{} outputs instead of {}", outputs.len(), keys.len())));
    }
    for (i, (output, key)) in outputs.iter().zip(keys).enumerate() {
        let Some(key) = key else { continue };
        let expected = suite.tensor(key)?;
        // A value may sum a part of the input, in another order.
        let terms = node.inputs().map(|x| x.numel()).max().unwrap_or(1);
        let allowed = match ROUNDED.contains(&case.name.as_str()) {
            true => compare::Tolerance::both(1e-4),
            false => compare::Tolerance::of(expected.dtype(), terms / expected.numel().max(1)),
        };
        compare::tensors(&format!("out{i}"), output, &expected, allowed)?;
    }
    Ok(())
}

fn outcome(suite: &Suite, case: &Case) -> Outcome {
    if let Ok(reason) = case.text("dropped") {
        return Outcome::Skipped(reason.to_owned());
    }
    match catch_unwind(AssertUnwindSafe(|| check(suite, case))) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Stop::Skipped(reason))) => Outcome::Skipped(reason.to_owned()),
        Ok(Err(Stop::Failed(problem))) => Outcome::Failed(problem),
        Err(_) => Outcome::Failed("panic, see above".to_owned()),
    }
}

#[test]
fn onnx() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx/cases");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for file in format::files(&directory).expect("the directory of the cases") {
        let suite = Suite::read(&file).expect("a file of cases");
        let (mut counts, mut lines) = (BTreeMap::<&str, (usize, usize)>::new(), Vec::new());
        for case in &suite.cases {
            let count = counts.entry(case.text("op").expect("a type of node")).or_default();
            count.1 += 1;
            match outcome(&suite, case) {
                Outcome::Passed => {
                    passed += 1;
                    count.0 += 1;
                }
                Outcome::Failed(problem) => {
                    failed += 1;
                    lines.push(format!("  FAILED {}: {problem}", case.name));
                }
                Outcome::Skipped(reason) => {
                    skipped += 1;
                    lines.push(format!("  skipped {}: not applicable: {reason}", case.name));
                }
            }
        }
        println!("{}:", suite.name);
        counts.iter().for_each(|(op, (good, all))| println!("{op} {good}/{all}"));
        lines.iter().for_each(|line| println!("{line}"));
    }
    println!("onnx: {passed} passed, {failed} failed, {skipped} skipped");
    assert_eq!(failed, 0, "onnx: {failed} cases failed, each is named above");
    assert!(passed > 500, "onnx: only {passed} cases ran");
}
