//! The scalars that make an image, wherever they stand, and the edits that make another one of them.

use std::{borrow::Cow, cell::RefCell, collections::HashSet, ops::Range, sync::Arc};

use super::{
    super::{
        Place,
        tree::{Id, Tree},
    },
    kustomization::MAX_PATTERNS,
};
use crate::domain::image::{ImageError, ImageRef, excerpt};

/// A value that is kept is at most as long; what is longer is no part of an image.
const MAX_VALUE: usize = 1024;

/// How to find a scalar again in the same text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// A scalar of the file.
    Scalar(Place),
    /// A scalar of the YAML text that the block scalar `outer` holds.
    Inner { outer: Place, inner: Place },
    /// A value on a line of a text that is not read as YAML.
    Line(Range<usize>),
    /// Within a text in base64.
    Encoded,
    /// A key that is not there yet, beside the scalar named.
    Key { beside: Place, key: &'static str },
    /// An entry of `images` that a kustomization does not have yet.
    ImagesEntry { name: Box<str> },
}

impl At {
    /// The scalar itself, by whichever aliases it is reached.
    pub(super) fn bare(&self) -> Cow<'_, Self> {
        let bare = |place: &Place| Place { via: [].into(), ..place.clone() };
        match self {
            Self::Scalar(place) if !place.via.is_empty() => Cow::Owned(Self::Scalar(bare(place))),
            Self::Inner { outer, inner } if !outer.via.is_empty() || !inner.via.is_empty() => {
                Cow::Owned(Self::Inner { outer: bare(outer), inner: bare(inner) })
            }
            _ => Cow::Borrowed(self),
        }
    }
}

/// A scalar: where it stands and what it holds.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) line: usize,
    pub(super) at: At,
    pub(super) value: Box<str>,
}

/// A tree, and the scalar that holds its text where it is not the file's own.
pub(super) struct Source<'t> {
    pub(super) tree: &'t Tree<'t>,
    outer: Option<Place>,
    lines_before: usize,
    /// The patterns of its selectors.
    patterns: RefCell<HashSet<Arc<str>>>,
}

impl<'t> Source<'t> {
    /// A file.
    pub(super) fn file(tree: &'t Tree<'t>) -> Self {
        Self { tree, outer: None, lines_before: 0, patterns: RefCell::default() }
    }

    /// The text of a scalar.
    pub(super) fn inner(tree: &'t Tree<'t>, outer: Place) -> Self {
        // The parser gives the line of a block scalar's first line that is not empty.
        let empty = tree.text.len() - tree.text.trim_start_matches('\n').len();
        Self {
            tree,
            lines_before: outer.line.saturating_sub(empty + 1),
            outer: Some(outer),
            patterns: RefCell::default(),
        }
    }

    /// The scalar of the file that this is the text of.
    pub(super) fn outer(&self) -> Option<Id> {
        self.outer.as_ref().map(|outer| outer.node)
    }

    /// The line in the file of a line of the text.
    pub(super) fn file_line(&self, line: usize) -> usize {
        line + self.lines_before
    }

    /// The line in the file.
    pub(super) fn line(&self, id: Id) -> usize {
        self.file_line(self.tree.line(id))
    }

    /// Whether a pattern of a selector may be compiled, for which as many are read as of `images`.
    pub(super) fn takes(&self, pattern: &Arc<str>) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        patterns.contains(pattern) || patterns.len() < MAX_PATTERNS && patterns.insert(pattern.clone())
    }

    /// The scalar, if it is one and may be part of an image.
    pub(super) fn cell(&self, id: Id) -> Option<Cell> {
        self.cell_at(self.tree.place(id))
    }

    /// The same, of a scalar that may be reached by aliases.
    pub(super) fn cell_at(&self, place: Place) -> Option<Cell> {
        let (id, via) = self.tree.through(place.node, &place.via);
        let value = self.tree.scalar(id).filter(|value| value.len() <= MAX_VALUE)?;
        let (line, place) = (self.line(place.node), Place { via: via.into(), ..self.tree.place(id) });
        let at = match &self.outer {
            None => At::Scalar(place),
            Some(outer) => At::Inner { outer: outer.clone(), inner: place },
        };
        Some(Cell { line, at, value: value.into() })
    }
}

/// What makes an image.
#[derive(Debug, Clone)]
pub(super) enum ImageExpr {
    /// One scalar, after what else it holds (`name=` in an Application's `kustomize.images`), and the digest beside it.
    Whole { prefix: Box<str>, cell: Cell, digest: Option<Box<Cell>> },
    /// Several, each with a part.
    Parts(Box<Parts>),
}

