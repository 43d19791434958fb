//! What is watched and written to: a cluster, or a Git repository alone.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::mpsc;

use super::{kubeconfig, named, people::People, targets::Sinks};
use crate::{
    cluster,
    config::{self, Config, RunArgs},
    domain::{update::Change, votes::Review, workload::WorkloadId},
    git::Repository,
    notify::slack::Outbox,
    ports::{
        Clock, ClusterChange, Events, Histories, Notice, Proof, Records, Refresh, Rollouts, Secrets, Votes, Workloads,
    },
    registry, store,
};

/// How long a commit of somebody else may go unseen at most.
const REPOSITORY: Duration = Duration::from_secs(60);

/// Why nothing is approved without a cluster.
const NO_VOTES: &str = "approvals are asked for, and without a cluster nobody can give them: use `write: pr:<target>`, where \
                        the reviews of the forge decide, and take `approvals` out";

/// The adapters that differ. The sinks know no Git target yet.
pub(super) struct World {
    pub(super) secrets: Arc<dyn Secrets>,
    /// The user's docker config file, where the user's credentials count.
    pub(super) docker_config: Option<PathBuf>,
    pub(super) workloads: Arc<dyn Workloads>,
    pub(super) events: Arc<dyn Events>,
    pub(super) records: Arc<dyn Records>,
    pub(super) histories: Arc<dyn Histories>,
    pub(super) rollouts: Arc<dyn Rollouts>,
    pub(super) votes: Arc<dyn Votes>,
    /// Who tells people elsewhere, where there is a cluster to keep that in.
    pub(super) people: Option<People>,
    pub(super) sinks: Arc<Sinks>,
    /// The operator's own namespace, where there is a cluster.
    pub(super) namespace: Option<String>,
    /// Of Argo CD's Applications, where there is a cluster.
    pub(super) refresh: Option<Arc<dyn Refresh>>,
    pub(super) tasks: Vec<BoxFuture<'static, String>>,
}

/// A cluster.
pub(super) async fn cluster(
    args: &RunArgs,
    clock: &Arc<dyn Clock>,
    changes: mpsc::Sender<ClusterChange>,
) -> anyhow::Result<World> {
    let client = kubeconfig::connect(&args.cluster).await?;
    let scope = match args.namespaces.as_slice() {
        [] => cluster::Scope::Cluster,
        names => cluster::Scope::Namespaces(names.to_vec()),
    };
    let (events, publishing) = cluster::EventWriter::new(client.clone(), clock.clone());
    let memory = Arc::new(store::Memory::new(clock.clone()));
    let outbox = Outbox::default();
    let records = cluster::CustomResources::new(client.clone(), clock.clone(), memory);
    let records = Arc::new(records.telling(Arc::new(outbox.clone())));
    let people = People {
        messages: Arc::new(cluster::MessageStore::new((*records).clone(), &scope)),
        reviewers: Arc::new(cluster::ReviewWriter::new(client.clone(), clock.clone())),
        outbox,
    };
    let rollouts = cluster::Followed::new(client.clone(), clock.clone(), changes.clone());
    let watching = {
        let (client, records, rollouts, clock) = (client.clone(), records.clone(), rollouts.clone(), clock.clone());
        let operator = client.default_namespace().to_owned();
        async move { cluster::watch(client, scope, Some(&operator), Some(&*records), Some(&rollouts), clock, changes).await }
    };
    let ballots = cluster::Ballots::new(client.clone(), clock.clone());
    let objects = Arc::new(cluster::Objects::new(client.clone(), clock.clone()));
    let refresh: Arc<dyn Refresh> = Arc::new(cluster::Applications::new(client.clone(), clock.clone()));
    Ok(World {
        namespace: Some(client.default_namespace().to_owned()),
        secrets: Arc::new(cluster::PullSecrets::new(client, clock.clone())),
        docker_config: None,
        workloads: objects.clone(),
        events: Arc::new(events),
        records: records.clone(),
        histories: records,
        rollouts: Arc::new(rollouts),
        votes: Arc::new(ballots),
        people: Some(people),
        sinks: Arc::new(Sinks::new(Some(objects))),
        refresh: Some(refresh),
        tasks: vec![named("the events", publishing).boxed(), named("the watches", watching).boxed()],
    })
}

/// The one repository of the configuration.
pub(super) fn repository(
    args: &RunArgs,
    config: &Config,
    clock: &Arc<dyn Clock>,
    changes: mpsc::Sender<ClusterChange>,
) -> anyhow::Result<World> {
    let entry = config.git.first().context("no repository")?;
    let records = Arc::new(store::Sqlite::open(&args.repository.state(entry), clock.clone())?);
    let sinks = Arc::new(Sinks::new(None));
    let (name, known) = (entry.name.clone(), sinks.clone());
    let target = move || known.target(&name).ok_or_else(|| format!("the configuration has no Git target {name}"));
    let repository = Arc::new(Repository::new(target, clock.clone()));
    let interval = args.poll_interval.min(REPOSITORY);
    let (known, watched) = (records.known(), repository.clone());
    let watching = async move {
        // Nobody listens any more: the watch ends at once, too.
        _ = changes.send(ClusterChange::Policies(0, Err(NO_VOTES.into()))).await;
        match known.await {
            Ok(known) => {
                for change in known {
                    // Nobody listens any more: the watch ends at once, too.
                    _ = changes.send(change).await;
                }
            }
            Err(error) => tracing::error!(%error, "what was remembered of updates is not read"),
        }
        watched.watch(interval, changes).await
    };
    Ok(World {
        namespace: None,
        secrets: Arc::new(registry::NoSecrets),
        docker_config: config::docker_config(),
        workloads: repository,
        events: Arc::new(Unheard),
        records: records.clone(),
        histories: records,
        rollouts: Arc::new(Unheard),
        votes: Arc::new(Unheard),
        people: None,
        sinks,
        refresh: None,
        tasks: vec![named("the watch of the repository", watching).boxed()],
    })
}

/// Where there is no object to hang an Event on; the log says the same.
struct Unheard;

/// Nor one that rolls anything out.
impl Rollouts for Unheard {
    fn follow(&self, _: &WorkloadId) {}

    fn unfollow(&self, _: &WorkloadId) {}

    fn free(&self, _: &WorkloadId, _: Vec<Change>) {}
}

/// Nor votes.
impl Votes for Unheard {
    fn prove<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Proof> {
        Box::pin(std::future::ready(Proof::Unguarded(NO_VOTES.to_owned())))
    }

    fn discard<'a>(&'a self, _: &'a Review) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Events for Unheard {
    fn publish(&self, _: Notice) {}
}
