//! The engine's loop with the outside world at hand: timers, retries, a stop, leadership and batches, in no time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use globset::{Glob, GlobSet};
use supercargo::{
    domain::{
        hint::{Hint, Source},
        image::{Digest, ImageRef, Repository, Tag},
        keel::KeelMode,
        plan::{Approved, Plan},
        poll::Schedule,
        reason::{Code, Reason},
        rollout::{RolloutView, Times},
        tags::Tags,
        target::TargetScope,
        update::{Change, Tracked, UpdateId, WorkloadState},
        votes::Review,
        workload::{Container, Workload, WorkloadId},
    },
    engine::{self, Inbox, Inputs, Ports, Settings},
    metrics::Metrics,
    ports::{
        Clock as _, ClusterChange, ClusterError, Events, Hints as _, ImageTimes, NamespaceDefaults, Notice, Observed,
        Origin, Outcome, Polling, Pool, Proof, PutError, RecordError, Records, Registry, RegistryError,
        RegistryErrorKind, Rollouts, Sink, Standing, Version, Votes, Work, Workloads, Written,
    },
    store::Memory,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::support::clock::SimClock;

mod forged;
mod votes;

/// What the sink was asked: written or checked, and which workloads.
#[derive(Debug, Clone, PartialEq)]
enum Asked {
    Write(Vec<String>),
    Check(Vec<String>),
}

/// Every part of the outside world. A write is answered by what is next in line, else it goes well.
#[derive(Default)]
struct World {
    asked: Mutex<Vec<(Duration, Asked)>>,
    answers: Mutex<Vec<Outcome>>,
    clock: Mutex<Option<SimClock>>,
    forgotten: Mutex<Vec<WorkloadId>>,
    saved: Mutex<Vec<Tracked>>,
    proof: Mutex<Option<Proof>>,
    rehearsals: Mutex<Vec<supercargo::domain::update::Rehearsal>>,
    proof_gate: Mutex<Option<oneshot::Receiver<()>>>,
    proofs: Mutex<u64>,
    changes: Mutex<Option<mpsc::Sender<ClusterChange>>>,
    /// Lets a write go on, if there is one.
    gate: Mutex<Option<oneshot::Receiver<()>>>,
}

impl World {
    fn note(&self, asked: fn(Vec<String>) -> Asked, plans: &[Plan<Approved>]) {
        let names = plans.iter().map(|plan| plan.update().workload.name.to_string()).collect();
        let now = self.clock.lock().unwrap().as_ref().unwrap().monotonic();
        self.asked.lock().unwrap().push((now, asked(names)));
    }

    fn asked(&self) -> Vec<(u64, Asked)> {
        self.asked.lock().unwrap().iter().map(|(at, asked)| (at.as_secs(), asked.clone())).collect()
    }
}

fn unavailable<T>() -> Result<T, RegistryError> {
    Err(RegistryError { kind: RegistryErrorKind::Unavailable, message: "away".to_owned() })
}

/// Every repository lists these, and has a manifest for some of them.
#[derive(Clone)]
struct Tagged(Arc<Mutex<Vec<&'static str>>>, Arc<Mutex<Manifests>>);

/// The tags that have a manifest, and the digit that its digest is made of.
type Manifests = (Vec<&'static str>, &'static str);

fn tagged(tags: &[&'static str]) -> Tagged {
    Tagged(Arc::new(Mutex::new(tags.to_vec())), Arc::new(Mutex::new((vec!["1.0.1", "1.1.0"], "1"))))
}

impl Registry for Tagged {
    fn within(&self, _: &Arc<str>, _: usize) -> Box<dyn Registry> {
        Box::new(self.clone())
    }

    fn tags<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Tags, RegistryError>> {
        if source.repository.to_string().contains("down") {
            return Box::pin(async { unavailable() });
        }
        let tags: Vec<Tag> = self.0.lock().unwrap().iter().map(|tag| Tag::parse(tag).unwrap()).collect();
        Box::pin(async move { Ok(tags.iter().collect()) })
    }

    fn digest<'a>(&'a self, _: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<Digest, RegistryError>> {
        let error = RegistryError { kind: RegistryErrorKind::NotFound, message: "no such manifest".to_owned() };
        let (tags, digit) = self.1.lock().unwrap().clone();
        let digest =
            tags.contains(&tag.as_str()).then(|| Digest::parse(&format!("sha256:{}", digit.repeat(64))).unwrap());
        Box::pin(async move { digest.ok_or(error) })
    }

    fn has<'a>(&'a self, _: &'a Source, _: &'a ImageRef) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async { unavailable() })
    }

    fn image<'a>(&'a self, _: &'a Source, _: &'a Tag) -> BoxFuture<'a, Result<ImageTimes, RegistryError>> {
        Box::pin(async { unavailable() })
    }

    fn origin<'a>(&'a self, _: &'a Source, _: &'a ImageRef) -> BoxFuture<'a, Result<Origin, RegistryError>> {
        Box::pin(async { unavailable() })
    }
}

