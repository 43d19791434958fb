//! Objects of Flux and Argo CD as kustomizations render them, by the folders that they render.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Files,
    chains::Chain,
    generator::{GENERATED, is_filled},
    kustomization::{ImagesEntry, Kustomization, Named},
    names::{folder, join},
    operation::{Operation, Put},
    outer::{Outer, Over, Says, UNREAD},
    patch::{Ambiguity, Part, Patch, TOO_MUCH, UNKNOWN_TARGET},
    render::Kustomizations,
    replacement::REPLACED,
    subject::Subject,
    walk::Step,
};

/// What an object says of one folder, each part with the file that it stands in.
#[derive(Debug, Clone)]
pub(super) struct Deployed<'f> {
    /// From the root of the repository; none if it leads out.
    folder: Option<String>,
    /// Where it says so.
    line: (&'f Arc<str>, usize),
    /// Whether it is Flux's, which renders a folder without a kustomization, too.
    is_flux: bool,
    pub(super) patches: (&'f Arc<str>, &'f [Patch]),
    pub(super) images: (&'f Arc<str>, &'f [ImagesEntry]),
    components: (&'f Arc<str>, &'f [Named]),
    /// The later count over the others.
    pub(super) over: Vec<&'f Over>,
    /// Whether it has keys for patches that no other one takes the place of.
    is_old: bool,
    /// Why it is not known what it says.
    lost: Option<Ambiguity<'f>>,
}

/// A component that is not there may set anything.
pub(super) const COMPONENT: &str =
    "this component could not be read, and may set images: correct the path, or copy it to a folder here";

/// Where an entry would be added cannot be said there.
const IN_TEXT: &str = "a patch sets images here that is a text of its kustomization, which is not followed: write the patch \
     to a file";
const TAKES: &str = "this patch takes something away (`null`, `$patch`, or another key of patches), which is not followed: take it \
     away where it stands";

impl<'f> Deployed<'f> {
    fn new(at: &'f Arc<str>, is_flux: bool) -> Self {
        Self {
            folder: Some(String::new()),
            line: (at, 1),
            is_flux,
            patches: (at, &[]),
            images: (at, &[]),
            components: (at, &[]),
            over: Vec::new(),
            is_old: false,
            lost: None,
        }
    }

    fn of(at: &'f Arc<str>, is_flux: bool, says: &'f Says) -> Self {
        let mut own = Self::new(at, is_flux);
        own.add(at, says);
        own
    }

    /// Does what is said as a partial object is merged: lists are replaced.
    fn add(&mut self, at: &'f Arc<str>, says: &'f Says) {
        let Says { path, set, over, components, .. } = says;
        if path.is_some() {
            (self.folder, self.line) = (says.folder(), (at, says.line));
        }
        if set.has.patches || set.has.old {
            self.patches = (at, &set.patches);
            self.is_old |= set.has.old;
        }
        if set.has.images && says.filled.is_none() {
            self.images = (at, &set.images);
        }
        if let Some(components) = components {
            self.components = (at, components);
        }
        self.over.extend(Some(over).filter(|over| !over.is_empty() && says.filled.is_none()));
        let reason = if set.is_in_text { IN_TEXT } else { UNREAD };
        let unread = set.unread.map(|line| Ambiguity { path: at, line, reason });
        let filled = says.filled.map(|line| Ambiguity { path: at, line, reason: GENERATED });
        self.lost = self.lost.take().or(filled).or(unread);
    }

    /// The same of a patch.
    fn merge(&mut self, at: &'f Arc<str>, line: usize, patch: &'f Says) {
        let is_mixed = patch.set.has.old || patch.set.has.patches && self.is_old;
        let goes = patch.over.labels.all.iter().chain(&patch.over.annotations.all).any(|(_, value)| value.is_none());
        let takes = patch.takes.or((goes || is_mixed).then_some(line));
        self.add(at, patch);
        let lost = takes.map(|line| Ambiguity { path: at, line, reason: TAKES });
        self.lost = self.lost.take().or(lost);
    }

