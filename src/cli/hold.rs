//! `supercargo hold` and `supercargo resume`: a person stops the changes of a workload, or of all, and lets them go on.

use std::process::ExitCode;

use serde_json::json;

use super::wish::{For, Wish, make};
use crate::config::{ClusterArgs, OperatorArgs};

/// Leave a workload, or all, as it is: nothing is changed or rolled back until somebody resumes it
#[derive(Debug, clap::Args)]
pub(super) struct HoldArgs {
    #[command(flatten)]
    of: Of,
    /// Why, for others: at most 1 KiB
    #[arg(long, value_name = "TEXT", required_if_eq("all", "true"))]
    reason: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Let the updates of a workload, or of all, go on: lifts holds, gates that went with an image, and quarantine
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    #[command(flatten)]
    of: Of,
    /// Leave in quarantine what did not run
    #[arg(long, conflicts_with = "all")]
    keep_quarantine: bool,
    /// Why, for others: at most 1 KiB
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The workload
    #[arg(value_name = "[NS/]KIND/NAME", required_unless_present = "all", conflicts_with = "all")]
    workload: Option<String>,
    /// Its namespace (default: the kubeconfig's)
    #[arg(long, short = 'n', conflicts_with = "all")]
    namespace: Option<String>,
    /// All workloads; what holds one alone goes on holding it
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

impl Of {
    fn which(&self) -> For<'_> {
        match &self.workload {
            Some(workload) => For::One(workload, self.namespace.as_deref()),
            None => For::All(&self.operator.operator_namespace),
        }
    }
}

impl HoldArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let reason = self.reason.as_deref();
        let wish = Wish { field: "hold", value: json!(true), reason, doing: "holding", refused: "not held" };
        make(&self.cluster, &self.of.which(), wish)
    }
}

impl Resume {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (value, reason) = (json!({"keepQuarantine": self.keep_quarantine}), self.reason.as_deref());
        let wish = Wish { field: "resume", value, reason, doing: "resuming", refused: "not resumed" };
        make(&self.cluster, &self.of.which(), wish)
    }
}
