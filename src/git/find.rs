//! Where updates stand in the files of a commit, and the new texts that bring them. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use super::{
    asked::Asked,
    chain::{Edited, FileEdit},
    check::check,
    contest::contest,
    history::History,
    objects::TreeEntry,
    settings::Scope,
};
use crate::{
    domain::{
        image::ImageRef,
        reason::{Code, Reason},
        text::escape,
        update::{Hold, LeftOut, Outcome, Standing},
        version::Version,
        workload::WorkloadId,
    },
    manifest::places::{Files, Index, LocateError, LocationEdit, Wanted, apply},
};

/// A workload, a container and whether it stands under `initContainers`.
pub(super) type Key = (WorkloadId, Arc<str>, bool);

/// The image that each edit finds at its place, and the one that it makes there.
pub(super) type EditedImages = HashMap<FileEdit, (ImageRef, ImageRef)>;

/// What an edit makes of the images at its place.
pub(super) type Carries = Vec<(Key, Carried)>;

/// What an edit for another workload makes of an image.
#[derive(Debug, Clone)]
pub(super) enum Carried {
    /// The image that is wished for it.
    To(ImageRef),
    /// It goes where its place goes, which has the first and gets the second.
    Along((ImageRef, ImageRef)),
}

/// `file:line` of each place, and the container whose image stands there.
#[derive(Debug, Clone, Default)]
pub struct Places {
    all: Vec<(Arc<str>, String)>,
    /// The changes that they bring.
    pub(super) brings: Vec<Wanted>,
    /// What they make of the images of others.
    pub(super) carries: Vec<Arc<Carries>>,
    /// What of the files is left as it is, by container.
    besides: Vec<(Arc<str>, String)>,
    /// What is not brought with the others.
    left: Vec<LeftOut>,
}

impl Places {
    /// Those of one container.
    pub fn of<'p>(&'p self, container: &str) -> impl Iterator<Item = &'p str> {
        self.all.iter().filter(move |(of, _)| **of == *container).map(|(_, place)| &**place)
    }

    /// What is left as it is, of one container or of all.
    pub fn besides<'p>(&'p self, container: Option<&'p str>) -> impl Iterator<Item = &'p str> {
        let is_of = move |of: &str| container.is_none_or(|container| container == of);
        self.besides.iter().filter(move |(of, _)| is_of(of)).map(|(_, note)| &**note)
    }

    /// What is not brought with the others.
    pub fn left(&self) -> &[LeftOut] {
        &self.left
    }

    /// With what is not brought with the others.
    pub(super) fn without(self, left: Vec<LeftOut>) -> Self {
        Self { left, ..self }
    }

    /// All of them, each once.
    pub(super) fn all(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.all.iter().map(|(_, place)| &**place).collect();
        all.dedup();
        all
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.all().join(", "))
    }
}

/// Where an update stands in the files.
#[derive(Debug)]
pub(super) enum Finding {
    /// Every place has it.
    There(Places),
    /// These edits bring it.
    Edits(Vec<FileEdit>, Places),
    /// It cannot or must not be brought.
    Blocked(Reason),
    /// Somebody moved it back.
    MovedBack(Box<MovedBack>),
}

/// What somebody moved back that a commit of ours had set.
#[derive(Debug)]
pub(super) struct MovedBack {
    /// What is said of it.
    pub(super) reason: Reason,
    /// What is held by that.
    pub(super) hold: Hold,
    /// Our commit.
    pub(super) commit: String,
}

impl MovedBack {
    pub(super) fn outcome(self) -> Outcome {
        Outcome::MovedBack(self.reason, Box::new(self.hold))
    }

    pub(super) fn standing(self) -> Standing {
        Standing::MovedBack(self.reason, Box::new(self.hold))
    }
}

/// The files that would be edited.
pub(super) fn paths(findings: &[Finding]) -> impl Iterator<Item = &str> {
    let edits = findings.iter().filter_map(|finding| match finding {
        Finding::Edits(edits, _) => Some(edits),
        _ => None,
    });
    edits.flatten().map(|(path, _)| &**path)
}

