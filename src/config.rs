//! Flags, file and environment become [`Config`]. Every problem is told at once; nothing is bound or started here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use globset::{Glob, GlobSet, GlobSetBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use crate::domain::{
    guard::Guard,
    image::{Repository, excerpt},
    keel::KeelMode,
    later::{self, Keyed, WithLater},
    policy::NamedPolicies,
    target::Targets,
};

mod checkout;
mod deployer;
mod forge;
mod git;
mod hooks;
mod policies;
mod registry;
mod repository;
mod rollout;
mod run;
mod slack;

pub use deployer::{DeployerConfig, ReceiverConfig, RefreshConfig};
pub use forge::{AppConfig, RequestConfig};
pub use git::{Author, Commits, GitConfig, GitCredentials, SigningConfig, SigningFormat, ValuesConfig};
use hooks::hook_secret;
pub use hooks::{HookConfig, hook_variable, stray_variables};
use policies::named_policies;
pub use policies::{policies, policy_files};
pub use registry::{CredentialsConfig, PrivateAddresses, RegistryConfig, open_files};
pub use repository::RepositoryArgs;
pub use rollout::RolloutConfig;
pub use run::RunArgs;
pub use slack::{ApproverConfig, ChannelConfig, SlackConfig, TokenSource};

/// The longest configuration or policy file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Which cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClusterArgs {
    /// The kubeconfig file; without it $KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// Which installation.
#[derive(Debug, Clone, clap::Args)]
pub struct OperatorArgs {
    /// The namespace that supercargo runs in, where it stands what is held for all workloads
    #[arg(long, value_name = "NAMESPACE", default_value = "supercargo")]
    pub operator_namespace: String,
}

/// Which configuration.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FileArgs {
    /// The configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A folder of policy files, for `named:` policies
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
}

/// What the configuration file and the policy files say.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `registries`
    pub registries: Vec<RegistryConfig>,
    /// `privateAddresses`
    pub private_addresses: PrivateAddresses,
    /// `guards`
    pub guards: Arc<[Guard]>,
    /// `hooks`, by sender.
    pub hooks: BTreeMap<String, HookConfig>,
    /// `git`
    pub git: Vec<GitConfig>,
    /// `argocd`
    pub argocd: ArgoCdConfig,
    /// `rollout`
    pub rollout: RolloutConfig,
    /// `slack`
    pub slack: Option<SlackConfig>,
    /// `channels`
    pub channels: Vec<ChannelConfig>,
    /// `approvers`
    pub approvers: Vec<ApproverConfig>,
    /// What decisions need of them.
    pub targets: Arc<Targets>,
    /// The shipped policies and those of `--policies`.
    pub named: Arc<NamedPolicies>,
}

/// Where Argo CD is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArgoCdConfig {
    /// The namespaces (globs) whose Applications are Argo CD's; in others anybody may make one.
    pub namespaces: Vec<String>,
}

impl Default for ArgoCdConfig {
    fn default() -> Self {
        Self { namespaces: vec!["argocd".to_owned()] }
    }
}

/// A secret that the environment holds.
#[derive(Debug, Clone)]
pub struct EnvSecret(SecretString);

impl EnvSecret {
    fn read(name: &str) -> Result<Self, String> {
        // What is not written as variables are may be the secret itself.
        let is_plain = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        let shown =
            if is_plain { format!("`{}`", excerpt(name)) } else { "variable of the name that is given".to_owned() };
        let value = variable(name).ok_or_else(|| format!("the environment has no {shown}"))?;
        Ok(Self(SecretString::from(value.trim().to_owned())))
    }

    /// Itself.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl PartialEq for EnvSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// All that is wrong with the configuration, or with a flag.
#[derive(Debug, thiserror::Error)]
#[error("{}", match &self.0[..] {
    [one] => one.clone(),
    all => format!("{} problems:\n  {}", all.len(), all.join("\n  ")),
})]
pub struct ConfigError(pub Vec<String>);

impl ConfigError {
    /// One thing is wrong.
    pub fn one(problem: impl Into<String>) -> Self {
        Self(vec![problem.into()])
    }
}

/// The file as written.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    registries: Vec<WithLater<RegistryConfig>>,
    #[serde(default)]
    private_addresses: PrivateAddresses,
    #[serde(default)]
    guards: Vec<Guard>,
    #[serde(default)]
    hooks: BTreeMap<String, HookConfig>,
    #[serde(default)]
    git: Vec<GitConfig>,
    #[serde(default)]
    argocd: ArgoCdConfig,
    #[serde(default)]
    rollout: RolloutConfig,
    slack: Option<SlackConfig>,
    #[serde(default)]
    channels: Vec<WithLater<ChannelConfig>>,
    #[serde(default)]
    approvers: Vec<ApproverConfig>,
}

impl Keyed for Raw {
    const LATER: &'static [&'static str] = later::CONFIGURATION;
}

