//! `registries`: how single registries are reached, and as whom.

use std::path::PathBuf;

use serde::Deserialize;

use super::{globs, read_text};
use crate::domain::image::Repository;

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
