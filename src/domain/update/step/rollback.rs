//! The way back to what ran before: by itself where an update failed by its image's fault, or because a person wishes it.
//!
//! It is a phase of the update that is put back, so it is never put back itself. Nothing of another update is begun
//! meanwhile.

use std::sync::Arc;

use super::{
    Act, Now, Proposal,
    answers::{CHECK, FAILED, REFUSED, STALE, save_as},
    asked, decide,
    rollout::quarantined,
};
use crate::domain::{
    image::ImageRef,
    reason::{Code, Reason},
    rollback::Rollback,
    rollout::{Fault, Following},
    target::Route,
    update::{
        Change, Item, News, Outcome, Phase, Record, Rollout, Standing, Tracked, Undone, Update, Way, Written, rare::Why,
        record::UnderWay,
    },
    wish::{Answer, What, Wish},
    workload::{Workload, WorkloadId},
};

/// What a wish is about, as far as the wish does not say it.
#[derive(Debug, Clone)]
pub struct Aim {
    /// The workload as it is.
    pub workload: Arc<Workload>,
    /// Where its images are written.
    pub route: Route,
    /// What is to run again, where the wish names an update.
    pub to: Option<Vec<Change>>,
}

/// An update does not run. It goes back where the workload asks for that and nothing speaks against it.
pub(super) fn failed(record: &mut Record, why: String, fault: Option<&Fault>, now: Now, acts: &mut Vec<Act>) {
    let is_asked = record.rare.following.as_ref().is_some_and(|following| following.rollback == Rollback::Auto);
    let Some(mut current) = record.current.take() else { return };
    let bad = fault.and_then(|fault| {
        let (name, init) = fault.container.as_ref()?;
        let item = current.update.items.iter().find(|item| (&item.change.container, item.change.init) == (name, *init));
        Some(quarantined(item?, fault, now))
    });
    let against = match (&bad, record.template_before(&current.update)) {
        (None, _) => Some("that its image is at fault is not sure".to_owned()),
        (_, Err(unknown)) => Some(unknown),
        (Some(_), Ok(_)) => None,
    };
    let (code, phase, why) = match against {
        _ if !is_asked => (Code::RolloutFailed, Phase::Failed, why),
        Some(against) => {
            (Code::RollbackNotPossible, Phase::Failed, format!("{why}; it is not rolled back, as {against}"))
        }
        None => (Code::RolloutFailed, Phase::RollingBack { way: Way::Due }, why),
    };
    let reason = Reason::new(code, why);
    acts.push(Act::Announce(News::Rollout(current.update.clone(), Rollout::Failed(reason.clone()))));
    decide(acts);
    let workload = current.update.workload.clone();
    *current = save_as(*current, phase, Some(reason), now, acts);
    record.current = Some(current);
    if let Some(bad) = bad {
        record.quarantine(bad);
        acts.push(Act::SaveState(record.state(workload)));
    }
}

/// Whether the current update goes back, so that nothing else is begun; then that goes on as far as it may.
pub(super) fn goes_back(record: &mut Record, proposal: &Proposal, now: Now, acts: &mut Vec<Act>) -> bool {
    let Some(way) = record.current().and_then(Tracked::way) else { return false };
    match proposal {
        Proposal::Back(route) if way != Way::Written && !record.waits(now.since) => {
            record.under_way = Some(UnderWay::Queued);
            acts.push(Act::Queue(route.clone()));
        }
        Proposal::Kept(reason) => tell(record, reason.clone(), now, acts),
        _ => {}
    }
    true
}

/// Its turn has come.
pub(super) fn turn(record: &mut Record, proposal: &Proposal, now: Now, acts: &mut Vec<Act>) -> bool {
    let Some(way) = record.current().and_then(Tracked::way) else { return false };
    let is_open = matches!(proposal, Proposal::Back(_)) && !record.waits(now.since);
    match way {
        Way::Due if is_open => {
            record.under_way = Some(UnderWay::Writing);
            acts.push(Act::Write);
        }
        Way::InGit if is_open => {
            record.under_way = Some(UnderWay::Checking);
            acts.push(Act::Check);
        }
        _ => {}
    }
    true
}

