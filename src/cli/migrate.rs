//! `supercargo migrate`: from Keel.

use std::process::ExitCode;

/// Say what to write instead of keel.sh annotations
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
