//! `min-age` over simulated days: what goes when, also where tags move, the process is killed, and much is pushed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::SignedDuration;
use rstest::rstest;
use supercargo::{
    domain::{
        hint::{Credentials, Hint, Source},
        image::{Digest, ImageRef, Repository, Tag},
        keel::KeelMode,
        plan::{Approved, Plan},
        poll::Schedule,
        rollout::{RolloutView, Times},
        tags::Tags,
        votes::Review,
        workload::{Container, Workload, WorkloadId},
    },
    engine::{self, Inbox, Inputs, Ports, Settings},
    metrics::Metrics,
    ports::{
        Clock as _, ClusterChange, ClusterError, Events, Hints as _, ImageTimes, NamespaceDefaults, Notice, Observed,
        Origin, Outcome, Polling, Pool, Proof, Registry, RegistryError, RegistryErrorKind, Rollouts, Sink, Standing,
        Votes, Work, Workloads, Written,
    },
    store::Sqlite,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::support::clock::SimClock;

const START: &str = "2026-03-01T00:00:00Z";
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The outside world of a Deployment `web` that runs an image of `r.io/web`.
struct World {
    clock: SimClock,
    /// What each tag points to.
    tags: Mutex<BTreeMap<String, String>>,
    /// Tags that are listed and have no manifest.
    bare: Mutex<BTreeSet<String>>,
    /// Tags that cannot be asked for.
    broken: Mutex<BTreeSet<String>>,
    /// How often a list, and the digest of a tag was asked for.
    lists: Mutex<usize>,
    heads: Mutex<Vec<String>>,
    image: Mutex<String>,
    version: Mutex<u64>,
    /// The annotations that were told last.
    own: Mutex<Vec<(String, String)>>,
    /// What was written, and how many seconds after the start.
    written: Mutex<Vec<(u64, String)>>,
    notices: Mutex<Vec<String>>,
    changes: Mutex<Option<mpsc::Sender<ClusterChange>>>,
}

impl World {
    fn since_start(&self) -> u64 {
        let since = self.clock.now().duration_since(START.parse().unwrap());
        since.as_secs().try_into().unwrap()
    }

    fn push(&self, tag: &str) {
        self.move_to(tag, tag);
    }

    /// The tag points to what was built from that text.
    fn move_to(&self, tag: &str, text: &str) {
        self.tags.lock().unwrap().insert(tag.to_owned(), text.to_owned());
    }

    fn workload(&self, annotations: &[(&str, &str)]) -> ClusterChange {
        let own = annotations.iter().map(|(key, value)| (format!("supercargo.dev/{key}"), (*value).to_owned()));
        *self.own.lock().unwrap() = own.collect();
        ClusterChange::Workload(Box::new(self.read()))
    }

    fn read(&self) -> Workload {
        let own = self.own.lock().unwrap().clone().into_iter();
        Workload {
            id: "shop/Deployment/web".parse().unwrap(),
            uid: "u".into(),
            resource_version: self.version.lock().unwrap().to_string().into(),
            annotations: Arc::new(own.collect()),
            written: None,
            labels: BTreeMap::new(),
            has_annotations: true,
            containers: vec![Container {
                name: "app".into(),
                image: self.image.lock().unwrap().as_str().into(),
                init: false,
                index: 0,
            }],
            owner: None,
            instance: None,
            pull_secrets: Vec::new(),
        }
    }

    /// The tags that were written, and the day and hour of each.
    fn went(&self) -> Vec<(u64, u64, String)> {
        let written = self.written.lock().unwrap();
        let tag = |image: &str| image.split('@').next().unwrap().rsplit(':').next().unwrap().to_owned();
        written.iter().map(|(at, image)| (at / DAY, at % DAY / HOUR, tag(image))).collect()
    }
}

fn digest_of(text: &str) -> Digest {
    let hex: String =
        text.bytes().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from_digit(n.into(), 16).unwrap()).collect();
    Digest::parse(&format!("sha256:{hex:0<64}")).unwrap()
}

