//! The flags of `run`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{ClusterArgs, FileArgs, RepositoryArgs, keel_mode};
use crate::{
    domain::{keel::KeelMode, poll::parse_duration},
    logging,
};

/// All of them.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub files: FileArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented at its type")]
    pub repository: RepositoryArgs,
    /// Watch this namespace only; may be given several times
    #[arg(long = "namespace", short = 'n', value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,
    /// How often to look where no annotation says otherwise
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = interval)]
    pub poll_interval: Duration,
    /// Where webhooks are received
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub hooks_listen: SocketAddr,
    /// The certificate chain (PEM) for webhooks over TLS
    #[arg(long, value_name = "FILE", requires = "hooks_tls_key")]
    pub hooks_tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "hooks_tls_cert")]
    pub hooks_tls_key: Option<PathBuf>,
    /// Take webhooks of this sender without a secret; may be given several times
    #[arg(long, value_name = "SENDER")]
    pub hooks_allow_unsigned: Vec<String>,
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    pub listen: SocketAddr,
    /// Where clones of Git targets are kept; they may vanish at any time
    #[arg(long, value_name = "DIR")]
    pub git_cache: Option<PathBuf>,
    /// Change nothing, report everything
    #[arg(long)]
    pub dry_run: bool,
    /// What to do with keel.sh annotations
    #[arg(long, value_name = "MODE", default_value = "report", value_parser = keel_mode)]
    pub keel: KeelMode,
    /// How logs are written
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: logging::Format,
    /// What is logged: error, warn, info, debug, or a filter such as `supercargo=debug,warn`
    #[arg(long, value_name = "FILTER", default_value = logging::DEFAULT_FILTER)]
    pub log_level: String,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_secs(1) { Err("at least 1s".to_owned()) } else { Ok(interval) }
}
