//! What was remembered, and what the images of a workload say of an update that has not ended.

use super::{
    Act, Now,
    answers::{OTHER_IMAGES, arrive, save_as, supersede},
    asked, rollback,
};
use crate::domain::{
    reason::{Code, Reason},
    target::Route,
    update::{Item, LastUpdate, News, Phase, Quarantined, Record, Rollout, Tracked, Update, UpdateId},
    workload::{Workload, WorkloadId},
};

/// An update that had not ended is gone on with, as far as the images let it. Of several the newest counts.
pub(super) fn recorded(record: &mut Record, mut found: Tracked, workload: &Workload, now: Now, acts: &mut Vec<Act>) {
    record.belongs_to(workload);
    // Nothing was said of it before the process ended: it may have been written.
    if found.phase == Phase::Proposed {
        found.phase = Phase::Applying;
    }
    if !found.is_recorded() {
        found.tell(found.update.proposed, None);
    }
    if found.update.uid != workload.uid {
        let current = record.current.take();
        supersede(record, found, "another workload has come in place of the one that it was for", now, acts);
        return record.current = current;
    }
    let is_older = |current: &Tracked| !current.phase.is_over() && current.update.proposed > found.update.proposed;
    let newer = "a newer one is under way";
    if record.current().is_some_and(is_older) {
        let current = record.current.take();
        supersede(record, found, newer, now, acts);
        return record.current = current;
    }
    if let Some(old) = record.current.take().filter(|old| !old.phase.is_over() && old.update.id != found.update.id) {
        supersede(record, *old, newer, now, acts);
    }
    quarantine_again(record, &found, now, acts);
    record.current = Some(Box::new(found));
    compare_images(record, workload, now, acts);
    asked(record, acts);
}

/// That an update goes back is recorded, and its quarantine is not, as the process ended between the two, which both waited
/// for the store. Which container was at fault is not known any more, so that no image of it is set again. What a person has
/// freed since stays free.
fn quarantine_again(record: &mut Record, found: &Tracked, now: Now, acts: &mut Vec<Act>) {
    let Some((why, since)) = found.why_back().filter(|(why, _)| why.code == Code::RolloutFailed) else { return };
    let is_freed = record.rare.freed.is_some_and(|freed| freed >= since);
    let then = Now { at: since, ..now };
    let key = |one: &Quarantined| (one.container.clone(), one.init, one.to.clone());
    let known: Vec<_> = record.quarantined().iter().map(key).collect();
    let all: Vec<_> =
        found.update.items.iter().map(|item| rollback::quarantined(item, &why.message, "", then)).collect();
    if is_freed || found.way().is_none() || all.iter().any(|one| known.contains(&key(one))) {
        return;
    }
    all.into_iter().for_each(|one| record.quarantine(one));
    acts.push(Act::SaveState(record.state(found.update.workload.clone())));
}

/// What the workload itself says that was written, and nothing else remembers: the process ended between the two. Where
/// it runs no more, somebody has moved it back since.
pub(super) fn known(record: &mut Record, workload: &Workload, now: Now, acts: &mut Vec<Act>) {
    record.belongs_to(workload);
    let Some(note) = LastUpdate::of(workload) else { return };
    let is_own = note.id == UpdateId::of(&workload.id, note.changes.iter());
    let is_current =
        record.current().is_some_and(|current| current.update.id == note.id || current.is_written_as(&note.id));
    if !is_own || note.changes.is_empty() || record.knows(&note, workload) {
        return;
    }
    record.set_by_then(&note, workload);
    if is_current {
        // The process ended between what is recorded of the update and what is of the workload.
        return acts.push(Act::SaveState(record.state(workload.id.clone())));
    }
    let LastUpdate { id, at, changes } = note;
    let items: Vec<Item> = changes.into_iter().map(Item::from).collect();
    let update = Update::new(workload.id.clone(), items, Route::Cluster, at);
    let update = Update { id, uid: workload.uid.clone(), ..update };
    let runs = Record::runs(&update, workload);
    let tracked = Tracked { update, phase: Phase::Applying, approval: None, log: Vec::new() };
    let now = Now { at, ..now };
    match record.current().is_none_or(|current| current.phase.is_over()) && runs {
        true => record.current = Some(Box::new(arrive(record, tracked, now, acts))),
        // It was moved on since, by whomever.
        false => {
            let mut tracked = Tracked { phase: Phase::Progressing, ..tracked };
            tracked.tell(at, None);
            let why = Reason::new(Code::Superseded, OTHER_IMAGES);
            save_as(tracked, Phase::Superseded, Some(why), now, acts);
            acts.push(Act::SaveState(record.state(workload.id.clone())));
        }
    }
}

/// What is to outlive a restart is recorded once more.
pub(super) fn kept_elsewhere(record: &Record, workload: WorkloadId, acts: &mut Vec<Act>) {
    if record.knows_more_than_hearsay() {
        acts.push(Act::SaveState(record.state(workload)));
    }
    if let Some(current) = record.current().filter(|current| current.is_recorded()) {
        acts.push(Act::Save(Box::new(current.clone())));
    }
}

/// What the images of a workload say of its update, if that has not ended.
pub(super) fn compare_images(record: &mut Record, workload: &Workload, now: Now, acts: &mut Vec<Act>) {
    let Some(current) = record.current.take_if(|current| !current.phase.is_over()) else { return };
    let runs = Record::runs(&current.update, workload);
    if current.way().is_some() {
        if let Some((current, why)) = rollback::compare_images(record, *current, workload, now, acts) {
            acts.push(Act::Announce(News::Rollout(current.update.clone(), Rollout::Superseded)));
            supersede(record, current, why, now, acts);
        }
        return;
    }
    let is_written = match &current.phase {
        Phase::InGit { .. } => runs,
        // What an older version wrote.
        Phase::Progressing => runs && !current.update.can_be_followed(),
        // The answer was lost; somebody may have moved it back since.
        _ => LastUpdate::of(workload).is_some_and(|note| note.proves(&current.update)),
    };
    let mut current = *current;
    if is_written {
        acts.push(Act::Announce(News::Updated(current.update.clone())));
        current = arrive(record, current, now, acts);
        if runs || current.phase.is_over() {
            return record.current = Some(Box::new(current));
        }
    }
    let why = match &current.phase {
        // Which goes on.
        Phase::Progressing if runs => return record.current = Some(Box::new(current)),
        Phase::Progressing => {
            acts.push(Act::Announce(News::Rollout(current.update.clone(), Rollout::Superseded)));
            OTHER_IMAGES
        }
        Phase::Proposed => return record.current = Some(Box::new(current)),
        _ if runs => "somebody else has set the same images",
        _ if Record::may_run(&current.update, workload) => return record.current = Some(Box::new(current)),
        _ => OTHER_IMAGES,
    };
    supersede(record, current, why, now, acts);
}