/// What is said of it is remembered, if it is new.
fn tell(record: &mut Record, reason: Reason, now: Now, acts: &mut Vec<Act>) {
    let Some(current) = record.current.take() else { return };
    let phase = current.phase.clone();
    record.current = Some(Box::new(save_as(*current, phase, Some(reason), now, acts)));
}

/// What came of writing the way back.
pub(super) fn written(record: &mut Record, mut current: Tracked, outcome: Outcome, now: Now, acts: &mut Vec<Act>) {
    let Some(back) = current.back() else { return };
    let (reason, back_off) = match outcome {
        Outcome::Applied(written) => {
            as_answered(&mut current, &written);
            arrive(record, current, now, acts);
            if record.followed().is_some() {
                record.rare.following = Some(Box::new(Following::of(written.generation, written.template)));
            }
            return;
        }
        Outcome::Committed(reason) | Outcome::Partly(reason, _) => {
            current.phase = Phase::RollingBack { way: Way::InGit };
            acts.push(Act::Announce(News::Committed(back, reason.clone())));
            (reason, CHECK)
        }
        Outcome::Blocked(reason) if reason.code == Code::RollbackNotPossible => {
            return end(record, current, Phase::Failed, Rollout::Failed(reason), now, acts);
        }
        Outcome::Blocked(reason) => (reason, CHECK),
        Outcome::Gone => return record.current = Some(Box::new(current)),
        Outcome::Stale => {
            record.wait(Why::Check, STALE, now.since);
            record.under_way = Some(UnderWay::Reading);
            acts.retain(|act| *act != Act::Decide);
            acts.push(Act::Read);
            return record.current = Some(Box::new(current));
        }
        Outcome::Refused(why) => {
            acts.push(Act::Announce(News::Refused(back, why.clone())));
            (Reason::new(Code::AdmissionRefused, why), REFUSED)
        }
        Outcome::Failed(why) => {
            acts.push(Act::Announce(News::Failed(back, why.clone())));
            (Reason::new(Code::WriteFailed, why), FAILED)
        }
    };
    record.wait(Why::Check, back_off, now.since);
    record.current = Some(Box::new(current));
    tell(record, reason, now, acts);
}

/// How the way back stands in Git.
pub(super) fn checked(record: &mut Record, mut current: Tracked, standing: Standing, now: Now, acts: &mut Vec<Act>) {
    let reason = match standing {
        Standing::InGit(reason, _) | Standing::Blocked(reason) => reason,
        Standing::Due => {
            current.phase = Phase::RollingBack { way: Way::Due };
            decide(acts);
            return record.current = Some(Box::new(current));
        }
        Standing::Failed(why) => Reason::new(Code::WriteFailed, why),
    };
    record.wait(Why::Check, CHECK, now.since);
    record.current = Some(Box::new(current));
    tell(record, reason, now, acts);
}

/// With the images as the server answered them.
fn as_answered(current: &mut Tracked, written: &Written) {
    for Item { change, .. } in &mut current.update.items {
        let answered = written.images.iter().find(|(name, _)| *name == change.container);
        if let Some(image) = answered.and_then(|(_, image)| ImageRef::parse(image).ok()) {
            change.from = image;
        }
    }
}

/// The images are there again that were before.
fn arrive(record: &mut Record, current: Tracked, now: Now, acts: &mut Vec<Act>) {
    record.rare.wait = None;
    let Some(back) = current.back() else { return };
    if back.route == Route::Cluster {
        record.set(back.changes(), now.at);
        acts.push(Act::SaveState(record.state(back.workload.clone())));
    }
    let current = Tracked { phase: Phase::RollingBack { way: Way::Written }, ..current };
    if current.update.can_be_followed() {
        return record.current = Some(Box::new(current));
    }
    runs(record, current, "whether it runs is not followed here", now, acts);
}