#[derive(Clone)]
struct Pushed(Arc<World>);

fn not_asked<T>() -> Result<T, RegistryError> {
    Err(RegistryError { kind: RegistryErrorKind::Unavailable, message: "away".to_owned() })
}

impl Registry for Pushed {
    fn within(&self, _: &Arc<str>, _: usize) -> Box<dyn Registry> {
        Box::new(self.clone())
    }

    fn tags<'a>(&'a self, _: &'a Source) -> BoxFuture<'a, Result<Tags, RegistryError>> {
        *self.0.lists.lock().unwrap() += 1;
        let tags: Vec<Tag> = self.0.tags.lock().unwrap().keys().map(|tag| Tag::parse(tag).unwrap()).collect();
        Box::pin(async move { Ok(tags.iter().collect()) })
    }

    fn digest<'a>(&'a self, _: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<Digest, RegistryError>> {
        self.0.heads.lock().unwrap().push(tag.to_string());
        let error = RegistryError { kind: RegistryErrorKind::NotFound, message: "no such manifest".to_owned() };
        if self.0.broken.lock().unwrap().contains(tag.as_str()) {
            return Box::pin(async { not_asked() });
        }
        let is_bare = self.0.bare.lock().unwrap().contains(tag.as_str());
        let digest = self.0.tags.lock().unwrap().get(tag.as_str()).filter(|_| !is_bare).map(|text| digest_of(text));
        Box::pin(async move { digest.ok_or(error) })
    }

    fn has<'a>(&'a self, _: &'a Source, _: &'a ImageRef) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async { not_asked() })
    }

    fn image<'a>(&'a self, _: &'a Source, _: &'a Tag) -> BoxFuture<'a, Result<ImageTimes, RegistryError>> {
        Box::pin(async { not_asked() })
    }

    fn origin<'a>(&'a self, _: &'a Source, _: &'a ImageRef) -> BoxFuture<'a, Result<Origin, RegistryError>> {
        Box::pin(async { not_asked() })
    }
}

impl Sink for World {
    fn apply<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Outcome>> {
        let apply = |plan: &Plan<Approved>| {
            let change = plan.update().changes().next().unwrap();
            let mut version = self.version.lock().unwrap();
            *version += 1;
            *self.image.lock().unwrap() = change.to.to_string();
            self.written.lock().unwrap().push((self.since_start(), change.to.to_string()));
            let images = vec![(change.container.clone(), change.to.to_string().into())];
            Outcome::Applied(Written { resource_version: version.to_string().into(), images, ..Written::default() })
        };
        let outcomes = plans.iter().map(apply).collect();
        Box::pin(async move { outcomes })
    }

    fn check<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Standing>> {
        panic!("nothing is in Git: {plans:?}");
    }
}

impl Workloads for World {
    fn get<'a>(&'a self, _: &'a WorkloadId) -> BoxFuture<'a, Result<Option<Observed>, ClusterError>> {
        let (workload, template) = (self.read(), "".into());
        Box::pin(async { Ok(Some(Observed { workload, image_managers: Vec::new(), template })) })
    }
}

