//! Images in the values of a chart: by the conventions that charts follow, and every scalar by its path.

use std::collections::BTreeMap;

use super::{
    super::{
        Place,
        tree::{Id, NodeKind, Tree},
    },
    cell::{self, Cell, ImageExpr, Name, Parts, Source, is_unset, split},
};

/// Deeper values are not read.
const MAX_DEPTH: usize = 64;

/// More scalars than this are not kept by their paths, of a file that is no values file by its name and that nobody names.
pub(super) const MAX_FLAT: usize = 2_000;

/// Nor so many of a values file, or of the values of a release.
pub(super) const MAX_OF_RELEASE: usize = 20_000;

/// What the paths of one file may take, in bytes.
pub(super) const MAX_PATHS: usize = 16 << 20;

/// The images below a node: `image: repository:tag`; `repository` and `tag` (with `registry` and `digest`) in one
/// mapping; `name` and `tag` under a key that ends in `image`.
pub(super) fn images(source: &Source, root: Id) -> Vec<ImageExpr> {
    let tree = source.tree;
    let mut found = Vec::new();
    let mut open = vec![(root, "", 0)];
    while let Some((node, key, depth)) = open.pop() {
        match tree.node(node).kind {
            NodeKind::Mapping => {
                found.extend(of_mapping(source, node, key));
                let inner = tree.entries(node).map(|(k, value)| (value, tree.scalar(k).unwrap_or_default(), depth + 1));
                open.extend(inner.filter(|(value, ..)| tree.node(*value).is_collection() && depth < MAX_DEPTH));
            }
            NodeKind::Sequence => {
                let inner = tree.children(node).filter(|item| tree.node(*item).is_collection() && depth < MAX_DEPTH);
                open.extend(inner.map(|item| (item, key, depth + 1)));
            }
            _ => {}
        }
    }
    found.sort_by_key(|expr| expr.main().map(|cell| cell.line));
    found
}

fn of_mapping(source: &Source, mapping: Id, key: &str) -> Vec<ImageExpr> {
    let tree = source.tree;
    let cells = tree.all_entries(mapping).0.into_iter().filter_map(|entry| {
        let place = Place { via: entry.via.into(), ..tree.place(entry.value) };
        Some((entry.name, source.cell_at(place)?))
    });
    of_keys(key, &cells.collect::<Vec<_>>())
}

/// The keys and values of a mapping, with those that merge keys (`<<`) bring: its own come first.
pub(super) fn entries<'t>(tree: &'t Tree, mapping: Id) -> impl Iterator<Item = (&'t str, Id)> {
    tree.all_entries(mapping).0.into_iter().map(|entry| (entry.name, entry.value))
}

pub(super) fn of_keys(key: &str, cells: &[(&str, Cell)]) -> Vec<ImageExpr> {
    let values: Vec<(&str, &str)> = cells.iter().map(|(key, cell)| (*key, &*cell.value)).collect();
    keys(key, &values).into_iter().map(|keys| keys.expr(|index| cells[index].1.clone())).collect()
}

/// Which of the values of a mapping make an image.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keys {
    Whole {
        image: usize,
        digest: Option<usize>,
    },
    Parts {
        registry: Option<usize>,
        name: usize,
        tag: Option<usize>,
        digest: Option<usize>,
        /// Another digest.
        other: Option<usize>,
    },
}

impl Keys {
    fn expr(self, cell: impl Fn(usize) -> Cell) -> ImageExpr {
        match self {
            Self::Whole { image, digest } => ImageExpr::beside(cell(image), digest.map(cell)),
            Self::Parts { registry, name, tag, digest, other } => {
                let (name, digest) = (Name::Cell(cell(name)), digest.map(&cell));
                ImageExpr::Parts(Box::new(Parts {
                    registry: registry.map(&cell),
                    name,
                    tag: tag.map(&cell),
                    digest,
                    other_digest: other.map(cell),
                }))
            }
        }
    }
}

