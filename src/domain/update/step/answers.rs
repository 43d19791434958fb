//! What follows from what the outside answered.

use super::{Act, Now, decide};
use crate::domain::{
    back_off::BackOff,
    image::ImageRef,
    reason::{Code, Reason},
    rollout::Following,
    target::Route,
    update::{
        Change, Hold, Item, LeftOut, News, Outcome, Phase, Record, Rollout, Standing, Tracked, Written, rare::Why,
        record::UnderWay,
    },
    workload::WorkloadId,
};

/// What was tested no longer held.
pub(super) const STALE: BackOff = BackOff::millis(100, 60_000);
pub(super) const FAILED: BackOff = BackOff::millis(2_000, 300_000);
pub(super) const REFUSED: BackOff = BackOff::millis(60_000, 3_600_000);
/// What stands in Git: whether it was moved back, its request merged or closed.
pub(super) const CHECK: BackOff = BackOff::millis(30_000, 600_000);

pub(super) const OTHER_IMAGES: &str = "the workload has other images now";

/// The update is that far, which is remembered if it is new.
pub(super) fn save_as(
    current: Tracked,
    phase: Phase,
    reason: Option<Reason>,
    now: Now,
    acts: &mut Vec<Act>,
) -> Tracked {
    let mut current = Tracked { phase, ..current };
    if current.tell(now.at, reason) {
        acts.push(Act::Save(Box::new(current.clone())));
    }
    current
}

/// Its images are there. Those that we set in the workload itself are remembered as ours; who moves back what came from
/// Git is told by Git.
pub(super) fn arrive(record: &mut Record, current: Tracked, now: Now, acts: &mut Vec<Act>) -> Tracked {
    record.rare.wait = None;
    let current = match current.update.can_be_followed() {
        true => save_as(current, Phase::Progressing, None, now, acts),
        false => {
            let mut current = Tracked { phase: Phase::Progressing, ..current };
            current.tell(now.at, None);
            let rollout = Rollout::NotFollowed(not_followed());
            acts.push(Act::Announce(News::Rollout(current.update.clone(), rollout)));
            save_as(current, Phase::Succeeded, Some(not_followed()), now, acts)
        }
    };
    record.moves_on(&current.update);
    if current.update.route == Route::Cluster {
        record.set(current.update.changes(), now.at);
        acts.push(Act::SaveState(record.state(current.update.workload.clone())));
    }
    current
}

fn not_followed() -> Reason {
    Reason::new(Code::NotFollowed, "written; whether it runs is not followed here")
}

/// With the images as the server answered them: an admission may have rewritten them, as to those of a mirror.
fn as_answered(mut current: Tracked, written: &Written) -> Tracked {
    for Item { change, .. } in &mut current.update.items {
        let answered = written.images.iter().find(|(name, _)| *name == change.container);
        if let Some(image) = answered.and_then(|(_, image)| ImageRef::parse(image).ok()) {
            change.to = image;
        }
    }
    current
}

pub(super) fn written(record: &mut Record, current: Tracked, outcome: Outcome, now: Now, acts: &mut Vec<Act>) {
    let (why, back_off) = match outcome {
        Outcome::Applied(written) => {
            record.ran_before(&current.update, &written, now.at);
            let current = as_answered(current, &written);
            acts.push(Act::Announce(News::Updated(current.update.clone())));
            let current = arrive(record, current, now, acts);
            record.rare.following = Some(Box::new(Following::of(written.generation, written.template)));
            return record.current = Some(Box::new(current));
        }
        Outcome::Committed(reason) => return in_git(record, current, (reason, Vec::new()), true, now, acts),
        Outcome::Partly(reason, left) => return in_git(record, current, (reason, left), true, now, acts),
        Outcome::Blocked(reason) => return blocked(record, current, reason, now, acts),
        Outcome::MovedBack(reason, hold) => return moved_back(record, current, reason, *hold, now, acts),
        Outcome::Gone => {
            record.rare.wait = None;
            return record.current = Some(Box::new(current));
        }
        Outcome::Stale => {
            record.wait(Why::NotWritten, STALE, now.since);
            record.under_way = Some(UnderWay::Reading);
            acts.retain(|act| *act != Act::Decide);
            acts.push(Act::Read);
            return record.current = Some(Box::new(current));
        }
        Outcome::Refused(why) => {
            acts.push(Act::Announce(News::Refused(current.update.clone(), why.clone())));
            (Reason::new(Code::AdmissionRefused, why), REFUSED)
        }
        Outcome::Failed(why) => {
            acts.push(Act::Announce(News::Failed(current.update.clone(), why.clone())));
            (Reason::new(Code::WriteFailed, why), FAILED)
        }
    };
    record.wait(Why::NotWritten, back_off, now.since);
    record.current = Some(Box::new(save_as(current, Phase::Applying, Some(why), now, acts)));
}

