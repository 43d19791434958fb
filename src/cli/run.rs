//! `supercargo run`: the operator.

use std::process::ExitCode;

use super::survey::block_on;
use crate::{app, config::RunArgs};

/// Run the operator in or for a cluster
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    run: RunArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(app::run(self.run))
    }
}