/// Nobody is asked.
impl Votes for World {
    fn prove<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Proof> {
        Box::pin(std::future::ready(Proof::Guarded(self.clock.now())))
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

    fn free(&self, _: &WorkloadId, _: Vec<supercargo::domain::update::Change>) {}
}

impl Events for World {
    fn publish(&self, notice: Notice) {
        self.notices.lock().unwrap().push(format!("{}: {}", notice.reason, notice.message));
    }
}

impl Polling for World {
    fn set(&self, _: Source, _: Vec<Schedule>) {}
}

impl Pool for World {
    fn run(&self, _: &Arc<str>, work: Work) {
        work(&|| Duration::ZERO);
    }
}

/// A process that runs.
struct Process {
    due: mpsc::Sender<Source>,
    inbox: Inbox,
    ended: tokio::task::JoinHandle<()>,
    _kept: (watch::Sender<Settings>, watch::Sender<bool>, watch::Receiver<bool>, oneshot::Sender<()>),
}

/// A world that goes on, and the processes that run in it one after the other.
struct Bench {
    world: Arc<World>,
    folder: tempfile::TempDir,
    annotations: Vec<(&'static str, &'static str)>,
    process: Option<Process>,
}

fn settings() -> Settings {
    Settings {
        poll_interval: Duration::from_secs(300),
        named: Arc::default(),
        keel: KeelMode::Ignore,
        rollout: Times::default(),
        guards: Arc::default(),
        targets: Arc::default(),
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

impl Bench {
    async fn new(image: &str, annotations: &[(&'static str, &'static str)]) -> Self {
        let world = World {
            clock: SimClock::at(START),
            tags: Mutex::default(),
            bare: Mutex::default(),
            broken: Mutex::default(),
            lists: Mutex::default(),
            heads: Mutex::default(),
            image: Mutex::new(image.to_owned()),
            version: Mutex::new(1),
            own: Mutex::default(),
            written: Mutex::default(),
            notices: Mutex::default(),
            changes: Mutex::default(),
        };
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { world: Arc::new(world), folder, annotations: annotations.to_vec(), process: None };
        bench.world.push("1.0.0");
        bench
    }

    async fn start(&mut self) {
        let (world, clock) = (self.world.clone(), self.world.clock.clone());
        let store = Arc::new(Sqlite::open(&self.folder.path().join("state.db"), Arc::new(clock.clone())).unwrap());
        let known = store.known().await.unwrap();
        let ports = Ports {
            registry: Arc::new(Pushed(world.clone())),
            workloads: world.clone(),
            sink: world.clone(),
            records: store.clone(),
            histories: store,
            rollouts: world.clone(),
            votes: world.clone(),
            events: world.clone(),
            polling: world.clone(),
            pool: world.clone(),
            clock: Arc::new(clock),
            metrics: Arc::new(Metrics::default()),
        };
        let (changes, changed) = mpsc::channel(64);
        *world.changes.lock().unwrap() = Some(changes.clone());
        let (due, dues) = mpsc::channel(1);
        let (settings, settings_read) = watch::channel(settings());
        let (leader, leads) = watch::channel(true);
        let (ready, is_ready) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let inbox = Inbox::default();
        let inputs = Inputs {
            changes: changed,
            due: dues,
            inbox: inbox.clone(),
            asks: supercargo::engine::view().1,
            settings: settings_read,
            leader: leads,
            ready,
        };
        let ended = tokio::spawn(engine::run(ports, inputs, async move {
            let _ = stopped.await;
        }));
        let namespace = NamespaceDefaults { name: "shop".to_owned(), annotations: BTreeMap::new() };
        let own = world.workload(&self.annotations);
        let all = known.into_iter().chain([ClusterChange::Namespace(namespace), own, ClusterChange::Synced]);
        for change in all {
            changes.send(change).await.unwrap();
        }
        self.process = Some(Process { due, inbox, ended, _kept: (settings, leader, is_ready, stop) });
        self.world.clock.advance(Duration::from_secs(1)).await;
    }

    /// As `kill -9` does.
    async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.ended.abort();
            let _ = process.ended.await;
        }
    }

    /// Lets time pass, with a poll every ten minutes.
    async fn pass(&self, seconds: u64) {
        let source = Source { repository: Repository::parse("r.io/web").unwrap(), credentials: Credentials::default() };
        for _ in 0..seconds / 600 {
            if let Some(process) = &self.process {
                let _ = process.due.send(source.clone()).await;
            }
            self.world.clock.advance(Duration::from_secs(600)).await;
        }
    }

    fn hook(&self, tag: &str) {
        let (repository, tag) = (Repository::parse("r.io/web").unwrap(), Tag::parse(tag).ok());
        let hint = Hint { repository, tag, digest: None, sender: "distribution" };
        self.process.as_ref().unwrap().inbox.offer(hint);
    }
}

/// One push a day at noon.
async fn daily(bench: &Bench, days: std::ops::Range<u64>) {
    for day in days {
        bench.pass(DAY / 2).await;
        bench.world.push(&format!("1.0.{}", day + 1));
        bench.pass(DAY / 2).await;
    }
}

const THREE_DAYS: [(&str, &str); 2] = [("policy", "patch"), ("min-age", "3d")];

#[tokio::test]
async fn of_a_push_a_day_that_of_three_days_ago_goes_each_day() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    bench.start().await;
    daily(&bench, 0..8).await;
    // Pushed at noon and seen by the next poll.
    let went: Vec<(u64, u64, String)> = (3..8).map(|day| (day, 12, format!("1.0.{}", day - 2))).collect();
    assert_eq!(bench.world.went(), went);
    let written = bench.world.written.lock().unwrap();
    assert!(written.iter().all(|(_, image)| image.contains("@sha256:")), "{written:?}");
}

