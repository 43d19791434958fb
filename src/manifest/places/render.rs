//! The kustomizations of a repository: which of them includes which, and what they set of what is not here.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Files,
    broken::{blocked, by_argo},
    chains::Count,
    charts::Charts,
    deployed::{COMPONENT, Outers},
    given::{self, AllGiven},
    kustomization::{ImagesEntry, Kustomization, Named},
    names::{folder, join},
    patch::Ambiguity,
    transformer::{self, Field, ReadTransformer},
};

/// The kustomizations of a repository, and which includes which.
pub(super) struct Kustomizations<'f> {
    pub(super) all: Vec<One<'f>>,
    /// The kustomizations that have a file among their resources.
    pub(super) of_file: HashMap<String, Vec<usize>>,
    /// Files that are patches, and no manifests of their own.
    pub(super) patches: HashSet<String>,
    /// The file from which there were more ways outwards than are followed.
    pub(super) too_many: Option<String>,
    pub(super) count: Count,
    /// Files that a kustomization which cannot be read may render.
    blocked: HashMap<String, Ambiguity<'f>>,
    /// What Argo CD reads beside a kustomization or a chart, by the folder.
    pub(super) by_argo: HashMap<&'f str, Ambiguity<'f>>,
    /// What renders folders with images of its own.
    pub(super) outers: Outers<'f>,
    pub(super) by_folder: HashMap<&'f str, usize>,
    pub(super) charts: Charts<'f>,
    /// ConfigMaps and Secrets.
    pub(super) given: AllGiven<'f>,
    /// The fields that `images` set besides, as configurations say.
    pub(super) fields: Vec<&'f Field>,
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
    pub(super) parents: Vec<(usize, bool)>,
    pub(super) components: Vec<usize>,
    /// A component that is not here.
    pub(super) lost: Option<Ambiguity<'f>>,
    pub(super) transformers: Vec<ReadTransformer<'f>>,
    /// How much it may do to an object.
    pub(super) steps: usize,
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
                let transformers = transformer::of_kustomization(files, path, facts);
                let own = transformers.iter().flatten().map(|(path, own)| steps(files, path, own));
                let steps = steps(files, path, facts) + own.sum::<usize>();
                let lost = None;
                all.push(One { path, facts, parents: Vec::new(), components: Vec::new(), lost, transformers, steps });
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
            count: Count::default(),
            charts: Charts::new(files),
            given: given::all(files),
            fields: Vec::new(),
            blocked,
            by_argo: by_argo(files),
            missing: Vec::new(),
            open: Vec::new(),
            outers: Outers::new(files),
            by_folder,
            deleting: Vec::new(),
        };
        found.too_many = found.charts.too_many().map(str::to_owned);
        let by_folder = found.by_folder.clone();
        for outer in 0..found.all.len() {
            let (path, facts) = (found.all[outer].path, found.all[outer].facts);
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
            let is_here =
                |named: &&Named| join(folder(path), &named.name).is_some_and(|at| by_folder.contains_key(&*at));
            let lost = facts.components.iter().find(|named| !is_here(named));
            found.all[outer].lost = lost.map(|named| Ambiguity { path, line: named.line, reason: COMPONENT });
            let is_missing = |item: &&Named| {
                let is_here = |at: String| by_folder.contains_key(&*at) || files.contains_key(&*at);
                is_folder(&item.name) && !join(folder(path), &item.name).is_some_and(is_here)
            };
            found.missing.extend(facts.resources.iter().filter(is_missing).map(|item| (path, item)));
            let own = found.all[outer].transformers.iter().flatten().copied();
            for (path, facts) in own.chain([(path, facts)]) {
                let patches = facts.patches.iter().filter_map(|patch| join(folder(path), patch.file.as_ref()?));
                found.patches.extend(patches);
            }
            let configurations = facts.configurations.iter().filter_map(|named| join(folder(path), &named.name));
            let files = configurations.filter_map(|file| files.get(&*file));
            found.fields.extend(files.flat_map(|facts| &facts.fields));
        }
        for one in &mut found.all {
            one.parents.sort_unstable();
        }
        let mut deletes = Deletes { files, of_file: HashMap::new() };
        found.deleting = found.all.iter().map(|one| deletes.of(one)).collect();
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

    /// The entries of `images` for what is not in the repository: the outermost one of each name.
    pub(super) fn entries(&self) -> Vec<(&'f Arc<str>, &'f ImagesEntry)> {
        let open = (0..self.all.len()).filter(|one| self.open[*one] && !self.all[*one].facts.is_component);
        let mut found = Vec::new();
        for one in open {
            let own: Vec<(&'f Arc<str>, &'f ImagesEntry)> = self.own_entries(one).collect();
            let first = own.len() - self.all[one].facts.images.len();
            for (index, (path, entry)) in own.iter().enumerate() {
                // A transformer comes after all entries.
                let mut later = own.iter().skip(index + 1).filter(|(at, _)| first > 0 && at != path);
                if !later.any(|(_, later)| is_again(later, entry)) && !self.is_set_again(one, entry) {
                    found.push((*path, *entry));
                }
            }
        }
        let is_closed = |folder: &str| self.by_folder.get(folder).is_some_and(|one| !self.open[*one]);
        found.extend(self.outers.elsewhere(is_closed));
        found
    }

    /// The entries of a kustomization, and those of its transformers.
    fn own_entries(&self, one: usize) -> impl Iterator<Item = (&'f Arc<str>, &'f ImagesEntry)> {
        let One { path, facts, transformers, .. } = &self.all[one];
        let own = [(*path, *facts)].into_iter().chain(transformers.iter().flatten().copied());
        own.flat_map(|(path, facts)| facts.images.iter().map(move |entry| (path, entry)))
    }

    /// Whether what renders a kustomization sets what an entry of it sets.
    fn is_set_again(&self, one: usize, entry: &ImagesEntry) -> bool {
        let (mut open, mut seen) = (vec![one], HashSet::from([one]));
        while let Some(one) = open.pop() {
            let outers = self.outers.of_folder(folder(self.all[one].path)).iter();
            let mut outers = outers.flat_map(|outer| self.outers.get(*outer).images.1);
            if outers.any(|outer| is_again(outer, entry) || outer.has_version() && outer.name == entry.name) {
                return true;
            }
            for &(parent, _) in &self.all[one].parents {
                if self.own_entries(parent).any(|(_, outer)| is_again(outer, entry)) {
                    return true;
                }
                open.extend(seen.insert(parent).then_some(parent));
            }
        }
        false
    }

    /// Why it is not known what a file's objects are rendered to.
    pub(super) fn blocked(&self, path: &str) -> Option<Ambiguity<'f>> {
        self.blocked.get(path).cloned()
    }

    /// Whether a file is nothing but a patch.
    pub(super) fn is_patch(&self, path: &str) -> bool {
        self.patches.contains(path) && !self.of_file.contains_key(path)
    }
}

