//! Nothing that can be differentiated is left out of the registry: its rules are read from the sources and compared with the
//! rules that run when every sample is differentiated twice, its public methods with the text of the samples.

use std::fs;
use std::path::Path;

use gabor_tensor::testing::{Sample, all, rules_run};
use gabor_tensor::{GradOptions, Result, Tensor, grad};

/// The files of the operators, by their paths below `ops`.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{name}/"), files);
            } else {
                files.push((name, fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops"), "", &mut files);
    files.sort();
    assert!(files.len() > 20, "the operators have moved");
    files
}

/// The rules of one file, with their paths in the crate.
fn rules(name: &str, text: &str) -> Vec<String> {
    let module = name.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
    let named = |line: &str| {
        let rest = line.strip_prefix("impl Rule for ")?;
        Some(rest.chars().take_while(|c| c.is_alphanumeric()).collect::<String>())
    };
    text.lines().filter_map(named).map(|rule| format!("ops::{module}::{rule}")).collect()
}

/// The rules that no backward pass has run.
fn left_out(rules: Vec<String>, run: &[&str]) -> Vec<String> {
    let tail = |path: &str| path.split_once("::").map(|(_, tail)| tail.to_owned());
    let run: Vec<String> = run.iter().filter_map(|path| tail(path)).collect();
    rules.into_iter().filter(|rule| !run.contains(rule)).collect()
}

/// The public methods of one file that give tensors and that its samples do not call.
fn uncalled(text: &str) -> Vec<&str> {
    let (code, samples) = text.split_once("pub(super) const SPECS").unwrap_or((text, ""));
    // Samples are also made by functions above the table.
    let earlier: String = code.split("#[cfg(any(test").skip(1).collect();
    let words: Vec<&str> = samples
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .chain(earlier.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .collect();
    let mut methods = Vec::new();
    for (at, _) in code.match_indices("    pub fn ") {
        let signature = code[at..].split('{').next().unwrap_or_default();
        let name = signature.trim_start()["pub fn ".len()..].split(['(', '<']).next().unwrap_or_default();
        let result = signature.rsplit("->").next().unwrap_or_default();
        if result.contains("Result<") && result.contains("Tensor") && !words.contains(&name) {
            methods.push(name);
        }
    }
    methods
}

/// Differentiates a sample twice, so that the rules of the operator and those of its gradients run.
fn differentiate(sample: &Sample) -> Result<()> {
    let float = |x: &Tensor| if x.dtype().is_float() { x.detach().requires_grad_() } else { Ok(x.clone()) };
    let leaves: Vec<Tensor> = sample.inputs.iter().map(float).collect::<Result<_>>()?;
    let wanted: Vec<&Tensor> = leaves.iter().filter(|x| x.requires_grad()).collect();
    let y = (sample.run)(&leaves)?;
    if !y.requires_grad() {
        return Ok(());
    }
    let options = GradOptions { create_graph: true, allow_unused: true, ..GradOptions::default() };
    let seed = y.ones_like()?.mul_scalar(0.5)?.requires_grad_()?;
    let first = grad(&y, &wanted, &GradOptions { gradient: Some(&seed), ..options })?;
    let sources: Vec<&Tensor> = wanted.iter().copied().chain([&seed]).collect();
    for g in first.into_iter().flatten().filter(Tensor::requires_grad) {
        let ones = g.ones_like()?;
        grad(
            &g,
            &sources,
            &GradOptions { gradient: Some(&ones), allow_unused: true, retain_graph: true, ..GradOptions::default() },
        )?;
    }
    Ok(())
}

#[test]
fn every_rule_of_the_sources_runs_in_the_registry() {
    for spec in all() {
        for sample in (spec.samples)() {
            if let Err(error) = differentiate(&sample) {
                panic!("{} ({}): {error}", spec.name, sample.label);
            }
        }
    }
    let rules: Vec<String> = sources().iter().flat_map(|(name, text)| rules(name, text)).collect();
    assert!(rules.len() > 60, "only {} rules found", rules.len());
    let missing = left_out(rules, &rules_run());
    assert!(missing.is_empty(), "no sample of the registry runs {missing:?}");
}

#[test]
fn every_public_operator_is_called_by_its_samples() {
    let missing: Vec<String> = sources()
        .iter()
        .flat_map(|(name, text)| uncalled(text).into_iter().map(move |method| format!("{name}: {method}")))
        .collect();
    assert!(missing.is_empty(), "no sample calls\n{}", missing.join("\n"));
}

#[test]
fn what_is_left_out_is_seen() {
    let text = "impl Tensor {\n    pub fn twice(&self) -> Result<Tensor> {\n    }\n    pub fn thrice(\n        &self,\n    ) -> \
                Result<(Tensor, Tensor)> {\n    }\n    pub fn size(&self) -> usize {\n    }\n}\nimpl Rule for Twice {\n}\n\
                pub(super) const SPECS: &[OpSpec] = &[OpSpec { name: \"x\", samples: || x.twice() }];";
    assert_eq!(uncalled(text), ["thrice"]);
    assert_eq!(rules("twice.rs", text), ["ops::twice::Twice"]);
    assert_eq!(left_out(rules("twice.rs", text), &["gabor_tensor::ops::twice::Twice"]), [""; 0]);
    assert_eq!(left_out(rules("twice.rs", text), &["gabor_tensor::ops::unary::Twice"]), ["ops::twice::Twice"]);
}
