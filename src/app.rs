//! The composition root: with the commands the only place that names adapters. Builds, spawns, supervises, drains.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    process::ExitCode,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use axum::Router;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SystemClock,
    config::{self, Config, PrivateAddresses, RunArgs},
    domain::{
        hint::Source,
        image::{Digest, ImageRef, Tag},
        tags::Tags,
        workload::WorkloadId,
    },
    engine::{self, Inbox, Inputs, Ports, Settings},
    ingest::{
        self,
        webhook::{self, Hosts, Sender},
    },
    logging,
    metrics::Metrics,
    pool::Threads,
    ports::{Clock, ImageTimes, Origin, Registry, RegistryError},
    registry,
    web::{
        self,
        hooks::{HookSettings, Hooks, SenderSettings, Senders},
        serve::Site,
    },
};

mod files;
mod forge;
mod kubeconfig;
mod people;
mod read;
mod targets;
mod world;

pub use kubeconfig::connect;
pub use people::slack_settings;
pub use read::{check, read, read_files};
pub use targets::git_targets;

/// How long a stop may take.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the configuration's files are compared with what was read.
const RELOAD: Duration = Duration::from_secs(5);
/// Connections to registries, where more files may be open than that.
const CONNECTIONS: usize = 2048;
/// Changes of the cluster that may wait for the engine.
const CHANGES: usize = 256;

