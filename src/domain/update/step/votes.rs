//! What follows from what people say of an update, and from whether it is sure who they are.
//!
//! Only what the API server has now counts: what was recorded of votes is for people.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{
    Act, Now, Proved,
    answers::{REFUSED, save_as},
    asked, decide, replace,
};
use crate::domain::{
    hours::shown,
    reason::{Code, Reason},
    update::{News, Phase, Record, Refused, Rehearsal, Tracked, Update, record::UnderWay},
    votes::{Approval, Ignored, Review, Vote, count},
};

/// As long there is at least to vote after a time in which nobody could.
const GRACE: SignedDuration = SignedDuration::from_hours(1);

/// Whether it is asked already about exactly that; then what is asked for is taken in.
pub(super) fn is_asked(
    record: &mut Record,
    update: &Update,
    approval: &Approval,
    now: Now,
    acts: &mut Vec<Act>,
) -> bool {
    let is_it = |current: &mut Box<Tracked>| current.asked().is_some() && current.update.target() == update.target();
    let Some(mut current) = record.current.take_if(is_it) else { return false };
    if let Some(known) = current.approval.as_mut().filter(|known| known.needed != approval.needed) {
        known.needed = approval.needed;
        record.current = Some(current);
        recount(record, now, acts);
        return true;
    }
    record.current = Some(current);
    true
}

/// People are asked about it next, if it would be taken.
pub(super) fn rehearse(record: &mut Record, update: Update, approval: Approval, now: Now, acts: &mut Vec<Act>) {
    record.under_way = Some(UnderWay::Rehearsing);
    acts.push(Act::Rehearse);
    replace(record, update, Phase::Proposed, now, acts);
    if let Some(current) = &mut record.current {
        let known = current.approval.take().map(|known| *known).unwrap_or_default();
        current.approval = Some(Box::new(Approval { needed: approval.needed, deadline: approval.deadline, ..known }));
    }
}

/// Whether it would be taken: nobody is asked about what would be refused afterwards.
pub(super) fn rehearsed(record: &mut Record, current: Tracked, rehearsal: Rehearsal, now: Now, acts: &mut Vec<Act>) {
    decide(acts);
    if let Rehearsal::Refused(why) = rehearsal {
        acts.push(Act::Announce(News::Refused(current.update.clone(), why.clone())));
        record.wait(super::Why::NotWritten, REFUSED, now.since);
        let reason = Reason::new(Code::AdmissionRefused, why);
        let phase = Phase::Waiting { reason: reason.clone() };
        return record.current = Some(Box::new(save_as(current, phase, Some(reason), now, acts)));
    }
    record.rare.wait = None;
    let unknown = if let Rehearsal::Unknown(why) = rehearsal { Some(Arc::from(why)) } else { None };
    let approval = current.approval.clone().unwrap_or_default();
    acts.push(Act::Announce(News::ApprovalNeeded(current.update.clone(), *approval, unknown)));
    record.current = Some(Box::new(waiting(current, false, now, acts)));
}

/// What people have said of it, all of it.
pub(super) fn reviewed(record: &mut Record, reviews: Vec<Review>, now: Now, acts: &mut Vec<Act>) {
    record.rare.reviews = reviews;
    recount(record, now, acts);
}

/// It is sure who votes, or why it is not; which is remembered, however far the update is.
pub(super) fn voting(record: &mut Record, voting: Result<Proved, Arc<str>>, now: Now, acts: &mut Vec<Act>) {
    let is_open = |current: &mut Box<Tracked>| !current.phase.is_over() && current.approval.is_some();
    let Some(mut current) = record.current.take_if(is_open) else { return };
    let Some(approval) = &mut current.approval else { return };
    let before = (approval.void, approval.unsure);
    match &voting {
        Err(_) => approval.unsure = true,
        Ok(Proved { at, void }) => {
            let was_sure = !std::mem::take(&mut approval.unsure);
            approval.void = approval.void.max(if was_sure { *void } else { Some(*at) });
            // Nobody could vote meanwhile.
            if !was_sure {
                let grace = now.at.checked_add(GRACE).ok();
                approval.deadline =
                    approval.deadline.map(|deadline| grace.map_or(deadline, |grace| deadline.max(grace)));
            }
        }
    }
    let is_news = before.1 != approval.unsure || approval.unsure && before.0 != approval.void;
    match voting {
        Err(why) if current.asked().is_some() => {
            let reason = Reason::new(Code::ApprovalsUnguarded, &*why);
            let phase = Phase::Waiting { reason: reason.clone() };
            current = Box::new(save_as(*current, phase, Some(reason), now, acts));
        }
        _ if is_news && current.is_recorded() => acts.push(Act::Save(current.clone())),
        _ => {}
    }
    record.current = Some(current);
    recount(record, now, acts);
}

