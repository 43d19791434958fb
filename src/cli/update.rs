//! `supercargo update PATH`: edit manifests in place.

use std::process::ExitCode;

/// Edit the manifests of a folder in place and print the difference
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
