//! Kustomizations that cannot be read whole: what they name, they may render, and with any image.

use std::collections::{BTreeSet, HashMap};

use super::{Files, names::join, patch::Doubt};

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
) -> HashMap<String, Doubt<'f>> {
    let mut found: HashMap<String, Doubt> = HashMap::new();
    for (path, broken) in files.iter().filter_map(|(path, facts)| Some((path, facts.broken.as_deref()?))) {
        let reason =
            "this kustomization cannot be read whole, and may render the workload with another image: repair it";
        let doubt = Doubt { path, line: broken.line, reason };
        let folder = super::names::folder(path);
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
            found.insert(name, doubt.clone());
        }
    }
    found
}
