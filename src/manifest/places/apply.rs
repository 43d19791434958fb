//! The edits of one file, made exactly or not at all.

use std::{collections::BTreeMap, ops::Range};

use granit_parser::ScalarStyle;

use super::{
    super::{
        Edit, EditError, MAX_BYTES, Place,
        anchors::{is_used_once, refuse_shared},
        edit::{self, Changes, NewValue, changes, is_there, refuse_sealed, splice, targets, verify},
        tree::{Id, NodeKind, Tree},
    },
    cell::{At, LocationEdit},
    insert,
};
use crate::domain::image::excerpt;

/// The text with all edits of one file made, or an error and none of them. The path is for nothing but messages.
///
/// The edits are those that [`super::Index::locate`] gave for the very same bytes.
pub fn apply(path: &str, bytes: &[u8], edits: &[&LocationEdit]) -> Result<Vec<u8>, EditError> {
    let Some(first) = edits.first() else { return Ok(bytes.to_vec()) };
    let wrong = |reason: String| EditError::new(first.line, reason);
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(format!("{} is no UTF-8", excerpt(path))))?;
    if text.len() > MAX_BYTES {
        return Err(wrong(format!("{} is larger than the {MAX_BYTES} bytes that are read", excerpt(path))));
    }
    let lines = edits.iter().filter(|edit| matches!(edit.at, At::Line(_))).count();
    match lines {
        0 => of_yaml(text, edits).map(String::into_bytes),
        all if all == edits.len() => of_lines(text, edits).map(String::into_bytes),
        _ => Err(wrong("the file is read in two ways: read it again".into())),
    }
}

fn gone(edit: &LocationEdit) -> EditError {
    EditError::new(edit.line, format!("`{}` is no longer there: read the file again", excerpt(&edit.old)))
}

fn both(line: usize, one: &str, other: &str) -> EditError {
    EditError::new(line, format!("`{}` and `{}` are both asked for here", excerpt(one), excerpt(other)))
}

