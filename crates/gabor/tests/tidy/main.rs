//! House rules as tests: what CONTRIBUTING.md and ARCHITECTURE.md promise about the sources is read from the sources here.
//!
//! Each rule is a function from a file's text to complaints, so that a second test can show that it does complain.

mod layers;
mod rules;
mod source;

use source::{File, tree};

/// Fails with every complaint at once.
fn expect_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

fn check(files: impl IntoIterator<Item = File>, rule: impl Fn(&File) -> Vec<String>) {
    let mut seen = 0;
    let mut complaints = Vec::new();
    for file in files {
        seen += 1;
        complaints.extend(rule(&file).into_iter().map(|complaint| format!("{}: {complaint}", file.path)));
    }
    assert!(seen > 0, "the rule saw no file: has the tree moved?");
    expect_none(complaints);
}

fn rust() -> impl Iterator<Item = File> {
    tree().into_iter().filter(|file| file.path.ends_with(".rs"))
}

/// What users compile: the sources of the crates, without the files of their unit tests.
fn library() -> impl Iterator<Item = File> {
    let tests = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    rust().filter(move |file| file.path.starts_with("crates/") && file.path.contains("/src/") && !tests(&file.path))
}

#[test]
fn files_are_short_and_say_what_they_are() {
    check(rust(), |file| [rules::length(&file.text), rules::first_line(&file.text)].concat());
}

#[test]
fn unsafe_code_stays_in_the_kernels_and_is_explained() {
    check(rust(), |file| match file.path.starts_with("crates/kernels/") {
        true => rules::safety_comments(&file.text),
        false => rules::no_unsafe(&file.text),
    });
    let roots =
        |path: &str| path.starts_with("crates/") && path.ends_with("/src/lib.rs") && !path.contains("/kernels/");
    check(library().filter(|file| roots(&file.path)), |file| rules::forbids_unsafe(&file.text));
}

#[test]
fn library_code_has_no_leftovers() {
    check(library(), |file| rules::leftovers(&file.text));
}

#[test]
fn names_say_what_things_are() {
    check(rust(), |file| [rules::file_name(&file.path), rules::names(&file.text)].concat());
}

#[test]
fn modules_are_listed_in_alphabetical_order() {
    check(rust(), |file| rules::module_order(&file.text));
}

#[test]
fn threads_are_known_to_one_module() {
    let others = |path: &str| {
        path != "crates/kernels/src/par.rs"
            && path != "crates/kernels/src/par/team.rs"
            && !path.starts_with("crates/data/")
    };
    check(library().filter(|file| others(&file.path)), |file| rules::no_threads(&file.text));
}

#[test]
fn imports_run_downward() {
    let tensor = "crates/tensor/src/";
    check(library().filter(|file| file.path.starts_with(tensor)), |file| {
        layers::tensor_imports(&file.path[tensor.len()..], &file.text)
    });
    let manifest = |path: &str| path.starts_with("crates/") && path.ends_with("/Cargo.toml");
    check(tree().into_iter().filter(|file| manifest(&file.path)), |file| {
        layers::crate_imports(file.path.split('/').nth(1).unwrap_or_default(), &file.text)
    });
}

#[test]
fn every_rule_is_registered() {
    let folder = "crates/tensor/src/ops/";
    let registry = library().find(|file| file.path == format!("{folder}mod.rs")).expect("ops/mod.rs").text;
    let operators = library().filter(|file| file.path.starts_with(folder) && file.path != format!("{folder}mod.rs"));
    check(operators, |file| rules::registered(&file.path[folder.len()..], &file.text, &registry));
}

#[test]
fn operators_and_layers_know_the_line_that_calls_them() {
    let folders = ["tensor/src/ops", "nn/src/layers", "nn/src/loss", "nn/src/functional"];
    let own = |path: &str| folders.iter().any(|folder| path.starts_with(&format!("crates/{folder}/")));
    check(library().filter(|file| own(&file.path)), |file| rules::track_caller(&file.text));
}

#[test]
fn nothing_in_the_tree_belongs_to_one_machine() {
    check(tree(), |file| rules::machine(&file.text));
}

#[test]
fn the_face_stays_short() {
    let programs: [(&str, &[&str], usize); 2] =
        [("learn_kernel", &["main"], 12), ("lenet", &["lenet", "evaluate", "count_right"], 35)];
    for (path, functions, most) in programs {
        let path = format!("examples/{path}.rs");
        let Some(file) = rust().find(|file| file.path == path) else { panic!("{path} is missing") };
        let lines: Option<usize> = functions.iter().map(|name| rules::body_lines(&file.text, name)).sum();
        let lines = lines.expect("the functions are there");
        assert!(lines <= most, "{path}: the bodies of {functions:?} have {lines} lines, at most {most} are promised");
    }
    let readme = tree().into_iter().find(|file| file.path == "README.md").expect("README.md").text;
    let lines = rules::readme_program(&readme).expect("README.md opens with a program");
    assert!(lines <= 25, "README.md: the first program has {lines} lines, 25 are promised");
}

#[test]
fn the_readme_names_the_commands_that_are_tested() {
    let readme = tree().into_iter().find(|file| file.path == "README.md").expect("README.md").text;
    for command in ["cargo run --release --example digits", "cargo test --workspace"] {
        assert!(readme.contains(command), "README.md does not name `{command}`");
    }
}

#[test]
fn the_size_table() {
    let mut sizes: Vec<(usize, String)> = rust().map(|file| (file.text.lines().count(), file.path)).collect();
    sizes.sort();
    let total: usize = sizes.iter().map(|(lines, _)| lines).sum();
    sizes.iter().rev().take(20).for_each(|(lines, path)| println!("{lines:6} {path}"));
    println!("{total:6} in {} files", sizes.len());
}
