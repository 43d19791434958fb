//! Objects of Flux and Argo CD that render a folder, and change images as they do: a Kustomization with `patches` and
//! `images`, an Application with `kustomize`. They do so within the folder's own kustomization, after what it says.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    super::{
        ManifestError,
        read::{Object, get, text},
        tree::{Id, Kind, Tree},
    },
    Files,
    cell::{Source, is_unset},
    kustomization::{Entry, Kustomization, entries, mappings, of_text},
    names::{folder, join},
    patch::{Doubt, Patch},
};

/// What an object says of one folder.
#[derive(Debug)]
pub(super) struct Outer {
    /// From the root of the repository.
    folder: Box<str>,
    /// Whether it is Flux's, which renders a folder without a kustomization, too.
    pub(super) is_flux: bool,
    pub(super) set: Set,
}

/// Patches, and then images.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) patches: Vec<Patch>,
    pub(super) images: Vec<Entry>,
    /// The line of what cannot be read of it.
    pub(super) unread: Option<usize>,
}

/// Something of [`Set`] that cannot be read may be for any image.
pub(super) const UNREAD: &str = "this sets images in a way that cannot be read: repair it";

impl Set {
    /// Of a mapping with the keys of a kustomization that Flux and Argo CD take.
    pub(super) fn read(source: &Source, of: Id, problems: &mut Vec<ManifestError>) -> Self {
        let first = problems.len();
        let mut set = Self::default();
        if let Err(problem) = set.add(source, of, problems) {
            problems.push(problem);
        }
        let line = |problem: &ManifestError| if source.outer().is_some() { source.line(of) } else { problem.line };
        set.unread = problems.get(first).map(line);
        set
    }

    fn add(&mut self, source: &Source, of: Id, problems: &mut Vec<ManifestError>) -> Result<(), ManifestError> {
        let tree = source.tree;
        let list = |key| get(tree, of, key, Kind::Sequence);
        for item in list("patchesStrategicMerge")?.into_iter().flat_map(|list| tree.children(list)) {
            self.patches.push(Patch::text(source, item));
        }
        for (key, is_late) in [("patches", false), ("patchesJson6902", true)] {
            for item in list(key)?.into_iter().flat_map(|list| mappings(tree, list)) {
                self.patches.push(Patch::read(source, item, is_late)?);
            }
        }
        match list("images")? {
            Some(list) if tree.children(list).any(|item| tree.scalar(item).is_some()) => {
                let mut patterns = HashSet::new();
                for item in tree.children(list) {
                    self.images.push(of_text(source, item, &mut patterns)?);
                }
            }
            Some(_) => self.images.extend(entries(source, of, problems)?),
            None => {}
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patches.is_empty() && self.images.is_empty() && self.unread.is_none()
    }

    /// The `images` of a kustomization with these, each with its file: of two of one name these count.
    pub(super) fn over<'f>(
        &'f self,
        path: &'f Arc<str>,
        inner: Option<(&'f Arc<str>, &'f Kustomization)>,
    ) -> Vec<(&'f Arc<str>, &'f Entry)> {
        let own: HashMap<&str, &Entry> = self.images.iter().map(|entry| (&*entry.name, entry)).collect();
        let inner = inner.into_iter().flat_map(|(at, facts)| facts.images.iter().map(move |entry| (at, entry)));
        let mut all: Vec<_> =
            inner.map(|(at, entry)| own.get(&*entry.name).map_or((at, entry), |entry| (path, *entry))).collect();
        let there: HashSet<&str> = all.iter().map(|(_, entry)| &*entry.name).collect();
        let more: Vec<_> = self.images.iter().filter(|entry| !there.contains(&*entry.name)).collect();
        all.extend(more.into_iter().map(|entry| (path, entry)));
        all
    }
}