impl Sink for World {
    fn apply<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Outcome>> {
        self.note(Asked::Write, &plans);
        let gate = self.gate.lock().unwrap().take();
        let answer = |plan: &Plan<Approved>| {
            let next = self.answers.lock().unwrap().pop();
            next.unwrap_or_else(|| match plan.update().route.target() {
                Some(_) => Outcome::Committed(Reason::new(Code::Committed, "commit 1")),
                None => {
                    let image = |change: &Change| (change.container.clone(), change.to.to_string().into());
                    let images = plan.update().changes().map(image).collect();
                    Outcome::Applied(Written { resource_version: "2".into(), images, ..Written::default() })
                }
            })
        };
        let outcomes = plans.iter().map(answer).collect();
        Box::pin(async move {
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            outcomes
        })
    }

    fn rehearse<'a>(
        &'a self,
        _: &'a Plan<supercargo::domain::plan::Proposed>,
    ) -> BoxFuture<'a, supercargo::domain::update::Rehearsal> {
        let next = self.rehearsals.lock().unwrap().pop();
        Box::pin(std::future::ready(next.unwrap_or(supercargo::domain::update::Rehearsal::Accepted)))
    }

    fn check<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Standing>> {
        self.note(Asked::Check, &plans);
        let there = Standing::InGit(Reason::new(Code::Committed, "it is there"), Vec::new());
        Box::pin(async move { vec![there; plans.len()] })
    }
}

impl Workloads for World {
    fn get<'a>(&'a self, _: &'a WorkloadId) -> BoxFuture<'a, Result<Option<Observed>, ClusterError>> {
        Box::pin(async { Ok(None) })
    }
}

impl Records for World {
    fn put<'a>(&'a self, update: &'a Tracked, _: Option<&'a Version>) -> BoxFuture<'a, Result<Version, PutError>> {
        Box::pin(async move {
            self.saved.lock().unwrap().push(update.clone());
            Ok(Version("1".into()))
        })
    }

    fn get<'a>(
        &'a self,
        _: &'a WorkloadId,
        _: &'a UpdateId,
    ) -> BoxFuture<'a, Result<Option<(Tracked, Version)>, RecordError>> {
        Box::pin(async { Ok(None) })
    }

    fn of<'a>(&'a self, _: &'a WorkloadId) -> BoxFuture<'a, Result<Vec<(Tracked, Version)>, RecordError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn state<'a>(&'a self, _: &'a WorkloadId) -> BoxFuture<'a, Result<Option<(WorkloadState, Version)>, RecordError>> {
        Box::pin(async { Ok(None) })
    }

    fn put_state<'a>(
        &'a self,
        _: &'a WorkloadState,
        _: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, PutError>> {
        Box::pin(async { Ok(Version("1".into())) })
    }

    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move {
            // As a store on a disk or in a cluster does.
            tokio::task::yield_now().await;
            self.forgotten.lock().unwrap().push(workload.clone());
            Err(RecordError("the disk is full".to_owned()))
        })
    }
}

