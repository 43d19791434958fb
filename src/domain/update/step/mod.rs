//! The life of a workload's updates: what happens, and what is to be done about it. Pure; no other place sets a phase.
//!
//! ```text
//! Proposed ─► Waiting (for people: `votes`) ─► Applying, Rejected, Expired
//!         └─► Applying ─┬─► Progressing ─► Succeeded, Failed (`rollout`)
//!                       ├─► InGit ─► Progressing (the cluster runs it)
//!                       └─► Waiting ─► Applying (what stood in the way has changed)
//!             Progressing ─► RollingBack ─► RolledBack, Failed (`rollback`)
//! ```
//!
//! One that another one takes the place of before it runs, or that nobody wants any more, is Superseded. While something
//! is under way for a workload nothing else is begun; what comes up meanwhile is thought of after it. What was remembered
//! is taken in by `recover`, what the outside answers by `answers`, what a workload says of its rollout by `rollout`.

mod answers;
mod event;
mod moves;
mod reading;
mod recover;
mod rollback;
mod rollout;
mod votes;
mod wishes;

use std::{sync::Arc, time::Duration};

pub use self::event::{Act, Aim, Event, Now, Proposal, Proved};
use self::{
    answers::{checked, supersede, written},
    moves::{compared, observed},
    reading::{BETWEEN, read, waits_to_read},
    recover::{compare_images, kept_elsewhere, known, recorded},
    rollback::goes_back,
    rollout::{follow, judge, stuck},
    votes::{expire, is_asked, recount, rehearse, rehearsed, reviewed, voting},
    wishes::wished,
};
use super::{Bars, Phase, Record, Tracked, Update, Way, rare::Why, record::UnderWay};
use crate::domain::{target::Route, workload::Workload};

/// How long a plan waits for the other looks of its workload: a repository that hangs must not hold up the rest.
const TOGETHER: Duration = Duration::from_secs(10);

/// What an event leads to.
pub fn step(mut record: Record, event: Event, now: Now) -> (Record, Vec<Act>) {
    let mut acts = Vec::new();
    if let Some(what) = unexpected(&record, &event) {
        return (record, vec![Act::Unexpected(what)]);
    }
    let (was_followed, barred, uid) = (record.rare.following.is_some(), record.bars(), record.uid.clone());
    let kept = record.approved_changes();
    // Of one that comes, or comes again, that is to be said anew.
    let mut is_new = matches!(event, Event::Known(_));
    let is_of_rollout = matches!(event, Event::Rollout(..) | Event::Pods(..) | Event::Pulled(..) | Event::Woke);
    expire(&mut record, now, &mut acts);
    happens(&mut record, event, now, &mut acts);
    follow(&mut record, now);
    if is_of_rollout {
        judge(&mut record, now, &mut acts);
        follow(&mut record, now);
    }
    // What cannot be read is not written over: somebody may have held it.
    if record.undecodable().is_some() {
        acts.retain(|act| !matches!(act, Act::SaveState(_)));
    }
    let is_followed = record.rare.following.is_some();
    if was_followed != is_followed {
        acts.push(Act::Follow(is_followed));
    }
    let keeps = record.approved_changes();
    if keeps != kept {
        acts.push(Act::Keep(keeps));
    }
    let is_free = record.under_way.is_none() && !waits_to_read(&record);
    if let Some(wish) = record.rare.wish.take_if(|_| is_free) {
        acts.push(Act::Aim(wish));
    }
    record.rare.read.take_if(|read| *read + BETWEEN <= now.since);
    record.rare.tidy();
    is_new |= uid != record.uid;
    let bars = record.bars();
    if bars != barred || is_new && barred != Bars::default() {
        acts.push(Act::Bar(Box::new(bars)));
    }
    (record, acts)
}

fn happens(record: &mut Record, event: Event, now: Now, acts: &mut Vec<Act>) {
    match event {
        Event::Remembered(state) => record.remember(state),
        Event::Undecodable(why) => {
            record.rare.undecodable = why;
            asked(record, acts);
        }
        Event::KeptElsewhere(workload) => kept_elsewhere(record, workload, acts),
        Event::Recorded(tracked, workload) => recorded(record, *tracked, &workload, now, acts),
        Event::Known(workload) => {
            known(record, &workload, now, acts);
            // It may have been told of before what was remembered of it was.
            compared(record, &workload, acts);
        }
        Event::Seen(workload) => seen(record, &workload, now, acts),
        Event::Gone(workload) => {
            let before = record.state(workload.clone());
            record.forget();
            record.forget_old(now.at);
            let state = record.state(workload);
            if state != before {
                acts.push(Act::SaveState(state));
            }
        }
        Event::Asked => asked(record, acts),
        Event::Proposed(proposal) => proposed(record, proposal, now, acts),
        Event::Turn(route, proposal) => turn(record, &route, proposal, now, acts),
        Event::Written(id, outcome) => {
            end(record, acts);
            let missed = record.rare.missed.take();
            // How it was before it was written says nothing of what came of that.
            let is_before =
                |missed: &Workload| outcome.written().is_some_and(|it| missed.is_before(&it.resource_version));
            let missed = missed.filter(|missed| !is_before(missed));
            if let Some(current) = record.current.take_if(|current| current.is_written_as(&id)) {
                match current.way() {
                    Some(_) => rollback::written(record, *current, outcome, now, acts),
                    None => written(record, *current, outcome, now, acts),
                }
                // What was said meanwhile counts if it was not.
                recount(record, now, acts);
            }
            if let Some(workload) = missed {
                compare_images(record, &workload, now, acts);
            }
        }
        Event::Checked(id, standing) => {
            end(record, acts);
            // Meanwhile the cluster may have come to run it.
            let is_checked = |current: &mut Box<Tracked>| {
                current.is_written_as(&id) && (current.phase.reason().is_some() || current.way() == Some(Way::InGit))
            };
            if let Some(current) = record.current.take_if(is_checked) {
                match current.way() {
                    Some(_) => rollback::checked(record, *current, standing, now, acts),
                    None => checked(record, *current, standing, now, acts),
                }
            }
        }
        Event::Rehearsed(id, rehearsal) => {
            end(record, acts);
            let is_it = |current: &mut Box<Tracked>| {
                current.update.id == id && current.phase == Phase::Proposed && current.approval.is_some()
            };
            if let Some(current) = record.current.take_if(is_it) {
                rehearsed(record, *current, rehearsal, now, acts);
            }
        }
        Event::Reviewed(reviews) => reviewed(record, reviews, now, acts),
        Event::Voting(said) => voting(record, said, now, acts),
        Event::Observed(read, judging) => observed(record, read, &judging, now, acts),
        Event::Rollout(view, times, rollback) => {
            let is_its = record.followed().is_some_and(|update| update.uid == view.uid);
            if let Some(following) = record.rare.following.as_mut().filter(|_| is_its) {
                following.rollback = rollback;
                following.view(view, times);
            }
        }
        Event::Pods(pods, times) => {
            if let Some(following) = &mut record.rare.following {
                following.pods(pods, times);
            }
        }
        Event::Pulled(change, is_refused) => {
            let is_of = |update: &Update| update.changes().any(|its| *its == *change);
            let is_set = |current: &Tracked| current.back().map_or_else(|| is_of(&current.update), |back| is_of(&back));
            let is_its = record.followed().is_some() && record.current().is_some_and(is_set);
            if let Some(following) = record.rare.following.as_mut().filter(|_| is_its) {
                following.pulled((change.container, change.init), is_refused, now.since);
            }
        }
        Event::Ruled(rollback) => {
            if let Some(following) = &mut record.rare.following {
                following.rollback = rollback;
            }
        }
        Event::Stuck(why) => stuck(record, &why, now, acts),
        Event::Wished(wish, workload, aim) => wished(record, *wish, workload, aim, now, acts),
        Event::Woke => {
            let now = now.since;
            if let Some(together) = record.rare.together.as_mut().filter(|together| !together.1 && together.0 <= now) {
                together.1 = true;
                asked(record, acts);
            }
            if let Some(wait) = record.rare.wait.as_mut().filter(|wait| !wait.is_over && wait.until <= now) {
                wait.is_over = true;
                match wait.why {
                    Why::NotWritten => acts.push(Act::Look),
                    Why::Check | Why::Read => asked(record, acts),
                }
            }
        }
    }
}

