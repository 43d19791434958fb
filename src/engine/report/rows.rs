//! From what is known of a workload to what is said about it, and to a plan if something is to be written.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        annotations::{ContainerRule, Watch},
        decide::Young,
        demand::Gates,
        gate::Context,
        hours::{self, AGAIN},
        image::ImageRef,
        plan::{Approved, Plan, Proposed},
        policy::Policy,
        poll::Schedule,
        reason::{Code, Reason},
        report::{Report, ReportWorkload, Verdict},
        target::Write,
        update::{self, Change, Evidence, Item},
        votes::Approval,
        workload::{Workload, WorkloadId},
    },
    engine::{
        index::{
            entry::{Slot, WorkloadEntry},
            outages::Outage,
            state::State,
        },
        look::question::Answer,
        report::{
            gates,
            held::{await_reading, held, left},
            notes::{notes, rollout},
        },
        updates::{
            board::Board,
            propose::{NotNow, Planned, Proposal, context, gated},
        },
    },
};

/// What is known of one workload.
#[derive(Debug)]
pub struct Assessment {
    /// A row for each container that a policy applies to, or one for the workload.
    pub reports: Vec<Report>,
    /// What may be written now.
    pub plan: Option<Plan<Approved>>,
    /// What people are to be asked about before, and what they are asked for.
    pub(crate) asks: Option<Box<(Plan<Proposed>, Approval)>>,
    /// Whether people's votes matter, so that it must be sure who votes.
    pub(crate) votes: bool,
    /// Or when what keeps it from being written opens, where that is known.
    pub(crate) opens: Option<Timestamp>,
    /// Registries that it waits for and that have been away for long.
    pub(crate) outages: Vec<Outage>,
    /// A target was set before and is not there: the object must be read to tell who moved it back.
    pub must_read: bool,
}

/// What is proposed of an assessed workload, and the plan for it: that nothing is to be written may mean that there is
/// nothing to do, or that something hinders it.
pub(crate) fn proposal(
    assessment: Option<Assessment>,
    workload: Option<&Arc<Workload>>,
    is_looking: bool,
) -> (update::Proposal, Planned) {
    let rows = match assessment {
        Some(Assessment { must_read: true, .. }) => return (update::Proposal::Unsure, Planned::Nothing),
        Some(Assessment { plan: Some(plan), .. }) => {
            return (update::Proposal::Update(plan.update().clone(), is_looking), Planned::Approved(plan));
        }
        Some(Assessment { asks: Some(asks), .. }) => {
            let (plan, approval) = *asks;
            let update = plan.update().clone();
            return (update::Proposal::Ask(update, approval, is_looking), Planned::Proposed(plan));
        }
        Some(Assessment { reports, .. }) => reports,
        None => Vec::new(),
    };
    let proposal = match workload {
        Some(workload) if rows.iter().all(|row| row.decision == Verdict::UpToDate) => {
            update::Proposal::Unwanted(workload.clone())
        }
        _ => update::Proposal::Nothing,
    };
    (proposal, Planned::Nothing)
}

/// Assesses a workload; `None` if nothing applies to it. `source` says where it stands, for people.
pub(crate) fn assess(
    state: &State,
    board: &Board,
    id: &WorkloadId,
    source: &str,
    now: Timestamp,
) -> Option<Assessment> {
    let entry = state.entry(id)?;
    let told = board.told_by_others(id);
    if !entry.rule.watched && entry.rule.problems.is_empty() && entry.rule.notes.is_empty() && told.is_empty() {
        return None;
    }
    let record = board.record(id);
    let context = context(state, board, entry, now);
    let shown = ReportWorkload { id: id.clone(), source: source.into() };
    let mut reports = Vec::new();
    let mut proposals: Vec<Proposal> = Vec::new();
    for (container, slot) in entry.rule.containers.iter().zip(&entry.slots) {
        let mut row = Report {
            workload: shown.clone(),
            container: container.container.clone(),
            image: container.image.clone(),
            policy: "".into(),
            decision: Verdict::UpToDate,
            to: None,
            to_image: None,
            opens: None,
            gates: Vec::new(),
            reasons: Vec::new(),
        };
        let proposed = fill(&mut row, state, entry, container, slot, &context);
        proposals.extend(proposed.map(|item| (reports.len(), item)));
        reports.push(row);
    }
    explain_followers(entry, &mut reports);
    if reports.is_empty() {
        reports.push(Report {
            workload: shown,
            container: "".into(),
            image: "".into(),
            policy: "".into(),
            decision: if entry.rule.problems.is_empty() { Verdict::UpToDate } else { Verdict::Problem },
            to: None,
            to_image: None,
            opens: None,
            gates: Vec::new(),
            reasons: entry.rule.problems.clone(),
        });
    }
    for row in &mut reports {
        row.reasons.extend(entry.rule.notes.iter().cloned());
    }
    for (row, slot) in reports.iter_mut().zip(&entry.slots) {
        row.reasons.extend(slot.source.iter().flat_map(|source| notes(state, source)));
    }
    let must_read = record.is_some_and(|record| record.is_moved(&entry.workload));
    let asks = !proposals.is_empty() || state.settings.show_gates;
    let owner = (asks && entry.rule.write == Write::Cluster).then(|| state.owner(&entry.workload)).flatten();
    let context = Context { owner: owner.as_ref(), ..context };
    let (plan, held) = match gated(entry, record, &context, proposals, &mut reports) {
        Ok(plan) => (Some(plan), NotNow { votes: entry.rule.approvals.is_some(), ..NotNow::default() }),
        Err(held) => (None, held),
    };
    if must_read {
        reports.iter_mut().for_each(await_reading);
    }
    let NotNow { opens, asks, votes } = held;
    // The clock may be wrong, or another year come.
    let opens =
        opens.or_else(|| context.never_opens().filter(|_| plan.is_none()).and_then(|_| now.checked_add(AGAIN).ok()));
    let waiting = reports.iter().zip(&entry.slots).filter(|(row, _)| row.decision == Verdict::Blocked);
    let sources = waiting.filter_map(|(_, slot)| slot.source.as_ref());
    let outages = sources.filter_map(|source| state.sources.outages.of(source)).cloned().collect();
    for row in &mut reports {
        row.reasons.extend(record.and_then(|record| rollout(record, row)));
        let own = told.iter().filter(|(container, _)| *container == row.container);
        row.reasons.extend(own.map(|(_, said)| said.clone()));
    }
    if state.settings.show_gates && entry.rule.problems.is_empty() {
        gates::show(entry, &context, &mut reports);
    }
    let (plan, asks) = (plan.filter(|_| !must_read), asks.filter(|_| !must_read));
    Some(Assessment { reports, plan, asks, votes, opens, outages, must_read })
}

