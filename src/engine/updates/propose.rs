//! All changes of a workload as one plan, and what keeps it from being written.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        annotations::{ContainerRule, Watch},
        gate::{self, Context},
        plan::{Approved, Plan},
        poll::show_duration,
        reason::{Code, Reason},
        report::{Report, Verdict},
        target::{Route, Write},
        update::{Item, Phase, Record, Update, hash},
    },
    engine::index::{entry::WorkloadEntry, state::State},
};

/// The row of a container, and what it would be changed to.
pub(crate) type Proposal = (usize, Item);

/// Puts all changes of a workload into one plan and lets it through the gates; what is closed goes into the rows.
pub(crate) fn gated(
    state: &State,
    entry: &WorkloadEntry,
    record: Option<&Record>,
    proposals: Vec<Proposal>,
    reports: &mut [Report],
    now: Timestamp,
) -> Option<Plan<Approved>> {
    if proposals.is_empty() {
        return None;
    }
    let rows: Vec<usize> = proposals.iter().map(|(row, _)| *row).collect();
    let owner = state.owner(&entry.workload);
    let context = Context {
        suspended: entry.rule.suspend,
        dry_run: state.settings.dry_run,
        owner: owner.as_ref().filter(|_| entry.rule.write == Write::Cluster),
        owner_overridden: entry.rule.overrides_owner,
        rolling_out: record.and_then(Record::rolling_out),
    };
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
        return None;
    }
    let route = Route::new(&entry.rule.write, entry.rule.group.clone());
    let update = Update::new(entry.workload.id.clone(), items, route, now);
    let update = Update { uid: entry.workload.uid.clone(), policy_hash: policy_hash(entry), ..update };
    let update = match record.and_then(Record::current).filter(|current| !current.phase.is_over()) {
        Some(current) => update.as_first_proposed(&current.update),
        None => update,
    };
    let result = gate::pass(Plan::propose(update).on(entry.workload.clone()), &context);
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
            Some(plan)
        }
        Err(closed) => {
            touched(reports, &mut |row| {
                row.decision = closed.iter().map(|closed| closed.verdict).max().unwrap_or(Verdict::Blocked);
                row.reasons.splice(0..0, closed.iter().map(|closed| closed.reason.clone()));
            });
            None
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
        Watch::Skipped(_) | Watch::Problem(_) => None,
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
