//! `supercargo explain`: one decision in full.

use std::{
    collections::HashMap,
    io::{Read as _, stdin},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use serde::Serialize;

use super::output::{Output, print, structured, table, verdict};
use crate::{
    config,
    domain::{
        annotations::globs,
        decide::{Current, Decision, Listing, decide},
        image::Tag,
        policy::{FlavourOption, Options, Order, Policy, PolicyError, PrereleaseOption},
        reason::Reason,
        report::Verdict,
    },
};

/// The longest list of tags that is read.
const MAX_TAGS: u64 = 64 << 20;

/// Explain the decision for one workload, or for a list of tags
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The workload
    #[arg(value_name = "[NS/]KIND/NAME", required_unless_present = "policy", conflicts_with = "policy")]
    workload: Option<String>,
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
    /// A folder of policy files, for `named:` policies
    #[arg(long, value_name = "DIR", requires = "policy", help_heading = "Without a cluster")]
    policies: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(workload) = self.workload {
            anyhow::bail!(
                "`{workload}`: workloads of a cluster cannot be explained yet; use --policy, --current and --tags"
            );
        }
        match self.offline.explain()? {
            Ok(explanation) => {
                let text = structured(self.output, &explanation)?.unwrap_or_else(|| explanation.to_text());
                print(&text)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                eprintln!("error: {error}");
                Ok(ExitCode::from(2))
            }
        }
    }
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
    fn explain(self) -> anyhow::Result<Result<Explanation, PolicyError>> {
        let options = Options {
            prerelease: self.prerelease,
            flavour: self.flavour,
            order: self.order,
            allow: self.allow.as_deref().map(Arc::from),
            ignore: self.ignore.as_deref().map(globs),
            allow_downgrade: self.allow_downgrade.then_some(true),
        };
        let named = config::policies(self.policies.as_deref())?;
        let policy = match Policy::parse(&self.policy.unwrap_or_default(), &options, &named) {
            Ok(policy) => policy,
            Err(error) => return Ok(Err(error)),
        };
        let tags = read_tags(self.tags.as_deref().unwrap_or(Path::new("-")))?;
        let current = Current { tag: self.current.as_ref(), digest: None };
        let decision = decide(&policy, current, &Listing::new(&tags), &HashMap::new());
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
        let or_dash = |tag: &Option<Tag>| tag.as_ref().map_or_else(|| "-".to_owned(), Tag::to_string);
        let mut text = table(
            [
                ["policy".to_owned(), self.policy.to_string()],
                ["current".to_owned(), or_dash(&self.current)],
                ["decision".to_owned(), verdict(self.decision).to_owned()],
                ["to".to_owned(), or_dash(&self.to)],
            ]
            .into_iter(),
        );
        text.push('\n');
        let head = ["TAG", "CODE", "MESSAGE"].map(str::to_owned);
        let row = |reason: &Reason| [or_dash(&reason.tag), reason.code.to_string(), reason.message.clone()];
        text.push_str(&table(std::iter::once(head).chain(self.reasons.iter().map(row))));
        text
    }
}

/// Reads tags, one a line. Blank lines and what no registry would have are passed over, the latter with a note.
fn read_tags(path: &Path) -> anyhow::Result<Vec<Tag>> {
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| path.display().to_string())?)
    };
    source.take(MAX_TAGS).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (mut tags, mut dropped) = (Vec::new(), 0);
    for line in lines {
        match Tag::parse(line) {
            Ok(tag) => tags.push(tag),
            Err(_) => dropped += 1,
        }
    }
    match dropped {
        0 => {}
        1 => eprintln!("note: 1 line is no tag and is left out"),
        _ => eprintln!("note: {dropped} lines are no tags and are left out"),
    }
    Ok(tags)
}
