//! What runs in the cluster, as a stream of changes.
//!
//! One watch for each kind (and for Namespaces' metadata): a list in pages, then a watch that resumes where it broke
//! off. Only when the API server no longer knows that place is the list read again, and then only what differs is
//! sent. Of each object no more than a hash is kept here. Argo CD's Applications are watched too, where it is installed.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    applications, failure, foreign,
    long::Long,
    object::{Object, is_ours, own},
    shared::Shared,
};
use crate::{
    domain::workload::{KINDS, KindSpec, Owner, Workload, WorkloadId},
    ports::{Clock, ClusterChange, NamespaceDefaults},
};

/// Which namespaces are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Cluster,
    /// These, each with watches of its own, so that no cluster-wide right is needed. Without the right to read a
    /// Namespace itself, its annotations are no defaults.
    Namespaces(Vec<String>),
}

/// How many objects are read at once: an object may have 1.5 MiB (the limit of etcd), whatever of it matters here.
const PAGE: u32 = 100;

/// How long until a kind is asked for again that the cluster does not have.
const ABSENT: Duration = Duration::from_secs(60);

/// After so many failures in a row the list is read anew: the API server may have gone back to an older state.
const ANEW: u32 = 8;

/// Watches all kinds and sends what changes, until the receiver is gone.
pub async fn watch(client: Client, scope: Scope, clock: Arc<dyn Clock>, changes: mpsc::Sender<ClusterChange>) {
    let namespaces: Vec<Option<String>> = match scope {
        Scope::Cluster => vec![None],
        Scope::Namespaces(names) => names.into_iter().map(Some).collect(),
    };
    let pending = Arc::new(AtomicUsize::new(namespaces.len() * (KINDS.len() + 1) + 1));
    let outlet = ChangeSender { changes, pending, clock };
    let long = Arc::new(Mutex::new(Long::default()));
    let mut watches = JoinSet::new();
    for namespace in &namespaces {
        for kind in KINDS {
            watches.spawn(workloads(client.clone(), kind, namespace.clone(), long.clone(), outlet.clone()));
        }
        watches.spawn(defaults(client.clone(), namespace.clone(), outlet.clone()));
    }
    watches.spawn(applications::watch(client, outlet));
    while let Some(ended) = watches.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Where changes go.
#[derive(Clone)]
pub(super) struct ChangeSender {
    changes: mpsc::Sender<ClusterChange>,
    /// How many watches have not delivered their first list.
    pending: Arc<AtomicUsize>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The receiver is gone.
pub(super) struct Closed;

impl ChangeSender {
    async fn send(&self, change: ClusterChange) -> Result<(), Closed> {
        self.changes.send(change).await.map_err(|_| Closed)
    }

    pub(super) async fn delivered(&self) -> Result<(), Closed> {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 { self.send(ClusterChange::Synced).await } else { Ok(()) }
    }
}

async fn workloads(
    client: Client,
    kind: &'static KindSpec,
    namespace: Option<String>,
    long: Arc<Mutex<Long>>,
    outlet: ChangeSender,
) {
    let api: Api<Object> = match &namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &kind),
        None => Api::all_with(client, &kind),
    };
    let what = match &namespace {
        Some(namespace) => format!("{} in namespace {namespace}", kind.plural),
        None => kind.plural.to_owned(),
    };
    let hashes = RandomState::new();
    let mut shared = Shared::default();
    let long = || long.lock().unwrap_or_else(PoisonError::into_inner);
    let mut decode = |object: &Object| {
        let workload = object.workload(kind, &mut shared).inspect_err(|_| long().forget(&object.id(kind, own)))?;
        long().take(&workload.id, workload.annotations.iter().map(|(key, value)| key.len() + value.len()).sum())?;
        Ok::<_, String>(workload)
    };
    let read = |object: Object| match decode(&object) {
        Ok(workload) => {
            (workload.id.clone(), fingerprint(&hashes, &workload), ClusterChange::Workload(Box::new(workload)))
        }
        Err(reason) => {
            let id = object.id(kind, own);
            let hash = hashes.hash_one(&reason);
            (id.clone(), hash, ClusterChange::Undecodable(id, reason))
        }
    };
    let key = |object: &Object| object.id(kind, own);
    let gone = |id: WorkloadId| {
        long().forget(&id);
        ClusterChange::WorkloadGone(id)
    };
    let source = Source { api, config: watcher::Config::default().page_size(PAGE), what, without: None };
    let _: Result<(), Closed> = follow(source, read, key, gone, &outlet).await;
}

async fn defaults(client: Client, namespace: Option<String>, outlet: ChangeSender) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let (config, what) = match &namespace {
        Some(name) => {
            (watcher::Config::default().fields(&format!("metadata.name={name}")), format!("namespace {name}"))
        }
        None => (watcher::Config::default(), "namespaces".to_owned()),
    };
    let hashes = RandomState::new();
    let read = |object: PartialObjectMeta<Namespace>| {
        let name = object.metadata.name.unwrap_or_default();
        let annotations = object.metadata.annotations.unwrap_or_default();
        let annotations = annotations.into_iter().filter(|(key, _)| is_ours(key)).collect();
        let defaults = NamespaceDefaults { name: name.clone(), annotations };
        (name, hashes.hash_one(&defaults.annotations), ClusterChange::Namespace(defaults))
    };
    let key = |object: &PartialObjectMeta<Namespace>| object.metadata.name.clone().unwrap_or_default();
    // Workloads wait for their Namespace: where it may not be read, it is one without annotations.
    let without = namespace.map(|name| Without {
        note: "its annotations are no defaults",
        change: Some(ClusterChange::Namespace(NamespaceDefaults { name, annotations: BTreeMap::new() })),
    });
    let source = Source { api, config, what, without };
    let _: Result<(), Closed> = follow(source, read, key, ClusterChange::NamespaceGone, &outlet).await;
}