/// The scalars that each hold a part of an image.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) registry: Option<Cell>,
    pub(super) name: Name,
    pub(super) tag: Option<Cell>,
    pub(super) digest: Option<Cell>,
    /// A digest under another key: which one counts is not known.
    pub(super) other_digest: Option<Cell>,
}

/// The repository of an image that is made of parts.
#[derive(Debug, Clone)]
pub(super) enum Name {
    Cell(Cell),
    /// It is known from elsewhere.
    Known(Box<str>),
}

/// One scalar and its new value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocationEdit {
    /// The line, from 1.
    pub line: usize,
    /// What must be there.
    pub old: String,
    /// What is to be there.
    pub new: String,
    pub(super) at: At,
}

impl ImageExpr {
    pub(super) fn whole(cell: Cell) -> Self {
        Self::Whole { prefix: "".into(), cell, digest: None }
    }

    /// One with a digest beside it.
    pub(super) fn beside(cell: Cell, digest: Option<Cell>) -> Self {
        Self::Whole { prefix: "".into(), cell, digest: digest.map(Box::new) }
    }

    /// An image as Argo CD hands it to Kustomize: `name:tag`, or `other=name:tag` in the place of another.
    pub(super) fn renaming(cell: Cell) -> Self {
        let prefix = cell.value.split_once('=').map_or("", |(name, _)| &cell.value[..=name.len()]);
        Self::Whole { prefix: prefix.into(), cell, digest: None }
    }

    pub(super) fn parts(registry: Option<Cell>, name: Name, tag: Option<Cell>, digest: Option<Cell>) -> Self {
        Self::Parts(Box::new(Parts { registry, name, tag, digest, other_digest: None }))
    }

    /// An entry of `images` that is not there yet, for the image of this name.
    pub(super) fn added(name: &str) -> Self {
        let cell = Cell { line: 1, at: At::ImagesEntry { name: name.into() }, value: "".into() };
        Self::parts(None, Name::Known(name.into()), Some(cell), None)
    }

    /// The image that is made now.
    pub(super) fn holds(&self) -> Result<ImageRef, ImageError> {
        match self {
            Self::Whole { prefix, cell, digest } => {
                let mut text = cell.value.get(prefix.len()..).unwrap_or_default().to_owned();
                let digest = digest.as_ref().filter(|digest| !is_unset(&digest.value) && !text.contains('@'));
                text.extend(digest.map(|digest| format!("@{}", whole_digest(&digest.value))));
                ImageRef::parse(&text)
            }
            Self::Parts(parts) => parts.holds(),
        }
    }

    /// The scalar that tells one place from another.
    pub(super) fn main(&self) -> Option<&Cell> {
        match self {
            Self::Whole { cell, .. } => Some(cell),
            Self::Parts(parts) => parts.tag.as_ref().or(parts.digest.as_ref()),
        }
    }

    /// Every scalar that it is made of.
    pub(super) fn cells(&self) -> impl Iterator<Item = &Cell> {
        let (whole, beside, parts) = match self {
            Self::Whole { cell, digest, .. } => (Some(cell), digest.as_deref(), None),
            Self::Parts(parts) => (None, None, Some(parts)),
        };
        let name = parts.and_then(|parts| match &parts.name {
            Name::Cell(cell) => Some(cell),
            Name::Known(_) => None,
        });
        let parts = parts.into_iter().flat_map(|parts| [&parts.registry, &parts.tag, &parts.digest]);
        whole.into_iter().chain(beside).chain(name).chain(parts.flatten())
    }

    /// The edits after which `to` is made, where `holds` is made now; or why there are none.
    pub(super) fn edits(&self, holds: &ImageRef, to: &ImageRef) -> Result<Vec<LocationEdit>, String> {
        let mut edits = Vec::new();
        match self {
            Self::Whole { prefix, cell, digest } => {
                // The name here is not the one that runs where a kustomization gives it another.
                let own = split(cell.value.get(prefix.len()..).unwrap_or_default()).0;
                let moves = holds.repository != to.repository;
                if moves && own != holds.name() {
                    return Err(format!("`{}` is named elsewhere, which cannot say `{}`", excerpt(own), to.repository));
                }
                let in_cell = match digest {
                    Some(digest) => {
                        set_digest(&mut edits, digest, to);
                        &to.at(to.tag.clone(), None)
                    }
                    None => to,
                };
                let image = if moves { in_cell.to_string() } else { suffixed(own, in_cell) };
                set(&mut edits, cell, format!("{prefix}{image}"));
            }
            Self::Parts(parts) => parts.edits(holds, to, &mut edits)?,
        }
        Ok(edits)
    }
}

fn set(edits: &mut Vec<LocationEdit>, cell: &Cell, new: String) {
    if *cell.value != *new {
        edits.push(LocationEdit { line: cell.line, old: cell.value.to_string(), new, at: cell.at.clone() });
    }
}