#[tokio::test]
async fn of_forty_pushes_a_day_each_goes_once_it_is_old_enough() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    bench.start().await;
    for n in 1..=6 * 40 {
        bench.world.push(&format!("1.0.{n}"));
        bench.pass(DAY / 40 / 600 * 600).await;
    }
    // 36 minutes apart, polled each ten: what went was three days old, and nothing older waited.
    let written = bench.world.written.lock().unwrap().clone();
    assert!(written.len() > 90, "{}", written.len());
    for (at, image) in written {
        let n: u64 = image.split('@').next().unwrap().rsplit('.').next().unwrap().parse().unwrap();
        let pushed = (n - 1) * (DAY / 40 / 600 * 600);
        let age = at - pushed;
        assert!((3 * DAY..3 * DAY + 1300).contains(&age), "{image} went {age} s after its push");
    }
}

#[tokio::test]
async fn a_tag_that_is_pushed_again_starts_anew() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    bench.start().await;
    bench.world.push("1.0.1");
    bench.pass(2 * DAY).await;
    bench.world.move_to("1.0.1", "built again");
    bench.hook("1.0.1");
    bench.pass(2 * DAY).await;
    assert_eq!(bench.world.went(), [], "four days after the first push, two after the second");
    bench.pass(2 * DAY).await;
    assert_eq!(bench.world.went(), [(5, 0, "1.0.1".to_owned())]);
}

#[tokio::test]
async fn a_tag_that_moved_unseen_is_not_taken_and_the_next_one_is() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    bench.start().await;
    bench.world.push("1.0.1");
    bench.world.push("1.0.2");
    bench.pass(2 * DAY).await;
    bench.world.move_to("1.0.2", "built again");
    bench.pass(3 * DAY).await;
    assert_eq!(bench.world.went(), [(3, 0, "1.0.1".to_owned())]);
    bench.pass(2 * DAY).await;
    assert_eq!(bench.world.went()[1..], [(6, 0, "1.0.2".to_owned())]);
}

#[tokio::test]
async fn kills_make_no_version_go_before_its_time_and_none_an_hour_late() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    for hour in 0..7 * 24 {
        if hour % 24 == 12 {
            bench.world.push(&format!("1.0.{}", hour / 24 + 1));
        }
        bench.start().await;
        bench.pass(HOUR).await;
        bench.kill().await;
    }
    let went: Vec<(u64, String)> = bench
        .world
        .went()
        .into_iter()
        .map(|(day, hour, tag)| {
            assert!((12..14).contains(&hour), "{tag} at {hour}");
            (day, tag)
        })
        .collect();
    let right: Vec<(u64, String)> = (3..7).map(|day| (day, format!("1.0.{}", day - 2))).collect();
    assert_eq!(went, right);
}

