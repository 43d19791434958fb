//! What is answered to who asks for details: how the workload stands, as `supercargo explain` has it.

use super::{
    Desk,
    message::public,
    text::{code, plain, quoted},
};
use crate::{domain::report::Report, ports::Announced};

/// As many rows, and as many reasons of each, are shown.
const ROWS: usize = 8;
const REASONS: usize = 5;

/// In words, for one person.
pub(super) async fn details(of: &Announced, desk: &Desk) -> String {
    let workload = &of.tracked.update.workload;
    let Some(rows) = desk.explain.explain(workload).await else {
        return format!("nothing is known of {} now", code(&workload.to_string(), 500));
    };
    let mut lines = vec![code(&workload.to_string(), 500)];
    lines.extend(rows.iter().take(ROWS).map(row));
    if let more @ 1.. = rows.len().saturating_sub(ROWS) {
        lines.push(format!("and {more} more"));
    }
    lines.push(format!("`supercargo explain {}` shows all of it", plain(&workload.to_string(), 500).replace('`', "'")));
    lines.join("\n")
}

fn row(row: &Report) -> String {
    let to = row.to_image.as_deref().map(|to| format!(" → {}", code(to, 600))).unwrap_or_default();
    let place = if row.container.is_empty() { String::new() } else { format!("{}: ", code(&row.container, 300)) };
    let mut lines = vec![format!("• {place}{}{to}, {}", code(&row.image, 600), row.decision.as_str())];
    lines.extend(row.reasons.iter().take(REASONS).map(|reason| {
        let tag = reason.tag.as_ref().map(|tag| format!("{}: ", code(&tag.to_string(), 200))).unwrap_or_default();
        format!("    {tag}{} ({})", quoted(public(reason), 600), reason.code)
    }));
    lines.join("\n")
}