/// It is sure who votes, unless a test says otherwise.
impl Votes for World {
    fn prove<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Proof> {
        let (clock, proof) = (self.clock.lock().unwrap().clone().unwrap(), self.proof.lock().unwrap().clone());
        *self.proofs.lock().unwrap() += 1;
        let gate = self.proof_gate.lock().unwrap().take();
        Box::pin(async move {
            let at = clock.now();
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            proof.unwrap_or(Proof::Guarded(at))
        })
    }

    fn discard<'a>(&'a self, _: &'a Review) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// No pod is wanted of any workload.
impl Rollouts for World {
    fn follow(&self, id: &WorkloadId) {
        let changes = self.changes.lock().unwrap().clone().unwrap();
        let view = RolloutView { uid: "u".into(), ..RolloutView::default() };
        changes.try_send(ClusterChange::Rollout(id.clone(), view)).unwrap();
    }

    fn unfollow(&self, _: &WorkloadId) {}

    fn free(&self, _: &WorkloadId, _: Vec<Change>) {}
}

impl Events for World {
    fn publish(&self, _: Notice) {}
}

impl Polling for World {
    fn set(&self, _: Source, _: Vec<Schedule>) {}
}

impl Pool for World {
    fn run(&self, _: &Arc<str>, work: Work) {
        work(&|| Duration::ZERO);
    }
}

/// A loop that runs.
struct Running {
    world: Arc<World>,
    clock: SimClock,
    metrics: Arc<Metrics>,
    changes: mpsc::Sender<ClusterChange>,
    inbox: Inbox,
    leader: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
    _kept: (mpsc::Sender<Source>, watch::Sender<Settings>, watch::Receiver<bool>),
}

fn settings(window: u64) -> Settings {
    let every = GlobSet::builder().add(Glob::new("*").unwrap()).build().unwrap();
    let target = TargetScope { namespaces: every, requests: false, batch_window: Duration::from_secs(window) };
    Settings {
        poll_interval: Duration::from_secs(300),
        named: Arc::default(),
        keel: KeelMode::Ignore,
        rollout: Times::default(),
        guards: Arc::default(),
        targets: Arc::new([("prod".into(), target)].into_iter().collect()),
        dry_run: false,
        all: None,
        operator_serves: Arc::new(|_, _| false),
        argocd_namespaces: Arc::new(|_| false),
        speaks_for: Arc::new(|_, _| false),
        await_namespaces: true,
        await_webhooks: true,
        keep_reasons: false,
        show_gates: false,
        at: None,
    }
}

fn workload(name: &str, write: &str) -> ClusterChange {
    annotated(name, &[("write", write)])
}

fn annotated(name: &str, annotations: &[(&str, &str)]) -> ClusterChange {
    let all = [("policy", "patch")].into_iter().chain(annotations.iter().copied());
    ClusterChange::Workload(Box::new(Workload {
        id: format!("shop/Deployment/{name}").parse().unwrap(),
        uid: "u".into(),
        resource_version: "1".into(),
        annotations: Arc::new(all.map(|(key, value)| (format!("supercargo.dev/{key}"), value.to_owned())).collect()),
        written: None,
        labels: BTreeMap::new(),
        has_annotations: true,
        containers: vec![Container { name: "app".into(), image: "r.io/web:1.0.0".into(), init: false, index: 0 }],
        owner: None,
        instance: None,
        pull_secrets: Vec::new(),
    }))
}

impl Running {
    /// With these workloads, and with a write that is answered by each of these, in turn.
    async fn start(workloads: &[(&str, &str)], leads: bool, window: u64, answers: Vec<Outcome>) -> Self {
        let workloads = workloads.iter().map(|(name, write)| workload(name, write)).collect();
        Self::with(workloads, tagged(&["1.0.0", "1.0.1"]), leads, window, answers).await
    }