    /// Whether it says nothing that counts.
    fn is_idle(&self) -> bool {
        let Self { folder: _, line: _, is_flux: _, patches, images, components, over, is_old: _, lost } = self;
        patches.1.is_empty() && images.1.is_empty() && components.1.is_empty() && over.is_empty() && lost.is_none()
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.folder, self.is_flux, &self.lost) == (&other.folder, other.is_flux, &other.lost)
            && std::ptr::eq(self.patches.1, other.patches.1)
            && std::ptr::eq(self.images.1, other.images.1)
            && std::ptr::eq(self.components.1, other.components.1)
            && self.over.len() == other.over.len()
            && self.over.iter().zip(&other.over).all(|(a, b)| std::ptr::eq(*a, *b))
    }

    /// Whether a generator fills in which folders it is for.
    fn is_open(&self) -> bool {
        self.folder.as_deref().is_some_and(is_filled)
    }

    /// The same of each of the folders that it may be for.
    fn of_each<'a>(self, folders: impl Iterator<Item = &'a str>) -> Vec<Self> {
        let mut pattern = String::new();
        for (index, part) in self.folder().split("{{").enumerate() {
            let literal = if index == 0 { part } else { part.split_once("}}").map_or("", |(_, rest)| rest) };
            pattern.push_str(if index == 0 { "" } else { "*" });
            pattern.push_str(&globset::escape(literal));
        }
        let Ok(pattern) = globset::Glob::new(&pattern) else { return Vec::new() };
        let pattern = pattern.compile_matcher();
        let (path, line) = self.line;
        let lost = self.lost.clone().or(Some(Ambiguity { path, line, reason: GENERATED }));
        let of = |folder: &str| Self { folder: Some(folder.to_owned()), lost: lost.clone(), ..self.clone() };
        folders.filter(|folder| pattern.is_match(folder)).map(of).collect()
    }

    /// Whether it is for the kustomization at a path.
    pub(super) fn is_of(&self, path: &str) -> bool {
        self.folder() == folder(path)
    }

    /// The folder that it renders.
    pub(super) fn folder(&self) -> &str {
        self.folder.as_deref().unwrap_or_default()
    }

    /// The folders of its components; none for one that leads out of the repository.
    pub(super) fn component_folders(&self) -> impl Iterator<Item = Option<String>> {
        self.components.1.iter().map(|component| join(self.folder(), &component.name))
    }

    /// Why it is not known what it does; `is_here` says whether a component is read.
    pub(super) fn ambiguity(&self, is_here: impl Fn(&str) -> bool) -> Option<Ambiguity<'f>> {
        let (path, components) = self.components;
        let mut folders = self.component_folders().zip(components);
        let lost = folders.find(|(folder, _)| !folder.as_deref().is_some_and(&is_here));
        let lost = lost.map(|(_, named)| Ambiguity { path, line: named.line, reason: COMPONENT });
        self.lost.clone().or(lost)
    }

    /// The `images` of a kustomization with these, each with its file: of two of one name these count.
    pub(super) fn images_over(
        &self,
        inner: Option<(&'f Arc<str>, &'f Kustomization)>,
    ) -> Vec<(&'f Arc<str>, &'f ImagesEntry)> {
        let (path, images) = self.images;
        let own: HashMap<&str, &ImagesEntry> = images.iter().map(|entry| (&*entry.name, entry)).collect();
        let inner = inner.into_iter().flat_map(|(at, facts)| facts.images.iter().map(move |entry| (at, entry)));
        let mut all: Vec<_> =
            inner.map(|(at, entry)| own.get(&*entry.name).map_or((at, entry), |entry| (path, *entry))).collect();
        let there: HashSet<&str> = all.iter().map(|(_, entry)| &*entry.name).collect();
        let more: Vec<_> = images.iter().filter(|entry| !there.contains(&*entry.name)).collect();
        all.extend(more.into_iter().map(|entry| (path, entry)));
        all
    }
}

