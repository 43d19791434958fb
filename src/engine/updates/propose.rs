//! All changes of a workload as one plan, and what keeps it from being written.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        annotations::{ContainerRule, Watch},
        demand::Approvals,
        gate::{self, Closed, Context, Stop, Voting},
        hours::Hours,
        plan::{Approved, Plan, Proposed},
        poll::show_duration,
        reason::Reason,
        report::{Report, Verdict},
        target::Route,
        update::{Change, Hold, Item, Phase, Record, Tracked, Update, hash},
        votes::Approval,
    },
    engine::{
        index::{entry::WorkloadEntry, state::State},
        updates::board::Board,
    },
};

/// The row of a container, and what it would be changed to.
pub(crate) type Proposal = (usize, Item);

/// The plan for what is proposed.
pub(crate) enum Planned {
    Nothing,
    /// It may be written.
    Approved(Plan<Approved>),
    /// People are to be asked before.
    Proposed(Plan<Proposed>),
}

/// An update that may not be written now.
#[derive(Debug, Default)]
pub(crate) struct NotNow {
    /// When every gate opens, where that is known.
    pub(crate) opens: Option<Timestamp>,
    /// That people are to be asked about it.
    pub(crate) asks: Option<Box<(Plan<Proposed>, Approval)>>,
    /// Whether people's votes matter, so that it must be sure who votes.
    pub(crate) votes: bool,
}

/// What the gates of a workload look at, but for who else sets its images.
pub(crate) fn context<'a>(state: &'a State, board: &'a Board, entry: &'a WorkloadEntry, now: Timestamp) -> Context<'a> {
    let record = board.record(&entry.workload.id);
    let hours = entry.rule.hours.as_ref();
    Context {
        now,
        suspended: entry.rule.suspend,
        dry_run: state.settings.dry_run,
        stop: stop(state, board, entry),
        owner: None,
        owner_overridden: entry.rule.overrides_owner,
        rolling_out: record.and_then(Record::rolling_out),
        hours: hours.map(|hours| &**hours),
        opens: hours.and_then(|hours| state.calendar.next_open(hours, now)),
        in_git: record.and_then(Record::current).is_some_and(|current| matches!(current.phase, Phase::InGit { .. })),
        asked: entry.rule.approvals.as_ref().map(|approvals| &approvals.needed),
        approval: record.and_then(Record::current).and_then(Tracked::asked),
        voting: state.proofs.voting(&entry.workload.id.namespace),
    }
}

/// What stops a workload, if anything does.
pub(crate) fn stop<'a>(state: &'a State, board: &'a Board, entry: &'a WorkloadEntry) -> Option<Stop<'a>> {
    let id = &entry.workload.id;
    let all = state.settings.all.as_ref().and_then(|all| board.record(all)).and_then(Record::held).map(Stop::All);
    let own = || board.record(id).and_then(Record::held).map(|held| Stop::Workload(held, id));
    let undone = || {
        let rule = entry.bars.rule.as_ref()?;
        Some(Stop::Undone(rule, rule.undone.as_deref()?, id))
    };
    let undecodable = || {
        let of = [state.settings.all.as_ref(), Some(id)].into_iter().flatten();
        of.filter_map(|of| Some(Stop::Undecodable(of, board.record(of)?.undecodable()?))).next()
    };
    all.or_else(own).or_else(undecodable).or_else(undone)
}