/// Nobody is waited for any more.
pub(super) fn expire(record: &mut Record, now: Now, acts: &mut Vec<Act>) {
    let is_late = |current: &mut Box<Tracked>| {
        let asked = current.asked().filter(|asked| !asked.is_reached() && !asked.unsure);
        asked.and_then(|asked| asked.deadline).is_some_and(|deadline| deadline <= now.at)
    };
    let Some(current) = record.current.take_if(is_late) else { return };
    let far = current.approval.as_ref().map(|approval| approval.shown()).unwrap_or_default();
    let message = format!("{far} in time, and no more; it is not asked for again before a newer one");
    refused(record, *current, Phase::Expired, Reason::new(Code::Expired, message), now, acts);
}

/// What people have said counts as far as it is sure who they are.
pub(super) fn recount(record: &mut Record, now: Now, acts: &mut Vec<Act>) {
    let is_written = record.under_way == Some(UnderWay::Writing);
    let Some(mut current) = record.current.take_if(|current| !current.phase.is_over()) else { return };
    let target = current.update.target();
    let Some(approval) = &mut current.approval else { return record.current = Some(current) };
    // What is said while it is not sure who votes neither ends it nor counts, also in the next life of the program.
    if approval.unsure {
        record.current = Some(current);
        return asked(record, acts);
    }
    let (votes, ignored) = count(&record.rare.reviews, &target, approval.void);
    let is_any_void = ignored.iter().any(|(_, why)| *why == Ignored::Void);
    approval.votes = votes;
    let is_open = current.asked().is_some() || matches!(current.phase, Phase::Proposed | Phase::Applying);
    if let Some(no) = current.approval.as_ref().and_then(|approval| approval.rejection()).cloned()
        && is_open
        && !is_written
    {
        let reason = Reason::new(Code::Rejected, said_no(&no));
        return refused(record, *current, Phase::Rejected, reason, now, acts);
    }
    if current.asked().is_some() && !current.approval.as_ref().is_some_and(|approval| approval.unsure) {
        current = Box::new(waiting(*current, is_any_void, now, acts));
    }
    record.current = Some(current);
    asked(record, acts);
}

fn said_no(Vote { by, reason, at, .. }: &Vote) -> String {
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("{by} rejected it at {}; it is not asked for again before a newer one{why}", shown(*at))
}

/// It waits for people, who see how far it is, and whether any of them said so in vain.
fn waiting(current: Tracked, is_any_void: bool, now: Now, acts: &mut Vec<Act>) -> Tracked {
    let approval = current.approval.clone().unwrap_or_default();
    let until = match approval.deadline {
        _ if approval.is_reached() => ": it goes when nothing else keeps it, as `supercargo explain` says".to_owned(),
        Some(at) => format!(", until {}", shown(at)),
        None => String::new(),
    };
    let void = approval
        .void
        .filter(|_| is_any_void)
        .map(|at| format!("; what was said up to {at} does not count"))
        .unwrap_or_default();
    let overridden = approval.approvers().find(|vote| vote.overrides);
    let overridden =
        overridden.map(|vote| format!("; {} overrides its windows: {}", vote.by, vote.reason)).unwrap_or_default();
    let message = format!("{}{until}{void}{overridden}", approval.shown());
    let reason = Reason::new(Code::Approval, message);
    save_as(current, Phase::Waiting { reason: reason.clone() }, Some(reason), now, acts)
}

/// It is not asked for again, nor are its images under another update's name.
fn refused(record: &mut Record, current: Tracked, phase: Phase, reason: Reason, now: Now, acts: &mut Vec<Act>) {
    (record.rare.wait, record.rare.together) = (None, None);
    for change in current.update.changes() {
        let (container, to) = (change.container.clone(), change.to.clone());
        record.refuse(Refused { container, init: change.init, to, at: now.at, reason: reason.clone() });
    }
    acts.push(Act::Announce(News::Refusal(current.update.clone(), reason.clone())));
    acts.push(Act::SaveState(record.state(current.update.workload.clone())));
    record.current = Some(Box::new(save_as(current, phase, Some(reason), now, acts)));
    asked(record, acts);
}