/// Answers come to what was asked, and turns to whoever waits for one.
fn unexpected(record: &Record, event: &Event) -> Option<&'static str> {
    let (asked, what) = match event {
        Event::Turn(..) => (UnderWay::Queued, "a turn that nobody waited for"),
        Event::Rehearsed(..) => (UnderWay::Rehearsing, "an answer to no rehearsal"),
        Event::Written(..) => (UnderWay::Writing, "an answer to no write"),
        Event::Checked(..) => (UnderWay::Checking, "an answer to no check"),
        Event::Observed(..) => (UnderWay::Reading, "an answer to no reading"),
        _ => return None,
    };
    (record.under_way != Some(asked)).then_some(what)
}

fn asked(record: &mut Record, acts: &mut Vec<Act>) {
    match record.under_way {
        Some(_) => record.again = true,
        None => decide(acts),
    }
}

fn decide(acts: &mut Vec<Act>) {
    if !acts.contains(&Act::Decide) {
        acts.push(Act::Decide);
    }
}

/// What was under way has ended.
fn end(record: &mut Record, acts: &mut Vec<Act>) {
    record.under_way = None;
    if std::mem::take(&mut record.again) {
        decide(acts);
    }
}

fn seen(record: &mut Record, workload: &Arc<Workload>, now: Now, acts: &mut Vec<Act>) {
    record.belongs_to(workload);
    match record.under_way {
        // What it runs may be what is being written.
        Some(UnderWay::Writing) => record.rare.missed = Some(workload.clone()),
        _ => compare_images(record, workload, now, acts),
    }
    record.rare.wait.take_if(|wait| wait.why == Why::NotWritten);
    compared(record, workload, acts);
    asked(record, acts);
}

fn proposed(record: &mut Record, proposal: Proposal, now: Now, acts: &mut Vec<Act>) {
    // Something was begun since it was asked for.
    if record.under_way.is_some() {
        record.again = true;
        return;
    }
    // Who moved what is read before, also where it goes back.
    if !matches!(proposal, Proposal::Unsure) && goes_back(record, &proposal, now, acts) {
        return;
    }
    let (update, approval, is_looking) = match proposal {
        Proposal::Update(update, is_looking) => (update, None, is_looking),
        Proposal::Ask(update, approval, is_looking) => (update, Some(approval), is_looking),
        nothing => return unproposed(record, &nothing, now, acts),
    };
    if approval.is_some_and(|approval| is_asked(record, &update, &approval, now, acts)) {
        return;
    }
    // One rollout after the other.
    if record.rolling_out().is_some() {
        return;
    }
    if record.phase_of(&update.id).is_some() {
        if record.waits(now.since) {
            return;
        }
    } else {
        not_asked_any_more(record);
    }
    if is_looking && now.since < record.rare.together.get_or_insert((now.since + TOGETHER, false)).0 {
        return;
    }
    record.rare.together = None;
    record.under_way = Some(UnderWay::Queued);
    acts.push(Act::Queue(update.route.clone()));
    if !record.current().is_some_and(|current| current.is(&update) && current.phase.reason().is_some()) {
        replace(record, update, Phase::Proposed, now, acts);
    }
}

/// There is nothing to write, or nothing that is sure.
fn unproposed(record: &mut Record, proposal: &Proposal, now: Now, acts: &mut Vec<Act>) {
    record.rare.together = None;
    not_asked_any_more(record);
    match proposal {
        Proposal::Unsure if !record.waits(now.since) => read(record, now, acts),
        Proposal::Unwanted(workload) => {
            compare_images(record, workload, now, acts);
            let is_open = |current: &mut Box<Tracked>| !current.phase.is_over() && current.phase != Phase::Progressing;
            if let Some(current) = record.current.take_if(is_open) {
                supersede(record, *current, "it is not wanted any more", now, acts);
            }
        }
        _ => {}
    }
}