/// What one watch watches.
pub(super) struct Source<K> {
    pub(super) api: Api<K>,
    pub(super) config: watcher::Config,
    /// For messages.
    pub(super) what: String,
    /// Where one can do without the right to it: what is told instead.
    pub(super) without: Option<Without>,
}

impl<K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static> Source<K> {
    fn start(&self) -> BoxStream<'static, watcher::Result<Event<K>>> {
        watcher(self.api.clone(), self.config.clone()).boxed()
    }
}

/// What is told of a watch that there is no right to.
pub(super) struct Without {
    pub(super) note: &'static str,
    pub(super) change: Option<ClusterChange>,
}

/// What is known of each object: a hash, and the last list that had it.
struct Known<Key> {
    entries: HashMap<Key, (u64, u32)>,
    list: u32,
}

/// Follows one watch for ever. `read` makes an object's key, hash and change.
pub(super) async fn follow<K, Key>(
    source: Source<K>,
    mut read: impl FnMut(K) -> (Key, u64, ClusterChange),
    key: impl Fn(&K) -> Key,
    gone: impl Fn(Key) -> ClusterChange,
    outlet: &ChangeSender,
) -> Result<(), Closed>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    Key: Hash + Eq + Clone,
{
    let mut known = Known { entries: HashMap::new(), list: 0 };
    let mut delivered = false;
    let mut failures = 0;
    let mut events = source.start();
    let mut delays = delays();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                if let Some(without) = source.without.as_ref().filter(|_| is(&error, 403) && !delivered) {
                    tracing::info!(what = source.what, "no right to read it: {}", without.note);
                    if let Some(change) = &without.change {
                        outlet.send(change.clone()).await?;
                    }
                    return outlet.delivered().await;
                }
                // What the cluster does not have is no more than empty.
                if is(&error, 404) {
                    if !std::mem::replace(&mut delivered, true) {
                        let again = ABSENT;
                        tracing::warn!(what = source.what, ?again, "this cluster does not have them; asked again");
                        outlet.delivered().await?;
                    }
                    outlet.clock.sleep_until(outlet.clock.monotonic() + ABSENT).await;
                    continue;
                }
                failures += 1;
                let delay = delays.next().unwrap_or(MAX_DELAY);
                tracing::warn!(what = source.what, error = words(&error), ?delay, "the watch broke off");
                outlet.clock.sleep_until(outlet.clock.monotonic() + delay).await;
                // The watcher would resume at a place that the API server has just called gone.
                if matches!(&error, watcher::Error::WatchStartFailed(_)) && is(&error, 410) || failures % ANEW == 0 {
                    events = source.start();
                }
                continue;
            }
        };
        // That a list begins says nothing yet; only an answer ends a series of failures.
        if failures > 0 && !matches!(event, Event::Init) {
            failures = 0;
            delays = self::delays();
        }
        match event {
            Event::Init => known.list += 1,
            Event::InitApply(object) | Event::Apply(object) => {
                let (key, hash, change) = read(object);
                if known.entries.insert(key, (hash, known.list)).is_none_or(|(before, _)| before != hash) {
                    outlet.send(change).await?;
                }
            }
            Event::Delete(object) => {
                let key = key(&object);
                if known.entries.remove(&key).is_some() {
                    outlet.send(gone(key)).await?;
                }
            }
            Event::InitDone => {
                let list = known.list;
                let missing: Vec<Key> =
                    known.entries.extract_if(|_, (_, seen)| *seen != list).map(|(key, _)| key).collect();
                for key in missing {
                    outlet.send(gone(key)).await?;
                }
                if !std::mem::replace(&mut delivered, true) {
                    outlet.delivered().await?;
                }
            }
        }
    }
    Ok(())
}

pub(super) const MAX_DELAY: Duration = Duration::from_secs(30);

pub(super) fn delays() -> impl Iterator<Item = Duration> {
    use backon::BackoffBuilder;
    let builder = backon::ExponentialBuilder::default();
    builder
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

fn is(error: &watcher::Error, code: u16) -> bool {
    match error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            matches!(e, kube::Error::Api(status) if status.code == code)
        }
        watcher::Error::WatchError(status) => status.code == code,
        watcher::Error::NoResourceVersion => false,
    }
}

fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            failure(e)
        }
        watcher::Error::WatchError(status) => {
            foreign(&format!("{} ({} {})", status.message, status.code, status.reason))
        }
        other => foreign(&other.to_string()),
    }
}

/// A hash of all that decisions see: equal ones need not be sent again.
fn fingerprint(hashes: &RandomState, workload: &Workload) -> u64 {
    let Workload {
        id: WorkloadId { .. },
        uid,
        resource_version: _,
        annotations,
        labels,
        has_annotations,
        containers,
        owner,
        instance,
        written: _,
        pull_secrets,
    } = workload;
    let mut hasher = hashes.build_hasher();
    (uid, annotations, labels, has_annotations, instance, pull_secrets).hash(&mut hasher);
    for c in containers {
        (&c.name, &c.image, c.init, c.index).hash(&mut hasher);
    }
    match owner {
        None => 0.hash(&mut hasher),
        Some(Owner::Helm) => 1.hash(&mut hasher),
        Some(Owner::Elsewhere(who)) => who.hash(&mut hasher),
    }
    hasher.finish()
}
