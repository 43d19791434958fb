//! What an attacker, or an accident, would have counted: none of it does.
use supercargo::{
    domain::{
        update::{Phase, PhaseName, Rehearsal},
        votes::{Verb, Vote},
    },
    ports::ObjectName,
};

use super::{
    votes::{Poll, TWO},
    *,
};

fn changed(version: &str, annotations: &[(&str, &str)]) -> ClusterChange {
    let ClusterChange::Workload(mut workload) = annotated("web", annotations) else { unreachable!() };
    workload.resource_version = version.into();
    ClusterChange::Workload(workload)
}

/// As somebody forges it: without waiting.
async fn forge(poll: &mut Poll, tracked: &Tracked, by: &str, verb: Verb, at_offset: i64) {
    poll.made += 1;
    let object = Poll::object(tracked);
    let at = poll.running.clock.now() + jiff::SignedDuration::from_secs(at_offset);
    let review = Review {
        namespace: "shop".into(),
        name: format!("r{}", poll.made).into(),
        update: object.name,
        uid: object.uid,
        target: tracked.update.target(),
        vote: Vote { verb, by: by.into(), on_behalf_of: None, overrides: false, reason: "forged".into(), at },
        is_mapped: false,
    };
    poll.send(ClusterChange::Review(poll.made, Box::new(review))).await;
}

async fn tell(poll: &Poll, tracked: &Tracked) {
    let told = ClusterChange::Record(Box::new(tracked.clone()), Version("1".into()), Some(Poll::object(tracked)));
    poll.send(told).await;
}

/// T1: forged in a gap while the update waits as admission-refused.
#[tokio::test]
async fn what_is_forged_while_it_is_refused_never_counts() {
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running = Running::with(vec![annotated("web", &TWO)], registry.clone(), true, 0, vec![]).await;
    *running.world.rehearsals.lock().unwrap() = vec![Rehearsal::Refused("no".into())];
    let mut poll = Poll { running, registry, made: 0 };
    poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
    poll.wait(6).await;
    let last = poll.last();
    assert_eq!(last.reason().unwrap().code, Code::AdmissionRefused);
    tell(&poll, &last).await;
    // The gap.
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.policies(Err("the binding is gone")).await;
    forge(&mut poll, &last, "alice", Verb::Approve, 0).await;
    forge(&mut poll, &last, "bob", Verb::Approve, 0).await;
    poll.wait(20).await;
    assert_eq!(poll.writes(), 0);
    *poll.running.world.proof.lock().unwrap() = None;
    let now = poll.running.clock.now();
    poll.policies(Ok(now)).await;
    poll.wait(200).await;
    assert_eq!(poll.writes(), 0, "forged votes went");
}

/// T1b: the same with a failed proof alone.
#[tokio::test]
async fn what_is_forged_while_it_is_refused_and_a_proof_fails_never_counts() {
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running = Running::with(vec![annotated("web", &TWO)], registry.clone(), true, 0, vec![]).await;
    *running.world.rehearsals.lock().unwrap() = vec![Rehearsal::Refused("no".into())];
    let mut poll = Poll { running, registry, made: 0 };
    poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
    poll.wait(6).await;
    let last = poll.last();
    tell(&poll, &last).await;
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.wait(61).await;
    forge(&mut poll, &last, "alice", Verb::Approve, 0).await;
    forge(&mut poll, &last, "bob", Verb::Approve, 0).await;
    *poll.running.world.proof.lock().unwrap() = None;
    poll.wait(400).await;
    assert_eq!(poll.writes(), 0, "forged votes went");
}

