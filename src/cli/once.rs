//! `supercargo run --git URL --once`: look, decide, commit, end.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;

use super::{
    output::{plan_table, print, tell},
    plan::tell_others,
    survey::{self, Remembered, Surveyed, has_young, is_wanted, rows_of},
};
use crate::{
    app,
    clock::SystemClock,
    config::{self, GitConfig, RunArgs},
    domain::{
        plan::{Approved, Plan},
        reason::{Class, Code, Reason},
        report::{Report, Verdict},
        update::{Act, Event, LeftOut, Now, Proposal, Record, Tracked, Update, step},
        workload::{Workload, WorkloadId},
    },
    engine::{self, Settings},
    git::Target,
    logging,
    ports::{Clock, ClusterChange, Histories, Outcome, PutError, Records, Registry, Sink as _},
    store,
};

/// Does the work of `run --git` once. 1 if anything could not be read or written, or is not updated for another reason
/// than that somebody wants it so.
pub(super) async fn once(args: &RunArgs) -> anyhow::Result<ExitCode> {
    logging::init(args.log_format, &args.log_level)?;
    let config = app::read(args)?;
    let entry = config.git.first().context("no repository")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let state = args.repository.state(entry);
    let store = Arc::new(store::Sqlite::open(&state, clock.clone())?);
    let records: Arc<dyn Records> = store.clone();
    let cache = args.git_cache.clone().unwrap_or_else(config::cache_folder);
    let registry: Arc<dyn Registry> = Arc::new(survey::local_registry(&config)?);
    let targets = app::git_targets(&config, &cache, &clock, None, Some(&registry))?;
    let (_, target) = targets.into_values().next().context("no repository")?;
    let settings = Settings { dry_run: false, ..survey::settings(&config, args.keel) };
    let mut known = store.known().await?;
    known.retain(|change| matches!(change, ClusterChange::History(..)));
    let histories = (!args.dry_run).then_some(&*store as &dyn Histories);
    let remembered = Remembered { known, histories };
    let mut run =
        look(&target, settings, &*registry, &*clock, remembered).await.map_err(|error| hinted(error, entry))?;
    // Where something could not be read, that may hold the policies, as an entry of `supercargo.yaml` does.
    if !run.failed() && !run.reports.iter().flat_map(|(_, rows)| rows).any(is_watched) {
        tell(format!("nothing in {} has a policy, so nothing is watched: {HOW}", entry.place()));
    }
    if store.is_new() && run.reports.iter().any(|(_, rows)| has_young(rows)) {
        tell(format!(
            "note: {} is new, so all tags were seen now for the first time: keep that file (`--state`) from one run to the \
             next, or what waits for `min-age` never opens",
            state.display()
        ));
    }
    let mut failed = false;
    if args.dry_run {
        let found = target.preview(run.plans.clone()).await.map_err(anyhow::Error::msg)?;
        run.show(&format!("Git target {}", entry.shown()), &found);
    } else {
        failed = write(&target, &mut run.reports, std::mem::take(&mut run.plans), &records, &*clock).await;
    }
    failed |= run.failed();
    print(&plan_table(&run.reports.into_iter().flat_map(|(_, rows)| rows).collect::<Vec<_>>()))?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Where policies are written, for somebody who has written none.
pub(super) const HOW: &str = "a policy is the annotation `supercargo.dev/policy` of a workload (a label is none), a comment \
                   like `# supercargo: minor` at a value, or an entry of `supercargo.yaml`, which stands at the root \
                   and within the paths: see docs/git.md";

/// Reads the repository and looks once at every image's repository.
pub(super) async fn look(
    target: &Target,
    settings: Settings,
    registry: &dyn Registry,
    clock: &dyn Clock,
    remembered: Remembered<'_>,
) -> anyhow::Result<Surveyed> {
    let rendered = target.workloads().await.map_err(anyhow::Error::msg)?;
    Ok(survey::rendered(&rendered, settings, registry, clock, remembered, str::to_owned).await)
}

/// Writes all plans at once, says in the rows what came of each, and whether something failed.
pub(super) async fn write(
    target: &Target,
    reports: &mut [(WorkloadId, Vec<Report>)],
    plans: Vec<Plan<Approved>>,
    records: &Arc<dyn Records>,
    clock: &dyn Clock,
) -> bool {
    if plans.is_empty() {
        return false;
    }
    let updates: Vec<_> = plans.iter().map(|plan| (plan.update().clone(), plan.decided_on().cloned())).collect();
    let (mut failed, mut refused) = (false, Vec::new());
    for ((update, decided_on), outcome) in updates.into_iter().zip(target.apply(plans).await) {
        let workload = update.workload.clone();
        let left = if let Outcome::Partly(_, left) = &outcome { left.clone() } else { Vec::new() };
        let now = Now { at: clock.now(), since: Duration::ZERO };
        if let Err(error) = remember(records, update, decided_on, &outcome, now).await {
            tell(format!("{workload}: written, but not recorded: {error}"));
            failed = true;
        }
        let (verdict, reason) = match outcome {
            Outcome::Committed(reason) | Outcome::Partly(reason, _) => (Verdict::Update, reason),
            Outcome::Blocked(reason) | Outcome::MovedBack(reason, _) => (Verdict::Blocked, reason),
            Outcome::Refused(why) => (Verdict::Blocked, Reason::new(Code::GitRefused, why)),
            Outcome::Failed(why) => (Verdict::Problem, Reason::new(Code::WriteFailed, why)),
            Outcome::Applied(_) | Outcome::Stale | Outcome::Gone => continue,
        };
        failed |= verdict != Verdict::Update && !is_wanted(&reason);
        for LeftOut { container, reason, .. } in left {
            failed |= !is_wanted(&reason);
            let rows = rows_of(reports, &workload);
            for row in rows.filter(|row| row.decision == Verdict::Update && row.container == container) {
                row.decision = Verdict::Blocked;
                row.reasons.insert(0, reason.clone());
            }
            refused.push(reason);
        }
        for row in rows_of(reports, &workload).filter(|row| row.decision == Verdict::Update) {
            row.decision = verdict;
            row.reasons.insert(0, reason.clone());
        }
        refused.push(reason);
    }
    tell_others(reports.iter_mut().flat_map(|(_, rows)| rows), &refused);
    failed
}

/// Remembers what the operator would of that.
async fn remember(
    records: &Arc<dyn Records>,
    update: Update,
    decided_on: Option<Arc<Workload>>,
    outcome: &Outcome,
    now: Now,
) -> Result<(), PutError> {
    let open = match decided_on {
        None => Vec::new(),
        Some(workload) => {
            let of = records.of(&update.workload).await?;
            let open = of.into_iter().map(|(tracked, _)| tracked).filter(|tracked| !tracked.phase.is_over());
            open.map(|tracked| Event::Recorded(Box::new(tracked), workload.clone())).collect()
        }
    };
    engine::remember(records, saved(open, update, outcome, now)).await
}

/// What follows from these and from that outcome that is to be remembered.
fn saved(open: Vec<Event>, update: Update, outcome: &Outcome, now: Now) -> Vec<Tracked> {
    let (id, route) = (update.id.clone(), update.route.clone());
    let proposal = Proposal::Update(update, false);
    let written =
        [Event::Proposed(proposal.clone()), Event::Turn(route, proposal), Event::Written(id, outcome.clone())];
    let mut record = Record::default();
    let mut saved = Vec::new();
    for event in open.into_iter().chain(written) {
        let (next, acts) = step(record, event, now);
        record = next;
        saved.extend(
            acts.into_iter().filter_map(|act| if let Act::Save(tracked) = act { Some(*tracked) } else { None }),
        );
    }
    saved
}

fn is_watched(row: &Report) -> bool {
    !row.reasons.first().is_some_and(|reason| reason.code.class() == Class::Unwatched)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        image::ImageRef,
        target::Route,
        update::{Change, Item, Phase},
    };

    #[test]
    fn an_outcome_has_the_phase_that_the_operator_would_record() {
        let image = |tag: &str| ImageRef::parse(&format!("r.io/web:{tag}")).unwrap();
        let change = Change { container: "web".into(), init: false, from: image("1"), to: image("2") };
        let (workload, items) = ("shop/Deployment/web".parse().unwrap(), vec![Item::from(change)]);
        let update = Update::new(workload, items, Route::Commit("prod".into()), jiff::Timestamp::UNIX_EPOCH);
        let reason = Reason::new(Code::Committed, "commit 1");
        let now = Now { at: jiff::Timestamp::UNIX_EPOCH, since: Duration::ZERO };
        let saved = |outcome: &Outcome| saved(Vec::new(), update.clone(), outcome, now);
        let [in_git] = &saved(&Outcome::Committed(reason.clone()))[..] else { panic!("one is recorded") };
        assert_eq!(in_git.phase, Phase::InGit { reason: reason.clone(), left: Vec::new() });
        let [waiting] = &saved(&Outcome::Blocked(reason.clone()))[..] else { panic!("one is recorded") };
        assert_eq!(waiting.phase, Phase::Waiting { reason });
        let [failed] = &saved(&Outcome::Failed("no".to_owned()))[..] else { panic!("one is recorded") };
        assert_eq!((&failed.phase, failed.reason().unwrap().code), (&Phase::Applying, Code::WriteFailed));
    }
}
