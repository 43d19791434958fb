//! `supercargo plan`: what would change, and why not.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc};

use jiff::Timestamp;

use super::{
    folder,
    once::HOW,
    output::{Output, plan_table, print_as, tell},
    survey::{self, block_on},
};
use crate::{
    clock::SystemClock,
    config::{ClusterArgs, Config, FileArgs, OperatorArgs},
    domain::{
        keel::KeelMode,
        reason::{Code, Other, Reason},
        report::{Report, Verdict},
    },
    engine::Assessment,
    git::Places,
    ports::Clock,
};

/// Show what would change and why not, for a cluster or a folder of manifests
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder of manifests, or one file; without it the cluster is read
    path: Option<PathBuf>,
    /// Workloads of this namespace (default: the kubeconfig's)
    #[arg(long, short = 'n', conflicts_with_all = ["path", "all_namespaces"])]
    namespace: Option<String>,
    /// Workloads of all namespaces
    #[arg(long, short = 'A', conflicts_with = "path")]
    all_namespaces: bool,
    /// How to print
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    output: Output,
    /// Judge ages, windows and freezes as of then: `2026-12-24T09:00Z`, `…T10:00+01:00` or `…T10:00 Europe/Berlin`
    #[arg(long, value_name = "TIME", value_parser = survey::time)]
    at: Option<Timestamp>,
    /// End with 10 if anything would change
    #[arg(long)]
    exit_code: bool,
    /// End with 1 if anything is blocked or a problem
    #[arg(long)]
    strict: bool,
    /// Name the templates of charts too, which are left alone (JSON and YAML always do)
    #[arg(long, short = 'v', requires = "path")]
    verbose: bool,
    /// What to do with keel.sh annotations
    #[arg(long, value_name = "MODE", default_value = "report", value_parser = crate::config::keel_mode)]
    keel: KeelMode,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    operator: OperatorArgs,
    #[command(flatten)]
    files: FileArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = crate::app::read_files(&self.files)?;
        let (mut reports, left_alone, failed) = block_on(self.reports(&config))?;
        if reports.is_empty() && !failed {
            tell(nothing(left_alone.len(), self.path.is_some()));
        }
        if self.verbose || self.output != Output::Table {
            reports.extend(left_alone);
        }
        print_as(self.output, &reports, |reports| plan_table(reports))?;
        let changes = reports.iter().any(|report| report.decision == Verdict::Update);
        let stuck = |report: &Report| matches!(report.decision, Verdict::Blocked | Verdict::Problem);
        let failed = failed || self.strict && reports.iter().any(stuck);
        Ok(match (failed, self.exit_code && changes) {
            (true, _) => ExitCode::FAILURE,
            (false, true) => ExitCode::from(10),
            (false, false) => ExitCode::SUCCESS,
        })
    }

    /// The rows, those of what is left alone, and whether something could not be read.
    async fn reports(&self, config: &Config) -> anyhow::Result<(Vec<Report>, Vec<Report>, bool)> {
        let settings = survey::settings_at(config, self.keel, self.at);
        let Some(path) = &self.path else {
            let operator = Some(self.operator.operator_namespace.clone());
            let scope =
                survey::Scope { namespace: self.namespace.clone(), all: self.all_namespaces, operator, one: None };
            let surveyed = survey::cluster(&self.cluster, scope, config, settings).await?;
            let mut assessments: Vec<Assessment> = surveyed.into_iter().map(|(_, assessment)| assessment).collect();
            let failed = places(config, &mut assessments).await?;
            let reports = assessments.into_iter().flat_map(|assessment| assessment.reports).collect();
            return Ok((reports, Vec::new(), failed));
        };
        let folder = folder::survey(path, &settings, &survey::local_registry(config)?).await?;
        Ok((folder.reports, folder.templates, folder.is_partial))
    }
}