/// T2: forged in a gap, then ended by whoever edits the workload, then wanted again.
#[tokio::test]
async fn what_is_forged_for_one_does_not_count_for_the_same_asked_again() {
    let mut poll = Poll::start(&TWO).await;
    let last = poll.last();
    tell(&poll, &last).await;
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.policies(Err("the binding is gone")).await;
    forge(&mut poll, &last, "alice", Verb::Approve, 0).await;
    forge(&mut poll, &last, "bob", Verb::Approve, 0).await;
    poll.wait(2).await;
    // Whoever may edit the workload takes the policy away.
    let ClusterChange::Workload(mut workload) = changed("2", &TWO) else { unreachable!() };
    workload.annotations = Arc::new(BTreeMap::new());
    poll.send(ClusterChange::Workload(workload)).await;
    poll.wait(5).await;
    *poll.running.world.proof.lock().unwrap() = None;
    let now = poll.running.clock.now();
    poll.policies(Ok(now)).await;
    poll.wait(100).await;
    poll.send(changed("3", &TWO)).await;
    poll.wait(200).await;
    assert_eq!(poll.writes(), 0, "forged votes went");
}

/// T2a: as T2, but another policy meanwhile (the hash), and back.
#[tokio::test]
async fn what_was_forged_before_it_was_unwanted_does_not_count_later() {
    let mut poll = Poll::start(&TWO).await;
    let last = poll.last();
    tell(&poll, &last).await;
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.policies(Err("the binding is gone")).await;
    forge(&mut poll, &last, "alice", Verb::Approve, 0).await;
    forge(&mut poll, &last, "bob", Verb::Approve, 0).await;
    poll.wait(2).await;
    poll.send(changed("2", &[("approvals", "2"), ("ignore", "1.0.1")])).await;
    poll.wait(5).await;
    *poll.running.world.proof.lock().unwrap() = None;
    let now = poll.running.clock.now();
    poll.policies(Ok(now)).await;
    poll.wait(100).await;
    poll.send(changed("3", &TWO)).await;
    poll.wait(200).await;
    assert_eq!(poll.writes(), 0, "forged votes went");
}

/// T2b: no gap; approved outside its window, ended, and asked anew: do the votes of what has ended count?
#[tokio::test]
async fn votes_on_what_has_ended_do_not_count_again() {
    let asked = [("approvals", "1"), ("window", "15:00-16:00")];
    let mut poll = Poll::start(&asked).await;
    poll.vote("alice", Verb::Approve).await;
    let ClusterChange::Workload(mut workload) = changed("2", &TWO) else { unreachable!() };
    workload.annotations = Arc::new(BTreeMap::new());
    poll.send(ClusterChange::Workload(workload)).await;
    poll.wait(5).await;
    poll.is(PhaseName::Superseded, "1 of 1 (alice)", "1.0.1");
    poll.send(changed("3", &[("approvals", "1")])).await;
    poll.wait(200).await;
    assert_eq!(poll.writes(), 0, "votes of an ended update count");
}

/// T3: a no while it is being written, which fails.
#[tokio::test]
async fn a_no_while_a_write_fails_is_heard() {
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running =
        Running::with(vec![annotated("web", &TWO)], registry.clone(), true, 0, vec![Outcome::Failed("away".into())])
            .await;
    let mut poll = Poll { running, registry, made: 0 };
    poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
    poll.wait(6).await;
    poll.vote("alice", Verb::Approve).await;
    let (go, gate) = oneshot::channel();
    *poll.running.world.gate.lock().unwrap() = Some(gate);
    poll.vote("bob", Verb::Approve).await;
    assert_eq!(poll.writes(), 1);
    let last = poll
        .running
        .world
        .saved
        .lock()
        .unwrap()
        .iter()
        .rev()
        .find(|it| it.phase.name() == PhaseName::Waiting)
        .cloned()
        .unwrap();
    forge(&mut poll, &last, "carol", Verb::Reject, 0).await;
    poll.wait(1).await;
    go.send(()).unwrap();
    poll.wait(200).await;
    assert_eq!(poll.writes(), 1, "written although carol said no");
}

