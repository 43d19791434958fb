//! Lines that come to a kustomization: a key of an entry of `images`, and a whole entry.

use std::collections::{BTreeMap, btree_map};

use granit_parser::ScalarStyle;

use super::{
    super::{
        EditError,
        edit::{Changes, Inserted},
        scalar::{Style, render},
        tree::{Id, NodeKind, Tree},
    },
    cell::LocationEdit,
};
use crate::domain::image::excerpt;

/// What is to come, each once.
#[derive(Default)]
pub(super) struct Inserts<'e> {
    keys: BTreeMap<(Id, &'e str), &'e LocationEdit>,
    entries: BTreeMap<&'e str, &'e LocationEdit>,
}

impl<'e> Inserts<'e> {
    pub(super) fn key(&mut self, beside: Id, key: &'e str, edit: &'e LocationEdit) -> Result<(), EditError> {
        once(self.keys.entry((beside, key)), edit)
    }

    pub(super) fn entry(&mut self, name: &'e str, edit: &'e LocationEdit) -> Result<(), EditError> {
        once(self.entries.entry(name), edit)
    }

    /// Adds the changes that make them, and says what comes where.
    pub(super) fn changes(&self, tree: &Tree, changes: &mut Changes) -> Result<Vec<Inserted>, EditError> {
        let mut inserted = Vec::new();
        let parents = if self.keys.is_empty() { Vec::new() } else { tree.parents() };
        for ((beside, key), edit) in &self.keys {
            let parent = parents[*beside as usize];
            let (change, nodes) = add_key(tree, *beside, key, &edit.new).ok_or_else(|| {
                EditError::new(
                    edit.line,
                    format!("`{key}` cannot be added here exactly: add it by hand, with any value"),
                )
            })?;
            changes.push(change);
            let parent = parent.ok_or_else(|| EditError::new(edit.line, "this is in no mapping"))?;
            inserted.push(Inserted { before: beside + 1, parent, nodes });
        }
        if let Some((name, edit)) = self.entries.first_key_value() {
            let refused = |reason| {
                let name = excerpt(name);
                EditError::new(edit.line, format!("an entry of `images` for `{name}` cannot be added: {reason}"))
            };
            let (change, insert) = add_entries(tree, &self.entries).map_err(refused)?;
            changes.push(change);
            inserted.push(insert);
        }
        inserted.sort_by_key(|insert| insert.before);
        Ok(inserted)
    }
}

fn once<'e, K: Ord>(entry: btree_map::Entry<K, &'e LocationEdit>, edit: &'e LocationEdit) -> Result<(), EditError> {
    let first = entry.or_insert(edit);
    if first.new == edit.new {
        return Ok(());
    }
    let reason = format!("`{}` and `{}` are both asked for here", excerpt(&first.new), excerpt(&edit.new));
    Err(EditError::new(edit.line, reason))
}

type Change = (std::ops::Range<usize>, String);