/// Says for what would be written to Git where that would be. Whether a target could not be read.
async fn places(config: &Config, assessments: &mut [Assessment]) -> anyhow::Result<bool> {
    let mut by_target: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
    for (index, assessment) in assessments.iter().enumerate() {
        let target = assessment.plan.as_ref().and_then(|plan| plan.update().route.target());
        if let Some(target) = target {
            by_target.entry(target.clone()).or_default().push(index);
        }
    }
    if by_target.is_empty() {
        return Ok(false);
    }
    let (folder, clock) = (tempfile::tempdir()?, Arc::new(SystemClock::default()) as Arc<dyn Clock>);
    let targets = crate::app::git_targets(config, folder.path(), &clock, None, None)?;
    let mut failed = false;
    for (name, indices) in by_target {
        let Some((_, target)) = targets.get(&name) else { continue };
        let plans = indices.iter().filter_map(|&index| assessments[index].plan.clone()).collect();
        match target.preview(plans).await {
            Ok(found) => {
                failed |= found.iter().flat_map(|found| found.as_ref().err()).any(is_failure);
                let refused = reasons(&found);
                let shown = format!("Git target {name}");
                tell_others(assessments.iter_mut().flat_map(|assessment| &mut assessment.reports), &refused);
                for (index, found) in indices.into_iter().zip(found) {
                    assessments[index].reports.iter_mut().for_each(|row| show(row, &shown, &found));
                }
            }
            Err(why) => {
                tell(why);
                failed = true;
            }
        }
    }
    Ok(failed)
}

/// What is said where nothing is watched, and so many templates of charts are left alone.
pub(super) fn nothing(templates: usize, in_files: bool) -> String {
    let templates = if templates > 0 { "; templates of charts are left alone: `-v` names them" } else { "" };
    let how = if in_files { format!("; {HOW}") } else { String::new() };
    format!("no workload that a policy applies to was found{templates}{how}")
}

/// Whether a forge could not be asked.
fn is_failure(reason: &Reason) -> bool {
    matches!(reason.code, Code::WriteFailed | Code::GitRefused)
}

/// Why something is not written, of each plan and of what is left out of one.
pub(super) fn reasons(found: &[Result<Places, Reason>]) -> Vec<Reason> {
    let each = found.iter().flat_map(|found| match found {
        Ok(places) => places.left().iter().map(|left| left.reason.clone()).collect(),
        Err(reason) => vec![reason.clone()],
    });
    each.collect()
}

/// Says in the rows of others what stands in the way of an update because of them.
pub(super) fn tell_others<'r>(rows: impl Iterator<Item = &'r mut Report>, reasons: &[Reason]) {
    for row in rows {
        let of_row = reasons.iter().flat_map(|reason| reason.others.iter().map(move |other| (reason.code, other)));
        let is_own = |other: &Other| other.workload == row.workload.id && other.container == row.container;
        let own: Vec<(Code, &Other)> = of_row.filter(|(_, other)| is_own(other)).collect();
        for (code, other) in own {
            let said = Reason::new(code, other.text.clone());
            if !row.reasons.contains(&said) {
                row.reasons.push(said);
            }
        }
    }
}

/// Says in the row of an update where it would be made, in what people call so, or why it would not be.
pub(super) fn show(row: &mut Report, scope: &str, found: &Result<Places, Reason>) {
    if row.decision != Verdict::Update {
        return;
    }
    match found {
        Ok(places) if places.left().iter().any(|left| left.container == row.container) => {
            let own = places.left().iter().find(|left| left.container == row.container);
            row.decision = Verdict::Blocked;
            row.reasons.splice(0..0, own.map(|left| left.reason.clone()));
        }
        Ok(places) => {
            let own: Vec<&str> = places.of(&row.container).collect();
            let besides: String = places.besides(Some(&row.container)).map(|note| format!("; {note}")).collect();
            let message = format!("in the {scope}: {}{besides}", own.join(", "));
            row.reasons.insert(1.min(row.reasons.len()), Reason::new(Code::GitEdit, message));
        }
        Err(reason) => {
            row.decision = if reason.code == Code::WriteFailed { Verdict::Problem } else { Verdict::Blocked };
            row.reasons.insert(0, reason.clone());
        }
    }
}