/// T5: a proof is under way when the last vote comes.
#[tokio::test]
async fn a_proof_that_was_under_way_holds_nothing_up() {
    let mut poll = Poll::start(&[("approvals", "1"), ("poll", "every 12h")]).await;
    let last = poll.last();
    tell(&poll, &last).await;
    let (go, gate) = oneshot::channel();
    *poll.running.world.proof_gate.lock().unwrap() = Some(gate);
    poll.wait(61).await;
    forge(&mut poll, &last, "alice", Verb::Approve, 0).await;
    poll.wait(2).await;
    go.send(()).unwrap();
    let mut waited = 0;
    while poll.writes() == 0 && waited < 600 {
        poll.wait(1).await;
        waited += 1;
    }
    assert!(waited <= 2, "waited {waited}");
}

/// T6: being written again and again; a gap; more are needed meanwhile.
#[tokio::test]
async fn more_that_are_needed_are_needed_also_while_it_is_tried_again() {
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running =
        Running::with(vec![annotated("web", &TWO)], registry.clone(), true, 0, vec![Outcome::Refused("no".into())])
            .await;
    let mut poll = Poll { running, registry, made: 0 };
    poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
    poll.wait(6).await;
    poll.vote("alice", Verb::Approve).await;
    let last = poll.last();
    poll.vote("bob", Verb::Approve).await;
    assert_eq!(poll.writes(), 1);
    poll.send(changed("2", &[("approvals", "3")])).await;
    poll.wait(1).await;
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.policies(Err("the binding is gone")).await;
    forge(&mut poll, &last, "carol", Verb::Approve, 0).await;
    poll.wait(2).await;
    *poll.running.world.proof.lock().unwrap() = None;
    let now = poll.running.clock.now();
    poll.policies(Ok(now)).await;
    poll.wait(200).await;
    assert_eq!(poll.writes(), 1, "forged votes went");
}

/// T7: the object is reopened by a late watch event; a vote on the old object counts for the new one.
#[tokio::test]
async fn votes_on_an_object_that_has_ended_do_not_count_for_the_next() {
    let mut poll = Poll::start(&TWO).await;
    let first = poll.last();
    tell(&poll, &first).await;
    let ClusterChange::Workload(mut workload) = changed("2", &TWO) else { unreachable!() };
    workload.annotations = Arc::new(BTreeMap::new());
    poll.send(ClusterChange::Workload(workload)).await;
    poll.wait(5).await;
    // The watch is late.
    tell(&poll, &first).await;
    poll.send(changed("3", &TWO)).await;
    poll.wait(100).await;
    let second = poll.last();
    assert_eq!(second.phase.name(), PhaseName::Waiting);
    // The new object has another uid.
    let object = ObjectName { name: "o2".into(), uid: "u2".into() };
    poll.send(ClusterChange::Record(Box::new(second), Version("1".into()), Some(object))).await;
    forge(&mut poll, &first, "alice", Verb::Approve, 0).await;
    forge(&mut poll, &first, "bob", Verb::Approve, 0).await;
    poll.wait(5).await;
    assert_eq!(poll.writes(), 0, "votes on another object count");
}

/// T8: one container's registry is away.
#[tokio::test]
async fn the_registry_of_another_container_holds_up_nothing() {
    let ClusterChange::Workload(mut workload) = annotated("web", &[("approvals", "1")]) else { unreachable!() };
    workload.containers.push(Container { name: "side".into(), image: "r.io/down:1.0.0".into(), init: false, index: 1 });
    let mut poll = Poll::of(ClusterChange::Workload(workload)).await;
    poll.wait(100).await;
    poll.vote("alice", Verb::Approve).await;
    poll.wait(1200).await;
    assert_eq!(poll.writes(), 1);
}

/// T9: what waits costs how many proofs when votes are reached outside the window.
/// T10: a route change while it is in Git.
#[tokio::test]
async fn what_is_in_git_and_is_to_be_patched_instead_is_asked_about() {
    let poll = Poll::start(&[("write", "git:prod")]).await;
    let writes = poll.writes();
    poll.send(changed("2", &TWO)).await;
    poll.wait(400).await;
    let _ = writes;
    assert_eq!(poll.writes(), writes);
}

