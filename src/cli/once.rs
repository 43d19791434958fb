//! `supercargo run --git URL --once`: look, decide, commit, end.

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use anyhow::Context as _;

use super::{
    output::{plan_table, print, tell},
    plan::{show, tell_others},
    survey,
};
use crate::{
    app,
    clock::SystemClock,
    config::{self, GitConfig, RunArgs},
    domain::{
        plan::{Approved, Plan},
        reason::{Code, Reason},
        report::{Report, Verdict},
        update::{Phase, Update},
        workload::WorkloadId,
    },
    engine::{self, Settings},
    git::{self, Target},
    logging,
    ports::{Clock, Outcome, Records, Registry, Sink as _},
    store,
};

/// Does the work of `run --git` once. 1 if anything could not be read or written, or is not updated for another reason
/// than that somebody wants it so.
pub(super) async fn once(args: &RunArgs) -> anyhow::Result<ExitCode> {
    logging::init(args.log_format, &args.log_level)?;
    let config = app::read(args)?;
    let entry = config.git.first().context("no repository")?;
    let records = store::Sqlite::open(&args.repository.state(entry))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let cache = args.git_cache.clone().unwrap_or_else(config::cache_folder);
    let registry: Arc<dyn Registry> = Arc::new(survey::local_registry(&config)?);
    let targets = app::git_targets(&config, &cache, &clock, None, Some(&registry))?;
    let (_, target) = targets.into_values().next().context("no repository")?;
    let settings = Settings { dry_run: false, ..survey::settings(&config, args.keel) };
    let mut run = look(&target, settings, &*registry, &*clock).await.map_err(|error| hinted(error, entry))?;
    // Where something could not be read, that may hold the policies, as an entry of `supercargo.yaml` does.
    if !run.failed && !run.reports.iter().flat_map(|(_, rows)| rows).any(is_watched) {
        tell(format!("nothing in {} has a policy, so nothing is watched: {HOW}", entry.place()));
    }
    if args.dry_run {
        let ids: Vec<WorkloadId> = run.plans.iter().map(|plan| plan.update().workload.clone()).collect();
        let found = target.preview(run.plans).await.map_err(anyhow::Error::msg)?;
        let refused: Vec<Reason> = found.iter().filter_map(|found| found.as_ref().err().cloned()).collect();
        for (id, found) in ids.iter().zip(found) {
            run.failed |= found.as_ref().is_err_and(|reason| !is_wanted(reason));
            rows_of(&mut run.reports, id).for_each(|row| show(row, entry.shown(), &found));
        }
        tell_others(run.reports.iter_mut().flat_map(|(_, rows)| rows), &refused);
    } else {
        run.failed |= write(&target, &mut run.reports, run.plans, &records).await;
    }
    print(&plan_table(&run.reports.into_iter().flat_map(|(_, rows)| rows).collect::<Vec<_>>()))?;
    Ok(if run.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Where policies are written, for somebody who has written none.
const HOW: &str = "a policy is the annotation `supercargo.dev/policy` of a workload (a label is none), a comment \
                   like `# supercargo: minor` at a value, or an entry of `supercargo.yaml`, which stands at the root \
                   and within the paths: see docs/git.md";

/// What a look at a repository brought.
pub(super) struct Looked {
    /// What is said of each workload.
    pub(super) reports: Vec<(WorkloadId, Vec<Report>)>,
    /// What may be written.
    pub(super) plans: Vec<Plan<Approved>>,
    /// Whether something stands in the way.
    pub(super) failed: bool,
}

/// Reads the repository and looks once at every image's repository.
pub(super) async fn look(
    target: &Target,
    settings: Settings,
    registry: &dyn Registry,
    clock: &dyn Clock,
) -> anyhow::Result<Looked> {
    let rendered = target.workloads().await.map_err(anyhow::Error::msg)?;
    for (path, problem) in &rendered.problems {
        tell(format!("{path}:{}: {}", problem.line, problem.reason));
    }
    for (path, note) in &rendered.misplaced {
        tell(format!("{path}:{}: {}", note.line, note.reason));
    }
    let mut failed = !rendered.problems.is_empty();
    let places: HashMap<&WorkloadId, String> =
        rendered.workloads.iter().map(|(workload, path, line)| (&workload.id, format!("{path}:{line}"))).collect();
    let settings = Settings { operator_serves: Arc::new(|_, _| true), ..settings };
    let source = |id: &WorkloadId| places.get(id).cloned().unwrap_or_default();
    let surveyed =
        engine::survey(settings, git::changes(&rendered), registry, None, clock, source, survey::say_waiting).await;
    let (mut reports, mut plans) = (Vec::new(), Vec::new());
    for (id, assessment) in surveyed {
        failed |= assessment.reports.iter().any(is_failure);
        plans.extend(assessment.plan);
        reports.push((id, assessment.reports));
    }
    Ok(Looked { reports, plans, failed })
}

/// Writes all plans at once, says in the rows what came of each, and whether something failed.
pub(super) async fn write(
    target: &Target,
    reports: &mut [(WorkloadId, Vec<Report>)],
    plans: Vec<Plan<Approved>>,
    records: &dyn Records,
) -> bool {
    if plans.is_empty() {
        return false;
    }
    let updates: Vec<Update> = plans.iter().map(|plan| plan.update().clone()).collect();
    let (mut failed, mut refused) = (false, Vec::new());
    for (mut update, outcome) in updates.into_iter().zip(target.apply(plans).await) {
        let (verdict, reason) = match outcome {
            Outcome::Committed(reason) => {
                update.phase = Phase::Progressing;
                if let Err(error) = records.put(update.clone()).await {
                    tell(format!("{}: written, but not recorded: {error}", update.workload));
                    failed = true;
                }
                (Verdict::Update, reason)
            }
            Outcome::Blocked(reason) => (Verdict::Blocked, reason),
            Outcome::Refused(why) => (Verdict::Blocked, Reason::new(Code::GitRefused, why)),
            Outcome::Failed(why) => (Verdict::Problem, Reason::new(Code::WriteFailed, why)),
            Outcome::Applied { .. } | Outcome::Stale | Outcome::Gone => continue,
        };
        failed |= verdict != Verdict::Update && !is_wanted(&reason);
        for row in rows_of(reports, &update.workload).filter(|row| row.decision == Verdict::Update) {
            row.decision = verdict;
            row.reasons.insert(0, reason.clone());
        }
        refused.push(reason);
    }
    tell_others(reports.iter_mut().flat_map(|(_, rows)| rows), &refused);
    failed
}

fn rows_of<'a>(
    reports: &'a mut [(WorkloadId, Vec<Report>)],
    id: &'a WorkloadId,
) -> impl Iterator<Item = &'a mut Report> {
    reports.iter_mut().filter(move |(of, _)| of == id).flat_map(|(_, rows)| rows)
}

fn is_watched(row: &Report) -> bool {
    !row.reasons.first().is_some_and(|reason| matches!(reason.code, Code::NotWatched | Code::NotSelected))
}

fn is_failure(row: &Report) -> bool {
    matches!(row.decision, Verdict::Problem | Verdict::Blocked) && !row.reasons.first().is_some_and(is_wanted)
}

/// Whether a person decided so, or is waited for.
fn is_wanted(reason: &Reason) -> bool {
    matches!(reason.code, Code::Suspended | Code::Reverted | Code::RequestClosed | Code::RequestLimit)
}

/// Adds what lets Git in, where it was not.
fn hinted(error: anyhow::Error, entry: &GitConfig) -> anyhow::Error {
    let said = format!("{error:#}");
    if !["wants credentials", "returned error: 403"].iter().any(|words| said.contains(words)) {
        return error;
    }
    let hint = match entry.shown {
        Some(_) => "SUPERCARGO_GIT_TOKEN lets Git in over HTTPS, with SUPERCARGO_GIT_USERNAME where the user matters",
        None => "a target of the configuration is let in by its `credentials` alone",
    };
    anyhow::anyhow!("{said}; {hint}: see docs/git.md")
}