/// Nobody stands in the way of what is not wanted now.
fn not_asked_any_more(record: &mut Record) {
    if let Some(Tracked { phase: Phase::Waiting { reason }, .. }) = record.current.as_deref_mut() {
        reason.others = Box::default();
    }
}

fn turn(record: &mut Record, route: &Route, proposal: Proposal, now: Now, acts: &mut Vec<Act>) {
    // What came up while it stood in the queue has been decided with.
    (record.under_way, record.again) = (None, false);
    if !matches!(proposal, Proposal::Unsure) && rollback::turn(record, &proposal, now, acts) {
        return;
    }
    let (update, approval) = match proposal {
        Proposal::Update(update, _) => (update, None),
        Proposal::Ask(update, approval, _) => (update, Some(approval)),
        nothing => return unproposed(record, &nothing, now, acts),
    };
    if approval.as_ref().is_some_and(|approval| is_asked(record, &update, approval, now, acts)) {
        return;
    }
    if record.rolling_out().is_some() {
        return;
    }
    let phase = record.phase_of(&update.id);
    if phase.is_some() && record.waits(now.since) {
        return;
    }
    if update.route != *route {
        record.under_way = Some(UnderWay::Queued);
        acts.push(Act::Queue(update.route.clone()));
    } else if let Some(approval) = approval {
        return rehearse(record, update, approval, now, acts);
    } else if record.current().is_some_and(|current| current.is(&update) && current.is_seen_to()) {
        record.under_way = Some(UnderWay::Checking);
        acts.push(Act::Check);
        return;
    } else {
        record.under_way = Some(UnderWay::Writing);
        acts.push(Act::Write);
        return replace(record, update, Phase::Applying, now, acts);
    }
    replace(record, update, Phase::Proposed, now, acts);
}

