//! What flags, files and the environment say: read as a whole, with everything that is wrong with it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{files, hook_settings, kubeconfig, people, registry_settings, sender_names, slack_settings, targets};
use crate::{
    clock::SystemClock,
    config::{self, Config, ConfigError, FileArgs, RegistryConfig, RepositoryArgs, RunArgs},
    logging,
    metrics::Metrics,
    ports::Clock,
    registry,
    web::{
        self,
        hooks::{HookSettings, Senders},
    },
};

/// The configuration that these flags name.
pub fn read(args: &RunArgs) -> Result<Config, ConfigError> {
    let config = settled(read_with(&args.files, unknown_senders(args)))?;
    args.repository.narrow(config, args.dry_run)
}

/// What these files and the environment say.
pub fn read_files(files: &FileArgs) -> Result<Config, ConfigError> {
    settled(read_with(files, Vec::new()))
}

/// Everything that would keep `run` from starting, and what it would only warn of. Nothing is started, no port is bound,
/// and nobody is asked: no cluster, no registry, no Git server.
pub async fn check(args: &RunArgs) -> Result<Vec<String>, ConfigError> {
    let filter = logging::subscriber(args.log_format, &args.log_level, std::io::sink, false).err();
    let problems = filter.map(|error| format!("--log-level: {error}")).into_iter().chain(unknown_senders(args));
    let (config, mut problems) = read_with(&args.files, problems.collect());
    let found = wrong_with_repository(args, &config, &problems);
    let found = [found, wrong_with_files(args, &config).await].concat();
    add(&mut problems, found);
    let stray = config::stray_variables(&sender_names());
    let available = sender_names().join(", ");
    let notes = stray.iter().map(|name| format!("{name} is a secret of no sender that exists; available: {available}"));
    if problems.is_empty() { Ok(notes.collect()) } else { Err(ConfigError(problems)) }
}

/// What is wrong with `--git` and the flags that go with it.
fn wrong_with_repository(args: &RunArgs, config: &Config, known: &[String]) -> Vec<String> {
    let narrowed = match args.repository.narrow(config.clone(), args.dry_run) {
        Ok(narrowed) => narrowed,
        Err(ConfigError(mut problems)) => {
            // It may be the name of a target that is not known for that reason.
            if is_unread(&args.files, known) {
                problems.retain(|problem| !RepositoryArgs::needs_configuration(problem));
            }
            return problems;
        }
    };
    let mut problems = targets::problems(&narrowed);
    if let (Some(_), Some(target)) = (&args.repository.git, narrowed.git.first()) {
        let state = args.repository.state(target);
        problems.extend(files::unwritable(&state).map(|why| format!("--state {}: {why}", state.display())));
    }
    problems
}

/// Whether the configuration's file could not be read at all.
fn is_unread(files: &FileArgs, known: &[String]) -> bool {
    let Some(path) = &files.config else { return false };
    let begins = [format!("--config {}: ", path.display()), format!("{}: ", path.display())];
    known.iter().any(|problem| begins.iter().any(|begin| problem.starts_with(begin)))
}

/// What is wrong with the files that are read before anything starts, and with addresses.
async fn wrong_with_files(args: &RunArgs, config: &Config) -> Vec<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let mut problems = Vec::new();
    if collide(args.listen, args.hooks_listen) {
        let [private, hooks] = [args.listen, args.hooks_listen];
        problems.push(format!(
            "--listen and --hooks-listen: {private} and {hooks} are the same port: give one of them another"
        ));
    }
    let mut senders = hook_settings(args, config).senders;
    while let Some((name, sender)) = senders.pop_first() {
        let one = HookSettings { senders: BTreeMap::from([(name, sender)]) };
        problems.extend(Senders::open(one, &clock).await.err().map(|error| error.to_string()));
    }
    if let Some((certificate, key)) = args.hooks_tls_cert.clone().zip(args.hooks_tls_key.clone()) {
        let tls = web::tls::Tls::start(certificate, key, clock.clone()).await;
        problems.extend(tls.err().map(|error| format!("--hooks-tls-cert: {error}")));
    }
    problems.extend(wrong_with_registries(config, &clock));
    match slack_settings(config) {
        Ok(Some(settings)) => problems.extend(people::unreadable_tokens(&settings).await),
        Ok(None) => {}
        Err(error) => problems.push(format!("{error:#}")),
    }
    problems.extend(kubeconfig::problem(&args.cluster).await);
    problems
}

/// What is wrong with `registries` beyond what [`Config::read`] finds: with each entry, and with them together.
fn wrong_with_registries(config: &Config, clock: &Arc<dyn Clock>) -> Vec<String> {
    let wrong_with = |registries: &[RegistryConfig]| {
        let config = Config { registries: registries.to_vec(), ..config.clone() };
        let client = registry_settings(&config, config::in_cluster()).and_then(|settings| {
            let (secrets, metrics) = (Arc::new(registry::NoSecrets), Arc::new(Metrics::default()));
            Ok(registry::Client::new(settings, secrets, clock.clone(), metrics)?)
        });
        client.err().map(|error| format!("{error:#}"))
    };
    let sound = config.registries.iter().filter(|entry| entry.problems().is_empty()).cloned();
    let sound: Vec<RegistryConfig> = sound.collect();
    let each: Vec<String> = sound.iter().filter_map(|entry| wrong_with(std::slice::from_ref(entry))).collect();
    if each.is_empty() { wrong_with(&sound).into_iter().collect() } else { each }
}

/// Whether only one of these can be listened on at a time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let [a, b] = [one, other].map(|address| address.ip().to_canonical());
    // All addresses, of IPv6 also those of IPv4.
    let holds = |all: IpAddr, it: IpAddr| all.is_unspecified() && (all.is_ipv6() || it.is_ipv4());
    one.port() == other.port() && one.port() != 0 && (a == b || holds(a, b) || holds(b, a))
}

fn unknown_senders(args: &RunArgs) -> Vec<String> {
    let there = sender_names();
    let unknown = args.hooks_allow_unsigned.iter().filter(|name| !there.contains(&name.as_str()));
    unknown.map(|name| format!("--hooks-allow-unsigned: no sender `{name}`; available: {}", there.join(", "))).collect()
}

/// What these files and the environment say and what is wrong with it, where these problems are known already.
fn read_with(files: &FileArgs, mut problems: Vec<String>) -> (Config, Vec<String>) {
    let (config, found) = Config::read(files, &sender_names());
    add(&mut problems, found.into_iter().chain(targets::problems(&config)));
    (config, problems)
}

/// Each is told once.
fn add(problems: &mut Vec<String>, found: impl IntoIterator<Item = String>) {
    for problem in found {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

fn settled((config, problems): (Config, Vec<String>)) -> Result<Config, ConfigError> {
    if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
}
