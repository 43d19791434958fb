//! `supercargo rollback`: a person's wish that a workload runs again what it ran before.

use std::process::ExitCode;

use serde_json::json;

use super::wish::{For, Wish, make};
use crate::config::ClusterArgs;

/// Put a workload back to what it ran before; what it leaves is not set again before a newer one
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The workload
    #[arg(value_name = "[NS/]KIND/NAME")]
    workload: String,
    /// Its namespace (default: the kubeconfig's)
    #[arg(long, short = 'n')]
    namespace: Option<String>,
    /// To what that update set, which had succeeded (default: what was last known to run)
    #[arg(long, value_name = "UPDATE")]
    to: Option<String>,
    /// Why, for others: at most 1 KiB
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // An empty map would be taken for none.
        let (value, reason) = (json!({"to": self.to.as_deref().unwrap_or_default()}), self.reason.as_deref());
        let wish = Wish { field: "rollback", value, reason, doing: "rolling back", refused: "not rolled back" };
        make(&self.cluster, &For::One(&self.workload, self.namespace.as_deref()), wish)
    }
}