/// An object on its way.
struct Going<'f> {
    one: Option<Deployed<'f>>,
    list: Vec<Deployed<'f>>,
}

impl<'f> Going<'f> {
    fn new(path: &'f Arc<str>, outer: &'f Outer) -> Self {
        let of = |says: &'f Says| Deployed::of(path, outer.is_flux, says);
        Self { one: outer.one.as_ref().map(of), list: outer.list.iter().flatten().map(of).collect() }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Deployed<'f>> {
        self.one.iter_mut().chain(&mut self.list)
    }

    fn lose(&mut self, ambiguity: &Ambiguity<'f>) {
        self.all().for_each(|one| _ = one.lost.get_or_insert_with(|| ambiguity.clone()));
    }

    fn merge(&mut self, path: &'f Arc<str>, patch: &'f Outer) {
        if let Some(says) = &patch.one {
            let own = self.one.get_or_insert_with(|| Deployed::new(path, patch.is_flux));
            own.merge(path, patch.line, says);
        }
        if let Some(list) = &patch.list {
            self.list = list.iter().map(|says| Deployed::of(path, patch.is_flux, says)).collect();
        }
    }

    /// Does an operation that changes it; false if that is not followed.
    fn operate(&mut self, path: &'f Arc<str>, operation: &'f Operation) -> bool {
        let Some(one) = &mut self.one else { return false };
        match (&*operation.pointer, &operation.put) {
            ("/spec/path" | "/spec/source/path", Put::Scalar(cell)) => {
                one.folder = join("", cell.value.trim_start_matches('/'));
            }
            (pointer, Put::Tree(..)) if operation.set.is_some() => {
                let Some(set) = operation.set.as_deref().filter(|set| set.unread.is_none()) else { return false };
                match pointer.rsplit_once('/') {
                    Some(("/spec" | "/spec/source/kustomize", "images")) => one.images = (path, &set.images),
                    Some(("/spec" | "/spec/source/kustomize", "patches")) if !one.is_old => {
                        one.patches = (path, &set.patches);
                    }
                    _ => return false,
                }
            }
            _ => return false,
        }
        true
    }
}

impl<'f> Kustomizations<'f> {
    /// Takes the objects that render folders their own way through the kustomizations, which may patch them.
    pub(super) fn patch_outers(&mut self, files: &'f Files) {
        let (mut found, mut too_many) = (Vec::new(), None);
        let all = || files.iter().flat_map(|(path, facts)| facts.outer.iter().map(move |outer| (path, outer)));
        let bases = all().filter(|(path, _)| !self.is_patch(path));
        let bases: HashSet<_> = bases.map(|(_, outer)| (outer.kind(), &*outer.name)).collect();
        for (path, facts) in files.iter().filter(|(_, facts)| !facts.outer.is_empty()) {
            let mut chains = self.chains(path, facts.outer.len());
            if chains.iter().any(|chain| chain.is_root) {
                chains.retain(|chain| chain.is_root);
            }
            // A patch of what is not here.
            let is_alone = chains.is_empty();
            if is_alone {
                chains.push(Chain::plain());
            }
            for outer in facts.outer.iter().filter(|outer| !is_alone || !bases.contains(&(outer.kind(), &*outer.name)))
            {
                for each in chains.iter().flat_map(|chain| self.deployed(files, path, outer, chain)) {
                    match each.is_open() {
                        true if self.takes(self.by_folder.len()) => {
                            found.extend(each.of_each(self.by_folder.keys().copied()));
                        }
                        true => _ = too_many.get_or_insert_with(|| path.to_string()),
                        false => found.push(each),
                    }
                }
            }
        }
        self.outers = Outers::of(found);
        self.too_many = self.too_many.take().or(too_many);
    }