/// Puts all changes of a workload into one plan and lets it through the gates; what is closed goes into the rows. If not
/// now, then when all gates open, where that is known.
pub(crate) fn gated(
    entry: &WorkloadEntry,
    record: Option<&Record>,
    context: &Context<'_>,
    proposals: Vec<Proposal>,
    reports: &mut [Report],
) -> Result<Plan<Approved>, NotNow> {
    let rows: Vec<usize> = proposals.iter().map(|(row, _)| *row).collect();
    // A container that was moved back, or whose image people did not want, holds up itself, not the others.
    let mut items = Vec::new();
    for (row, item) in proposals {
        match record.and_then(|record| unwanted(entry, record, &item.change)) {
            None => items.push(item),
            Some(why) => {
                if let Some(row) = reports.get_mut(row) {
                    row.decision = Verdict::Blocked;
                    row.reasons.insert(0, why);
                }
            }
        }
    }
    if items.is_empty() {
        return Err(NotNow::default());
    }
    // What somebody has approved goes first, as it is.
    let approved = record.map(Record::approved_changes).unwrap_or_default();
    if !approved.is_empty() && approved.iter().all(|change| items.iter().any(|item| item.change == *change)) {
        items.retain(|item| approved.contains(&item.change));
    }
    let route = Route::new(&entry.rule.write, entry.rule.group.clone());
    let update = Update::new(entry.workload.id.clone(), items, route, context.now);
    let (uid, lifted) = (entry.workload.uid.clone(), record.and_then(Record::lifted));
    let update = Update { uid, policy_hash: policy_hash(entry), lifted, ..update };
    let update = match record.and_then(Record::current).filter(|current| !current.phase.is_over()) {
        Some(current) => update.as_first_proposed(&current.update),
        None => update,
    };
    // What is in Git, or in a request, has started.
    let phase = record.and_then(|record| record.phase_of(&update.id));
    let has_started = matches!(phase, Some(Phase::InGit { .. })) && update.route.target().is_some();
    let approval = record.and_then(|record| record.approval_of(&update));
    let overridden = overridden(context, approval);
    let hours = overridden.as_ref().or(context.hours).filter(|_| !has_started);
    let context = &Context {
        hours,
        opens: if overridden.is_some() { hours.and_then(|hours| hours.next_open(context.now)) } else { context.opens },
        asked: context.asked.filter(|_| !has_started),
        approval,
        ..*context
    };
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
            let current = record.and_then(Record::current).filter(|current| current.update.id == plan.update().id);
            let phase = current.filter(|current| current.asked().is_none()).map(|current| &current.phase);
            if let Some(reason) = phase.and_then(Phase::reason) {
                touched(reports, &mut |row| {
                    let (decision, reason) = said(phase, reason, &row.container);
                    row.decision = decision;
                    row.reasons.insert(0, reason);
                });
            }
            Ok(plan)
        }
        Err((plan, closed)) => {
            let opens: Option<Vec<Timestamp>> = closed.iter().map(|closed: &Closed| closed.opens).collect();
            let opens = opens.and_then(|all| all.into_iter().max());
            touched(reports, &mut |row| {
                row.decision = closed.iter().map(|closed| closed.verdict).max().unwrap_or(Verdict::Blocked);
                row.opens = opens;
                row.reasons.splice(0..0, closed.iter().map(|closed| closed.reason.clone()));
            });
            // What would be refused is not asked about, and people see why.
            let current = record.and_then(Record::current).filter(|current| current.approval.is_some());
            let current = current.filter(|current| current.asked().is_none() && current.is(plan.update()));
            if let Some(reason) = current.and_then(|current| current.phase.reason()) {
                touched(reports, &mut |row| row.reasons.insert(0, reason.clone()));
            }
            let approvals = entry.rule.approvals.as_ref().filter(|_| gate::is_to_be_asked(&closed));
            let votes = approvals.is_some();
            let approvals = approvals.filter(|_| context.voting == Voting::Guarded);
            let asks = approvals.map(|approvals| Box::new((plan, asked(approvals, context))));
            Err(NotNow { opens, asks, votes })
        }
    }
}

/// Why an image is not set (again), if it is not.
fn unwanted(entry: &WorkloadEntry, record: &Record, change: &Change) -> Option<Reason> {
    // The entry's say whether they outlast the process; a command that has just read who moved it has the record's only.
    let is_it = |hold: &&Hold| hold.is(&change.container, change.init, &change.to);
    let held = entry.bars.holds.iter().find(is_it).or(record.hold(change));
    let held = held.map(|hold| Reason::new(hold.code(), hold.why(&entry.workload.id)));
    held.or_else(|| Some(record.refused(change)?.reason.clone()))
}

/// What is left of the hours where somebody who may has overridden them.
fn overridden(context: &Context<'_>, approval: Option<&Approval>) -> Option<Hours> {
    let is_overridden = approval.is_some_and(|approval| approval.approvers().any(|vote| vote.overrides));
    context.hours.filter(|_| is_overridden).map(Hours::overridden)
}

/// What people are asked for, and until when.
fn asked(Approvals { needed, timeout }: &Approvals, context: &Context<'_>) -> Approval {
    let deadline = match context.hours {
        Some(hours) => hours.open_for(context.now, *timeout),
        None => context.now.checked_add(*timeout).ok(),
    };
    Approval { needed: needed.value, deadline, ..Approval::default() }
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
