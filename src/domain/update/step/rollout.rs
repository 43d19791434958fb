//! What follows from what a workload and its pods say of the rollout of an update.

use std::time::Duration;

use jiff::Timestamp;

use super::{Act, Now, answers::save_as, decide, rollback};
use crate::domain::{
    reason::{Code, Reason},
    rollout::{Following, Judged},
    update::{Change, News, Phase, Record, Rollout, Tracked, Update},
};

/// An update is followed while it is Progressing, or its way back is written, and no longer.
pub(super) fn follow(record: &mut Record, now: Now) {
    if record.followed().is_none() {
        record.rare.following = None;
    } else if record.rare.following.is_none() {
        let told = record.current().and_then(Tracked::stalled);
        let ago = |told: Timestamp| Duration::try_from(now.at.duration_since(told)).unwrap_or_default();
        record.rare.following =
            Some(Box::new(told.map_or_else(Following::default, |told| Following::stalled(ago(told)))));
    }
}

/// What is known of the rollout now, and what that leads to.
pub(super) fn judge(record: &mut Record, now: Now, acts: &mut Vec<Act>) {
    let (Some(following), Some(current)) = (&mut record.rare.following, &record.current) else { return };
    let back = current.back();
    let (update, set) = (&current.update, back.as_ref().unwrap_or(&current.update));
    let item = |name: &str, init: bool| {
        set.items.iter().find(|item| (&*item.change.container, item.change.init) == (name, init))
    };
    let (kind, is_back) = (update.workload.kind.clone(), back.is_some());
    let judged = following.judge(&kind, |name, init| item(name, init).is_some(), now.since);
    match judged {
        Judged::Going => {}
        Judged::Ask(name, init) => acts.extend(item(&name, init).map(|item| Act::AskPull(Box::new(item.clone())))),
        Judged::Stalled(why) => {
            let reason = Reason::new(Code::RolloutStalled, why);
            let phase = current.phase.clone();
            goes_on(record, phase, Rollout::Stalled(reason), now, acts);
        }
        Judged::Succeeded => {
            let (update, template) = (update.clone(), following.template().cloned());
            let images = update.changes().map(|change| (change, if is_back { &change.from } else { &change.to }));
            record.runs_well(images, template.as_ref(), now.at);
            ran(record, "", now, acts);
            acts.push(Act::SaveState(record.state(update.workload)));
        }
        Judged::NotFollowed(why) if is_back => ran(record, why, now, acts),
        Judged::NotProved if is_back => ran(record, "there are no pods that could prove that", now, acts),
        Judged::NotFollowed(why) => {
            let reason = Reason::new(Code::NotFollowed, format!("written; whether it runs is not followed: {why}"));
            goes_on(record, Phase::Succeeded, Rollout::NotFollowed(reason), now, acts);
        }
        Judged::NotProved => {
            let reason =
                Reason::new(Code::NotProved, "written; the workload has no pods that could prove that it runs");
            goes_on(record, Phase::Succeeded, Rollout::NotProved(reason), now, acts);
        }
        Judged::Failed(why, _) if is_back => {
            if let Some(current) = record.current.take() {
                rollback::runs_not(record, *current, &why, now, acts);
            }
        }
        Judged::Failed(why, faults) => rollback::failed(record, why, &faults, now, acts),
    }
    free(record, now, acts);
}

/// It runs, or what was there before it does again.
fn ran(record: &mut Record, note: &str, now: Now, acts: &mut Vec<Act>) {
    match record.current.take() {
        Some(current) if current.way().is_some() => rollback::runs(record, *current, note, now, acts),
        current => {
            record.current = current;
            goes_on(record, Phase::Succeeded, Rollout::Succeeded, now, acts);
        }
    }
}

/// A StatefulSet does not replace a pod that is not ready by what ran before (Kubernetes: StatefulSets, "Forced rollback").
fn free(record: &mut Record, now: Now, acts: &mut Vec<Act>) {
    let Some(current) = record.current().filter(|current| current.way().is_some()) else { return };
    let (update, is_ordered) = (&current.update, current.update.workload.kind.as_str() == "StatefulSet");
    let failed = |update: &Update| update.changes().cloned().collect();
    let failed: Vec<Change> = if is_ordered { failed(update) } else { return };
    if record.rare.following.as_mut().is_some_and(|following| following.is_to_be_freed(now.since)) {
        acts.push(Act::Free(failed));
    }
}

/// No pod can be deleted that stands in the way of what ran before, which is told.
pub(super) fn stuck(record: &mut Record, why: &str, now: Now, acts: &mut Vec<Act>) {
    let Some(phase) = record.current().filter(|current| current.way().is_some()).map(|it| it.phase.clone()) else {
        return;
    };
    let is_news = record.rare.following.as_mut().is_some_and(|following| following.may_not_free());
    if is_news {
        goes_on(record, phase, Rollout::Stalled(Reason::new(Code::RolloutStalled, why)), now, acts);
    }
}

/// The current update is that far, which shows in what is said of the workload; what waited for its end is thought of.
fn goes_on(record: &mut Record, phase: Phase, rollout: Rollout, now: Now, acts: &mut Vec<Act>) {
    let Some(current) = record.current.take() else { return };
    let reason = rollout.reason().cloned();
    acts.push(Act::Announce(News::Rollout(current.update.clone(), rollout)));
    decide(acts);
    record.current = Some(Box::new(save_as(*current, phase, reason, now, acts)));
}
