//! What `plan`, `update`, `explain` and `demo` share: read the workloads, look once at each repository, assess.

use std::{collections::HashMap, future::Future, io::IsTerminal as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::{Timestamp, civil::DateTime};

use super::{
    output::tell,
    plan::{reasons, show, tell_others},
};
use crate::{
    app,
    clock::SystemClock,
    cluster,
    config::{self, ClusterArgs, Config, ConfigError},
    domain::{
        keel::KeelMode,
        plan::{Approved, Plan},
        reason::{Class, Code, Reason},
        report::{Report, ReportWorkload, Verdict},
        rollout::Times,
        window,
        workload::{KindSpec, PREFIX, Workload, WorkloadId},
    },
    engine::{self, Assessment, Outside, Settings},
    git::{self, Places},
    manifest::places::{Rendered, Unplaced},
    metrics::Metrics,
    pool::Threads,
    ports::{Clock, ClusterChange, Histories, Registry, Secrets},
    registry,
};

/// How long a command waits where an annotation would say how often to look; nothing depends on it.
const POLL: Duration = Duration::from_secs(300);

/// How long the cluster may take to tell of all its workloads.
const READ: Duration = Duration::from_secs(60);

/// What a look at files brought.
pub(super) struct Surveyed {
    /// What is said of each workload.
    pub(super) reports: Vec<(WorkloadId, Vec<Report>)>,
    /// What may be written.
    pub(super) plans: Vec<Plan<Approved>>,
    /// Whether a file, or a part of one, could not be read.
    pub(super) is_partial: bool,
}

impl Surveyed {
    /// Says in the rows where each plan would be written, in what people call so, or why it would not be.
    pub(super) fn show(&mut self, scope: &str, found: &[Result<Places, Reason>]) {
        for (plan, found) in self.plans.iter().zip(found) {
            rows_of(&mut self.reports, &plan.update().workload).for_each(|row| show(row, scope, found));
        }
        tell_others(self.reports.iter_mut().flat_map(|(_, rows)| rows), &reasons(found));
    }

    /// Whether something could not be read, or is not updated for another reason than that somebody wants it so.
    pub(super) fn failed(&self) -> bool {
        self.is_partial || self.reports.iter().flat_map(|(_, rows)| rows).any(is_failure)
    }
}

/// The rows of a workload.
pub(super) fn rows_of<'a>(
    reports: &'a mut [(WorkloadId, Vec<Report>)],
    id: &'a WorkloadId,
) -> impl Iterator<Item = &'a mut Report> {
    reports.iter_mut().filter(move |(of, _)| of == id).flat_map(|(_, rows)| rows)
}

/// Whether a container is not updated, and nobody wants it so, or does not run what it was updated to.
pub(super) fn is_failure(row: &Report) -> bool {
    row.reasons.iter().any(|reason| reason.code.is_of_rollout())
        || matches!(row.decision, Verdict::Problem | Verdict::Blocked) && !row.reasons.first().is_some_and(is_wanted)
}

/// Whether a person decided so, or is waited for.
pub(super) fn is_wanted(reason: &Reason) -> bool {
    reason.code.class() == Class::Waiting
}

/// What the engine is told by a command.
pub(super) fn settings(config: &Config, keel: KeelMode) -> Settings {
    Settings {
        poll_interval: POLL,
        named: config.named.clone(),
        keel,
        guards: config.guards.clone(),
        targets: config.targets.clone(),
        rollout: Times::default(),
        dry_run: false,
        all: None,
        operator_serves: Arc::new(config.operator_serves()),
        argocd_namespaces: Arc::new(config.argocd_namespaces()),
        speaks_for: Arc::new(|_, _| false),
        await_namespaces: false,
        await_webhooks: false,
        keep_reasons: true,
        show_gates: false,
        at: None,
    }
}

/// The same, with ages and gates judged as of another time, if one is asked for.
pub(super) fn settings_at(config: &Config, keel: KeelMode, at: Option<Timestamp>) -> Settings {
    if let Some(at) = at {
        tell(format!("note: ages, windows and freezes are judged as of {at}, on what is in the registry now"));
    }
    Settings { at, ..settings(config, keel) }
}

/// A time as people write it: with an offset, or local with a zone.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = || {
        "write a time as `2026-12-24T09:00Z`, `2026-12-24T10:00+01:00` or `2026-12-24T10:00 Europe/Berlin`".to_owned()
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let (local, zone) = text.trim().rsplit_once(' ').ok_or_else(wrong)?;
    let local: DateTime = local.trim().parse().map_err(|_| wrong())?;
    window::zone(zone)?.to_timestamp(local).map_err(|error| error.to_string())
}

