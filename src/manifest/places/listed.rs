//! `supercargo.yaml` at the root of a repository: images and their policies, where nothing else can carry them.
//!
//! ```yaml
//! images:
//! - image: ghcr.io/team/web
//!   policy: minor
//!   files: apps/**        # only there; everywhere if not given
//!   name: web             # of the entry; the repository if not given
//!   prerelease: allow     # and every other annotation's key
//! ```

use std::{collections::BTreeMap, sync::Arc};

use globset::Glob;

use super::super::{
    ManifestError,
    read::{get, text},
    tree::{Id, NodeKind, Tree},
};
use super::{kustomization::mappings, orphans::one_by_one};
use crate::domain::{
    image::{Repository, excerpt},
    policy::Matcher,
};

/// The name of the file.
pub(super) const FILE: &str = "supercargo.yaml";

/// An image with its policy.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) repository: Repository,
    /// The pattern of the files' paths.
    pub(super) files: Option<Arc<str>>,
    /// Their paths, where it names each of them.
    pub(super) named: Option<Vec<String>>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Listed {
    pub(super) fn covers(&self, path: &str) -> bool {
        self.files.as_ref().is_none_or(|files| Matcher::of(files).is_ok_and(|files| files.matches(path)))
    }
}

pub(super) fn read(tree: &Tree, found: &mut Vec<Listed>, problems: &mut Vec<ManifestError>) {
    let Some(root) = tree.documents.first().map(|d| d.root).filter(|r| tree.node(*r).kind == NodeKind::Mapping) else {
        return;
    };
    for (key, _) in tree.entries(root).filter(|(key, _)| tree.scalar(*key) != Some("images")) {
        let reason = format!("`{}` is no key of this file: `images` is", excerpt(tree.scalar(key).unwrap_or_default()));
        problems.push(ManifestError::new(tree.line(key), reason));
    }
    let list = match get(tree, root, "images", NodeKind::Sequence) {
        Ok(list) => list,
        Err(problem) => return problems.push(problem),
    };
    for item in list.into_iter().flat_map(|list| mappings(tree, list)) {
        match entry(tree, item) {
            Ok(entry) if found.iter().any(|other| other.name == entry.name) => {
                let reason = format!("`{}` is listed twice: give each entry a `name`", excerpt(&entry.name));
                problems.push(ManifestError::new(entry.line, reason));
            }
            Ok(entry) => found.push(entry),
            Err(problem) => problems.push(problem),
        }
    }
}

fn entry(tree: &Tree, item: Id) -> Result<Listed, ManifestError> {
    let line = tree.line(item);
    let wrong = |reason: String| ManifestError::new(line, reason);
    let image = text(tree, item, "image")?.ok_or_else(|| wrong("`image`, the repository, is missing".into()))?;
    let repository = Repository::parse(image).map_err(|error| wrong(error.to_string()))?;
    let glob = text(tree, item, "files")?;
    let files = glob.map(|glob| {
        let pattern: Option<Arc<str>> = Glob::new(glob).ok().map(|glob| glob.regex().into());
        let known = pattern.filter(|pattern| Matcher::of(pattern).is_ok());
        known.ok_or_else(|| wrong(format!("`{}` is no glob of paths, or is too large a one", excerpt(glob))))
    });
    let name = text(tree, item, "name")?.unwrap_or(image).to_owned();
    let mut annotations = BTreeMap::new();
    for (key, value) in tree.entries(item) {
        let key = tree.scalar(key).unwrap_or_default();
        if !matches!(key, "image" | "files" | "name") {
            let value = tree.scalar(value).ok_or_else(|| wrong(format!("`{}` is no text", excerpt(key))))?;
            annotations.insert(format!("supercargo.dev/{key}"), value.to_owned());
        }
    }
    if !annotations.contains_key("supercargo.dev/policy") {
        return Err(wrong("`policy` is missing: write for example `policy: minor`".into()));
    }
    let named = glob.and_then(one_by_one);
    Ok(Listed { line, name, repository, files: files.transpose()?, named, annotations })
}
