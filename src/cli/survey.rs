//! What `plan`, `update`, `explain` and `demo` share: read the workloads, look once at each repository, assess.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    io::IsTerminal as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    files::{self, Loaded, ManifestFile, Problem},
    output::tell,
};
use crate::{
    clock::SystemClock,
    cluster,
    config::{self, ClusterArgs, Config, ConfigError},
    domain::{
        keel::KeelMode,
        target::Targets,
        workload::{KindSpec, Workload, WorkloadId},
    },
    engine::{self, Assessment, Settings},
    metrics::Metrics,
    ports::{Clock, ClusterChange, NamespaceDefaults, Registry, Secrets},
    registry,
};

/// How long a command waits where an annotation would say how often to look; nothing depends on it.
const POLL: Duration = Duration::from_secs(300);

/// How long the cluster may take to tell of all its workloads.
const READ: Duration = Duration::from_secs(60);

/// A workload of a folder, where it stands, and what is to be done.
pub(super) struct Surveyed {
    /// Index of the file.
    pub(super) file: usize,
    /// Index of the workload in the file.
    pub(super) workload: usize,
    /// What is said.
    pub(super) assessment: Assessment,
}

/// A folder with what is to be done about each of its workloads.
pub(super) struct Folder {
    pub(super) files: Vec<ManifestFile>,
    pub(super) problems: Vec<Problem>,
    /// What is no failure, but should be known.
    pub(super) notes: Vec<Problem>,
    pub(super) surveyed: Vec<Surveyed>,
}

/// What the engine is told by a command.
pub(super) fn settings(config: &Config, keel: KeelMode) -> Settings {
    Settings {
        poll_interval: POLL,
        named: config.named.clone(),
        keel,
        guards: config.guards.clone(),
        targets: config.targets.clone(),
        dry_run: false,
        operator_serves: Arc::new(config.operator_serves()),
        argocd_namespaces: Arc::new(config.argocd_namespaces()),
        await_namespaces: false,
        keep_reasons: true,
    }
}

/// The registries as the user of this machine reaches them: with the docker config file, and what `--config` says.
pub(super) fn local_registry(config: &Config) -> anyhow::Result<registry::Client> {
    let settings = crate::app::registry_settings(config, false)?;
    let settings = registry::Settings { docker_config: config::docker_config(), ..settings };
    registry_with(settings, Arc::new(registry::NoSecrets))
}

fn registry_with(settings: registry::Settings, secrets: Arc<dyn Secrets>) -> anyhow::Result<registry::Client> {
    let (clock, metrics) = (Arc::new(SystemClock::default()), Arc::new(Metrics::default()));
    Ok(registry::Client::new(settings, secrets, clock, metrics)?)
}

/// Reads a folder and looks at every repository that its workloads use.
pub(super) async fn folder(root: &Path, settings: &Settings, registry: &dyn Registry) -> anyhow::Result<Folder> {
    let Loaded { files, problems, notes } = files::load(root)?;
    let clock = SystemClock::default();
    let targets = Arc::new(Targets::any());
    let settings = Settings { operator_serves: Arc::new(|_, _| true), targets, ..settings.clone() };
    let mut surveyed = Vec::new();
    for round in rounds(&files) {
        let mut changes = namespaces(&files);
        let mut place = HashMap::new();
        for &(file, index) in &round {
            let mut workload = files[file].manifests.workloads[index].workload.clone();
            // There is no cluster to read them from; the user's own credentials are used.
            workload.pull_secrets.clear();
            place.insert(workload.id.clone(), (file, index));
            changes.push(ClusterChange::Workload(Box::new(workload)));
        }
        let source = |id: &WorkloadId| {
            let (file, index) = place[id];
            format!("{}:{}", files[file].path.display(), files[file].manifests.workloads[index].line)
        };
        for (id, assessment) in
            engine::survey(settings.clone(), changes, registry, None, &clock, source, say_waiting).await
        {
            let (file, workload) = place[&id];
            surveyed.push(Surveyed { file, workload, assessment });
        }
    }
    surveyed.sort_by_key(|surveyed| (surveyed.file, surveyed.workload));
    Ok(Folder { files, problems, notes, surveyed })
}

/// Tells whoever sits before a terminal why nothing happens.
pub(super) fn say_waiting(wait: Duration) {
    if std::io::stderr().is_terminal() {
        tell(format!("a registry asked for a pause: waiting {} s", wait.as_secs_f64().ceil()));
    }
}

