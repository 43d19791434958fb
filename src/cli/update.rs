//! `supercargo update PATH`: edit manifests in place.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use super::{
    files::{self, ManifestFile, NewText},
    output::{print_file, tell},
    survey::{self, Folder, block_on},
};
use crate::{
    config::FileArgs,
    domain::{keel::KeelMode, reason::Code, report::Verdict},
    manifest::{self, Edit, EditError},
};

/// Edit the manifests of a folder in place and print the difference
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder of manifests, or one file
    path: PathBuf,
    /// Print the difference only
    #[arg(long)]
    dry_run: bool,
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
        let folder = block_on(survey::folder(&self.path, &settings, &registry))?;
        let mut failed = !folder.problems.is_empty();
        if folder.surveyed.is_empty() {
            tell("no workload that a policy applies to was found");
        }
        for problem in folder.problems.iter().chain(&folder.notes) {
            tell(problem);
        }
        for surveyed in &folder.surveyed {
            for row in &surveyed.assessment.reports {
                let suspended = row.reasons.first().is_some_and(|reason| reason.code == Code::Suspended);
                if matches!(row.decision, Verdict::Problem | Verdict::Blocked) && !suspended {
                    failed = true;
                    let reason = row.reasons.first().map(|reason| reason.message.as_str()).unwrap_or_default();
                    let source = &row.workload.source;
                    tell(format!("{source} {} {}: not updated: {reason}", row.workload.id, row.container));
                }
            }
        }
        let (texts, refused) = edited(&folder);
        for error in &refused {
            failed = true;
            tell(error);
        }
        let changed: Vec<NewText<'_>> = texts
            .iter()
            .map(|(&file, new)| NewText { path: &folder.files[file].path, old: &folder.files[file].text, new })
            .collect();
        if !self.dry_run {
            files::write(&changed)?;
        }
        let diffs: String = changed.iter().map(|text| files::diff(text.path, text.old, text.new)).collect();
        print_file(&diffs)?;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The new text of every file that changes, and the files that are left as they are, because an edit of them cannot be
/// made exactly.
pub(super) fn edited(folder: &Folder) -> (BTreeMap<usize, String>, Vec<String>) {
    let mut edits: BTreeMap<usize, Vec<Edit>> = BTreeMap::new();
    for surveyed in &folder.surveyed {
        let Some(plan) = &surveyed.assessment.plan else { continue };
        let found = &folder.files[surveyed.file].manifests.workloads[surveyed.workload];
        for change in &plan.update().changes {
            let places = found.workload.containers.iter().zip(&found.images);
            let places = places.filter(|(c, _)| c.name == change.container && c.init == change.init);
            edits.entry(surveyed.file).or_default().extend(places.map(|(container, image)| Edit {
                place: image.place.clone(),
                old: container.image.to_string(),
                new: change.to.to_string(),
            }));
        }
    }
    let (mut texts, mut refused) = (BTreeMap::new(), Vec::new());
    for (file, edits) in edits {
        let ManifestFile { path, text, .. } = &folder.files[file];
        match manifest::edit(text, &edits) {
            Ok(new) => _ = texts.insert(file, new),
            Err(EditError { line, reason, .. }) => {
                refused.push(format!("{}:{line}: {reason}; the file is left as it is", path.display()));
            }
        }
    }
    (texts, refused)
}
