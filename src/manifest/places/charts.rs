//! Charts of the repository: the values that each brings itself, over those of the charts in it and those it depends on.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    super::{
        MAX_BYTES,
        path::key_step,
        read::{get, text},
        tree::{NodeKind, Tree},
    },
    Facts, Files,
    cell::{Cell, Source},
    kustomization::mappings,
    marker,
    names::{folder, join},
    release_patch::{Flat, merge},
    values,
};

/// Charts within charts are not followed further.
const MAX_DEPTH: usize = 20;

/// Values that charts take from others are not more, of all charts together.
const MAX_TAKEN: usize = 1_000_000;

/// What `Chart.yaml` says.
#[derive(Debug, Default)]
pub(super) struct Chart {
    name: Box<str>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    name: Box<str>,
    alias: Option<Box<str>>,
    /// From the chart's folder, of one beside it (`file://…`).
    folder: Option<Box<str>>,
}

impl Facts {
    /// Of `Chart.yaml`: the charts that it depends on, and marked values.
    pub(super) fn of_chart(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_BYTES);
        let tree = text.and_then(|text| Tree::parse(text).ok());
        self.chart = Some(tree.as_ref().map(Chart::read).unwrap_or_default().into());
        if let Some(tree) = tree {
            marker::of_tree(&Source::file(&tree), &mut self.markers, &mut self.problems);
            self.limit();
        }
    }
}

impl Chart {
    /// What is not as it should be is left out.
    pub(super) fn read(tree: &Tree) -> Self {
        let Some(root) = tree.documents.first().map(|document| document.root) else { return Self::default() };
        if tree.node(root).kind != NodeKind::Mapping {
            return Self::default();
        }
        let word = |mapping, key| text(tree, mapping, key).ok().flatten().filter(|word| !word.is_empty());
        let list = get(tree, root, "dependencies", NodeKind::Sequence).ok().flatten();
        let dependencies = list.into_iter().flat_map(|list| mappings(tree, list)).filter_map(|item| {
            let repository = word(item, "repository").and_then(|repository| repository.strip_prefix("file://"));
            Some(Dependency {
                name: word(item, "name")?.into(),
                alias: word(item, "alias").map(Box::from),
                folder: repository.map(Box::from),
            })
        });
        Self { name: word(root, "name").unwrap_or_default().into(), dependencies: dependencies.collect() }
    }

    /// The files of the charts that it depends on, as far as it names them, from the folder that it is in.
    pub(super) fn included(&self, at: &str) -> Vec<String> {
        let folders = self.dependencies.iter().filter_map(|dependency| match &dependency.folder {
            Some(folder) => join(at, folder),
            None => join(at, &format!("charts/{}", dependency.name)),
        });
        folders.flat_map(|folder| files_of(&folder)).collect()
    }
}

/// The files of a chart that tell its values.
pub(super) fn files_of(folder: &str) -> [String; 3] {
    ["Chart.yaml", "values.yaml", "values.yml"].map(|name| within(folder, name))
}

fn within(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Values of several files over one another, as far as they may be parts of images.
#[derive(Debug, Clone, Default)]
pub(super) struct Values<'f> {
    pub(super) flat: Flat<'f>,
    /// The files, the lowest first.
    pub(super) order: Vec<&'f Arc<str>>,
}

impl<'f> Values<'f> {
    /// Puts a file over what there is. One with too many values is passed over.
    pub(super) fn put(&mut self, path: &'f Arc<str>, facts: &'f Facts) {
        self.put_own(path, &facts.flat);
    }

    /// The same of values that stand in a file.
    pub(super) fn put_own(&mut self, path: &'f Arc<str>, flat: &[(Box<str>, Cell)]) {
        let own: Vec<(Box<str>, Cell)> = parts(flat).cloned().collect();
        merge(&mut self.flat, path, &own);
        self.order.push(path);
    }

    fn put_under(&mut self, step: &str, other: &Self) {
        self.flat.extend(other.flat.iter().map(|(key, value)| (format!("{step}{key}"), value.clone())));
        self.order.extend(&other.order);
    }

    /// How far above a file stands; what is none of these stands above them all.
    pub(super) fn rank(&self, path: &str) -> usize {
        self.order.iter().rposition(|at| ***at == *path).unwrap_or(usize::MAX)
    }
}

/// What of the values of a file may be a part of an image.
pub(super) fn parts(flat: &[(Box<str>, Cell)]) -> impl Iterator<Item = &(Box<str>, Cell)> {
    flat.iter().filter(|(path, cell)| values::is_part(path, &cell.value))
}

/// The charts of a repository.
pub(super) struct Charts<'f> {
    files: &'f Files,
    folders: BTreeSet<&'f str>,
    /// Their folders, by the charts' names and by those of the folders.
    by_name: HashMap<&'f str, Vec<&'f str>>,
    known: HashMap<&'f str, Values<'f>>,
    taken: usize,
}

impl<'f> Charts<'f> {
    pub(super) fn new(files: &'f Files) -> Self {
        let folders = files.iter().filter(|(_, facts)| facts.chart.is_some()).map(|(path, _)| folder(path)).collect();
        let mut found = Self { files, folders, by_name: HashMap::new(), known: HashMap::new(), taken: 0 };
        for folder in found.folders.clone() {
            found.learn(folder, 0);
            let (name, last) = (found.name(folder), folder.rsplit('/').next().unwrap_or_default());
            for name in [Some(name), Some(last).filter(|last| *last != name)].into_iter().flatten() {
                found.by_name.entry(name).or_default().push(folder);
            }
        }
        found
    }

