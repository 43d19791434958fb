//! Where plans go: to the cluster, or to the Git target that they name.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::Context as _;
use futures::future::BoxFuture;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::forge::{forge, secret};
use crate::{
    clock::SystemClock,
    config::{
        self, Commits, Config, ConfigError, DeployerConfig, GitConfig, ReceiverConfig, SigningConfig, SigningFormat,
        ValuesConfig,
    },
    domain::{
        image::excerpt,
        plan::{Approved, Plan, Proposed},
    },
    git::{self, Address, Credentials, Deployer, Receiver, Signing},
    manifest::{self, places},
    ports::{Clock, Outcome, Refresh, Registry, Rehearsal, Sink, Standing},
};

/// Targets by name, each with what it was made of.
type TargetsByName = HashMap<Arc<str>, (Given, Arc<git::Target>)>;

/// All that a target is made of: where it differs, the target is another. Other files are read whenever they are used.
#[derive(PartialEq)]
pub struct Given {
    entry: GitConfig,
    /// What the file of `ca` held.
    ca: Option<Vec<u8>>,
}

/// Brings plans to where their updates are written: all of one call to the same target.
pub(super) struct Sinks {
    /// None where there is no cluster.
    cluster: Option<Arc<dyn Sink>>,
    targets: RwLock<TargetsByName>,
}

impl Sinks {
    pub(super) fn new(cluster: Option<Arc<dyn Sink>>) -> Self {
        Self { cluster, targets: RwLock::default() }
    }

    /// Takes the targets of a configuration; what did not change keeps its clone.
    pub(super) fn replace(&self, new: TargetsByName) {
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        let kept = |(name, (given, target)): (Arc<str>, (Given, _))| match targets.get(&name) {
            Some((before, old)) if *before == given => (name, (given, old.clone())),
            _ => (name, (given, target)),
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

    fn rehearse<'a>(&'a self, plan: &'a Plan<Proposed>) -> BoxFuture<'a, Rehearsal> {
        Box::pin(async move {
            match self.of(plan.update().route.target()) {
                Some(sink) => sink.rehearse(plan).await,
                None => Rehearsal::Refused(GONE.to_owned()),
            }
        })
    }
}

/// What is wrong with the targets of a configuration beyond what [`Config::read`] finds.
pub(super) fn problems(config: &Config) -> Vec<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let each = config.git.iter().map(|entry| target(entry, Path::new("/"), &clock, None, None));
    each.filter_map(Result::err).flatten().collect()
}

/// The targets of a configuration. Their clones stand below `cache`; `refresh` is for deployers in the cluster, and
/// `registry` for what requests tell of images.
pub fn git_targets(
    config: &Config,
    cache: &Path,
    clock: &Arc<dyn Clock>,
    refresh: Option<&Arc<dyn Refresh>>,
    registry: Option<&Arc<dyn Registry>>,
) -> anyhow::Result<TargetsByName> {
    // git is told where its clone is from elsewhere.
    let cache = &std::path::absolute(cache).with_context(|| format!("--git-cache {}", cache.display()))?;
    let (mut targets, mut problems) = (TargetsByName::new(), Vec::new());
    for entry in &config.git {
        match target(entry, cache, clock, refresh, registry) {
            Ok(known) => _ = targets.insert(entry.name.as_str().into(), known),
            Err(wrong) => problems.extend(wrong),
        }
    }
    if problems.is_empty() { Ok(targets) } else { Err(ConfigError(problems).into()) }
}

/// A target, or everything that is wrong with it.
fn target(
    entry: &GitConfig,
    cache: &Path,
    clock: &Arc<dyn Clock>,
    refresh: Option<&Arc<dyn Refresh>>,
    registry: Option<&Arc<dyn Registry>>,
) -> Result<(Given, Arc<git::Target>), Vec<String>> {
    let mut problems = Problems::of(entry);
    let ca = entry.ca.as_deref().and_then(|path| problems.take("ca", certificates(path)));
    let settings = settings(entry, cache, refresh, &mut problems);
    let forge = forge(entry, ca.as_deref(), clock, registry, &mut problems);
    let mut settings = match settings.filter(|_| problems.found.is_empty()) {
        Some(settings) => settings,
        None => return Err(problems.found),
    };
    if let Some(app) = forge.as_ref().and_then(|forge| forge.app.clone()) {
        settings.remote.credentials = Credentials::App(app);
    }
    let mut inherited = config::git_environment();
    // To git, what the environment trusts would come before `ca`.
    inherited.retain(|(name, _)| entry.ca.is_none() || name != "GIT_SSL_CAINFO");
    let target = git::Target::new(settings, clock.clone(), inherited);
    let target = match forge.and_then(|forge| forge.requests) {
        None => target,
        Some(requests) => target.with_requests(requests),
    };
    Ok((Given { entry: entry.clone(), ca }, Arc::new(target)))
}

/// What is wrong with an entry of `git`.
pub(super) struct Problems<'a> {
    entry: &'a GitConfig,
    found: Vec<String>,
}

