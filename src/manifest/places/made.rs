//! What makes the image of a container, after all that kustomizations do to it.

use std::sync::Arc;

use super::{
    super::ImagePlace,
    Files,
    cell::{At, Cell, ImageExpr, Name, is_unset, split},
    chains::Rendering,
    kustomization::ImagesEntry,
    names::folder,
    patch::{Doubt, Named, TOO_MUCH, UNKNOWN_TARGET},
    render::Kustomizations,
    replacement::REPLACED,
    walk::Step,
};
use crate::domain::{
    image::{ImageError, ImageRef},
    workload::Container,
};

/// What makes a container's image.
pub(super) struct Made<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    pub(super) maker: ImageExpr,
    /// What else the image depends on.
    pub(super) below: Vec<(&'f Arc<str>, Cell)>,
    /// As rendered.
    pub(super) image: String,
    pub(super) holds: Result<ImageRef, ImageError>,
    /// Why this may not be what makes it.
    pub(super) doubt: Option<Doubt<'f>>,
    /// The replacement, with its line, that sets all of it to what is not known.
    pub(super) replaced: Option<(&'f Arc<str>, usize)>,
}

/// The tag that counts cannot be said at one place.
const SUFFIX: &str = "`tagSuffix` is appended to a tag that stands elsewhere: write the whole tag as `newTag`";
const BY_TAG: &str = "the `name` of this entry is for one tag only, which the entry does not set: leave the tag out of `name`, or \
     add `newTag`";
const IN_NAME: &str =
    "`newName` holds a tag or digest, and another stands beside it: write them as `newTag` and `digest`";

/// A container, and where its manifest has its image, if it does.
#[derive(Clone, Copy)]
pub(super) struct Which<'a> {
    pub(super) name: &'a str,
    pub(super) init: bool,
    base: Option<(&'a Container, &'a ImagePlace)>,
}

impl<'f> Rendering<'f> {
    /// The containers of the manifest.
    fn own(&self) -> impl Iterator<Item = Which<'f>> + use<'f> {
        let pairs = self.found.workload.containers.iter().zip(&self.found.images);
        pairs.map(|(container, place)| Which {
            name: &container.name,
            init: container.init,
            base: Some((container, place)),
        })
    }
}

impl<'f> Kustomizations<'f> {
    /// What makes the image of each container: of those that the manifest has, and those that patches add.
    pub(super) fn all_made(
        &self,
        files: &'f Files,
        rendering: &Rendering<'f>,
        overlay: Option<&str>,
    ) -> Vec<(Arc<str>, bool, Made<'f>)> {
        let mut found = Vec::new();
        for which in rendering.own() {
            found.extend(self.made(files, rendering, which, overlay).map(|made| (which.name.into(), which.init, made)));
        }
        let Some(spec) = rendering.found.workload.id.kind.spec() else { return found };
        let is_there = |name: &str, init| rendering.own().any(|which| which.name == name && which.init == init);
        let without_image = rendering.found.items.iter().map(|item| (item.name.clone(), item.init));
        let mut added: Vec<(Arc<str>, bool)> = without_image.filter(|(name, init)| !is_there(name, *init)).collect();
        self.walk(files, &mut rendering.subject(), &rendering.chain, |step| {
            let Step::Part { part, .. } = step else { return };
            for (name, init) in part.containers(spec) {
                if !is_there(&name, init) && !added.contains(&(name.clone(), init)) {
                    added.push((name, init));
                }
            }
        });
        for (name, init) in added {
            let which = Which { name: &name, init, base: None };
            found.extend(self.made(files, rendering, which, overlay).map(|made| (name.clone(), init, made)));
        }
        found
    }

    /// What makes the image of a container: the manifest, a patch, or the outermost entry of `images` that applies. None
    /// if it has none in the end.
    fn made(
        &self,
        files: &'f Files,
        rendering: &Rendering<'f>,
        which: Which<'_>,
        overlay: Option<&str>,
    ) -> Option<Made<'f>> {
        let found = rendering.found;
        let mut current = which.base.map(|(container, place)| {
            let at = At::Scalar(place.place.clone());
            Current::new(rendering.path, Cell { line: place.line, at, value: (&*container.image).into() })
        });
        let items = found.items.iter().filter(|item| item.init == which.init);
        let mut order: Vec<&str> = items.map(|item| &*item.name).collect();
        let (mut doubt, mut replaced) = (None, None);
        let spec = found.workload.id.kind.spec();
        let mut subject = rendering.subject();
        let container = Named { name: which.name, init: which.init };
        // Kustomize has two searches for images, and both find these.
        let times = if spec.is_some_and(|spec| spec.pod_spec == "/spec/template/spec") { 2 } else { 1 };
        let head = self.walk(files, &mut subject, &rendering.chain, |step| match step {
            Step::Part { path: at, line, part, is_sure } => {
                let Some(spec) = spec else { return };
                // The index in the manifest counts where a name is there twice, which no cluster takes.
                let index = order.iter().position(|name| *name == which.name);
                let image = part.image(spec, container, index);
                let mut after = order.clone();
                let is_followed = part.reorder(spec, which.init, &mut after);
                let is_anew = part.begins_anew(spec, which.init);
                let is_moved = is_anew || after != order;
                let touches = image.is_some() || part.is_too_much(spec, container, index) || is_moved;
                let reason = match touches || !is_followed {
                    true if !is_sure => Some(UNKNOWN_TARGET),
                    true if !is_followed || image.is_none() && !is_moved => Some(TOO_MUCH),
                    _ => None,
                };
                doubt = doubt.take().or(reason.map(|reason| Doubt { path: at, line, reason }));
                if !is_sure {
                    return;
                }
                if is_anew || index.is_some() && !after.contains(&which.name) {
                    current = None;
                }
                order = after;
                if let Some(cell) = image {
                    replaced = None;
                    current = (!is_unset(&cell.value)).then(|| Current::new(at, cell));
                }
            }
            Step::Replacement { path, replacement, subject } => {
                let Some(spec) = spec else { return };
                let index = order.iter().position(|name| *name == which.name);
                if replacement.sets_image(subject, spec, container, index) {
                    replaced = Some((path, replacement.line)).filter(|_| !replacement.is_part());
                    doubt = doubt.take().or(Some(Doubt { path, line: replacement.line, reason: REPLACED }));
                }
            }
            Step::Unread(_) => {}
            Step::Images { at, entries, is_transformer, .. } => {
                if let Some(current) = &mut current {
                    let times = if is_transformer { 1 } else { times };
                    let overlay = at.filter(|at| overlay.is_some_and(|overlay| overlay == folder(at)));
                    doubt = doubt.take().or(current.pass(entries, overlay, times));
                }
            }
        });
        let doubt = self.blocked(rendering.path).or(doubt).or(head);
        let current = current?;
        let text = current.image.text();
        let holds = ImageRef::parse(&text);
        let below = current.below();
        let (path, maker) = current.maker();
        Some(Made {
            path,
            line: maker.main().map_or(1, |cell| cell.line),
            maker,
            below,
            image: text,
            holds,
            doubt,
            replaced,
        })
    }
}