/// Nothing stays as it is written.
fn set_or_empty(edits: &mut Vec<LocationEdit>, cell: &Cell, new: String) {
    if !(new.is_empty() && is_unset(&cell.value)) {
        set(edits, cell, new);
    }
}

/// Written as the digest there is, with or without `sha256:`; emptied where the image has none.
fn set_digest(edits: &mut Vec<LocationEdit>, cell: &Cell, to: &ImageRef) {
    let digest = to.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    set_or_empty(edits, cell, if is_hex(&cell.value) { digest.replacen(SHA, "", 1) } else { digest });
}

impl Parts {
    fn holds(&self) -> Result<ImageRef, ImageError> {
        let value = |cell: &Option<Cell>| cell.as_ref().map(|c| c.value.clone()).filter(|v| !is_unset(v));
        let name = self.name.value();
        let mut text = match value(&self.registry) {
            Some(registry) => format!("{}/{name}", registry.trim_end_matches('/')),
            None => name.to_owned(),
        };
        for (sign, part) in [(':', value(&self.tag)), ('@', value(&self.digest))] {
            if let Some(part) = part {
                text.push(sign);
                text.push_str(&if sign == '@' { whole_digest(&part) } else { (&*part).into() });
            }
        }
        ImageRef::parse(&text)
    }

    fn edits(&self, holds: &ImageRef, to: &ImageRef, edits: &mut Vec<LocationEdit>) -> Result<(), String> {
        if let Some(other) = &self.other_digest {
            return Err(format!(
                "another key, on line {}, holds a digest, too: remove the one that does not count",
                other.line
            ));
        }
        if split(self.name.value()).1.is_some() {
            let name = excerpt(self.name.value());
            return Err(format!(
                "`{name}` holds a tag, too, and a key beside it is for the tag: write the tag there only"
            ));
        }
        if holds.repository != to.repository {
            let Name::Cell(name) = &self.name else {
                return Err(format!("no key here holds the repository, which would be `{}`", to.repository));
            };
            match &self.registry {
                Some(registry) if !is_unset(&registry.value) => {
                    set(edits, registry, to.repository.host().to_owned());
                    set(edits, name, to.repository.path().to_owned());
                }
                _ => set(edits, name, to.name().to_owned()),
            }
        }
        let tag = to.tag.as_ref().map(ToString::to_string);
        let digest = to.digest.as_ref().map(ToString::to_string);
        match (&self.tag, &self.digest) {
            // Charts and people write both into the tag where there is no key for the digest.
            (Some(cell), None) => match (tag, digest) {
                (Some(tag), None) => set(edits, cell, tag),
                (Some(tag), Some(digest)) => set(edits, cell, format!("{tag}@{digest}")),
                (None, _) => return Err(format!("the tag here cannot be left out, as `{to}` would have it")),
            },
            (Some(tag_cell), Some(digest_cell)) => {
                set_or_empty(edits, tag_cell, tag.unwrap_or_default());
                set_digest(edits, digest_cell, to);
            }
            (None, Some(cell)) => match digest {
                Some(_) if tag.is_none() => set_digest(edits, cell, to),
                _ => return Err(format!("only a digest is written here, which cannot say `{to}`: add a tag")),
            },
            (None, None) => return Err("no key here holds a tag or a digest".into()),
        }
        Ok(())
    }
}

impl Name {
    pub(super) fn value(&self) -> &str {
        match self {
            Self::Cell(cell) => &cell.value,
            Self::Known(name) => name,
        }
    }
}

/// An image's name, tag and digest, as Kustomize parts them: nothing is checked.
pub(super) fn split(image: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    // What stands before the first slash may be a host with a port.
    let path = rest.find('/').unwrap_or(0);
    match rest[path..].find(':') {
        Some(at) => (&rest[..path + at], Some(&rest[path + at + 1..]), digest),
        None => (rest, None, digest),
    }
}

fn suffixed(name: &str, image: &ImageRef) -> String {
    let tag = image.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = image.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{name}{tag}{digest}")
}

/// What a digest begins with, where it is written whole.
const SHA: &str = "sha256:";

/// Whether a value is a digest without its `sha256:`.
fn is_hex(value: &str) -> bool {
    value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A digest as it stands in an image.
fn whole_digest(value: &str) -> Cow<'_, str> {
    if is_hex(value) { format!("{SHA}{value}").into() } else { value.into() }
}

/// Whether a value is a digest, with or without its `sha256:`.
pub(super) fn is_digest(value: &str) -> bool {
    is_hex(value.strip_prefix(SHA).unwrap_or(value))
}

/// Whether a value is none, to YAML's readers.
pub(super) fn is_unset(value: &str) -> bool {
    matches!(value, "" | "~" | "null")
}
