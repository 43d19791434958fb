//! `supercargo explain`: one decision in full.

use std::{
    collections::HashMap,
    io::{Read as _, stdin},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    folder,
    output::{Output, dash, decision, print_as, refuse, table, tell},
    survey::{self, block_on, parse_workload},
};
use crate::{
    config::{self, ClusterArgs, Config, ConfigError, FileArgs, OperatorArgs},
    domain::{
        annotations::globs,
        decide::{Current, Decision, Listing, decide},
        image::Tag,
        keel::KeelMode,
        policy::{FlavourOption, NamedPolicies, Options, Order, Policy, PolicyError, PrereleaseOption},
        poll::show_duration,
        reason::Reason,
        report::{GateRow, Report, Verdict},
        tags::{Collector, Tags},
        workload::{KindSpec, WorkloadId},
    },
    engine::Settings,
};

/// The longest list of tags that is read.
const MAX_TAGS: u64 = 64 << 20;

/// Explain the decision for one workload, or for a list of tags
#[derive(Debug, clap::Args)]
#[command(override_usage = "supercargo explain [OPTIONS] [NS/]KIND/NAME\n       \
                            supercargo explain [OPTIONS] -f FILE [[NS/]KIND/NAME]\n       \
                            supercargo explain [OPTIONS] --policy POLICY [--current TAG] --tags FILE")]
pub(super) struct Args {
    /// The workload
    #[arg(value_name = "[NS/]KIND/NAME", required_unless_present_any = ["policy", "file"], conflicts_with = "policy")]
    workload: Option<String>,
    /// A file of manifests, or a folder of them, in place of a cluster
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "policy")]
    file: Option<PathBuf>,
    /// Its namespace, where it does not stand before the kind (default: the kubeconfig's)
    #[arg(long, short = 'n', requires = "workload")]
    namespace: Option<String>,
    /// Judge ages, windows and freezes as of then: `2026-12-24T09:00Z`, `…T10:00+01:00` or `…T10:00 Europe/Berlin`
    #[arg(long, value_name = "TIME", value_parser = survey::time, conflicts_with = "policy")]
    at: Option<Timestamp>,
    /// What to do with keel.sh annotations
    #[arg(long, value_name = "MODE", default_value = "report", value_parser = config::keel_mode)]
    keel: KeelMode,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    operator: OperatorArgs,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    offline: Offline,
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// A question that needs neither cluster nor registry.
#[derive(Debug, clap::Args)]
struct Offline {
    /// The policy, as in the annotation
    #[arg(long, requires = "tags", help_heading = "Without a cluster")]
    policy: Option<String>,
    /// The tag that runs; absent: the image has none
    #[arg(long, value_name = "TAG", requires = "policy", help_heading = "Without a cluster")]
    current: Option<Tag>,
    /// The tags of the repository, one a line; `-` is stdin
    #[arg(long, value_name = "FILE", requires = "policy", help_heading = "Without a cluster")]
    tags: Option<PathBuf>,
    /// `same`, `allow` or `never`
    #[arg(long, requires = "policy", help_heading = "Without a cluster")]
    prerelease: Option<PrereleaseOption>,
    /// A flavour, or `any`
    #[arg(long, alias = "flavor", requires = "policy", help_heading = "Without a cluster")]
    flavour: Option<FlavourOption>,
    /// `natural`, `alphabetical`, `numeric` or `semver`
    #[arg(long, requires = "policy", help_heading = "Without a cluster")]
    order: Option<Order>,
    /// A regex that a tag must match as a whole
    #[arg(long, value_name = "REGEX", requires = "policy", help_heading = "Without a cluster")]
    allow: Option<String>,
    /// Globs of tags to leave out, comma-separated
    #[arg(long, value_name = "GLOBS", requires = "policy", help_heading = "Without a cluster")]
    ignore: Option<String>,
    /// Take a lower version if it is the best
    #[arg(long, requires = "policy", help_heading = "Without a cluster")]
    allow_downgrade: bool,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = crate::app::read_files(&self.files)?;
        if self.workload.is_some() || self.file.is_some() {
            let reports = block_on(self.reports(&config))?;
            let text = |reports: &Vec<Report>| reports.iter().map(report_text).collect::<Vec<_>>().join("\n");
            print_as(self.output, &reports, text)?;
            return Ok(ExitCode::SUCCESS);
        }
        match self.offline.explain(&config.named)? {
            Ok(explanation) => {
                print_as(self.output, &explanation, Explanation::to_text)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Ok(refuse(error)),
        }
    }

