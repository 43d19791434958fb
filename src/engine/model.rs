//! Random histories against the whole engine but its loop: whatever comes in whatever order, nothing stale is proposed,
//! nothing is written twice or after somebody moved it back, what is scheduled and watched is what is used, and in the end
//! every workload runs what its policy wants, or says why not. At any moment the process may be killed: the next one knows
//! what the cluster and Git have.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use globset::{Glob, GlobSet};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::{
    domain::{
        hint::{Hint, Source},
        image::{Digest, ImageRef, Repository, Tag},
        keel::KeelMode,
        reason::{Code, Reason},
        report::{Report, Verdict},
        rollout::{Blame, Fault, Pods, RolloutView, Times},
        tags::Tags,
        target::{Route, TargetScope},
        update::{
            Act, Aim, Change, Event, Item, KEPT, LAST_UPDATE, LastUpdate, LogEntry, Now, Outcome, Phase, Proposal,
            PutsBack, Standing, Tracked, Update, UpdateId, Written,
        },
        wish::{What, Wish},
        workload::{Container, Kind, Workload, WorkloadId},
    },
    engine::{
        deciding::judging,
        index::{effect::Effect, settings::Settings, state::State},
        look::{look, question::LookResult, room::Size},
        report::rows::{assess, proposal},
        rollbacks::way_back,
        updates::propose::Planned,
        updates::{
            board::{Acts, Board},
            ledger::{Ledger, News},
            writing::{Entry, StoreAnswer},
        },
    },
    ports::{
        Clock, ClusterChange, ImageTimes, NamespaceDefaults, Observed, Origin, Pool, PutError, Records, Registry,
        RegistryError, RegistryErrorKind, Version, Work,
    },
    store::Memory,
};

const REPOSITORIES: usize = 3;
const WORKLOADS: usize = 4;
const NAMESPACES: usize = 2;

/// What happens next. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody writes a workload: policy, image tag, repositories of its containers, pull secret, a new object or not.
    Write {
        workload: usize,
        policy: Option<&'static str>,
        patch: usize,
        repositories: Vec<usize>,
        secret: bool,
        git: bool,
        /// Under `poll: never`.
        hooked: bool,
        new: bool,
        /// Under `rollback: auto`.
        back: bool,
    },
    Delete(usize),
    /// The watch tells of the oldest change it has not told of.
    Tell,
    Namespace(usize, Option<&'static str>),
    NamespaceGone(usize),
    Push(usize),
    Hint(usize, Option<usize>),
    Due(usize),
    Settings(KeelMode),
    StartLook(usize),
    EndLook(usize),
    FailLook(usize),
    /// The turn of a workload has come: what it writes is there, and the answer is under way.
    Turn(usize),
    /// What was written or checked is answered; or the answer is lost; or it was refused.
    EndWrite(usize),
    LoseWrite(usize),
    RefuseWrite(usize),
    EndRead(usize),
    /// What is to be remembered is; or one thing of it.
    Remember,
    RememberOne,
    /// What becomes of the next write to the store.
    Store(StoreFault),
    /// Somebody else writes what is remembered of a workload.
    WriteBeside(usize, Beside),
    /// Somebody sets an old image, and leaves all else as it is.
    MoveBack(usize, usize),
    /// What Git has comes to the cluster.
    Deploy(usize),
    Roll(usize, usize),
    /// A person wishes what ran before.
    Wish(usize),
    /// The process is killed, and started again.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum StoreFault {
    /// It is not there.
    Away,
    /// It takes nothing of that workload.
    Refuses,
    /// It takes it, and its answer is lost.
    Silent,
}

/// What somebody else does to what is remembered.
#[derive(Debug, Clone, Copy)]
enum Beside {
    /// Writes something that is no matter of ours to the update that has not ended.
    Update,
    /// Ends it.
    End,
    /// Writes something that is no matter of ours to what is kept by the workload's name.
    State,
    /// Deletes the updates.
    Delete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let policy =
        || prop_oneof![Just(None), Just(Some("patch")), Just(Some("patch")), Just(Some("never")), Just(Some("wrong:"))];
    let write = (
        0..WORKLOADS,
        policy(),
        0usize..4,
        prop::collection::vec(0..REPOSITORIES, 1..3),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.1),
        any::<bool>(),
    );
    let write = write.prop_map(|(workload, policy, patch, repositories, secret, git, hooked, new, back)| Step::Write {
        workload,
        policy,
        patch,
        repositories,
        secret,
        git,
        hooked,
        new,
        back,
    });
    let beside = prop_oneof![Just(Beside::Update), Just(Beside::End), Just(Beside::State), Just(Beside::Delete)];
    let step = prop_oneof![
        8 => write,
        1 => (0..WORKLOADS).prop_map(Step::Delete),
        6 => Just(Step::Tell),
        2 => (0..NAMESPACES, policy()).prop_map(|(n, policy)| Step::Namespace(n, policy)),
        1 => (0..NAMESPACES).prop_map(Step::NamespaceGone),
        3 => (0..REPOSITORIES).prop_map(Step::Push),
        2 => (0..REPOSITORIES, prop::option::of(0usize..6)).prop_map(|(r, tag)| Step::Hint(r, tag)),
        2 => (0..REPOSITORIES).prop_map(Step::Due),
        1 => prop_oneof![Just(KeelMode::Apply), Just(KeelMode::Ignore)].prop_map(Step::Settings),
        6 => (0usize..8).prop_map(Step::StartLook),
        6 => (0usize..8).prop_map(Step::EndLook),
        1 => (0usize..8).prop_map(Step::FailLook),
        6 => (0usize..4).prop_map(Step::Turn),
        5 => (0usize..4).prop_map(Step::EndWrite),
        1 => (0usize..4).prop_map(Step::LoseWrite),
        1 => (0usize..4).prop_map(Step::RefuseWrite),
        3 => (0usize..4).prop_map(Step::EndRead),
        4 => Just(Step::Remember),
        4 => Just(Step::RememberOne),
        1 => prop_oneof![Just(StoreFault::Away), Just(StoreFault::Refuses), Just(StoreFault::Silent)].prop_map(Step::Store),
        2 => (0..WORKLOADS, beside).prop_map(|(n, what)| Step::WriteBeside(n, what)),
        2 => (0..WORKLOADS, 0usize..4).prop_map(|(n, patch)| Step::MoveBack(n, patch)),
        2 => (0..WORKLOADS).prop_map(Step::Deploy),
        3 => (0..WORKLOADS, 0usize..5).prop_map(|(n, how)| Step::Roll(n, how)),
        1 => (0..WORKLOADS).prop_map(Step::Wish),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..80)
}

