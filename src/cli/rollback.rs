//! `supercargo rollback`: a person's wish that a workload runs again what it ran before.

use std::{process::ExitCode, sync::Arc, time::Duration};

use serde_json::json;

use super::{
    output::{print, tell},
    survey::{block_on, client, parse_workload},
};
use crate::{
    clock::SystemClock,
    cluster::Voter,
    config::ClusterArgs,
    domain::{text::escape, workload::WorkloadId},
    ports::Clock,
};

/// How long is waited until the wish is taken up.
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_millis(250);

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
        block_on(self.wish())
    }

    async fn wish(self) -> anyhow::Result<ExitCode> {
        let (namespace, kind, name) = parse_workload(&self.workload)?;
        let client = client(&self.cluster).await?;
        let namespace = namespace.or(self.namespace.as_deref()).unwrap_or(client.default_namespace());
        let id = WorkloadId { kind: kind.kind.clone(), namespace: namespace.into(), name: name.into() };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let voter = Voter::new(client, clock.clone());
        // An empty map would be taken for none.
        let rollback = json!({"to": self.to.as_deref().unwrap_or_default()});
        let mut spec = json!({"by": voter.name().await?, "at": clock.now(), "rollback": rollback});
        if let Some(reason) = &self.reason {
            spec["reason"] = json!(reason);
        }
        let made = voter.wish(&id, spec).await?;
        let end = clock.monotonic() + PATIENCE;
        while clock.monotonic() < end {
            match voter.answer(&id, &made).await? {
                Some((true, what)) => {
                    print(&format!("rolling back {id}: {}\n", escape(&what)))?;
                    return Ok(ExitCode::SUCCESS);
                }
                Some((false, why)) => anyhow::bail!("{id} is not rolled back: {}", escape(&why)),
                None => clock.sleep_until(clock.monotonic() + BETWEEN).await,
            }
        }
        tell(format!(
            "the wish is made, and has not been taken up yet: does supercargo run? `supercargo status {id}` shows when"
        ));
        Ok(ExitCode::SUCCESS)
    }
}
