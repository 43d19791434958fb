//! Approvals by a simulated clock. The API server's part, which is to have let each review be made, is played here; it is
//! real in `approvals`.

use jiff::Timestamp;
use supercargo::{
    domain::{
        guard::Guard,
        update::{Phase, PhaseName},
        votes::{Verb, Vote},
    },
    ports::ObjectName,
};

use super::*;

pub(super) const TWO: [(&str, &str); 1] = [("approvals", "2")];

/// A workload, the engine, and the reviews that were made.
pub(super) struct Poll {
    pub(super) running: Running,
    pub(super) registry: Tagged,
    pub(super) made: u64,
}

impl Poll {
    pub(super) async fn start(annotations: &[(&str, &str)]) -> Self {
        Self::of(annotated("web", annotations)).await
    }

    pub(super) async fn of(workload: ClusterChange) -> Self {
        let registry = tagged(&["1.0.0", "1.0.1"]);
        let running = Running::with(vec![workload], registry.clone(), true, 0, vec![]).await;
        let mut poll = Self { running, registry, made: 0 };
        poll.policies(Ok("2026-01-01T00:00:00Z".parse().unwrap())).await;
        poll.wait(6).await;
        poll
    }

    pub(super) async fn send(&self, change: ClusterChange) {
        self.running.changes.send(change).await.unwrap();
        self.wait(0).await;
    }

    pub(super) async fn policies(&mut self, said: Result<Timestamp, &str>) {
        self.made += 1;
        self.send(ClusterChange::Policies(self.made, said.map_err(Into::into))).await;
    }

    pub(super) async fn wait(&self, seconds: u64) {
        self.running.clock.advance(Duration::from_secs(seconds)).await;
    }

    /// The last that was recorded of any update, and its object, which the watch tells of.
    pub(super) fn last(&self) -> Tracked {
        self.running.world.saved.lock().unwrap().last().expect("nothing is recorded").clone()
    }

    pub(super) fn object(tracked: &Tracked) -> ObjectName {
        let id = format!("{}-{}", tracked.update.id, tracked.update.target());
        ObjectName { name: format!("o-{id}").into(), uid: format!("u-{id}").into() }
    }

    /// Where it waits, for whom, and the tag that it is about.
    pub(super) fn stands(&self) -> (PhaseName, String, String) {
        let last = self.last();
        let to = last.update.changes().next().unwrap().to.clone();
        let votes = last
            .approval
            .as_ref()
            .map(|approval| approval.shown().replace(" people have approved it", ""))
            .unwrap_or_default();
        (last.phase.name(), votes, to.tag.unwrap().to_string())
    }

    pub(super) fn is(&self, phase: PhaseName, votes: &str, tag: &str) {
        assert_eq!(self.stands(), (phase, votes.to_owned(), tag.to_owned()), "{:?}", self.last());
    }

    pub(super) async fn vote_on(&mut self, tracked: &Tracked, by: &str, verb: Verb, overrides: bool) {
        let object = Self::object(tracked);
        if *tracked == self.last() {
            let told = ClusterChange::Record(Box::new(tracked.clone()), Version("1".into()), Some(object.clone()));
            self.send(told).await;
        }
        self.made += 1;
        let at = self.running.clock.now();
        let review = Review {
            namespace: "shop".into(),
            name: format!("r{}", self.made).into(),
            update: object.name,
            uid: object.uid,
            target: tracked.update.target(),
            vote: Vote { verb, by: by.into(), on_behalf_of: None, overrides, reason: "seen".into(), at },
            is_mapped: false,
        };
        self.send(ClusterChange::Review(self.made, Box::new(review))).await;
        self.wait(1).await;
    }

    pub(super) async fn vote(&mut self, by: &str, verb: Verb) {
        let last = self.last();
        self.vote_on(&last, by, verb, false).await;
    }

    /// A new tag, and a look that finds it.
    pub(super) async fn push(&self, tag: &'static str) {
        self.registry.0.lock().unwrap().push(tag);
        self.registry.1.lock().unwrap().0.push(tag);
        let repository = ImageRef::parse("r.io/web").unwrap().repository;
        let source = Source { repository, credentials: supercargo::domain::hint::Credentials::default() };
        self.running._kept.0.send(source).await.unwrap();
        self.wait(2).await;
    }

    pub(super) fn writes(&self) -> usize {
        self.running.world.asked().iter().filter(|(_, asked)| matches!(asked, Asked::Write(_))).count()
    }

    /// What the last write was of.
    pub(super) async fn written(&self, tag: &str) {
        let updated =
            self.running.world.saved.lock().unwrap().iter().rev().find(|it| it.phase == Phase::Progressing).cloned();
        let to = updated.expect("nothing is written").update.changes().next().unwrap().to.clone();
        assert_eq!(to.to_string(), format!("r.io/web:{tag}@sha256:{}", self.registry.1.lock().unwrap().1.repeat(64)));
    }
}

