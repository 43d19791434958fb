//! What the configuration and the environment say of webhooks.

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::{host, registry::shown_host, variable, variable_names};
use crate::domain::image::Repository;

/// One sender of `hooks`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HookConfig {
    /// Files with a secret each, or two on two lines; two at a time in all, for rotation.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
    /// The registry of events that name none.
    pub host: Option<String>,
    /// From the registry that an event names to the one that images name.
    #[serde(default)]
    pub hosts: BTreeMap<String, String>,
    /// What the environment gives: a secret, or two on two lines.
    #[serde(skip)]
    pub given: Option<SecretString>,
}

impl HookConfig {
    /// What is wrong with it. Hosts are afterwards as [`Repository::host`] has them.
    pub(super) fn check(&mut self, sender: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if self.secret_files.len() > 2 {
            problems.push(format!("hooks: {sender}: at most two secretFiles, the new one and the old one"));
        }
        let given = self.host.iter().map(|host| ("host", host));
        let given = given.chain(self.hosts.iter().flat_map(|(from, to)| [("hosts", from), ("hosts", to)]));
        problems.extend(given.filter(|(_, host)| !is_host(host)).map(|(key, host)| {
            let host = shown_host(host);
            format!("hooks: {sender}: {key}: `{host}` is no host of an image: write it as `registry.example.com:5000`")
        }));
        self.hosts = self.hosts.iter().map(|(from, to)| (host(from), host(to))).collect();
        problems
    }
}

/// Whether an image can name that host.
fn is_host(text: &str) -> bool {
    let host = host(text);
    let is_read_as_host = host == "localhost" || host.contains(['.', ':']);
    is_read_as_host && Repository::parse(&format!("{host}/x")).is_ok_and(|found| found.host() == host)
}

/// The variable with a sender's secrets.
pub fn hook_variable(sender: &str) -> String {
    format!("SUPERCARGO_HOOK_SECRET_{}", sender.to_ascii_uppercase())
}

/// What [`hook_variable`] holds.
pub(super) fn hook_secret(sender: &str) -> Option<SecretString> {
    variable(&hook_variable(sender)).map(SecretString::from)
}

/// Variables that look like a sender's and are of none of these.
pub fn stray_variables(senders: &[&str]) -> Vec<String> {
    let known: Vec<String> = senders.iter().map(|sender| hook_variable(sender)).collect();
    variable_names().filter(|name| name.starts_with(&hook_variable("")) && !known.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("registry.example.com", true)]
    #[case("Registry.example.com:5000", true)]
    #[case("localhost", true)]
    #[case("localhost:5000", true)]
    #[case("index.docker.io", true)]
    #[case("registry", false)]
    #[case("https://r.io", false)]
    #[case("r.io/team", false)]
    #[case("r.io:x", false)]
    #[case("", false)]
    fn a_host_is_what_an_image_can_name(#[case] text: &str, #[case] good: bool) {
        let mut both = HookConfig { host: Some(text.to_owned()), ..HookConfig::default() };
        assert_eq!(both.check("gitea").is_empty(), good);
        for (from, to) in [(text, "r.io"), ("r.io", text)] {
            let mut hook = HookConfig { hosts: [(from.to_owned(), to.to_owned())].into(), ..HookConfig::default() };
            let problems = hook.check("gitea");
            assert_eq!(problems.is_empty(), good, "{problems:?}");
        }
    }

    #[test]
    fn hosts_are_known_by_one_spelling() {
        let hosts = [("Index.docker.io".to_owned(), "Mirror.example.com".to_owned())].into();
        let mut hook = HookConfig { hosts, ..HookConfig::default() };
        assert_eq!(hook.check("dockerhub"), [""; 0]);
        assert_eq!(hook.hosts, [("docker.io".to_owned(), "mirror.example.com".to_owned())].into());
    }
}
