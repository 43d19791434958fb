//! `supercargo explain`: one decision in full.

use std::process::ExitCode;

/// Explain the decision for one workload, or for a list of tags
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