    async fn with(
        workloads: Vec<ClusterChange>,
        registry: Tagged,
        leads: bool,
        window: u64,
        answers: Vec<Outcome>,
    ) -> Self {
        let world = Arc::new(World::default());
        let clock = SimClock::at("2026-03-01T12:00:00Z");
        *world.clock.lock().unwrap() = Some(clock.clone());
        *world.answers.lock().unwrap() = answers.into_iter().rev().collect();
        let metrics = Arc::new(Metrics::default());
        let ports = Ports {
            registry: Arc::new(registry),
            workloads: world.clone(),
            sink: world.clone(),
            records: world.clone(),
            histories: Arc::new(Memory::new(Arc::new(clock.clone()))),
            rollouts: world.clone(),
            votes: world.clone(),
            events: world.clone(),
            polling: world.clone(),
            pool: world.clone(),
            clock: Arc::new(clock.clone()),
            metrics: metrics.clone(),
        };
        let (changes, changed) = mpsc::channel(64);
        *world.changes.lock().unwrap() = Some(changes.clone());
        let (due_sender, due) = mpsc::channel(1);
        let (settings_sender, settings) = watch::channel(settings(window));
        let (leader, leads) = watch::channel(leads);
        let (ready_sender, ready) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let inbox = Inbox::default();
        let inputs = Inputs {
            changes: changed,
            due,
            inbox: inbox.clone(),
            asks: supercargo::engine::view().1,
            settings,
            leader: leads,
            ready: ready_sender,
        };
        let ended = tokio::spawn(engine::run(ports, inputs, async move {
            let _ = stopped.await;
        }));
        let namespace = NamespaceDefaults { name: "shop".to_owned(), annotations: BTreeMap::new() };
        changes.send(ClusterChange::Namespace(namespace)).await.unwrap();
        for workload in workloads {
            changes.send(workload).await.unwrap();
        }
        changes.send(ClusterChange::Synced).await.unwrap();
        let kept = (due_sender, settings_sender, ready);
        let running = Self { world, clock, metrics, changes, inbox, leader, stop: Some(stop), ended, _kept: kept };
        running.clock.advance(Duration::from_secs(1)).await;
        running
    }

    /// How many updates ended so.
    fn counted(&self, outcome: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|line| line.starts_with("supercargo_updates_total") && line.contains(outcome));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }
}

fn hint(tag: &str) -> Hint {
    let (repository, tag) = (Repository::parse("r.io/web").unwrap(), Tag::parse(tag).ok());
    Hint { repository, tag, digest: None, sender: "distribution" }
}

fn write(names: &[&str]) -> Asked {
    Asked::Write(names.iter().map(|&name| name.to_owned()).collect())
}

#[tokio::test]
async fn poll_never_waits_for_a_webhook_whoever_else_looks() {
    let hooked = annotated("hooked", &[("poll", "never")]);
    let workloads = vec![hooked, workload("polled", "cluster")];
    let running = Running::with(workloads, tagged(&["1.0.0", "1.0.1"]), true, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(600)).await;
    assert_eq!(running.world.asked(), [(0, write(&["polled"]))], "neither the start nor another's poll updates it");
    let repository = Repository::parse("r.io/web").unwrap();
    let hint = |tag: &str| Hint {
        repository: repository.clone(),
        tag: Tag::parse(tag).ok(),
        digest: None,
        sender: "distribution",
    };
    running.inbox.offer(hint("1.0.1"));
    running.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(running.world.asked()[1..], [(601, write(&["hooked"]))]);
}

