//! What commands print: tables and sentences for people, JSON or YAML for programs. Here, and nowhere else in the
//! commands, is written to stdout and stderr, so that no foreign text gets there as it came.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use serde::Serialize;

use crate::domain::{
    reason::Class,
    report::{Report, Verdict},
    text::{self, escape, is_hidden},
};

/// `-o`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Output {
    #[default]
    Table,
    Json,
    Yaml,
}

/// Prints lines for people.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(&lines(text))
}

/// Prints a value as it is asked for.
pub(super) fn print_as<T: Serialize>(output: Output, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    let json = || Ok::<_, serde_json::Error>(serde_json::to_string_pretty(value)? + "\n");
    match output {
        Output::Table => print(&text(value)),
        Output::Json => write(&text::json(&json()?)),
        Output::Yaml => {
            let yaml = serde_saphyr::to_string(value)?;
            // It writes what is not seen as it is, and not all of that within quotes; JSON is YAML too.
            let shown = |c| c == '\n' || !is_hidden(c);
            if yaml.chars().all(shown) { write(&yaml) } else { write(&text::yaml(&json()?)) }
        }
    }
}

/// Prints the text of files, to the byte: other programs read it. A terminal gets what people can read.
pub(super) fn print_file(text: &str) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() { print(text) } else { write(text) }
}

/// Writes to stdout; a reader that went away is no error.
fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("stdout"),
        _ => Ok(()),
    }
}

/// Tells something on stderr, as one line.
pub(super) fn tell(text: impl ToString) {
    eprintln!("{}", escape(&text.to_string()));
}

/// Tells what a command failed with. What it lists has lines of its own, none of which begins as one of ours.
pub fn tell_error(error: &anyhow::Error) {
    let text = format!("{error:#}");
    let indented = |line: &str| if line.starts_with("  ") { escape(line) } else { format!("  {}", escape(line)) };
    let mut lines = text.lines();
    let first = lines.next().map(escape).unwrap_or_default();
    eprintln!("error: {first}{}", lines.map(|line| format!("\n{}", indented(line))).collect::<String>());
}

/// Tells what is wrong with what was given, and ends with 2.
pub(super) fn refuse(text: impl ToString) -> ExitCode {
    tell(format!("error: {}", text.to_string()));
    ExitCode::from(2)
}

/// What is decided of a container, in words.
pub(super) fn decision(row: &Report) -> &'static str {
    let first = row.reasons.iter().find(|reason| reason.tag.is_none() || row.decision == Verdict::Update);
    match first.map(|reason| reason.code.class()) {
        Some(Class::Unwatched) => "not watched",
        _ => row.decision.as_str(),
    }
}

/// The table of `plan`.
pub(super) fn plan_table(reports: &[Report]) -> String {
    let head = ["WORKLOAD", "CONTAINER", "IMAGE", "DECISION", "TO", "REASON"].map(str::to_owned);
    let rows = reports.iter().map(|row| {
        let first = row.reasons.iter().find(|reason| reason.tag.is_none() || row.decision == Verdict::Update);
        // What concerns the workload as a whole follows the reason for the decision.
        let notes = row.reasons.iter().filter(|reason| reason.tag.is_none() && Some(*reason) != first);
        let why: Vec<&str> = first.into_iter().chain(notes).map(|reason| reason.message.as_str()).collect();
        [
            row.workload.id.to_string(),
            dash(&row.container),
            dash(&short(&row.image)),
            decision(row).to_owned(),
            row.to.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            dash(&why.join("; ")),
        ]
    });
    table(std::iter::once(head).chain(rows))
}

/// Columns as wide as their widest cell; the last one is left as it is.
pub(super) fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.map(|row| row.map(|cell| escape(&cell))).collect();
    let mut width = [0; N];
    for row in &rows {
        for (width, cell) in width.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in width.iter().zip(row) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An image may be written as long as an object may be.
pub(super) fn short(image: &str) -> String {
    const LONGEST: usize = 256;
    match image.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &image[..end]),
        None => image.to_owned(),
    }
}

pub(super) fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A text of several lines: what is not seen is escaped but for the line breaks, which are ours.
fn lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}