fn of_lines(text: &str, edits: &[&LocationEdit]) -> Result<String, EditError> {
    let mut values: BTreeMap<(usize, usize), &LocationEdit> = BTreeMap::new();
    for edit in edits {
        let At::Line(bytes) = &edit.at else { return Err(gone(edit)) };
        if text.get(bytes.clone()) != Some(&edit.old) {
            return Err(gone(edit));
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
        if edit.new.is_empty() || !edit.new.chars().all(is_part) {
            return Err(EditError::new(edit.line, format!("`{}` cannot stand here", excerpt(&edit.new))));
        }
        let first = values.entry((bytes.start, bytes.end)).or_insert(edit);
        if first.new != edit.new {
            return Err(both(edit.line, &first.new, &edit.new));
        }
    }
    let mut end = 0;
    for (&(start, next), edit) in &values {
        if start < end {
            return Err(gone(edit));
        }
        end = next;
    }
    Ok(splice(text, values.into_iter().map(|((start, end), edit)| (start..end, edit.new.clone())).collect()))
}

fn of_yaml(text: &str, edits: &[&LocationEdit]) -> Result<String, EditError> {
    let tree = Tree::parse(text)?;
    refuse_sealed(&tree)?;
    let (mut scalars, mut inner) = (Vec::new(), BTreeMap::<Id, (Place, Vec<Edit>)>::new());
    let mut inserts = insert::Inserts::default();
    for edit in edits {
        let of = |place: &Place| Edit { place: place.clone(), old: edit.old.clone(), new: edit.new.clone() };
        match &edit.at {
            At::Scalar(place) => scalars.push(of(place)),
            At::Inner { outer, inner: place } => {
                if !is_there(&tree, outer) {
                    return Err(gone(edit));
                }
                inner.entry(outer.node).or_insert_with(|| (outer.clone(), Vec::new())).1.push(of(place));
            }
            At::Key { beside, key } => {
                if !is_there(&tree, beside) {
                    return Err(gone(edit));
                }
                if !beside.via.is_empty() || !is_used_once(&tree, beside.node) {
                    let reason =
                        format!("`{key}` cannot be added to what an anchor names: add it by hand, with any value");
                    return Err(EditError::new(edit.line, reason));
                }
                inserts.key(beside.node, key, edit)?;
            }
            At::ImagesEntry { name } => inserts.entry(name, edit)?,
            At::Encoded => {
                let reason = "this stands in base64: write it as `stringData`, or in a ConfigMap";
                return Err(EditError::new(edit.line, reason));
            }
            At::Line(_) => return Err(gone(edit)),
        }
    }
    let mut targets = targets(&tree, &scalars)?;
    let mut all = changes(&tree, &targets)?;
    for (id, (outer, edits)) in &inner {
        if targets.contains_key(id) {
            return Err(EditError::new(outer.line, "a text and a value in it are both to change"));
        }
        let (new, changes) = of_block(&tree, *id, edits)?;
        all.extend(changes);
        targets.insert(*id, NewValue { new: new.into(), users: [[].into()].into() });
    }
    refuse_shared(&tree, &targets)?;
    let inserted = inserts.changes(&tree, &mut all)?;
    let edited = splice(text, all);
    verify(&tree, &edited, &targets, &inserted)?;
    Ok(edited)
}

/// Edits the YAML that a literal block scalar holds: its new value, and the changes of the outer text that make it.
fn of_block(tree: &Tree, id: Id, edits: &[Edit]) -> Result<(String, Changes), EditError> {
    let node = tree.node(id);
    let line = node.line();
    let NodeKind::Scalar(value, ScalarStyle::Literal) = &node.kind else {
        let reason = "this is a text in quotes or folded, in which nothing is edited: write it as a block (`|`)";
        return Err(EditError::new(line, reason));
    };
    let empty = value.len() - value.trim_start_matches('\n').len();
    let within = |error: EditError| EditError { line: (line + error.line).saturating_sub(empty + 1), ..error };
    let inner = Tree::parse(value).map_err(|error| within(error.into()))?;
    refuse_sealed(&inner).map_err(within)?;
    let targets = targets(&inner, edits).map_err(within)?;
    refuse_shared(&inner, &targets).map_err(within)?;
    let changes = edit::changes(&inner, &targets).map_err(within)?;
    let new = splice(value, changes.clone());
    verify(&inner, &new, &targets, &[]).map_err(within)?;
    let outer =
        changes.into_iter().map(|(bytes, new)| Some((outer_bytes(tree, node.bytes().start, value, bytes)?, new)));
    match outer.collect::<Option<Changes>>() {
        Some(outer) if outer.iter().all(|(_, new)| !new.contains(['\n', '\r'])) => Ok((new, outer)),
        _ => Err(EditError::new(line, "a value in this text stands on several lines: write it on one")),
    }
}

/// Where bytes of a literal block scalar's value stand in the text.
fn outer_bytes(tree: &Tree, first: usize, value: &str, bytes: Range<usize>) -> Option<Range<usize>> {
    let before = &value[..bytes.start];
    let index = before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = value[start..].split('\n').next()?;
    if bytes.end > start + line.len() {
        return None;
    }
    // The parser gives the bytes from the first line on that is not empty.
    let empty = value.len() - value.trim_start_matches('\n').len();
    let mut at = tree.text[..first].rfind('\n').map_or(0, |at| at + 1);
    for _ in empty..index {
        at += tree.text[at..].find('\n')? + 1;
    }
    let source = tree.text[at..].split('\n').next()?;
    let indent = source.strip_suffix('\r').unwrap_or(source).strip_suffix(line)?;
    let at = at + indent.len();
    indent.bytes().all(|b| b == b' ').then(|| at + bytes.start - start..at + bytes.end - start)
}