    /// What an object says in the end.
    fn deployed(
        &self,
        files: &'f Files,
        path: &'f Arc<str>,
        outer: &'f Outer,
        chain: &Chain,
    ) -> impl Iterator<Item = Deployed<'f>> + use<'f> {
        let mut going = Going::new(path, outer);
        let (kind, group) = outer.kind();
        let mut subject = Subject::new(kind, group, &outer.meta, &outer.namespace, &outer.name);
        let mut is_gone = false;
        self.walk(files, &mut subject, chain, |step| match step {
            Step::Part { path, line, part, is_sure } => {
                let touches = match part {
                    Part::Outer(patch) => patch.is_deleting || patch.patched.is_some() || patch.says().next().is_some(),
                    Part::Operation(operation) => outer.is_changed_by(operation),
                    Part::Workload(..) | Part::Namespace(_) | Part::Release(_) => false,
                };
                let reason = match part {
                    _ if !touches => None,
                    _ if !is_sure => Some(UNKNOWN_TARGET),
                    Part::Outer(patch) if patch.is_deleting => {
                        is_gone = true;
                        None
                    }
                    Part::Outer(patch) => {
                        going.merge(path, patch);
                        patch.patched.map(|_| GENERATED)
                    }
                    Part::Operation(operation) => (!going.operate(path, operation)).then_some(TOO_MUCH),
                    _ => None,
                };
                if let Some(reason) = reason {
                    going.lose(&Ambiguity { path, line, reason });
                }
            }
            Step::Replacement { path, replacement, subject } => {
                if replacement.sets_deployed(subject) {
                    going.lose(&Ambiguity { path, line: replacement.line, reason: REPLACED });
                }
            }
            Step::Unread(ambiguity) => going.lose(&ambiguity),
            Step::Images { .. } => {}
        });
        let patched = outer.patched.map(|line| Ambiguity { path, line, reason: GENERATED });
        if let Some(ambiguity) = self.blocked(path).or(patched) {
            going.lose(&ambiguity);
        }
        let all = going.one.into_iter().chain(going.list);
        all.filter(move |one| !is_gone && !one.is_idle() && one.folder.is_some())
    }
}

/// Those of a repository.
#[derive(Default)]
pub(super) struct Outers<'f> {
    all: Vec<Arc<Deployed<'f>>>,
    by_folder: HashMap<String, Vec<usize>>,
    /// Those with a folder among their components.
    by_component: HashMap<String, Vec<usize>>,
}

impl<'f> Outers<'f> {
    /// Those of files, as they are written.
    pub(super) fn new(files: &'f Files) -> Self {
        let all = files.iter().flat_map(|(path, facts)| facts.outer.iter().map(move |outer| (path, outer)));
        let each = all.flat_map(|(path, outer)| outer.says().map(|says| Deployed::of(path, outer.is_flux, says)));
        Self::of(each.filter(|one| !one.is_idle() && one.folder.is_some() && !one.is_open()))
    }

    fn of(each: impl IntoIterator<Item = Deployed<'f>>) -> Self {
        let mut found = Self::default();
        for one in each {
            let of_folder = found.by_folder.entry(one.folder().to_owned()).or_default();
            if of_folder.iter().any(|other| found.all[*other].is_same(&one)) {
                continue;
            }
            of_folder.push(found.all.len());
            for component in one.component_folders().flatten() {
                found.by_component.entry(component).or_default().push(found.all.len());
            }
            found.all.push(Arc::new(one));
        }
        found
    }

    pub(super) fn get(&self, index: usize) -> &Arc<Deployed<'f>> {
        &self.all[index]
    }

    /// Those of Flux for folders of which nothing is known here.
    pub(super) fn elsewhere(
        &self,
        is_here: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (&'f Arc<str>, &'f ImagesEntry)> {
        let outers = self.all.iter().filter(move |one| one.is_flux && !is_here(one.folder()));
        outers.flat_map(|one| one.images.1.iter().map(|entry| (one.images.0, entry)))
    }

    /// Those that render what a kustomization of a folder makes.
    pub(super) fn of_folder(&self, folder: &str) -> &[usize] {
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
                found.extend(self.of_folder(own).iter().copied().filter(|index| self.all[*index].is_flux));
            }
            at = (!own.is_empty()).then(|| folder(own));
        }
        found
    }
}
