//! An image on its way through the `images` of kustomizations, as Kustomize parts and changes it.

use std::sync::Arc;

use super::{
    cell::{Cell, ImageExpr, Name, is_unset, split},
    kustomization::ImagesEntry,
    patch::Ambiguity,
};

/// A file, and a scalar in it.
pub(super) type Placed<'f> = (&'f Arc<str>, Cell);

/// A file, and an entry of `images` in it.
pub(super) type ImagesAt<'f> = (&'f Arc<str>, &'f ImagesEntry);

/// The tag that counts cannot be said at one place.
const SUFFIX: &str = "`tagSuffix` is appended to a tag that stands elsewhere: write the whole tag as `newTag`";
const BY_TAG: &str = "the `name` of this entry is for one tag only, which the entry does not set: leave the tag out of `name`, or \
     add `newTag`";
const IN_NAME: &str =
    "`newName` holds a tag or digest, and another stands beside it: write them as `newTag` and `digest`";

/// An image on its way through the kustomizations, and where its parts come from.
#[derive(Clone)]
pub(super) struct Passing<'f> {
    pub(super) image: Image,
    /// The manifest or the patch that set it.
    path: &'f Arc<str>,
    cell: Cell,
    entry: Option<ImagesAt<'f>>,
    /// The entry whose tag and digest count, which may have none of its own.
    version: Option<ImagesAt<'f>>,
    /// The entries that kept the version which they found, and would set it if they had a value.
    keeping: Vec<ImagesAt<'f>>,
    /// What its name and version are of besides.
    below: Vec<Placed<'f>>,
    /// What decided by its version that an entry is for it.
    pub(super) by_version: Vec<Placed<'f>>,
    new_name: Option<(&'f Arc<str>, &'f Cell)>,
    /// A new name that holds the tag, too.
    in_name: Option<(&'f Arc<str>, &'f Cell)>,
    /// The entry of the overlay that is given.
    beside: Option<(&'f Arc<str>, ImageExpr)>,
}

impl<'f> Passing<'f> {
    pub(super) fn new(path: &'f Arc<str>, cell: Cell) -> Self {
        let image = Image::of(&cell.value);
        Self {
            image,
            path,
            cell,
            entry: None,
            version: None,
            keeping: Vec::new(),
            below: Vec::new(),
            by_version: Vec::new(),
            new_name: None,
            in_name: None,
            beside: None,
        }
    }

    /// Does what the `images` of a kustomization say, which may be the overlay that is given, each so many times. Says why
    /// it is not known what makes the image then.
    pub(super) fn pass(
        &mut self,
        entries: &[ImagesAt<'f>],
        overlay: Option<&'f Arc<str>>,
        times: usize,
    ) -> Option<Ambiguity<'f>> {
        let mut ambiguity = None;
        if let Some(path) = overlay {
            self.beside = Some((path, ImageExpr::added(&self.image.name)));
        }
        for (path, each) in entries.iter().flat_map(|entry| std::iter::repeat_n(*entry, times)) {
            if !each.matches(&self.image.text()) {
                continue;
            }
            // Another version below, and the entry is for it no more.
            let is_by_version = !each.matches(&self.image.name);
            if is_by_version {
                self.by_version.extend(self.source());
            }
            let set = |cell: &Cell| Some(cell.value.to_string()).filter(|v| !is_unset(v));
            let (tag, digest) = (set(&each.new_tag), set(&each.digest));
            if each.has_version() {
                self.entry = Some((path, each));
                self.keeping.push((path, each));
            }
            if is_by_version && tag.is_none() && digest.is_none() {
                ambiguity = ambiguity.or(Some(Ambiguity { path, line: each.new_tag.line, reason: BY_TAG }));
            }
            if tag.is_some() || digest.is_some() {
                self.version = Some((path, each));
                self.keeping.clear();
                (self.image.tag, self.image.digest) = (tag, digest);
                self.in_name = None;
            } else if let Some(suffix) = &each.suffix {
                let tag = self.image.tag.take().unwrap_or_default();
                (self.image.tag, self.image.digest) = (Some(format!("{tag}{}", suffix.value)), None);
                ambiguity = ambiguity.or(Some(Ambiguity { path, line: suffix.line, reason: SUFFIX }));
            }
            if let Some(cell) = &each.new_name {
                self.image.name = cell.value.to_string();
                self.new_name = Some((path, cell));
                let (_, tag, digest) = split(&cell.value);
                if tag.is_some() || digest.is_some() {
                    self.below.push((path, cell.clone()));
                    if self.image.tag.is_some() || self.image.digest.is_some() {
                        ambiguity = ambiguity.or(Some(Ambiguity { path, line: cell.line, reason: IN_NAME }));
                    } else {
                        (self.in_name, self.entry, self.version) = (Some((path, cell)), None, None);
                    }
                }
            }
            self.image = Image::of(&self.image.text());
            if overlay == Some(path) {
                self.beside = Some((path, of_entry(path, each, self.new_name, &self.image.name)));
            }
        }
        ambiguity
    }