/// The registries as the user of this machine reaches them: with the docker config file, and what `--config` says.
pub(super) fn local_registry(config: &Config) -> anyhow::Result<registry::Client> {
    let settings = crate::app::registry_settings(config, false)?;
    let settings = registry::RegistrySettings { docker_config: config::docker_config(), ..settings };
    registry_with(settings, Arc::new(registry::NoSecrets))
}

fn registry_with(settings: registry::RegistrySettings, secrets: Arc<dyn Secrets>) -> anyhow::Result<registry::Client> {
    let (clock, metrics) = (Arc::new(SystemClock::default()), Arc::new(Metrics::default()));
    Ok(registry::Client::new(settings, secrets, clock, metrics)?)
}

/// What is remembered of when tags were first seen, and who remembers more.
#[derive(Default)]
pub(super) struct Remembered<'a> {
    pub(super) known: Vec<ClusterChange>,
    pub(super) histories: Option<&'a dyn Histories>,
}

/// Looks at every repository that files use, and says on stderr what could not be read of them. `place` says where a
/// file is.
pub(super) async fn rendered(
    rendered: &Rendered,
    settings: Settings,
    registry: &dyn Registry,
    clock: &dyn Clock,
    remembered: Remembered<'_>,
    place: impl Fn(&str) -> String,
) -> Surveyed {
    for (path, each) in rendered.problems.iter().chain(&rendered.misplaced) {
        tell(format!("{}:{}: {}", place(path), each.line, each.reason));
    }
    let places: HashMap<&WorkloadId, String> = rendered
        .workloads
        .iter()
        .map(|(workload, path, line)| (&workload.id, format!("{}:{line}", place(path))))
        .collect();
    let settings = Settings { operator_serves: Arc::new(|_, _| true), ..settings };
    let source = |id: &WorkloadId| places.get(id).cloned().unwrap_or_default();
    let pool = Threads::new(Arc::new(SystemClock::default()));
    let Remembered { known, histories } = remembered;
    let is_remembered = histories.is_some() || !known.is_empty() || settings.at.is_some();
    let outside = Outside { registry, pool: &pool, workloads: None, histories, clock };
    let changes = known.into_iter().chain(git::changes(rendered)).collect();
    let surveyed = engine::survey(settings, changes, outside, source, say_waiting).await;
    if !is_remembered && surveyed.iter().any(|(_, assessment)| has_young(&assessment.reports)) {
        tell(
            "note: nothing is remembered here of when tags were first seen, so for `min-age` all are new and none opens: \
             `supercargo run --git` remembers it in its `--state` file",
        );
    }
    let (mut reports, mut plans) = (Vec::new(), Vec::new());
    for (id, assessment) in surveyed {
        plans.extend(assessment.plan);
        reports.push((id, assessment.reports));
    }
    reports.extend(rendered.unplaced.iter().map(|each| (each.id.clone(), vec![unplaced(each, &place)])));
    Surveyed { reports, plans, is_partial: !rendered.problems.is_empty() || !rendered.unplaced.is_empty() }
}

/// The row of an entry of `supercargo.yaml` that has no place.
fn unplaced(entry: &Unplaced, place: impl Fn(&str) -> String) -> Report {
    let file = entry.id.name.split(':').next().unwrap_or_default();
    Report {
        workload: ReportWorkload { id: entry.id.clone(), source: format!("{}:{}", place(file), entry.line).into() },
        container: entry.repository.to_string().into(),
        image: "".into(),
        policy: entry.policy.clone(),
        decision: Verdict::Problem,
        to: None,
        to_image: None,
        opens: None,
        gates: Vec::new(),
        reasons: vec![Reason::new(Code::GitNoPlace, entry.why.clone())],
    }
}

/// Tells whoever sits before a terminal why nothing happens.
pub(super) fn say_waiting(wait: Duration) {
    if std::io::stderr().is_terminal() {
        tell(format!("a registry asked for a pause: waiting {} s", wait.as_secs_f64().ceil()));
    }
}

/// `[NAMESPACE/]KIND/NAME`
pub(super) fn parse_workload(text: &str) -> Result<(Option<&str>, &'static KindSpec, &str), ConfigError> {
    let parts: Vec<&str> = text.split('/').collect();
    let read = match parts.as_slice() {
        parts if parts.contains(&"") => None,
        [kind, name] => KindSpec::find(kind).map(|kind| (None, kind, *name)),
        [namespace, kind, name] => KindSpec::find(kind).map(|kind| (Some(*namespace), kind, *name)),
        _ => None,
    };
    read.ok_or_else(|| {
        let kinds = KindSpec::all();
        ConfigError::one(format!("`{text}` is no workload: write [NAMESPACE/]KIND/NAME; the kinds are {kinds}"))
    })
}