/// What the registry holds, to which tags are only ever added, and for tags of which weight there is room.
#[derive(Clone)]
pub(super) struct Pushed(pub(super) BTreeMap<String, Vec<Tag>>, pub(super) usize);

/// Runs all at once.
struct AtOnce;

impl Pool for AtOnce {
    fn run(&self, _: &Arc<str>, work: Work) {
        work(&|| Duration::ZERO);
    }
}

impl Registry for Pushed {
    fn within(&self, _: &Arc<str>, room: usize) -> Box<dyn Registry> {
        Box::new(Self(self.0.clone(), room))
    }

    fn tags<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Tags, RegistryError>> {
        let tags: Tags = self.0[&source.repository.to_string()].iter().collect();
        let fits = tags.weight() <= self.1;
        async move { if fits { Ok(tags) } else { Err(failed(RegistryErrorKind::NoRoom)) } }.boxed()
    }

    fn digest<'a>(&'a self, source: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<Digest, RegistryError>> {
        let there = self.0[&source.repository.to_string()].contains(tag);
        let digest = Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
        async move { if there { Ok(digest) } else { Err(failed(RegistryErrorKind::NotFound)) } }.boxed()
    }

    fn has<'a>(&'a self, _: &'a Source, _: &'a ImageRef) -> BoxFuture<'a, Result<(), RegistryError>> {
        async { Err(failed(RegistryErrorKind::Unavailable)) }.boxed()
    }

    fn image<'a>(&'a self, _: &'a Source, _: &'a Tag) -> BoxFuture<'a, Result<ImageTimes, RegistryError>> {
        async { Err(failed(RegistryErrorKind::Unavailable)) }.boxed()
    }

    fn origin<'a>(&'a self, _: &'a Source, _: &'a ImageRef) -> BoxFuture<'a, Result<Origin, RegistryError>> {
        async { Err(failed(RegistryErrorKind::Unavailable)) }.boxed()
    }
}

fn failed(kind: RegistryErrorKind) -> RegistryError {
    RegistryError { kind, message: "the test says so".into() }
}

/// A clock that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _: Duration) -> BoxFuture<'static, ()> {
        futures::future::pending().boxed()
    }
}

/// The cluster, the registry, the engine's state, and what its effects have added up to.
struct World {
    state: State,
    tags: Pushed,
    cluster: BTreeMap<WorkloadId, Workload>,
    untold: VecDeque<ClusterChange>,
    version: u64,
    wanted: VecDeque<Arc<Source>>,
    /// Whether there is little room for tags.
    cramped: bool,
    running: Vec<LookResult>,
    board: Board,
    ledger: Ledger,
    /// What outlives the process.
    records: Arc<Memory>,
    store_fault: Option<StoreFault>,
    /// How often each update was written.
    done: BTreeMap<(WorkloadId, UpdateId), usize>,
    /// Those of which neither the store nor the workload knew when the process was killed, or whose records were deleted.
    untraced: BTreeSet<(WorkloadId, UpdateId)>,
    /// Updates that went back by themselves, or that a person put back, by the uid of their workload.
    back: HashSet<(Arc<str>, UpdateId)>,
    undecided: Vec<WorkloadId>,
    queue: VecDeque<(Route, WorkloadId)>,
    /// What was done, or would be, and the answer.
    writes: Vec<(Update, TurnAnswer)>,
    reads: Vec<(WorkloadId, Option<Observed>)>,
    /// What Git has, by workload and container.
    git: BTreeMap<(WorkloadId, Arc<str>), ImageRef>,
    /// Images that were written to a container of an object that nobody else has written since.
    written: HashSet<(WorkloadId, Arc<str>, Arc<str>, String)>,
    keel: KeelMode,
    /// Workloads whose rollouts are followed.
    followed: BTreeSet<WorkloadId>,
    /// The Namespaces that are there, and their policies.
    namespaces: BTreeMap<String, Option<&'static str>>,
    scheduled: HashSet<Arc<Source>>,
    watched: HashSet<Repository>,
    /// Repositories that webhooks have named since the start of the process.
    hinted: HashSet<String>,
    clock: Still,
    /// Monotonic.
    time: Duration,
}

fn repository(n: usize) -> Repository {
    Repository::parse(&format!("r.io/r{}", n % REPOSITORIES)).unwrap()
}

fn tag(n: usize) -> Tag {
    Tag::parse(&format!("1.0.{n}")).unwrap()
}

fn id(n: usize) -> WorkloadId {
    let (kind, namespace) = (Kind("Deployment".into()), format!("n{}", n % NAMESPACES));
    WorkloadId { kind, namespace: namespace.into(), name: format!("w{n}").into() }
}

fn annotations(policy: Option<&str>) -> BTreeMap<String, String> {
    policy.map(|policy| ("supercargo.dev/policy".to_owned(), policy.to_owned())).into_iter().collect()
}

/// The one Git target, which serves every namespace.
fn prod() -> TargetScope {
    let every = GlobSet::builder().add(Glob::new("*").unwrap()).build().unwrap();
    TargetScope { namespaces: every, requests: false, batch_window: Duration::ZERO }
}

