//! `supercargo policy test`: run vector files and the examples of policy files.

use std::process::ExitCode;

/// Work with policies
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Run vector files and the examples of policy files
    Test {},
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
