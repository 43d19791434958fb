//! `supercargo run`: the operator, in or for a cluster, or on a repository alone.

use std::process::ExitCode;

use super::{
    once::once,
    output::{print_file, tell},
    survey::block_on,
};
use crate::{app, config::RunArgs};

/// Run the operator in or for a cluster, or with --git on a repository alone
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Print `ok`, or every problem of flags, environment and files, and end with 0 or 2; nothing is started, nobody asked
    #[arg(long)]
    check: bool,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.check {
            return check(&self.run);
        }
        if self.run.repository.once { block_on(once(&self.run)) } else { block_on(app::run(self.run)) }
    }
}

fn check(args: &RunArgs) -> anyhow::Result<ExitCode> {
    for note in block_on(async { Ok(app::check(args).await?) })? {
        tell(format!("note: {note}"));
    }
    print_file("ok\n")?;
    Ok(ExitCode::SUCCESS)
}