#[tokio::test]
async fn two_people_are_needed_and_then_exactly_what_they_saw_is_written_by_digest() {
    let mut poll = Poll::start(&TWO).await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.1");
    let asked = poll.last();
    let deadline = asked.approval.as_ref().unwrap().deadline.unwrap();
    assert_eq!(deadline.duration_since(asked.update.proposed).as_hours(), 24);
    poll.vote("alice", Verb::Approve).await;
    poll.vote("alice", Verb::Approve).await;
    poll.is(PhaseName::Waiting, "1 of 2 (alice)", "1.0.1");
    assert_eq!(poll.writes(), 0);
    poll.vote("bob", Verb::Approve).await;
    poll.written("1.0.1").await;
    assert_eq!((poll.writes(), poll.stands().1.as_str()), (1, "2 of 2 (alice, bob)"), "who approved is recorded");
    let text = poll.running.metrics.encode();
    assert!(text.contains("supercargo_approvals_waiting 0"), "{text}");
    assert!(
        text.contains("reviews_total{outcome=\"counted\"} 2") && text.contains("{outcome=\"repeated\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn one_no_ends_it_and_only_a_newer_one_is_asked_for() {
    let mut poll = Poll::start(&TWO).await;
    poll.vote("alice", Verb::Approve).await;
    poll.vote("bob", Verb::Reject).await;
    poll.is(PhaseName::Rejected, "1 of 2 (alice)", "1.0.1");
    poll.wait(3600).await;
    poll.is(PhaseName::Rejected, "1 of 2 (alice)", "1.0.1");
    poll.push("1.0.2").await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.2");
}

#[tokio::test]
async fn who_is_not_heard_in_time_is_waited_for_no_longer() {
    let mut poll = Poll::start(&[("approvals", "2"), ("approval-timeout", "2h")]).await;
    poll.vote("alice", Verb::Approve).await;
    poll.wait(7100).await;
    poll.is(PhaseName::Waiting, "1 of 2 (alice)", "1.0.1");
    poll.wait(100).await;
    poll.is(PhaseName::Expired, "1 of 2 (alice)", "1.0.1");
    poll.vote("bob", Verb::Approve).await;
    poll.wait(3600).await;
    assert_eq!(poll.writes(), 0);
    poll.is(PhaseName::Expired, "1 of 2 (alice)", "1.0.1");
}

#[tokio::test]
async fn people_are_waited_for_while_the_window_is_open_and_it_goes_when_that_is() {
    // It is 12:00; four hours of the window are two days.
    let mut poll = Poll::start(&[("approvals", "1"), ("approval-timeout", "4h"), ("window", "13:00-15:00")]).await;
    poll.is(PhaseName::Waiting, "0 of 1", "1.0.1");
    let deadline = poll.last().approval.unwrap().deadline.unwrap();
    assert_eq!(deadline.to_string(), "2026-03-02T15:00:00Z");
    poll.wait(24 * 3600).await;
    poll.vote("alice", Verb::Approve).await;
    assert_eq!(poll.writes(), 0, "it is outside its window");
    poll.wait(3700).await;
    poll.written("1.0.1").await;
}

#[tokio::test]
async fn who_may_opens_the_window_but_not_what_a_guard_closes() {
    let mut poll = Poll::start(&[("approvals", "1"), ("window", "13:00-15:00")]).await;
    let last = poll.last();
    poll.vote_on(&last, "alice", Verb::Approve, true).await;
    poll.written("1.0.1").await;

    let guards: Arc<[Guard]> =
        serde_json::from_str::<Vec<Guard>>(r#"[{"namespaces": ["*"], "freeze": "12:00-12:30"}]"#).unwrap().into();
    let mut poll = Poll::start(&[("approvals", "1"), ("window", "15:00-16:00")]).await;
    poll.running._kept.1.send_replace(Settings { guards, ..settings(0) });
    poll.wait(1).await;
    let last = poll.last();
    poll.vote_on(&last, "alice", Verb::Approve, true).await;
    assert_eq!(poll.writes(), 0);
    poll.wait(31 * 60).await;
    poll.written("1.0.1").await;
}

#[tokio::test]
async fn a_newer_one_takes_the_place_of_what_nobody_has_approved_and_waits_for_what_somebody_has() {
    let poll = Poll::start(&TWO).await;
    poll.push("1.0.2").await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.2");
    let saved = poll.running.world.saved.lock().unwrap().clone();
    assert!(saved.iter().any(|it| it.phase == Phase::Superseded), "the first one ended");

    let mut poll = Poll::start(&TWO).await;
    poll.vote("alice", Verb::Approve).await;
    poll.push("1.0.2").await;
    poll.wait(700).await;
    poll.is(PhaseName::Waiting, "1 of 2 (alice)", "1.0.1");
    poll.vote("bob", Verb::Approve).await;
    poll.written("1.0.1").await;
}

#[tokio::test]
async fn what_points_elsewhere_when_it_is_to_go_is_asked_for_anew() {
    let mut poll = Poll::start(&TWO).await;
    poll.vote("alice", Verb::Approve).await;
    let asked = poll.last();
    poll.registry.1.lock().unwrap().1 = "2";
    poll.vote("bob", Verb::Approve).await;
    assert_eq!(poll.writes(), 0);
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.1");
    assert_ne!(poll.last().update.target(), asked.update.target());
    poll.vote_on(&asked, "carol", Verb::Approve, false).await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.1");
    poll.vote("alice", Verb::Approve).await;
    poll.vote("bob", Verb::Approve).await;
    poll.written("1.0.1").await;
}

#[tokio::test]
async fn another_policy_asks_anew() {
    let mut poll = Poll::start(&TWO).await;
    poll.vote("alice", Verb::Approve).await;
    let asked = poll.last();
    let ClusterChange::Workload(mut workload) = annotated("web", &[("approvals", "2"), ("ignore", "9.*")]) else {
        unreachable!()
    };
    workload.resource_version = "2".into();
    poll.send(ClusterChange::Workload(workload)).await;
    poll.wait(10).await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.1");
    assert_ne!(poll.last().update.target(), asked.update.target());
}

#[tokio::test]
async fn nobody_is_asked_before_it_is_sure_who_votes() {
    let mut poll = Poll::start(&TWO).await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.1");

    let running = Running::with(vec![annotated("web", &TWO)], tagged(&["1.0.0", "1.0.1"]), true, 0, vec![]).await;
    poll = Poll { running, registry: tagged(&[]), made: 0 };
    poll.wait(100).await;
    assert!(poll.running.world.saved.lock().unwrap().is_empty(), "nothing is known of the policies");
    poll.policies(Err("there is no policy")).await;
    poll.wait(100).await;
    assert!(poll.running.world.saved.lock().unwrap().is_empty());
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.policies(Ok("2026-03-01T12:00:00Z".parse().unwrap())).await;
    poll.wait(100).await;
    assert!(poll.running.world.saved.lock().unwrap().is_empty());
    *poll.running.world.proof.lock().unwrap() = None;
    poll.wait(61).await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.1");
}

#[tokio::test]
async fn what_was_said_while_it_was_not_sure_who_votes_never_counts() {
    let mut poll = Poll::start(&TWO).await;
    poll.vote("alice", Verb::Approve).await;
    *poll.running.world.proof.lock().unwrap() = Some(Proof::Unguarded("it was taken".to_owned()));
    poll.wait(61).await;
    let reason = poll.last().reason().unwrap().clone();
    assert_eq!((reason.code, reason.message.as_str()), (Code::ApprovalsUnguarded, "it was taken"));
    poll.vote("bob", Verb::Approve).await;
    poll.vote("mallory", Verb::Reject).await;
    poll.wait(30).await;
    assert_eq!(poll.writes(), 0);
    let last = poll.last();
    let is_told = last.reason().is_some_and(|reason| reason.code == Code::ApprovalsUnguarded);
    assert!(is_told && last.phase.name() == PhaseName::Waiting, "no vote ends or hides it: {last:?}");
    *poll.running.world.proof.lock().unwrap() = None;
    poll.wait(61).await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.1");
    assert!(poll.last().approval.unwrap().void.is_some(), "which is recorded");
    poll.vote("bob", Verb::Approve).await;
    poll.vote("carol", Verb::Approve).await;
    poll.written("1.0.1").await;
}

#[tokio::test]
async fn a_change_of_the_policies_voids_what_was_said_up_to_then() {
    let mut poll = Poll::start(&TWO).await;
    poll.vote("alice", Verb::Approve).await;
    poll.policies(Err("the binding is gone")).await;
    poll.vote("mallory", Verb::Approve).await;
    let now = poll.running.clock.now();
    poll.policies(Ok(now)).await;
    poll.vote("eve", Verb::Approve).await;
    poll.wait(10).await;
    poll.is(PhaseName::Waiting, "0 of 2", "1.0.1");
    poll.vote("bob", Verb::Approve).await;
    poll.is(PhaseName::Waiting, "1 of 2 (bob)", "1.0.1");
    assert_eq!(poll.writes(), 0);
}

#[tokio::test]
async fn waiting_costs_one_proof_a_minute_and_nothing_else() {
    let poll = Poll::start(&[("approvals", "2"), ("poll", "every 12h")]).await;
    let saved = poll.running.world.saved.lock().unwrap().len();
    poll.wait(3600).await;
    assert_eq!(poll.running.world.saved.lock().unwrap().len(), saved);
    assert_eq!(poll.running.world.asked(), []);
}

#[tokio::test]
async fn it_goes_to_git_when_it_is_approved_and_is_asked_about_once() {
    let mut poll = Poll::start(&[("approvals", "1"), ("write", "git:prod")]).await;
    poll.is(PhaseName::Waiting, "0 of 1", "1.0.1");
    poll.vote("alice", Verb::Approve).await;
    poll.is(PhaseName::InGit, "1 of 1 (alice)", "1.0.1");
    poll.wait(3600).await;
    poll.is(PhaseName::InGit, "1 of 1 (alice)", "1.0.1");
    assert_eq!(poll.writes(), 1);
}
