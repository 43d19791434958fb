//! The `supercargo` command: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use supercargo::{
    cli::{self, Cli},
    domain::text::escape,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // What it quotes may be anybody's; what it lists has lines of its own.
            let text = format!("{error:#}");
            eprintln!("error: {}", text.lines().map(escape).collect::<Vec<_>>().join("\n"));
            cli::exit_code(&error)
        }
    }
}