#[tokio::test]
async fn at_the_first_start_nothing_goes_for_its_age_and_the_reason_says_why_and_when() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    for n in 1..=50 {
        bench.world.push(&format!("1.0.{n}"));
    }
    bench.start().await;
    bench.pass(DAY).await;
    assert_eq!(bench.world.went(), []);
    let notices = bench.world.notices.lock().unwrap().clone();
    let [waiting] = &notices[..] else { panic!("{notices:?}") };
    assert!(waiting.starts_with("UpdateWaiting: container app: 1.0."), "{waiting}");
    assert!(
        waiting.contains(
            "by policy patch waits until 2026-03-04T00:00Z: at least 3d by `supercargo.dev/min-age: 3d` (too-young)"
        ),
        "{waiting}"
    );
    bench.pass(2 * DAY + HOUR).await;
    assert_eq!(bench.world.went(), [(3, 0, "1.0.50".to_owned())]);
}

#[tokio::test]
async fn new_tags_are_asked_for_twenty_a_look_and_what_is_unchanged_costs_one_request() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    for n in 1..=50 {
        bench.world.push(&format!("1.0.{n}"));
    }
    bench.start().await;
    let heads = || bench.world.heads.lock().unwrap().len();
    assert_eq!(heads(), 20);
    let first: BTreeSet<String> = bench.world.heads.lock().unwrap().iter().cloned().collect();
    assert_eq!(first, (31..=50).map(|n| format!("1.0.{n}")).collect(), "the best first");
    bench.pass(600).await;
    assert_eq!(heads(), 40);
    bench.pass(1800).await;
    assert_eq!(heads(), 50);
    let lists = *bench.world.lists.lock().unwrap();
    bench.pass(HOUR).await;
    assert_eq!((heads(), *bench.world.lists.lock().unwrap()), (50, lists + 6));
}

#[tokio::test]
async fn a_followed_digest_must_have_been_there_for_so_long() {
    let mut bench = Bench::new("r.io/web:1.0.0", &[("policy", "digest"), ("min-age", "1d")]).await;
    bench.start().await;
    bench.pass(2 * DAY).await;
    assert_eq!(bench.world.went(), [(1, 0, "1.0.0".to_owned())], "it is pinned once it is old enough");
    bench.world.move_to("1.0.0", "second");
    bench.pass(DAY / 2).await;
    bench.world.move_to("1.0.0", "third");
    bench.pass(DAY - HOUR).await;
    assert_eq!(bench.world.went().len(), 1, "it began anew");
    bench.pass(DAY).await;
    let written = bench.world.written.lock().unwrap().clone();
    assert_eq!(written.len(), 2, "{written:?}");
    assert!(written[1].1.ends_with(&digest_of("third").to_string()), "{written:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_is_kept_to() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    bench.start().await;
    bench.world.push("1.0.1");
    bench.pass(600).await;
    let before = bench.world.clock.monotonic();
    bench.world.clock.jump(SignedDuration::from_hours(72));
    bench.world.clock.advance(Duration::from_secs(60)).await;
    assert_eq!(bench.world.went().len(), 1, "{:?}", bench.world.clock.monotonic() - before);
}

#[rstest]
#[case::too_young(&[("min-age", "1h")], 0, 50)]
#[case::old_enough(&[("min-age", "1h")], 1, 70)]
#[tokio::test]
async fn it_opens_when_it_is_old_enough_without_a_poll(
    #[case] more: &[(&'static str, &'static str)],
    #[case] writes: usize,
    #[case] minutes: u64,
) {
    let mut bench = Bench::new("r.io/web:1.0.0", &[&[("policy", "patch")], more].concat()).await;
    bench.world.push("1.0.1");
    bench.start().await;
    bench.world.clock.advance(Duration::from_secs(60 * minutes)).await;
    let written = bench.world.written.lock().unwrap().clone();
    assert_eq!(written.len(), writes, "{written:?}");
    assert!(written.iter().all(|(at, _)| (HOUR..HOUR + 2).contains(at)), "{written:?}");
}

#[tokio::test]
async fn tags_without_a_manifest_hold_up_no_others_and_count_once_they_have_one() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    for n in 1..=45 {
        bench.world.push(&format!("1.0.{n}"));
    }
    *bench.world.bare.lock().unwrap() = (6..=45).map(|n| format!("1.0.{n}")).collect();
    bench.start().await;
    bench.pass(DAY).await;
    let heads = bench.world.heads.lock().unwrap().len();
    bench.pass(600).await;
    assert_eq!(bench.world.heads.lock().unwrap().len(), heads + 2, "a few are asked for again");
    bench.world.bare.lock().unwrap().remove("1.0.30");
    bench.pass(2 * DAY + HOUR).await;
    assert_eq!(bench.world.went(), [(3, 0, "1.0.5".to_owned())]);
    bench.pass(DAY).await;
    let went = bench.world.went();
    assert_eq!((went.len(), went[1].0, went[1].2.as_str()), (2, 4, "1.0.30"), "{went:?}");
}