pub(crate) fn settings(keel: KeelMode) -> Settings {
    Settings {
        poll_interval: Duration::from_secs(300),
        named: Arc::default(),
        keel,
        rollout: Times::default(),
        guards: Arc::default(),
        targets: Arc::new([("prod".into(), prod())].into_iter().collect()),
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

impl World {
    fn new() -> Self {
        let tags = (0..REPOSITORIES).map(|n| (repository(n).to_string(), (0..4).map(tag).collect())).collect();
        Self {
            state: State::new(settings(KeelMode::Ignore)),
            tags: Pushed(tags, usize::MAX),
            cramped: false,
            cluster: BTreeMap::new(),
            untold: VecDeque::new(),
            version: 0,
            wanted: VecDeque::new(),
            running: Vec::new(),
            board: Board::default(),
            ledger: Ledger::default(),
            records: Arc::new(Memory::new(Arc::new(Still))),
            done: BTreeMap::new(),
            store_fault: None,
            untraced: BTreeSet::new(),
            back: HashSet::new(),
            undecided: Vec::new(),
            queue: VecDeque::new(),
            writes: Vec::new(),
            reads: Vec::new(),
            git: BTreeMap::new(),
            written: HashSet::new(),
            keel: KeelMode::Ignore,
            followed: BTreeSet::new(),
            namespaces: BTreeMap::new(),
            scheduled: HashSet::new(),
            watched: HashSet::new(),
            hinted: HashSet::new(),
            time: Duration::ZERO,
            clock: Still,
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.time;
        match step {
            Step::Write { workload, policy, patch, repositories, secret, git, hooked, new, back } => {
                let mut annotations = annotations(policy);
                if git && policy.is_some() {
                    annotations.insert("supercargo.dev/write".to_owned(), "git:prod".to_owned());
                }
                if hooked && policy.is_some() {
                    annotations.insert("supercargo.dev/poll".to_owned(), "never".to_owned());
                }
                if back && policy.is_some() {
                    annotations.insert("supercargo.dev/rollback".to_owned(), "auto".to_owned());
                }
                let id = id(workload);
                self.version += 1;
                let uid = self.cluster.get(&id).filter(|_| !new).map(|old| old.uid.clone());
                let containers = repositories.iter().enumerate().map(|(n, r)| Container {
                    name: format!("c{n}").into(),
                    image: format!("{}:{}", repository(*r), tag(patch)).into(),
                    init: false,
                    index: n,
                });
                let workload = Workload {
                    id: id.clone(),
                    uid: uid.unwrap_or_else(|| format!("u{}", self.version).into()),
                    resource_version: self.version.to_string().into(),
                    annotations: annotations.into(),
                    labels: BTreeMap::new(),
                    written: None,
                    has_annotations: true,
                    containers: containers.collect(),
                    owner: None,
                    instance: None,
                    pull_secrets: if secret { vec!["pull".into()] } else { Vec::new() },
                };
                self.written.retain(|(of, ..)| *of != id);
                if new {
                    self.collect_garbage(&id);
                }
                self.git.retain(|(of, _), _| *of != id);
                self.write(workload);
            }
            Step::Delete(n) => {
                self.written.retain(|(of, ..)| *of != id(n));
                self.git.retain(|(of, _), _| *of != id(n));
                if self.cluster.remove(&id(n)).is_some() {
                    self.collect_garbage(&id(n));
                    self.untold.push_back(ClusterChange::WorkloadGone(id(n)));
                }
            }
            Step::Tell => {
                if let Some(change) = self.untold.pop_front() {
                    self.state.change(change, now);
                }
            }
            Step::Namespace(n, policy) => {
                self.namespaces.insert(format!("n{n}"), policy);
                let namespace = NamespaceDefaults { name: format!("n{n}"), annotations: annotations(policy) };
                self.state.change(ClusterChange::Namespace(namespace), now);
            }
            Step::NamespaceGone(n) => {
                self.namespaces.remove(&format!("n{n}"));
                self.state.change(ClusterChange::NamespaceGone(format!("n{n}")), now);
            }
            Step::Push(n) => {
                let tags = self.tags.0.get_mut(&repository(n).to_string()).unwrap();
                tags.push(tag(tags.len()));
            }
            Step::Hint(n, tagged) => {
                let (tag, sender) = (tagged.map(tag), "distribution");
                self.hinted.insert(repository(n).to_string());
                self.state.hint(&Hint { repository: repository(n), tag, digest: None, sender }, now);
            }
            Step::Due(n) => {
                let sources: Vec<_> =
                    self.scheduled.iter().filter(|s| s.repository == repository(n)).cloned().collect();
                for source in sources {
                    self.state.due(&source, now);
                }
            }
            Step::Settings(keel) => {
                self.keel = keel;
                self.state.settings_changed(settings(keel), now);
            }
            Step::StartLook(n) => {
                if !self.wanted.is_empty() {
                    let source = self.wanted.remove(n % self.wanted.len()).unwrap();
                    if self.running.iter().any(|looked| looked.source == source) {
                        // One at a time: the next one waits.
                        self.wanted.push_back(source);
                    } else {
                        // For one tag, for a few, or for all there are.
                        let room = match self.state.sources.size(&source) {
                            Size::Few if self.cramped => 100,
                            Size::Many if self.cramped => 400,
                            _ => usize::MAX,
                        };
                        let Some(order) = self.state.order(&source, room, Still.now()) else { return self.effects() };
                        // The registry is read now; what it said arrives later.
                        let registry = self.tags.within(&"".into(), room);
                        self.running.push(look(&*registry, &AtOnce, order).now_or_never().unwrap());
                    }
                }
            }
            Step::EndLook(n) => {
                if !self.running.is_empty() {
                    let looked = self.running.remove(n % self.running.len());
                    let source = looked.source.clone();
                    let _ = self.state.looked(looked, now);
                    self.look_ended(&source);
                }
            }
            Step::FailLook(n) => {
                if !self.running.is_empty() {
                    let mut looked = self.running.remove(n % self.running.len());
                    let source = looked.source.clone();
                    looked.result = Err(failed(RegistryErrorKind::Unavailable));
                    let _ = self.state.looked(looked, now);
                    self.look_ended(&source);
                }
            }
            Step::Turn(n) => self.turn(n),
            Step::EndWrite(n) => self.end_write(n, |answer| answer),
            Step::LoseWrite(n) => self.end_write(n, |answer| match answer {
                TurnAnswer::Written(_) => TurnAnswer::Written(Outcome::Failed("no answer".to_owned())),
                TurnAnswer::Checked(_) => TurnAnswer::Checked(Standing::Failed("no answer".to_owned())),
            }),
            Step::RefuseWrite(n) => {
                // Only what had no effect can be refused.
                let is_stale = |(_, answer): &(Update, TurnAnswer)| *answer == TurnAnswer::Written(Outcome::Stale);
                if self.writes.get(n).is_some_and(is_stale) {
                    self.end_write(n, |_| TurnAnswer::Written(Outcome::Refused("no".to_owned())));
                }
            }
            Step::EndRead(n) => {
                if !self.reads.is_empty() {
                    let (id, observed) = self.reads.remove(n % self.reads.len());
                    self.event(&id, Event::Observed(Ok(observed.clone()), judging(&self.state, &id)));
                    if let Some(observed) = observed {
                        self.state.read(observed.workload, now);
                    }
                }
            }
            Step::Remember => self.remember(),
            Step::RememberOne => _ = self.remember_one(),
            Step::Store(fault) => self.store_fault = Some(fault),
            Step::WriteBeside(n, what) => self.write_beside(&id(n), what),
            Step::MoveBack(n, patch) => self.set(&id(n), |_, image| image.at(Some(tag(patch)), None)),
            Step::Deploy(n) => self.deploy(&id(n)),
            Step::Roll(n, how) => self.roll(&id(n), how),
            Step::Wish(n) => self.wish(&id(n)),
            Step::Kill => self.kill(),
        }
        self.effects();
    }

    fn write(&mut self, workload: Workload) {
        self.untold.push_back(ClusterChange::Workload(Box::new(workload.clone())));
        self.cluster.insert(workload.id.clone(), workload);
    }

    /// Adds the effects up, checks that none is out of place, and decides what is to be decided.
    fn effects(&mut self) {
        loop {
            self.add_up();
            let mut undecided = std::mem::take(&mut self.undecided);
            if undecided.is_empty() {
                return;
            }
            undecided.sort();
            undecided.dedup();
            for id in undecided {
                let is_open = |source: &Arc<Source>| {
                    self.wanted.contains(source) || self.running.iter().any(|looked| looked.source == *source)
                };
                let looking = self.state.sources_of(&id).into_iter().find(is_open);
                let (proposal, _) = self.proposal(&id, looking.is_some());
                self.event(&id, Event::Proposed(proposal));
                if let Some(source) = looking {
                    self.board.await_look(&id, &source);
                }
            }
        }
    }

    fn add_up(&mut self) {
        assert!(self.state.sources.has_room(), "more tags are kept than there is room for");
        loop {
            let effects = self.state.effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Look { source, .. } => {
                        if !self.wanted.contains(&source) {
                            self.wanted.push_back(source);
                        }
                    }
                    Effect::Schedule { source, schedules } if schedules.is_empty() => {
                        assert!(self.scheduled.remove(&source), "{source:?} was not scheduled");
                    }
                    Effect::Schedule { source, .. } => _ = self.scheduled.insert(source),
                    Effect::Watched { repository, watched: true } => assert!(self.watched.insert(repository), "twice"),
                    Effect::Watched { repository, watched: false } => {
                        assert!(self.watched.remove(&repository), "unknown");
                    }
                    Effect::Assess(id) => self.event(&id, Event::Asked),
                    Effect::Changed(id) => {
                        if let Some(workload) = self.state.entry(&id).map(|entry| entry.workload.clone()) {
                            self.event(&id, Event::Seen(workload));
                            let is_followed = self.board.record(&id).is_some_and(|record| record.followed().is_some());
                            if let Some(entry) = self.state.entry(&id).filter(|_| is_followed) {
                                self.event(&id, Event::Ruled(entry.rule.rollback));
                            }
                        }
                    }
                    Effect::Forget(id) => {
                        self.event(&id, Event::Gone(id.clone()));
                        self.ledger.write(Entry::Forget(id));
                    }
                    Effect::Lost { .. } => {}
                }
            }
        }
        assert_eq!(self.scheduled.len(), self.state.sources.len());
        let used: HashSet<&Repository> = self.scheduled.iter().map(|source| &source.repository).collect();
        assert_eq!(used, self.watched.iter().collect());
    }

    fn event(&mut self, id: &WorkloadId, event: Event) {
        let acts = self.board.step(id, event, self.moment());
        self.perform(acts);
    }

    /// The time of day goes on with each version.
    fn moment(&self) -> Now {
        let at = self.clock.now() + self.time + Duration::from_millis(self.version);
        Now { at, since: self.time }
    }

    /// The object is another one: its updates go.
    fn collect_garbage(&mut self, id: &WorkloadId) {
        self.records.forget(id).now_or_never().unwrap().unwrap();
        self.done.retain(|(of, _), _| of != id);
        self.untraced.retain(|(of, _)| of != id);
    }

    /// What is to be remembered is.
    fn remember(&mut self) {
        while self.remember_one() {}
    }

    /// The next thing that is to be remembered is, unless the store does not take it; whether there was any.
    fn remember_one(&mut self) -> bool {
        let Some(writing) = self.ledger.next() else { return false };
        let records: Arc<dyn Records> = self.records.clone();
        let workload = self.cluster.get(writing.entry.workload());
        let away = || StoreAnswer::Failed(PutError::Unavailable("it is away".to_owned()));
        let fault = self.store_fault.take();
        let (writing, answer) = match (&writing.entry, fault) {
            (_, Some(StoreFault::Away)) => (writing, away()),
            (_, Some(StoreFault::Refuses)) => (writing, StoreAnswer::Failed(PutError::Refused("a quota".to_owned()))),
            // The garbage collector takes it away at once.
            (Entry::Update(tracked), _) if workload.is_none_or(|there| there.uid != tracked.update.uid) => {
                (writing, StoreAnswer::Written(Some(Version("gone".into()))))
            }
            _ => writing.end(records).now_or_never().unwrap(),
        };
        let answer = if fault == Some(StoreFault::Silent) { away() } else { answer };
        match self.ledger.answered(writing, answer, self.time) {
            News::Nothing | News::Failed(..) => {}
            // It was at its end before the process was killed, or somebody else has ended it.
            News::Recorded(tracked) => {
                let id = tracked.update.workload.clone();
                if let Some(workload) = self.state.entry(&id).map(|entry| entry.workload.clone()) {
                    self.event(&id, Event::Recorded(tracked, workload));
                }
            }
            News::Lost(id, why) => panic!("{id} is not remembered: {why}"),
        }
        // As the loop does.
        let ids: Vec<WorkloadId> = self.board.ids().cloned().collect();
        for id in ids {
            if self.ledger.is_idle(&id) && self.board.record(&id).is_some_and(|record| record.way_back().is_some()) {
                self.event(&id, Event::Asked);
            }
        }
        true
    }

    /// Somebody else writes what is remembered.
    fn write_beside(&mut self, id: &WorkloadId, what: Beside) {
        let of = self.records.of(id).now_or_never().unwrap().unwrap();
        let open = of.into_iter().find(|(tracked, _)| !tracked.phase.is_over());
        match (what, open) {
            (Beside::Update, Some((tracked, version))) => {
                self.records.put(&tracked, Some(&version)).now_or_never().unwrap().unwrap();
            }
            (Beside::End, Some((mut tracked, version))) => {
                let reason = Reason::new(Code::Superseded, "somebody else says so");
                tracked.phase = Phase::Superseded;
                tracked.log.push(LogEntry { at: self.moment().at, phase: tracked.phase.name(), reason: Some(reason) });
                self.records.put(&tracked, Some(&version)).now_or_never().unwrap().unwrap();
            }
            (Beside::State, _) => {
                if let Some((state, version)) = self.records.state(id).now_or_never().unwrap().unwrap() {
                    self.records.put_state(&state, Some(&version)).now_or_never().unwrap().unwrap();
                }
            }
            (Beside::Delete, _) => {
                self.records.forget(id).now_or_never().unwrap().unwrap();
                self.untraced.extend(self.done.keys().filter(|(of, _)| of == id).cloned());
            }
            (Beside::Update | Beside::End, None) => {}
        }
    }

    fn remembered(&self, id: &WorkloadId) -> Vec<Tracked> {
        let of = self.records.of(id).now_or_never().unwrap().unwrap();
        of.into_iter().map(|(tracked, _)| tracked).collect()
    }

    fn perform(&mut self, acts: Acts) {
        for (id, act) in acts {
            match act {
                Act::Decide => self.undecided.push(id),
                Act::Queue(route) => {
                    let is_busy = self.queue.iter().any(|(_, of)| *of == id)
                        || self.writes.iter().any(|(update, _)| update.workload == id)
                        || self.reads.iter().any(|(of, _)| *of == id);
                    assert!(!is_busy, "{id} stands in the queue while something is under way for it");
                    self.queue.push_back((route, id));
                }
                Act::Look => self.state.again(&id, self.time),
                Act::Read => {
                    let workload = self.cluster.get(&id).cloned();
                    let observed =
                        workload.map(|workload| Observed { workload, image_managers: Vec::new(), template: "".into() });
                    self.reads.push((id, observed));
                }
                Act::Save(tracked) => {
                    assert_eq!(tracked.update.workload, id);
                    assert_eq!(self.ledger.write(Entry::Update(tracked)), News::Nothing);
                }
                Act::SaveState(state) => assert_eq!(self.ledger.write(Entry::State(Box::new(state))), News::Nothing),
                Act::Unexpected(what) => panic!("{id}: {what}"),
                Act::Follow(true) => assert!(self.followed.insert(id), "twice"),
                Act::Follow(false) => assert!(self.followed.remove(&id), "not followed"),
                Act::Bar(bars) => self.state.bar(&id, *bars, self.time),
                Act::Aim(wish) => self.aim(&id, *wish),
                Act::AskPull(_) | Act::Free(_) => panic!("{id}: no pod is like that"),
                Act::Keep(_) | Act::Rehearse => panic!("{id}: nobody is asked"),
                Act::Announce(_) | Act::Write | Act::Check => {}
            }
        }
    }

    fn look_ended(&mut self, source: &Arc<Source>) {
        let acts = self.board.looked(source, self.moment());
        self.perform(acts);
    }

    fn proposal(&self, id: &WorkloadId, is_looking: bool) -> (Proposal, Option<Update>) {
        if let Some((proposal, plan)) = way_back(&self.state, &self.board, &self.ledger, id, self.moment().at) {
            let plan = if let Planned::Approved(plan) = plan { Some(plan.into_update()) } else { None };
            return (proposal, plan);
        }
        let assessment = assess(&self.state, &self.board, id, "here", self.moment().at);
        let workload = self.state.entry(id).map(|entry| &entry.workload);
        let (proposal, plan) = proposal(assessment, workload, is_looking);
        let plan = if let Planned::Approved(plan) = plan { Some(plan.into_update()) } else { None };
        (proposal, plan)
    }

    /// The effect of a write or a check is there at once; the answer comes later.
    fn turn(&mut self, n: usize) {
        if self.queue.is_empty() {
            return;
        }
        let Some((route, id)) = self.queue.remove(n % self.queue.len()) else { return };
        let (proposal, update) = self.proposal(&id, false);
        let acts = self.board.step(&id, Event::Turn(route, proposal), self.moment());
        let does = |act: Act| acts.iter().any(|(of, other)| *of == id && *other == act);
        let (writes, checks) = (does(Act::Write), does(Act::Check));
        if let Some(update) = update {
            if writes {
                self.check_update(&update);
                let outcome = self.apply(&update);
                self.writes.push((update, TurnAnswer::Written(outcome)));
            } else if checks {
                let has = |change: &Change| self.git.get(&(id.clone(), change.container.clone())) == Some(&change.to);
                let is_there = update.changes().all(has);
                let said = Reason::new(Code::Committed, "it is there");
                let standing = if is_there { Standing::InGit(said, Vec::new()) } else { Standing::Due };
                self.writes.push((update, TurnAnswer::Checked(standing)));
            }
        }
        self.perform(acts);
    }

    fn check_update(&self, update: &Update) {
        if update.puts_back.is_some() {
            return;
        }
        let entry = self.state.entry(&update.workload).unwrap();
        for Item { change, policy, source, .. } in &update.items {
            let source = source.as_ref().expect("it was found somewhere");
            assert!(
                source.repository == change.to.repository && entry.sources().contains(source),
                "not its own source"
            );
            // What is proposed answers what is asked now, of the image that is there now.
            let container = entry.workload.containers.iter().find(|c| c.name == change.container).unwrap();
            assert_eq!(change.from, ImageRef::parse(&container.image).unwrap(), "a stale question");
            assert_eq!(&**policy, "patch");
            assert_eq!(change.to.repository, change.from.repository);
            let waits = entry.workload.annotations.contains_key("supercargo.dev/poll");
            assert!(!waits || self.hinted.contains(&change.to.repository.to_string()), "no webhook named it");
            let (from, to) = (number(&change.from), number(&change.to));
            assert!(to > from, "{from} to {to}");
            assert!(to < self.tags.0[&change.to.repository.to_string()].len(), "no such tag");
        }
    }

    /// As the API server, which tests what was there, or a Git server would.
    fn apply(&mut self, update: &Update) -> Outcome {
        let id = &update.workload;
        if update.route != Route::Cluster {
            for change in update.changes() {
                self.git.insert((id.clone(), change.container.clone()), change.to.clone());
            }
            // What is done for an object that is gone is remembered of none.
            let is_for = |there: &Workload| there.uid == update.uid;
            if update.puts_back.is_none() && self.cluster.get(id).is_some_and(is_for) {
                *self.done.entry((id.clone(), update.id.clone())).or_default() += 1;
            }
            return Outcome::Committed(Reason::new(Code::Committed, "a commit"));
        }
        let Some(mut workload) = self.cluster.get(id).cloned() else { return Outcome::Gone };
        if workload.uid != update.uid {
            return Outcome::Stale;
        }
        if LastUpdate::of(&workload).is_some_and(|note| note.proves(update)) {
            return Outcome::Stale;
        }
        for change in update.changes() {
            let of = |c: &&mut Container| c.name == change.container;
            let Some(container) = workload.containers.iter_mut().find(of) else { return Outcome::Stale };
            if ImageRef::parse(&container.image).unwrap() != change.from {
                return Outcome::Stale;
            }
            container.image = change.to.to_string().into();
        }
        match &update.puts_back {
            None => {
                for change in update.changes() {
                    let what = (id.clone(), workload.uid.clone(), change.container.clone(), change.to.to_string());
                    assert!(self.written.insert(what), "{id}: {} is written twice", change.to);
                }
                *self.done.entry((id.clone(), update.id.clone())).or_default() += 1;
            }
            Some(PutsBack { update: of, template }) => {
                let is_new = self.back.insert((workload.uid.clone(), of.clone()));
                assert!(is_new || template.is_none(), "{id}: {of} goes back twice by itself");
                // What was not at fault, and went back beside what was, may be set again.
                let bad = self.board.record(id).map(|record| record.quarantined().to_vec()).unwrap_or_default();
                for Change { container, from, .. } in update.changes().filter(|_| template.is_some()) {
                    if !bad.iter().any(|bad| (&bad.container, &bad.to) == (container, from)) {
                        let what = (id.clone(), workload.uid.clone(), container.clone(), from.to_string());
                        self.written.remove(&what);
                    }
                }
            }
        }
        let at = self.moment().at;
        let note = LastUpdate { id: update.id.clone(), at, changes: update.changes().cloned().collect() }.to_string();
        let mut annotations = (*workload.annotations).clone();
        annotations.insert(LAST_UPDATE.to_owned(), note.clone());
        workload.annotations = annotations.into();
        let images = workload.containers.iter().map(|c| (c.name.clone(), c.image.clone())).collect();
        let resource_version = self.touch(workload);
        let written =
            Written { resource_version, note, images, template: "t".into(), was_done: true, ..Written::default() };
        Outcome::Applied(written)
    }

    fn end_write(&mut self, n: usize, how: impl Fn(TurnAnswer) -> TurnAnswer) {
        if self.writes.is_empty() {
            return;
        }
        let (update, answer) = self.writes.remove(n % self.writes.len());
        let (id, name) = (update.workload.clone(), update.id.clone());
        match how(answer) {
            TurnAnswer::Checked(standing) => self.event(&id, Event::Checked(name, standing)),
            TurnAnswer::Written(outcome) => {
                self.event(&id, Event::Written(name, outcome.clone()));
                if let Outcome::Applied(written) = outcome {
                    self.state.applied(&update, &written, self.time);
                }
            }
        }
    }

    /// What a workload says of its rollout: it runs, goes on, or takes too long.
    fn roll(&mut self, id: &WorkloadId, how: usize) {
        if !self.followed.contains(id) {
            return;
        }
        let Some(Workload { uid, .. }) = self.cluster.get(id) else { return };
        let (uid, wanted) = (uid.clone(), 1);
        let mut view = RolloutView { uid, wanted, total: 1, updated: 1, available: 1, ..RolloutView::default() };
        match how {
            0 => {}
            1 | 3 | 4 => view.available = 0,
            _ => view.overdue = Some("it timed out".into()),
        }
        let times = Times { settle: Duration::ZERO, fault: Duration::ZERO, ..Times::default() };
        let rollback = self.state.entry(id).map(|entry| entry.rule.rollback).unwrap_or_default();
        let update = self.board.record(id).and_then(|record| record.followed());
        // One of its images is at fault, or all are.
        let most = match how {
            3 => 1,
            4 => usize::MAX,
            _ => 0,
        };
        let fault = |change: &Change| {
            let container = Some((change.container.clone(), change.init));
            Fault { blame: Blame::Image, container, image_id: String::new(), text: "it crashes".to_owned() }
        };
        let faults: Vec<Fault> = update.iter().flat_map(|update| update.changes()).take(most).map(fault).collect();
        if !faults.is_empty() {
            self.event(id, Event::Pods(Pods { faults, ..Pods::default() }, times));
        }
        if self.followed.contains(id) {
            self.event(id, Event::Rollout(view, times, rollback));
        }
    }

    /// A person wishes what ran before.
    fn wish(&mut self, id: &WorkloadId) {
        self.version += 1;
        let what = What::Rollback(None);
        let generation = i64::try_from(self.version).unwrap();
        let (object, by, on_behalf_of, reason) = ("o".into(), "alice".into(), None, "".into());
        self.aim(id, Wish { object, generation, by, on_behalf_of, reason, what });
    }

    fn aim(&mut self, id: &WorkloadId, wish: Wish) {
        let Some(entry) = self.state.entry(id).filter(|entry| entry.rule.watched && entry.rule.problems.is_empty())
        else {
            return;
        };
        let (workload, route) = (entry.workload.clone(), Route::new(&entry.rule.write, None));
        self.event(
            id,
            Event::Wished(Box::new(wish), id.clone(), Ok(Some(Aim { workload, route, to: None, kept: None }))),
        );
    }

    /// Gives containers other images, if the workload is there.
    fn set(&mut self, id: &WorkloadId, image: impl Fn(&Arc<str>, &ImageRef) -> ImageRef) {
        let Some(mut workload) = self.cluster.get(id).cloned() else { return };
        for container in &mut workload.containers {
            container.image = image(&container.name, &ImageRef::parse(&container.image).unwrap()).to_string().into();
        }
        self.touch(workload);
    }

    /// What Git has comes to the cluster.
    fn deploy(&mut self, id: &WorkloadId) {
        let git = self.git.clone();
        self.set(id, |container, image| {
            git.get(&(id.clone(), container.clone())).cloned().unwrap_or_else(|| image.clone())
        });
    }

    /// Writes a workload that has changed; its new version.
    fn touch(&mut self, mut workload: Workload) -> Arc<str> {
        self.version += 1;
        workload.resource_version = self.version.to_string().into();
        let version = workload.resource_version.clone();
        self.write(workload);
        version
    }

    /// The process knows nothing any more, and is told of all there is.
    fn kill(&mut self) {
        let most = self.state.sources.most;
        self.state = State::new(settings(self.keel));
        self.state.sources.most = most;
        self.board = Board::default();
        (self.wanted, self.running, self.undecided) = Default::default();
        (self.queue, self.writes, self.reads, self.untold) = Default::default();
        (self.scheduled, self.watched, self.hinted) = Default::default();
        self.ledger = Ledger::default();
        self.followed.clear();
        // A hold does not wait until its update is recorded: once it stands, the note says nothing new.
        let is_held = |id: &WorkloadId| {
            let state = self.records.state(id).now_or_never().unwrap().unwrap();
            state.is_some_and(|(state, _)| !state.holds.is_empty())
        };
        let is_known = |(id, update): &(WorkloadId, UpdateId)| {
            let notes = self.cluster.get(id).and_then(LastUpdate::of);
            let is_it = |tracked: &Tracked| tracked.update.id.split().0 == *update;
            notes.is_some_and(|note| note.id == *update) && !is_held(id) || self.remembered(id).iter().any(is_it)
        };
        let untraced: Vec<_> = self.done.keys().filter(|done| !is_known(done)).cloned().collect();
        self.untraced.extend(untraced);
        // An older note is overwritten by a newer one.
        let noted = |id: &WorkloadId, container: &Arc<str>, image: &String| {
            let note = self.cluster.get(id)?.annotations.get("supercargo.dev/last-update")?.clone();
            let note: LastUpdate = serde_json::from_str(&note).ok()?;
            let same = |c: &Change| c.container == *container && c.to.to_string() == *image;
            note.changes.iter().any(same).then_some(())
        };
        let kept = self.written.iter().filter(|(id, _, container, image)| noted(id, container, image).is_some());
        self.written = kept.cloned().collect();
        for (name, policy) in self.namespaces.clone() {
            let namespace = NamespaceDefaults { name, annotations: annotations(policy) };
            self.state.change(ClusterChange::Namespace(namespace), self.time);
        }
        for workload in self.cluster.values().cloned() {
            self.state.change(ClusterChange::Workload(Box::new(workload)), self.time);
        }
        self.recover();
    }

    /// As the loop does at its start.
    fn recover(&mut self) {
        self.add_up();
        for id in (0..WORKLOADS).map(id) {
            if let Some((state, version)) = self.records.state(&id).now_or_never().unwrap().unwrap() {
                self.ledger.has_state(&id, version);
                self.event(&id, Event::Remembered(state));
            }
            let Some(workload) = self.state.entry(&id).map(|entry| entry.workload.clone()) else {
                self.ledger.lose_state(&id);
                self.event(&id, Event::Gone(id.clone()));
                continue;
            };
            let of = self.records.of(&id).now_or_never().unwrap().unwrap();
            for (mut tracked, version) in of.into_iter().rev().filter(|(tracked, _)| !tracked.phase.is_over()) {
                self.ledger.has(&mut tracked, version);
                self.event(&id, Event::Recorded(Box::new(tracked), workload.clone()));
            }
            self.event(&id, Event::Known(workload));
        }
    }

    fn is_to_be_deployed(&self) -> bool {
        self.git.iter().any(|((id, container), image)| {
            let there = self.cluster.get(id).and_then(|workload| workload.container(container));
            there.is_some_and(|there| *there.image != *image.to_string())
        })
    }

    /// Lets everything that is under way come to its end.
    fn come_to_rest(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "it does not come to rest: {:?} {:?}", self.time, self.cluster);
            while !self.untold.is_empty() {
                self.step(Step::Tell);
            }
            self.effects();
            self.remember();
            if !self.running.is_empty() {
                self.step(Step::EndLook(0));
            } else if !self.wanted.is_empty() {
                self.step(Step::StartLook(0));
            } else if !self.queue.is_empty() {
                self.step(Step::Turn(0));
            } else if !self.writes.is_empty() {
                self.step(Step::EndWrite(0));
            } else if !self.reads.is_empty() {
                self.step(Step::EndRead(0));
            } else if let Some(id) = self.followed.first().cloned() {
                self.roll(&id, 0);
            } else if self.is_to_be_deployed() {
                let ids: Vec<WorkloadId> = self.cluster.keys().cloned().collect();
                ids.iter().for_each(|id| self.deploy(id));
            } else {
                // Time passes only while nothing else is to be done.
                let next = [self.state.next(), self.board.next(), self.ledger.wakes_at()];
                let Some(at) = next.into_iter().flatten().min() else { return };
                self.time = self.time.max(at);
                self.state.woke(self.time);
                self.ledger.woke(self.time);
                let acts = self.board.woke(self.moment());
                self.perform(acts);
                self.effects();
            }
        }
    }
}

