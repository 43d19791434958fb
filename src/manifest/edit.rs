//! Exact edits: new values for the scalars named, and not one byte elsewhere.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

use granit_parser::ScalarStyle;

use super::{
    ManifestError, Place,
    anchors::refuse_shared,
    scalar::{Style, render},
    tree::{Document, Id, Node, NodeKind, Tree},
};
use crate::domain::image::excerpt;

/// A new value for one scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Where it stands, as found in the same text.
    pub place: Place,
    /// The value that must be there.
    pub old: String,
    /// The value to write; always a string.
    pub new: String,
}

/// Why nothing was edited. The caller adds the name of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct EditError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub reason: String,
}

impl EditError {
    pub(super) fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

impl From<ManifestError> for EditError {
    fn from(error: ManifestError) -> Self {
        Self { line: error.line, reason: error.reason }
    }
}

/// The text with all edits made, or an error and none of them.
///
/// A scalar that an alias stands for is edited at its anchor, if every place that has the value is edited to the same
/// new one. The result was parsed again: the scalars named have their new values, and all else is equal.
pub fn edit(text: &str, edits: &[Edit]) -> Result<String, EditError> {
    let tree = Tree::parse(text)?;
    refuse_sealed(&tree)?;
    let targets = targets(&tree, edits)?;
    refuse_shared(&tree, &targets)?;
    let edited = splice(text, changes(&tree, &targets)?);
    verify(&tree, &edited, &targets, &[])?;
    Ok(edited)
}

/// The bytes to replace, and by what, in their order.
pub(super) type Changes = Vec<(Range<usize>, String)>;

/// The changes that give the scalars their new values.
pub(super) fn changes(tree: &Tree, targets: &Targets) -> Result<Changes, EditError> {
    let mut json = HashMap::new();
    let mut changes = Vec::new();
    for (&id, target) in targets {
        if !stands(tree, id, &target.new) {
            changes.push(change(tree, id, &target.new, &mut json)?);
        }
    }
    changes.sort_by_key(|(bytes, _)| bytes.start);
    Ok(changes)
}

/// The text with changes made that do not overlap.
pub(super) fn splice(text: &str, mut changes: Changes) -> String {
    changes.sort_by_key(|(bytes, _)| bytes.start);
    let mut edited = String::with_capacity(text.len() + changes.iter().map(|(_, new)| new.len()).sum::<usize>());
    let mut done = 0;
    for (bytes, new) in &changes {
        edited.push_str(&text[done..bytes.start]);
        edited.push_str(new);
        done = bytes.end;
    }
    edited.push_str(&text[done..]);
    edited
}

/// What a scalar is to become, and the uses of it that asked for it, each as the aliases that lead to it.
pub(super) struct NewValue<'e> {
    pub(super) new: Cow<'e, str>,
    pub(super) users: HashSet<Box<[Id]>>,
}

/// By scalar.
pub(super) type Targets<'e> = BTreeMap<Id, NewValue<'e>>;

/// Nodes that come to those of a text.
pub(super) struct Inserted {
    /// The node before which they stand, in the old text.
    pub(super) before: Id,
    /// The collection that they are in, in the old text.
    pub(super) parent: Id,
    /// Each scalar's value; none for a collection.
    pub(super) nodes: Vec<Option<String>>,
}

/// Whether the place is one of this text.
pub(super) fn is_there(tree: &Tree, place: &Place) -> bool {
    let is_there = (place.node as usize) < tree.nodes.len();
    is_there && Place { via: place.via.clone(), ..tree.place(place.node) } == *place
}

pub(super) fn targets<'e>(tree: &Tree, edits: &'e [Edit]) -> Result<Targets<'e>, EditError> {
    let mut targets: Targets = BTreeMap::new();
    for Edit { place, old, new } in edits {
        let value = if is_there(tree, place) { tree.scalar(place.node) } else { None };
        if value != Some(old) {
            let reason = format!("`{}` is no longer there: read the file again", excerpt(old));
            return Err(EditError::new(place.line, reason));
        }
        let id = tree.resolve(place.node);
        let target = targets.entry(id).or_insert_with(|| NewValue { new: new.into(), users: HashSet::new() });
        if target.new != *new {
            let reason = format!("`{}` and `{}` are both asked for here", excerpt(&target.new), excerpt(new));
            return Err(EditError::new(tree.line(id), reason));
        }
        target.users.insert(tree.through(place.node, &place.via).1.into());
    }
    Ok(targets)
}

