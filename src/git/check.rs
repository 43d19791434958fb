//! Whether edited files render what was wanted, by our own rendering: every image that was to change is the wanted one at
//! every place, and no other image is another than before. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    chain::{Edited, FileEdit},
    find::{Finding, same},
    settings::Scope,
};
use crate::{
    domain::{image::ImageRef, text::escape, workload::WorkloadId},
    manifest::places::{Files, Index, Wanted},
};

/// A workload, a container and whether it stands under `initContainers`.
type Key = (WorkloadId, Arc<str>, bool);

/// Why findings may not be brought as these edits bring them.
pub(super) fn check(
    files: &Files,
    scope: &Scope,
    edited: &Edited,
    findings: &[Finding],
    refused: &BTreeMap<usize, String>,
) -> BTreeMap<usize, String> {
    let mut new = files.clone();
    for (entry, text) in edited {
        new.insert(entry.path.clone(), Arc::new(scope.facts(&entry.path, text)));
    }
    let (before, after) = (Index::new(files, &scope.options), Index::new(&new, &scope.options));
    let made = findings.iter().enumerate().filter_map(|(number, finding)| match finding {
        Finding::Edits(edits, places) if !refused.contains_key(&number) => {
            Some((number, &edits[..], &places.brings[..]))
        }
        _ => None,
    });
    let made: Vec<(usize, &[FileEdit], &[Wanted])> = made.collect();
    let mut wrong = BTreeMap::new();
    for (number, _, wanted) in &made {
        for wanted in *wanted {
            if let Err(why) = is_there(&after, wanted) {
                wrong.entry(*number).or_insert(why);
            }
        }
    }
    let wanted: BTreeMap<Key, &ImageRef> = made
        .iter()
        .flat_map(|(.., wanted)| wanted.iter().map(|w| ((w.workload.clone(), w.container.clone(), w.init), &w.to)))
        .collect();
    let (was, index) = (before, after);
    let mut shared = None;
    let (before, after) = (images(&was), images(&index));
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (before.get(key), after.get(key));
        let parsed = new.and_then(|new| ImageRef::parse(new).ok());
        let is = |to: &ImageRef| parsed.as_ref().is_some_and(|new| same(new, to));
        let fits = match wanted.get(key) {
            Some(to) => is(to),
            None if old == new => true,
            // What shares a place with what is wanted has been asked for its wish already.
            None => {
                let shared = shared.get_or_insert_with(|| shared_by(&was, &made));
                shared.contains(key) && wanted.values().any(|to| is(to))
            }
        };
        if fits {
            continue;
        }
        let shown = |image: Option<&Box<str>>| image.map_or("none".to_owned(), |image| escape(image));
        let why = format!(
            "the edit would make the image of {}, container {}, {} where it is {}: nothing is written; report this with \
             the files",
            key.0,
            key.1,
            shown(new),
            shown(old)
        );
        let own =
            |wanted: &[Wanted]| wanted.iter().any(|w| (&w.workload, &w.container, w.init) == (&key.0, &key.1, key.2));
        // Its own update, or those that edit what it is rendered from; all if that is none.
        let files = index.files_of(&key.0);
        let touches = |edits: &[FileEdit]| edits.iter().any(|(path, _)| files.contains(path));
        let is_own = made.iter().any(|(.., wanted)| own(wanted));
        let is_near = made.iter().any(|(_, edits, _)| touches(edits));
        let is_to_blame = |(_, edits, wanted): &&(usize, &[FileEdit], &[Wanted])| match (is_own, is_near) {
            (true, _) => own(wanted),
            (false, true) => touches(edits),
            (false, false) => true,
        };
        for (number, ..) in made.iter().filter(is_to_blame) {
            wrong.entry(*number).or_insert_with(|| why.clone());
        }
    }
    wrong
}

/// The containers whose images stand where these edits are made.
fn shared_by(index: &Index<'_>, made: &[(usize, &[FileEdit], &[Wanted])]) -> BTreeSet<Key> {
    let sharers = index.sharers([]);
    let edits = made.iter().flat_map(|(_, edits, _)| edits.iter());
    let all = edits.flat_map(|(path, edit)| sharers.of(path, edit));
    all.map(|sharer| (sharer.workload.clone(), sharer.container.clone(), sharer.init)).collect()
}

fn is_there(after: &Index<'_>, wanted: &Wanted) -> Result<(), String> {
    let to = &wanted.to;
    let found = after.locate(&Wanted { from: to.clone(), ..wanted.clone() });
    let spots = found.map_err(|misfit| format!("after the edit that would make {to}: {misfit}"))?;
    match spots.iter().find(|spot| !same(&spot.holds, to)) {
        None => Ok(()),
        Some(spot) => Err(format!(
            "after the edit that would make {to}, {}:{} still makes {}: nothing is written",
            escape(&spot.path),
            spot.line,
            spot.holds
        )),
    }
}

fn images(index: &Index<'_>) -> BTreeMap<Key, Box<str>> {
    let rendered = index.rendered();
    let each = rendered.workloads.into_iter().flat_map(|(workload, ..)| {
        let id = workload.id;
        workload.containers.into_iter().map(move |c| ((id.clone(), c.name, c.init), Box::from(&*c.image)))
    });
    each.collect()
}