pub(super) fn checked(record: &mut Record, current: Tracked, standing: Standing, now: Now, acts: &mut Vec<Act>) {
    match standing {
        Standing::InGit(reason, left) => {
            let is_news = !matches!(&current.phase, Phase::InGit { reason: before, .. } if before.code == reason.code);
            in_git(record, current, (reason, left), is_news, now, acts);
        }
        Standing::Blocked(reason) => blocked(record, current, reason, now, acts),
        Standing::MovedBack(reason, hold) => moved_back(record, current, reason, *hold, now, acts),
        Standing::Due => {
            record.under_way = Some(UnderWay::Queued);
            acts.retain(|act| *act != Act::Decide);
            acts.push(Act::Queue(current.update.route.clone()));
            record.current = Some(Box::new(Tracked { phase: Phase::Proposed, ..current }));
        }
        Standing::Failed(why) => {
            record.wait(Why::NotWritten, FAILED, now.since);
            acts.push(Act::Announce(News::Failed(current.update.clone(), why)));
            record.current = Some(Box::new(current));
        }
    }
}

fn in_git(
    record: &mut Record,
    current: Tracked,
    (reason, left): (Reason, Vec<LeftOut>),
    is_news: bool,
    now: Now,
    acts: &mut Vec<Act>,
) {
    record.wait(Why::Check, CHECK, now.since);
    decide(acts);
    // Of what is left out it is not known who moved it back.
    let is_back = |change: &&Change| left.iter().any(|left| left.is(change) && left.reason.code == Code::Reverted);
    for change in current.update.changes().filter(is_back) {
        let hold = Hold::on(change, change.from.to_string(), "somebody", now.at);
        held(record, &current.update.workload, hold, acts);
    }
    let (update, phase) = (current.update.without(&left), Phase::InGit { reason: reason.clone(), left });
    let current = Tracked { update, phase, approval: current.approval, log: current.log };
    if !is_news {
        return record.current = Some(Box::new(current));
    }
    acts.push(Act::Announce(News::Committed(current.update.clone(), reason.clone())));
    let phase = current.phase.clone();
    record.current = Some(Box::new(save_as(current, phase, Some(reason), now, acts)));
}

fn blocked(record: &mut Record, current: Tracked, reason: Reason, now: Now, acts: &mut Vec<Act>) {
    record.wait(Why::Check, CHECK, now.since);
    decide(acts);
    record.current =
        Some(Box::new(save_as(current, Phase::Waiting { reason: reason.clone() }, Some(reason), now, acts)));
}

/// A person moved it back in Git.
fn moved_back(record: &mut Record, current: Tracked, reason: Reason, hold: Hold, now: Now, acts: &mut Vec<Act>) {
    let workload = current.update.workload.clone();
    blocked(record, current, reason, now, acts);
    held(record, &workload, hold, acts);
}

fn held(record: &mut Record, workload: &WorkloadId, hold: Hold, acts: &mut Vec<Act>) {
    let is_known = record.holds().iter().any(|known| known.is(&hold.container, hold.init, &hold.to));
    if !is_known {
        acts.push(Act::Announce(News::Held(workload.clone(), hold.clone())));
        record.keep_from(hold);
        acts.push(Act::SaveState(record.state(workload.clone())));
    }
}

/// It is not gone on with. Of one that was never remembered nothing is said.
pub(super) fn supersede(record: &mut Record, current: Tracked, why: &str, now: Now, acts: &mut Vec<Act>) {
    record.rare.wait = None;
    if current.is_recorded() {
        let reason = Reason::new(Code::Superseded, why);
        record.current = Some(Box::new(save_as(current, Phase::Superseded, Some(reason), now, acts)));
    }
}
