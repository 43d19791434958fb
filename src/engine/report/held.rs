//! What is said of containers that are held.

use crate::{
    domain::{
        annotations::ContainerRule,
        demand::Gates,
        image::ImageRef,
        reason::{Code, Reason},
        report::{Report, Verdict},
        update::{Hold, How},
    },
    engine::{index::entry::WorkloadEntry, look::question::Answer},
};

/// Why a container stays as it is whatever is found: its annotation says so, or another deployer sets it.
pub(super) fn left(entry: &WorkloadEntry, container: &ContainerRule, gates: &Gates) -> Option<(Verdict, Reason)> {
    let is_its = |hold: &&Hold| hold.is_in(&container.container, container.init);
    let fought = entry.bars.holds.iter().filter(is_its).find(|hold| hold.how == How::Deployer);
    if let Some(hold) = fought {
        return Some((Verdict::Problem, Reason::new(hold.code(), hold.why(&entry.workload.id))));
    }
    let (rule, image) = (gates.hold.as_ref()?, ImageRef::parse(&container.image).ok()?);
    Some((Verdict::Blocked, rule.value.keeps(&image, &rule.by)?))
}

/// Shows that nothing is written before it is known who moved an image.
pub(super) fn await_reading(row: &mut Report) {
    if row.decision == Verdict::Update {
        let message = "an image of the workload was moved; who did is found out first, at most once a minute";
        row.decision = Verdict::Waiting;
        row.reasons.insert(0, Reason::new(Code::Held, message));
    }
}

/// Shows that what would be taken is held.
pub(super) fn held(row: &mut Report, answer: &Answer) {
    let is_hold = |reason: &&Reason| reason.code.is_of_hold();
    let Some(reason) = answer.passed.iter().find(is_hold).filter(|_| row.decision == Verdict::UpToDate) else { return };
    (row.decision, row.to) = (Verdict::Blocked, reason.tag.clone());
    row.reasons.retain(|other| other.tag.is_some() && other != reason);
    row.reasons.insert(0, Reason { tag: None, ..reason.clone() });
}