/// What was there before runs again.
pub(super) fn runs(record: &mut Record, current: Tracked, note: &str, now: Now, acts: &mut Vec<Act>) {
    let images: Vec<String> = current.update.changes().map(|change| change.from.to_string()).collect();
    let why = current.why_back().map(|(why, _)| why.message.as_str()).unwrap_or_default();
    let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
    let reason = Reason::new(Code::RolledBack, format!("back on {}{note}: {why}", images.join(", ")));
    end(record, current, Phase::RolledBack, Rollout::RolledBack(reason), now, acts);
}

/// What was there before does not run either.
pub(super) fn runs_not(record: &mut Record, current: Tracked, why: &str, now: Now, acts: &mut Vec<Act>) {
    let images: Vec<String> = current.update.changes().map(|change| change.from.to_string()).collect();
    let message = format!("back on {}, which does not run either: {why}; it is not tried again", images.join(", "));
    let reason = Reason::new(Code::RollbackFailed, message);
    end(record, current, Phase::Failed, Rollout::Failed(reason), now, acts);
}

fn end(record: &mut Record, current: Tracked, phase: Phase, rollout: Rollout, now: Now, acts: &mut Vec<Act>) {
    record.rare.wait = None;
    let reason = rollout.reason().cloned();
    acts.push(Act::Announce(News::Rollout(current.update.clone(), rollout)));
    decide(acts);
    record.current = Some(Box::new(save_as(current, phase, reason, now, acts)));
}

/// What the images of a workload say of an update that goes back; why it is not gone on with, if it is not.
pub(super) fn settle(
    record: &mut Record,
    current: Tracked,
    workload: &Workload,
    now: Now,
    acts: &mut Vec<Act>,
) -> Option<(Tracked, &'static str)> {
    let (Some(back), Some(way)) = (current.back(), current.way()) else { return None };
    let is_ours = crate::domain::update::LastUpdate::of(workload).is_some_and(|note| note.proves(&back));
    let (is_back, is_left) = (Record::runs(&back, workload), Record::runs(&current.update, workload));
    match way {
        Way::Written if is_back => record.current = Some(Box::new(current)),
        Way::Due | Way::InGit if is_back && (is_ours || back.route != Route::Cluster) => {
            arrive(record, current, now, acts);
        }
        Way::Due | Way::InGit if is_back => return Some((current, "somebody else has set the same images")),
        Way::Due | Way::InGit if is_left && !is_ours => record.current = Some(Box::new(current)),
        _ => {
            let is_gone = |change: &&Change| {
                !workload.containers.iter().any(|there| there.name == change.container && there.init == change.init)
            };
            let Some(gone) = back.changes().find(is_gone) else { return Some((current, super::recover::OTHER_IMAGES)) };
            let message = format!("the workload has no container {} any more", gone.container);
            let reason = Reason::new(Code::RollbackNotPossible, message);
            end(record, current, Phase::Failed, Rollout::Failed(reason), now, acts);
        }
    }
    None
}

/// A person wishes something. It is carried out once, and not while anything is under way.
pub(super) fn wished(
    record: &mut Record,
    wish: Wish,
    workload: WorkloadId,
    aim: Result<Aim, String>,
    now: Now,
    acts: &mut Vec<Act>,
) {
    let is_older = |other: &Wish| other.object == wish.object && other.generation > wish.generation;
    if !wish.is_new(record.rare.answer.as_deref()) || record.rare.wish.as_deref().is_some_and(is_older) {
        return;
    }
    if record.under_way.is_some() {
        return record.rare.wish = Some(Box::new(wish));
    }
    let What::Rollback(_) = wish.what;
    let said = aim.and_then(|aim| put_back(record, &wish, aim, now, acts));
    let (done, reason) = match said {
        Ok(message) => (true, Reason::new(Code::RolledBack, message)),
        Err(why) => (false, Reason::new(Code::RollbackNotPossible, why)),
    };
    let Wish { object, generation, .. } = wish;
    record.rare.answer = Some(Box::new(Answer { object, generation, at: now.at, done, reason }));
    acts.push(Act::SaveState(record.state(workload)));
    asked(record, acts);
}

