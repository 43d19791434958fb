//! `supercargo run`: the operator, in or for a cluster, or on a repository alone.

use std::process::ExitCode;

use super::{once::once, survey::block_on};
use crate::{app, config::RunArgs};

/// Run the operator in or for a cluster, or with --git on a repository alone
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    run: RunArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.run.repository.once { block_on(once(&self.run)) } else { block_on(app::run(self.run)) }
    }
}
