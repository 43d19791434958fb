//! Random histories against the index: whatever comes in whatever order, nothing stale is proposed, what is scheduled
//! and watched is what is used, and in the end every workload runs what its policy wants.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    assess::assess,
    effect::Effect,
    look::{Looked, look},
    room::Size,
    settings::Settings,
    state::State,
};
use crate::{
    domain::{
        hint::{Hint, Source},
        image::{Digest, ImageRef, Repository, Tag},
        keel::KeelMode,
        reason::Code,
        report::Verdict,
        tags::Tags,
        workload::{Container, Kind, Workload, WorkloadId},
    },
    ports::{
        Clock, ClusterChange, ImageTimes, NamespaceDefaults, Observed, Origin, Pool, Registry, RegistryError,
        RegistryErrorKind, Work,
    },
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
        new: bool,
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
    Apply(usize),
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
        prop::bool::weighted(0.1),
    );
    let write = write.prop_map(|(workload, policy, patch, repositories, secret, new)| Step::Write {
        workload,
        policy,
        patch,
        repositories,
        secret,
        new,
    });
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
        5 => (0..WORKLOADS).prop_map(Step::Apply),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the registry holds, to which tags are only ever added, and for tags of which weight there is room.
#[derive(Clone)]
struct Pushed(BTreeMap<String, Vec<Tag>>, usize);

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
    running: Vec<Looked>,
    failed: Vec<Arc<Source>>,
    scheduled: HashSet<Arc<Source>>,
    watched: HashSet<Repository>,
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