/// Fills one row, and says what the container would be changed to.
fn fill(
    row: &mut Report,
    state: &State,
    entry: &WorkloadEntry,
    container: &ContainerRule,
    slot: &Slot,
    context: &Context<'_>,
) -> Option<Item> {
    let now = context.now;
    if !entry.rule.problems.is_empty() {
        row.decision = Verdict::Problem;
        row.reasons.clone_from(&entry.rule.problems);
        return None;
    }
    let (policy, gates) = match &container.state {
        Watch::Watched { policy, gates, .. } => (policy, gates),
        Watch::Problem(problems) => {
            row.decision = Verdict::Problem;
            row.reasons.clone_from(problems);
            return None;
        }
        Watch::Skipped(code, why) => {
            row.reasons.push(Reason::new(*code, why.clone()));
            return None;
        }
        Watch::Follows(leader) => {
            row.reasons.push(Reason::new(Code::Follows, format!("moves with container {leader}, whose image it runs")));
            if never_opens(context).is_some() {
                return None;
            }
            let (found, leader) = follow(entry, container, leader, now)?;
            row.policy.clone_from(&found.policy);
            return show(row, found, waits_for_webhook(state, entry, leader));
        }
    };
    row.policy = policy.as_str().into();
    if let Some((decision, reason)) = left(entry, container, gates) {
        row.decision = decision;
        row.reasons.push(reason);
        return None;
    }
    if let Some(reason) = never_opens(context) {
        row.decision = Verdict::Problem;
        row.reasons.push(reason);
        return None;
    }
    if let (Some(age), Some(why)) = (&gates.min_age, state.histories.missing()) {
        row.decision = Verdict::Problem;
        let message = format!("{age}, and when tags were first seen would be forgotten at each restart: {why}");
        row.reasons.push(Reason::new(Code::RecordsMissing, message));
        return None;
    }
    let answer = match slot.answer.as_deref() {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => {
            row.decision = Verdict::Blocked;
            row.reasons.push(Reason::new(error.kind.code(), error.message.clone()));
            return None;
        }
        None => {
            row.decision = Verdict::Blocked;
            row.reasons.push(match slot.source.as_ref().and_then(|source| state.sources.failure(source)) {
                Some(error) => Reason::new(error.kind.code(), error.message.clone()),
                None if slot.source.as_ref().is_some_and(|source| state.sources.put_off(source).is_some()) => Reason::new(
                    Code::NotLookedYet,
                    "the repository has not been looked at yet: what is asked of it changed again and again, so the next \
                     look is put off, by `minInterval` at most",
                ),
                None => Reason::new(Code::NotLookedYet, "the repository has not been looked at yet"),
            });
            return None;
        }
    };
    row.reasons.clone_from(&answer.decision.reasons);
    if let Some(problem) = &answer.decision.problem {
        row.decision = Verdict::Problem;
        if !row.reasons.contains(problem) {
            row.reasons.insert(0, problem.clone());
        }
        return None;
    }
    // What is known is old while the registry does not answer: that is not "up to date".
    if let Some(error) = slot.source.as_ref().and_then(|source| state.sources.failure(source)) {
        row.decision = Verdict::Blocked;
        row.reasons.insert(0, Reason::new(error.kind.code(), error.message.clone()));
        return None;
    }
    let Some(item) = item(container, answer, policy, slot, now) else {
        wait_for_age(row, gates, answer, context);
        held(row, answer);
        return None;
    };
    show(row, item, waits_for_webhook(state, entry, slot))
}