/// Where each of the updates stands in the files.
///
/// What somebody moved back that one of the `forgiven` commits had set is brought again.
pub(super) fn find(
    asked: &[Asked],
    files: &Files,
    scope: &Scope,
    history: &History,
    forgiven: &HashSet<String>,
) -> Vec<Finding> {
    let index = Index::new(files, &scope.options);
    let (mut reverted, mut brought) = (HashMap::new(), EditedImages::new());
    let past = (history, forgiven);
    let mut findings: Vec<Finding> =
        asked.iter().map(|asked| finding(asked, &index, scope, past, &mut reverted, &mut brought)).collect();
    // What was moved back for one workload is not set by way of another that has the same place.
    for finding in &mut findings {
        if let Finding::Edits(edits, _) = finding
            && let Some(reason) = edits.iter().find_map(|edit| reverted.get(edit))
        {
            *finding = Finding::Blocked(reason.clone());
        }
    }
    contest(asked, &mut findings, &index, scope, &brought);
    findings
}

/// All changes of an update, or none.
fn finding(
    asked: &Asked,
    index: &Index<'_>,
    scope: &Scope,
    (history, forgiven): (&History, &HashSet<String>),
    reverted: &mut HashMap<FileEdit, Reason>,
    brought: &mut EditedImages,
) -> Finding {
    let Asked { update, instance, .. } = asked;
    let (mut edits, mut places) = (Vec::new(), Places::default());
    for change in update.changes() {
        let wanted = Wanted {
            workload: update.workload.clone(),
            instance: instance.clone(),
            container: change.container.clone(),
            init: change.init,
            from: change.from.clone(),
            to: change.to.clone(),
        };
        let spots = match index.locate(&wanted) {
            Ok(spots) => spots,
            Err(misfit) => {
                let code = if matches!(misfit, LocateError::Nowhere(_)) { Code::GitNoPlace } else { Code::GitConflict };
                return Finding::Blocked(Reason::new(code, format!("{}: {misfit}", scope.shown)));
            }
        };
        places.besides.extend(index.besides(&wanted, &spots).map(|note| (change.container.clone(), note)));
        for spot in spots {
            let place = format!("{}:{}", escape(&spot.path), spot.line);
            if !spot.edits.is_empty() {
                if !scope.is_within(&spot.path) {
                    let message = format!(
                        "{place} is beyond {}: add it to that, or an entry of `images` to a kustomization within it",
                        scope.within
                    );
                    return Finding::Blocked(Reason::new(Code::GitNoPlace, message));
                }
                let sets = history.of(&update.workload, change);
                let last = sets.first();
                let is_as_we_left_it = last.is_some_and(|last| same(&last.to, &spot.holds));
                let was_set = sets.iter().find(|set| same(&set.to, &change.to));
                let was_set = was_set.filter(|set| !forgiven.contains(&set.commit));
                if let Some(set) = was_set.filter(|_| !is_as_we_left_it) {
                    let commit: String = set.commit.chars().take(12).collect();
                    let message = format!(
                        "commit {commit} set {} and somebody moved it back ({place} has {}); it is not set again, only \
                         a newer image will be",
                        change.to, spot.holds
                    );
                    let reason = Reason::new(Code::Reverted, message);
                    reverted.extend(spot.edits.into_iter().map(|edit| ((spot.path.clone(), edit), reason.clone())));
                    let hold = Hold::on(change, spot.holds.to_string(), "somebody", update.proposed);
                    return Finding::MovedBack(Box::new(MovedBack { reason, hold, commit: set.commit.clone() }));
                }
                let ours = is_as_we_left_it && !is_lower(&change.to, &spot.holds);
                if !same(&spot.holds, &change.from) && !ours {
                    let message = format!(
                        "{place} of the {} has {}, and the workload runs {}: nothing is changed until they agree",
                        scope.shown, spot.holds, change.from
                    );
                    return Finding::Blocked(Reason::new(Code::GitDiffers, message));
                }
            }
            places.all.push((change.container.clone(), place));
            for edit in spot.edits {
                let edit = (spot.path.clone(), edit);
                brought.entry(edit.clone()).or_insert_with(|| (spot.holds.clone(), change.to.clone()));
                edits.push(edit);
            }
        }
        places.brings.push(wanted);
    }
    if edits.is_empty() { Finding::There(places) } else { Finding::Edits(edits, places) }
}

