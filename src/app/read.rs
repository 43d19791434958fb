//! What flags, files and the environment say: read as a whole, with everything that is wrong with it.

use std::{collections::BTreeMap, sync::Arc};

use super::{hook_settings, registry_settings, sender_names, targets};
use crate::{
    clock::SystemClock,
    cluster,
    config::{self, Config, ConfigError, FileArgs, RunArgs},
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
    if problems.is_empty()
        && let Err(ConfigError(found)) = args.repository.narrow(config.clone(), args.dry_run)
    {
        problems.extend(found);
    }
    let found = wrong_with_files(args, &config, &problems).await;
    problems.extend(found);
    let stray = config::stray_variables(&sender_names());
    let available = sender_names().join(", ");
    let notes = stray.iter().map(|name| format!("{name} is a secret of no sender that exists; available: {available}"));
    if problems.is_empty() { Ok(notes.collect()) } else { Err(ConfigError(problems)) }
}

/// What is wrong with the files that are read before anything starts, and with addresses, where this much is known.
async fn wrong_with_files(args: &RunArgs, config: &Config, known: &[String]) -> Vec<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let mut problems = Vec::new();
    if args.listen == args.hooks_listen && args.listen.port() != 0 {
        problems.push(format!("--listen and --hooks-listen are both {}: give one of them another port", args.listen));
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
    // What is wrong with an entry itself was told before.
    if !known.iter().any(|problem| problem.starts_with("registries: ")) {
        let client = registry_settings(config, config::in_cluster()).and_then(|settings| {
            Ok(registry::Client::new(settings, Arc::new(registry::NoSecrets), clock, Arc::new(Metrics::default()))?)
        });
        problems.extend(client.err().map(|error| format!("{error:#}")));
    }
    let (kubeconfig, context) = (args.cluster.kubeconfig.clone(), args.cluster.context.clone());
    // Without them it may be that there is no cluster where this is looked at.
    if kubeconfig.is_some() || context.is_some() {
        let client = cluster::connect(&cluster::connect::Options { kubeconfig, context }).await;
        problems.extend(client.err().map(|error| error.to_string()));
    }
    problems
}

fn unknown_senders(args: &RunArgs) -> Vec<String> {
    let there = sender_names();
    let unknown = args.hooks_allow_unsigned.iter().filter(|name| !there.contains(&name.as_str()));
    unknown.map(|name| format!("--hooks-allow-unsigned: no sender `{name}`; available: {}", there.join(", "))).collect()
}

/// What these files and the environment say and what is wrong with it, where these problems are known already.
fn read_with(files: &FileArgs, mut problems: Vec<String>) -> (Config, Vec<String>) {
    let (config, found) = Config::read(files, &sender_names());
    for problem in found.into_iter().chain(targets::problems(&config)) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    (config, problems)
}

fn settled((config, problems): (Config, Vec<String>)) -> Result<Config, ConfigError> {
    if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
}