/// SOPS signs all values of a file: an edit would make it unreadable.
pub(super) fn refuse_sealed(tree: &Tree) -> Result<(), EditError> {
    let reason = "the file is encrypted by SOPS, whose MAC covers its values: edit it with `sops edit`";
    sealed(tree).map_or(Ok(()), |key| Err(EditError::new(tree.line(key), reason)))
}

/// The key under which SOPS's signature stands.
pub(super) fn sealed(tree: &Tree) -> Option<Id> {
    tree.documents.iter().find_map(|document| {
        let (key, value) = tree.entries_of(document.root).find(|(key, _)| tree.scalar(*key) == Some("sops"))?;
        let signed = tree.entries_of(tree.resolve(value)).any(|(key, _)| tree.scalar(key) == Some("mac"));
        signed.then_some(key)
    })
}

/// Whether a string stands there already, and reads as that string to everyone.
fn stands(tree: &Tree, id: Id, new: &str) -> bool {
    let node = tree.node(id);
    let NodeKind::Scalar(value, style) = &node.kind else { return false };
    let plain = *style == ScalarStyle::Plain && node.tag.is_none() && !tree.text[node.bytes()].contains(['\n', '\r']);
    value == new && (!plain || render(new, Style::Plain { in_flow: node.in_flow, typed: false }) == new)
}

/// The bytes to replace, and by what.
fn change(
    tree: &Tree,
    id: Id,
    new: &str,
    json: &mut HashMap<usize, bool>,
) -> Result<(Range<usize>, String), EditError> {
    let node = tree.node(id);
    let refuse = |reason: String| Err(EditError::new(node.line(), reason));
    let NodeKind::Scalar(old, written) = &node.kind else { return refuse("this is no scalar".into()) };
    let typed = match &node.tag {
        None => false,
        Some(tag) => match tag.suffix_in_namespace("tag:yaml.org,2002:") {
            Some(suffix) if suffix != "str" => {
                return refuse(format!("the value has the tag `{}`: only text is written", excerpt(&tag.original())));
            }
            _ => true,
        },
    };
    let style = match written {
        ScalarStyle::Plain => {
            let document = tree.document_of(id);
            if node.in_flow && *json.entry(document).or_insert_with(|| is_json(tree, document)) {
                Style::Double
            } else {
                Style::Plain { in_flow: node.in_flow, typed }
            }
        }
        ScalarStyle::SingleQuoted => Style::Single,
        ScalarStyle::DoubleQuoted => Style::Double,
        _ => return block(tree, node, old, new),
    };
    if !node.bytes().is_empty() {
        return Ok((node.bytes(), render(new, style)));
    }
    // No value is written. What comes next is the colon of its key, if that stands before it.
    let at = node.bytes().start;
    let after = &tree.text[at..];
    let gap = after.len() - after.trim_start_matches([' ', '\t']).len();
    let is_value = node.is_value;
    let at = match after[gap..].starts_with(':') {
        true if is_value => at + gap + 1,
        false if is_value && node.tag.is_none() && tree.anchor(id).is_none() && !tree.text[..at].ends_with(':') => {
            return refuse("a key without a colon and a value: write `key: value` first".into());
        }
        _ => at,
    };
    Ok((at..at, format!(" {}", render(new, style))))
}