/// That no update could ever start. One that has goes on.
fn never_opens(context: &Context<'_>) -> Option<Reason> {
    let hours = context.never_opens().filter(|_| !context.in_git)?;
    Some(Reason::new(Code::NeverOpens, hours.never_opens()))
}

/// Shows what the container would be changed to; that it is to be changed now, unless it waits.
fn show(row: &mut Report, item: Item, waits: Option<Reason>) -> Option<Item> {
    row.to.clone_from(&item.change.to.tag);
    row.to_image = Some(item.change.to.to_string());
    match waits {
        None => {
            row.decision = Verdict::Update;
            Some(item)
        }
        Some(reason) => {
            row.decision = Verdict::Waiting;
            row.reasons.insert(0, reason);
            None
        }
    }
}

/// Shows that there is a version which waits until it is old enough.
fn wait_for_age(row: &mut Report, gates: &Gates, answer: &Answer, context: &Context<'_>) {
    let Some(Young { tag, wait }) = &answer.young else { return };
    let old_enough = wait.opens();
    let open = context.hours.zip(old_enough).and_then(|(hours, at)| hours.next_open(at)).or(old_enough);
    (row.decision, row.to, row.opens) = (Verdict::Waiting, Some(tag.clone()), open);
    row.reasons.retain(|reason| reason.tag.is_some());
    let mut reason = wait.at(context.now).of_next(tag);
    if let Some(age) = &gates.min_age {
        reason.message += &format!("; {age}");
    }
    if let Some(open) = open.filter(|_| open != old_enough) {
        reason.message += &format!("; its windows and freezes let it start from {}", hours::shown(open));
    }
    row.reasons.insert(0, reason);
}

/// Under `poll: never` what the looks of others find is shown, and taken when a webhook names the repository.
fn waits_for_webhook(state: &State, entry: &WorkloadEntry, slot: &Slot) -> Option<Reason> {
    let waits = state.settings.await_webhooks && entry.rule.schedule == Schedule::Never && !slot.hooked;
    let repository = &slot.source.as_ref().filter(|_| waits)?.repository;
    let message = format!("`poll: never`: taken when a webhook names {repository}");
    Some(Reason::new(Code::WebhookOnly, message))
}

/// The change that an answer asks for; none if the image is already there.
fn item(rule: &ContainerRule, answer: &Answer, policy: &Policy, slot: &Slot, now: Timestamp) -> Option<Item> {
    let target = answer.choice.as_ref()?;
    let from = ImageRef::parse(&rule.image).ok()?;
    let to = from.at(Some(target.tag.clone()), target.digest.clone());
    let change = Change { container: rule.container.clone(), init: rule.init, from, to };
    let (tag, digest) = (target.tag.clone(), target.digest.clone());
    let evidence = Evidence { tag, digest, seen: now, passed: answer.passed.clone() };
    let (policy, evidence) = (policy.as_str().into(), Some(evidence));
    let item = Item { change, policy, evidence, source: Some(slot.source.clone()?) };
    (item.change.from != item.change.to).then_some(item)
}

/// An init container that runs exactly the image of a watched container moves with it.
fn follow<'e>(
    entry: &'e WorkloadEntry,
    container: &ContainerRule,
    leader: &str,
    now: Timestamp,
) -> Option<(Item, &'e Slot)> {
    let mut pairs = entry.rule.containers.iter().zip(&entry.slots);
    let (rule, slot) = pairs.find(|(rule, _)| &*rule.container == leader)?;
    let (Watch::Watched { policy, .. }, Some(Ok(answer))) = (&rule.state, slot.answer.as_deref()) else { return None };
    let mut item = item(rule, answer, policy, slot, now)?;
    item.change.container.clone_from(&container.container);
    item.change.init = container.init;
    Some((item, slot))
}

/// What holds up a container holds up those that follow it.
fn explain_followers(entry: &WorkloadEntry, reports: &mut [Report]) {
    for (index, container) in entry.rule.containers.iter().enumerate() {
        let Watch::Follows(leader) = &container.state else { continue };
        let place = entry.rule.containers.iter().position(|other| other.container == *leader);
        let Some(leader) = place.and_then(|place| reports.get(place)) else { continue };
        let (policy, decision, why) = (leader.policy.clone(), leader.decision, leader.reasons.first().cloned());
        let (to, opens) = (leader.to.clone(), leader.opens);
        let is_held = |row: &Report| match decision {
            Verdict::Problem | Verdict::Blocked => row.decision != Verdict::Update,
            Verdict::Waiting => row.decision == Verdict::UpToDate,
            Verdict::Update | Verdict::UpToDate => false,
        };
        if let Some(row) = reports.get_mut(index).filter(|row| is_held(row)) {
            if decision == Verdict::Waiting {
                (row.to, row.opens) = (to, opens);
            }
            (row.policy, row.decision) = (policy, decision);
            row.reasons.splice(0..0, why);
        }
    }
}