/// What is said of each: where it stands, or why it is not brought. `place` is where that would be.
pub(super) fn told(
    findings: Vec<Finding>,
    refused: &BTreeMap<usize, String>,
    place: &str,
) -> Vec<Result<Places, Reason>> {
    let told = |(index, finding)| match (finding, refused.get(&index)) {
        (_, Some(why)) => Err(Reason::new(Code::GitConflict, format!("{place}: {why}"))),
        (Finding::Blocked(reason), _) => Err(reason),
        (Finding::MovedBack(moved), _) => Err(moved.reason),
        (Finding::There(places) | Finding::Edits(_, places), _) => Ok(places),
    };
    findings.into_iter().enumerate().map(told).collect()
}

/// Tags and digests alike; the repository may be spelt otherwise.
pub(super) fn same(a: &ImageRef, b: &ImageRef) -> bool {
    (&a.repository, &a.tag, &a.digest) == (&b.repository, &b.tag, &b.digest)
}

pub(super) fn is_same_version(a: &ImageRef, b: &ImageRef) -> bool {
    (&a.tag, &a.digest) == (&b.tag, &b.digest)
}

fn is_lower(a: &ImageRef, b: &ImageRef) -> bool {
    fn read(image: &ImageRef) -> Option<Version<'_>> {
        image.tag.as_ref().and_then(|tag| Version::parse(tag.as_str()))
    }
    read(a).zip(read(b)).is_some_and(|(a, b)| a < b)
}

/// The new texts, and the updates whose files cannot be edited exactly: an update is made in all its files or in none.
pub(super) fn edit<'t>(
    findings: &[Finding],
    file: impl Fn(&str) -> Option<(TreeEntry, &'t [u8])> + Sync,
    files: &Files,
    scope: &Scope,
) -> (Edited, BTreeMap<usize, String>) {
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    loop {
        let mut by_file: BTreeMap<&Arc<str>, BTreeMap<usize, Vec<&LocationEdit>>> = BTreeMap::new();
        for (index, finding) in findings.iter().enumerate().filter(|(index, _)| !refused.contains_key(index)) {
            let Finding::Edits(edits, _) = finding else { continue };
            for (path, edit) in edits {
                by_file.entry(path).or_default().entry(index).or_default().push(edit);
            }
        }
        let by_file: Vec<_> = by_file.into_iter().collect();
        let made = in_parallel(&by_file, |(path, users)| {
            let Some((entry, bytes)) = file(path) else {
                return Err(users.keys().map(|user| (*user, "the file cannot be read".to_owned())).collect());
            };
            let all: Vec<&LocationEdit> = users.values().flatten().copied().collect();
            let new = apply(path, bytes, &all).map_err(|error| blamed(path, bytes, users, &error.to_string()))?;
            Ok((new != *bytes).then_some((entry, new)))
        });
        let (mut edited, mut wrong) = (Vec::new(), Vec::new());
        for ((path, _), made) in by_file.into_iter().zip(made) {
            match made {
                Ok(new) => edited.extend(new),
                Err(users) => {
                    let users: Vec<(usize, String)> = users;
                    wrong.extend(users.into_iter().map(|(user, why)| (user, format!("{}: {why}", escape(path)))));
                }
            }
        }
        if wrong.is_empty() && !edited.is_empty() {
            wrong.extend(check(files, scope, &edited, findings, &refused));
        }
        if wrong.is_empty() {
            return (edited, refused);
        }
        refused.extend(wrong);
    }
}

/// Those whose edits of a file cannot be made, each with its own reason; all of them where each alone could be.
fn blamed(path: &str, bytes: &[u8], users: &BTreeMap<usize, Vec<&LocationEdit>>, why: &str) -> Vec<(usize, String)> {
    let alone =
        |(user, edits): (&usize, &Vec<&LocationEdit>)| Some((*user, apply(path, bytes, edits).err()?.to_string()));
    let wrong: Vec<(usize, String)> = users.iter().filter_map(alone).collect();
    match wrong.is_empty() {
        true => users.keys().map(|user| (*user, why.to_owned())).collect(),
        false => wrong,
    }
}

/// Does the same with each, on all cores.
fn in_parallel<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    let share = all.len().div_ceil(cores).max(16);
    std::thread::scope(|scope| {
        let (work, mut shares) = (&work, all.chunks(share));
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(work).collect::<Vec<R>>())).collect();
        let mut done: Vec<R> = own.iter().map(work).collect();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    })
}
