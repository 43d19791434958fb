//! The marked values of a Dockerfile. Docker knows no comments behind an instruction, so a marker stands on the line
//! above.

use super::{
    super::ManifestError,
    kept::MAX_KEPT,
    marker::{Marker, MarkerText, comment, is_comment, on_line, value_of},
    uneditable::is_open,
};

const FROM: &str = "--from=";

/// The marked values of `ARG`, `ENV`, `FROM` and `COPY --from=`.
pub(super) fn of_dockerfile(text: &str, found: &mut Vec<Marker>, problems: &mut Vec<ManifestError>) {
    let mut above: Option<Result<MarkerText<'_>, String>> = None;
    // What is marked in the last line is missed there.
    let end = std::iter::once((text.split('\n').count() + 1, text.len(), ""));
    for (number, at, line) in super::marker::lines(text).chain(end) {
        if found.len() > MAX_KEPT || problems.len() > MAX_KEPT {
            return;
        }
        if let Some(written) = above.take() {
            let none = match is_open(line) {
                true => "what stands below the marker is filled in from elsewhere: mark the `ARG` that holds it",
                false => {
                    "exactly one value must stand on the line below the marker, as in `ARG NAME=value` or `FROM image`"
                }
            };
            match written.and_then(|written| on_line(&written, line, at, number, value(line).ok_or(none)?)) {
                Ok(marker) => found.push(marker),
                Err(reason) => problems.push(ManifestError::new(number - 1, reason)),
            }
        }
        match comment(line) {
            Some((before, written)) if before.trim().is_empty() => above = Some(written),
            Some((before, _)) if !is_comment(before) => {
                let reason = "a Dockerfile has no comments behind an instruction: put the marker on the line above";
                problems.push(ManifestError::new(number, reason));
            }
            _ => {}
        }
    }
}

/// The key and the bytes of the value of an instruction, or of a line that goes on with one.
fn value(line: &str) -> Option<(&str, (usize, usize))> {
    let line = line.trim_end();
    let line = line.strip_suffix('\\').unwrap_or(line).trim_end();
    let mut words = line.split_whitespace().scan(0, |end, word| {
        let start = *end + line[*end..].find(word)?;
        *end = start + word.len();
        Some((start, word))
    });
    let (_, name) = words.next()?;
    let (start, image) = match name.to_ascii_uppercase().as_str() {
        "FROM" => words.find(|(_, word)| !word.starts_with("--"))?,
        "COPY" => words.find_map(|(start, word)| Some((start + FROM.len(), word.strip_prefix(FROM)?)))?,
        _ => return value_of(line),
    };
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    image.chars().all(is_part).then_some(("image", (start, start + image.len())))
}
