//! Policy files: those that are always there, and those of a folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{ConfigError, parse, read_text};
use crate::domain::policy::{NamedPolicies, PolicyFile};

/// Policies that are always there; a file of the same name takes their place.
const SHIPPED: &[(&str, &str)] = &[
    ("branch-builds", include_str!("../../policies/branch-builds.yaml")),
    ("calver", include_str!("../../policies/calver.yaml")),
    ("digest", include_str!("../../policies/digest.yaml")),
    ("major", include_str!("../../policies/major.yaml")),
    ("minor", include_str!("../../policies/minor.yaml")),
    ("patch", include_str!("../../policies/patch.yaml")),
];

/// The shipped policies and those of a folder.
pub fn policies(dir: Option<&Path>) -> Result<NamedPolicies, ConfigError> {
    let mut problems = Vec::new();
    let named = named_policies(dir, &mut problems);
    if problems.is_empty() { Ok(named) } else { Err(ConfigError(problems)) }
}

pub(super) fn named_policies(dir: Option<&Path>, problems: &mut Vec<String>) -> NamedPolicies {
    let mut files: BTreeMap<Arc<str>, PolicyFile> = BTreeMap::new();
    for (name, text) in SHIPPED {
        match serde_saphyr::from_str::<PolicyFile>(text) {
            Ok(file) => _ = files.insert(file.name.clone(), file),
            Err(error) => problems.push(format!("the shipped policy {name}: {error}")),
        }
    }
    let mut own = BTreeSet::new();
    let listed = dir.map_or_else(|| Ok(Vec::new()), policy_files);
    for path in listed.unwrap_or_else(|problem| {
        problems.push(format!("--policies {problem}"));
        Vec::new()
    }) {
        let parsed = read_text(&path).and_then(|text| parse::<PolicyFile>(&path, &text));
        match parsed {
            Ok(file) if !own.insert(file.name.clone()) => {
                problems.push(format!("{}: another file has the policy `{}` too", path.display(), file.name));
            }
            Ok(file) => _ = files.insert(file.name.clone(), file),
            Err(problem) => problems.push(problem),
        }
    }
    NamedPolicies::new(files.values()).unwrap_or_else(|error| {
        problems.push(format!("policies: {error}"));
        NamedPolicies::default()
    })
}

/// The policy files of a folder, by name.
pub fn policy_files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let say = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(say)? {
        let path = entry.map_err(say)?.path();
        // A mounted ConfigMap has hidden folders beside its files.
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && !hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