pub(super) fn settings(keel: KeelMode) -> Settings {
    Settings {
        poll_interval: Duration::from_secs(300),
        named: Arc::default(),
        keel,
        guards: Arc::default(),
        targets: Arc::default(),
        dry_run: false,
        operator_serves: Arc::new(|_, _| false),
        argocd_namespaces: Arc::new(|_| false),
        await_namespaces: true,
        keep_reasons: false,
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
            failed: Vec::new(),
            scheduled: HashSet::new(),
            watched: HashSet::new(),
            time: Duration::ZERO,
            clock: Still,
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.time;
        match step {
            Step::Write { workload, policy, patch, repositories, secret, new } => {
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
                    annotations: annotations(policy).into(),
                    labels: BTreeMap::new(),
                    written: None,
                    has_annotations: true,
                    containers: containers.collect(),
                    owner: None,
                    instance: None,
                    pull_secrets: if secret { vec!["pull".into()] } else { Vec::new() },
                };
                self.write(workload);
            }
            Step::Delete(n) => {
                if self.cluster.remove(&id(n)).is_some() {
                    self.untold.push_back(ClusterChange::WorkloadGone(id(n)));
                }
            }
            Step::Tell => {
                if let Some(change) = self.untold.pop_front() {
                    self.state.change(change, now);
                }
            }
            Step::Namespace(n, policy) => {
                let namespace = NamespaceDefaults { name: format!("n{n}"), annotations: annotations(policy) };
                self.state.change(ClusterChange::Namespace(namespace), now);
            }
            Step::NamespaceGone(n) => self.state.change(ClusterChange::NamespaceGone(format!("n{n}")), now),
            Step::Push(n) => {
                let tags = self.tags.0.get_mut(&repository(n).to_string()).unwrap();
                tags.push(tag(tags.len()));
            }
            Step::Hint(n, tagged) => {
                let (tag, sender) = (tagged.map(tag), "distribution");
                self.state.hint(&Hint { repository: repository(n), tag, digest: None, sender }, now);
            }
            Step::Due(n) => {
                let sources: Vec<_> =
                    self.scheduled.iter().filter(|s| s.repository == repository(n)).cloned().collect();
                for source in sources {
                    self.state.due(&source, now);
                }
            }
            Step::Settings(keel) => self.state.settings_changed(settings(keel), now),
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
                        let Some(order) = self.state.order(&source, room) else { return self.effects() };
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
                    if self.state.looked(looked, now).is_err() {
                        self.failed.push(source);
                    }
                }
            }
            Step::FailLook(n) => {
                if !self.running.is_empty() {
                    let mut looked = self.running.remove(n % self.running.len());
                    self.failed.push(looked.source.clone());
                    looked.result = Err(failed(RegistryErrorKind::Unavailable));
                    let _ = self.state.looked(looked, now);
                }
            }
            Step::Apply(n) => _ = self.apply(&id(n)),
        }
        self.effects();
    }

    fn write(&mut self, workload: Workload) {
        self.untold.push_back(ClusterChange::Workload(Box::new(workload.clone())));
        self.cluster.insert(workload.id.clone(), workload);
    }

    /// Adds the effects up, and checks that none is out of place.
    fn effects(&mut self) {
        assert!(self.state.sources.has_room(), "more tags are kept than there is room for");
        for effect in self.state.effects() {
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
                Effect::Watched { repository, watched: false } => assert!(self.watched.remove(&repository), "unknown"),
                Effect::Assess(_)
                | Effect::Changed(_)
                | Effect::Arrived(_)
                | Effect::Forget(_)
                | Effect::Lost { .. } => {}
            }
        }
        assert_eq!(self.scheduled.len(), self.state.sources.len());
        let used: HashSet<&Repository> = self.scheduled.iter().map(|source| &source.repository).collect();
        assert_eq!(used, self.watched.iter().collect());
    }

    /// Does what the operator would do about a workload; whether it wrote.
    fn apply(&mut self, id: &WorkloadId) -> bool {
        let now = self.clock.now();
        let Some(mut assessment) = assess(&self.state, id, "here", now) else { return false };
        if assessment.must_read {
            match self.cluster.get(id).cloned() {
                Some(workload) => {
                    let observed = Observed { workload: workload.clone(), image_managers: Vec::new() };
                    self.state.moved_back(&observed);
                    self.state.change(ClusterChange::Workload(Box::new(workload)), self.time);
                }
                None => self.state.change(ClusterChange::WorkloadGone(id.clone()), self.time),
            }
            match assess(&self.state, id, "here", now) {
                Some(again) => assessment = again,
                None => return false,
            }
        }
        let Some(plan) = assessment.plan else { return false };
        let update = plan.update().clone();
        let entry = self.state.entry(id).unwrap();
        assert_eq!(plan.sources().len(), update.changes.len());
        for ((change, policy), source) in update.changes.iter().zip(&update.policies).zip(plan.sources()) {
            assert!(
                source.repository == change.to.repository && entry.sources().contains(source),
                "not its own source"
            );
            // What is proposed answers what is asked now, of the image that is there now.
            let container = entry.workload.containers.iter().find(|c| c.name == change.container).unwrap();
            assert_eq!(change.from, ImageRef::parse(&container.image).unwrap(), "a stale question");
            assert_eq!(&**policy, "patch");
            assert_eq!(change.to.repository, change.from.repository);
            let (from, to) = (number(&change.from), number(&change.to));
            assert!(to > from, "{from} to {to}");
            assert!(to < self.tags.0[&change.to.repository.to_string()].len(), "no such tag");
        }
        // The API server tests what was there, as the patch does.
        let Some(there) = self.cluster.get(id).filter(|there| there.uid == entry.workload.uid) else { return false };
        let mut workload = there.clone();
        for change in &update.changes {
            let Some(container) = workload.containers.iter_mut().find(|c| c.name == change.container) else {
                return false;
            };
            if ImageRef::parse(&container.image).unwrap() != change.from {
                return false;
            }
            container.image = change.to.to_string().into();
        }
        self.version += 1;
        workload.resource_version = self.version.to_string().into();
        let version = workload.resource_version.clone();
        self.write(workload);
        self.state.applied(&update, &version, self.time);
        true
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "it does not come to rest");
            while !self.untold.is_empty() {
                self.step(Step::Tell);
            }
            for source in std::mem::take(&mut self.failed) {
                self.state.again_source(&source, self.time);
            }
            self.effects();
            if !self.running.is_empty() {
                self.step(Step::EndLook(0));
            } else if !self.wanted.is_empty() {
                self.step(Step::StartLook(0));
            } else {
                let ids: Vec<WorkloadId> = self.cluster.keys().cloned().collect();
                let wrote = ids.iter().filter(|id| self.apply(id)).count();
                self.effects();
                if wrote > 0 || !self.wanted.is_empty() || !self.untold.is_empty() {
                    continue;
                }
                // Time passes only while nothing else is to be done.
                let Some(at) = self.state.next() else { return };
                self.time = self.time.max(at);
                self.state.woke(self.time);
                self.effects();
            }
        }
    }
}

