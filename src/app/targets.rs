//! Where plans go: to the cluster, or to the Git target that they name.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::Context as _;
use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};

use super::forge::{forge, secret};
use crate::{
    config::{
        self, Commits, Config, ConfigError, DeployerConfig, GitConfig, ReceiverConfig, SigningConfig, SigningFormat,
    },
    domain::plan::{Approved, Plan},
    git::{self, Address, Credentials, Deployer, Receiver, Secret, Signing},
    manifest::{self, places},
    ports::{Clock, Outcome, Refresh, Registry, Sink, Standing},
};

/// Targets by name, each with its settings as text.
type Known = HashMap<Arc<str>, (String, Arc<git::Target>)>;

/// Brings plans to where their updates are written: all of one call to the same target.
pub(super) struct Sinks {
    /// None where there is no cluster.
    cluster: Option<Arc<dyn Sink>>,
    targets: RwLock<Known>,
}

impl Sinks {
    pub(super) fn new(cluster: Option<Arc<dyn Sink>>) -> Self {
        Self { cluster, targets: RwLock::default() }
    }

    /// Takes the targets of a configuration; what did not change keeps its clone.
    pub(super) fn replace(&self, new: Known) {
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        let kept = |(name, (settings, target)): (Arc<str>, (String, _))| match targets.get(&name) {
            Some((before, old)) if *before == settings => (name, (settings, old.clone())),
            _ => (name, (settings, target)),
        };
        *targets = new.into_iter().map(kept).collect();
    }

    fn of(&self, name: Option<&Arc<str>>) -> Option<Arc<dyn Sink>> {
        let Some(name) = name else { return self.cluster.clone() };
        self.target(name).map(|target| target as Arc<dyn Sink>)
    }

    /// The target of that name.
    pub(super) fn target(&self, name: &str) -> Option<Arc<git::Target>> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        targets.get(name).map(|(_, target)| target.clone())
    }
}

/// What is said where the configuration was changed meanwhile.
const GONE: &str = "the configuration has no such Git target any more";

impl Sink for Sinks {
    fn apply<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let target = plans.first().and_then(|plan| plan.update().route.target());
            match self.of(target) {
                Some(sink) => sink.apply(plans).await,
                None => vec![Outcome::Failed(GONE.to_owned()); plans.len()],
            }
        })
    }

    fn check<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Standing>> {
        Box::pin(async move {
            let target = plans.first().and_then(|plan| plan.update().route.target());
            match self.of(target) {
                Some(sink) => sink.check(plans).await,
                None => vec![Standing::Failed(GONE.to_owned()); plans.len()],
            }
        })
    }
}

/// The targets of a configuration. Their clones stand below `cache`; `refresh` is for deployers in the cluster, and
/// `registry` for what requests tell of images.
pub fn git_targets(
    config: &Config,
    cache: &Path,
    clock: &Arc<dyn Clock>,
    refresh: Option<&Arc<dyn Refresh>>,
    registry: Option<&Arc<dyn Registry>>,
) -> anyhow::Result<Known> {
    // git is told where its clone is from elsewhere.
    let cache = &std::path::absolute(cache).with_context(|| format!("--git-cache {}", cache.display()))?;
    let mut targets = Known::new();
    for entry in &config.git {
        let mut settings = settings(entry, cache)?;
        let forge = forge(entry, clock, registry)?;
        let mut shown = String::new();
        if let Some(forge) = &forge {
            shown.push_str(&forge.shown);
            if let Some(app) = &forge.app {
                settings.credentials = Credentials::App(app.clone());
            }
        }
        for deployer in &entry.deployers {
            let deployer = self::deployer(deployer, refresh);
            settings.deployers.extend(deployer.map_err(|why| ConfigError::one(format!("git: {}: {why}", entry.name)))?);
        }
        // The environment's token is no part of what is compared: it does not change while the process lives.
        shown.push_str(&format!("{settings:?} {}", trusted(entry)?));
        let name = entry.name.as_str().into();
        let mut inherited = config::git_environment();
        // To git, what the environment trusts would come before `ca`.
        inherited.retain(|(name, _)| entry.ca.is_none() || name != "GIT_SSL_CAINFO");
        let target = git::Target::new(settings, clock.clone(), inherited);
        let target = match forge.and_then(|forge| forge.requests) {
            None => target,
            Some(requests) => target.with_requests(requests),
        };
        targets.insert(name, (shown, Arc::new(target)));
    }
    Ok(targets)
}