    /// Where the tag and the digest come from now.
    fn source(&self) -> Vec<Placed<'f>> {
        match (self.version, self.in_name) {
            (Some((path, version)), _) => [&version.new_tag, &version.digest].map(|cell| (path, cell.clone())).into(),
            (None, Some((path, cell))) => vec![(path, cell.clone())],
            (None, None) => vec![(self.path, self.cell.clone())],
        }
    }

    /// What else it depends on than what makes it: an entry without a value keeps the version that it finds.
    pub(super) fn below(&self) -> Vec<Placed<'f>> {
        let is_same = |(a, one): (&Arc<str>, &ImagesEntry), (b, other): (&Arc<str>, &ImagesEntry)| {
            a == b && one.new_tag.at == other.new_tag.at
        };
        let is_own = self.entry.is_none_or(|entry| self.version.is_some_and(|version| is_same(entry, version)));
        let mut all = self.below.clone();
        if !is_own {
            all.extend(self.source());
            let keeping = self.keeping.iter().filter(|one| self.entry.is_some_and(|entry| !is_same(entry, **one)));
            all.extend(keeping.flat_map(|(path, one)| [&one.new_tag, &one.digest].map(|cell| (*path, cell.clone()))));
        }
        all
    }

    /// All that it depends on.
    pub(super) fn places(self) -> Vec<Placed<'f>> {
        let mut all = [self.below(), self.by_version.clone()].concat();
        let (path, expr) = self.expr();
        all.extend(expr.cells().map(|cell| (path, cell.clone())));
        all
    }

    pub(super) fn expr(self) -> (&'f Arc<str>, ImageExpr) {
        match (self.entry, self.in_name, self.beside) {
            (Some((path, entry)), ..) => (path, of_entry(path, entry, self.new_name, &self.image.name)),
            (None, Some((path, cell)), _) => (path, ImageExpr::whole(cell.clone())),
            (None, None, Some(beside)) => beside,
            (None, None, None) => (self.path, ImageExpr::whole(self.cell)),
        }
    }
}

/// An entry of `images` for what is not in the repository.
pub(super) fn of_outside(path: &Arc<str>, entry: &ImagesEntry) -> Option<ImageExpr> {
    let named = entry.new_name.as_ref();
    let name = named.map_or(&*entry.name, |cell| &*cell.value);
    let is_whole = split(name).1.is_some() || split(name).2.is_some();
    match named {
        Some(cell) if is_whole && !entry.has_version() => Some(ImageExpr::whole(cell.clone())),
        _ if is_whole || !entry.has_version() => None,
        _ => Some(of_entry(path, entry, named.map(|cell| (path, cell)), name)),
    }
}

pub(super) fn of_entry(
    path: &Arc<str>,
    entry: &ImagesEntry,
    new_name: Option<(&Arc<str>, &Cell)>,
    name: &str,
) -> ImageExpr {
    if let Some(text) = &entry.text {
        return (**text).clone();
    }
    // One that another file gives is not this entry's to change.
    let own = new_name.filter(|(at, _)| *at == path).map(|(_, cell)| Name::Cell(cell.clone()));
    let name = own.unwrap_or_else(|| Name::Known(name.into()));
    ImageExpr::parts(None, name, Some(entry.new_tag.clone()), Some(entry.digest.clone()))
}

/// An image as Kustomize parts it.
#[derive(Clone)]
pub(super) struct Image {
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Image {
    fn of(text: &str) -> Self {
        let (name, tag, digest) = split(text);
        Self { name: name.to_owned(), tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) }
    }

    pub(super) fn text(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{}{tag}{digest}", self.name)
    }
}