/// A key and its value after another key's value.
fn add_key(tree: &Tree, beside: Id, key: &str, value: &str) -> Option<(Change, Vec<Option<String>>)> {
    let node = tree.node(beside);
    let key_node = tree.node(beside.checked_sub(1)?);
    let nodes = vec![Some(key.to_owned()), Some(value.to_owned())];
    let is_one_line = |s: &ScalarStyle| {
        let is_quote = matches!(s, ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
        is_quote && !tree.text[node.bytes()].contains(['\n', '\r'])
    };
    let NodeKind::Scalar(_, style) = &node.kind else { return None };
    let NodeKind::Scalar(_, key_style) = &key_node.kind else { return None };
    if !is_one_line(style) || !node.is_value {
        return None;
    }
    let double = *key_style == ScalarStyle::DoubleQuoted;
    let style = if double { Style::Double } else { Style::Plain { in_flow: node.in_flow, typed: false } };
    let pair = format!("{}: {}", if double { format!("\"{key}\"") } else { key.to_owned() }, render(value, style));
    if node.in_flow {
        let at = node.bytes().end;
        return (!node.bytes().is_empty()).then(|| ((at..at, format!(", {pair}")), nodes));
    }
    let (start, at) = (line_start(tree.text, key_node.bytes().start), line_end(tree.text, node.bytes().end));
    let before = tree.text[start..key_node.bytes().start].trim_start_matches('\u{feff}');
    let indent = before.bytes().all(|b| b == b' ' || b == b'-').then(|| " ".repeat(before.len()))?;
    Some((lines(tree.text, at, &[format!("{indent}{pair}")]), nodes))
}

/// Entries at the end of `images`, which is made if it is not there.
fn add_entries(tree: &Tree, entries: &BTreeMap<&str, &LocationEdit>) -> Result<(Change, Inserted), &'static str> {
    let [document] = tree.documents.as_slice() else { return Err("the file has several documents") };
    let root = document.root;
    let is_block = |id: Id| tree.children(id).next().is_some_and(|first| !tree.node(first).in_flow);
    if tree.node(root).kind != NodeKind::Mapping || !is_block(root) {
        return Err("the file is no mapping in block style");
    }
    let images = tree.entries(root).find(|(key, _)| tree.scalar(*key) == Some("images"));
    let (parent, before, mut nodes) = match images {
        None => (root, tree.node(root).next(), vec![Some("images".to_owned()), None]),
        Some((_, list)) if tree.node(list).kind == NodeKind::Sequence && is_block(list) => {
            (list, tree.node(list).next(), Vec::new())
        }
        Some(_) => return Err("`images` is no list in block style"),
    };
    let last = tree.node(before.saturating_sub(1));
    if matches!(&last.kind, NodeKind::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded)) {
        return Err("a block scalar stands before its place");
    }
    let (dash, pad) = match images {
        None => ("- ".to_owned(), "  ".to_owned()),
        Some((_, list)) => item_prefix(tree, list).ok_or("the items of `images` do not start with `- `")?,
    };
    let mut new = if images.is_none() { vec!["images:".to_owned()] } else { Vec::new() };
    let style = Style::Plain { in_flow: false, typed: false };
    for (name, edit) in entries {
        let (tag, digest) = edit.new.split_once('@').map_or((&*edit.new, None), |(tag, digest)| (tag, Some(digest)));
        new.push(format!("{dash}name: {}", render(name, style)));
        nodes.extend([None, Some("name".to_owned()), Some((*name).to_owned())]);
        for (key, value) in [("newTag", Some(tag)), ("digest", digest)] {
            let Some(value) = value else { continue };
            new.push(format!("{pad}{key}: {}", render(value, style)));
            nodes.extend([Some(key.to_owned()), Some(value.to_owned())]);
        }
    }
    let at = match images {
        None => tree.text.len(),
        Some(_) => line_end(tree.text, last.bytes().end),
    };
    Ok((lines(tree.text, at, &new), Inserted { before, parent, nodes }))
}

/// What stands before the last item of a list on its line, and as much space.
fn item_prefix(tree: &Tree, list: Id) -> Option<(String, String)> {
    let item = tree.node(tree.children(list).last()?).bytes().start;
    let before = tree.text[line_start(tree.text, item)..item].trim_start_matches('\u{feff}');
    let rest = before.trim_start_matches(' ').strip_prefix('-')?;
    (!rest.is_empty() && rest.bytes().all(|b| b == b' ')).then(|| (before.to_owned(), " ".repeat(before.len())))
}

/// Whole lines at the start of a line, or after the last one if it has no end.
fn lines(text: &str, at: usize, new: &[String]) -> Change {
    let line_break = if text[..at].ends_with("\r\n") || (!text[..at].ends_with('\n') && text.contains("\r\n")) {
        "\r\n"
    } else {
        "\n"
    };
    let joined = new.join(line_break);
    if text[..at].ends_with('\n') || at == 0 {
        (at..at, joined + line_break)
    } else {
        (at..at, format!("{line_break}{joined}"))
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |at| at + 1)
}

/// After the break of the line, or at the end of the text.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end + 1)
}
