//! The scalars of a file that are nearest to a path at which none stands.

use std::{cmp::Reverse, fmt};

use super::{
    ManifestError,
    path::{Path, Step},
    tree::{Id, NodeKind, Tree},
};
use crate::domain::{image::excerpt, nearest::distance};

/// So many are named.
const MOST: usize = 3;

/// More of a file are not compared.
const MAX_SCALARS: usize = 10_000;

/// Longer paths are neither compared nor shown.
const MAX_LENGTH: usize = 200;

/// The nearest scalars; shown as the end of a sentence.
#[derive(Debug, Default)]
pub(super) struct Near(Vec<(Path, usize)>);

/// Why nothing stands at a path of a text, or of one document of it.
pub fn missing(text: &str, path: &Path, document: Option<usize>) -> Result<String, ManifestError> {
    let tree = Tree::parse(text)?;
    let count = tree.documents.len();
    if let Some(document) = document.filter(|document| *document >= count) {
        let there = match count {
            0 | 1 => "one, which is 0".to_owned(),
            more => format!("{more}, from 0 to {}", more - 1),
        };
        return Ok(format!("there is no document {document}: the file has {there}"));
    }
    let near = Near::of(&tree, path, document);
    let path = excerpt(&path.to_string());
    Ok(format!("nothing stands at the path `{path}`{near}"))
}

impl Near {
    /// The scalars that have the most steps in common with the path, from its start and to its end.
    pub(super) fn of(tree: &Tree, path: &Path, document: Option<usize>) -> Self {
        let documents = tree.documents.iter().enumerate().filter(|(index, _)| document.is_none_or(|own| own == *index));
        let mut all = Vec::new();
        for (_, document) in documents {
            scalars(tree, document.root, &mut Vec::new(), &mut all);
        }
        let text = path.to_string();
        let ranked = all.into_iter().filter(|_| text.len() <= MAX_LENGTH).filter_map(|(steps, line)| {
            let found = Path(steps);
            let shown = found.to_string();
            let start = path.0.iter().zip(&found.0).take_while(|(a, b)| a == b).count();
            let end = path.0.iter().rev().zip(found.0.iter().rev()).take_while(|(a, b)| a == b).count();
            (shown.len() <= MAX_LENGTH).then(|| ((Reverse(start + end), distance(&text, &shown), line), found))
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        Self(ranked.into_iter().take(MOST).map(|((.., line), path)| (path, line)).collect())
    }
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|(path, line)| format!("`{}` (line {line})", excerpt(&path.to_string())));
        let each: Vec<String> = each.collect();
        match &each[..] {
            [] => f.write_str("; there are no scalars"),
            [one] => write!(f, "; the nearest there is {one}"),
            more => write!(f, "; the nearest there are {}", more.join(", ")),
        }
    }
}

/// The paths and lines of scalars below a node.
fn scalars(tree: &Tree, node: Id, above: &mut Vec<Step>, all: &mut Vec<(Vec<Step>, usize)>) {
    if all.len() >= MAX_SCALARS {
        return;
    }
    let below: Vec<(Step, Id)> = match tree.node(node).kind {
        NodeKind::Mapping => {
            let key = |(key, value)| Some((Step::Key(tree.scalar(key)?.to_owned()), value));
            tree.entries(node).filter_map(key).collect()
        }
        NodeKind::Sequence => tree.children(node).enumerate().map(|(at, item)| (Step::Index(at), item)).collect(),
        NodeKind::Scalar(..) if !above.is_empty() => return all.push((above.clone(), tree.line(node))),
        _ => return,
    };
    for (step, node) in below {
        above.push(step);
        scalars(tree, node, above, all);
        above.pop();
    }
}
