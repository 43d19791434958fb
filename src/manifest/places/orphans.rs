//! What `files` of an entry of `supercargo.yaml` names, and in which its image does not stand.

use std::collections::BTreeSet;

use super::{Facts, Index, cell::Cell, index::Draft, listed::Listed, locate::MAX_LEFT_ALONE};
use crate::domain::image::{Repository, excerpt};

impl Index<'_> {
    /// What is said of the files besides those with a place: of each where they are named one by one, else of those that
    /// have the image's tag and do not say whose it is. Without a tag, where it has no place, only tags are told.
    pub(super) fn orphans(
        &self,
        listed: &Listed,
        tag: Option<&str>,
        has_place: impl Fn(&str) -> bool,
    ) -> Option<String> {
        listed.files.as_ref()?;
        let named = listed.named.as_ref();
        let all: BTreeSet<&str> = match named {
            Some(named) => named.iter().map(|path| &**path).collect(),
            None => self.files.keys().map(|path| &**path).filter(|path| listed.covers(path)).collect(),
        };
        let values = [&self.values, &self.other_values].into_iter().filter_map(|all| all.get(&listed.repository));
        let values: Vec<&Draft> = values.flatten().filter(|draft| !self.is_never(draft)).collect();
        let said = |path: &str| {
            if let Some(Draft { line, .. }) = values.iter().find(|draft| **draft.path == *path) {
                return Some(format!(
                    "{}:{line} has it, too, and stays, as what is marked comes first: mark it, too",
                    excerpt(path)
                ));
            }
            let own = tag.filter(|_| named.is_none());
            let orphan = self.files.get(path).filter(|_| own.is_some() || named.is_some()).and_then(|f| orphan(f, own));
            match orphan {
                Some((key, cell)) => Some(of_tag(path, key, cell, &listed.repository)),
                None if named.is_some() && tag.is_some() => Some(format!(
                    "{} holds no image {}: correct `files`, or mark its value (`# supercargo: minor image={} part=tag`)",
                    excerpt(path),
                    listed.repository,
                    listed.repository
                )),
                None => None,
            }
        };
        let is_marked = |path: &str| {
            let markers = self.files.get(path).into_iter().flat_map(|facts| &facts.markers);
            markers.into_iter().any(|marker| marker.repository.as_ref() == Some(&listed.repository))
        };
        let all = all.into_iter().filter(|path| !has_place(path) && !is_marked(path));
        let all: Vec<String> = all.filter_map(said).collect();
        (!all.is_empty()).then(|| {
            let more = all.len().saturating_sub(MAX_LEFT_ALONE);
            let more = if more > 0 { format!("; and {more} more files") } else { String::new() };
            format!("{}{more}", all[..all.len().min(MAX_LEFT_ALONE)].join("; "))
        })
    }
}

fn of_tag(path: &str, key: &str, cell: &Cell, repository: &Repository) -> String {
    format!(
        "{}:{} has `{}: {}` and stays, as nothing there says of which image: mark it (`# supercargo: minor \
         image={repository} part=tag`)",
        excerpt(path),
        cell.line,
        excerpt(key.rsplit('.').next().unwrap_or(key)),
        excerpt(&cell.value)
    )
}

/// A tag that is part of no image: of this version, or any.
fn orphan<'f>(facts: &'f Facts, tag: Option<&str>) -> Option<(&'f str, &'f Cell)> {
    let made = facts.values.iter().flat_map(|expr| expr.cells());
    let known: Vec<usize> = made.chain(facts.markers.iter().map(|marker| &marker.cell)).map(|cell| cell.line).collect();
    let is_orphan = |(key, cell): &&(Box<str>, Cell)| {
        key.to_ascii_lowercase().ends_with("tag")
            && tag.is_none_or(|tag| *cell.value == *tag)
            && !cell.value.is_empty()
            && !known.contains(&cell.line)
    };
    facts.flat.iter().find(is_orphan).map(|(key, cell)| (&**key, cell))
}

/// More paths are not named by one pattern.
const MAX_NAMED: usize = 100;

/// The paths of a glob that names each of them (`{a,b}/values.yaml`); none if it may mean others.
pub(super) fn one_by_one(glob: &str) -> Option<Vec<String>> {
    if glob.contains(['*', '?', '[', '\\']) {
        return None;
    }
    let mut all = vec![String::new()];
    for (index, part) in glob.split('{').enumerate() {
        let (each, after) = if index == 0 { ("", part) } else { part.split_once('}')? };
        let each: Vec<&str> = each.split(',').collect();
        if after.contains('}') || all.len() * each.len() > MAX_NAMED {
            return None;
        }
        all = all.iter().flat_map(|before| each.iter().map(move |one| format!("{before}{one}{after}"))).collect();
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("a.yaml", Some("a.yaml"))]
    #[case("{a,b}/{c,d}.yaml", Some("a/c.yaml a/d.yaml b/c.yaml b/d.yaml"))]
    #[case("{a,b}/*.yaml", None)]
    #[case("{a,{b,c}}.yaml", None)]
    #[case("{a", None)]
    fn a_pattern_may_name_each_file(#[case] pattern: &str, #[case] expected: Option<&str>) {
        assert_eq!(one_by_one(pattern).map(|all| all.join(" ")).as_deref(), expected);
    }
}