/// What comes of a turn.
#[derive(Debug, Clone, PartialEq)]
enum TurnAnswer {
    Written(Outcome),
    Checked(Standing),
}

fn number(image: &ImageRef) -> usize {
    image.tag.as_ref().unwrap().as_str().rsplit('.').next().unwrap().parse().unwrap()
}

/// Somebody writes the first workload.
fn plain(policy: Option<&'static str>, repositories: Vec<usize>) -> Step {
    let (secret, git, hooked, new, back) = (false, false, false, false, false);
    Step::Write { workload: 0, policy, patch: 0, repositories, secret, git, hooked, new, back }
}

#[test]
fn what_a_look_found_while_an_update_was_written_is_not_missed() {
    let mut world = World::new();
    world.step(Step::Namespace(0, None));
    let (policy, repositories) = (Some("patch"), vec![0]);
    world.step(plain(policy, repositories));
    for step in [Step::Tell, Step::StartLook(0), Step::EndLook(0)] {
        world.step(step);
    }
    // 1.0.3 is about to be written when the next look reads 1.0.4.
    for step in [Step::Push(0), Step::Due(0), Step::StartLook(0), Step::Turn(0), Step::EndWrite(0), Step::EndLook(0)] {
        world.step(step);
    }
    world.come_to_rest();
    assert_eq!(&*world.cluster[&id(0)].containers[0].image, "r.io/r0:1.0.4");
}

