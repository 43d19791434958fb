//! Kustomizations that cannot be read whole: what they name, they may render, and with any image. So may what Argo CD
//! reads of `.argocd-source.yaml` beside one, over all that the folder and the Application say.

use std::collections::{BTreeSet, HashMap};

use super::{
    super::tree::Tree,
    Files,
    names::{FileKind, folder, join},
    patch::Ambiguity,
};

const BROKEN: &str =
    "this kustomization cannot be read whole, and may render the workload with another image: repair it";
const BY_ARGO: &str = "Argo CD takes images or values from here, over all that the folder and the Application say, which is not \
                       followed: write them there, and take this file out";

/// A kustomization that cannot be read whole.
#[derive(Debug)]
pub(super) struct Broken {
    line: usize,
    /// What in it may be a path.
    pub(super) names: Vec<Box<str>>,
}

impl Broken {
    pub(super) fn new(line: usize, text: &str) -> Self {
        let is_part = |c: char| c.is_alphanumeric() || "_./-".contains(c);
        let names: BTreeSet<&str> = text.split(|c| !is_part(c)).filter(|name| !name.is_empty()).collect();
        Self { line, names: names.into_iter().map(Box::from).collect() }
    }

    /// What Argo CD reads beside the kustomization of a folder, or beside a chart; none if it sets nothing of that.
    pub(super) fn by_argo(tree: &Tree) -> Option<Self> {
        let root = tree.documents.first()?.root;
        let (key, _) =
            tree.entries_of(root).find(|(key, _)| matches!(tree.scalar(*key), Some("kustomize" | "helm")))?;
        Some(Self { line: tree.line(key), names: Vec::new() })
    }

    /// One that takes in these.
    pub(super) fn of(names: Vec<Box<str>>) -> Self {
        Self { line: 1, names }
    }
}

/// The files that broken kustomizations may render. `inside` gives the files and folders that the readable kustomization
/// of a folder names.
pub(super) fn blocked<'f>(
    files: &'f Files,
    inside: impl Fn(&str) -> Option<Vec<String>>,
) -> HashMap<String, Ambiguity<'f>> {
    let mut found: HashMap<String, Ambiguity> = HashMap::new();
    for (path, broken) in files.iter().filter_map(|(path, facts)| Some((path, facts.broken.as_deref()?))) {
        let ambiguity = Ambiguity { path, line: broken.line, reason: BROKEN };
        let folder = folder(path);
        let mut open: Vec<String> = broken.names.iter().filter_map(|name| join(folder, name)).collect();
        let own = join(folder, ".");
        open.retain(|name| Some(name) != own.as_ref());
        while let Some(name) = open.pop() {
            if found.contains_key(&name) {
                continue;
            }
            match inside(&name) {
                Some(more) => open.extend(more),
                None if files.contains_key(&*name) => {}
                None => continue,
            }
            found.insert(name, ambiguity.clone());
        }
    }
    found
}

/// What Argo CD reads beside kustomizations and charts, by their folders.
pub(super) fn by_argo(files: &Files) -> HashMap<&str, Ambiguity<'_>> {
    let all = files.iter().filter(|(path, _)| FileKind::of(path) == FileKind::ArgoSource);
    let all = all.filter_map(|(path, facts)| Some((path, facts.broken.as_deref()?.line)));
    all.map(|(path, line)| (folder(path), Ambiguity { path, line, reason: BY_ARGO })).collect()
}
