//! The path of a scalar: `a.b[0].c`; keys with other characters in quotes: `a."b.c"[0]`, `a['b.c']`.

use std::fmt;

use super::{
    ManifestError, Place,
    near::Near,
    tree::{NodeKind, Tree},
};
use crate::domain::image::excerpt;

/// Steps from the root of a document to a value. It is shown as it can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(pub(super) Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    f.write_str(if at > 0 { "." } else { "" })?;
                    match key.is_empty() || key.contains(['.', '[', ']', '"', '\'', '\\']) {
                        true => write!(f, "\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))?,
                        false => f.write_str(key)?,
                    }
                }
            }
        }
        Ok(())
    }
}

impl Path {
    /// The same text for the same path, however it was written.
    pub(super) fn key(&self) -> String {
        let step = |step: &Step| match step {
            Step::Key(key) => key_step(key),
            Step::Index(index) => format!("[{index}]"),
        };
        self.0.iter().map(step).collect()
    }
}

/// A step of [`Path::key`].
pub(super) fn key_step(key: &str) -> String {
    format!(".{}", key.replace('\\', "\\\\").replace('.', "\\.").replace('[', "\\["))
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is no path ({reason}): write it like a.b[0].c, and a key with other characters like a.\"b.c\"")]
pub struct PathError {
    path: String,
    reason: &'static str,
}

impl std::str::FromStr for Path {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        steps(path).map(Self).map_err(|reason| PathError { path: excerpt(path), reason })
    }
}

fn steps(path: &str) -> Result<Vec<Step>, &'static str> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            rest = if inner.starts_with(['"', '\'']) {
                let (key, tail) = quoted(inner)?;
                steps.push(Step::Key(key));
                tail.strip_prefix(']').ok_or("a `[` is not closed")?
            } else {
                let (index, tail) = inner.split_once(']').ok_or("a `[` is not closed")?;
                let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
                let index = index.parse().ok().filter(|_| digits).ok_or("between `[` and `]` stands no number")?;
                steps.push(Step::Index(index));
                tail
            };
            continue;
        }
        if !steps.is_empty() {
            rest = rest.strip_prefix('.').ok_or("a `.` is missing between two keys")?;
        }
        if rest.starts_with(['"', '\'']) {
            let (key, tail) = quoted(rest)?;
            steps.push(Step::Key(key));
            rest = tail;
        } else {
            let end = rest.find(['.', '[', ']', '"', '\'']).unwrap_or(rest.len());
            if end == 0 {
                return Err("a key is empty");
            }
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    if steps.is_empty() { Err("it is empty") } else { Ok(steps) }
}

/// A quoted key, and what comes after it. A backslash takes the next character as it is.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, c)| c);
    let mut key = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if Some(c) == quote => return Ok((key, &text[at + c.len_utf8()..])),
            '\\' => key.push(chars.next().ok_or("a quote is not closed")?.1),
            c => key.push(c),
        }
    }
    Err("a quote is not closed")
}

/// Finds the scalar at a path in each document of a text that has one there (or only in the document named), with its
/// value. Fails where the path ends at a collection or leads through an alias or a merge key.
pub fn find(text: &str, path: &Path, document: Option<usize>) -> Result<Vec<(Place, String)>, ManifestError> {
    let (tree, shown) = (Tree::parse(text)?, excerpt(&path.to_string()));
    let mut found = Vec::new();
    for (index, each) in tree.documents.iter().enumerate() {
        if document.is_some_and(|d| d != index) {
            continue;
        }
        let mut at = Some(each.root);
        for step in &path.0 {
            let Some(node) = at else { break };
            if let NodeKind::Alias(_) = tree.node(node).kind {
                let reason = format!("`{shown}` leads through an alias: give the path to where its anchor stands");
                return Err(ManifestError::new(tree.line(node), reason));
            }
            at = match (step, &tree.node(node).kind) {
                (Step::Key(key), NodeKind::Mapping) => {
                    let found = tree.find(node, key)?;
                    if found.as_ref().is_some_and(|(_, via)| !via.is_empty()) {
                        let reason =
                            format!("`{shown}` leads through a merge key: give the path to where its anchor stands");
                        return Err(ManifestError::new(tree.line(node), reason));
                    }
                    found.map(|(value, _)| value)
                }
                (Step::Index(index), NodeKind::Sequence) => tree.children(node).nth(*index),
                _ => None,
            };
        }
        let Some(node) = at else { continue };
        let Some(value) = tree.scalar(node) else {
            let near = Near::of(&tree, path, document);
            let reason = format!("`{shown}` is a mapping or a list, and only a scalar can be set{near}");
            return Err(ManifestError::new(tree.line(node), reason));
        };
        found.push((tree.place(node), value.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("a.b[0].c", "a|b|#0|c")]
    #[case("a.\"b.c\"[0]", "a|b.c|#0")]
    #[case("a['b.c'].d", "a|b.c|d")]
    #[case("[1][2].x", "#1|#2|x")]
    #[case("a.\"q\\\"q\"", "a|q\"q")]
    #[case("image-x/y", "image-x/y")]
    fn a_path_is_read(#[case] path: &str, #[case] expected: &str) {
        let steps = path.parse::<Path>().unwrap().0;
        let shown: Vec<String> = steps
            .iter()
            .map(|s| match s {
                Step::Key(key) => key.clone(),
                Step::Index(index) => format!("#{index}"),
            })
            .collect();
        assert_eq!(shown.join("|"), expected);
    }

    #[rstest::rstest]
    #[case("a.b[0].c")]
    #[case("a.\"b.c\"[0]")]
    #[case("[1][2].x")]
    #[case("a.\"q\\\"q\"")]
    #[case("\"\".image-x/y.\"\\\\\"")]
    fn a_path_is_shown_as_it_is_given(#[case] path: &str) {
        assert_eq!(path.parse::<Path>().unwrap().to_string(), path);
    }

    #[rstest::rstest]
    #[case("")]
    #[case(".a")]
    #[case("a.")]
    #[case("a..b")]
    #[case("a[")]
    #[case("a[x]")]
    #[case("a[-1]")]
    #[case("a[+1]")]
    #[case("a[]")]
    #[case("a.\"b")]
    #[case("a]b")]
    #[case("a['b'")]
    #[case("a[0]b")]
    #[case("a\"b\"")]
    #[case("a[99999999999999999999999]")]
    fn what_is_no_path_is_refused(#[case] path: &str) {
        assert!(path.parse::<Path>().is_err(), "{path}");
    }
}
