//! A line on the terminal that says how far a download is.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line changes at most.
const INTERVAL: Duration = Duration::from_millis(100);
const BAR: usize = 20;

/// Shows how much of a file has arrived: on stderr if that is a terminal, else nowhere.
pub(crate) struct Progress {
    out: Option<Box<dyn Write>>,
    name: String,
    total: Option<u64>,
    start: Instant,
    shown: Option<Instant>,
    width: usize,
}

impl Progress {
    pub(crate) fn new(name: &str, total: Option<u64>) -> Self {
        let out: Option<Box<dyn Write>> = stderr().is_terminal().then(|| Box::new(stderr()) as _);
        Progress { out, name: name.to_owned(), total, start: Instant::now(), shown: None, width: 0 }
    }

    /// Shows that `done` bytes are here, unless the line changed just now.
    pub(crate) fn at(&mut self, done: u64) {
        if self.shown.is_none_or(|shown| shown.elapsed() >= INTERVAL) {
            self.show(done);
        }
    }

    /// Shows the last state and ends the line.
    pub(crate) fn finish(mut self, done: u64) {
        self.show(done);
        self.shown = None;
        if let Some(out) = &mut self.out {
            let _ = writeln!(out); // nobody to tell that the terminal is gone
        }
    }

    fn show(&mut self, done: u64) {
        self.shown = Some(Instant::now());
        let Some(out) = &mut self.out else { return };
        let line = line(&self.name, done, self.total, self.start.elapsed());
        // Spaces over what a longer line left.
        let _ = write!(out, "\r{line:<width$}", width = self.width);
        let _ = out.flush();
        self.width = line.chars().count();
    }
}

impl Drop for Progress {
    /// A download that broke off wipes its line.
    fn drop(&mut self) {
        if let (Some(out), Some(_)) = (&mut self.out, self.shown) {
            let _ = write!(out, "\r{:width$}\r", "", width = self.width);
            let _ = out.flush();
        }
    }
}

/// `train-images-idx3-ubyte.gz ━━━━━━━━━━━━━━━━━━━━  45% 4.5/9.9 MB, 2.1 MB/s`.
fn line(name: &str, done: u64, total: Option<u64>, time: Duration) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let rate = megabytes(done) / time.as_secs_f64().max(1e-3);
    match total.filter(|&total| total > 0) {
        Some(total) => {
            let part = (done as f64 / total as f64).min(1.0);
            let full = (part * BAR as f64) as usize;
            format!(
                "{name} {}{} {:>3.0}% {:.1}/{:.1} MB, {rate:.1} MB/s",
                "━".repeat(full),
                "─".repeat(BAR - full),
                (part * 100.0).floor(),
                megabytes(done),
                megabytes(total),
            )
        }
        None => format!("{name} {:.1} MB, {rate:.1} MB/s", megabytes(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(with: impl FnOnce(Progress)) -> String {
        let terminal = Terminal::default();
        let mut progress = Progress::new("f", None);
        progress.out = Some(Box::new(terminal.clone()));
        with(progress);
        let bytes = terminal.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("a.gz", 4_500_000, Some(9_000_000), second * 2),
            "a.gz ━━━━━━━━━━──────────  50% 4.5/9.0 MB, 2.2 MB/s"
        );
        assert_eq!(line("a", 5, Some(3), second), "a ━━━━━━━━━━━━━━━━━━━━ 100% 0.0/0.0 MB, 0.0 MB/s");
        assert_eq!(line("a", 1_000_000, None, second), "a 1.0 MB, 1.0 MB/s");
        assert_eq!(line("a", 0, Some(0), Duration::ZERO), "a 0.0 MB, 0.0 MB/s");
    }

    #[test]
    fn the_line_changes_seldom_and_ends_with_the_download() {
        let text = shown(|mut progress| {
            (0..1000).for_each(|i| progress.at(i));
            progress.finish(2_000_000);
        });
        assert!(text.matches('\r').count() < 10, "{text:?}");
        assert!(text.starts_with("\rf 0.0 MB") && text.contains("\rf 2.0 MB") && text.ends_with('\n'), "{text:?}");
    }

    #[test]
    fn a_download_that_breaks_off_wipes_its_line() {
        let text = shown(|mut progress| progress.at(0));
        assert!(text.ends_with(" \r") && !text.contains('\n'), "{text:?}");
        assert_eq!(shown(drop), "");
    }
}
