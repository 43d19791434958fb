//! `supercargo crds`: the definitions of the records.

use std::process::ExitCode;

use super::output::print_file;

const DEFINITIONS: [&str; 4] = [
    include_str!("../../deploy/crds/imageupdates.yaml"),
    include_str!("../../deploy/crds/imageupdatereviews.yaml"),
    include_str!("../../deploy/crds/imagestates.yaml"),
    include_str!("../../deploy/crds/imagehistories.yaml"),
];

/// Print the custom resource definitions, for `kubectl apply --server-side -f -`
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        print_file(&DEFINITIONS.join("---\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
