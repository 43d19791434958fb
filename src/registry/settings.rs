//! What the operator configures about registries.

use std::{path::PathBuf, time::Duration};

use crate::net::{ClientError, Timeouts};

/// Everything that a [`Client`](super::Client) is told when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// The registries that the configuration names.
    pub hosts: Vec<HostSettings>,
    /// The operator's own docker config file, for every host it names. It may be absent. Read again at each use.
    pub docker_config: Option<PathBuf>,
    /// Whether this runs in a cluster. Then no loopback, link-local or metadata address is connected to unless its
    /// host is in `hosts`, and plain HTTP is spoken only where `insecure` says so; elsewhere a loopback registry is
    /// spoken to over plain HTTP, as Docker does.
    pub in_cluster: bool,
    /// Whether addresses of private networks are connected to where `hosts` does not name the host.
    pub private_addresses: bool,
    /// How many connections there may be at a time.
    pub connections: usize,
    /// How long a request may take.
    pub timeouts: Timeouts,
    /// How long all pages of a tag list may take.
    pub listing: Duration,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            docker_config: None,
            in_cluster: false,
            private_addresses: true,
            connections: 512,
            timeouts: Timeouts { request: Duration::from_secs(60), ..Timeouts::default() },
            listing: Duration::from_secs(300),
        }
    }
}

/// One registry of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// The host as images write it, with its port if they write one: `ghcr.io`, `registry.local:5000`, `docker.io`.
    pub host: String,
    /// Speak plain HTTP.
    pub insecure: bool,
    /// Certificates (PEM) trusted for this host beside those of the system.
    pub ca: Option<Vec<u8>>,
    /// A docker config file whose entries for this host are the operator's. Read again at each use.
    pub credentials_file: Option<PathBuf>,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A host that cannot stand in a URL.
    #[error("registries: `{0}` is no host: write it as images do, without scheme and path (registry.local:5000)")]
    Host(String),
    /// A host that is named twice.
    #[error("registries: `{0}` is named twice")]
    Twice(String),
    /// Certificates that do not parse.
    #[error("registries: the `ca` of `{0}` holds no PEM certificate that can be read")]
    Ca(String),
    /// The TLS library refused.
    #[error(transparent)]
    Tls(#[from] ClientError),
}
