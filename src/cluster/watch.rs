//! What runs in the cluster, as a stream of changes.
//!
//! One watch for each kind (and for Namespaces' metadata): a list in pages, then a watch that resumes where it broke
//! off. Only when the API server no longer knows that place is the list read again, and then only what differs is
//! sent. Of each object no more than a hash is kept here. Argo CD's Applications are watched too, where it is installed, and
//! what is remembered of repositories, in the operator's own namespace.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, core::PartialObjectMeta, runtime::watcher};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    ahead::reads_ahead,
    applications,
    follow::{ChangeSender, Closed, Reading, Source, Without, follow},
    long::Long,
    object::{Object, is_ours, own},
    policies::{self, Installed},
    records::{
        ALL, CustomResources,
        history::watch::histories,
        watch::{states, updates},
    },
    reviews,
    rollouts::Followed,
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

impl Scope {
    /// What each watch is limited to.
    pub(super) fn each(&self) -> Vec<Option<String>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// How many objects are read at once: an object may have 1.5 MiB (the limit of etcd), whatever of it matters here.
const PAGE: u32 = 100;

/// Watches all kinds and sends what changes, until the receiver is gone. Without `records`, what is
/// remembered is told as far as it may be read. What is seen of those whose rollouts are followed goes to `rollouts` too.
/// What people wish for all workloads stands in the `operator`'s namespace.
pub async fn watch(
    client: Client,
    scope: Scope,
    operator: Option<&str>,
    records: Option<&CustomResources>,
    rollouts: Option<&Followed>,
    clock: Arc<dyn Clock>,
    changes: mpsc::Sender<ClusterChange>,
) {
    let namespaces = scope.each();
    // Who writes nothing needs no votes: what is recorded of them is shown.
    let votes = records.is_some();
    let each = KINDS.len() + 3 + usize::from(votes);
    let is_seen = |name: &str| namespaces.iter().any(|namespace| namespace.as_deref().is_none_or(|seen| seen == name));
    let beside = operator.filter(|name| !is_seen(name));
    let all = namespaces.len() * each + 1 + usize::from(beside.is_some()) + if votes { 3 } else { 0 };
    let sender = ChangeSender::new(changes, all, clock);
    let long = Arc::new(Mutex::new(Long::default()));
    let installed = Arc::<Installed>::default();
    let mut watches = JoinSet::new();
    for namespace in &namespaces {
        for kind in KINDS {
            let (client, namespace, rollouts) = (client.clone(), namespace.clone(), rollouts.cloned());
            watches.spawn(workloads(client, kind, namespace, rollouts, long.clone(), sender.clone()));
        }
        watches.spawn(defaults(client.clone(), namespace.clone(), sender.clone()));
        watches.spawn(updates(client.clone(), namespace.clone(), records.cloned(), sender.clone()));
        let states = states(client.clone(), namespace.clone(), None, records.cloned(), sender.clone());
        let votes = votes.then(|| reviews::watch(client.clone(), namespace.clone(), installed.clone(), sender.clone()));
        let (sender, last) = (sender.clone(), namespaces.len() * (1 + usize::from(votes.is_some())));
        // What a workload says itself is not kept twice, nor a vote on an update that has ended: so these are read before.
        watches.spawn(async move {
            sender.are_left(last).await;
            match votes {
                Some(votes) => _ = futures::future::join(states, votes).await,
                None => states.await,
            }
        });
    }
    if let Some(namespace) = beside {
        let namespace = Some(namespace.to_owned());
        watches.spawn(states(client.clone(), namespace, Some(ALL), records.cloned(), sender.clone()));
    }
    if let Some(records) = records {
        watches.spawn(histories(records.clone(), sender.clone()));
        watches.spawn(policies::policies(client.clone(), installed.clone(), sender.clone()));
        watches.spawn(policies::bindings(client.clone(), installed, sender.clone()));
    }
    watches.spawn(applications::watch(client, sender));
    while let Some(ended) = watches.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

async fn workloads(
    client: Client,
    kind: &'static KindSpec,
    namespace: Option<String>,
    rollouts: Option<Followed>,
    long: Arc<Mutex<Long>>,
    sender: ChangeSender,
) {
    let client = reads_ahead(client);
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
            rollouts.iter().for_each(|rollouts| rollouts.saw(&workload.id, || object.rollout()));
            let hash = fingerprint(&hashes, &workload);
            (workload.id.clone(), Reading::Told(hash, ClusterChange::Workload(Box::new(workload))))
        }
        Err(reason) => {
            let id = object.id(kind, own);
            let hash = hashes.hash_one(&reason);
            (id.clone(), Reading::Told(hash, ClusterChange::Undecodable(id, reason)))
        }
    };
    let key = |object: &Object| object.id(kind, own);
    let gone = |id: WorkloadId| {
        long().forget(&id);
        Some(ClusterChange::WorkloadGone(id))
    };
    let source = Source::new(api, watcher::Config::default().page_size(PAGE), what);
    let _: Result<(), Closed> = follow(source, read, key, gone, &sender).await;
}

async fn defaults(client: Client, namespace: Option<String>, sender: ChangeSender) {
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
        (name, Reading::Told(hashes.hash_one(&defaults.annotations), ClusterChange::Namespace(defaults)))
    };
    let key = |object: &PartialObjectMeta<Namespace>| object.metadata.name.clone().unwrap_or_default();
    // Workloads wait for their Namespace: where it may not be read, it is one without annotations.
    let without = namespace.map(|name| Without {
        note: "its annotations are no defaults",
        change: Some(ClusterChange::Namespace(NamespaceDefaults { name, annotations: BTreeMap::new() })),
    });
    let source = Source { without, ..Source::new(api, config, what) };
    let gone = |name| Some(ClusterChange::NamespaceGone(name));
    let _: Result<(), Closed> = follow(source, read, key, gone, &sender).await;
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