/// Which workloads of a cluster.
pub(super) struct Scope {
    /// Of this namespace; without one, of the kubeconfig's.
    pub(super) namespace: Option<String>,
    /// Of all namespaces.
    pub(super) all: bool,
    /// This one only: kind and name.
    pub(super) one: Option<(&'static KindSpec, String)>,
}

/// Reads a cluster as the kubeconfig's user and looks at every repository that its workloads use.
pub(super) async fn cluster(
    args: &ClusterArgs,
    scope: Scope,
    config: &Config,
    settings: Settings,
) -> anyhow::Result<Vec<(WorkloadId, Assessment)>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (client, mut changes) = connect(args, &scope, clock.clone()).await?;
    if let Some((kind, name)) = &scope.one {
        let is_it = |id: &WorkloadId| id.kind == kind.kind && *id.name == **name;
        changes.retain(|change| !matches!(change, ClusterChange::Workload(workload) if !is_it(&workload.id)));
        let there = changes.iter().find_map(|change| match change {
            ClusterChange::Workload(workload) => Some(Ok(&workload.id)),
            ClusterChange::Undecodable(id, why) if is_it(id) => Some(Err((id, why))),
            _ => None,
        });
        match there {
            Some(Ok(_)) => {}
            Some(Err((id, why))) => anyhow::bail!("{id} cannot be read: {why}"),
            None => {
                let namespace = scope.namespace.as_deref().unwrap_or(client.default_namespace());
                anyhow::bail!("there is no {} {name} in the namespace {namespace}", kind.kind.as_str())
            }
        }
    }
    let secrets = Arc::new(cluster::PullSecrets::new(client.clone(), clock.clone()));
    // As the operator would with this configuration: the user's own docker login says nothing about it.
    let registry = registry_with(crate::app::registry_settings(config, false)?, secrets)?;
    let objects = cluster::Objects::new(client, clock.clone());
    let source = |_: &WorkloadId| "cluster".to_owned();
    Ok(engine::survey(settings, changes, &registry, Some(&objects), &*clock, source, say_waiting).await)
}

/// Reads the workloads of a cluster as the kubeconfig's user, and asks no registry.
pub(super) async fn workloads(args: &ClusterArgs, scope: &Scope) -> anyhow::Result<Vec<Workload>> {
    let (_, changes) = connect(args, scope, Arc::new(SystemClock::default())).await?;
    let workload = |change| match change {
        ClusterChange::Workload(workload) => Some(*workload),
        _ => None,
    };
    let mut workloads: Vec<Workload> = changes.into_iter().filter_map(workload).collect();
    workloads.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(workloads)
}

async fn connect(
    args: &ClusterArgs,
    scope: &Scope,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(kube::Client, Vec<ClusterChange>)> {
    let options = cluster::connect::Options { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
    let client = cluster::connect(&options).await.map_err(|error| ConfigError::one(error.to_string()))?;
    // A cluster that does not answer is told at once; the watches would wait for it.
    cluster::reach(&client).await?;
    let watched = if scope.all {
        cluster::Scope::Cluster
    } else {
        let namespace = scope.namespace.clone();
        cluster::Scope::Namespaces(vec![namespace.unwrap_or_else(|| client.default_namespace().to_owned())])
    };
    let changes = read(client.clone(), watched, clock).await?;
    Ok((client, changes))
}

/// Everything there is, once.
async fn read(
    client: kube::Client,
    scope: cluster::Scope,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Vec<ClusterChange>> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(256);
    let watching = tokio::spawn(cluster::watch(client, scope, clock.clone(), sender));
    let mut deadline = clock.sleep_until(clock.monotonic() + READ);
    let mut changes = Vec::new();
    loop {
        tokio::select! {
            change = receiver.recv() => match change {
                None | Some(ClusterChange::Synced) => break,
                Some(change) => {
                    if let ClusterChange::Undecodable(id, why) = &change {
                        tell(format!("{id}: left out: {why}"));
                    }
                    changes.push(change);
                }
            },
            () = &mut deadline => anyhow::bail!(
                "the cluster's workloads could not be read within {} s: may this user list and watch them? try \
                 `kubectl auth can-i watch deployments`", READ.as_secs()
            ),
        }
    }
    watching.abort();
    Ok(changes)
}

/// Overlays may hold workloads of the same kind, namespace and name. Each round holds one of each.
fn rounds(files: &[ManifestFile]) -> Vec<Vec<(usize, usize)>> {
    let mut seen: HashMap<&WorkloadId, usize> = HashMap::new();
    let mut rounds: Vec<Vec<(usize, usize)>> = Vec::new();
    for (file, manifests) in files.iter().enumerate() {
        for (index, found) in manifests.manifests.workloads.iter().enumerate() {
            let before = seen.entry(&found.workload.id).or_default();
            if *before == rounds.len() {
                rounds.push(Vec::new());
            }
            rounds[*before].push((file, index));
            *before += 1;
        }
    }
    rounds
}

fn namespaces(files: &[ManifestFile]) -> Vec<ClusterChange> {
    let all = files.iter().flat_map(|file| &file.manifests.namespaces);
    // The last one of a name counts.
    let by_name: BTreeMap<_, _> = all.map(|found| (found.name.clone(), found.annotations.clone())).collect();
    let defaults = |(name, annotations)| ClusterChange::Namespace(NamespaceDefaults { name, annotations });
    by_name.into_iter().map(defaults).collect()
}

/// Runs a command's future on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("the runtime did not start")?;
    let result = runtime.block_on(work);
    // A decision or a lookup that is still under way is for nobody any more.
    runtime.shutdown_background();
    result
}