#[tokio::test]
async fn a_webhook_that_comes_while_the_last_one_s_update_is_written_counts() {
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let hooked = annotated("web", &[("poll", "never"), ("policy", "minor")]);
    let running = Running::with(vec![hooked], registry.clone(), true, 0, vec![]).await;
    let (go, gate) = oneshot::channel();
    *running.world.gate.lock().unwrap() = Some(gate);
    running.inbox.offer(hint("1.0.1"));
    running.clock.advance(Duration::from_secs(1)).await;
    registry.0.lock().unwrap().push("1.1.0");
    running.inbox.offer(hint("1.1.0"));
    running.clock.advance(Duration::from_secs(1)).await;
    go.send(()).unwrap();
    running.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(running.world.asked().len(), 2, "{:?}", running.world.asked());
}

#[tokio::test]
async fn a_tag_without_a_manifest_is_passed_over_where_a_digest_is_written() {
    let pinned = annotated("web", &[("pin", "digest")]);
    let running = Running::with(vec![pinned], tagged(&["1.0.0", "1.0.1", "1.0.2"]), true, 0, vec![]).await;
    let saved = running.world.saved.lock().unwrap();
    let [Tracked { update, .. }, ..] = &saved[..] else { panic!("{saved:?}") };
    let evidence = update.items[0].evidence.as_ref().unwrap();
    assert_eq!(evidence.tag.as_str(), "1.0.1");
    let passed: Vec<(&str, Code)> =
        evidence.passed.iter().map(|reason| (reason.tag.as_ref().unwrap().as_str(), reason.code)).collect();
    assert_eq!(passed, [("1.0.2", Code::RegistryNotFound)]);
}

#[tokio::test]
async fn a_registry_that_has_no_candidate_s_manifest_is_told_of_and_nothing_is_written() {
    let pinned = annotated("web", &[("pin", "digest")]);
    let running = Running::with(vec![pinned], tagged(&["1.0.0", "1.0.2", "1.0.3"]), true, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(60)).await;
    assert_eq!(running.world.asked(), []);
}

#[tokio::test]
async fn who_comes_to_lead_writes_what_waits() {
    let running = Running::start(&[("web", "cluster")], false, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(60)).await;
    assert_eq!(running.world.asked(), []);
    running.leader.send(true).unwrap();
    running.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(running.world.asked(), [(61, write(&["web"]))]);
    running.leader.send(false).unwrap();
    running.changes.send(workload("api", "cluster")).await.unwrap();
    running.clock.advance(Duration::from_secs(600)).await;
    assert_eq!(running.world.asked().len(), 1, "it leads no more");
}

