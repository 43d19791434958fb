//! How reports are printed: a table for people, JSON or YAML for programs.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

use crate::domain::{
    reason::Code,
    report::{Report, Verdict},
    text::escape,
};

/// `-o`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Output {
    #[default]
    Table,
    Json,
    Yaml,
}

/// Writes data to stdout; a reader that went away is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("stdout"),
        _ => Ok(()),
    }
}

/// JSON or YAML; `None` for a table.
pub(super) fn structured<T: Serialize>(output: Output, value: &T) -> anyhow::Result<Option<String>> {
    Ok(match output {
        Output::Table => None,
        Output::Json => Some(serde_json::to_string_pretty(value)? + "\n"),
        Output::Yaml => Some(serde_saphyr::to_string(value)?),
    })
}

/// The table of `plan`.
pub(super) fn plan_table(reports: &[Report]) -> String {
    let head = ["WORKLOAD", "CONTAINER", "IMAGE", "DECISION", "TO", "REASON"].map(str::to_owned);
    let rows = reports.iter().map(|row| {
        let first = row.reasons.iter().find(|reason| reason.tag.is_none() || row.decision == Verdict::Update);
        let watched = !first.is_some_and(|reason| matches!(reason.code, Code::NotWatched | Code::NotSelected));
        // What concerns the workload as a whole follows the reason for the decision.
        let notes = row.reasons.iter().filter(|reason| reason.tag.is_none() && Some(*reason) != first);
        let why: Vec<&str> = first.into_iter().chain(notes).map(|reason| reason.message.as_str()).collect();
        [
            row.workload.id.to_string(),
            dash(&row.container),
            dash(&short(&row.image)),
            if watched { verdict(row.decision) } else { "not watched" }.to_owned(),
            row.to.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            dash(&why.join("; ")),
        ]
    });
    table(std::iter::once(head).chain(rows))
}

/// Columns as wide as their widest cell; the last one is left as it is.
pub(super) fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.map(|row| row.map(|cell| one_line(&cell))).collect();
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

/// The word for a verdict in tables.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Update => "update",
        Verdict::UpToDate => "up-to-date",
        Verdict::Waiting => "waiting",
        Verdict::Blocked => "blocked",
        Verdict::Problem => "problem",
    }
}

/// An image may be written as long as an object may be.
fn short(image: &str) -> String {
    const LONGEST: usize = 256;
    match image.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &image[..end]),
        None => image.to_owned(),
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Control characters would let foreign text forge lines or colours.
pub(super) fn one_line(text: &str) -> String {
    escape(text)
}

/// The same, of a text of several lines.
pub(super) fn lines(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}