/// Reads an object, if it is one of these; one for each folder.
pub(super) fn read(
    source: &Source,
    object: &Object,
    problems: &mut Vec<ManifestError>,
) -> Result<Vec<Outer>, ManifestError> {
    let tree = source.tree;
    let is_flux = match (&*object.kind, &*object.group) {
        ("Kustomization", "kustomize.toolkit.fluxcd.io") => true,
        ("Application", "argoproj.io") => false,
        _ => return Ok(Vec::new()),
    };
    let Some(spec) = get(tree, object.node, "spec", Kind::Mapping)? else { return Ok(Vec::new()) };
    let mut sources = Vec::new();
    if is_flux {
        sources.push((spec, Some(spec)));
    } else {
        let list = get(tree, spec, "sources", Kind::Sequence)?;
        let each = get(tree, spec, "source", Kind::Mapping)?.into_iter();
        for each in each.chain(list.into_iter().flat_map(|list| mappings(tree, list))) {
            sources.push((each, get(tree, each, "kustomize", Kind::Mapping)?));
        }
    }
    let mut found = Vec::new();
    for (at, set) in sources {
        let Some(set) = set.map(|set| Set::read(source, set, problems)).filter(|set| !set.is_empty()) else { continue };
        let path = word(tree, at, "path")?.unwrap_or_default();
        found.extend(join("", path.trim_start_matches('/')).map(|at| Outer { folder: at.into(), is_flux, set }));
    }
    Ok(found)
}

fn word<'t>(tree: &'t Tree, mapping: Id, key: &str) -> Result<Option<&'t str>, ManifestError> {
    Ok(text(tree, mapping, key)?.filter(|word| !is_unset(word)))
}

/// Those of a repository.
#[derive(Default)]
pub(super) struct Outers<'f> {
    all: Vec<(&'f Arc<str>, &'f Outer)>,
    by_folder: HashMap<&'f str, Vec<usize>>,
}

impl<'f> Outers<'f> {
    pub(super) fn new(files: &'f Files) -> Self {
        let mut found = Self::default();
        for (path, outer) in files.iter().flat_map(|(path, facts)| facts.outer.iter().map(move |outer| (path, outer))) {
            found.by_folder.entry(&outer.folder).or_default().push(found.all.len());
            found.all.push((path, outer));
        }
        found
    }

    pub(super) fn get(&self, index: usize) -> (&'f Arc<str>, &'f Outer) {
        self.all[index]
    }

    /// Those of Flux for folders of which nothing is known here.
    pub(super) fn elsewhere(&self, is_here: impl Fn(&str) -> bool) -> impl Iterator<Item = (&'f Arc<str>, &'f Entry)> {
        let outers = self.all.iter().filter(move |(_, outer)| outer.is_flux && !is_here(&outer.folder));
        outers.flat_map(|(path, outer)| outer.set.images.iter().map(|entry| (*path, entry)))
    }

    /// Those that render what a kustomization of a folder makes.
    pub(super) fn of(&self, folder: &str) -> &[usize] {
        self.by_folder.get(folder).map_or(&[], Vec::as_slice)
    }

    /// Those that render what is somewhere in a folder without a kustomization: Flux makes one.
    pub(super) fn around(&self, path: &str, has_kustomization: impl Fn(&str) -> bool) -> Vec<usize> {
        if self.all.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut at = Some(folder(path));
        while let Some(own) = at {
            if !has_kustomization(own) {
                found.extend(self.of(own).iter().copied().filter(|index| self.all[*index].1.is_flux));
            }
            at = (!own.is_empty()).then(|| folder(own));
        }
        found
    }
}

impl Outer {
    /// Whether it is for the kustomization at a path.
    pub(super) fn is_of(&self, path: &str) -> bool {
        folder(path) == &*self.folder
    }

    /// Why it is not known what it does.
    pub(super) fn doubt<'f>(&self, path: &'f Arc<str>) -> Option<Doubt<'f>> {
        self.set.unread.map(|line| Doubt { path, line, reason: UNREAD })
    }
}