#[tokio::test]
async fn a_check_of_what_stands_in_git_is_no_write_and_counts_as_none() {
    let running = Running::start(&[("web", "git:prod")], true, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(200)).await;
    let check = || Asked::Check(vec!["web".to_owned()]);
    assert_eq!(running.world.asked(), [(0, write(&["web"])), (30, check()), (90, check())]);
    assert_eq!(running.counted("committed"), 1);
    assert_eq!(running.world.saved.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_not_written_is_tried_again_after_growing_delays() {
    let failed = || Outcome::Failed("away".to_owned());
    let answers = vec![failed(), failed(), Outcome::Refused("no".to_owned())];
    let running = Running::start(&[("web", "cluster")], true, 0, answers).await;
    running.clock.advance(Duration::from_secs(300)).await;
    let times: Vec<u64> = running.world.asked().iter().map(|(at, _)| *at).collect();
    // After 2, 4 and 8 s more of failures, or 60 s and more of a refusal.
    assert_eq!(times[..3], [0, 2, 6]);
    assert!(times.len() == 4 && times[3] >= 66, "{times:?}");
    assert_eq!((running.counted("failed"), running.counted("refused"), running.counted("applied")), (2, 1, 1));
}

#[tokio::test]
async fn what_comes_within_a_window_goes_into_one_batch() {
    let running = Running::start(&[("web", "git:prod"), ("api", "git:prod")], true, 10, vec![]).await;
    running.changes.send(workload("late", "git:prod")).await.unwrap();
    running.clock.advance(Duration::from_secs(5)).await;
    assert_eq!(running.world.asked(), []);
    running.clock.advance(Duration::from_secs(6)).await;
    let asked = running.world.asked();
    let [(10, Asked::Write(names))] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{names:?}");
}

#[tokio::test]
async fn a_stop_ends_the_write_that_is_under_way_and_begins_none() {
    let (go, gate) = oneshot::channel();
    let mut running = Running::start(&[], true, 0, vec![]).await;
    *running.world.gate.lock().unwrap() = Some(gate);
    running.changes.send(workload("web", "git:prod")).await.unwrap();
    running.clock.advance(Duration::from_secs(1)).await;
    running.changes.send(workload("api", "git:prod")).await.unwrap();
    running.clock.advance(Duration::from_secs(1)).await;
    running.stop.take().unwrap().send(()).unwrap();
    running.clock.advance(Duration::from_secs(1)).await;
    assert!(!running.ended.is_finished(), "a write is under way");
    go.send(()).unwrap();
    running.ended.await.unwrap();
    assert_eq!(running.world.asked().iter().map(|(_, asked)| asked.clone()).collect::<Vec<_>>(), [write(&["web"])]);
    assert_eq!(running.world.saved.lock().unwrap().len(), 1, "and it is recorded");
}

#[tokio::test]
async fn a_workload_that_is_gone_is_forgotten_by_a_store_that_takes_its_time() {
    let running = Running::start(&[("web", "cluster")], true, 0, vec![]).await;
    let id: WorkloadId = "shop/Deployment/web".parse().unwrap();
    running.changes.send(ClusterChange::WorkloadGone(id.clone())).await.unwrap();
    running.clock.advance(Duration::from_secs(1)).await;
    // The store's disk is full: it is tried again.
    assert_eq!(running.world.forgotten.lock().unwrap()[..2], [id.clone(), id]);
}

/// An hour after the clocks of these tests start, for an hour, and looked at once before that.
const AT_ONE: [(&str, &str); 2] = [("window", "Sun 13:00-14:00"), ("poll", "every 12h")];

#[tokio::test]
async fn an_update_starts_when_its_window_opens_on_a_fresh_look() {
    let registry = tagged(&["1.0.0", "1.0.1"]);
    let running = Running::with(vec![annotated("web", &AT_ONE)], registry.clone(), true, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(3590)).await;
    assert_eq!(running.world.asked(), []);
    registry.0.lock().unwrap().push("1.0.2");
    running.clock.advance(Duration::from_secs(70)).await;
    let asked = running.world.asked();
    assert!(matches!(&asked[..], [(3600..3660, of)] if *of == write(&["web"])), "{asked:?}");
    let saved = running.world.saved.lock().unwrap();
    assert_eq!(saved[0].update.changes().next().unwrap().to.to_string(), "r.io/web:1.0.2");
}

#[tokio::test]
async fn what_opens_at_one_time_starts_within_a_minute_and_not_at_once() {
    let workloads = (0..50).map(|n| annotated(&format!("web-{n}"), &AT_ONE)).collect();
    let running = Running::with(workloads, tagged(&["1.0.0", "1.0.1"]), true, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(3700)).await;
    let asked = running.world.asked();
    let times: std::collections::BTreeSet<u64> = asked.iter().map(|(at, _)| *at).collect();
    assert_eq!(asked.len(), 50);
    assert!(times.iter().all(|at| (3600..3660).contains(at)) && times.len() > 20, "{times:?}");
}

#[tokio::test]
async fn a_window_that_is_short_is_not_missed() {
    let short = [("window", "13:00-13:01; 2026-03-02T12:00..2026-03-02T12:01"), ("poll", "every 12h")];
    let workloads = (0..20).map(|n| annotated(&format!("web-{n}"), &short)).collect();
    let running = Running::with(workloads, tagged(&["1.0.0", "1.0.1"]), true, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(3700)).await;
    assert_eq!(running.world.asked().len(), 20);
}

#[tokio::test]
async fn a_clock_that_is_set_opens_a_window_too() {
    let running = Running::with(vec![annotated("web", &AT_ONE)], tagged(&["1.0.0", "1.0.1"]), true, 0, vec![]).await;
    running.clock.jump(jiff::SignedDuration::from_mins(90));
    running.clock.advance(Duration::from_secs(31)).await;
    assert_eq!(running.world.asked().len(), 1);
}

#[tokio::test]
async fn what_waits_for_its_turn_when_the_window_closes_does_not_start() {
    let open = annotated("web", &[("window", "12:00-12:30")]);
    let running = Running::with(vec![open], tagged(&["1.0.0", "1.0.1"]), false, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(1900)).await;
    running.leader.send(true).unwrap();
    running.clock.advance(Duration::from_secs(3600)).await;
    assert_eq!(running.world.asked(), []);
    // Tomorrow it does.
    running.clock.advance(Duration::from_secs(86_400)).await;
    assert_eq!(running.world.asked().len(), 1);
}

#[tokio::test]
async fn a_request_that_is_open_is_seen_to_outside_the_window() {
    let open = annotated("web", &[("window", "12:00-12:30"), ("write", "git:prod")]);
    let running = Running::with(vec![open], tagged(&["1.0.0", "1.0.1"]), true, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(1900)).await;
    let checks = running.world.asked().len();
    running.clock.advance(Duration::from_secs(1900)).await;
    let asked = running.world.asked();
    assert_eq!(asked.iter().filter(|(_, asked)| matches!(asked, Asked::Write(_))).count(), 1, "{asked:?}");
    assert!(asked.len() > checks, "{asked:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_have_a_window_missed() {
    let running = Running::with(vec![annotated("web", &AT_ONE)], tagged(&["1.0.0", "1.0.1"]), true, 0, vec![]).await;
    // It was thought to be Sunday evening, so that it would open in a week.
    running.clock.jump(jiff::SignedDuration::from_hours(8));
    running.changes.send(annotated("web", &[("window", "Sun 13:00-14:00"), ("poll", "every 11h")])).await.unwrap();
    running.clock.advance(Duration::from_secs(31)).await;
    running.clock.jump(jiff::SignedDuration::from_hours(-8));
    running.clock.advance(Duration::from_secs(3700)).await;
    assert_eq!(running.world.asked().len(), 1, "{:?}", running.world.asked());
}

#[tokio::test]
async fn what_never_opens_by_a_wrong_clock_is_thought_of_again() {
    let once = annotated("web", &[("window", "2026-03-01T14:00..2026-03-01T15:00"), ("poll", "every 12h")]);
    let running = Running::with(vec![], tagged(&["1.0.0", "1.0.1"]), true, 0, vec![]).await;
    running.clock.jump(jiff::SignedDuration::from_hours(8));
    running.changes.send(once).await.unwrap();
    running.clock.advance(Duration::from_secs(1)).await;
    running.clock.jump(jiff::SignedDuration::from_hours(-8));
    running.clock.advance(Duration::from_secs(7300)).await;
    assert_eq!(running.world.asked().len(), 1, "{:?}", running.world.asked());
}

#[tokio::test]
async fn what_is_in_git_is_seen_to_also_if_nothing_more_may_ever_start() {
    let running = Running::start(&[("web", "git:prod")], true, 0, vec![]).await;
    running.clock.advance(Duration::from_secs(100)).await;
    let frozen = annotated("web", &[("freeze", "always"), ("write", "git:prod")]);
    running.changes.send(frozen).await.unwrap();
    let before = running.world.asked().len();
    running.clock.advance(Duration::from_secs(1900)).await;
    let after = running.world.asked();
    assert!(after.len() > before && after[1..].iter().all(|(_, asked)| matches!(asked, Asked::Check(_))), "{after:?}");
}
