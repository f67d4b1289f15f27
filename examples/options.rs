//! Reads command lines of the form `--name value` and shows errors, for `digits` and `lenet`.

use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

use gabor::prelude::*;

/// What stands on the command line, in pairs.
pub(crate) struct CommandLine {
    pairs: Vec<(String, String)>,
}

impl CommandLine {
    /// Reads the arguments of this program; an option that is not in `usage` is an error that shows it.
    pub(crate) fn read(usage: &str) -> Result<Self> {
        let complain = |what: String| Error::custom(format!("{what}\noptions: {usage}"));
        let mut pairs = Vec::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if !name.starts_with("--") || !usage.split_whitespace().any(|known| known == name) {
                return Err(complain(format!("unknown option {name}")));
            }
            let value = arguments.next().ok_or_else(|| complain(format!("{name} needs a value")))?;
            pairs.push((name, value));
        }
        Ok(CommandLine { pairs })
    }

    /// The value behind `name`, if it is there; the last one counts.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value behind `name`, or the one that is used without it.
    pub(crate) fn number<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().map_err(|error| Error::custom(format!("{name} {text}: {error}")))
    }
}

/// Shows an error as a user wants to read it; `main` returning it would show it as a programmer does.
pub(crate) fn report(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
