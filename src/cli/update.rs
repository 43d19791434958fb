//! `supercargo update PATH`: edit manifests in place.

use std::{path::PathBuf, process::ExitCode};

use super::{
    files, folder,
    output::{print_file, tell},
    plan::nothing,
    survey::{self, block_on},
};
use crate::{
    config::FileArgs,
    domain::{
        keel::KeelMode,
        reason::Code,
        report::{Report, ReportWorkload, Verdict},
    },
};

/// Edit the manifests of a folder in place and print the difference
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder of manifests, or one file
    path: PathBuf,
    /// Print the difference only
    #[arg(long)]
    dry_run: bool,
    /// Name the templates of charts too, which are left alone
    #[arg(long, short = 'v')]
    verbose: bool,
    /// What to do with keel.sh annotations
    #[arg(long, value_name = "MODE", default_value = "report", value_parser = crate::config::keel_mode)]
    keel: KeelMode,
    #[command(flatten)]
    files: FileArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = crate::app::read_files(&self.files)?;
        let settings = survey::settings(&config, self.keel);
        let registry = survey::local_registry(&config)?;
        let folder = block_on(folder::survey(&self.path, &settings, &registry))?;
        let mut failed = folder.is_partial;
        let is_watched = |row: &Report| row.reasons.first().is_none_or(|reason| reason.code != Code::NotWatched);
        if !failed && !folder.reports.iter().any(is_watched) {
            tell(nothing(folder.templates.len(), true));
        }
        let reason = |row: &Report| row.reasons.first().map(|reason| reason.message.clone()).unwrap_or_default();
        for row in folder.templates.iter().filter(|_| self.verbose) {
            tell(format!("{}: {}", row.workload.source, reason(row)));
        }
        for row in folder.reports.iter().filter(|row| survey::is_failure(row)) {
            failed = true;
            let ReportWorkload { id, source } = &row.workload;
            let why = match row.decision {
                Verdict::Problem => row.reasons.iter().map(|reason| &*reason.message).collect::<Vec<_>>().join("; "),
                _ => reason(row),
            };
            tell(format!("{source} {id} {}: not updated: {why}", row.container));
        }
        for row in folder.reports.iter().filter(|row| row.decision == Verdict::Waiting) {
            let (ReportWorkload { id, source }, to) = (&row.workload, row.to.as_ref());
            let to = to.map(|to| format!("{to} ")).unwrap_or_default();
            tell(format!("{source} {id} {}: {to}waits: {}", row.container, reason(row)));
        }
        let changed = folder.edited();
        if !self.dry_run {
            files::write(&changed)?;
        }
        let diffs: String = changed.iter().map(|text| files::diff(text.path, text.old, text.new)).collect();
        print_file(&diffs)?;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
