//! A release as kustomizations deploy it: patches may set some of its values.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    Files,
    cell::{At, Cell, Maker, Name, Parts, is_unset},
    index::Draft,
    patch::{Doubt, Part, Put, TOO_MUCH, UNKNOWN_TARGET},
    release::Release,
    render::{Chain, Kustomizations, Step},
    subject::Subject,
};

/// The value that a patch sets, by its path, and the file of the patch.
type Set<'f> = BTreeMap<String, (&'f Arc<str>, &'f Cell)>;

/// The images in a release's values after the patches on one way outwards.
pub(super) fn values<'f>(
    files: &'f Files,
    kustomizations: &Kustomizations<'f>,
    path: &'f Arc<str>,
    release: &'f Release,
    chain: &Chain,
) -> Vec<Draft<'f>> {
    let mut set = Set::new();
    let mut added = Vec::new();
    let images: HashSet<&At> = release.values.iter().flat_map(Maker::cells).map(|cell| &cell.at).collect();
    let mut doubt = None;
    let mut subject = Subject::new(release.kind(), release.group(), &release.meta, &release.namespace, &release.name);
    kustomizations.walk(files, &mut subject, chain, |step| match step {
        Step::Part { path, line, part, is_sure: false } => {
            if matches!(part, Part::Release(part) if !part.flat.is_empty()) || matches!(part, Part::Operation(_)) {
                doubt.get_or_insert(Doubt { path, line, reason: UNKNOWN_TARGET });
            }
        }
        Step::Part { path: file, part: Part::Release(patch), .. } => {
            set.extend(patch.flat.iter().map(|(key, cell)| (key.to_string(), (file, cell))));
            added.extend(patch.values.iter().map(|maker| (file, maker)));
        }
        Step::Part { path: file, line, part: Part::Operation(operation), .. } => match &operation.put {
            Put::Scalar(cell) => _ = set.insert(operation.key(), (file, cell)),
            Put::Pairs(_) | Put::Other => {
                // It may put another image in the place of one.
                let above = operation.key();
                let is_within = |key: &str| key.strip_prefix(&*above).is_some_and(|rest| !rest.is_empty());
                if release.flat.iter().any(|(key, cell)| images.contains(&cell.at) && is_within(key)) {
                    doubt.get_or_insert(Doubt { path: file, line, reason: TOO_MUCH });
                }
            }
        },
        Step::Part { .. } | Step::Images(_) => {}
    });
    if set.is_empty() {
        let drafts = release.values.iter().filter_map(|maker| Draft::new(path, maker.clone()));
        return drafts.map(|draft| Draft { doubt: doubt.clone(), ..draft }).collect();
    }
    let keys: HashMap<&At, &str> = release.flat.iter().map(|(key, cell)| (&cell.at, &**key)).collect();
    let find = |cell: &Cell| set.get(*keys.get(&cell.at)?).copied();
    let mut drafts: Vec<Draft> = Vec::new();
    for maker in &release.values {
        let (file, maker) = match maker {
            Maker::Whole { prefix, cell } => match find(cell) {
                Some((file, cell)) => (file, Maker::Whole { prefix: prefix.clone(), cell: cell.clone() }),
                None => (path, maker.clone()),
            },
            Maker::Parts(parts) => match after(path, parts, find) {
                Some(after) => after,
                // Its tag and digest stand in two files.
                None => continue,
            },
        };
        drafts.extend(Draft::new(file, maker));
    }
    // Images that only a patch has.
    for (file, maker) in added {
        let is_there = |draft: &Draft| draft.maker.main().map(|cell| &cell.at) == maker.main().map(|cell| &cell.at);
        if !drafts.iter().any(|draft| draft.path == file && is_there(draft)) {
            drafts.extend(Draft::new(file, maker.clone()));
        }
    }
    drafts.into_iter().map(|draft| Draft { doubt: doubt.clone(), ..draft }).collect()
}

fn after<'f>(
    path: &'f Arc<str>,
    parts: &Parts,
    find: impl Fn(&Cell) -> Option<(&'f Arc<str>, &'f Cell)>,
) -> Option<(&'f Arc<str>, Maker)> {
    let own = |cell: &Option<Cell>| {
        cell.as_ref().map(|cell| find(cell).map_or((path, cell.clone()), |(file, cell)| (file, cell.clone())))
    };
    let (tag, digest, registry) = (own(&parts.tag), own(&parts.digest), own(&parts.registry));
    let (name_file, name) = match &parts.name {
        Name::Cell(cell) => find(cell).map_or((path, parts.name.value()), |(file, cell)| (file, &*cell.value)),
        Name::Known(name) => (path, &**name),
    };
    let mut files: Vec<&Arc<str>> = tag.iter().chain(&digest).map(|(file, _)| *file).collect();
    files.dedup();
    let [file] = files.as_slice() else { return None };
    let is_all_here = *file == path && name_file == path && registry.as_ref().is_none_or(|(file, _)| *file == path);
    let (tag, digest) = (tag.map(|(_, cell)| cell), digest.map(|(_, cell)| cell));
    if is_all_here {
        return Some((file, Maker::Parts(Box::new(parts.clone()))));
    }
    let registry = registry.map(|(_, cell)| cell.value).filter(|registry| !is_unset(registry));
    let name = registry.map_or(name.to_owned(), |registry| format!("{}/{name}", registry.trim_end_matches('/')));
    Some((file, Maker::parts(None, Name::Known(name.into()), tag, digest)))
}