#[tokio::test]
async fn what_a_webhook_told_of_goes_when_it_is_old_enough_without_another_one() {
    let mut bench = Bench::new("r.io/web:1.0.0", &[("policy", "patch"), ("min-age", "3d"), ("poll", "never")]).await;
    bench.start().await;
    bench.world.push("1.0.1");
    bench.hook("1.0.1");
    bench.world.clock.advance(Duration::from_secs(DAY)).await;
    // The rule is read again, and says the same.
    *bench.world.version.lock().unwrap() += 1;
    let annotations = [("policy", "patch"), ("min-age", "3d"), ("poll", "never"), ("suspend", "false")];
    let (changes, again) = (bench.world.changes.lock().unwrap().clone().unwrap(), bench.world.workload(&annotations));
    changes.send(again).await.unwrap();
    bench.world.clock.advance(Duration::from_secs(3 * DAY)).await;
    assert_eq!(bench.world.went(), [(3, 0, "1.0.1".to_owned())]);
}

#[rstest]
#[case::of_a_min_age("min-age", "3d")]
#[case::of_a_pin("pin", "digest")]
#[tokio::test]
async fn what_was_held_for_long_is_not_written_with_what_its_tag_pointed_to_then(
    #[case] key: &'static str,
    #[case] value: &'static str,
) {
    let mut bench = Bench::new("r.io/web:1.0.0", &[("policy", "patch"), (key, value), ("suspend", "true")]).await;
    bench.world.push("1.0.1");
    bench.start().await;
    bench.pass(4 * DAY).await;
    assert_eq!(bench.world.went(), []);
    bench.world.move_to("1.0.1", "built again");
    *bench.world.version.lock().unwrap() += 1;
    let lifted = bench.world.workload(&[("policy", "patch"), (key, value)]);
    let changes = bench.world.changes.lock().unwrap().clone().unwrap();
    changes.send(lifted).await.unwrap();
    bench.world.clock.advance(Duration::from_secs(60)).await;
    let written = bench.world.written.lock().unwrap().clone();
    let again = digest_of("built again").to_string();
    match key {
        "pin" => assert!(written.len() == 1 && written[0].1.ends_with(&again), "{written:?}"),
        _ => assert_eq!(written, [], "what it points to now is new"),
    }
    bench.pass(4 * DAY).await;
    let written = bench.world.written.lock().unwrap().clone();
    assert!(written.len() == 1 && written[0].1.ends_with(&again), "{written:?}");
}

#[tokio::test]
async fn a_tag_that_cannot_be_asked_for_holds_up_no_others() {
    let mut bench = Bench::new("r.io/web:1.0.0", &THREE_DAYS).await;
    for n in 1..=30 {
        bench.world.push(&format!("1.0.{n}"));
    }
    *bench.world.broken.lock().unwrap() = (5..=30).map(|n| format!("1.0.{n}")).collect();
    bench.start().await;
    bench.pass(3 * DAY + 6 * HOUR).await;
    let went = bench.world.went();
    assert_eq!((went.len(), went[0].0, went[0].2.as_str()), (1, 3, "1.0.4"), "{went:?}");
}
