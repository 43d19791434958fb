//! `supercargo approve` and `supercargo reject`: a person's vote on an update that waits for it.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;

use super::{
    output::{print, refuse, tell},
    survey::{block_on, client, parse_workload},
};
use crate::{
    clock::SystemClock,
    cluster::{NewVote, OnBallot, Voter},
    config::ClusterArgs,
    domain::{
        text::escape,
        update::{Item, Phase, PhaseName},
        votes::{Approval, Verb},
        workload::WorkloadId,
    },
    ports::Clock,
};

/// How long is waited until the vote is counted.
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_millis(250);

/// Approve the update of a workload that waits for approval
#[derive(Debug, clap::Args)]
pub(super) struct Approve {
    #[command(flatten)]
    vote: Vote,
    /// Let the update start outside its windows and during a freeze, but for those of guards; needs --reason
    #[arg(long, value_enum, value_name = "WHAT", requires = "reason")]
    r#override: Option<Override>,
}

/// Reject the update of a workload that waits for approval: it is not asked for again before a newer one
#[derive(Debug, clap::Args)]
pub(super) struct Reject {
    #[command(flatten)]
    vote: Vote,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Override {
    Window,
}

#[derive(Debug, clap::Args)]
struct Vote {
    /// The workload
    #[arg(value_name = "[NS/]KIND/NAME")]
    workload: String,
    /// Its namespace (default: the kubeconfig's)
    #[arg(long, short = 'n')]
    namespace: Option<String>,
    /// Why, for others: at most 1 KiB
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Approve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let overrides = self.r#override.is_some();
        block_on(self.vote.run(Verb::Approve, overrides))
    }
}

impl Reject {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(self.vote.run(Verb::Reject, false))
    }
}

impl Vote {
    async fn run(self, verb: Verb, overrides: bool) -> anyhow::Result<ExitCode> {
        let (namespace, kind, name) = parse_workload(&self.workload)?;
        if !self.yes && !std::io::stdin().is_terminal() {
            return Ok(refuse(format!("whether you mean it cannot be asked here: say --yes to {verb}")));
        }
        let client = client(&self.cluster).await?;
        let namespace = namespace.or(self.namespace.as_deref()).unwrap_or(client.default_namespace());
        let id = WorkloadId { kind: kind.kind.clone(), namespace: namespace.into(), name: name.into() };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let voter = Voter::new(client, clock.clone());
        let me = voter.name().await?;
        let ballots = voter.ballots(&id).await?;
        let Some((on, approval)) = ballots.iter().find_map(|on| Some((on, on.tracked.asked()?))) else {
            anyhow::bail!("{}", nothing(&id, &ballots));
        };
        if approval.unsure {
            let why = on.tracked.reason().map(|reason| reason.message.clone()).unwrap_or_default();
            anyhow::bail!("no vote on {id} would count now: {why}");
        }
        print(&shown(&id, on, approval))?;
        let has_said = |other: &&crate::domain::votes::Vote| {
            *other.by == *me && other.verb == verb && (other.overrides || !overrides)
        };
        if approval.votes.iter().any(|vote| has_said(&vote)) {
            print(&format!("{me} has said so already: {}\n", approval.shown()))?;
            return Ok(ExitCode::SUCCESS);
        }
        if !self.yes && !confirm(verb, &me)? {
            tell("nothing was done");
            return Ok(ExitCode::FAILURE);
        }
        let vote = NewVote { verb, approver: me.clone(), overrides, reason: self.reason.clone() };
        voter.vote(&id, on, &vote).await?;
        self.counted(&voter, &id, on, &vote, &*clock).await
    }

    /// Waits until the vote shows on the update.
    async fn counted(
        &self,
        voter: &Voter,
        id: &WorkloadId,
        on: &OnBallot,
        vote: &NewVote,
        clock: &dyn Clock,
    ) -> anyhow::Result<ExitCode> {
        let end = clock.monotonic() + PATIENCE;
        while clock.monotonic() < end {
            let now = voter.ballots(id).await?.into_iter().find(|now| now.uid == on.uid);
            let Some(now) = now else { anyhow::bail!("the update is gone: another takes its place") };
            let approval = now.tracked.approval.clone().unwrap_or_default();
            let is_counted = approval.votes.iter().any(|other| *other.by == *vote.approver && other.verb == vote.verb);
            match now.tracked.phase.name() {
                PhaseName::Rejected if vote.verb == Verb::Reject => {
                    print("rejected: it is not asked for again before a newer one\n")?;
                    return Ok(ExitCode::SUCCESS);
                }
                phase @ (PhaseName::Rejected | PhaseName::Expired | PhaseName::Superseded) => {
                    let why = now.tracked.reason().map(|reason| format!(": {}", reason.message)).unwrap_or_default();
                    anyhow::bail!("it came too late: the update is {}{why}", phase.as_str());
                }
                _ if is_counted => {
                    print(&format!("{}\n", approval.shown()))?;
                    return Ok(ExitCode::SUCCESS);
                }
                _ => clock.sleep_until(clock.monotonic() + BETWEEN).await,
            }
        }
        tell(format!(
            "the vote is made, and has not been counted yet: does supercargo run? `supercargo status {id}` shows when"
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// That there is nothing to vote on, and what there is instead.
fn nothing(id: &WorkloadId, ballots: &[OnBallot]) -> String {
    let other = ballots.iter().find_map(|on| match &on.tracked.phase {
        Phase::Waiting { reason } | Phase::InGit { reason, .. } => Some(reason.message.clone()),
        _ => None,
    });
    let last = ballots.iter().max_by_key(|on| on.tracked.update.proposed);
    match (other, last) {
        (Some(why), _) => format!("no update of {id} waits for approval; there is one, and {why}"),
        (None, Some(on)) => {
            let (phase, why) = (on.tracked.phase.name().as_str(), on.tracked.reason());
            let why = why.map(|reason| format!(": {}", reason.message)).unwrap_or_default();
            format!("no update of {id} waits for approval; the last one, {}, is {phase}{why}", on.name)
        }
        (None, None) => format!("no update of {id} waits for approval, and none is recorded: is that the workload?"),
    }
}

/// What is voted on.
fn shown(id: &WorkloadId, on: &OnBallot, approval: &Approval) -> String {
    let seen = |at: Timestamp| format!(", seen at {}", crate::domain::hours::shown(at));
    let line = |Item { change, policy, evidence, .. }: &Item| {
        let seen = evidence.as_ref().map(|evidence| seen(evidence.seen)).unwrap_or_default();
        format!("  {}: {} to {} (policy {policy}{seen})\n", change.container, change.from, change.to)
    };
    let lines: String = on.tracked.update.items.iter().map(line).collect();
    let until = approval.deadline.map(|at| format!(", until {}", crate::domain::hours::shown(at))).unwrap_or_default();
    format!("{id}, update {}:\n{lines}  {}{until}\n", on.name, approval.shown())
}

fn confirm(verb: Verb, me: &str) -> anyhow::Result<bool> {
    eprint!("{verb} this as {}? [y/N] ", escape(me));
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("stdin")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