/// T11: the route changes after people have approved.
#[tokio::test]
async fn another_route_asks_anew() {
    let mut poll = Poll::start(&[("approvals", "2"), ("write", "git:prod")]).await;
    poll.vote("alice", Verb::Approve).await;
    poll.send(changed("2", &TWO)).await;
    poll.wait(10).await;
    poll.vote("bob", Verb::Approve).await;
    poll.wait(10).await;
    assert_eq!(poll.writes(), 0, "alice approved a commit to prod, not a patch");
}

/// T12: the object is deleted by an editor (DELETE is not guarded): nothing is told; who asks again?
/// T13: approved by enough, its deadline passes while something else keeps it.
#[tokio::test]
async fn what_is_approved_and_suspended_takes_no_cpu_after_its_deadline() {
    let mut poll = Poll::start(&[
        ("approvals", "1"),
        ("approval-timeout", "1h"),
        ("window", "13:00-15:00"),
        ("poll", "every 12h"),
    ])
    .await;
    poll.vote("alice", Verb::Approve).await;
    poll.is(PhaseName::Waiting, "1 of 1 (alice)", "1.0.1");
    poll.send(changed(
        "2",
        &[
            ("approvals", "1"),
            ("approval-timeout", "1h"),
            ("window", "13:00-15:00"),
            ("poll", "every 12h"),
            ("suspend", "true"),
        ],
    ))
    .await;
    poll.wait(3600 + 3590).await;
    let spun = tokio::time::timeout(Duration::from_secs(10), poll.wait(20)).await.is_err();
    assert!(!spun, "the loop spins");
}

/// T13b: the same while it is not sure who votes.
#[tokio::test]
async fn what_is_approved_and_unguarded_takes_no_cpu_after_its_deadline() {
    let mut poll = Poll::start(&[("approvals", "1"), ("approval-timeout", "1h"), ("poll", "every 12h")]).await;
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.wait(61).await;
    let last = poll.last();
    tell(&poll, &last).await;
    forge(&mut poll, &last, "alice", Verb::Approve, 0).await;
    poll.wait(3500).await;
    let spun = tokio::time::timeout(Duration::from_secs(10), poll.wait(60)).await.is_err();
    assert!(!spun, "the loop spins");
}