/// What stands in the certificates that are trusted for a target: another one than before makes it another target.
fn trusted(entry: &GitConfig) -> anyhow::Result<String> {
    let Some(path) = &entry.ca else { return Ok(String::new()) };
    let text = std::fs::read(path).with_context(|| format!("git: {}: ca: {}", entry.name, path.display()))?;
    Ok(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn settings(entry: &GitConfig, cache: &Path) -> anyhow::Result<git::Settings> {
    let wrong =
        |what: &str, why: &dyn std::fmt::Display| ConfigError::one(format!("git: {}: {what}: {why}", entry.name));
    // Git and its helpers run in the clone's folder.
    let file =
        |file: &PathBuf| std::path::absolute(file).with_context(|| format!("git: {}: {}", entry.name, file.display()));
    let credentials = &entry.credentials;
    let token = secret(credentials.token_file.as_ref(), credentials.token.as_ref());
    let username = credentials.username.clone().unwrap_or_else(|| "x-access-token".to_owned());
    let credentials = match (token, &credentials.ssh_key_file, &credentials.known_hosts_file) {
        (Some(secret), ..) => Credentials::Token { username, secret },
        (None, Some(key), Some(known_hosts)) => Credentials::Ssh { key: key.clone(), known_hosts: file(known_hosts)? },
        _ => Credentials::None,
    };
    let path = |text: &Option<String>| -> anyhow::Result<Option<manifest::Path>> {
        text.as_ref().map(|text| text.parse()).transpose().map_err(|error| wrong("values", &error).into())
    };
    let mut values = Vec::new();
    for rule in &entry.values {
        let files = globset::Glob::new(&rule.files).map_err(|error| wrong("values", &error))?.compile_matcher();
        values.push(places::ValuesRule {
            files,
            image: path(&rule.image)?,
            registry: path(&rule.registry)?,
            repository: path(&rule.repository)?,
            tag: path(&rule.tag)?,
            digest: path(&rule.digest)?,
            for_image: rule.for_image.clone(),
        });
    }
    let message = match &entry.message {
        None => git::Template::default(),
        Some(text) => git::Template::parse(text).map_err(|error| wrong("message", &error))?,
    };
    let signing = match &entry.signing {
        None => None,
        Some(SigningConfig { format: SigningFormat::Ssh, key_file, .. }) => {
            Some(Signing::Ssh { key: key_file.clone() })
        }
        Some(SigningConfig { format: SigningFormat::OpenPgp, key_file, passphrase_file }) => Some(Signing::OpenPgp {
            key: key_file.clone(),
            passphrase: passphrase_file.as_ref().map(file).transpose()?,
        }),
    };
    let name = entry.shown();
    let scope = git::Scope {
        paths: entry.path_globs().map_err(|error| wrong("paths", &error))?,
        options: places::Options {
            default_namespace: entry.default_namespace.clone(),
            values,
            overlay: entry
                .overlay
                .as_deref()
                .map(|folder| folder.trim_start_matches("./").trim_end_matches('/').to_owned()),
            image_policies: entry.image_policies.clone(),
        },
        ..git::Scope::target(&entry.name, name)
    };
    Ok(git::Settings {
        name: name.into(),
        scope,
        url: entry.url.clone(),
        branch: entry.branch.clone(),
        credentials,
        ca: entry.ca.as_ref().map(file).transpose()?,
        proxy: entry.proxy.clone(),
        author: (entry.author.name.clone(), entry.author.email.clone()),
        one_each: entry.commits == Commits::Workload,
        message,
        signing,
        deployers: Vec::new(),
        folder: cache.join(format!("{}.git", entry.slug())),
    })
}

fn deployer(config: &DeployerConfig, refresh: Option<&Arc<dyn Refresh>>) -> Result<Option<Deployer>, globset::Error> {
    Ok(match config {
        DeployerConfig::FluxReceiver(config) => receiver(config).map(Deployer::FluxReceiver),
        DeployerConfig::ArgocdWebhook(config) => receiver(config).map(Deployer::ArgocdWebhook),
        DeployerConfig::ArgocdRefresh(config) => {
            let (namespace, applications) = (config.namespace.clone(), config.globs()?);
            refresh.map(|by| Deployer::ArgocdRefresh { namespace, applications, by: by.clone() })
        }
    })
}

fn receiver(config: &ReceiverConfig) -> Option<Receiver> {
    let address = config.url.clone().map(Address::Url).or_else(|| config.url_file.clone().map(Address::File))?;
    let secret = config.secret_file.clone().map(Secret::File).or_else(|| config.secret.clone().map(Secret::Value));
    Some(Receiver { address, secret, ca: config.ca.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_that_is_rotated_under_its_name_makes_another_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let entry = GitConfig { ca: Some(path.clone()), ..GitConfig::default() };
        assert!(trusted(&entry).unwrap_err().to_string().contains("ca.pem"));
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            trusted(&entry).unwrap()
        };
        assert_ne!(of("one"), of("another"));
        assert_eq!(of("one"), of("one"));
    }
}
