//! What follows from what a workload and its pods say of the rollout of an update.

use std::time::Duration;

use jiff::Timestamp;

use super::{Act, Now, answers::save_as, decide};
use crate::domain::{
    image::Digest,
    reason::{Code, Reason},
    rollout::{Fault, Following, Judged},
    update::{Change, Item, News, Phase, Quarantined, Record, Rollout, Tracked},
};

/// An update is followed while it is Progressing, and no longer.
pub(super) fn follow(record: &mut Record, now: Now) {
    if record.rolling_out().is_none() {
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
    let update = &current.update;
    let item = |name: &str, init: bool| {
        update.items.iter().find(|item| (&*item.change.container, item.change.init) == (name, init))
    };
    let judged = following.judge(&update.workload.kind, |name, init| item(name, init).is_some(), now.since);
    match judged {
        Judged::Going => {}
        Judged::Ask(name, init) => acts.extend(item(&name, init).map(|item| Act::AskPull(Box::new(item.clone())))),
        Judged::Stalled(why) => {
            let reason = Reason::new(Code::RolloutStalled, why);
            goes_on(record, Phase::Progressing, Rollout::Stalled(reason), now, acts);
        }
        Judged::Succeeded => goes_on(record, Phase::Succeeded, Rollout::Succeeded, now, acts),
        Judged::NotFollowed(why) => {
            let reason = Reason::new(Code::NotFollowed, format!("written; whether it runs is not followed: {why}"));
            goes_on(record, Phase::Succeeded, Rollout::NotFollowed(reason), now, acts);
        }
        Judged::NotProved => {
            let reason =
                Reason::new(Code::NotProved, "written; the workload has no pods that could prove that it runs");
            goes_on(record, Phase::Succeeded, Rollout::NotProved(reason), now, acts);
        }
        Judged::Failed(why, fault) => {
            let workload = update.workload.clone();
            let bad = fault.and_then(|fault| {
                let (name, init) = fault.container.as_ref()?;
                Some(quarantined(item(name, *init)?, &fault, now))
            });
            let reason = Reason::new(Code::RolloutFailed, why);
            goes_on(record, Phase::Failed, Rollout::Failed(reason), now, acts);
            if let Some(bad) = bad {
                record.quarantine(bad);
                acts.push(Act::SaveState(record.state(workload)));
            }
        }
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

/// The image by its digest: its own, that of its tag when it was chosen, or that of what the pod pulled.
fn quarantined(item: &Item, fault: &Fault, now: Now) -> Quarantined {
    let Change { container, init, to, .. } = &item.change;
    let chosen = item.evidence.as_ref().and_then(|evidence| evidence.digest.clone());
    let pulled = fault.image_id.rsplit_once('@').and_then(|(_, digest)| Digest::parse(digest).ok());
    Quarantined {
        container: container.clone(),
        init: *init,
        to: to.clone(),
        digest: to.digest.clone().or(chosen).or(pulled),
        at: now.at,
        evidence: fault.text.as_str().into(),
    }
}