/// An image on its way through the kustomizations, and where its parts come from.
struct Current<'f> {
    image: Image,
    /// The manifest or the patch that set it.
    path: &'f Arc<str>,
    cell: Cell,
    entry: Option<(&'f Arc<str>, &'f ImagesEntry)>,
    /// The entry whose tag and digest count, which may have none of its own.
    version: Option<(&'f Arc<str>, &'f ImagesEntry)>,
    /// The entries that kept the version which they found, and would set it if they had a value.
    keeping: Vec<(&'f Arc<str>, &'f ImagesEntry)>,
    /// What decided whether an entry is for it.
    below: Vec<(&'f Arc<str>, Cell)>,
    new_name: Option<(&'f Arc<str>, &'f Cell)>,
    /// A new name that holds the tag, too.
    in_name: Option<(&'f Arc<str>, &'f Cell)>,
    /// The entry of the overlay that is given.
    beside: Option<(&'f Arc<str>, ImageExpr)>,
}

impl<'f> Current<'f> {
    fn new(path: &'f Arc<str>, cell: Cell) -> Self {
        let image = Image::of(&cell.value);
        Self {
            image,
            path,
            cell,
            entry: None,
            version: None,
            keeping: Vec::new(),
            below: Vec::new(),
            new_name: None,
            in_name: None,
            beside: None,
        }
    }

    /// Does what the `images` of a kustomization say, which may be the overlay that is given, each so many times. Says why
    /// it is not known what makes the image then.
    fn pass(
        &mut self,
        entries: &[(&'f Arc<str>, &'f ImagesEntry)],
        overlay: Option<&'f Arc<str>>,
        times: usize,
    ) -> Option<Doubt<'f>> {
        let mut doubt = None;
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
                self.below.extend(self.source());
            }
            let set = |cell: &Cell| Some(cell.value.to_string()).filter(|v| !is_unset(v));
            let (tag, digest) = (set(&each.new_tag), set(&each.digest));
            if each.has_version() {
                self.entry = Some((path, each));
                self.keeping.push((path, each));
            }
            if is_by_version && tag.is_none() && digest.is_none() {
                doubt = doubt.or(Some(Doubt { path, line: each.new_tag.line, reason: BY_TAG }));
            }
            if tag.is_some() || digest.is_some() {
                self.version = Some((path, each));
                self.keeping.clear();
                (self.image.tag, self.image.digest) = (tag, digest);
                self.in_name = None;
            } else if let Some(suffix) = &each.suffix {
                let tag = self.image.tag.take().unwrap_or_default();
                (self.image.tag, self.image.digest) = (Some(format!("{tag}{}", suffix.value)), None);
                doubt = doubt.or(Some(Doubt { path, line: suffix.line, reason: SUFFIX }));
            }
            if let Some(cell) = &each.new_name {
                self.image.name = cell.value.to_string();
                self.new_name = Some((path, cell));
                let (_, tag, digest) = split(&cell.value);
                if tag.is_some() || digest.is_some() {
                    self.below.push((path, cell.clone()));
                    if self.image.tag.is_some() || self.image.digest.is_some() {
                        doubt = doubt.or(Some(Doubt { path, line: cell.line, reason: IN_NAME }));
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
        doubt
    }

    /// Where the tag and the digest come from now.
    fn source(&self) -> Vec<(&'f Arc<str>, Cell)> {
        match (self.version, self.in_name) {
            (Some((path, version)), _) => [&version.new_tag, &version.digest].map(|cell| (path, cell.clone())).into(),
            (None, Some((path, cell))) => vec![(path, cell.clone())],
            (None, None) => vec![(self.path, self.cell.clone())],
        }
    }

    /// What else it depends on than what makes it: an entry without a value keeps the version that it finds.
    fn below(&self) -> Vec<(&'f Arc<str>, Cell)> {
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

    fn maker(self) -> (&'f Arc<str>, ImageExpr) {
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
struct Image {
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Image {
    fn of(text: &str) -> Self {
        let (name, tag, digest) = split(text);
        Self { name: name.to_owned(), tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) }
    }

    fn text(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{}{tag}{digest}", self.name)
    }
}