/// T14: the registry is away when the last vote comes; then it comes back.
/// T15: a guard raises what is needed while it waits for its turn.
#[tokio::test]
async fn more_may_be_needed_when_the_window_opens() {
    let guards: Arc<[supercargo::domain::guard::Guard]> =
        serde_json::from_str::<Vec<supercargo::domain::guard::Guard>>(r#"[{"namespaces": ["*"], "approvals": 3}]"#)
            .unwrap()
            .into();
    let mut poll = Poll::start(&[("approvals", "2"), ("window", "13:00-15:00")]).await;
    poll.vote("alice", Verb::Approve).await;
    poll.vote("bob", Verb::Approve).await;
    poll.running._kept.1.send_replace(Settings { guards, ..settings(0) });
    poll.wait(3700).await;
    assert_eq!(poll.writes(), 0);
    poll.vote("carol", Verb::Approve).await;
    poll.wait(100).await;
    assert_eq!(poll.writes(), 1);
}

/// T16: an update that was written and moved back by hand: do its old votes let it go again?
#[tokio::test]
async fn what_was_set_back_is_asked_about_anew() {
    let mut poll = Poll::start(&[("approvals", "1"), ("write", "git:prod")]).await;
    poll.vote("alice", Verb::Approve).await;
    poll.is(PhaseName::InGit, "1 of 1 (alice)", "1.0.1");
    let to = poll.last().update.changes().next().unwrap().to.to_string();
    let notes = [("approvals", "1"), ("write", "git:prod")];
    let ClusterChange::Workload(mut workload) = changed("3", &notes) else { unreachable!() };
    workload.containers[0].image = to.as_str().into();
    poll.send(ClusterChange::Workload(workload)).await;
    poll.wait(100).await;
    poll.send(changed("4", &notes)).await;
    poll.wait(300).await;
    assert_eq!(poll.writes(), 1, "it goes again by old votes");
}

/// T17: Git takes only one of two containers.
#[tokio::test]
async fn what_git_takes_a_part_of_is_asked_about_once() {
    let notes = [("approvals", "1"), ("write", "git:prod"), ("poll", "every 12h")];
    let ClusterChange::Workload(mut workload) = annotated("web", &notes) else { unreachable!() };
    workload.containers.push(Container { name: "side".into(), image: "r.io/web:1.0.0".into(), init: false, index: 1 });
    let left = vec![supercargo::domain::update::LeftOut {
        container: "side".into(),
        init: false,
        reason: Reason::new(Code::GitConflict, "no file names it"),
    }];
    let partly = Outcome::Partly(Reason::new(Code::Committed, "commit 1"), left);
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running = Running::with(vec![ClusterChange::Workload(workload)], registry.clone(), true, 0, vec![partly]).await;
    let mut poll = Poll { running, registry, made: 0 };
    poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
    poll.wait(6).await;
    poll.vote("alice", Verb::Approve).await;
    assert_eq!(poll.stands().0, PhaseName::InGit);
    poll.wait(400).await;
    assert_eq!(poll.stands().0, PhaseName::InGit);
}

/// T18: how it stands in Git, while its policy changes (a restart keeps it).
#[tokio::test]
async fn what_is_in_git_is_not_asked_about_again_for_another_policy() {
    let mut poll = Poll::start(&[("approvals", "1"), ("write", "git:prod"), ("poll", "every 12h")]).await;
    poll.vote("alice", Verb::Approve).await;
    poll.is(PhaseName::InGit, "1 of 1 (alice)", "1.0.1");
    poll.send(changed("2", &[("approvals", "1"), ("write", "git:prod"), ("poll", "every 12h"), ("ignore", "9.*")]))
        .await;
    poll.wait(400).await;
    assert_eq!(poll.stands().0, PhaseName::InGit);
}

/// T19: a patch whose images an admission rewrites, then kept.
#[tokio::test]
async fn a_container_that_comes_after_a_vote_asks_anew() {
    let notes = [("approvals", "2"), ("poll", "every 12h")];
    let mut poll = Poll::start(&notes).await;
    poll.vote("alice", Verb::Approve).await;
    let ClusterChange::Workload(mut workload) = changed("2", &notes) else { unreachable!() };
    workload.containers.push(Container { name: "side".into(), image: "r.io/web:1.0.0".into(), init: false, index: 1 });
    poll.send(ClusterChange::Workload(workload)).await;
    poll.wait(100).await;
    poll.vote("bob", Verb::Approve).await;
    poll.wait(100).await;
}

/// T20: a gap in which a hundred reviews are forged; then the real people vote.
#[tokio::test]
async fn a_hundred_forged_votes_keep_the_real_ones_not_out() {
    let mut poll = Poll::start(&TWO).await;
    let last = poll.last();
    tell(&poll, &last).await;
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.policies(Err("the binding is gone")).await;
    for n in 0..100 {
        forge(&mut poll, &last, &format!("mallory{n}"), Verb::Approve, 0).await;
    }
    poll.wait(2).await;
    *poll.running.world.proof.lock().unwrap() = None;
    let now = poll.running.clock.now();
    poll.policies(Ok(now)).await;
    poll.wait(30).await;
    poll.vote("alice", Verb::Approve).await;
    poll.vote("bob", Verb::Approve).await;
    poll.wait(100).await;
    assert_eq!(poll.writes(), 1, "the real votes are deleted");
}

/// T23: a vote is listed before the sync, its update is told of after.
#[tokio::test]
async fn a_vote_may_be_told_before_and_its_update_after_all_is_known() {
    let poll = Poll::start(&[("approvals", "1")]).await;
    let asked = poll.last();
    let object = Poll::object(&asked);
    let review = Review {
        namespace: "shop".into(),
        name: "r1".into(),
        update: object.name.clone(),
        uid: object.uid.clone(),
        target: asked.update.target(),
        vote: Vote {
            verb: Verb::Approve,
            by: "alice".into(),
            on_behalf_of: None,
            overrides: false,
            reason: "".into(),
            at: poll.running.clock.now(),
        },
        is_mapped: false,
    };
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let changes = vec![
        annotated("web", &[("approvals", "1")]),
        ClusterChange::Policies(0, Ok("2026-01-01T00:00:00Z".parse().unwrap())),
        ClusterChange::Review(1, Box::new(review)),
    ];
    let running = Running::with(changes, registry.clone(), true, 0, vec![]).await;
    let poll = Poll { running, registry, made: 1 };
    tell(&poll, &asked).await;
    poll.wait(300).await;
    assert_eq!(poll.writes(), 1, "the vote is lost");
}

/// T25: a vote is made before the restart, and recorded as two; only one is there.
#[tokio::test]
async fn what_was_recorded_of_votes_is_not_believed() {
    let mut poll = Poll::start(&TWO).await;
    poll.vote("alice", Verb::Approve).await;
    let mut asked = poll.last();
    let forged = asked.approval.as_ref().unwrap().votes[0].clone();
    asked.approval.as_mut().unwrap().votes.push(Vote { by: "bob".into(), ..forged });
    let changes = vec![
        annotated("web", &TWO),
        ClusterChange::Policies(0, Ok("2026-01-01T00:00:00Z".parse().unwrap())),
        ClusterChange::Record(Box::new(asked.clone()), Version("1".into()), Some(Poll::object(&asked))),
    ];
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running = Running::with(changes, registry.clone(), true, 0, vec![]).await;
    let poll = Poll { running, registry, made: 1 };
    poll.wait(300).await;
    assert_eq!(poll.writes(), 0);
    // Told of later, by another process.
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let changes = vec![annotated("web", &TWO), ClusterChange::Policies(0, Ok("2026-01-01T00:00:00Z".parse().unwrap()))];
    let running = Running::with(changes, registry.clone(), false, 0, vec![]).await;
    let poll = Poll { running, registry, made: 1 };
    tell(&poll, &asked).await;
    poll.running.leader.send_replace(true);
    poll.wait(300).await;
    assert_eq!(poll.writes(), 0);
}

/// T26: another process leads, finds a gap, records the void; then this one leads.
/// T17b: and it is approved again and again.
#[tokio::test]
async fn what_git_takes_a_part_of_is_written_once() {
    let notes = [("approvals", "1"), ("write", "git:prod"), ("poll", "every 12h")];
    let ClusterChange::Workload(mut workload) = annotated("web", &notes) else { unreachable!() };
    workload.containers.push(Container { name: "side".into(), image: "r.io/web:1.0.0".into(), init: false, index: 1 });
    let partly = || {
        let left = vec![supercargo::domain::update::LeftOut {
            container: "side".into(),
            init: false,
            reason: Reason::new(Code::GitConflict, "no file names it"),
        }];
        Outcome::Partly(Reason::new(Code::Committed, "commit 1"), left)
    };
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let answers = (0..20).map(|_| partly()).collect();
    let running = Running::with(vec![ClusterChange::Workload(workload)], registry.clone(), true, 0, answers).await;
    let mut poll = Poll { running, registry, made: 0 };
    poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
    poll.wait(6).await;
    for _ in 0..5 {
        let last = poll.last();
        let object = ObjectName { name: format!("o{}", poll.made).into(), uid: format!("u{}", poll.made).into() };
        poll.send(ClusterChange::Record(Box::new(last.clone()), Version("1".into()), Some(object.clone()))).await;
        poll.made += 1;
        let review = Review {
            namespace: "shop".into(),
            name: format!("r{}", poll.made).into(),
            update: object.name,
            uid: object.uid,
            target: last.update.target(),
            vote: Vote {
                verb: Verb::Approve,
                by: "alice".into(),
                on_behalf_of: None,
                overrides: false,
                reason: "".into(),
                at: poll.running.clock.now(),
            },
            is_mapped: false,
        };
        poll.send(ClusterChange::Review(poll.made, Box::new(review))).await;
        poll.wait(100).await;
    }
    assert_eq!(poll.writes(), 1);
}

/// T29: a gap while it is rehearsed again; the same as t1 by a policy that is only edited.
#[tokio::test]
async fn what_is_forged_while_it_is_refused_and_the_policies_are_edited_never_counts() {
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running = Running::with(vec![annotated("web", &TWO)], registry.clone(), true, 0, vec![]).await;
    *running.world.rehearsals.lock().unwrap() = vec![Rehearsal::Refused("no".into())];
    let mut poll = Poll { running, registry, made: 0 };
    poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
    poll.wait(6).await;
    let last = poll.last();
    tell(&poll, &last).await;
    // It is weakened, which the proof does not show; two are forged; it is made right again.
    let now = poll.running.clock.now();
    poll.policies(Ok(now)).await;
    poll.wait(20).await;
    forge(&mut poll, &last, "alice", Verb::Approve, 0).await;
    let now = poll.running.clock.now();
    poll.policies(Ok(now)).await;
    forge(&mut poll, &last, "bob", Verb::Approve, 0).await;
    poll.wait(100).await;
    assert_eq!(poll.writes(), 0, "forged votes went");
}

async fn t30(online: bool, code: Code) -> usize {
    let poll = Poll::start(&TWO).await;
    let mut forged = poll.last();
    forged.approval = None;
    forged.update.policy_hash = "made-up".into();
    forged.phase = Phase::InGit { reason: Reason::new(code, "made up"), left: vec![] };
    forged.log = vec![];
    let told = ClusterChange::Record(Box::new(forged.clone()), Version("1".into()), None);
    let mut changes = vec![annotated("web", &TWO), ClusterChange::Policies(0, Err("the binding is gone".into()))];
    if !online {
        changes.push(told.clone());
    }
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running = Running::with(changes, registry.clone(), true, 0, vec![]).await;
    let poll = Poll { running, registry, made: 1 };
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.wait(5).await;
    if online {
        poll.send(told).await;
    }
    poll.wait(300).await;
    poll.writes()
}

#[tokio::test]
async fn a_record_forged_as_in_git_is_not_written_at_start() {
    assert_eq!(t30(false, Code::AdmissionRefused).await, 0);
}

#[tokio::test]
async fn a_record_forged_as_in_git_is_not_written_when_it_is_told_of() {
    assert_eq!(t30(true, Code::AdmissionRefused).await, 0);
}

#[tokio::test]
async fn a_record_forged_as_committed_is_not_written() {
    assert_eq!(t30(true, Code::Committed).await, 0);
}

/// T33: a hundred votes on nothing push out one whose update is told of a little later.
#[tokio::test]
async fn votes_on_nothing_push_out_no_early_one() {
    let mut poll = Poll::start(&[("approvals", "1")]).await;
    let last = poll.last();
    forge(&mut poll, &last, "alice", Verb::Approve, 0).await;
    let mut nothing = last.clone();
    nothing.update.id = UpdateId("0123456789abcdef".into());
    for _ in 0..100 {
        forge(&mut poll, &nothing, "mallory", Verb::Approve, 0).await;
    }
    tell(&poll, &last).await;
    poll.wait(100).await;
    assert_eq!(poll.writes(), 1, "{:?}", poll.stands());
}

/// T34: a no that comes while it is written and the workload has changed (`Stale`), and one more after a restart.
#[tokio::test]
async fn a_no_between_two_attempts_is_heard() {
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running =
        Running::with(vec![annotated("web", &TWO)], registry.clone(), true, 0, vec![Outcome::Refused("no".into())])
            .await;
    let mut poll = Poll { running, registry, made: 0 };
    poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
    poll.wait(6).await;
    poll.vote("alice", Verb::Approve).await;
    let last = poll.last();
    poll.vote("bob", Verb::Approve).await;
    assert_eq!(poll.writes(), 1);
    // Not while it is written: between two attempts.
    forge(&mut poll, &last, "carol", Verb::Reject, 0).await;
    poll.wait(400).await;
    assert_eq!(poll.writes(), 1);
}
