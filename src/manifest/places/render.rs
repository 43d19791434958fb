//! What the kustomizations of a repository render: each way from a manifest to a kustomization that nothing includes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    super::{Found, meta::Meta},
    Files,
    broken::blocked,
    kustomization::{Entry, Kustomization, Named},
    names::{folder, join},
    outer::{Outer, Outers},
    patch::{Doubt, Part, Patch, TOO_MUCH, UNKNOWN_TARGET},
    replacement::{REPLACED, Replacement, of_kustomization},
    subject::Subject,
};
use crate::domain::workload::WorkloadId;

/// More ways than this through the kustomizations, of one file or of all objects together, are not followed.
pub(super) const MAX_CHAINS: usize = 200_000;

/// A way through more kustomizations is not followed.
const MAX_DEPTH: usize = 50;

/// The kustomizations of a repository, and which includes which.
pub(super) struct Kustomizations<'f> {
    pub(super) all: Vec<One<'f>>,
    /// The kustomizations that have a file among their resources.
    pub(super) of_file: HashMap<String, Vec<usize>>,
    /// Files that are patches, and no manifests of their own.
    patches: HashSet<String>,
    /// The file from which there were more ways outwards than are followed.
    pub(super) too_many: Option<String>,
    chains: usize,
    /// Files that a kustomization which cannot be read may render.
    blocked: HashMap<String, Doubt<'f>>,
    /// What renders folders with images of its own.
    outers: Outers<'f>,
    by_folder: HashMap<&'f str, usize>,
    /// The kustomizations that render what is not in the repository.
    open: Vec<bool>,
    /// Those with a patch that takes an object away.
    pub(super) deleting: Vec<bool>,
    /// Folders among the resources, and their lines, where no kustomization is.
    pub(super) missing: Vec<(&'f Arc<str>, &'f Named)>,
}

pub(super) struct One<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) facts: &'f Kustomization,
    /// The kustomizations that include this one, and whether as a component.
    parents: Vec<(usize, bool)>,
    components: Vec<usize>,
}

/// One way from a file to an outer kustomization: the layers that act on it, the inner ones first.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) layers: Arc<[usize]>,
    /// Whether nothing includes the last one.
    pub(super) is_root: bool,
    /// What renders the last one.
    pub(super) outer: Option<usize>,
}

/// A workload as it is rendered.
pub(super) struct Rendering<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) found: &'f Found,
    pub(super) chain: Chain,
    pub(super) id: WorkloadId,
}

/// A step of an object's way.
pub(super) enum Step<'a, 'f> {
    /// A part of a patch that is for the object, or may be.
    Part { path: &'f Arc<str>, line: usize, part: Part<'f>, is_sure: bool },
    /// The `images` of a kustomization, each with its file; its own file, unless Flux makes it.
    Images { at: Option<&'f Arc<str>>, entries: &'a [(&'f Arc<str>, &'f Entry)] },
    /// A replacement, and the object as it is then.
    Replacement { path: &'f Arc<str>, replacement: &'f Replacement, subject: &'a Subject<'f> },
}

impl<'f> Rendering<'f> {
    /// The workload at the start of its way.
    pub(super) fn subject(&self) -> Subject<'f> {
        let id = &self.found.workload.id;
        let group = id.kind.spec().map_or("", |spec| spec.group);
        Subject::new(id.kind.as_str(), group, &self.found.meta, &id.namespace, &id.name)
    }
}