    /// The file of a chart whose values come to more than are kept, if there is one.
    pub(super) fn too_many(&self) -> Option<&'f str> {
        self.folders.first().copied().filter(|_| self.taken > MAX_TAKEN)
    }

    /// One that comes to itself has nothing there.
    fn learn(&mut self, folder: &'f str, depth: usize) {
        if self.known.contains_key(folder) {
            return;
        }
        self.known.insert(folder, Values::default());
        let mut found = Values::default();
        for Inner { key, folder, .. } in self.inner(folder) {
            let Some(&folder) = self.folders.get(&*folder).filter(|_| depth < MAX_DEPTH) else { continue };
            self.learn(folder, depth + 1);
            self.taken += self.known[folder].flat.len();
            if self.taken > MAX_TAKEN {
                return;
            }
            found.put_under(&key, &self.known[folder]);
        }
        if let Some((path, facts)) = self.base(folder) {
            found.put(path, facts);
        }
        self.known.insert(folder, found);
    }

    /// The folders that charts are in.
    pub(super) fn folders(&self) -> &BTreeSet<&'f str> {
        &self.folders
    }

    /// The values file of a folder that is the lowest by its name.
    pub(super) fn base(&self, folder: &str) -> Option<(&'f Arc<str>, &'f Facts)> {
        let [_, names @ ..] = files_of(folder);
        names.iter().find_map(|name| self.files.get_key_value(&**name)).map(|(path, facts)| (path, &**facts))
    }

    /// What the values are where a chart, or the values file of a folder, is given no others.
    pub(super) fn values(&self, folder: &str) -> Cow<'_, Values<'f>> {
        if let Some(known) = self.known.get(folder) {
            return Cow::Borrowed(known);
        }
        let mut found = Values::default();
        if let Some((path, facts)) = self.base(folder) {
            found.put(path, facts);
        }
        Cow::Owned(found)
    }

    /// The values of the charts that one depends on, without its own.
    pub(super) fn below(&self, folder: &str) -> Values<'f> {
        let mut found = Values::default();
        for Inner { key, folder, .. } in self.inner(folder) {
            found.put_under(&key, &self.values(&folder));
        }
        found
    }

    /// The folders of those that are called so, or that are in a folder of that name.
    pub(super) fn called(&self, name: &str) -> Vec<&'f str> {
        self.by_name.get(name).cloned().unwrap_or_default()
    }

    /// The charts from elsewhere that one depends on, by the keys of their values, and those of the repository that they
    /// may be.
    pub(super) fn elsewhere(&self, at: &str) -> Vec<(String, Vec<&'f str>)> {
        let chart = self.files.get(&*within(at, "Chart.yaml")).and_then(|facts| facts.chart.as_deref());
        let known: Vec<String> = self.inner(at).into_iter().map(|inner| inner.key).collect();
        let dependencies = chart.into_iter().flat_map(|chart| &chart.dependencies);
        let each =
            dependencies.map(|one| (key_step(one.alias.as_deref().unwrap_or(&one.name)), self.called(&one.name)));
        each.filter(|(key, charts)| !known.contains(key) && !charts.is_empty()).collect()
    }

    /// What the chart of a folder is called; as the folder, if it does not say so.
    pub(super) fn name(&self, folder: &'f str) -> &'f str {
        let chart = self.files.get(&*within(folder, "Chart.yaml")).and_then(|facts| facts.chart.as_deref());
        let last = folder.rsplit('/').next().unwrap_or_default();
        chart.map(|chart| &*chart.name).filter(|name| !name.is_empty()).unwrap_or(last)
    }

    /// The charts that one depends on.
    pub(super) fn inner(&self, at: &str) -> Vec<Inner> {
        let chart = self.files.get(&*within(at, "Chart.yaml")).and_then(|facts| facts.chart.as_deref());
        let Some(chart) = chart else { return Vec::new() };
        let charts = within(at, "charts/");
        let vendored = self.folders.range(&*charts..).take_while(|folder| folder.starts_with(&charts));
        let vendored = vendored.filter(|folder| !folder[charts.len()..].contains('/'));
        let mut found = Vec::new();
        for folder in vendored {
            let name = self.name(folder);
            let named = chart.dependencies.iter().filter(|dependency| *dependency.name == *name);
            let keys: Vec<&str> = named.map(|one| one.alias.as_deref().unwrap_or(&one.name)).collect();
            for key in if keys.is_empty() { vec![name] } else { keys } {
                found.push(Inner { key: key_step(key), folder: (*folder).to_owned(), is_own: true });
            }
        }
        for dependency in &chart.dependencies {
            let folder = dependency.folder.as_ref().and_then(|folder| join(at, folder));
            if let Some(folder) = folder.filter(|folder| folder != at && self.folders.contains(&**folder)) {
                let key = key_step(dependency.alias.as_deref().unwrap_or(&dependency.name));
                if !found.iter().any(|one: &Inner| one.key == key) {
                    found.push(Inner { key, folder, is_own: false });
                }
            }
        }
        found
    }
}

/// A chart that another one depends on.
pub(super) struct Inner {
    /// The key of its values in the other's, as a step of a path.
    pub(super) key: String,
    pub(super) folder: String,
    /// Whether it is in the other's folder, and nobody else's.
    pub(super) is_own: bool,
}
