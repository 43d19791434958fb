//! Whether edited files render what was wanted, by our own rendering: every image that was to change is the wanted one at
//! every place, and no other image is another than before. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    chain::{Edited, FileEdit},
    find::{Carried, Carries, Finding, Key, Places, is_same_version, same},
    settings::Scope,
};
use crate::{
    domain::{image::ImageRef, text::escape},
    manifest::places::{Files, Index, Wanted},
};

/// Places that are named in one reason.
const MAX_NAMED: usize = 5;

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
        Finding::Edits(edits, places) if !refused.contains_key(&number) => Some((number, &edits[..], places)),
        _ => None,
    });
    let made: Vec<(usize, &[FileEdit], &Places)> = made.collect();
    let mut wrong = BTreeMap::new();
    for (number, _, places) in &made {
        for wanted in &places.brings {
            if let Err(why) = is_there(&after, wanted) {
                wrong.entry(*number).or_insert(why);
            }
        }
    }
    let wanted = made.iter().flat_map(|(.., places)| &places.brings);
    let wanted: BTreeMap<Key, &ImageRef> =
        wanted.map(|w| ((w.workload.clone(), w.container.clone(), w.init), &w.to)).collect();
    let mut carried: BTreeMap<&Key, Vec<&Carried>> = BTreeMap::new();
    let carries = made.iter().flat_map(|(.., places)| &places.carries);
    let carries: BTreeMap<_, &Arc<Carries>> = carries.map(|carries| (Arc::as_ptr(carries), carries)).collect();
    for (key, one) in carries.into_values().flat_map(|carries| &**carries) {
        carried.entry(key).or_default().push(one);
    }
    let (was, now) = (images(&before), images(&after));
    let none = BTreeSet::new();
    for key in was.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (was.get(key).unwrap_or(&none), now.get(key).unwrap_or(&none));
        let is = |image: &str, to: &ImageRef| ImageRef::parse(image).is_ok_and(|image| same(&image, to));
        let fits = match wanted.get(key) {
            Some(to) => !new.is_empty() && new.iter().all(|image| is(image, to)),
            None if old == new => true,
            None => {
                !new.is_empty()
                    && new.difference(old).all(|image| {
                        carried.get(key).into_iter().flatten().any(|carried| match carried {
                            Carried::To(to) => is(image, to),
                            Carried::Along(brought) => old.iter().any(|old| goes_along(old, image, brought)),
                        })
                    })
            }
        };
        if fits {
            continue;
        }
        let shown = |images: &BTreeSet<Box<str>>| match images.is_empty() {
            true => "no image".to_owned(),
            false => images.iter().map(|image| escape(image).to_string()).collect::<Vec<_>>().join(" and "),
        };
        let what = format!("the image of {}, container {}, {}", key.0, key.1, shown(new));
        let why = match wanted.get(key) {
            // Every place of it was seen to hold what is wanted, so this is a mistake of ours.
            Some(to) => {
                format!("would make {what}, and {to} is wanted: edit it by hand, and report this with the files")
            }
            None => format!(
                "would make {what}, too, where it is {}: give one of them a place of its own (an entry of `images` in its \
                 overlay, or a patch), or edit by hand",
                shown(old)
            ),
        };
        let own = |places: &Places| {
            places.brings.iter().any(|w| (&w.workload, &w.container, w.init) == (&key.0, &key.1, key.2))
        };
        // Its own update, or those that edit what it is rendered from; all if that is none.
        let files = after.files_of(&key.0);
        let touches = |edits: &[FileEdit]| edits.iter().any(|(path, _)| files.contains(path));
        let is_own = made.iter().any(|(.., places)| own(places));
        let is_near = made.iter().any(|(_, edits, _)| touches(edits));
        let is_to_blame = |(_, edits, places): &&(usize, &[FileEdit], &Places)| match (is_own, is_near) {
            (true, _) => own(places),
            (false, true) => touches(edits),
            (false, false) => true,
        };
        for (number, edits, _) in made.iter().filter(is_to_blame) {
            wrong
                .entry(*number)
                .or_insert_with(|| format!("nothing is written, as the edit of {} {why}", edited_lines(edits)));
        }
    }
    wrong
}

/// Whether an image goes where its place goes, which may say its version only.
fn goes_along(old: &str, new: &str, (from, to): &(ImageRef, ImageRef)) -> bool {
    let (Ok(old), Ok(new)) = (ImageRef::parse(old), ImageRef::parse(new)) else { return false };
    let is_moved = (&old.repository, &new.repository) == (&from.repository, &to.repository);
    is_same_version(&new, to) && (is_moved || old.repository == new.repository)
}

/// Where edits are made, each once.
fn edited_lines(edits: &[FileEdit]) -> String {
    let places: BTreeSet<(&str, usize)> = edits.iter().map(|(path, edit)| (&**path, edit.line)).collect();
    let each: Vec<String> =
        places.iter().take(MAX_NAMED).map(|(path, line)| format!("{}:{line}", escape(path))).collect();
    let more = if places.len() > each.len() { " and more" } else { "" };
    format!("{}{more}", each.join(", "))
}

fn is_there(after: &Index<'_>, wanted: &Wanted) -> Result<(), String> {
    let to = &wanted.to;
    let found = after.locate(&Wanted { from: to.clone(), ..wanted.clone() });
    let head = format!("nothing is written, as after the edit that would make {to}");
    let spots = found.map_err(|misfit| format!("{head} this is so: {misfit}"))?;
    match spots.iter().find(|spot| !same(&spot.holds, to)) {
        None => Ok(()),
        Some(spot) => {
            Err(format!("{head} {}:{} still makes {}: edit it by hand", escape(&spot.path), spot.line, spot.holds))
        }
    }
}

/// All images of each container: several kustomizations may render one workload.
fn images(index: &Index<'_>) -> BTreeMap<Key, BTreeSet<Box<str>>> {
    let mut all: BTreeMap<Key, BTreeSet<Box<str>>> = BTreeMap::new();
    for (workload, container, init, image) in index.each_image() {
        all.entry((workload, container, init)).or_default().insert(image);
    }
    all
}
