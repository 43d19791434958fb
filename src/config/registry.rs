//! `registries` and `privateAddresses`: how registries are reached, and as whom.

use std::path::PathBuf;

use serde::Deserialize;

use super::{globs, read_text};
use crate::domain::{
    image::{Repository, excerpt},
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
    pub fn problems(&self) -> Vec<String> {
        let host = self.shown();
        let mut problems = Vec::new();
        if !is_host(&self.host) {
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

    /// The host, to be told.
    pub(super) fn shown(&self) -> String {
        shown_host(&self.host)
    }
}

/// A host, to be told. What is none may hold a password, which is left out.
pub(super) fn shown_host(host: &str) -> String {
    if is_host(host) {
        return host.to_owned();
    }
    let (scheme, rest) = host.split_once("://").map_or((None, host), |(scheme, rest)| (Some(scheme), rest));
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("…@", rest));
    let bare = rest.split(['?', '#']).next().unwrap_or_default();
    let port = bare.split_once(':').map(|(_, port)| port.split('/').next().unwrap_or_default());
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let bare = if is_port { bare } else { bare.split(':').next().unwrap_or_default() };
    let scheme = scheme.filter(|scheme| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let scheme = scheme.map(|scheme| format!("{scheme}://")).unwrap_or_default();
    excerpt(&format!("{scheme}{user}{bare}{}", if bare == rest { "" } else { "…" }))
}

/// Whether images can be of this host.
fn is_host(host: &str) -> bool {
    Repository::parse(&format!("{host}/x")).is_ok_and(|repository| repository.host() == super::host(host))
}

/// How many files this process may have open at a time.
pub fn open_files() -> usize {
    /// What there is at least.
    const USUAL: usize = 1024;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    soft.map_or(USUAL, |soft| soft.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("registry.local:5000", "registry.local:5000")]
    #[case("https://r.io", "https://r.io")]
    #[case("r.io/team", "r.io/team")]
    #[case("bot:geheim@r.io", "…@r.io")]
    #[case("https://geheim@r.io:5000", "https://…@r.io:5000")]
    #[case("https://bot:ge/h@eim@r.io/x", "https://…@r.io/x")]
    #[case("https://r.io?token=geheim", "https://r.io…")]
    #[case("bot:geheim", "bot…")]
    #[case("bot:geheim://r.io", "r.io")]
    fn a_host_is_shown_without_a_password(#[case] host: &str, #[case] shown: &str) {
        let registry: RegistryConfig = serde_saphyr::from_str(&format!("host: '{host}'")).unwrap();
        assert_eq!(registry.shown(), shown);
    }
}
