//! `supercargo plan`: what would change, and why not.

use std::{path::PathBuf, process::ExitCode};

use super::{
    output::{Output, plan_table, print, structured},
    survey::{self, block_on},
};
use crate::{
    config::{ClusterArgs, Config, FileArgs},
    domain::{
        keel::KeelMode,
        report::{Report, Verdict},
    },
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
    /// End with 10 if anything would change
    #[arg(long)]
    exit_code: bool,
    /// What to do with keel.sh annotations
    #[arg(long, value_name = "MODE", default_value = "report", value_parser = crate::config::keel_mode)]
    keel: KeelMode,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    files: FileArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::read(&self.files, &crate::app::sender_names())?;
        let (reports, failed) = block_on(self.reports(&config))?;
        if reports.is_empty() {
            eprintln!("no workload that a policy applies to was found");
        }
        let text = structured(self.output, &reports)?;
        print(&text.unwrap_or_else(|| plan_table(&reports)))?;
        let changes = reports.iter().any(|report| report.decision == Verdict::Update);
        Ok(match (failed, self.exit_code && changes) {
            (true, _) => ExitCode::FAILURE,
            (false, true) => ExitCode::from(10),
            (false, false) => ExitCode::SUCCESS,
        })
    }

    async fn reports(&self, config: &Config) -> anyhow::Result<(Vec<Report>, bool)> {
        let settings = survey::settings(config, self.keel);
        let Some(path) = &self.path else {
            let scope = survey::Scope { namespace: self.namespace.clone(), all: self.all_namespaces, one: None };
            let surveyed = survey::cluster(&self.cluster, scope, config, settings).await?;
            return Ok((surveyed.into_iter().flat_map(|(_, assessment)| assessment.reports).collect(), false));
        };
        let registry = survey::local_registry(config)?;
        let folder = survey::folder(path, &settings, &registry).await?;
        for problem in &folder.problems {
            eprintln!("{problem}");
        }
        let reports = folder.surveyed.into_iter().flat_map(|surveyed| surveyed.assessment.reports).collect();
        Ok((reports, !folder.problems.is_empty()))
    }
}