/// Which workloads of a cluster.
pub(super) struct Scope {
    /// Of this namespace; without one, of the kubeconfig's.
    pub(super) namespace: Option<String>,
    /// Of all namespaces.
    pub(super) all: bool,
    /// Where what is held for all stands, if that matters.
    pub(super) operator: Option<String>,
    /// This one only: kind and name.
    pub(super) one: Option<(&'static KindSpec, String)>,
}

/// Whether something waits to be old enough.
pub(super) fn has_young(rows: &[Report]) -> bool {
    rows.iter().flat_map(|row| &row.reasons).any(|reason| reason.code == Code::TooYoung)
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
    let histories = histories(&client, &clock, &changes).await;
    changes.extend(histories);
    let secrets = Arc::new(cluster::PullSecrets::new(client.clone(), clock.clone()));
    // As the operator would with this configuration: the user's own docker login says nothing about it.
    let registry = registry_with(crate::app::registry_settings(config, false)?, secrets)?;
    let objects = cluster::Objects::new(client, clock.clone());
    let source = |_: &WorkloadId| "cluster".to_owned();
    let pool = Threads::new(clock.clone());
    let outside =
        Outside { registry: &registry, pool: &pool, workloads: Some(&objects), histories: None, clock: &*clock };
    let all = scope.operator.as_deref().map(WorkloadId::all);
    let settings = Settings { await_webhooks: true, all, ..settings };
    Ok(engine::survey(settings, changes, outside, source, say_waiting).await)
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

/// A client of the cluster that is meant, which answers.
pub(super) async fn client(args: &ClusterArgs) -> anyhow::Result<kube::Client> {
    let client = app::connect(args).await?;
    // A cluster that does not answer is told at once; the watches would wait for it.
    cluster::reach(&client).await?;
    Ok(client)
}

async fn connect(
    args: &ClusterArgs,
    scope: &Scope,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(kube::Client, Vec<ClusterChange>)> {
    let client = client(args).await?;
    let watched = if scope.all {
        cluster::Scope::Cluster
    } else {
        let namespace = scope.namespace.clone();
        cluster::Scope::Namespaces(vec![namespace.unwrap_or_else(|| client.default_namespace().to_owned())])
    };
    let changes = read(client.clone(), watched, scope.operator.clone(), clock).await?;
    Ok((client, changes))
}

/// Everything there is, once.
async fn read(
    client: kube::Client,
    scope: cluster::Scope,
    operator: Option<String>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Vec<ClusterChange>> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(256);
    let watching = {
        let clock = clock.clone();
        tokio::spawn(async move { cluster::watch(client, scope, operator.as_deref(), None, None, clock, sender).await })
    };
    let mut deadline = clock.sleep_until(clock.monotonic() + READ);
    let mut changes = Vec::new();
    loop {
        tokio::select! {
            change = receiver.recv() => match change {
                None | Some(ClusterChange::Synced) => break,
                Some(change) => {
                    match &change {
                        ClusterChange::Undecodable(id, why) => tell(format!("{id}: left out: {why}")),
                        ClusterChange::Forbidden(why) => anyhow::bail!(
                            "the cluster's workloads may not be read: {why}; ask for the right to list and watch them"
                        ),
                        ClusterChange::StatesUnread => tell(
                            "note: the right to read imagestates is missing: an update that somebody took back is shown \
                             as if it were to be made"
                        ),
                        _ => {}
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

/// What operators remember of repositories. That it cannot be read matters to who asks for it.
async fn histories(client: &kube::Client, clock: &Arc<dyn Clock>, changes: &[ClusterChange]) -> Vec<ClusterChange> {
    let asks = |change: &ClusterChange| {
        let annotations = match change {
            ClusterChange::Workload(workload) => &workload.annotations,
            ClusterChange::Namespace(namespace) => &namespace.annotations,
            _ => return false,
        };
        annotations.keys().any(|key| key.strip_prefix(PREFIX).is_some_and(|key| key.starts_with("min-age")))
    };
    match cluster::histories(client.clone(), clock.clone()).await {
        Ok(Some(all)) => all.into_iter().map(|(of, seen)| ClusterChange::History(of, seen)).collect(),
        // As the operator says it.
        Ok(None) => vec![ClusterChange::HistoriesKept(Err(cluster::no_histories()))],
        Err(why) => {
            if changes.iter().any(asks) {
                tell(format!("note: {why}: what `min-age` counts is shown as if it was seen now for the first time"));
            }
            Vec::new()
        }
    }
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
