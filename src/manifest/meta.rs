//! Labels and annotations as they are written, for what selects objects by them, and for what changes them.

use granit_parser::ScalarStyle;

use super::{
    merge::Member,
    tree::{Id, NodeKind, Tree},
};

/// The longest value that a selector can name.
const MAX_SELECTED: usize = 63;

/// What of an object's head patches are chosen by, or set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The API version, without its group.
    pub(super) version: Box<str>,
    pub(super) labels: Pairs,
    pub(super) annotations: Pairs,
}

/// A key and its value; none is `null`, by which a patch removes the key.
type Pair = (Box<str>, Option<Box<str>>);

/// A map of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pairs {
    pub(super) all: Box<[Pair]>,
    /// Whether a patch puts it in the place of the whole map: `$patch: replace`, or with no values `$patch: delete`.
    pub(super) replaces: bool,
}

impl Meta {
    /// Of the object that is this mapping. What is no text there is none.
    pub(super) fn read(tree: &Tree, object: Id) -> Self {
        let find = |mapping: Id, name: &str| {
            let value = tree.get(mapping, name).ok()??;
            Some(tree.resolve(value))
        };
        let version = find(object, "apiVersion").and_then(|node| tree.scalar(node)).unwrap_or_default();
        let metadata = find(object, "metadata");
        let map = |key| metadata.and_then(|metadata| find(metadata, key)).map(|map| Pairs::read(tree, map));
        Self {
            version: version.rsplit_once('/').map_or(version, |(_, version)| version).into(),
            labels: map("labels").unwrap_or_default(),
            annotations: map("annotations").unwrap_or_default(),
        }
    }
}

impl Pairs {
    /// Of a mapping; a value that neither concerns us nor can be named by a selector is cut.
    pub(super) fn read(tree: &Tree, map: Id) -> Self {
        let mut replaces = false;
        let mut all = Vec::new();
        for Member { name: key, value, .. } in tree.all_entries(map).0 {
            let NodeKind::Scalar(text, style) = &tree.node(tree.resolve(value)).kind else { continue };
            if key == "$patch" {
                replaces = matches!(&**text, "replace" | "delete");
                continue;
            }
            let is_null = *style == ScalarStyle::Plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL");
            let end =
                if super::read::concerns_us(key) { text.len() } else { text.floor_char_boundary(MAX_SELECTED + 4) };
            all.push((key.into(), (!is_null).then(|| text[..end].into())));
        }
        Self { all: all.into(), replaces }
    }
}