/// Runs the operator until SIGTERM or SIGINT; a second one ends it at once.
pub async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    logging::init(args.log_format, &args.log_level)?;
    // Before anything answers: whoever sees that it runs may end it.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let limit = files::raise_limit();
    let config = read(&args)?;
    let senders = hook_settings(&args, &config);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let metrics = Arc::new(Metrics::default());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();

    // Bound first: a port that is taken is told before anything is watched.
    let hooks_listener = listen(args.hooks_listen, "--hooks-listen").await?;
    let private_listener = listen(args.listen, "--listen").await?;
    greet(&args, &config, &senders, [hooks_listener.local_addr()?, private_listener.local_addr()?]);
    limit.say();
    for variable in config::stray_variables(&sender_names()) {
        let available = sender_names().join(", ");
        tracing::warn!(variable, available, "a secret of a webhook sender that does not exist");
    }

    let cache = args.git_cache.clone().unwrap_or_else(config::cache_folder);
    let (change_sender, changes) = mpsc::channel(CHANGES);
    let world = match &args.repository.git {
        None => world::cluster(&args, &clock, change_sender).await?,
        Some(_) => world::repository(&args, &config, &clock, change_sender)?,
    };
    let make_registry = {
        let (clock, metrics, secrets) = (clock.clone(), metrics.clone(), world.secrets);
        move |settings: &registry::RegistrySettings| {
            let settings =
                registry::RegistrySettings { docker_config: world.docker_config.clone(), ..settings.clone() };
            registry::Client::new(settings, secrets.clone(), clock.clone(), metrics.clone())
        }
    };
    let mut registries = registry_settings(&config, config::in_cluster())?;
    let registry = Arc::new(Replaceable::new(make_registry(&registries)?));
    let git_targets = {
        let (clock, refresh, registry) = (clock.clone(), world.refresh, registry.clone() as Arc<dyn Registry>);
        move |config: &Config| git_targets(config, &cache, &clock, refresh.as_ref(), Some(&registry))
    };
    world.sinks.replace(git_targets(&config)?);

    let (due_sender, due) = mpsc::channel(1);
    let (poll, polling) = ingest::poll::start(clock.clone(), metrics.clone(), due_sender);
    tasks.spawn(named("the poll", polling));
    for task in world.tasks {
        tasks.spawn(task);
    }

    let all = world.namespace.as_deref().map(WorkloadId::all);
    let inbox = Inbox::default();
    let (ready_sender, ready) = watch::channel(false);
    let (settings_sender, settings) = watch::channel(engine_settings(&args, &all, &config));
    let (slack_sender, slack_settings_read) = watch::channel(slack_settings(&config)?);
    let senders = Senders::open(senders, &clock).await?;
    let hooks = Hooks::new(senders, Arc::new(inbox.clone()), metrics.clone(), clock.clone());
    let apply = {
        let (args, clock, registry, hooks) = (args.clone(), clock.clone(), registry.clone(), hooks.clone());
        let sinks = world.sinks.clone();
        async move |config: &Config| -> anyhow::Result<()> {
            // What may fail comes first, so that a change takes effect as a whole.
            let changed = registry_settings(config, config::in_cluster())?;
            let client = (changed != registries).then(|| make_registry(&changed)).transpose()?;
            let senders = Senders::open(hook_settings(&args, config), &clock).await?;
            let slack = slack_settings(config)?;
            sinks.replace(git_targets(config)?);
            if let Some(client) = client {
                registry.replace(client);
                registries = changed;
            }
            hooks.set_senders(senders);
            slack_sender.send_if_modified(|now| std::mem::replace(now, slack.clone()) != slack);
            settings_sender.send_replace(engine_settings(&args, &all, config));
            Ok(())
        }
    };
    tasks.spawn(named("the configuration", reload(args.clone(), config, apply, clock.clone())));

    let tls = match args.hooks_tls_cert.clone().zip(args.hooks_tls_key.clone()) {
        Some((certificate, key)) => Some(web::tls::Tls::start(certificate, key, clock.clone()).await?),
        None => None,
    };
    let limits = web::serve::Limits::default();
    let site = Site { router: hooks.router(), probes: Router::new(), tls };
    let serving = web::serve::serve(hooks_listener, site, limits, clock.clone(), stop.clone());
    tasks.spawn(named("the webhooks", serving));
    let unread = match &args.repository.git {
        None => "the watches of the cluster are not synced",
        Some(_) => "the repository of --git is not read yet; the log says what hinders that",
    };
    let probes = web::health::probes(ready.clone(), unread);
    let site = Site { router: web::health::router(probes.clone(), metrics.clone()), probes, tls: None };
    // Probes and metrics are answered until the end.
    let serving = web::serve::serve(private_listener, site, limits, clock.clone(), CancellationToken::new());
    tasks.spawn(named("the private listener", serving));

    let ports = Ports {
        registry,
        workloads: world.workloads,
        sink: world.sinks,
        records: world.records,
        histories: world.histories,
        rollouts: world.rollouts,
        votes: world.votes,
        events: world.events,
        polling: Arc::new(poll),
        pool: Arc::new(Threads::new(clock.clone())),
        clock: clock.clone(),
        metrics,
    };
    // Until there is an election, the one process may write.
    let (_leads, leader) = watch::channel(true);
    let (view, asks) = engine::view();
    if let Some(people) = world.people {
        let telling = people.tell(view, &clock, &ports.metrics, slack_settings_read, leader.clone(), ready);
        tasks.spawn(named("Slack", telling));
    }
    let inputs = Inputs { changes, due, inbox, asks, settings, leader, ready: ready_sender };
    let mut engine = tokio::spawn(engine::run(ports, inputs, stop.clone().cancelled_owned()));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        Some(ended) = tasks.join_next() => {
            let what = ended.unwrap_or_else(|error| format!("a part ended ({error})"));
            anyhow::bail!("{what}; the process ends so that it is started again");
        }
        ended = &mut engine => {
            ended.context("the engine broke")?;
            anyhow::bail!("the engine ended; the process ends so that it is started again");
        }
    }
    stop.cancel();
    tokio::select! {
        ended = &mut engine => ended.context("the engine broke while stopping")?,
        () = clock.sleep_until(clock.monotonic() + DRAIN) => tracing::warn!("stopped before all writes had ended"),
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The first line of the log: what runs here, on what, and what is on.
fn greet(args: &RunArgs, config: &Config, senders: &HookSettings, [hooks, private]: [SocketAddr; 2]) {
    let or = |names: Vec<&str>, none: &str| if names.is_empty() { none.to_owned() } else { names.join(", ") };
    let namespaces = match &args.repository.git {
        None => or(args.namespaces.iter().map(String::as_str).collect(), "all"),
        Some(_) => "none, a repository alone".to_owned(),
    };
    let heard = senders.senders.iter().filter(|(_, sender)| sender.is_on()).map(|(name, _)| *name);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces,
        %hooks,
        senders = or(heard.collect(), "none"),
        %private,
        targets = or(config.git.iter().map(|target| target.shown()).collect(), "none"),
        dry_run = args.dry_run,
        "supercargo starts"
    );
}

/// What the configuration says of registries, for the client.
pub fn registry_settings(config: &Config, in_cluster: bool) -> anyhow::Result<registry::RegistrySettings> {
    let mut hosts = Vec::new();
    for entry in &config.registries {
        let ca = entry.ca.as_deref().map(|path| config::read_text(path).map(String::into_bytes));
        hosts.push(registry::HostSettings {
            host: entry.host.clone(),
            insecure: entry.insecure,
            ca: ca.transpose().map_err(anyhow::Error::msg)?,
            credentials_file: entry.credentials.as_ref().map(|credentials| credentials.file.clone()),
        });
    }
    let private_addresses = config.private_addresses == PrivateAddresses::Allow;
    // The other half is for the API server, Git, hooks and files.
    let connections = (config::open_files() / 2).min(CONNECTIONS);
    Ok(registry::RegistrySettings {
        hosts,
        in_cluster,
        private_addresses,
        connections,
        ..registry::RegistrySettings::default()
    })
}

