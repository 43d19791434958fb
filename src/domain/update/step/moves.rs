//! Who moved an image that we had set: what follows when that was read.

use super::{Act, Now, answers::FAILED, decide, end, recover::compare_images};
use crate::domain::{
    update::{Judging, News, Record, rare::Why},
    workload::{Observed, Workload},
};

/// The workload was read.
pub(super) fn observed(
    record: &mut Record,
    read: Result<Option<Observed>, String>,
    judging: &Judging,
    now: Now,
    acts: &mut Vec<Act>,
) {
    end(record, acts);
    record.rare.wait.take_if(|wait| wait.why == Why::Read);
    match read {
        Ok(Some(observed)) => {
            compare_images(record, &observed.workload, now, acts);
            let kept = record.rule().map(|rule| rule.kept.clone()).unwrap_or_default();
            let (held, is_new) = record.note_moves(&observed, judging, now.at);
            let workload = &observed.workload;
            if record.see_rule(workload) || is_new {
                acts.push(Act::SaveState(record.state(workload.id.clone())));
            }
            acts.extend(held.into_iter().map(|hold| Act::Announce(News::Held(workload.id.clone(), hold))));
            if let Some(rule) = record.rule().filter(|rule| rule.kept != kept && !rule.kept.is_empty()) {
                acts.push(Act::Announce(News::TakenAway(workload.id.clone(), Box::new(rule.clone()))));
            }
            decide(acts);
        }
        Ok(None) => {}
        Err(_) => record.wait(Why::NotWritten, FAILED, now.since),
    }
}

/// What is remembered of its images and annotations is compared with those that are there.
pub(super) fn compared(record: &mut Record, workload: &Workload, acts: &mut Vec<Act>) {
    let returns = record.returns(workload);
    // What was pardoned is there no more.
    if record.rare.pardoned && !record.is_moved(workload) {
        record.rare.pardoned = false;
    }
    if record.see_rule(workload) || returns {
        acts.push(Act::SaveState(record.state(workload.id.clone())));
    }
}
