//! `registries` and `privateAddresses`: how registries are reached, and as whom.

use std::path::PathBuf;

use serde::Deserialize;

use super::{globs, read_text};
use crate::domain::{
    image::Repository,
    later::{self, Keyed},
};

/// Whether registries at addresses of private networks are connected to that `registries` does not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PrivateAddresses {
    /// They are.
    #[default]
    Allow,
    /// They are not.
    Deny,
}

/// One entry of `registries`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryConfig {
    /// The host as images write it.
    pub host: String,
    /// Plain HTTP.
    #[serde(default)]
    pub insecure: bool,
    /// A file of certificates (PEM) that are trusted for this host.
    pub ca: Option<PathBuf>,
    /// The operator's own credentials for it.
    pub credentials: Option<CredentialsConfig>,
    /// The namespaces whose workloads they serve.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// Where the operator's credentials for a registry are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialsConfig {
    /// A docker config file (`config.json`), read again when it changes.
    pub file: PathBuf,
}

impl Keyed for RegistryConfig {
    const LATER: &'static [&'static str] = later::REGISTRY;
}

impl RegistryConfig {
    /// All that is wrong with it.
    pub(super) fn problems(&self) -> Vec<String> {
        let host = &self.host;
        let mut problems = Vec::new();
        if Repository::parse(&format!("{host}/x")).map(|r| r.host() != super::host(host)).unwrap_or(true) {
            problems.push(format!("registries: `{host}` is no host: write it as images do (registry.local:5000)"));
        }
        if self.credentials.is_some() && self.namespaces.is_empty() {
            problems.push(format!(
                "registries: {host}: `credentials` needs `namespaces`: the namespaces (globs) whose workloads they serve"
            ));
        }
        if self.credentials.is_none() && !self.namespaces.is_empty() {
            problems.push(format!("registries: {host}: `namespaces` belongs to `credentials`, and there are none"));
        }
        if let Err(error) = globs(&self.namespaces) {
            problems.push(format!("registries: {host}: namespaces: {error}"));
        }
        if let Some(path) = &self.ca {
            problems.extend(read_text(path).err().map(|error| format!("registries: {host}: ca: {error}")));
        }
        problems
    }
}

/// How many files this process may have open at a time.
pub fn open_files() -> usize {
    /// What there is at least.
    const USUAL: usize = 1024;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    soft.map_or(USUAL, |soft| soft.parse().unwrap_or(usize::MAX))
}
