//! `supercargo set-image`: one exact edit.

use std::process::ExitCode;

/// Set an image, or one named scalar, in a file and print the edited file
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::bail!("not built yet")
    }
}
