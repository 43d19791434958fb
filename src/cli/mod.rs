//! The commands: one file each.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{config::ConfigError, logging::LoggingError};

mod approve;
mod crds;
mod demo;
mod explain;
mod files;
mod folder;
mod hold;
mod hooks;
mod migrate;
mod notify;
mod once;
mod output;
mod plan;
mod policy;
mod rollback;
mod run;
mod set_image;
mod status;
mod survey;
mod update;
mod wish;

pub use output::tell_error;

/// The exit code of an error: 2 where what was given cannot be used, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let of_input = |cause: &(dyn std::error::Error + 'static)| cause.is::<ConfigError>() || cause.is::<LoggingError>();
    if error.chain().any(of_input) { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Brings new container images to where they run.
#[derive(Debug, Parser)]
#[command(name = "supercargo", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Plan(plan::Args),
    Update(update::Args),
    Explain(explain::Args),
    Status(status::Args),
    Approve(approve::Approve),
    Reject(approve::Reject),
    Rollback(rollback::Args),
    Hold(hold::HoldArgs),
    Resume(hold::Resume),
    #[command(subcommand)]
    Policy(policy::Command),
    #[command(subcommand)]
    Hooks(hooks::Command),
    #[command(subcommand)]
    Notify(notify::Command),
    SetImage(set_image::Args),
    Migrate(migrate::Args),
    Crds(crds::Args),
    Demo(demo::Args),
}

impl Cli {
    /// Runs the command. Its errors are for stderr and exit code 1, unless it answers with a code of its own.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => args.run(),
            Command::Plan(args) => args.run(),
            Command::Update(args) => args.run(),
            Command::Explain(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Approve(args) => args.run(),
            Command::Reject(args) => args.run(),
            Command::Rollback(args) => args.run(),
            Command::Hold(args) => args.run(),
            Command::Resume(args) => args.run(),
            Command::Policy(command) => command.run(),
            Command::Hooks(command) => command.run(),
            Command::Notify(command) => command.run(),
            Command::SetImage(args) => args.run(),
            Command::Migrate(args) => args.run(),
            Command::Crds(args) => args.run(),
            Command::Demo(args) => args.run(),
        }
    }
}