/// Whether an entry sets what another one below it sets.
fn is_again(outer: &ImagesEntry, entry: &ImagesEntry) -> bool {
    outer.has_version() && outer.matches(entry.new_name.as_ref().map_or(&*entry.name, |cell| &*cell.value))
}

/// How much a kustomization may do to an object.
fn steps(files: &Files, path: &Arc<str>, facts: &Kustomization) -> usize {
    let patches = facts.patches.iter().map(|patch| 1 + patch.steps(files, path));
    let replacements = facts.replacements.iter().map(|replacement| {
        let file = replacement.file.as_ref().and_then(|file| files.get(&*join(folder(path), file)?));
        1 + file.map_or(0, |facts| facts.replacements.len())
    });
    1 + patches.sum::<usize>() + replacements.sum::<usize>() + facts.images.len()
}

/// Which kustomizations take objects away; each file is looked through once.
struct Deletes<'f> {
    files: &'f Files,
    of_file: HashMap<&'f str, bool>,
}

impl<'f> Deletes<'f> {
    fn of(&mut self, one: &One<'f>) -> bool {
        let own = [(one.path, one.facts)].into_iter().chain(one.transformers.iter().flatten().copied());
        let mut patches = own.flat_map(|(path, facts)| facts.patches.iter().map(move |patch| (path, patch)));
        patches.any(|(path, patch)| {
            let of_file = patch.read_file(self.files, path).is_some_and(|(path, facts)| {
                let mut all = facts.manifests.workloads.iter().chain(&facts.partial);
                *self.of_file.entry(path).or_insert_with(|| all.any(|found| found.is_deleting))
            });
            of_file || patch.is_deleting()
        })
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