#[test]
fn a_question_that_a_look_left_open_is_answered_by_the_poll_that_is_due() {
    let mut world = World::new();
    for n in 0..NAMESPACES {
        world.step(Step::Namespace(n, None));
    }
    let (policy, repositories) = (Some("patch"), vec![1]);
    world.step(plain(policy, repositories));
    for step in [Step::Tell, Step::StartLook(0), Step::Push(1), Step::Hint(1, None), Step::EndLook(0)] {
        world.step(step);
    }
    for step in [Step::StartLook(0), Step::Turn(0), Step::EndWrite(0), Step::Due(1)] {
        world.step(step);
    }
    world.come_to_rest();
    assert_eq!(&*world.cluster[&id(0)].containers[0].image, "r.io/r1:1.0.4");
}

#[test]
fn a_wish_for_what_ran_before_forgets_nothing_that_somebody_has_moved_back() {
    let mut world = World::new();
    world.step(Step::Namespace(0, None));
    let mut written = plain(Some("patch"), vec![0]);
    if let Step::Write { patch, .. } = &mut written {
        *patch = 1;
    }
    for step in [written, Step::Tell, Step::StartLook(0), Step::EndLook(0)] {
        world.step(step);
    }
    for step in [Step::Wish(0), Step::Turn(0), Step::MoveBack(0, 0)] {
        world.step(step);
    }
    world.come_to_rest();
    world.step(Step::Due(0));
    world.come_to_rest();
    // To 1.0.1, by the wish; 1.0.3 was moved back by hand.
    assert_eq!(&*world.cluster[&id(0)].containers[0].image, "r.io/r0:1.0.1");
}

