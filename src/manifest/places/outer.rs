//! Objects of Flux and Argo CD that render a folder, and change images as they do: a Kustomization with `patches` and
//! `images`, an Application with `kustomize`. They do so within the folder's own kustomization, after what it says; a
//! namespace and the like they say in its place.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    super::{
        ManifestError,
        meta::Pairs,
        read::{Object, get, text},
        tree::{Id, Kind, Tree},
    },
    Files,
    cell::{Source, is_unset},
    kustomization::{Entry, Kustomization, Named, entries, mappings, of_text, words},
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
    pub(super) over: Over,
    /// Components, from the folder.
    pub(super) components: Vec<Named>,
}

/// What an object says of the heads of what it renders, in the place of the folder's kustomization.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) namespace: Option<Box<str>>,
    pub(super) prefix: Option<Box<str>>,
    pub(super) suffix: Option<Box<str>>,
    pub(super) labels: Pairs,
    pub(super) annotations: Pairs,
}

impl Over {
    /// Of a mapping with these keys: of the namespace, and of labels and annotations in a mapping of their own.
    fn read(tree: &Tree, of: Id, is_flux: bool) -> Result<Self, ManifestError> {
        let own = |key| Ok::<_, ManifestError>(word(tree, of, key)?.map(Box::from));
        let metadata = if is_flux { get(tree, of, "commonMetadata", Kind::Mapping)? } else { Some(of) };
        let keys = if is_flux { ["labels", "annotations"] } else { ["commonLabels", "commonAnnotations"] };
        let map = |key| match metadata.map_or(Ok(None), |metadata| get(tree, metadata, key, Kind::Mapping))? {
            Some(map) => Ok(Pairs::read(tree, map)),
            None => Ok::<_, ManifestError>(Pairs::default()),
        };
        Ok(Self {
            namespace: own(if is_flux { "targetNamespace" } else { "namespace" })?,
            prefix: own("namePrefix")?,
            suffix: own("nameSuffix")?,
            labels: map(keys[0])?,
            annotations: map(keys[1])?,
        })
    }

    fn is_empty(&self) -> bool {
        let Self { namespace, prefix, suffix, labels, annotations } = self;
        namespace.is_none()
            && prefix.is_none()
            && suffix.is_none()
            && labels.all.is_empty()
            && annotations.all.is_empty()
    }
}

/// Patches, and then images.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) patches: Vec<Patch>,
    pub(super) images: Vec<Entry>,
    /// The line of what cannot be read of it.
    pub(super) unread: Option<usize>,
}

/// A component that is not there may set anything.
const COMPONENT: &str = "this component could not be read, and may set images: correct the path";

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
                self.patches.push(Patch::read(source, item, "patch", is_late)?);
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
        let Some(of) = set else { continue };
        let set = Set::read(source, of, problems);
        let (over, components) = (Over::read(tree, of, is_flux)?, words(tree, of, "components")?);
        if set.is_empty() && over.is_empty() && components.is_empty() {
            continue;
        }
        let path = word(tree, at, "path")?.unwrap_or_default();
        let folder = join("", path.trim_start_matches('/'));
        found.extend(folder.map(|at| Outer { folder: at.into(), is_flux, set, over, components }));
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
    /// Those with a folder among their components.
    by_component: HashMap<String, Vec<usize>>,
}

impl<'f> Outers<'f> {
    pub(super) fn new(files: &'f Files) -> Self {
        let mut found = Self::default();
        for (path, outer) in files.iter().flat_map(|(path, facts)| facts.outer.iter().map(move |outer| (path, outer))) {
            found.by_folder.entry(&outer.folder).or_default().push(found.all.len());
            for component in outer.component_folders().flatten() {
                found.by_component.entry(component).or_default().push(found.all.len());
            }
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

    /// Those that take in a component.
    pub(super) fn with_component(&self, folder: &str) -> &[usize] {
        self.by_component.get(folder).map_or(&[], Vec::as_slice)
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

    /// The folder that it renders.
    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    /// The folders of its components; none for one that leads out of the repository.
    pub(super) fn component_folders(&self) -> impl Iterator<Item = Option<String>> {
        self.components.iter().map(|component| join(&self.folder, &component.name))
    }

    /// Why it is not known what it does; `is_here` says whether a component is read.
    pub(super) fn doubt<'f>(&self, path: &'f Arc<str>, is_here: impl Fn(&str) -> bool) -> Option<Doubt<'f>> {
        let mut folders = self.component_folders().zip(&self.components);
        let lost = folders.find(|(folder, _)| !folder.as_deref().is_some_and(&is_here)).map(|(_, named)| named.line);
        let unread = self.set.unread.map(|line| Doubt { path, line, reason: UNREAD });
        unread.or(lost.map(|line| Doubt { path, line, reason: COMPONENT }))
    }
}