impl<'f> Kustomizations<'f> {
    pub(super) fn new(files: &'f Files) -> Self {
        let mut all: Vec<One> = Vec::new();
        let mut by_folder: HashMap<&str, usize> = HashMap::new();
        for (path, facts) in files {
            if let Some(facts) = &facts.kustomization
                && !by_folder.contains_key(folder(path))
            {
                by_folder.insert(folder(path), all.len());
                all.push(One { path, facts, parents: Vec::new(), components: Vec::new() });
            }
        }
        let names = |path: &str, list: &[Named]| -> Vec<String> {
            list.iter().filter_map(|item| join(folder(path), &item.name)).collect()
        };
        let blocked = blocked(files, |folder| {
            let One { path, facts, .. } = &all[*by_folder.get(folder)?];
            Some([names(path, &facts.resources), names(path, &facts.components)].concat())
        });
        let mut found = Self {
            all,
            of_file: HashMap::new(),
            patches: HashSet::new(),
            too_many: None,
            chains: 0,
            blocked,
            missing: Vec::new(),
            open: Vec::new(),
            outers: Outers::new(files),
            by_folder,
            deleting: Vec::new(),
        };
        let by_folder = found.by_folder.clone();
        for outer in 0..found.all.len() {
            let One { path, facts, .. } = found.all[outer];
            for (list, is_component) in [(&facts.resources, false), (&facts.components, true)] {
                let targets: HashSet<String> = names(path, list).into_iter().collect();
                for target in targets {
                    match by_folder.get(&*target) {
                        Some(&inner) if inner != outer => {
                            found.all[inner].parents.push((outer, is_component));
                        }
                        None if files.contains_key(&*target) && !is_component => {
                            found.of_file.entry(target).or_default().push(outer);
                        }
                        _ => {}
                    }
                }
            }
            let components = names(path, &facts.components).into_iter();
            found.all[outer].components = components.filter_map(|folder| by_folder.get(&*folder).copied()).collect();
            let is_missing = |item: &&Named| {
                let is_here = |at: String| by_folder.contains_key(&*at) || files.contains_key(&*at);
                is_folder(&item.name) && !join(folder(path), &item.name).is_some_and(is_here)
            };
            found.missing.extend(facts.resources.iter().filter(is_missing).map(|item| (path, item)));
            let patches = facts.patches.iter().filter_map(|patch| join(folder(path), patch.file.as_ref()?));
            found.patches.extend(patches);
        }
        for one in &mut found.all {
            one.parents.sort_unstable();
        }
        let deletes = |One { path, facts, .. }: &One<'f>| {
            let mut parts = facts.patches.iter().flat_map(|patch| patch.parts(files, path));
            parts.any(|(.., part)| part.is_deleting())
        };
        found.deleting = found.all.iter().map(deletes).collect();
        let is_open = |One { path, facts, .. }: &One| {
            let is_here = |item: &Named| {
                let at = join(folder(path), &item.name);
                at.is_some_and(|at| by_folder.contains_key(&*at) || files.contains_key(&*at)) || is_folder(&item.name)
            };
            let is_local = |item: &Named| is_here(item) || item.name.ends_with(".yaml") || item.name.ends_with(".yml");
            facts.has_charts || facts.resources.is_empty() || !facts.resources.iter().all(is_local)
        };
        found.open = found.all.iter().map(is_open).collect();
        // Who includes such a kustomization is one, too.
        let mut left: Vec<usize> = (0..found.all.len()).filter(|one| found.open[*one]).collect();
        while let Some(one) = left.pop() {
            for (parent, as_component) in found.all[one].parents.clone() {
                if !as_component && !std::mem::replace(&mut found.open[parent], true) {
                    left.push(parent);
                }
            }
        }
        found
    }

    /// Every way from a file outwards. A file that is in no kustomization has one way, without a layer; one that is a
    /// patch only has none.
    pub(super) fn chains(&mut self, path: &str) -> Vec<Chain> {
        let plain = Chain { layers: [].into(), is_root: true, outer: None };
        let Some(outer) = self.of_file.get(path) else {
            return if self.patches.contains(path) { Vec::new() } else { self.rendered_by(path, vec![plain]) };
        };
        let mut found = vec![Chain { is_root: false, ..plain }];
        let mut open: Vec<(usize, Vec<usize>, Vec<usize>)> = Vec::new();
        for &one in outer {
            open.push((one, vec![one], self.layers(one, None)));
        }
        while let Some((one, way, layers)) = open.pop() {
            let parents = self.all[one].parents.clone();
            let parents = parents.iter().filter(|(parent, _)| !way.contains(parent));
            let mut is_root = !self.all[one].facts.is_component;
            for &(parent, as_component) in parents {
                is_root = false;
                if way.len() >= MAX_DEPTH || layers.len() > 4 * MAX_DEPTH || open.len() + self.chains > MAX_CHAINS {
                    self.too_many = Some(path.to_owned());
                    break;
                }
                let (mut way, mut layers) = (way.clone(), layers.clone());
                layers.extend(self.layers(parent, as_component.then_some(one)));
                way.push(parent);
                open.push((parent, way, layers));
            }
            self.chains += 1;
            found.push(Chain { layers: layers.into(), is_root, outer: None });
        }
        self.rendered_by(path, found)
    }

    /// The same ways, each as often as something renders its end with images of its own.
    fn rendered_by(&mut self, path: &str, chains: Vec<Chain>) -> Vec<Chain> {
        let mut found = Vec::with_capacity(chains.len());
        for chain in chains {
            let last = chain.layers.last().map(|last| &self.all[*last]);
            let mut outers = last.map_or(Vec::new(), |last| self.outers.of(folder(last.path)).to_vec());
            if outers.is_empty() && chain.is_root {
                let end = last.map_or(path, |last| last.path);
                outers = self.outers.around(end, |folder| self.by_folder.contains_key(folder));
            }
            if outers.is_empty() || !chain.is_root {
                found.push(chain.clone());
            }
            if found.len() + outers.len() > MAX_CHAINS {
                self.too_many = Some(path.to_owned());
                break;
            }
            let each = outers.into_iter().map(|outer| Chain { outer: Some(outer), is_root: true, ..chain.clone() });
            found.extend(each);
        }
        found
    }

    /// What acts in a kustomization on what comes from one of its resources, or from its component `after`: the (further)
    /// components in their order, and itself.
    fn layers(&self, one: usize, after: Option<usize>) -> Vec<usize> {
        let mut found = Vec::new();
        let mut way = vec![one];
        self.own_layers(one, after, &mut way, &mut found);
        found
    }

    fn own_layers(&self, one: usize, after: Option<usize>, way: &mut Vec<usize>, found: &mut Vec<usize>) {
        let components = &self.all[one].components;
        let skipped = after.and_then(|after| components.iter().position(|c| *c == after)).map_or(0, |at| at + 1);
        for &component in &components[skipped..] {
            if !way.contains(&component) && way.len() < MAX_DEPTH && found.len() < 4 * MAX_DEPTH {
                way.push(component);
                self.own_layers(component, None, way, found);
                way.pop();
            }
        }
        found.push(one);
    }

    /// Namespace and name of an object after a chain.
    pub(super) fn renamed(&self, chain: &Chain, namespace: &str, name: &str) -> (Arc<str>, Arc<str>) {
        let none = Meta::default();
        let mut subject = Subject::new("", "", &none, namespace, name);
        chain_layers(&self.all, chain).for_each(|layer| subject.pass(layer.facts));
        subject.id()
    }

    /// Takes an object the way of a chain, and calls for each patch that may be for it, and each kustomization's images.
    /// Says why its annotations are not known afterwards.
    pub(super) fn walk(
        &self,
        files: &'f Files,
        subject: &mut Subject<'f>,
        chain: &Chain,
        mut call: impl FnMut(Step<'_, 'f>),
    ) -> Option<Doubt<'f>> {
        let outer = chain.outer.map(|outer| self.outers.get(outer));
        let mut layers: Vec<_> =
            chain_layers(&self.all, chain).map(|layer| (Some((layer.path, layer.facts)), None)).collect();
        match (layers.last_mut(), outer) {
            (Some((Some((path, _)), last)), Some((_, outer))) if outer.is_of(path) => *last = chain.outer,
            (_, Some(_)) => layers.push((None, chain.outer)),
            _ => {}
        }
        let mut doubt = None;
        for (layer, outer) in layers {
            let outer: Option<(&'f Arc<str>, &'f Outer)> = outer.map(|outer| self.outers.get(outer));
            let own = layer.into_iter().flat_map(|(path, facts)| facts.patches.iter().map(move |patch| (path, patch)));
            let more = outer.into_iter().flat_map(|(at, outer)| outer.set.patches.iter().map(move |patch| (at, patch)));
            let patches: Vec<(&'f Arc<str>, &'f Patch)> = own.chain(more).collect();
            for is_late in [false, true] {
                if let Some((_, facts)) = layer.filter(|_| is_late) {
                    subject.pass(facts);
                }
                for (at, patch) in patches.iter().filter(|(_, patch)| patch.is_late == is_late) {
                    for (path, line, part) in patch.parts(files, at) {
                        let is_sure = match patch.is_for(&part, subject) {
                            Some(false) => continue,
                            Some(true) => true,
                            None => false,
                        };
                        let reason = match is_sure {
                            true if part.change(subject, patch.is_copied()) => None,
                            true => Some(TOO_MUCH),
                            false => Some(UNKNOWN_TARGET).filter(|_| part.has_ours() || part.is_deleting()),
                        };
                        doubt = doubt.or(reason.map(|reason| Doubt { path, line, reason }));
                        call(Step::Part { path, line, part, is_sure });
                    }
                }
            }
            let at = layer.map(|(path, _)| path);
            match outer {
                Some((path, outer)) => {
                    doubt = doubt.or(outer.doubt(path));
                    call(Step::Images { at, entries: &outer.set.over(path, layer) });
                }
                None => {
                    let entries = layer.into_iter().flat_map(|(at, facts)| facts.images.iter().map(move |e| (at, e)));
                    call(Step::Images { at, entries: &entries.collect::<Vec<_>>() });
                }
            }
            for (path, replacement) in layer.into_iter().flat_map(|(path, facts)| of_kustomization(files, path, facts))
            {
                if replacement.sets_head(subject) {
                    doubt = doubt.or(Some(Doubt { path, line: replacement.line, reason: REPLACED }));
                }
                call(Step::Replacement { path, replacement, subject });
            }
        }
        doubt
    }

    /// The entries of `images` for what is not in the repository: the outermost one of each name.
    pub(super) fn entries(&self) -> Vec<(&'f Arc<str>, &'f Entry)> {
        let open = self.all.iter().zip(&self.open).filter(|(one, open)| **open && !one.facts.is_component);
        let all = open.clone().flat_map(|(one, _)| one.facts.images.iter().map(move |entry| (one, entry)));
        let outermost = all.filter(|(one, entry)| !self.is_set_again(one, entry, 0));
        let inner = outermost.map(|(one, entry)| (one.path, entry));
        let is_closed = |folder: &str| self.by_folder.get(folder).is_some_and(|one| !self.open[*one]);
        inner.chain(self.outers.elsewhere(is_closed)).collect()
    }

    fn is_set_again(&self, one: &One<'f>, entry: &Entry, depth: usize) -> bool {
        let name = entry.new_name.as_ref().map_or(&*entry.name, |cell| &*cell.value);
        let again = |outer: &Entry| outer.has_version() && (outer.name == entry.name || outer.matches(name));
        let outers = self.outers.of(folder(one.path)).iter().map(|outer| self.outers.get(*outer).1);
        outers.flat_map(|outer| &outer.set.images).any(again)
            || depth < MAX_DEPTH
                && one.parents.iter().any(|(parent, _)| {
                    let parent = &self.all[*parent];
                    let again = |outer: &Entry| outer.has_version() && outer.matches(name);
                    parent.facts.images.iter().any(again) || self.is_set_again(parent, entry, depth + 1)
                })
    }

    /// Why it is not known what a file's objects are rendered to.
    pub(super) fn blocked(&self, path: &str) -> Option<Doubt<'f>> {
        self.blocked.get(path).cloned()
    }

    /// Whether a file is nothing but a patch.
    pub(super) fn is_patch(&self, path: &str) -> bool {
        self.patches.contains(path) && !self.of_file.contains_key(path)
    }
}

/// Whether a resource is a folder of the repository by its name: no file, and nothing from elsewhere.
fn is_folder(name: &str) -> bool {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let first = name.split('/').next().unwrap_or_default();
    (matches!(first, "." | "..") || !first.contains('.'))
        && (matches!(last, "." | "..") || !last.contains('.'))
        && !name.contains(['?', ':', '@'])
}

pub(super) fn chain_layers<'a, 'f>(all: &'a [One<'f>], chain: &'a Chain) -> impl Iterator<Item = &'a One<'f>> {
    chain.layers.iter().map(|layer| &all[*layer])
}