/// `$SUPERCARGO_HISTORIES`, else ten thousand.
#[expect(clippy::disallowed_methods, reason = "the test's own environment")]
fn histories() -> u32 {
    std::env::var("SUPERCARGO_HISTORIES").map_or(10_000, |text| text.parse().expect("a number of histories"))
}

/// A random history: where it starts, and what happens.
#[derive(Debug)]
struct History {
    /// How many Namespaces are known first.
    known: usize,
    /// What is kept of tags.
    kept: usize,
    cramped: bool,
    steps: Vec<Step>,
}

fn history() -> impl Strategy<Value = History> {
    // Mostly the Namespaces are known first.
    let known = prop_oneof![4 => Just(NAMESPACES), 1 => 0..NAMESPACES];
    let kept = prop_oneof![Just(usize::MAX), Just(40), Just(0)];
    (known, kept, any::<bool>(), steps()).prop_map(|(known, kept, cramped, steps)| History {
        known,
        kept,
        cramped,
        steps,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: histories() / 2, ..ProptestConfig::default() })]

    #[test]
    fn no_history_panics_proposes_what_is_stale_or_leaves_a_workload_behind(history in history()) {
        lived(history, false)?;
    }

    #[test]
    fn nor_does_one_in_which_webhooks_tell_of_tags(history in history()) {
        lived(history, true)?;
    }
}