/// A block scalar (`|`, `>`) of one line stays one.
fn block(tree: &Tree, node: &Node, old: &str, new: &str) -> Result<(Range<usize>, String), EditError> {
    let (old_line, new_line) = (old.trim_end_matches('\n'), new.trim_end_matches('\n'));
    let one_line = |s: &str| !s.is_empty() && !s.starts_with([' ', '\t']) && !s.contains(['\n', '\r']);
    let source = &tree.text[node.bytes()];
    let same_end = old[old_line.len()..] == new[new_line.len()..];
    let found = source.find(old_line).filter(|_| one_line(old_line) && one_line(new_line) && same_end);
    match found {
        Some(at) if !source[at + old_line.len()..].contains(|c: char| !c.is_whitespace()) => {
            let start = node.bytes().start + at;
            Ok((start..start + old_line.len(), new_line.to_owned()))
        }
        _ => {
            let reason = "the value is a block scalar (`|` or `>`) of several lines: write it on one line";
            Err(EditError::new(node.line(), reason))
        }
    }
}

fn is_json_literal(text: &str) -> bool {
    matches!(text, "true" | "false" | "null") || text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

/// Whether a document is JSON by its looks: flow style, double quotes around every key and text.
fn is_json(tree: &Tree, document: usize) -> bool {
    let root = tree.documents[document].root;
    (root..tree.node(root).next()).all(|id| {
        let node = tree.node(id);
        let bare = node.tag.is_none() && tree.anchor(id).is_none() && (node.in_flow || id == root);
        bare && match node.kind {
            NodeKind::Mapping => {
                let quoted = |key| matches!(tree.node(key).kind, NodeKind::Scalar(_, ScalarStyle::DoubleQuoted));
                tree.entries(id).all(|(key, _)| quoted(key))
            }
            NodeKind::Sequence => true,
            NodeKind::Scalar(_, ScalarStyle::DoubleQuoted) => true,
            NodeKind::Scalar(ref value, ScalarStyle::Plain) => is_json_literal(value),
            NodeKind::Scalar(..) => false,
            NodeKind::Alias(_) => false,
        }
    })
}

/// Parses the edited text and compares all of it with what was there and what was asked for.
pub(super) fn verify(old: &Tree, edited: &str, targets: &Targets, inserted: &[Inserted]) -> Result<(), EditError> {
    let first = targets.keys().next().copied().or(inserted.first().map(|inserted| inserted.parent));
    let first = first.map_or(1, |id| old.line(id));
    let differs = |line, what: &str| EditError::new(line, format!("the edit would change more than the value: {what}"));
    let new = Tree::parse(edited).map_err(|e| differs(first, &e.to_string()))?;
    let more: usize = inserted.iter().map(|inserted| inserted.nodes.len()).sum();
    if old.nodes.len() + more != new.nodes.len() || old.documents.len() != new.documents.len() {
        return Err(differs(first, "the structure of the documents"));
    }
    let (parents_then, parents_now) = (old.parents(), new.parents());
    // Which node of the old text each of the new one is; none for those inserted.
    let mut origins: Vec<Option<Id>> = Vec::with_capacity(new.nodes.len());
    let mut inserted = inserted.iter().peekable();
    for (index, was) in old.nodes.iter().enumerate() {
        let id = index as Id;
        while let Some(insert) = inserted.next_if(|insert| insert.before == id) {
            check_inserted(&new, &parents_now, insert, &mut origins).ok_or_else(|| differs(first, "what was added"))?;
        }
        let now = origins.len() as Id;
        let is = new.node(now);
        let same = match (targets.get(&id), &is.kind) {
            (Some(target), NodeKind::Scalar(value, _)) => *value == target.new,
            (Some(_), _) => false,
            (None, NodeKind::Alias(anchored)) => {
                let anchored = origins.get(*anchored as usize).copied().flatten();
                matches!(was.kind, NodeKind::Alias(then) if anchored == Some(then))
            }
            (None, kind) => *kind == was.kind,
        };
        let parent = |now: Option<Id>| now.map(|now| origins[now as usize]);
        if !(same
            && parent(parents_now[now as usize]) == parents_then[index].map(Some)
            && was.is_value == is.is_value
            && was.tag == is.tag
            && was.in_flow == is.in_flow
            && old.anchor(id) == new.anchor(now))
        {
            return Err(differs(was.line(), "the value or its neighbour"));
        }
        origins.push(Some(id));
    }
    for insert in inserted {
        check_inserted(&new, &parents_now, insert, &mut origins).ok_or_else(|| differs(first, "what was added"))?;
    }
    let is_same = |(was, is): (&Document, &Document)| {
        let root = origins.get(is.root as usize).copied().flatten();
        (was.explicit, was.version, Some(was.root)) == (is.explicit, is.version, root)
    };
    if !old.documents.iter().zip(&new.documents).all(is_same) {
        return Err(differs(first, "the structure of the documents"));
    }
    let texts = |tree: &Tree| tree.comments.iter().map(|c| tree.text[c.clone()].to_owned()).collect::<Vec<_>>();
    if texts(old) != texts(&new) {
        return Err(differs(first, "a comment"));
    }
    Ok(())
}

/// Whether the nodes that come next are those to insert, each in its parent or in one another.
fn check_inserted(new: &Tree, parents: &[Option<Id>], insert: &Inserted, origins: &mut Vec<Option<Id>>) -> Option<()> {
    let first = origins.len();
    for value in &insert.nodes {
        let now = origins.len();
        let is_same = match (value, &new.nodes.get(now)?.kind) {
            (Some(value), NodeKind::Scalar(is, _)) => value == is,
            (None, NodeKind::Mapping | NodeKind::Sequence) => true,
            _ => false,
        };
        let parent = parents[now]? as usize;
        let fits = parent >= first || origins[parent] == Some(insert.parent);
        if !is_same || !fits {
            return None;
        }
        origins.push(None);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{super::find, *};

    fn set(text: &str, path: &str, new: &str) -> Result<String, EditError> {
        let found = find(text, &path.parse().unwrap(), None)?;
        let edits: Vec<Edit> = found.into_iter().map(|(place, old)| Edit { place, old, new: new.to_owned() }).collect();
        assert!(!edits.is_empty(), "nothing at {path}");
        edit(text, &edits)
    }

    #[rstest::rstest]
    #[case("a: 1.9 # c\n", "a: \"1.10\" # c\n")]
    #[case("a: x", "a: \"1.10\"")]
    #[case("a:\n", "a: \"1.10\"\n")]
    #[case("a: # c\nb: 1\n", "a: \"1.10\" # c\nb: 1\n")]
    #[case("a: !!str\nb: 1\n", "a: !!str 1.10\nb: 1\n")]
    #[case("a: &x\nb: 1\n", "a: &x \"1.10\"\nb: 1\n")]
    #[case("{a: , b: 1}\n", "{a: \"1.10\" , b: 1}\n")]
    #[case("{\"a\": 3}\n", "{\"a\": \"1.10\"}\n")]
    #[case("? a\n: b\n", "? a\n: \"1.10\"\n")]
    #[case("? a\n:\n", "? a\n: \"1.10\"\n")]
    #[case("\"a\" :\n", "\"a\" : \"1.10\"\n")]
    #[case("a: 'x'\r\n", "a: '1.10'\r\n")]
    #[case("a: x\n  y\n\n  z # c\n", "a: \"1.10\" # c\n")]
    #[case("a: \"x\\\n  y\"\n", "a: \"1.10\"\n")]
    #[case("a: >-\n  x\nb: 1\n", "a: >-\n  1.10\nb: 1\n")]
    #[case("a: |-\n\n  x\n", "")]
    #[case("a: |-\n  x\n  y\n", "")]
    #[case("a: |\n  x\n", "")]
    #[case("a: !!int 3\n", "")]
    #[case("{a}\n", "")]
    #[case("? a\n? b\n", "")]
    fn a_value_is_written_where_it_stands(#[case] before: &str, #[case] after: &str) {
        assert_eq!(set(before, "a", "1.10").unwrap_or_default(), after);
    }

    #[test]
    fn items_without_a_value_get_one() {
        assert_eq!(set("- \n-\n", "[1]", "x").unwrap(), "- \n- x\n");
        assert_eq!(set("--- \n# c\n...\n- # d\n", "[0]", "x").unwrap(), "--- \n# c\n...\n- x # d\n");
        assert_eq!(set("- # d\n- # e\n", "[0]", "x").unwrap(), "- x # d\n- # e\n");
    }
}
