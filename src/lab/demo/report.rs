//! What the demo shows as it goes: steps, commands, checks and a summary.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

const TITLE: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Width of the column that says what was checked.
const WHAT: usize = 42;

/// Prints, and counts what passed and failed. Colours appear on terminals
/// only. A reader that has gone away does not disturb the demo.
#[derive(Debug)]
pub(super) struct Report {
    start: Instant,
    step: usize,
    passed: usize,
    failed: usize,
    figures: Vec<(String, String)>,
    silent: Arc<AtomicBool>,
}

impl Report {
    pub(super) fn new() -> Report {
        Report {
            start: Instant::now(),
            step: 0,
            passed: 0,
            failed: 0,
            figures: Vec::new(),
            silent: Arc::default(),
        }
    }

    /// Set, it stops all printing: what fails from then on fails because the
    /// lab is being taken down.
    pub(super) fn silencer(&self) -> Arc<AtomicBool> {
        self.silent.clone()
    }

    /// Lines as they are.
    pub(super) fn text(&self, text: impl Display) {
        self.line(format_args!("{text}"));
    }

    /// The next step of the story.
    pub(super) fn step(&mut self, title: &str) {
        self.step += 1;
        self.line(format_args!("\n{TITLE}{}. {title}{TITLE:#}", self.step));
    }

    /// What somebody would type to do the same.
    pub(super) fn command(&self, host: &str, command: impl Display) {
        self.line(format_args!("   {DIM}{host}${DIM:#} {command}"));
    }

    /// A remark.
    pub(super) fn remark(&self, text: impl Display) {
        self.line(format_args!("   {DIM}{text}{DIM:#}"));
    }

    /// Something that should hold and what was seen of it.
    pub(super) fn check(&mut self, what: impl Display, saw: anyhow::Result<impl Display>) {
        let what = what.to_string();
        match saw {
            Ok(saw) => {
                self.passed += 1;
                self.line(format_args!("   {GOOD}✓{GOOD:#} {what:WHAT$} {saw}"));
            }
            Err(error) => {
                self.failed += 1;
                self.line(format_args!("   {BAD}✗{BAD:#} {what:WHAT$} {BAD}{error:#}{BAD:#}"));
            }
        }
    }

    /// A number that the summary repeats.
    pub(super) fn figure(&mut self, name: &str, value: impl Display) {
        self.figures.push((name.to_owned(), value.to_string()));
    }

    /// The end: the figures, and how many checks passed.
    pub(super) fn summary(&self) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.line(format_args!("\n{TITLE}Summary{TITLE:#}"));
        for (name, value) in &self.figures {
            self.line(format_args!("   {name:WHAT$}   {value}"));
        }
        let (style, mark) = if self.failed == 0 { (GOOD, "✓") } else { (BAD, "✗") };
        self.line(format_args!(
            "   {style}{mark} {} checks passed, {} failed{style:#}, in {seconds:.1} s",
            self.passed, self.failed
        ));
    }

    /// An error if a check failed.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        match self.failed {
            0 => Ok(()),
            1 => anyhow::bail!("one check of the demo failed"),
            n => anyhow::bail!("{n} checks of the demo failed"),
        }
    }

    fn line(&self, text: std::fmt::Arguments<'_>) {
        if !self.silent.load(Ordering::Relaxed) {
            let mut out = anstream::stdout().lock();
            let _: io::Result<()> = writeln!(out, "{text}").and_then(|()| out.flush());
        }
    }
}

/// `41 ms`, or `1.2 s` from a second on.
pub(super) fn time(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// `812 B`, `61.4 KiB` or `1.0 GiB`.
pub(super) fn size(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(time(Duration::from_millis(41)), "41 ms");
        assert_eq!(time(Duration::from_millis(1249)), "1.2 s");
        assert_eq!(size(812.0), "812 B");
        assert_eq!(size(62_900.0), "61.4 KiB");
        assert_eq!(size((1u64 << 30) as f64), "1.0 GiB");
    }

    #[test]
    fn one_failure_is_a_failure() {
        let mut report = Report::new();
        report.silencer().store(true, Ordering::Relaxed);
        report.check("good", anyhow::Ok("fine"));
        assert!(report.verdict().is_ok());
        report.check("bad", Err::<&str, _>(anyhow::anyhow!("broken")));
        assert_eq!(report.verdict().unwrap_err().to_string(), "one check of the demo failed");
        assert_eq!((report.passed, report.failed), (1, 1));
    }
}
