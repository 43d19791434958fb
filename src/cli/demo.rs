//! `supercargo demo`: the main job on this machine alone.

use std::process::ExitCode;

/// Show the main job offline: an embedded registry, a push, a decision, an exact edit
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