/// The images of a mapping that stands under `key`, by its keys and values.
pub(super) fn keys(key: &str, all: &[(&str, &str)]) -> Vec<Keys> {
    let get = |name: &str| all.iter().position(|(key, _)| *key == name);
    let filled = |name: &str| get(name).filter(|index| !is_unset(all[*index].1));
    // Some charts call the digest otherwise, and write it without `sha256:`.
    let digests: Vec<usize> = (0..all.len()).filter(|index| is_digest_beside(all[*index].0, all[*index].1)).collect();
    let mut found = Vec::new();
    let is_whole = |index: &usize| {
        let (_, tag, digest) = split(all[*index].1);
        is_image_key(all[*index].0) && (tag.is_some() || digest.is_some())
    };
    let whole: Vec<usize> = (0..all.len()).filter(is_whole).collect();
    let tag = get("tag");
    for &image in &whole {
        // Whose digest it is can be told where there is one image.
        let is_its = whole.len() == 1 && digests.len() == 1 && tag.is_none() && get("repository").is_none();
        found.push(Keys::Whole { image, digest: digests.first().copied().filter(|_| is_its) });
    }
    let digest = filled("digest").or(digests.first().copied()).or(get("digest"));
    if tag.is_some() || digest.is_some() {
        let untagged = |index: &usize| split(all[*index].1).1.is_none();
        let name = filled("repository").or_else(|| filled("image").filter(untagged));
        let name = name.or_else(|| if is_image_key(key) { filled("name") } else { None });
        if let Some(name) = name {
            let other = digests.iter().copied().find(|other| Some(*other) != digest);
            found.push(Keys::Parts { registry: get("registry"), name, tag, digest, other });
        }
    }
    found
}

/// Whether a value at a path may be a part of an image.
pub(super) fn is_part(path: &str, value: &str) -> bool {
    let key = path.rsplit('.').next().unwrap_or_default();
    matches!(key, "registry" | "repository" | "name" | "tag" | "digest")
        || is_image_key(key)
        || is_digest_beside(key, value)
}

/// Whether a value beside a tag is the digest: under `digest`, `sha`, `shaDigest`, `imageSha256` and the like.
pub(super) fn is_digest_beside(key: &str, value: &str) -> bool {
    let key = key.to_ascii_lowercase();
    (key.contains("digest") || key.contains("sha")) && cell::is_digest(value)
}

fn is_image_key(key: &str) -> bool {
    let start = key.len().saturating_sub("image".len());
    key.get(start..).is_some_and(|end| end.eq_ignore_ascii_case("image"))
}

/// Parameters by what stands before the last dot of their names. The last of two of the same name counts, as to Helm.
pub(super) fn by_base<'n, T>(named: impl IntoIterator<Item = (&'n str, T)>) -> BTreeMap<&'n str, Vec<(&'n str, T)>> {
    let mut found: BTreeMap<&str, BTreeMap<&str, T>> = BTreeMap::new();
    for (name, value) in named {
        let (base, key) = name.rsplit_once('.').unwrap_or(("", name));
        found.entry(base).or_default().insert(key, value);
    }
    found.into_iter().map(|(base, values)| (base, values.into_iter().collect())).collect()
}

/// The last key of the name of a parameter.
pub(super) fn last(base: &str) -> &str {
    base.rsplit('.').next().unwrap_or(base)
}

/// Every scalar below a node that may be part of an image, by its path ([`super::super::Path::key`]); none if they are
/// more than `most`.
pub(super) fn flat(source: &Source, root: Id, prefix: &str, most: usize) -> Option<Vec<(Box<str>, Cell)>> {
    let tree: &Tree = source.tree;
    let (mut found, mut bytes) = (Vec::new(), 0);
    let mut open = vec![(root, prefix.to_owned(), 0)];
    while let Some((node, path, depth)) = open.pop() {
        let is_deep = depth >= MAX_DEPTH || path.len() > 512;
        let before = open.len();
        // An alias of a scalar is a place of its own.
        let node = Some(tree.resolve(node)).filter(|own| tree.node(*own).is_collection()).unwrap_or(node);
        match tree.node(node).kind {
            NodeKind::Mapping if !is_deep => {
                for (key, value) in entries(tree, node) {
                    open.push((value, path.clone() + &super::super::path::key_step(key), depth + 1));
                }
            }
            NodeKind::Sequence if !is_deep => {
                for (index, item) in tree.children(node).enumerate() {
                    open.push((item, format!("{path}[{index}]"), depth + 1));
                }
            }
            NodeKind::Mapping | NodeKind::Sequence => {}
            _ => {
                let is_part = |cell: &Cell| cell.value.len() <= 256 && !cell.value.contains(char::is_whitespace);
                if let Some(cell) = source.cell(node).filter(is_part) {
                    found.push((path.into(), cell));
                }
            }
        }
        bytes += open.iter().skip(before).map(|(_, path, _)| path.len()).sum::<usize>();
        if found.len() > most || open.len() > most || bytes > MAX_PATHS {
            return None;
        }
    }
    Some(found)
}