impl<'a> Problems<'a> {
    fn of(entry: &'a GitConfig) -> Self {
        Self { entry, found: Vec::new() }
    }

    /// What there is, if nothing is wrong with it; else that is told of the setting `what`.
    pub(super) fn take<T>(&mut self, what: &str, read: Result<T, impl std::fmt::Display>) -> Option<T> {
        read.map_err(|why| self.found.push(format!("git: {}: {what}: {why}", excerpt(&self.entry.name)))).ok()
    }
}

/// The certificates (PEM) of a file.
fn certificates(path: &Path) -> Result<Vec<u8>, String> {
    let pem = config::read_text(path)?.into_bytes();
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(pem),
        _ => Err(format!("{}: there is no PEM certificate in it that can be read", path.display())),
    }
}

/// None if something is wrong.
fn settings(
    entry: &GitConfig,
    cache: &Path,
    refresh: Option<&Arc<dyn Refresh>>,
    problems: &mut Problems,
) -> Option<git::TargetSettings> {
    // Git and its helpers run in the clone's folder.
    let file = |file: &PathBuf| std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()));
    let credentials = &entry.credentials;
    let token = secret(credentials.token_file.as_ref(), credentials.token.as_ref());
    let username = credentials.username.clone().unwrap_or_else(|| "x-access-token".to_owned());
    let credentials = match (token, &credentials.ssh_key_file, &credentials.known_hosts_file) {
        (Some(secret), ..) => Some(Credentials::Token { username, secret }),
        (None, Some(key), Some(known_hosts)) => problems
            .take("knownHostsFile", file(known_hosts))
            .map(|known_hosts| Credentials::Ssh { key: key.clone(), known_hosts }),
        _ => Some(Credentials::None),
    };
    let values: Vec<_> = entry.values.iter().map(|rule| values(rule, problems)).collect();
    let message = match &entry.message {
        None => Some(git::Template::default()),
        Some(text) => problems.take("message", git::Template::parse(text)),
    };
    let signing = match &entry.signing {
        None => Some(None),
        Some(SigningConfig { format: SigningFormat::Ssh, key_file, .. }) => {
            Some(Some(Signing::Ssh { key: key_file.clone() }))
        }
        Some(SigningConfig { format: SigningFormat::OpenPgp, key_file, passphrase_file }) => problems
            .take("signing", passphrase_file.as_ref().map(file).transpose())
            .map(|passphrase| Some(Signing::OpenPgp { key: key_file.clone(), passphrase })),
    };
    let deployers: Vec<_> = entry.deployers.iter().map(|deployer| self::deployer(deployer, refresh)).collect();
    let deployers = problems.take("deployers", deployers.into_iter().collect::<Result<Vec<_>, _>>());
    let paths = problems.take("paths", entry.path_globs());
    let ca = problems.take("ca", entry.ca.as_ref().map(file).transpose());
    let overlay =
        entry.overlay.as_deref().map(|folder| folder.trim_start_matches("./").trim_end_matches('/').to_owned());
    let options = places::Options {
        default_namespace: entry.default_namespace.clone(),
        values: values.into_iter().collect::<Option<_>>()?,
        overlay,
        image_policies: entry.image_policies.clone(),
    };
    let name = entry.shown();
    Some(git::TargetSettings {
        name: name.into(),
        scope: git::Scope { paths: paths?, options, ..git::Scope::target(&entry.name, name) },
        remote: git::Remote {
            url: entry.url.clone(),
            credentials: credentials?,
            ca: ca?,
            proxy: entry.proxy.clone(),
            folder: cache.join(format!("{}.git", entry.slug())),
        },
        branch: entry.branch.clone(),
        author: (entry.author.name.clone(), entry.author.email.clone()),
        one_each: entry.commits == Commits::Workload,
        message: message?,
        signing: signing?,
        deployers: deployers?.into_iter().flatten().collect(),
    })
}

/// A rule of `values`; none if something is wrong with it.
fn values(rule: &ValuesConfig, problems: &mut Problems) -> Option<places::ValuesRule> {
    let files = problems.take("values", globset::Glob::new(&rule.files)).map(|glob| glob.compile_matcher());
    let parts = [&rule.image, &rule.registry, &rule.repository, &rule.tag, &rule.digest];
    let [image, registry, repository, tag, digest] =
        parts.map(|text| problems.take("values", text.as_ref().map(|text| text.parse::<manifest::Path>()).transpose()));
    let (image, registry, repository) = (image?, registry?, repository?);
    let (tag, digest, for_image) = (tag?, digest?, rule.for_image.clone());
    Some(places::ValuesRule { files: files?, image, registry, repository, tag, digest, for_image })
}

