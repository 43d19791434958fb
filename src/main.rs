//! The `supercargo` command: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use supercargo::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            cli::tell_error(&error);
            cli::exit_code(&error)
        }
    }
}
