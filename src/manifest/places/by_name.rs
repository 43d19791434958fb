//! Places in values files by the names of these, beside those that a release or a kustomization tells.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    cell::{At, ImageExpr},
    index::{Draft, add},
    post::Released,
    uneditable::{AllUneditable, Uneditable},
};
use crate::domain::image::{Repository, excerpt};

/// Places by repository.
type Drafts<'f> = HashMap<Repository, Vec<Draft<'f>>>;

/// Values files that are known to be given to a chart, and what says so.
pub(super) type Given<'f> = HashMap<&'f str, (&'f Arc<str>, usize)>;

/// A file, and the scalar in it that tells one place from another.
type FileScalar = (Arc<str>, At);

fn place(draft: &Draft) -> Option<FileScalar> {
    Some((draft.path.clone(), draft.expr.main()?.at.bare().into_owned()))
}

fn places<'d, 'f: 'd>(all: impl Iterator<Item = &'d Draft<'f>>) -> HashSet<(Repository, FileScalar)> {
    all.filter_map(|draft| Some((draft.holds.repository.clone(), place(draft)?))).collect()
}

/// Whether nothing is known of a place but that it is one by its name.
fn is_known(known: &HashSet<(Repository, FileScalar)>, draft: &Draft) -> bool {
    draft.ambiguity.is_none()
        && place(draft).is_some_and(|place| known.contains(&(draft.holds.repository.clone(), place)))
}

/// Adds places of several values files, unless they are known.
pub(super) fn add_layered<'f>(values: &mut Drafts<'f>, drafts: Vec<Draft<'f>>) {
    let known = places(values.values().flatten());
    let new: Vec<Draft> = drafts.into_iter().filter(|draft| !is_known(&known, draft)).collect();
    add(values, new);
}

/// Takes out what is always overridden as far as it is known what is given to a chart, and tells of each image of a release
/// or of a chart that Kustomize renders whether its place is one by name, too.
pub(super) fn resolve<'f>(
    values: &mut Drafts<'f>,
    other_values: &mut Drafts<'f>,
    released: &mut HashMap<Repository, Vec<(usize, Released<'f>)>>,
    inflated: Vec<Draft<'f>>,
    given: &Given<'f>,
    barred: &mut AllUneditable<'f>,
) -> HashMap<Repository, Vec<(bool, Draft<'f>)>> {
    let mut found: HashMap<Repository, Vec<(bool, Draft)>> = HashMap::new();
    if released.is_empty() && inflated.is_empty() {
        return found;
    }
    let of_releases = released.values().flatten().map(|(_, each)| &each.draft);
    let counting: HashSet<FileScalar> = of_releases.chain(&inflated).filter_map(place).collect();
    let all = values.iter_mut().map(|all| (all, true)).chain(other_values.iter_mut().map(|all| (all, false)));
    for ((repository, drafts), is_by_name) in all {
        drafts.retain(|draft| {
            let Some((by, line)) = given.get(&**draft.path) else { return true };
            let counts = place(draft).is_none_or(|place| counting.contains(&place));
            if !counts {
                let why = format!("what {}:{line} says stands above, and sets it, too: edit that", excerpt(by));
                let held = Uneditable { path: draft.path, line: draft.line, why };
                barred.entry(repository.clone()).or_default().push(held);
            }
            // By another name it is a place for this alone.
            counts && is_by_name
        });
    }
    let known = places(values.values().flatten());
    for (_, each) in released.values_mut().flatten() {
        each.is_by_name = is_known(&known, &each.draft);
    }
    for draft in inflated {
        found.entry(draft.holds.repository.clone()).or_default().push((is_known(&known, &draft), draft));
    }
    found
}

/// An image in values that another file is always over.
pub(super) fn bar<'f>(
    all: &mut AllUneditable<'f>,
    path: &'f Arc<str>,
    expr: &ImageExpr,
    (above, line): (&Arc<str>, usize),
) {
    if let Some(Draft { line: own, holds, .. }) = Draft::new(path, expr.clone()) {
        let why = format!("{}:{line} sets it, too, and stands above: edit that", excerpt(above));
        all.entry(holds.repository).or_default().push(Uneditable { path, line: own, why });
    }
}