/// None where there is no cluster for what needs one.
fn deployer(config: &DeployerConfig, refresh: Option<&Arc<dyn Refresh>>) -> Result<Option<Deployer>, String> {
    Ok(match config {
        DeployerConfig::FluxReceiver(config) => receiver(config).map(Deployer::FluxReceiver),
        DeployerConfig::ArgocdWebhook(config) => receiver(config).map(Deployer::ArgocdWebhook),
        DeployerConfig::ArgocdRefresh(config) => {
            let namespace = config.namespace.clone();
            let applications = config.globs().map_err(|error| format!("argocdRefresh: applications: {error}"))?;
            refresh.map(|by| Deployer::ArgocdRefresh { namespace, applications, by: by.clone() })
        }
    })
}

fn receiver(config: &ReceiverConfig) -> Option<Receiver> {
    let address = config.url.clone().map(Address::Url).or_else(|| config.url_file.clone().map(Address::File))?;
    Some(Receiver {
        address,
        secret: secret(config.secret_file.as_ref(), config.secret.as_ref()),
        ca: config.ca.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FileArgs;

    const WHOLE: &str = "
git:
- name: prod
  url: https://git.example.com/team/deploy.git
  branch: main
  paths: [apps]
  namespaces: ['*']
  credentials: {username: bot, tokenEnv: PATH}
  ca: CA
  proxy: http://proxy.example.com:3128
  author: {name: bot, email: bot@example.com}
  message: 'deploy'
  defaultNamespace: shop
  values: [{files: values.yaml, image: web.image}]
  overlay: apps
  imagePolicies: {'shop:web': registry.example.com/web}
  deployers:
  - argocdWebhook: {url: 'https://argocd.example.com/api/webhook', secretEnv: PATH}
  - argocdRefresh: {namespace: argocd, applications: [shop]}
  commits: batch
  signing: {format: openpgp, keyFile: /key}
  forge: gitea
  api: https://git.example.com/api/v1
  pullRequest: {labels: [image], tokenEnv: PATH, maxOpen: 3}
";

    /// The target of that configuration.
    fn of(sinks: &Sinks, folder: &Path, text: &str) -> Arc<git::Target> {
        let path = folder.join("config.yaml");
        std::fs::write(&path, text.replace("CA", &folder.join("ca.pem").display().to_string())).unwrap();
        let config = crate::app::read_files(&FileArgs { config: Some(path), policies: None }).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        sinks.replace(git_targets(&config, folder, &clock, None, None).unwrap());
        sinks.target("prod").unwrap()
    }

    #[test]
    fn a_changed_setting_or_a_rotated_ca_makes_a_new_client_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = || rcgen::generate_simple_self_signed(["git.example.com".to_owned()]).unwrap().cert.pem();
        let [first, second] = [certificate(), certificate()];
        let sinks = Sinks::new(None);
        let ca = folder.path().join("ca.pem");
        let of = |text: &str| of(&sinks, folder.path(), text);
        std::fs::write(&ca, &first).unwrap();
        let mut before = of(WHOLE);
        for (from, to) in [
            ("deploy.git", "other.git"),
            ("branch: main", "branch: next"),
            ("[apps]", "[apps, infra]"),
            ("username: bot, tokenEnv: PATH", "username: bot, tokenEnv: HOME"),
            ("username: bot", "username: robot"),
            ("3128", "3129"),
            ("email: bot@", "email: robot@"),
            ("'deploy'", "'deploy it'"),
            ("Namespace: shop", "Namespace: other"),
            ("web.image", "api.image"),
            ("overlay: apps", "overlay: infra"),
            ("com/web}", "com/api}"),
            ("webhook', secretEnv: PATH", "webhook', secretEnv: HOME"),
            ("applications: [shop]", "applications: [other]"),
            ("commits: batch", "commits: workload"),
            ("/key}", "/key, passphraseFile: /passphrase}"),
            ("com/api/v1", "com/git/api/v1"),
            ("tokenEnv: PATH, maxOpen: 3", "tokenEnv: HOME, maxOpen: 3"),
            ("maxOpen: 3", "maxOpen: 4"),
        ] {
            assert!(Arc::ptr_eq(&before, &of(WHOLE)), "nothing changed");
            let changed = of(&WHOLE.replacen(from, to, 1));
            assert!(!Arc::ptr_eq(&before, &changed), "{from} became {to}");
            before = of(WHOLE);
        }
        std::fs::write(&ca, &second).unwrap();
        let rotated = of(WHOLE);
        assert!(!Arc::ptr_eq(&before, &rotated), "another certificate under the same name");
        assert!(Arc::ptr_eq(&rotated, &of(WHOLE)));
    }
}
