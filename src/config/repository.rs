//! `run --git`: one repository instead of a cluster.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use globset::{Glob, GlobSet};

use super::{Config, ConfigError, DeployerConfig, GitConfig, checkout, variable};
use crate::domain::target::Targets;

/// The user and the token for an address that the configuration does not name.
const USERNAME: &str = "SUPERCARGO_GIT_USERNAME";
const TOKEN: &str = "SUPERCARGO_GIT_TOKEN";
/// What is wrong with a `--git` that is neither here nor an address.
const NOWHERE: &str = "no such folder, no target of the configuration, and no address";

/// Which repository, and how it is worked on.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RepositoryArgs {
    /// Run without a cluster: read the policies from this Git repository and write to it (its address or folder, or the
    /// name of a target of the configuration)
    #[arg(long, value_name = "URL", conflicts_with_all = ["kubeconfig", "context", "namespaces"])]
    pub git: Option<String>,
    /// The branch that is read and written [default: main, or the target's]
    #[arg(long, value_name = "BRANCH", requires = "git")]
    pub branch: Option<String>,
    /// A folder or glob of files that may be edited; may be given several times [default: all, or the target's]
    #[arg(long = "path", value_name = "PATH", requires = "git")]
    pub paths: Vec<String>,
    /// Look once, write, and end: for CI jobs
    #[arg(long, requires = "git")]
    pub once: bool,
    /// The file of what is remembered (SQLite) [default: in the user's state folder]
    #[arg(long, value_name = "FILE", requires = "git")]
    pub state: Option<PathBuf>,
}

impl RepositoryArgs {
    /// The configuration with this repository as its only target, if one is given. With `dry_run` nothing is written.
    pub fn narrow(&self, config: Config, dry_run: bool) -> Result<Config, ConfigError> {
        let Some(given) = &self.git else { return Ok(config) };
        let named = config.git.iter().find(|target| target.name == *given || target.url == *given);
        let (mut target, mut problems) = match named {
            Some(target) => (target.clone(), Vec::new()),
            None => unnamed(given),
        };
        if let Some(branch) = &self.branch {
            target.branch.clone_from(branch);
        }
        if !self.paths.is_empty() {
            target.paths.clone_from(&self.paths);
        }
        problems.extend(target.check());
        let checkout = checkout::refuse(&target.url).filter(|_| !dry_run);
        problems.extend(checkout.map(|why| format!("--git {given}: {why}")));
        if target.deployers.iter().any(|deployer| matches!(deployer, DeployerConfig::ArgocdRefresh(_))) {
            problems.push("git: `argocdRefresh` needs a cluster: use `argocdWebhook` with --git".to_owned());
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let mut only = target.target().map_err(ConfigError::one)?;
        // There are no tenants: whoever starts it says what it may do.
        only.namespaces = everything();
        let targets = Arc::new(Targets::only(target.name.as_str().into(), only));
        Ok(Config { git: vec![target], targets, ..config })
    }

    /// Whether a problem of [`Self::narrow`] may come of a configuration that could not be read.
    pub fn needs_configuration(problem: &str) -> bool {
        problem.ends_with(NOWHERE)
    }

    /// The file of what is remembered.
    pub fn state(&self, target: &GitConfig) -> PathBuf {
        let folder = || {
            let state = variable("XDG_STATE_HOME").map(PathBuf::from);
            let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
            state.or_else(home).unwrap_or_else(std::env::temp_dir).join("supercargo")
        };
        self.state.clone().unwrap_or_else(|| folder().join(format!("{}.sqlite", target.slug())))
    }
}

/// A target at this address or folder, and what is wrong with that.
fn unnamed(given: &str) -> (GitConfig, Vec<String>) {
    let is_folder = !given.contains(':') && !given.starts_with('-');
    let mut problems = Vec::new();
    let url = if is_folder {
        if !Path::new(given).is_dir() {
            problems.push(format!("--git {given}: {NOWHERE}"));
        }
        std::path::absolute(given).unwrap_or_else(|_| "/".into()).display().to_string()
    } else {
        given.to_owned()
    };
    let mut target = GitConfig::at("repository", url, "main");
    if target.url.starts_with("http") && variable(TOKEN).is_some() {
        target.credentials.token_env = Some(TOKEN.to_owned());
        target.credentials.username = variable(USERNAME);
    }
    (target, problems)
}

fn everything() -> GlobSet {
    let all = Glob::new("*").and_then(|glob| GlobSet::builder().add(glob).build());
    all.unwrap_or_else(|_| GlobSet::empty())
}