/// Begins the way back that a person wishes for; what that is, or why there is none.
fn put_back(record: &mut Record, wish: &Wish, aim: Aim, now: Now, acts: &mut Vec<Act>) -> Result<String, String> {
    let Aim { workload, route, to } = aim;
    record.belongs_to(&workload);
    if record.current().is_some_and(|current| current.way().is_some()) {
        return Err("it is being rolled back already".to_owned());
    }
    let changes = match to {
        Some(to) => back_to(&workload, &to)?,
        None => back_to_good(record, &workload)?,
    };
    let told = |change: &Change| format!("{}: {} to {}", change.container, change.to, change.from);
    let told: Vec<String> = changes.iter().map(told).collect();
    let told = told.join(", ");
    let items = changes.into_iter().map(Item::from).collect();
    let update = Update::new(workload.id.clone(), items, route, now.at);
    let update = Update { uid: workload.uid.clone(), ..update };
    for Change { container, init, from, to } in update.changes().cloned() {
        let (back_to, by) = (from.to_string().into(), wish.by.clone());
        record.undo(Undone { container, init, to, back_to, by, at: now.at });
    }
    let (mut log, is_it) = (Vec::new(), |current: &mut Box<Tracked>| !current.phase.is_over());
    if let Some(current) = record.current.take_if(is_it) {
        match current.update.id == update.id {
            true => log = current.log,
            false => super::recover::supersede(record, *current, "a person wishes what ran before", now, acts),
        }
    }
    (record.rare.wait, record.rare.held) = (None, None);
    let reason = Reason::new(Code::RolledBack, wish.who());
    let phase = Phase::RollingBack { way: Way::Due };
    let current = Tracked { update, phase: phase.clone(), approval: None, log };
    record.current = Some(Box::new(save_as(current, phase, Some(reason), now, acts)));
    Ok(told)
}

/// From what is there to what an update had set.
fn back_to(workload: &Workload, to: &[Change]) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    for Change { container, init, to: image, .. } in to {
        let there = workload.containers.iter().find(|there| there.name == *container && there.init == *init);
        let Some(there) = there else { return Err(format!("the workload has no container {container} any more")) };
        let now = ImageRef::parse(&there.image).map_err(|error| format!("container {container}: {error}"))?;
        if now != *image {
            changes.push(Change { container: container.clone(), init: *init, from: image.clone(), to: now });
        }
    }
    if changes.is_empty() { Err("that is what it runs".to_owned()) } else { Ok(changes) }
}

/// From what was set last to what the same containers ran before.
fn back_to_good(record: &Record, workload: &Workload) -> Result<Vec<Change>, String> {
    let (mut changes, mut unknown) = (Vec::new(), Vec::new());
    for (container, init) in record.set_last() {
        let there = workload.containers.iter().find(|there| *there.name == *container && there.init == init);
        let Some(there) = there else { return Err(format!("the workload has no container {container} any more")) };
        let now = ImageRef::parse(&there.image).map_err(|error| format!("container {container}: {error}"))?;
        match record.ran_other(&container, init, &now) {
            Some(good) => changes.push(Change { container, init, from: good.clone(), to: now }),
            None => unknown.push(container),
        }
    }
    match changes.is_empty() {
        false => Ok(changes),
        true if unknown.is_empty() => Err("supercargo has set no image of it".to_owned()),
        true => Err(format!(
            "of container {} it is not known what ran before; name an update with --to (`supercargo status` shows them)",
            unknown.join(", ")
        )),
    }
}
