//! The way back to what ran before: by itself where an update failed by its image's fault, or because a person wishes it.
//!
//! It is a phase of the update that is put back, so it is never put back itself. Nothing of another update is begun
//! meanwhile.

use super::{
    Act, Aim, Now, Proposal,
    answers::{CHECK, FAILED, OTHER_IMAGES, REFUSED, STALE, save_as, supersede},
    decide,
    reading::{read, waits_to_read},
};
use crate::domain::{
    image::{Digest, ImageRef},
    reason::{Code, Reason},
    rollback::Rollback,
    rollout::{Fault, Following},
    target::Route,
    update::{
        Change, Hold, Item, LastUpdate, News, Outcome, Phase, Quarantined, Record, Rollout, Standing, Tracked, Update,
        Way, Written, rare::Why, record::UnderWay,
    },
    wish::Wish,
    workload::Workload,
};

const ELSEWHERE: &str = "what ran before is of another repository";

/// Whether the way back leads to another repository: whoever can write records must not have any image set by that.
fn is_elsewhere(update: &Update) -> bool {
    update.changes().any(|change| change.from.repository != change.to.repository)
}

/// An update does not run. All of it goes back where the workload asks for that and nothing speaks against it; what is at
/// fault is not set again.
pub(super) fn failed(record: &mut Record, why: String, faults: &[Fault], now: Now, acts: &mut Vec<Act>) {
    let is_asked = record.rare.following.as_ref().is_some_and(|following| following.rollback == Rollback::Auto);
    let Some(mut current) = record.current.take() else { return };
    let bad = |fault: &Fault| {
        let (name, init) = fault.container.as_ref()?;
        let item = current.update.items.iter().find(|item| (&item.change.container, item.change.init) == (name, *init));
        Some(quarantined(item?, &fault.text, &fault.image_id, now))
    };
    let bad: Vec<Quarantined> = faults.iter().filter_map(bad).collect();
    let against = match record.template_before(&current.update) {
        _ if bad.is_empty() => Some("that its image is at fault is not sure".to_owned()),
        Err(unknown) => Some(unknown),
        _ if is_elsewhere(&current.update) => Some(ELSEWHERE.to_owned()),
        Ok(_) => None,
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
    // First, so that nothing goes back that is not in quarantine; where both wait for the store, `recover` sees to that.
    if !bad.is_empty() {
        bad.into_iter().for_each(|one| record.quarantine(one));
        acts.push(Act::SaveState(record.state(workload)));
    }
    *current = save_as(*current, phase, Some(reason), now, acts);
    record.current = Some(current);
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
        Outcome::Blocked(reason) if reason.code == Code::RequestClosed => {
            return end(record, current, Phase::Failed, Rollout::Failed(closed(&reason)), now, acts);
        }
        Outcome::Blocked(reason) | Outcome::MovedBack(reason, _) => (reason, CHECK),
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
        Standing::Blocked(reason) if reason.code == Code::RequestClosed => {
            return end(record, current, Phase::Failed, Rollout::Failed(closed(&reason)), now, acts);
        }
        Standing::InGit(reason, _) | Standing::Blocked(reason) | Standing::MovedBack(reason, _) => reason,
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

/// People have said no to it: nothing newer is to wait for it.
fn closed(reason: &Reason) -> Reason {
    Reason::new(Code::RollbackNotPossible, format!("it does not run, and is not rolled back: {}", reason.message))
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
pub(super) fn compare_images(
    record: &mut Record,
    current: Tracked,
    workload: &Workload,
    now: Now,
    acts: &mut Vec<Act>,
) -> Option<(Tracked, &'static str)> {
    let (Some(back), Some(way)) = (current.back(), current.way()) else { return None };
    if is_elsewhere(&current.update) {
        return Some((current, ELSEWHERE));
    }
    let is_ours = LastUpdate::of(workload).is_some_and(|note| note.proves(&back));
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
            let Some(gone) = back.changes().find(is_gone) else { return Some((current, OTHER_IMAGES)) };
            let message = format!("the workload has no container {} any more", gone.container);
            let reason = Reason::new(Code::RollbackNotPossible, message);
            end(record, current, Phase::Failed, Rollout::Failed(reason), now, acts);
        }
    }
    None
}

/// A person wishes that it goes back. That is carried out once, and not while anything is under way.
pub(super) fn wished(
    record: &mut Record,
    wish: Wish,
    aim: Aim,
    now: Now,
    acts: &mut Vec<Act>,
) -> Option<(bool, Reason)> {
    // Who has moved what we set is to be known before: what was moved back is held, whatever this puts back.
    if record.under_way.is_none() && record.is_moved(&aim.workload) {
        read(record, now, acts);
    }
    if record.under_way.is_some() || waits_to_read(record) {
        record.rare.wish = Some(Box::new(wish));
        return None;
    }
    let waits = aim.kept.as_ref().map(|kept| format!("; it waits: {}", kept.message)).unwrap_or_default();
    Some(match put_back(record, &wish, aim, now, acts) {
        Ok(message) => (true, Reason::new(Code::RolledBack, format!("{message}{waits}"))),
        Err(why) => (false, Reason::new(Code::RollbackNotPossible, why)),
    })
}

/// Begins the way back that a person wishes for; what that is, or why there is none.
fn put_back(record: &mut Record, wish: &Wish, aim: Aim, now: Now, acts: &mut Vec<Act>) -> Result<String, String> {
    let Aim { workload, route, to, .. } = aim;
    record.belongs_to(&workload);
    let told = |changes: &[Change]| {
        let told = |change: &Change| format!("{}: {} to {}", change.container, change.to, change.from);
        changes.iter().map(told).collect::<Vec<_>>().join(", ")
    };
    // By itself, or the process ended before it was remembered that this was wished.
    if let Some(current) = record.current().filter(|current| current.way().is_some()) {
        let changes: Vec<Change> = current.update.changes().cloned().collect();
        let is_other = |to: &Change| {
            changes.iter().any(|it| (&it.container, it.init) == (&to.container, to.init) && it.from != to.to)
        };
        if to.iter().flatten().any(is_other) {
            return Err(format!("it goes back already ({}); wish again when that has ended", told(&changes)));
        }
        leave(record, &changes, wish, now);
        return Ok(told(&changes));
    }
    let changes = match to {
        Some(to) => back_to(&workload, &to)?,
        None => back_to_good(record, &workload)?,
    };
    let items = changes.iter().cloned().map(|change| Item { policy: "rollback".into(), ..Item::from(change) });
    let update = Update::new(workload.id.clone(), items.collect(), route, now.at);
    let update = Update { uid: workload.uid.clone(), ..update };
    if is_elsewhere(&update) {
        return Err(ELSEWHERE.to_owned());
    }
    leave(record, &changes, wish, now);
    let phase = Phase::RollingBack { way: Way::Due };
    let mut next = Tracked { update, phase: phase.clone(), approval: None, log: Vec::new() };
    if let Some(current) = record.current.take_if(|current| !current.phase.is_over()) {
        match current.update.id == next.update.id {
            // It is recorded as it was decided and approved.
            true => next = *current,
            false => supersede(record, *current, "a person wishes what ran before", now, acts),
        }
    }
    (record.rare.wait, record.rare.together) = (None, None);
    let reason = Reason::new(Code::RolledBack, wish.who());
    record.current = Some(Box::new(save_as(next, phase, Some(reason), now, acts)));
    Ok(told(&changes))
}

/// What is left is not set again before a newer one.
fn leave(record: &mut Record, changes: &[Change], wish: &Wish, now: Now) {
    for change in changes {
        record.keep_from(Hold::on(change, change.from.to_string(), wish.by.clone(), now.at));
    }
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

/// The image by its digest: its own, that of its tag when it was chosen, or that of what the pod pulled.
pub(super) fn quarantined(item: &Item, evidence: &str, image_id: &str, now: Now) -> Quarantined {
    let Change { container, init, to, .. } = &item.change;
    let chosen = item.evidence.as_ref().and_then(|evidence| evidence.digest.clone());
    let pulled = image_id.rsplit_once('@').and_then(|(_, digest)| Digest::parse(digest).ok());
    Quarantined {
        container: container.clone(),
        init: *init,
        to: to.clone(),
        digest: to.digest.clone().or(chosen).or(pulled),
        at: now.at,
        evidence: evidence.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use jiff::Timestamp;

    use super::*;
    use crate::domain::{
        policy::{NamedPolicies, Options, Policy},
        rollout::{Blame, Pods, RolloutView, Times},
        update::{Event, Judging, LAST_UPDATE, LastUpdate, PhaseName, step::step},
        wish::What,
        workload::{Container, Observed},
    };

    const SINCE: Duration = Duration::from_secs(1000);
    const NOW: Now = Now { at: Timestamp::UNIX_EPOCH, since: SINCE };

    fn image(n: usize) -> ImageRef {
        ImageRef::parse(&format!("r.io/web:1.0.{n}")).unwrap()
    }

    fn update() -> Update {
        let change = Change { container: "web".into(), init: false, from: image(0), to: image(1) };
        let workload = "shop/Deployment/web".parse().unwrap();
        let update = Update::new(workload, vec![Item::from(change)], Route::Cluster, NOW.at);
        Update { uid: "u1".into(), ..update }
    }

    /// As it runs that image, by whom the note says, if there is one.
    fn running(n: usize, note: Option<&Update>) -> Arc<Workload> {
        let note = note.map(|update| {
            let changes = update.changes().cloned().collect();
            (LAST_UPDATE.to_owned(), LastUpdate { id: update.id.clone(), at: NOW.at, changes }.to_string())
        });
        let container = Container { name: "web".into(), image: image(n).to_string().into(), init: false, index: 0 };
        Arc::new(Workload {
            id: update().workload,
            uid: "u1".into(),
            resource_version: "1".into(),
            annotations: note.into_iter().collect::<BTreeMap<_, _>>().into(),
            labels: BTreeMap::new(),
            written: None,
            has_annotations: true,
            containers: vec![container],
            owner: None,
            instance: None,
            pull_secrets: Vec::new(),
        })
    }

    fn after(record: Record, events: impl IntoIterator<Item = Event>) -> (Record, Vec<Act>) {
        events.into_iter().fold((record, Vec::new()), |(record, _), event| step(record, event, NOW))
    }

    fn rolls(available: i64, rollback: Rollback) -> Event {
        let (uid, wanted) = ("u1".into(), 1);
        let view = RolloutView { uid, wanted, total: 1, updated: 1, available, ..RolloutView::default() };
        Event::Rollout(view, times(), rollback)
    }

    fn times() -> Times {
        Times { settle: Duration::ZERO, fault: Duration::ZERO, ..Times::default() }
    }

    /// The images of these containers are at fault.
    fn crash(containers: &[&str]) -> Event {
        let fault = |name: &&str| Fault {
            blame: Blame::Image,
            container: Some(((*name).into(), false)),
            image_id: String::new(),
            text: "it crashes".into(),
        };
        Event::Pods(Pods { faults: containers.iter().map(fault).collect(), ..Pods::default() }, times())
    }

    /// One whose image is at fault; what it replaced was available, or not.
    fn failed(rollback: Rollback, was_done: bool) -> (Record, Vec<Act>) {
        fails(&update(), rollback, was_done, crash(&["web"]))
    }

    /// One that is written, and of whose pods that is said.
    fn fails(update: &Update, rollback: Rollback, was_done: bool, pods: Event) -> (Record, Vec<Act>) {
        let proposal = || Proposal::Update(update.clone(), false);
        let written = Written { was_done, template: "t".into(), ..Written::default() };
        let events = [
            Event::Proposed(proposal()),
            Event::Turn(Route::Cluster, proposal()),
            Event::Written(update.id.clone(), Outcome::Applied(written)),
            rolls(0, rollback),
            pods,
        ];
        after(Record::default(), events)
    }

    fn phase(record: &Record) -> PhaseName {
        record.current().unwrap().phase.name()
    }

    fn code(record: &Record) -> Code {
        record.current().unwrap().reason().unwrap().code
    }

    fn writing(record: Record) -> (Record, Update) {
        let back = record.way_back().unwrap();
        let (record, acts) = after(record, [Event::Proposed(Proposal::Back(Route::Cluster))]);
        assert_eq!(acts, [Act::Queue(Route::Cluster)]);
        let (record, acts) = after(record, [Event::Turn(Route::Cluster, Proposal::Back(Route::Cluster))]);
        assert_eq!(acts, [Act::Write]);
        (record, back)
    }

    #[rstest::rstest]
    #[case(Rollback::Auto, true, PhaseName::RollingBack, Code::RolloutFailed)]
    #[case(Rollback::Auto, false, PhaseName::Failed, Code::RollbackNotPossible)]
    #[case(Rollback::Never, true, PhaseName::Failed, Code::RolloutFailed)]
    fn what_fails_goes_back_where_that_is_asked_for_and_sure(
        #[case] rollback: Rollback,
        #[case] was_done: bool,
        #[case] expected: PhaseName,
        #[case] said: Code,
    ) {
        let (record, acts) = failed(rollback, was_done);
        assert_eq!((phase(&record), code(&record)), (expected, said));
        assert_eq!(record.quarantined().len(), 1);
        assert!(
            acts.iter().any(|act| matches!(act, Act::SaveState(state) if state.quarantined.len() == 1)),
            "{acts:?}"
        );
    }

    #[test]
    fn where_its_quarantine_was_not_written_before_the_process_ended_it_is_made_again() {
        let (record, _) = failed(Rollback::Auto, true);
        let found = record.current().unwrap().clone();
        let recorded = || Event::Recorded(Box::new(found.clone()), running(1, Some(&found.update)));
        let (anew, acts) = step(Record::default(), recorded(), NOW);
        let quarantine = |record: &Record| {
            record.quarantined().iter().map(|one| (one.container.clone(), one.to.clone())).collect::<Vec<_>>()
        };
        assert_eq!(quarantine(&anew), quarantine(&record));
        assert!(acts.iter().any(|act| matches!(act, Act::SaveState(_))), "{acts:?}");
        // One that is known stays as it is.
        let (again, _) = step(anew.clone(), recorded(), NOW);
        assert_eq!(again.quarantined(), anew.quarantined());
        // Nor is it where a person has freed it since.
        let mut freed = record;
        freed.resume(false, NOW.at);
        let (freed, _) = step(freed, recorded(), NOW);
        assert_eq!(freed.quarantined(), []);
    }

    #[rstest::rstest]
    #[case::one_of_them(&["side"], "it crashes")]
    #[case::both(&["side", "web"], "containers side, web do not run: it crashes")]
    fn all_containers_go_back_and_the_image_of_each_that_is_at_fault_is_in_quarantine(
        #[case] broken: &[&str],
        #[case] said: &str,
    ) {
        let side = Change { container: "side".into(), ..update().changes().next().unwrap().clone() };
        let items = update().items.into_iter().chain([Item::from(side)]).collect();
        let both = Update { uid: "u1".into(), ..Update::new(update().workload, items, Route::Cluster, NOW.at) };
        let (record, acts) = fails(&both, Rollback::Auto, true, crash(broken));
        assert_eq!(record.current().unwrap().reason().unwrap().message, said);
        let quarantined: Vec<_> = record.quarantined().iter().map(|one| &*one.container).collect();
        assert_eq!(quarantined, broken);
        // That is written before what goes back, in one piece.
        let saved: Vec<_> = acts.iter().filter(|act| matches!(act, Act::Save(_) | Act::SaveState(_))).collect();
        assert!(
            matches!(&saved[..], [Act::SaveState(state), Act::Save(_)] if state.quarantined == record.quarantined()),
            "{acts:?}"
        );
        let (_, back) = writing(record);
        let back: Vec<_> = back.changes().map(|change| (&*change.container, change.to.clone())).collect();
        assert_eq!(back, [("web", image(0)), ("side", image(0))]);
    }

    #[test]
    fn it_is_written_once_followed_and_never_put_back_itself() {
        let (record, _) = failed(Rollback::Auto, true);
        let (record, back) = writing(record);
        let changes: Vec<_> = back.changes().map(|change| (change.from.clone(), change.to.clone())).collect();
        assert_eq!(changes, [(image(1), image(0))]);
        assert_eq!(back.puts_back.clone().unwrap().template.as_deref(), Some("t"));
        let applied = Event::Written(back.id.clone(), Outcome::Applied(Written::default()));
        let (record, acts) = after(record, [applied]);
        assert!(acts.contains(&Act::Follow(true)) && record.way_back().is_none(), "{acts:?}");
        let (ended, _) = after(record.clone(), [rolls(1, Rollback::Auto)]);
        assert_eq!((phase(&ended), code(&ended)), (PhaseName::RolledBack, Code::RolledBack));
        let (ended, _) = after(record, [rolls(0, Rollback::Auto), crash(&["web"])]);
        assert_eq!((phase(&ended), code(&ended)), (PhaseName::Failed, Code::RollbackFailed));
        assert_eq!(ended.quarantined().len(), 1, "what ran before is not put in quarantine");
    }

    #[rstest::rstest]
    #[case(Outcome::Refused("no".into()), Code::AdmissionRefused)]
    #[case(Outcome::Failed("away".into()), Code::WriteFailed)]
    #[case(Outcome::Committed(Reason::new(Code::Committed, "c")), Code::Committed)]
    fn what_is_not_written_is_tried_again_and_never_another_image(#[case] outcome: Outcome, #[case] said: Code) {
        let (record, back) = writing(failed(Rollback::Auto, true).0);
        let (record, _) = after(record, [Event::Written(back.id.clone(), outcome)]);
        assert_eq!((phase(&record), code(&record)), (PhaseName::RollingBack, said));
        assert_eq!(record.way_back().unwrap().id, back.id);
        let newer = Update { items: vec![], ..update() };
        let (record, acts) = after(record, [Event::Proposed(Proposal::Update(newer, false))]);
        assert!(acts.is_empty() && record.wakes_at().is_some_and(|at| at > SINCE), "{acts:?}");
    }

    /// What the images say while it is to be written, and after it was; whether our note stands there.
    #[rstest::rstest]
    #[case(1, false, PhaseName::RollingBack, true)]
    #[case(0, true, PhaseName::RollingBack, false)]
    #[case(0, false, PhaseName::Superseded, false)]
    #[case(2, false, PhaseName::Superseded, false)]
    #[case(1, true, PhaseName::Superseded, false)]
    fn the_images_say_how_far_it_is_after_a_restart(
        #[case] n: usize,
        #[case] is_ours: bool,
        #[case] expected: PhaseName,
        #[case] is_due: bool,
    ) {
        let (record, acts) = failed(Rollback::Auto, true);
        let saved = acts.iter().find_map(|act| if let Act::Save(saved) = act { Some(saved.clone()) } else { None });
        let state = record.state(update().workload);
        let back = record.way_back().unwrap();
        let workload = running(n, is_ours.then_some(&back));
        let again =
            [Event::Remembered(state), Event::Recorded(saved.unwrap(), workload.clone()), Event::Known(workload)];
        let (record, acts) = after(Record::default(), again);
        assert_eq!(phase(&record), expected);
        assert_eq!(record.way_back().is_some(), is_due);
        // Of what was written, and moved on by somebody since, there is a record of its own.
        let saves = acts.iter().filter(|act| matches!(act, Act::Save(_))).count();
        assert_eq!(saves, usize::from(n == 1 && is_ours), "{acts:?}");
    }

    fn wish(generation: i64) -> Box<Wish> {
        let (object, by, on_behalf_of, reason) = ("o".into(), "alice".into(), None, "slow".into());
        Box::new(Wish { object, generation, by, on_behalf_of, reason, what: What::Rollback(None) })
    }

    fn wishes(generation: i64, n: usize) -> Event {
        let aim = Aim { workload: running(n, None), route: Route::Cluster, to: None, kept: None };
        Event::Wished(wish(generation), update().workload, Ok(Some(aim)))
    }

    #[test]
    fn a_wish_is_carried_out_once_and_what_is_left_is_not_set_again() {
        let (record, _) = failed(Rollback::Never, true);
        let (record, acts) = after(record, [wishes(3, 1)]);
        assert_eq!(phase(&record), PhaseName::RollingBack);
        let answer = record.answer().unwrap();
        assert!(answer.done && answer.generation == 3, "{answer:?}");
        assert!(record.hold(update().changes().next().unwrap()).is_some());
        assert_eq!(acts.iter().filter(|act| matches!(act, Act::Save(_) | Act::SaveState(_))).count(), 2);
        assert_eq!(record.way_back().unwrap().puts_back.unwrap().template, None);
        // Neither the same again nor an older one, but one of another object.
        for generation in [3, 2] {
            assert!(after(record.clone(), [wishes(generation, 1)]).1.is_empty());
        }
        let (record, _) = after(record, [wishes(4, 1)]);
        assert!(record.answer().unwrap().done, "it goes back already");
    }

    #[test]
    fn a_wish_waits_for_the_end_of_what_is_under_way_and_the_newer_of_two_counts() {
        let (record, back) = writing(failed(Rollback::Auto, true).0);
        let (record, acts) = after(record, [wishes(3, 1), wishes(2, 1)]);
        assert!(acts.is_empty() && record.answer().is_none());
        let (_, acts) = after(record, [Event::Written(back.id, Outcome::Applied(Written::default()))]);
        assert!(acts.contains(&Act::Aim(wish(3))), "{acts:?}");
    }

    #[test]
    fn a_wish_without_anything_that_ran_before_or_without_its_container_is_refused() {
        let refused = |record: Record, event| {
            let (record, _) = after(record, [event]);
            let answer = record.answer().unwrap().clone();
            assert!(!answer.done && answer.reason.code == Code::RollbackNotPossible, "{answer:?}");
            answer.reason.message
        };
        assert_eq!(refused(Record::default(), wishes(1, 0)), "supercargo has set no image of it");
        let message = refused(failed(Rollback::Never, false).0, wishes(1, 1));
        assert!(message.contains("it is not known what ran before"), "{message}");
        let mut workload = (*running(1, None)).clone();
        workload.containers[0].name = "other".into();
        let aim = Aim { workload: Arc::new(workload), route: Route::Cluster, to: None, kept: None };
        let event = Event::Wished(wish(1), update().workload, Ok(Some(aim)));
        let message = refused(failed(Rollback::Never, true).0, event);
        assert_eq!(message, "the workload has no container web any more");
    }

    /// One that ran, and was left as a person wished.
    fn left() -> Record {
        let proposal = || Proposal::Update(update(), false);
        let written = Written { was_done: true, template: "t".into(), ..Written::default() };
        let events = [
            Event::Proposed(proposal()),
            Event::Turn(Route::Cluster, proposal()),
            Event::Written(update().id, Outcome::Applied(written)),
            rolls(1, Rollback::Never),
        ];
        let (record, _) = after(Record::default(), events);
        assert_eq!(phase(&record), PhaseName::Succeeded);
        let (record, back) = writing(after(record, [wishes(3, 1)]).0);
        let (record, _) = after(record, [Event::Written(back.id, Outcome::Applied(Written::default()))]);
        let (record, _) = after(record, [rolls(1, Rollback::Never)]);
        assert_eq!(phase(&record), PhaseName::RolledBack);
        record
    }

    #[test]
    fn what_was_left_is_no_way_back_for_who_wishes_once_more() {
        let (record, _) = after(left(), [wishes(4, 0)]);
        let answer = record.answer().unwrap();
        assert!(!answer.done && answer.reason.message.contains("--to"), "{answer:?}");
        assert_eq!(phase(&record), PhaseName::RolledBack);
        // It may be named.
        let to = Some(vec![Change { from: image(0), to: image(1), ..update().changes().next().unwrap().clone() }]);
        let aim = Aim { workload: running(0, None), route: Route::Cluster, to, kept: None };
        let (record, _) = after(record, [Event::Wished(wish(5), update().workload, Ok(Some(aim)))]);
        assert!(record.answer().unwrap().done);
        let images: Vec<_> = record.way_back().unwrap().changes().map(|change| change.to.clone()).collect();
        assert_eq!(images, [image(1)]);
    }

    #[test]
    fn while_it_goes_back_it_goes_nowhere_else() {
        let (record, _) = failed(Rollback::Auto, true);
        let to = |n: usize| {
            let to = Some(vec![Change { from: image(1), to: image(n), ..update().changes().next().unwrap().clone() }]);
            Aim { workload: running(1, None), route: Route::Cluster, to, kept: None }
        };
        let wished = |n: usize| Event::Wished(wish(3), update().workload, Ok(Some(to(n))));
        let (other, _) = after(record.clone(), [wished(7)]);
        let answer = other.answer().unwrap();
        assert!(!answer.done && answer.reason.message.contains("it goes back already"), "{answer:?}");
        assert!(after(record, [wished(0)]).0.answer().unwrap().done);
    }

    #[test]
    fn of_what_goes_back_the_registry_is_asked_whether_it_has_that() {
        let (record, back) = writing(failed(Rollback::Auto, true).0);
        let applied = Event::Written(back.id.clone(), Outcome::Applied(Written::default()));
        let container = Some(("web".into(), false));
        let fault = Fault { blame: Blame::Pull, container, image_id: String::new(), text: "ImagePullBackOff".into() };
        let pods = Event::Pods(Pods { faults: vec![fault], ..Pods::default() }, times());
        let (record, acts) = after(record, [applied, rolls(0, Rollback::Auto), pods]);
        let asked =
            acts.iter().find_map(|act| if let Act::AskPull(item) = act { Some(item.change.clone()) } else { None });
        assert_eq!(asked.as_ref().map(|change| &change.to), Some(&image(0)), "{acts:?}");
        let (record, _) = after(record, [Event::Pulled(Box::new(asked.unwrap()), true)]);
        assert_eq!(code(&record), Code::RollbackFailed);
    }

    #[test]
    fn one_that_people_closed_is_given_up_and_refusals_are_tried_again_ever_later() {
        let (record, back) = writing(failed(Rollback::Auto, true).0);
        let closed = Outcome::Blocked(Reason::new(Code::RequestClosed, "request 7 was closed unmerged"));
        let (ended, _) = after(record.clone(), [Event::Written(back.id.clone(), closed)]);
        assert_eq!((phase(&ended), code(&ended)), (PhaseName::Failed, Code::RollbackNotPossible));
        let (mut record, mut at, mut delays) = (record, SINCE, Vec::new());
        for _ in 0..4 {
            let now = Now { at: NOW.at, since: at };
            record = step(record, Event::Written(back.id.clone(), Outcome::Refused("no".into())), now).0;
            let wakes = record.wakes_at().unwrap();
            delays.push(wakes - at);
            at = wakes;
            let now = Now { at: NOW.at, since: at };
            record = step(record, Event::Woke, now).0;
            record = step(record, Event::Proposed(Proposal::Back(Route::Cluster)), now).0;
            record = step(record, Event::Turn(Route::Cluster, Proposal::Back(Route::Cluster)), now).0;
        }
        assert!(delays.is_sorted_by(|one, next| one < next) && delays[0] >= Duration::from_secs(30), "{delays:?}");
    }

    #[test]
    fn why_it_goes_back_is_not_forgotten_whatever_keeps_it() {
        let (mut record, _) = failed(Rollback::Auto, true);
        for n in 0..50 {
            let reason = Reason::new(Code::Suspended, format!("{n}"));
            record = after(record, [Event::Proposed(Proposal::Kept(reason))]).0;
        }
        let back = record.way_back().unwrap();
        assert_eq!(back.puts_back.unwrap().template.as_deref(), Some("t"));
        assert!(record.current().unwrap().log.len() <= crate::domain::update::LOG);
    }

    #[test]
    fn who_sets_by_hand_what_was_left_moves_it_on() {
        let policy = Policy::parse("minor", &Options::default(), &NamedPolicies::default()).unwrap();
        let judging = Judging { policies: vec![("web".into(), false, policy)], ..Judging::default() };
        let sets = |record: Record, n: usize| {
            let observed =
                Observed { workload: (*running(n, None)).clone(), image_managers: vec![], template: "".into() };
            let events = [Event::Proposed(Proposal::Unsure), Event::Observed(Ok(Some(observed)), judging.clone())];
            let (record, acts) = after(record, events);
            let is_told = |act: &Act| matches!(act, Act::Announce(News::Held(..)));
            (record.holds().len(), acts.iter().any(is_told))
        };
        // A person had wished for what runs.
        assert_eq!(left().holds().len(), 1);
        assert_eq!(sets(left(), 1), (0, false));
        // It was put back by itself.
        let (record, back) = writing(failed(Rollback::Auto, true).0);
        let (record, _) = after(record, [Event::Written(back.id, Outcome::Applied(Written::default()))]);
        let (record, _) = after(record, [rolls(1, Rollback::Auto)]);
        assert_eq!((phase(&record), record.quarantined().len()), (PhaseName::RolledBack, 1));
        assert_eq!(sets(record.clone(), 1), (0, false));
        // From what is newer than that it is a way back all the same.
        let mut newer = record;
        let to = Change { from: image(0), to: image(2), ..update().changes().next().unwrap().clone() };
        newer.set([to].iter(), NOW.at);
        assert_eq!(sets(newer, 1), (1, true));
    }

    #[test]
    fn who_undoes_what_was_set_by_hand_over_ours_is_heard() {
        let policy = Policy::parse("minor", &Options::default(), &NamedPolicies::default()).unwrap();
        let judging = Judging { policies: vec![("web".into(), false, policy)], ..Judging::default() };
        let sees = |record: Record, n: usize, seconds: u64| {
            let now = Now { at: NOW.at, since: NOW.since + std::time::Duration::from_secs(seconds) };
            let workload = running(n, None);
            let observed = Observed { workload: (*workload).clone(), image_managers: vec![], template: "".into() };
            assert!(record.is_moved(&workload));
            let (record, acts) = step(record, Event::Proposed(Proposal::Unsure), now);
            assert!(acts.contains(&Act::Read), "{acts:?}");
            step(record, Event::Observed(Ok(Some(observed)), judging.clone()), now).0
        };
        let mut record = Record::default();
        record.set(update().changes(), NOW.at);
        // A newer one by hand is no hold, and what was ours again after it is.
        let record = sees(record, 2, 100);
        assert_eq!(record.holds().len(), 0);
        let record = sees(record, 1, 200);
        assert_eq!(record.holds().iter().map(|hold| hold.to.clone()).collect::<Vec<_>>(), [image(2)]);
        assert!(!record.is_moved(&running(1, None)));
    }

    #[test]
    fn what_goes_back_does_not_wait_for_ever_as_somebody_moved_another_container() {
        let (record, _) = failed(Rollback::Auto, true);
        // It goes back, and meanwhile what was set in another container before is moved.
        let (reading, acts) = after(record.clone(), [Event::Proposed(Proposal::Unsure)]);
        assert_eq!(acts, [Act::Read]);
        let observed = Observed { workload: (*running(1, None)).clone(), image_managers: vec![], template: "".into() };
        let (record, acts) = after(reading, [Event::Observed(Ok(Some(observed)), Judging::default())]);
        assert!(acts.contains(&Act::Decide), "{acts:?}");
        writing(record.clone());
        // The same when its turn has come.
        let (record, _) = after(record, [Event::Proposed(Proposal::Back(Route::Cluster))]);
        let later = Now { at: NOW.at, since: SINCE + Duration::from_secs(61) };
        let (record, _) = step(record, Event::Asked, later);
        let (_, acts) = step(record, Event::Turn(Route::Cluster, Proposal::Unsure), later);
        assert_eq!(acts, [Act::Read]);
    }

    #[test]
    fn of_a_wish_nothing_is_kept_when_its_workload_is_gone_and_nothing_else_is() {
        let (record, _) = after(Record::default(), [wishes(1, 0)]);
        assert!(!record.answer().unwrap().done);
        let (record, acts) = after(record, [Event::Gone(update().workload)]);
        assert!(record.is_empty(), "{record:?}");
        assert!(acts.iter().any(|act| matches!(act, Act::SaveState(state) if state.is_empty())), "{acts:?}");
        // What was left is remembered, and that it was carried out with it.
        let (record, _) = after(left(), [Event::Gone(update().workload)]);
        assert!(record.answer().is_some());
    }
}
