//! What people and scripts see: tables and JSON on stdout, sentences on stderr.

use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::lab::bench::progress::Progress;

/// How a verb prints: for people, or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// The option of every verb that prints a table unless told otherwise.
#[derive(Debug, Args)]
pub(super) struct FormatArg {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(super) format: Format,
}

/// The option of the verbs that print JSON unless told otherwise.
#[derive(Debug, Args)]
pub(super) struct JsonFormatArg {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Json, value_name = "FORMAT")]
    pub(super) format: Format,
}

/// Writes to stdout, with styles only where a terminal shows them. A reader
/// that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("cannot write to stdout"))
        }
        _ => Ok(()),
    }
}

/// Prints a value as indented JSON.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Prints names, one a line, or as a JSON array.
pub(super) fn names(names: &[String], format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => print(&names.iter().map(|name| format!("{name}\n")).collect::<String>()),
        Format::Json => json(&names),
    }
}

/// Columns under capitals, without lines, as `docker … ls` draws them.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    columns("", std::iter::once(header.iter().map(|&h| h.to_owned()).collect()).chain(rows))
}

/// Columns without a header, each line after `indent`.
pub(super) fn columns(indent: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| format!("{indent}{}\n", line.trim_end())).collect()
}

/// The first twelve digits of an id, as Docker shows it.
pub(super) fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// A list in one cell; `-` if empty, so that columns stay countable.
pub(super) fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    if items.is_empty() { "-".into() } else { items.join(",") }
}

/// Does `work`, and says meanwhile on a terminal what it is and for how long it
/// has been going on.
pub(super) fn meanwhile<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let progress = Progress::new();
    let (done, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let start = Instant::now();
            loop {
                progress.show(&format!("{what} ({} s)", start.elapsed().as_secs()));
                if over.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                    break progress.clear();
                }
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Some of several objects could not be dealt with.
#[derive(Debug)]
pub(super) struct Failures(Vec<anyhow::Error>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.0.len())
    }
}

impl std::error::Error for Failures {}

/// Does `work` for every name and goes on past failures: what was done, and
/// what was not.
pub(super) fn each<T>(
    names: &[String],
    mut work: impl FnMut(&str) -> anyhow::Result<T>,
) -> (Vec<T>, anyhow::Result<()>) {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        match work(name) {
            Ok(value) => done.push(value),
            Err(error) => failed.push(error),
        }
    }
    (done, if failed.is_empty() { Ok(()) } else { Err(Failures(failed).into()) })
}

/// One sentence on stderr for each thing that failed.
pub(super) fn complain(error: anyhow::Error) {
    let mut stderr = anstream::stderr().lock();
    let errors = match error.downcast::<Failures>() {
        Ok(failures) => failures.0,
        Err(error) => vec![error],
    };
    for error in errors {
        // Nobody is left to tell if stderr is closed.
        let _ = writeln!(stderr, "vxmesh: {error:#}");
    }
}

/// Prints what could be inspected, as JSON or as a summary of each, and then
/// fails if something could not be.
pub(super) fn inspected<T: Serialize>(
    format: Format,
    (found, result): (Vec<T>, anyhow::Result<()>),
    summary: fn(&T) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Json => json(&found)?,
        Format::Table => print(&found.iter().map(summary).collect::<Vec<_>>().join("\n"))?,
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_end_where_the_text_ends() {
        let text = table(&["ID", "NAME"], [vec!["1234".into(), "a".into()]]);
        assert_eq!(text, "ID     NAME\n1234   a\n");
        assert_eq!(table(&["ID", "NAME"], []), "ID   NAME\n");
    }

    #[test]
    fn each_goes_on_past_a_failure() {
        let names: Vec<String> = ["a", "b", "c"].map(String::from).into();
        let (done, result) = each(&names, |name| match name {
            "b" => Err(anyhow::anyhow!("no b")),
            name => Ok(name.to_owned()),
        });
        assert_eq!(done, ["a", "c"]);
        let failures = result.unwrap_err().downcast::<Failures>().unwrap();
        assert_eq!(failures.0.len(), 1);
        assert_eq!(failures.0[0].to_string(), "no b");
    }

    #[test]
    fn an_empty_list_is_visible() {
        assert_eq!(list::<u8>([]), "-");
        assert_eq!(list([1, 2]), "1,2");
    }
}