impl Config {
    /// Reads the files and the environment, and says what is wrong with them: then the rest is for finding more only.
    /// `senders` are those that exist.
    pub fn read(files: &FileArgs, senders: &[&str]) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let raw = files.config.as_deref().map_or_else(
            || Ok(WithLater::default()),
            |path| {
                let text = read_text(path).map_err(|why| format!("--config {why}"))?;
                let empty = text.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
                if empty { Ok(WithLater::default()) } else { parse(path, &text) }
            },
        );
        let WithLater::<Raw> { value: raw, later } = raw.unwrap_or_else(|problem| {
            problems.push(problem);
            WithLater::default()
        });
        problems.extend(later.into_iter().map(later::refusal));
        let mut registries = Vec::new();
        for WithLater { value: registry, later } in raw.registries {
            let refused = |key| format!("registries: {}: {}", registry.shown(), later::refusal(key));
            problems.extend(later.into_iter().map(refused));
            problems.extend(registry.problems());
            registries.push(registry);
        }
        let mut git = raw.git;
        let mut names = std::collections::BTreeSet::new();
        for target in &mut git {
            problems.extend(target.check());
            if !names.insert(target.name.clone()) {
                problems.push(format!("git: `{}` is there twice", target.name));
            }
        }
        let mut hooks = raw.hooks;
        for (sender, hook) in &mut hooks {
            if later::SENDERS.contains(&sender.as_str()) {
                problems.push(format!("hooks: {}", later::refusal(sender)));
            } else if !senders.contains(&sender.as_str()) {
                problems.push(format!("hooks: no sender `{sender}`; available: {}", senders.join(", ")));
            }
            problems.extend(hook.check(sender));
        }
        for sender in senders {
            if let Some(given) = hook_secret(sender) {
                hooks.entry((*sender).to_owned()).or_default().given = Some(given);
            }
        }
        let named = named_policies(files.policies.as_deref(), &mut problems);
        problems.extend(raw.guards.iter().flat_map(|guard| guard.problems(&named)));
        problems.extend(globs(&raw.argocd.namespaces).err().map(|error| format!("argocd: namespaces: {error}")));
        let mut slack = raw.slack;
        problems.extend(slack::wrong(slack.as_mut(), &raw.channels, &raw.approvers));
        let channels = raw.channels.into_iter().map(|channel| channel.value).collect();
        let targets = Arc::new(git::targets(&git));
        let guards = raw.guards.into();
        let (private_addresses, argocd, rollout) = (raw.private_addresses, raw.argocd, raw.rollout);
        let named = Arc::new(named);
        let approvers = raw.approvers;
        let config = Self {
            registries,
            private_addresses,
            guards,
            hooks,
            git,
            argocd,
            rollout,
            slack,
            channels,
            approvers,
            targets,
            named,
        };
        (config, problems)
    }

    /// Whether the operator's own credentials for a repository's host may serve a namespace.
    pub fn operator_serves(&self) -> impl Fn(&Repository, &str) -> bool + Send + Sync + 'static {
        let hosts: BTreeMap<String, GlobSet> = self
            .registries
            .iter()
            .filter(|registry| registry.credentials.is_some())
            .filter_map(|registry| Some((host(&registry.host), globs(&registry.namespaces).ok()?)))
            .collect();
        move |repository, namespace| hosts.get(repository.host()).is_some_and(|globs| globs.is_match(namespace))
    }

    /// Whether the Applications of a namespace are Argo CD's.
    pub fn argocd_namespaces(&self) -> impl Fn(&str) -> bool + Send + Sync + 'static {
        let globs = globs(&self.argocd.namespaces).unwrap_or_default();
        move |namespace| globs.is_match(namespace)
    }

    /// What the files say now that were read for this configuration: when it differs, they are read again.
    pub fn fingerprint(&self, files: &FileArgs) -> Vec<(PathBuf, String)> {
        let listed = files.policies.as_deref().map(|dir| policy_files(dir).unwrap_or_default()).unwrap_or_default();
        let certificates = self.registries.iter().filter_map(|registry| registry.ca.clone());
        let certificates = certificates.chain(self.git.iter().filter_map(|target| target.ca.clone()));
        let certificates = certificates.chain(self.slack.iter().filter_map(|slack| slack.ca.clone()));
        let paths = files.config.iter().cloned().chain(listed).chain(certificates);
        paths.map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap_or_default())).collect()
    }
}

/// Whether this process runs in a pod.
pub fn in_cluster() -> bool {
    variable("KUBERNETES_SERVICE_HOST").is_some()
}

/// Where the user's docker config file is, if there is one: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
pub fn docker_config() -> Option<PathBuf> {
    let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".docker")))?;
    Some(folder.join("config.json"))
}

/// Reads YAML; what is wrong with it is told in one line.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a file of at most [`MAX_FILE`] bytes.
pub fn read_text(path: &Path) -> Result<String, String> {
    let say = |error: std::io::Error| format!("{}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(say)?.len();
    if size > MAX_FILE {
        return Err(format!("{}: {size} bytes; at most {MAX_FILE} are read", path.display()));
    }
    std::fs::read_to_string(path).map_err(say)
}

#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The names of the variables that are text.
fn variable_names() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// What git gets of this process's environment.
pub fn git_environment() -> Vec<(String, String)> {
    let names = ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "TMPDIR"];
    names.iter().filter_map(|name| Some(((*name).to_owned(), variable(name)?))).collect()
}

/// Where clones are kept if nothing is said: below the user's cache folder, else in the folder for temporary files.
pub fn cache_folder() -> PathBuf {
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("supercargo/git")
}

/// What matches any of these globs.
pub fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

/// The host in the spelling that [`Repository::host`] uses.
fn host(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => crate::domain::image::DOCKER_HUB.to_owned(),
        other => other.to_owned(),
    }
}

/// Reads `--keel`.
pub fn keel_mode(text: &str) -> Result<KeelMode, String> {
    match text {
        "report" => Ok(KeelMode::Report),
        "apply" => Ok(KeelMode::Apply),
        "ignore" => Ok(KeelMode::Ignore),
        _ => Err("report, apply or ignore".to_owned()),
    }
}
