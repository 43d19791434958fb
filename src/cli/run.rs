//! `supercargo run`: the operator.

use std::process::ExitCode;

/// Run the operator in or for a cluster
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
