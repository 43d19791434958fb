//! All changes of a workload as one plan, and what keeps it from being written.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        annotations::{ContainerRule, Watch},
        gate::{self, Closed, Context},
        plan::{Approved, Plan},
        poll::show_duration,
        reason::{Code, Reason},
        report::{Report, Verdict},
        target::Route,
        update::{Item, Phase, Record, Update, hash},
    },
    engine::index::{entry::WorkloadEntry, state::State},
};

/// The row of a container, and what it would be changed to.
pub(crate) type Proposal = (usize, Item);

/// What the gates of a workload look at, but for who else sets its images.
pub(crate) fn context<'a>(
    state: &State,
    entry: &'a WorkloadEntry,
    record: Option<&'a Record>,
    now: Timestamp,
) -> Context<'a> {
    let hours = entry.rule.hours.as_ref();
    Context {
        now,
        suspended: entry.rule.suspend,
        dry_run: state.settings.dry_run,
        owner: None,
        owner_overridden: entry.rule.overrides_owner,
        rolling_out: record.and_then(Record::rolling_out),
        hours: hours.map(|hours| &**hours),
        opens: hours.and_then(|hours| state.calendar.next_open(hours, now)),
        in_git: record.and_then(Record::current).is_some_and(|current| matches!(current.phase, Phase::InGit { .. })),
    }
}

/// Puts all changes of a workload into one plan and lets it through the gates; what is closed goes into the rows. If not
/// now, then when all gates open, where that is known.
pub(crate) fn gated(
    entry: &WorkloadEntry,
    record: Option<&Record>,
    context: &Context<'_>,
    proposals: Vec<Proposal>,
    reports: &mut [Report],
) -> Result<Plan<Approved>, Option<Timestamp>> {
    let rows: Vec<usize> = proposals.iter().map(|(row, _)| *row).collect();
    // A container that was moved back holds up itself, not the others.
    let mut items = Vec::new();
    for (row, item) in proposals {
        match record.and_then(|record| record.undone(&item.change)) {
            None => items.push(item),
            Some(undone) => {
                if let Some(row) = reports.get_mut(row) {
                    row.decision = Verdict::Blocked;
                    row.reasons.insert(0, Reason::new(Code::Reverted, undone.why()));
                }
            }
        }
    }
    if items.is_empty() {
        return Err(None);
    }
    let route = Route::new(&entry.rule.write, entry.rule.group.clone());
    let update = Update::new(entry.workload.id.clone(), items, route, context.now);
    let update = Update { uid: entry.workload.uid.clone(), policy_hash: policy_hash(entry), ..update };
    let update = match record.and_then(Record::current).filter(|current| !current.phase.is_over()) {
        Some(current) => update.as_first_proposed(&current.update),
        None => update,
    };
    // What is in Git, or in a request, has started.
    let has_started = matches!(record.and_then(|record| record.phase_of(&update.id)), Some(Phase::InGit { .. }));
    let context = &Context { hours: context.hours.filter(|_| !has_started), ..*context };
    let result = gate::pass(Plan::propose(update).on(entry.workload.clone()), context);
    let touched = |reports: &mut [Report], f: &mut dyn FnMut(&mut Report)| {
        for &row in &rows {
            if let Some(row) = reports.get_mut(row).filter(|row| row.decision == Verdict::Update) {
                f(row);
            }
        }
    };
    match result {
        Ok(plan) => {
            let phase = record.and_then(|record| record.phase_of(&plan.update().id));
            if let Some(reason) = phase.and_then(Phase::reason) {
                touched(reports, &mut |row| {
                    let (decision, reason) = said(phase, reason, &row.container);
                    row.decision = decision;
                    row.reasons.insert(0, reason);
                });
            }
            Ok(plan)
        }
        Err(closed) => {
            let opens: Option<Vec<Timestamp>> = closed.iter().map(|closed: &Closed| closed.opens).collect();
            let opens = opens.and_then(|all| all.into_iter().max());
            touched(reports, &mut |row| {
                row.decision = closed.iter().map(|closed| closed.verdict).max().unwrap_or(Verdict::Blocked);
                row.opens = opens;
                row.reasons.splice(0..0, closed.iter().map(|closed| closed.reason.clone()));
            });
            Err(opens)
        }
    }
}

/// A hash of what decides about a workload: its policies and their options. It is the same after a restart.
fn policy_hash(entry: &WorkloadEntry) -> Arc<str> {
    let decides = |rule: &ContainerRule| match &rule.state {
        Watch::Watched { policy, pin, gates } => {
            let (resolved, options) = (policy.resolved(), policy.options());
            let age = gates.min_age.as_ref().map(|age| format!(" {}", show_duration(age.value))).unwrap_or_default();
            Some(format!("{} {} {resolved} {options:?} {pin:?}{age}", rule.container, rule.init))
        }
        Watch::Follows(leader) => Some(format!("{} {} {leader}", rule.container, rule.init)),
        Watch::Skipped(..) | Watch::Problem(_) => None,
    };
    hash(entry.rule.containers.iter().filter_map(decides))
}

/// What is said of a container of an update that Git has, or that it does not take.
fn said(phase: Option<&Phase>, reason: &Reason, container: &str) -> (Verdict, Reason) {
    let Some(Phase::InGit { left, .. }) = phase else { return (Verdict::Blocked, reason.clone()) };
    if let Some(left) = left.iter().find(|left| *left.container == *container) {
        return (Verdict::Blocked, left.reason.clone());
    }
    let message = format!("{}; it does not run yet", reason.message);
    (Verdict::Waiting, Reason { message, ..reason.clone() })
}