    /// Each container of what is asked for, with one look at its repositories; never none.
    async fn reports(&self, config: &Config) -> anyhow::Result<Vec<Report>> {
        let one = self.workload.as_deref().map(parse_workload).transpose()?;
        let settings = Settings { show_gates: true, ..survey::settings_at(config, self.keel, self.at) };
        let reports = match (&self.file, one) {
            (None, None) => Vec::new(),
            (None, Some((namespace, kind, name))) => {
                let namespace = namespace.map(str::to_owned).or_else(|| self.namespace.clone());
                let operator = Some(self.operator.operator_namespace.clone());
                let scope = survey::Scope { namespace, all: false, operator, one: Some((kind, name.to_owned())) };
                let surveyed = survey::cluster(&self.cluster, scope, config, settings).await?;
                surveyed.into_iter().flat_map(|(_, assessment)| assessment.reports).collect()
            }
            (Some(file), one) => self.of_file(file, one, config, &settings).await?,
        };
        if reports.is_empty() {
            let what = self.workload.as_deref().unwrap_or("what the file holds");
            anyhow::bail!("no policy applies to {what}: put supercargo.dev/policy on the workload or on its Namespace");
        }
        Ok(reports)
    }

    /// The same of the manifests of a file.
    async fn of_file(
        &self,
        file: &Path,
        one: Option<(Option<&str>, &'static KindSpec, &str)>,
        config: &Config,
        settings: &Settings,
    ) -> anyhow::Result<Vec<Report>> {
        let is_asked = |id: &WorkloadId| {
            one.is_none_or(|(namespace, kind, name)| {
                let namespace = namespace.or(self.namespace.as_deref());
                id.kind == kind.kind && *id.name == *name && namespace.is_none_or(|n| *id.namespace == *n)
            })
        };
        let folder = folder::survey(file, settings, &survey::local_registry(config)?).await?;
        if !folder.workloads.iter().any(is_asked) {
            let what = self.workload.as_deref().unwrap_or("no workload");
            let unread = if !folder.is_partial { "" } else { ", or could not be read (see above)" };
            match self.workload {
                Some(_) => anyhow::bail!("{what} is not in {}{unread}", file.display()),
                None => anyhow::bail!("{what} is in {}{unread}; the kinds are {}", file.display(), KindSpec::all()),
            }
        }
        Ok(folder.reports.into_iter().filter(|row| is_asked(&row.workload.id)).collect())
    }
}

/// One container: a head of a few lines, then its reasons.
fn report_text(report: &Report) -> String {
    let line = |name: &str, value: String| [name.to_owned(), value];
    let head = [
        line("workload", report.workload.id.to_string()),
        line("container", report.container.to_string()),
        line("image", report.image.to_string()),
        line("policy", report.policy.to_string()),
        line("decision", decision(report).to_owned()),
        line("to", or_dash(report.to.as_ref())),
        line("to image", report.to_image.clone().unwrap_or_else(|| "-".to_owned())),
    ];
    let gates = if report.gates.is_empty() { String::new() } else { gates_table(&report.gates) + "\n" };
    format!("{}\n{gates}{}", table(head.into_iter()), reasons_table(&report.reasons))
}

fn gates_table(gates: &[GateRow]) -> String {
    let head = ["GATE", "STATE", "OPENS", "SET BY"].map(str::to_owned);
    let row = |row: &GateRow| {
        let state = if row.open { "open" } else { "closed" };
        let opens = row.opens.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        [row.gate.to_owned(), state.to_owned(), opens, dash(&row.by.join(", "))]
    };
    table(std::iter::once(head).chain(gates.iter().map(row)))
}

fn reasons_table(reasons: &[Reason]) -> String {
    let head = ["TAG", "CODE", "MESSAGE"].map(str::to_owned);
    let row = |reason: &Reason| [or_dash(reason.tag.as_ref()), reason.code.to_string(), reason.message.clone()];
    table(std::iter::once(head).chain(reasons.iter().map(row)))
}

fn or_dash(tag: Option<&Tag>) -> String {
    tag.map_or_else(|| "-".to_owned(), Tag::to_string)
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Explanation {
    policy: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Tag>,
    decision: Verdict,
    to: Option<Tag>,
    reasons: Vec<Reason>,
}

impl Offline {
    /// The decision, or what is wrong with the policy.
    fn explain(self, named: &NamedPolicies) -> anyhow::Result<Result<Explanation, PolicyError>> {
        let options = Options {
            prerelease: self.prerelease,
            flavour: self.flavour,
            order: self.order,
            allow: self.allow.iter().map(|regex| Arc::from(regex.as_str())).collect(),
            ignore: self.ignore.as_deref().map(globs),
            allow_downgrade: self.allow_downgrade.then_some(true),
        };
        // Trimmed, as the annotation is.
        let policy = match Policy::parse(self.policy.unwrap_or_default().trim(), &options, named) {
            Ok(policy) => policy,
            Err(error) => return Ok(Err(error)),
        };
        let needs = policy.needs();
        if needs.times || needs.digest_of_current {
            let what = if needs.times { "when tags were pushed" } else { "what a tag points to" };
            let message =
                format!("`{policy}` asks the registry {what}, and a list of tags does not say: explain a workload");
            return Ok(Err(PolicyError(message)));
        }
        if let Some(min_age) = named.gates(policy.as_str()).and_then(|gates| gates.min_age) {
            tell(format!(
                "note: of a list of tags nobody knows how old they are: `minAge: {}` of `{policy}` is left aside",
                show_duration(min_age)
            ));
        }
        let tags = read_tags(self.tags.as_deref().unwrap_or(Path::new("-")))?;
        let current = Current { tag: self.current.as_ref(), digest: None };
        let decision = decide(&policy, current, &Listing::new(tags), &HashMap::new());
        Ok(Ok(Explanation::new(policy.as_str().into(), self.current, decision)))
    }
}

impl Explanation {
    fn new(policy: Arc<str>, current: Option<Tag>, decision: Decision) -> Self {
        let verdict = match decision.choice() {
            Some(_) => Verdict::Update,
            None if decision.problem.is_some() => Verdict::Problem,
            None => Verdict::UpToDate,
        };
        let to = decision.choice().map(|target| target.tag.clone());
        Self { policy, current, decision: verdict, to, reasons: decision.reasons }
    }

    /// A head of a few lines, then a line for each tag, the choice first.
    fn to_text(&self) -> String {
        let mut text = table(
            [
                ["policy".to_owned(), self.policy.to_string()],
                ["current".to_owned(), or_dash(self.current.as_ref())],
                ["decision".to_owned(), self.decision.as_str().to_owned()],
                ["to".to_owned(), or_dash(self.to.as_ref())],
            ]
            .into_iter(),
        );
        text.push('\n');
        text.push_str(&reasons_table(&self.reasons));
        text
    }
}

/// Reads tags, one a line. Blank lines and what no registry would have are passed over, the latter with a note.
fn read_tags(path: &Path) -> anyhow::Result<Tags> {
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(stdin())
    } else {
        let cannot = |error| ConfigError::one(format!("{} cannot be read: {error}", path.display()));
        Box::new(std::fs::File::open(path).map_err(cannot)?)
    };
    source.take(MAX_TAGS).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut tags = Collector::default();
    let dropped = lines.filter(|line| !tags.push(line)).count();
    match dropped {
        0 => {}
        1 => tell("note: 1 line is no tag and is left out"),
        _ => tell(format!("note: {dropped} lines are no tags and are left out")),
    }
    Ok(tags.finish())
}