/// Another update, or the same one further on, is the current one.
fn replace(record: &mut Record, update: Update, phase: Phase, now: Now, acts: &mut Vec<Act>) {
    let (mut log, mut approval) = (Vec::new(), None);
    if let Some(old) = record.current.take() {
        let is_open = !old.phase.is_over();
        let is_it = old.is(&update);
        if !is_it || !is_open {
            record.rare.reviews = Vec::new();
        }
        if is_it {
            // What has ended is begun anew.
            (log, approval) = if is_open { (old.log, old.approval) } else { (log, None) };
        } else {
            record.rare.wait = None;
            if is_open {
                supersede(record, *old, "another one was chosen", now, acts);
            }
        }
    }
    // Of a workload that nothing was remembered of, that is not known yet.
    if record.uid.is_empty() {
        record.uid.clone_from(&update.uid);
    }
    record.current = Some(Box::new(Tracked { update, phase, approval, log }));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        image::ImageRef,
        reason::{Code, Reason},
        rollback::Rollback,
        rollout::{Pods, RolloutView, Times},
        update::{
            Applied, Change, Hold, How, Item, Judging, LAST_UPDATE, LastUpdate, News, Outcome, PhaseName, Standing,
            WorkloadState, Written, step::answers::CHECK,
        },
        workload::{Container, Observed},
    };

    const SINCE: Duration = Duration::from_secs(1000);
    const NOW: Now = Now { at: Timestamp::UNIX_EPOCH, since: SINCE };

    fn at(since: Duration) -> Now {
        Now { at: Timestamp::UNIX_EPOCH + since, since }
    }

    fn update(to: usize, route: &Route) -> Update {
        let image = |n: usize| ImageRef::parse(&format!("r.io/web:1.0.{n}")).unwrap();
        let change = Change { container: "web".into(), init: false, from: image(0), to: image(to) };
        Update::new(
            "shop/Deployment/web".parse().unwrap(),
            vec![Item::from(change)],
            route.clone(),
            Timestamp::UNIX_EPOCH,
        )
    }

    fn git() -> Route {
        Route::Commit("prod".into())
    }

    fn reason(code: Code) -> Reason {
        Reason::new(code, "the test says so")
    }

    /// A record after these, and the acts of the last.
    fn after(events: impl IntoIterator<Item = Event>) -> (Record, Vec<Act>) {
        let start = (Record::default(), Vec::new());
        events.into_iter().fold(start, |(record, _), event| step(record, event, NOW))
    }

    /// An update that is being written.
    fn writing(update: &Update) -> Vec<Event> {
        let proposal = || Proposal::Update(update.clone(), false);
        vec![Event::Proposed(proposal()), Event::Turn(update.route.clone(), proposal())]
    }

    fn phase(record: &Record) -> &Phase {
        &record.current().unwrap().phase
    }

    #[rstest::rstest]
    #[case::applied(Outcome::Applied(Written::default()), Phase::Succeeded, 1, None)]
    #[case::committed(Outcome::Committed(reason(Code::Committed)), Phase::InGit { reason: reason(Code::Committed), left: vec![] }, 1, Some(30.0))]
    #[case::blocked(Outcome::Blocked(reason(Code::GitConflict)), Phase::Waiting { reason: reason(Code::GitConflict) }, 1, Some(30.0))]
    #[case::refused(Outcome::Refused("no".into()), Phase::Applying, 1, Some(60.0))]
    #[case::failed(Outcome::Failed("away".into()), Phase::Applying, 1, Some(2.0))]
    #[case::stale(Outcome::Stale, Phase::Applying, 0, Some(0.1))]
    fn what_is_written_leads_to_a_phase(
        #[case] outcome: Outcome,
        #[case] expected: Phase,
        #[case] saved: usize,
        #[case] woken: Option<f64>,
    ) {
        let update = update(1, &git());
        let written = Event::Written(update.id.clone(), outcome);
        let (record, acts) = after(writing(&update).into_iter().chain([written]));
        assert_eq!(*phase(&record), expected);
        assert_eq!(acts.iter().filter(|act| matches!(act, Act::Save(_))).count(), saved);
        assert_eq!(record.wakes_at().map(|at| (at - SINCE).as_secs_f64()), woken);
    }

    #[test]
    fn what_stands_in_git_is_checked_and_not_written_again() {
        let update = update(1, &git());
        let committed = Event::Written(update.id.clone(), Outcome::Committed(reason(Code::RequestOpen)));
        let (record, _) = after(writing(&update).into_iter().chain([committed]));
        let later = record.wakes_at().unwrap();
        let (record, acts) = step(record, Event::Woke, at(later));
        assert_eq!(acts, [Act::Decide]);
        let proposal = Proposal::Update(update.clone(), false);
        let (record, acts) = step(record, Event::Proposed(proposal.clone()), at(later));
        assert_eq!(acts, [Act::Queue(git())]);
        let (record, acts) = step(record, Event::Turn(git(), proposal.clone()), at(later));
        assert_eq!(acts, [Act::Check]);
        // Nothing is new: nothing is recorded and told.
        let there = Standing::InGit(reason(Code::RequestOpen), Vec::new());
        let (again, acts) = step(record.clone(), Event::Checked(update.id.clone(), there), at(later));
        assert_eq!(acts, [Act::Decide]);
        assert!(again.wakes_at().unwrap() - later > CHECK.after(0), "it is asked less and less often");
        // It was merged.
        let merged = Standing::InGit(reason(Code::Committed), Vec::new());
        let (_, acts) = step(record.clone(), Event::Checked(update.id.clone(), merged), at(later));
        assert!(acts.iter().any(|act| matches!(act, Act::Announce(News::Committed(..)))), "{acts:?}");
        // It is there no more.
        let (record, acts) = step(record, Event::Checked(update.id.clone(), Standing::Due), at(later));
        assert_eq!(acts, [Act::Queue(git())]);
        let (_, acts) = step(record, Event::Turn(git(), proposal), at(later + CHECK.after(9)));
        assert_eq!(acts, [Act::Write]);
    }

    #[test]
    fn what_was_set_is_remembered_with_the_workload_it_was_set_in() {
        let update = Update { uid: "u-1".into(), ..update(1, &Route::Cluster) };
        let written = Event::Written(update.id.clone(), Outcome::Applied(Written::default()));
        // Nothing was known of it before.
        let (record, acts) = after(writing(&update).into_iter().chain([written]));
        let state = |acts: &[Act]| {
            let state = acts.iter().find_map(|act| if let Act::SaveState(state) = act { Some(state) } else { None });
            state.map(|state| (state.uid.to_string(), state.applied.len()))
        };
        assert_eq!(state(&acts), Some(("u-1".to_owned(), 1)));
        // So it is where that is kept elsewhere from now on.
        let (_, acts) = step(record, Event::KeptElsewhere(update.workload), NOW);
        assert_eq!(state(&acts), Some(("u-1".to_owned(), 1)));
    }

    #[test]
    fn what_is_kept_elsewhere_from_now_on_is_recorded_there_unless_it_is_hearsay() {
        let update = update(1, &git());
        let kept = |record| step(record, Event::KeptElsewhere(update.workload.clone()), NOW).1;
        let committed = Event::Written(update.id.clone(), Outcome::Committed(reason(Code::Committed)));
        let (record, _) = after(writing(&update).into_iter().chain([committed]));
        assert!(matches!(&kept(record.clone())[..], [Act::Save(saved)] if Some(&**saved) == record.current()));
        assert_eq!(kept(after(writing(&update)).0), [], "it is not recorded yet");
        let applied = Event::Written(update.id.clone(), Outcome::Applied(Written::default()));
        let acts = kept(after(writing(&update).into_iter().chain([applied])).0);
        assert!(acts.iter().any(|act| matches!(act, Act::Save(saved) if saved.phase == Phase::Succeeded)), "{acts:?}");
        assert_eq!(kept(after([Event::Seen(running("noted"))]).0), [], "the workload says so itself");
    }

    #[test]
    fn a_newer_one_takes_the_place_of_what_does_not_run_yet() {
        let (old, new) = (update(1, &git()), update(2, &git()));
        let committed = Event::Written(old.id.clone(), Outcome::Committed(reason(Code::Committed)));
        let events =
            writing(&old).into_iter().chain([committed, Event::Proposed(Proposal::Update(new.clone(), false))]);
        let (record, acts) = after(events);
        let is_it = |act: &Act| matches!(act, Act::Save(it) if it.update == old && it.phase == Phase::Superseded);
        assert!(acts.iter().any(is_it), "{acts:?}");
        assert_eq!((&record.current().unwrap().update, phase(&record)), (&new, &Phase::Proposed));
    }

    #[test]
    fn a_plan_waits_for_the_other_looks_of_its_workload_but_not_for_ever() {
        let update = update(1, &Route::Cluster);
        let proposal = |looking| Event::Proposed(Proposal::Update(update.clone(), looking));
        let (record, acts) = after([proposal(true)]);
        assert_eq!((acts, record.wakes_at()), (vec![], Some(SINCE + TOGETHER)));
        assert_eq!(step(record.clone(), proposal(false), NOW).1, [Act::Queue(Route::Cluster)]);
        let (record, acts) = step(record, Event::Woke, at(SINCE + TOGETHER));
        assert_eq!((acts, record.wakes_at()), (vec![Act::Decide], None));
        assert_eq!(step(record, proposal(true), at(SINCE + TOGETHER)).1, [Act::Queue(Route::Cluster)]);
    }

    #[test]
    fn what_comes_up_while_it_is_written_is_thought_of_after_it() {
        let update = update(1, &Route::Cluster);
        let (record, acts) = after(writing(&update).into_iter().chain([Event::Asked]));
        assert_eq!(acts, []);
        let (_, acts) = step(record, Event::Written(update.id.clone(), Outcome::Failed("away".into())), NOW);
        assert!(acts.contains(&Act::Decide), "{acts:?}");
    }

    #[test]
    fn how_it_was_before_it_was_written_says_nothing_of_the_rollout() {
        let update = Update { uid: "u1".into(), ..update(1, &Route::Cluster) };
        // Its version is 1.
        let seen = || Event::Seen(running("from"));
        let after_version = |version: &str| {
            let written = Written { resource_version: version.into(), ..Written::default() };
            let written = Event::Written(update.id.clone(), Outcome::Applied(written));
            phase(&after(writing(&update).into_iter().chain([seen(), written])).0).clone()
        };
        assert_eq!(after_version("2"), Phase::Progressing);
        // Somebody has moved it back before the answer came.
        assert_eq!(after_version("0"), Phase::Superseded);
    }

    /// Where each event leads from each phase: the phase's first letters, `-` for none, `!` where it is said that nobody
    /// waited for it. `from`, `to` and `other` are the image that runs; one that is `noted` or `moved` says of itself that we
    /// have set `to`, and runs it, or `from` again.
    const TABLE: &str = "
        event               -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        remembered          -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        kept elsewhere      -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        recorded, from      Appl  Appl  Appl  Appl  Appl  Appl  Appl  Appl  Appl
        recorded, noted     Prog  Prog  Prog  Prog  Prog  Prog  Prog  Prog  Prog
        recorded, moved     Supe  Supe  Supe  Supe  Supe  Supe  Supe  Supe  Supe
        recorded, to        Supe  Supe  Supe  Supe  Supe  Supe  Supe  Supe  Supe
        recorded, other     Supe  Supe  Supe  Supe  Supe  Supe  Supe  Supe  Supe
        known, from         -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        known, noted        Prog  Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        seen, from          -     Prop  Wait  Appl  InGi  Supe  Succ  Fail  Supe
        seen, noted         -     Prog  Prog  Prog  Prog  Prog  Succ  Fail  Supe
        seen, moved         -     Supe  Supe  Supe  InGi  Supe  Succ  Fail  Supe
        seen, to            -     Prop  Supe  Supe  Prog  Prog  Succ  Fail  Supe
        seen, other         -     Prop  Supe  Supe  Supe  Supe  Succ  Fail  Supe
        gone                -     -     -     -     -     -     -     -     -
        asked               -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        woke                -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        proposed            Prop  Prop  Wait  Prop  InGi  Prog  Prop  Prop  Prop
        proposed, another   Prop  Prop  Prop  Prop  Prop  Prog  Prop  Prop  Prop
        proposed, nothing   -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        proposed, unsure    -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        unwanted, from      -     -     Supe  Supe  Supe  Supe  Succ  Fail  Supe
        unwanted, noted     -     Prog  Prog  Prog  Prog  Prog  Succ  Fail  Supe
        unwanted, other     -     -     Supe  Supe  Supe  Supe  Succ  Fail  Supe
        turn                Appl  Appl  Wait  Appl  InGi  Prog  Appl  Appl  Appl
        turn, another       Appl  Appl  Appl  Appl  Appl  Prog  Appl  Appl  Appl
        turn, nothing       -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        applied             -     Prog  Prog  Prog  Prog  Prog  Prog  Prog  Prog
        committed           -     InGi  InGi  InGi  InGi  InGi  InGi  InGi  InGi
        blocked             -     Wait  Wait  Wait  Wait  Wait  Wait  Wait  Wait
        refused             -     Appl  Appl  Appl  Appl  Appl  Appl  Appl  Appl
        failed              -     Appl  Appl  Appl  Appl  Appl  Appl  Appl  Appl
        stale               -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        write, gone         -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        there               -     Prop  InGi  Appl  InGi  Prog  Succ  Fail  Supe
        check, blocked      -     Prop  Wait  Appl  Wait  Prog  Succ  Fail  Supe
        due                 -     Prop  Prop  Appl  Prop  Prog  Succ  Fail  Supe
        check, failed       -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        observed, from      -     Prop  Wait  Appl  InGi  Supe  Succ  Fail  Supe
        observed, noted     -     Prog  Prog  Prog  Prog  Prog  Succ  Fail  Supe
        observed, moved     -     Supe  Supe  Supe  InGi  Supe  Succ  Fail  Supe
        observed, gone      -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        observed, failed    -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        rollout, done       -     Prop  Wait  Appl  InGi  Succ  Succ  Fail  Supe
        rollout, going      -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        rollout, no pods    -     Prop  Wait  Appl  InGi  Succ  Succ  Fail  Supe
        rollout, overdue    -     Prop  Wait  Appl  InGi  Fail  Succ  Fail  Supe
        pods                -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        pulled              -     Prop  Wait  Appl  InGi  Prog  Succ  Fail  Supe
        stray turn          !     !     !     !     !     !     !     !     !
        stray write         !     !     !     !     !     !     !     !     !
        stray check         !     !     !     !     !     !     !     !     !
        stray reading       !     !     !     !     !     !     !     !     !";

    /// An update of a workload in a cluster.
    fn own(to: usize) -> Update {
        Update { uid: "u1".into(), ..update(to, &Route::Cluster) }
    }

    /// The workload as it runs an image; with the note of an update where it is `noted`.
    fn running(what: &str) -> Arc<Workload> {
        let update = update(1, &Route::Cluster);
        let tag = match what {
            "from" | "moved" => 0,
            "noted" | "to" => 1,
            _ => 7,
        };
        let note = LastUpdate { id: update.id.clone(), at: NOW.at, changes: update.changes().cloned().collect() };
        let note = matches!(what, "noted" | "moved").then(|| (LAST_UPDATE.to_owned(), note.to_string()));
        let image = format!("r.io/web:1.0.{tag}");
        let container = Container { name: "web".into(), image: image.into(), init: false, index: 0 };
        Arc::new(Workload {
            id: update.workload,
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

    /// What happens, and what must be under way for it.
    fn event(name: &str) -> (Event, Option<UnderWay>) {
        use UnderWay::{Checking, Queued, Reading, Writing};
        let (own, another) = (own(1), own(2));
        let (id, route, workload) = (own.id.clone(), own.route.clone(), own.workload.clone());
        let propose = |update: &Update| Proposal::Update(update.clone(), false);
        let read = |what| {
            Event::Observed(
                Ok(Some(Observed { workload: (*running(what)).clone(), image_managers: vec![], template: "".into() })),
                Judging::default(),
            )
        };
        let written = |outcome| (Event::Written(id.clone(), outcome), Some(Writing));
        let checked = |standing| (Event::Checked(id.clone(), standing), Some(Checking));
        let recorded = |what| {
            let tracked = Tracked { update: own.clone(), phase: Phase::Applying, approval: None, log: Vec::new() };
            (Event::Recorded(Box::new(tracked), running(what)), None)
        };
        match name.split_once(", ").unwrap_or((name, "")) {
            ("kept elsewhere", _) => (Event::KeptElsewhere(workload), None),
            ("remembered", _) => (Event::Remembered(Record::default().state(workload)), None),
            ("recorded", what) => recorded(what),
            ("known", what) => (Event::Known(running(what)), None),
            ("seen", what) => (Event::Seen(running(what)), None),
            ("gone", _) => (Event::Gone(workload), None),
            ("asked", _) => (Event::Asked, None),
            ("woke", _) => (Event::Woke, None),
            ("proposed", "") => (Event::Proposed(propose(&own)), None),
            ("proposed", "another") => (Event::Proposed(propose(&another)), None),
            ("proposed", "nothing") => (Event::Proposed(Proposal::Nothing), None),
            ("proposed", "unsure") => (Event::Proposed(Proposal::Unsure), None),
            ("unwanted", what) => (Event::Proposed(Proposal::Unwanted(running(what))), None),
            ("turn", "") => (Event::Turn(route, propose(&own)), Some(Queued)),
            ("turn", "another") => (Event::Turn(route, propose(&another)), Some(Queued)),
            ("turn", "nothing") => (Event::Turn(route, Proposal::Nothing), Some(Queued)),
            ("applied", _) => written(Outcome::Applied(Written::default())),
            ("committed", _) => written(Outcome::Committed(reason(Code::Committed))),
            ("blocked", _) => written(Outcome::Blocked(reason(Code::GitConflict))),
            ("refused", _) => written(Outcome::Refused("no".into())),
            ("failed", _) => written(Outcome::Failed("away".into())),
            ("stale", _) => written(Outcome::Stale),
            ("write", "gone") => written(Outcome::Gone),
            ("there", _) => checked(Standing::InGit(reason(Code::Committed), Vec::new())),
            ("check", "blocked") => checked(Standing::Blocked(reason(Code::Reverted))),
            ("due", _) => checked(Standing::Due),
            ("check", "failed") => checked(Standing::Failed("away".into())),
            ("observed", "gone") => (Event::Observed(Ok(None), Judging::default()), Some(Reading)),
            ("observed", "failed") => (Event::Observed(Err("away".into()), Judging::default()), Some(Reading)),
            ("observed", what) => (read(what), Some(Reading)),
            ("rollout", what) => {
                let (uid, wanted) = ("u1".into(), 1);
                let mut view =
                    RolloutView { uid, wanted, total: 1, updated: 1, available: 1, ..RolloutView::default() };
                match what {
                    "going" => view.available = 0,
                    "no pods" => view.wanted = 0,
                    "overdue" => view.overdue = Some("it timed out".into()),
                    _ => {}
                }
                let times = Times { settle: Duration::ZERO, fault: Duration::ZERO, ..Times::default() };
                (Event::Rollout(view, times, Rollback::Never), None)
            }
            ("pods", _) => (Event::Pods(Pods::default(), Times::default()), None),
            ("pulled", _) => (Event::Pulled(Box::new(own.changes().next().unwrap().clone()), true), None),
            ("stray turn", _) => (Event::Turn(route, propose(&own)), None),
            ("stray write", _) => (Event::Written(id.clone(), Outcome::Applied(Written::default())), None),
            ("stray check", _) => (Event::Checked(id.clone(), Standing::Due), None),
            ("stray reading", _) => (read("noted"), None),
            _ => panic!("no event {name}"),
        }
    }

    /// A record whose update has come that far.
    fn at_phase(name: &str, under_way: Option<UnderWay>) -> Record {
        let mut record = Record::default();
        (record.uid, record.under_way) = ("u1".into(), under_way);
        let phase = match name {
            "Prop" => Phase::Proposed,
            "Wait" => Phase::Waiting { reason: reason(Code::GitConflict) },
            "Appl" => Phase::Applying,
            "InGi" => Phase::InGit { reason: reason(Code::Committed), left: Vec::new() },
            "Prog" => Phase::Progressing,
            "Succ" => Phase::Succeeded,
            "Fail" => Phase::Failed,
            "Supe" => Phase::Superseded,
            _ => return record,
        };
        let is_recorded = phase != Phase::Proposed;
        let mut current = Tracked { update: own(1), phase, approval: None, log: Vec::new() };
        if is_recorded {
            current.tell(NOW.at, None);
        }
        record.current = Some(Box::new(current));
        follow(&mut record, NOW);
        record
    }

    #[test]
    fn each_event_leads_from_each_phase_where_the_table_says() {
        let mut lines = TABLE.lines().map(str::trim).filter(|line| !line.is_empty());
        let words = |line: &'static str| {
            let (name, cells) = line.split_at(20);
            (name.trim(), cells.split_whitespace().collect::<Vec<_>>())
        };
        let (_, phases) = words(lines.next().unwrap());
        let mut wrong = Vec::new();
        for (name, cells) in lines.map(words) {
            assert_eq!(cells.len(), phases.len(), "{name}");
            for (from, to) in phases.iter().zip(cells) {
                let (event, under_way) = event(name);
                let before = at_phase(from, under_way);
                let (after, acts) = step(before.clone(), event, NOW);
                let there = match acts.iter().any(|act| matches!(act, Act::Unexpected(_))) {
                    true => {
                        assert_eq!(after, before, "{name} from {from} changes something");
                        "!"
                    }
                    false => after.current().map_or("-", |current| &current.phase.name().as_str()[..4]),
                };
                if there != to {
                    wrong.push(format!("{name}: {from} to {there}, not {to}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Without rule 7's second line of recovery (`settle`: an Applying update whose image runs, with our own note) this fails.
    #[test]
    fn an_update_whose_answer_was_lost_goes_on_as_written_and_one_that_another_wrote_does_not() {
        let after = |what| {
            let update = Update { uid: "u1".into(), ..update(1, &Route::Cluster) };
            let tracked = Tracked { update, phase: Phase::Applying, approval: None, log: Vec::new() };
            step(Record::default(), Event::Recorded(Box::new(tracked), running(what)), NOW)
        };
        let saves = |acts: &[Act]| acts.iter().filter(|act| matches!(act, Act::Save(_) | Act::SaveState(_))).count();
        let (record, acts) = after("noted");
        assert_eq!((phase(&record), saves(&acts)), (&Phase::Progressing, 2));
        let (record, acts) = after("to");
        assert_eq!((phase(&record), saves(&acts)), (&Phase::Superseded, 1));
        // It was written, and somebody has moved it back since.
        let (record, acts) = after("moved");
        assert_eq!((phase(&record), saves(&acts)), (&Phase::Superseded, 3));
        assert!(record.is_moved(&running("from")));
    }

    #[test]
    fn what_cannot_be_read_is_not_written_over_and_is_decided_again_when_it_can() {
        let (record, acts) = step(Record::default(), Event::Undecodable(Some("odd".into())), NOW);
        assert_eq!((record.undecodable().map(|why| &**why), acts), (Some("odd"), vec![Act::Decide]));
        let set = |record: &Record| step(record.clone(), Event::KeptElsewhere(own(1).workload), NOW).1;
        let (record, _) = step(record, Event::Seen(running("noted")), NOW);
        let (record, acts) = step(record, Event::Known(running("noted")), NOW);
        let is_state = |act: &Act| matches!(act, Act::SaveState(_));
        assert!(!acts.is_empty() && !acts.iter().chain(&set(&record)).any(is_state), "{acts:?}");
        let (record, acts) = step(record, Event::Undecodable(None), NOW);
        assert_eq!((record.undecodable(), acts), (None, vec![Act::Decide]));
        assert!(set(&record).iter().any(is_state));
    }

    #[test]
    fn what_is_recorded_as_written_is_known_to_be_ours_where_the_process_ended_before_the_state_was() {
        let update = Update { uid: "u1".into(), ..update(1, &Route::Cluster) };
        let tracked = Tracked { update, phase: Phase::Progressing, approval: None, log: Vec::new() };
        let change = tracked.update.items[0].change.clone();
        let workload = running("noted");
        let (record, _) = step(Record::default(), Event::Seen(workload.clone()), NOW);
        let (record, acts) = step(record, Event::Recorded(Box::new(tracked), workload.clone()), NOW);
        assert_eq!((phase(&record), acts), (&Phase::Progressing, vec![Act::Decide, Act::Follow(true)]));
        let (record, acts) = step(record, Event::Known(workload.clone()), NOW);
        let [Act::SaveState(state)] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!(state.applied[0].change, change);
        let (_, acts) = step(record, Event::Known(workload), NOW);
        assert_eq!(acts, []);
    }

    #[test]
    fn what_was_written_just_before_the_process_ended_and_moved_back_since_is_known_to_be_ours() {
        let (older, newer) = (update(1, &Route::Cluster), update(2, &Route::Cluster));
        let set = |update: &Update, seconds| {
            let mut record = Record::default();
            let at = NOW.at + Duration::from_secs(seconds);
            record.uid = "u1".into();
            record.set(update.changes(), at);
            let changes = update.changes().cloned().collect();
            (record.state(update.workload.clone()), LastUpdate { id: update.id.clone(), at, changes })
        };
        let after = |remembered: WorkloadState, note: LastUpdate| {
            let note = BTreeMap::from([(LAST_UPDATE.to_owned(), note.to_string())]);
            let workload = Arc::new(Workload { annotations: note.into(), ..(*running("from")).clone() });
            after([Event::Remembered(remembered), Event::Seen(workload.clone()), Event::Known(workload)])
        };
        let change = newer.changes().next().unwrap().clone();
        let set_last = |record: &Record| record.state(newer.workload.clone()).applied[0].change.clone();
        // The state has the one before it.
        let (record, acts) = after(set(&older, 1).0, set(&newer, 2).1);
        assert!(set_last(&record) == change && record.is_moved(&running("from")));
        let [Act::Save(saved), Act::SaveState(state)] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!((&saved.update.id, saved.phase.name()), (&newer.id, PhaseName::Superseded));
        assert_eq!(state.applied[0].change, change);
        // It was set in the second in which that was written too, and the state was not.
        let mut next = newer.clone();
        next.items[0].change = Change {
            from: change.to.clone(),
            to: update(3, &Route::Cluster).items[0].change.to.clone(),
            ..change.clone()
        };
        let next = Update::new(next.workload, next.items, next.route, next.proposed);
        let (record, _) =
            after(set(&newer, 2).0, LastUpdate { at: NOW.at + Duration::from_secs(2), ..set(&next, 2).1 });
        assert_eq!(Some(&set_last(&record)), next.changes().next());
        // Somebody had moved it back, and it was set again in that second, which no state says.
        let (mut moved, note) = set(&older, 1);
        moved.applied[0].since = Some("r.io/web:1.0.0".into());
        let note = BTreeMap::from([(LAST_UPDATE.to_owned(), note.to_string())]);
        let again = Arc::new(Workload { annotations: note.into(), ..(*running("to")).clone() });
        let record = [Event::Remembered(moved), Event::Known(again)]
            .into_iter()
            .fold(Record::default(), |record, event| step(record, event, NOW).0);
        assert!(record.is_moved(&running("from")), "moved back once more, it is seen");
        // The note is an older one, which an undo of the rollout has restored.
        let (record, acts) = after(set(&newer, 2).0, set(&older, 1).1);
        assert_eq!(set_last(&record), change);
        assert_eq!(acts, []);
    }

    #[test]
    fn an_update_of_a_workload_that_was_deleted_and_made_again_is_ended_beside_the_current_one() {
        let (current, old) = (update(2, &Route::Cluster), update(1, &Route::Cluster));
        let (record, _) = after(writing(&current));
        let old = Update { uid: "u0".into(), ..old };
        let tracked = Tracked { update: old.clone(), phase: Phase::Applying, approval: None, log: Vec::new() };
        let (after, acts) = step(record.clone(), Event::Recorded(Box::new(tracked), running("from")), NOW);
        assert!(matches!(&acts[..], [Act::Save(it)] if it.update == old && it.phase == Phase::Superseded), "{acts:?}");
        assert_eq!(after.current(), record.current());
    }

    #[test]
    fn what_changed_while_nobody_watched_is_seen_whatever_is_told_of_first() {
        let mut workload = (*running("to")).clone();
        let gate = ("supercargo.dev/min-age".to_owned(), "3d".to_owned());
        Arc::make_mut(&mut workload.annotations).extend([gate.clone()]);
        let (workload, change) = (Arc::new(workload), own(1).changes().next().unwrap().clone());
        let hold = Hold {
            container: "web".into(),
            init: false,
            to: change.to.clone(),
            back_to: "r.io/web:1.0.0".into(),
            by: "kubectl-set".into(),
            at: NOW.at,
            how: How::Person,
            in_memory: false,
        };
        let applied = vec![Applied { change, at: NOW.at, since: Some("r.io/web:1.0.0".into()) }];
        let state =
            WorkloadState { applied, holds: vec![hold], ..WorkloadState::new(workload.id.clone(), "u1".into()) };
        let (seen, remembered) = (Event::Seen(workload.clone()), Event::Remembered(state));
        for events in [[seen.clone(), remembered.clone()], [remembered, seen]] {
            let (record, _) = after(events);
            let (record, _) = step(record, Event::Known(workload.clone()), NOW);
            // What is held was set by hand, and a gate was written.
            assert_eq!(record.holds(), []);
            assert_eq!(record.rule().unwrap().values.get(&gate.0), Some(&gate.1));
        }
    }

    #[test]
    fn what_was_moved_back_of_a_workload_that_is_gone_is_forgotten_in_the_end() {
        let (update, mut record) = (update(1, &Route::Cluster), Record::default());
        record.set(update.changes(), NOW.at);
        let observed = Observed { workload: (*running("from")).clone(), image_managers: vec![], template: "".into() };
        let (held, is_new) = record.note_moves(&observed, &Judging::default(), NOW.at);
        assert_eq!((held.len(), is_new), (1, true));
        let gone = |record: Record, days: u64| {
            let now = Now { at: NOW.at + Duration::from_hours(24 * days), ..NOW };
            let (record, acts) = step(record, Event::Gone(update.workload.clone()), now);
            let saved = acts.iter().find_map(|act| if let Act::SaveState(it) = act { Some(it.clone()) } else { None });
            (record, saved)
        };
        let (record, saved) = gone(record, 1);
        assert_eq!(saved.map(|it| (it.applied.len(), it.holds.len())), Some((0, 1)));
        let (record, saved) = gone(record, 89);
        assert_eq!(saved, None, "nothing has changed");
        let (record, saved) = gone(record, 90);
        assert_eq!(saved.map(|it| it.is_empty()), Some(true));
        assert!(record.is_empty());
    }

    fn events() -> impl Strategy<Value = Event> {
        let update = || {
            (1usize..4, any::<bool>()).prop_map(|(to, git)| update(to, &if git { self::git() } else { Route::Cluster }))
        };
        let proposal = || {
            prop_oneof![
                Just(Proposal::Nothing),
                Just(Proposal::Unsure),
                (update(), any::<bool>()).prop_map(|(update, looking)| Proposal::Update(update, looking)),
            ]
        };
        let outcome = prop_oneof![
            Just(Outcome::Applied(Written::default())),
            Just(Outcome::Committed(reason(Code::Committed))),
            Just(Outcome::Blocked(reason(Code::GitConflict))),
            Just(Outcome::Stale),
            Just(Outcome::Gone),
            Just(Outcome::Refused("no".into())),
            Just(Outcome::Failed("away".into())),
        ];
        let standing = prop_oneof![
            Just(Standing::InGit(reason(Code::Committed), Vec::new())),
            Just(Standing::Blocked(reason(Code::Reverted))),
            Just(Standing::Due),
            Just(Standing::Failed("away".into())),
        ];
        prop_oneof![
            Just(Event::Gone("shop/Deployment/web".parse().unwrap())),
            Just(Event::Asked),
            Just(Event::Woke),
            proposal().prop_map(Event::Proposed),
            (any::<bool>(), proposal())
                .prop_map(|(git, p)| Event::Turn(if git { self::git() } else { Route::Cluster }, p)),
            (update(), outcome).prop_map(|(update, outcome)| Event::Written(update.id, outcome)),
            (update(), standing).prop_map(|(update, standing)| Event::Checked(update.id, standing)),
            Just(Event::Observed(Ok(None), Judging::default())),
            Just(Event::Observed(Err("away".into()), Judging::default())),
        ]
    }

    proptest! {
        #[test]
        fn whatever_comes_in_whatever_order_is_taken(events in prop::collection::vec(events(), 1..60)) {
            let (mut record, mut now) = (Record::default(), SINCE);
            for event in events {
                let is_answer = matches!(event, Event::Written(..) | Event::Checked(..) | Event::Observed(..) | Event::Turn(..));
                // Nothing is begun while something is under way, but for what follows from its end.
                let is_wake = matches!(event, Event::Woke);
                let was_busy = record.under_way.is_some() && !is_answer;
                let before = record.clone();
                let (next, acts) = step(record, event, at(now));
                // What has ended stays so: the same change made again is another life.
                let ended = before.current.filter(|current| current.phase.is_over() && current.is_recorded());
                if let (Some(ended), Some(current)) = (ended, next.current()) {
                    let is_it = current.update.id == ended.update.id && current.log.starts_with(&ended.log);
                    prop_assert!(!is_it || *current == *ended, "{ended:?} is {current:?}");
                }
                let begun = acts.iter().filter(|act| matches!(act, Act::Queue(_) | Act::Write | Act::Check | Act::Read)).count();
                prop_assert!(begun <= 1 && !(was_busy && begun > 0), "{acts:?}");
                let saved = acts.iter().filter_map(|act| if let Act::Save(saved) = act { Some(saved) } else { None });
                for saved in saved {
                    prop_assert!(saved.phase != Phase::Proposed && saved.is_recorded(), "{saved:?}");
                }
                prop_assert!(!is_wake || next.wakes_at().is_none_or(|at| at > now), "it is woken without end");
                if let Some(at) = next.wakes_at() {
                    now = now.max(at.min(now + Duration::from_secs(1)));
                }
                record = next;
            }
        }
    }
}