fn engine_settings(args: &RunArgs, all: &Option<WorkloadId>, config: &Config) -> Settings {
    Settings {
        poll_interval: args.poll_interval,
        named: config.named.clone(),
        keel: args.keel,
        guards: config.guards.clone(),
        targets: config.targets.clone(),
        rollout: config.rollout.times(),
        dry_run: args.dry_run,
        all: all.clone(),
        // Without a cluster there are no tenants.
        operator_serves: match args.repository.git {
            None => Arc::new(config.operator_serves()),
            Some(_) => Arc::new(|_, _| true),
        },
        argocd_namespaces: Arc::new(config.argocd_namespaces()),
        speaks_for: Arc::new(config.speaks_for()),
        await_namespaces: args.repository.git.is_none(),
        await_webhooks: true,
        keep_reasons: false,
        show_gates: false,
        at: None,
    }
}

fn hook_settings(args: &RunArgs, config: &Config) -> HookSettings {
    let unsigned = args.hooks_allow_unsigned.iter().filter_map(|name| Sender::find(name));
    let mut senders: BTreeMap<_, _> = unsigned
        .map(|sender| (sender.name, SenderSettings { allow_unsigned: true, ..SenderSettings::default() }))
        .collect();
    for (name, hook) in &config.hooks {
        let Some(sender) = Sender::find(name) else { continue };
        let settings: &mut SenderSettings = senders.entry(sender.name).or_default();
        settings.given.clone_from(&hook.given);
        settings.secret_files.clone_from(&hook.secret_files);
        settings.hosts = Hosts { default: hook.host.clone(), names: hook.hosts.clone() };
    }
    HookSettings { senders }
}

/// The webhook senders that there are.
fn sender_names() -> Vec<&'static str> {
    webhook::SENDERS.iter().map(|sender| sender.name).collect()
}

/// Reads the configuration again when its files change; what cannot be read leaves the old one in force.
async fn reload(
    args: RunArgs,
    mut config: Config,
    mut apply: impl AsyncFnMut(&Config) -> anyhow::Result<()>,
    clock: Arc<dyn Clock>,
) {
    let mut known = config.fingerprint(&args.files);
    loop {
        clock.sleep_until(clock.monotonic() + RELOAD).await;
        let found = config.fingerprint(&args.files);
        if found == known {
            continue;
        }
        known = found;
        let applied = match read(&args) {
            Ok(read) => apply(&read).await.map(|()| read),
            Err(error) => Err(error.into()),
        };
        match applied {
            Ok(read) => {
                config = read;
                tracing::info!("the configuration was read again");
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the configuration was not read again; the old one stays in force"
                );
            }
        }
    }
}

async fn listen(address: std::net::SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag} {address}: cannot listen there"))
}

/// Runs a part of the process for as long as that is; how it ended, and which.
async fn named<T>(name: &'static str, task: impl Future<Output = T>) -> String {
    // Nothing of it is used afterwards.
    match AssertUnwindSafe(task).catch_unwind().await {
        Ok(_) => format!("{name} ended"),
        Err(_) => format!("{name} broke"),
    }
}

/// A registry client that is replaced when the configuration of registries changes. Looks under way keep the old one.
struct Replaceable(RwLock<Arc<registry::Client>>);

impl Replaceable {
    fn new(client: registry::Client) -> Self {
        Self(RwLock::new(Arc::new(client)))
    }

    fn replace(&self, client: registry::Client) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(client);
    }

    fn get(&self) -> Arc<registry::Client> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Registry for Replaceable {
    fn within(&self, namespace: &Arc<str>, room: usize) -> Box<dyn Registry> {
        self.get().within(namespace, room)
    }

    fn tags<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Tags, RegistryError>> {
        let client = self.get();
        Box::pin(async move { client.tags(source).await })
    }

    fn digest<'a>(&'a self, source: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<Digest, RegistryError>> {
        let client = self.get();
        Box::pin(async move { client.digest(source, tag).await })
    }

    fn has<'a>(&'a self, source: &'a Source, image: &'a ImageRef) -> BoxFuture<'a, Result<(), RegistryError>> {
        let client = self.get();
        Box::pin(async move { client.has(source, image).await })
    }

    fn image<'a>(&'a self, source: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<ImageTimes, RegistryError>> {
        let client = self.get();
        Box::pin(async move { client.image(source, tag).await })
    }

    fn origin<'a>(&'a self, source: &'a Source, image: &'a ImageRef) -> BoxFuture<'a, Result<Origin, RegistryError>> {
        let client = self.get();
        Box::pin(async move { client.origin(source, image).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_is_reported_by_its_name() {
        assert_eq!(named("the poll", async {}).await, "the poll ended");
        assert_eq!(named("the poll", async { panic!("the test says so") }).await, "the poll broke");
    }
}
