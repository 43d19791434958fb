//! `supercargo plan`: what would change, and why not.

use std::process::ExitCode;

/// Show what would change and why not, for a cluster or a folder of manifests
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