fn number(image: &ImageRef) -> usize {
    image.tag.as_ref().unwrap().as_str().rsplit('.').next().unwrap().parse().unwrap()
}

#[test]
fn what_a_look_found_while_an_update_was_written_is_not_missed() {
    let mut world = World::new();
    world.step(Step::Namespace(0, None));
    let (policy, repositories) = (Some("patch"), vec![0]);
    world.step(Step::Write { workload: 0, policy, patch: 0, repositories, secret: false, new: false });
    for step in [Step::Tell, Step::StartLook(0), Step::EndLook(0)] {
        world.step(step);
    }
    // 1.0.3 is about to be written when the next look reads 1.0.4.
    for step in [Step::Push(0), Step::Due(0), Step::StartLook(0), Step::Apply(0), Step::EndLook(0)] {
        world.step(step);
    }
    world.settle();
    assert_eq!(&*world.cluster[&id(0)].containers[0].image, "r.io/r0:1.0.4");
}

#[test]
fn a_question_that_a_look_left_open_is_answered_by_the_poll_that_is_due() {
    let mut world = World::new();
    for n in 0..NAMESPACES {
        world.step(Step::Namespace(n, None));
    }
    let (policy, repositories) = (Some("patch"), vec![1]);
    world.step(Step::Write { workload: 0, policy, patch: 0, repositories, secret: false, new: false });
    for step in [Step::Tell, Step::StartLook(0), Step::Push(1), Step::Hint(1, None), Step::EndLook(0)] {
        world.step(step);
    }
    for step in [Step::StartLook(0), Step::Apply(0), Step::Due(1)] {
        world.step(step);
    }
    world.settle();
    assert_eq!(&*world.cluster[&id(0)].containers[0].image, "r.io/r1:1.0.4");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_history_panics_proposes_what_is_stale_or_leaves_a_workload_behind(
        known in prop_oneof![4 => Just(NAMESPACES), 1 => 0..NAMESPACES],
        kept in prop_oneof![Just(usize::MAX), Just(40), Just(0)],
        cramped: bool,
        steps in steps(),
    ) {
        let mut world = World { cramped, ..World::new() };
        world.state.sources.most = kept;
        // Mostly the Namespaces are known first.
        for n in 0..known {
            world.step(Step::Namespace(n, None));
        }
        for step in steps {
            world.step(step);
            if world.wanted.len() > 4 {
                world.settle();
            }
        }
        // The Namespaces are there in the end, and one more poll comes.
        for n in 0..NAMESPACES {
            world.step(Step::Namespace(n, None));
        }
        world.settle();
        for n in 0..REPOSITORIES {
            world.step(Step::Due(n));
        }
        world.settle();
        for (id, workload) in world.cluster.clone() {
            let wants = workload.annotations.get("supercargo.dev/policy").map(String::as_str);
            let assessment = assess(&world.state, &id, "here", world.clock.now());
            prop_assert_eq!(assessment.is_some(), wants.is_some());
            let Some(assessment) = assessment else { continue };
            for (row, container) in assessment.reports.iter().zip(&workload.containers) {
                let image = ImageRef::parse(&container.image).unwrap();
                let newest = world.tags.0[&image.repository.to_string()].len() - 1;
                match (wants, row.decision) {
                    (Some("patch"), Verdict::UpToDate) => prop_assert_eq!(number(&image), newest),
                    (Some("patch"), Verdict::Blocked) => prop_assert_eq!(row.reasons[0].code, Code::Reverted),
                    (Some("never"), decision) => prop_assert_eq!(decision, Verdict::UpToDate),
                    (_, decision) => prop_assert!(wants == Some("wrong:") && decision == Verdict::Problem, "{:?}", row),
                }
            }
        }
        let ids: BTreeSet<WorkloadId> = world.cluster.keys().cloned().collect();
        for id in ids {
            world.state.change(ClusterChange::WorkloadGone(id), world.time);
        }
        world.effects();
        prop_assert_eq!((world.scheduled.len(), world.watched.len(), world.state.watched()), (0, 0, 0));
    }
}