/// Lets a history happen; in the end one more poll comes, or a webhook (`hints`).
fn lived(History { known, kept, cramped, steps }: History, hints: bool) -> Result<(), TestCaseError> {
    let mut world = World { cramped, ..World::new() };
    world.state.sources.most = kept;
    for n in 0..known {
        world.step(Step::Namespace(n, None));
    }
    for step in steps {
        world.step(step);
        if world.wanted.len() > 4 {
            world.come_to_rest();
        }
    }
    // The Namespaces are there in the end, and one more poll comes, or a webhook.
    for n in 0..NAMESPACES {
        world.step(Step::Namespace(n, None));
    }
    world.come_to_rest();
    for n in 0..REPOSITORIES {
        world.step(if hints { Step::Hint(n, None) } else { Step::Due(n) });
    }
    world.come_to_rest();
    for (id, workload) in world.cluster.clone() {
        let wants = workload.annotations.get("supercargo.dev/policy").map(String::as_str);
        let assessment = assess(&world.state, &world.board, &id, "here", world.clock.now());
        let is_undone = |row: &Report| row.reasons.iter().any(|reason| reason.code == Code::Undone);
        let is_taken = assessment.as_ref().is_some_and(|assessment| assessment.reports.iter().all(is_undone));
        prop_assert!(assessment.is_some() == wants.is_some() || is_taken, "{:?}", assessment);
        let Some(assessment) = assessment else { continue };
        for (row, container) in assessment.reports.iter().zip(&workload.containers) {
            let image = ImageRef::parse(&container.image).unwrap();
            let bad = world.board.record(&id).map(|record| record.quarantined().to_vec()).unwrap_or_default();
            let is_bad = |n: usize| {
                let image = image.at(Some(tag(n)), None);
                bad.iter().any(|bad| (&bad.container, &bad.to) == (&container.name, &image))
            };
            let all = world.tags.0[&image.repository.to_string()].len();
            let newest = (0..all)
                .rev()
                .find(|n| !is_bad(*n))
                .unwrap_or_default()
                .max(number(&image) * usize::from(is_bad(number(&image))));
            // What counts is the policy that was replaced, or not yet there, when an image was moved back.
            if is_undone(row) {
                prop_assert!(row.decision != Verdict::Update, "{:?}", row);
                continue;
            }
            match (wants, row.decision) {
                (Some("patch"), Verdict::UpToDate) => prop_assert_eq!(number(&image), newest, "{:?}", row),
                (Some("patch"), Verdict::Blocked) => prop_assert_eq!(row.reasons[0].code, Code::Held),
                (Some("patch"), Verdict::Waiting) => {
                    let to = row.to_image.clone().unwrap();
                    // What a webhook brought was written, and has been moved back since.
                    let what = (id.clone(), workload.uid.clone(), container.name.clone(), to.clone());
                    let waits = workload.annotations.contains_key("supercargo.dev/poll");
                    prop_assert!(waits && (!hints || world.written.contains(&what)), "{:?}", row);
                    prop_assert_eq!(row.reasons[0].code, Code::WebhookOnly);
                    prop_assert_eq!(number(&ImageRef::parse(&to).unwrap()), newest);
                }
                (Some("never"), decision) => prop_assert_eq!(decision, Verdict::UpToDate),
                (_, decision) => prop_assert!(wants == Some("wrong:") && decision == Verdict::Problem, "{:?}", row),
            }
        }
    }
    // Each update that was written is remembered once for each time, with its end and why it came to that, and no other is
    // left as if something were still done for it.
    for (id, workload) in world.cluster.clone() {
        let remembered = world.remembered(&id);
        let current = world.board.record(&id).and_then(|record| record.current());
        let is_current = |tracked: &Tracked| {
            current.is_some_and(|current| current.update.id == tracked.update.id.split().0) && !tracked.phase.is_over()
        };
        for tracked in &remembered {
            prop_assert!(tracked.phase.is_over() || is_current(tracked), "{:?} of {:?}", tracked, workload);
            let is_explained = matches!(tracked.phase, Phase::Succeeded) || tracked.reason().is_some();
            prop_assert!(!tracked.phase.is_over() || is_explained, "without a reason: {:?}", tracked);
        }
        for (done, count) in world.done.iter().filter(|((of, _), _)| *of == id) {
            let of = || remembered.iter().filter(|tracked| tracked.update.id.split().0 == done.1);
            let found = of().filter(|tracked| tracked.phase == Phase::Succeeded).count();
            prop_assert!(found <= *count, "{} times, and {} remembered: {:?}", count, found, remembered);
            let is_exempt = world.untraced.contains(done) || remembered.len() >= KEPT;
            prop_assert!(is_exempt || of().next().is_some(), "{:?} is not remembered: {:?}", done, remembered);
        }
    }
    let ids: BTreeSet<WorkloadId> = world.cluster.keys().cloned().collect();
    for id in ids {
        world.state.change(ClusterChange::WorkloadGone(id), world.time);
    }
    world.effects();
    prop_assert_eq!((world.scheduled.len(), world.watched.len(), world.state.watched()), (0, 0, 0));
    Ok(())
}
