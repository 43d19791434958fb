//! What the loop does about what goes back: it lets that be written, and finds out what people's wishes are about.

use std::sync::Arc;

use futures::{FutureExt, future::ready};
use jiff::Timestamp;

use crate::{
    domain::{
        annotations::{ContainerRule, Watch},
        demand::Demand,
        gate::{self, Context, Voting},
        hold::HoldRule,
        plan::Plan,
        reason::{Code, Reason},
        target::Route,
        update::{Aim, Change, Event, Phase, Proposal, Record, Update},
        wish::{What, Wish},
        workload::WorkloadId,
    },
    engine::{
        driver::{Aimed, Engine},
        index::{entry::WorkloadEntry, state::State},
        updates::{
            board::Board,
            ledger::Ledger,
            propose::{Planned, stop},
        },
    },
    ports::{Records, Version},
};

/// What is to be written of a workload that goes back, or what keeps that. It is remembered before it is written. No window,
/// age or approval holds it up.
pub(super) fn way_back(
    state: &State,
    board: &Board,
    ledger: &Ledger,
    id: &WorkloadId,
    now: Timestamp,
) -> Option<(Proposal, Planned)> {
    let back = board.record(id).and_then(Record::way_back)?;
    let Some(entry) = state.entry(id).filter(|_| ledger.is_idle(id)) else {
        return Some((Proposal::Nothing, Planned::Nothing));
    };
    if let Some(reason) = not_ours(entry) {
        return Some((Proposal::Kept(reason), Planned::Nothing));
    }
    if let Some(reason) = left(entry, &back) {
        return Some((Proposal::Kept(reason), Planned::Nothing));
    }
    let route = back.route.clone();
    let plan = Plan::propose(back).on(entry.workload.clone());
    // The plan that is given comes back where it may not.
    let passed = with_context(state, board, entry, &route, now, |context| gate::pass(plan, context).map_err(Box::new));
    Some(match passed {
        Ok(plan) => (Proposal::Back(route), Planned::Approved(plan)),
        Err(refused) => match refused.1.into_iter().next() {
            Some(closed) => (Proposal::Kept(closed.reason), Planned::Nothing),
            None => (Proposal::Nothing, Planned::Nothing),
        },
    })
}

/// What alone can keep what goes back.
fn with_context<T>(
    state: &State,
    board: &Board,
    entry: &WorkloadEntry,
    route: &Route,
    now: Timestamp,
    judge: impl FnOnce(&Context<'_>) -> T,
) -> T {
    let owner = (*route == Route::Cluster).then(|| state.owner(&entry.workload)).flatten();
    judge(&Context {
        now,
        suspended: entry.rule.suspend,
        dry_run: state.settings.dry_run,
        stop: stop(state, board, entry),
        owner: owner.as_ref(),
        owner_overridden: entry.rule.overrides_owner,
        rolling_out: None,
        hours: None,
        opens: None,
        in_git: false,
        asked: None,
        approval: None,
        voting: Voting::Unknown,
    })
}

/// Why a container that goes back is left as it is, if its annotation asks for that.
fn left(entry: &WorkloadEntry, back: &Update) -> Option<Reason> {
    let rules = entry.rule.containers.iter().filter_map(|rule| match &rule.state {
        Watch::Watched { gates, .. } => Some((rule, gates.hold.as_deref()?)),
        _ => None,
    });
    let keeps = |(rule, hold): (&ContainerRule, &Demand<HoldRule>)| {
        let change = back.changes().find(|change| (&change.container, change.init) == (&rule.container, rule.init))?;
        [&change.from, &change.to].into_iter().find_map(|image| hold.value.keeps(image, &hold.by))
    };
    rules.filter_map(keeps).next()
}

/// Why nothing at all is changed of a workload, if that is so.
fn not_ours(entry: &WorkloadEntry) -> Option<Reason> {
    if let Some(Reason { code, message, .. }) = entry.rule.problems.first() {
        return Some(Reason::new(*code, format!("nothing of it is changed before this is corrected: {message}")));
    }
    let none = || Reason::new(Code::NotWatched, "no policy applies to it, so supercargo changes nothing there");
    (!entry.rule.watched).then(none)
}

impl Engine<'_> {
    /// What was to be remembered of a workload is: it may go back now.
    pub(super) fn go_back(&mut self, id: &WorkloadId) {
        if self.ledger.is_idle(id) && self.board.record(id).is_some_and(|record| record.way_back().is_some()) {
            self.step(id, Event::Asked);
        }
    }

    /// Whether what fails is put back may have changed.
    pub(super) fn ruled(&mut self, id: &WorkloadId) {
        let rule = self.state.entry(id).map(|entry| entry.rule.rollback);
        if let Some(rollback) = rule.filter(|_| self.board.record(id).is_some_and(|record| record.followed().is_some()))
        {
            self.step(id, Event::Ruled(rollback));
        }
    }

    /// A person wishes something for a workload. Before all are known it waits.
    pub(super) fn wished(&mut self, id: WorkloadId, wish: Box<Wish>) {
        if !self.synced {
            self.wishes.push((id, wish));
        } else if wish.is_new(self.board.record(&id).and_then(Record::answer)) {
            self.aim(id, wish);
        }
    }

    /// All workloads are known.
    pub(super) fn wish_all(&mut self) {
        for (id, wish) in std::mem::take(&mut self.wishes) {
            self.wished(id, wish);
        }
    }

    /// Finds out what a wish is about.
    pub(super) fn aim(&mut self, id: WorkloadId, wish: Box<Wish>) {
        let What::Rollback(to) = &wish.what else { return self.aimed((id, wish, Ok(None))) };
        // What was written just now is to be seen before.
        let Some(to) = to.clone() else { return self.aims.push(ready((id, wish, Ok(None))).boxed()) };
        let records = self.ports.records.clone();
        self.aims.push(
            async move {
                let found = named(&*records, &id, &to).await;
                (id, wish, found.map(Some))
            }
            .boxed(),
        );
    }

    pub(super) fn aimed(&mut self, (id, wish, to): Aimed) {
        let aim = to.and_then(|to| self.aim_of(&id, &wish.what, to));
        self.step(&id.clone(), Event::Wished(wish, id.clone(), aim));
        if id.is_all() {
            self.state.assess_all();
        }
    }

    fn aim_of(&self, id: &WorkloadId, what: &What, to: Option<Vec<Change>>) -> Result<Option<Aim>, String> {
        let is_rollback = matches!(what, What::Rollback(_));
        if id.is_all() {
            return if is_rollback { Err("name the workload that is to go back".to_owned()) } else { Ok(None) };
        }
        let entry = self.state.entry(id).ok_or("there is no such workload, or it cannot be read")?;
        if !is_rollback {
            return Ok(None);
        }
        if let Some(reason) = not_ours(entry) {
            return Err(reason.message);
        }
        let route = Route::new(&entry.rule.write, entry.rule.group.clone());
        let closed = |context: &Context<'_>| gate::closed(context).next().map(|closed| closed.reason);
        let kept = with_context(&self.state, &self.board, entry, &route, self.ports.clock.now(), closed);
        Ok(Some(Aim { workload: entry.workload.clone(), route, to, kept }))
    }
}

/// What an update had set, if it is one of the workload and ran.
async fn named(records: &dyn Records, id: &WorkloadId, name: &Arc<str>) -> Result<Vec<Change>, String> {
    let all: Vec<(_, Version)> = records.of(id).await.map_err(|error| format!("{error}; try again"))?;
    // An object's name ends with what the update is called.
    let is_it = |id: &str| *id == **name || name.strip_suffix(id).is_some_and(|rest| rest.ends_with('-'));
    let found = all.into_iter().map(|(tracked, _)| tracked).find(|tracked| is_it(&tracked.update.id.0));
    match found {
        None => Err(format!("no update {name} of it is recorded; `supercargo status {id}` shows those that are")),
        Some(tracked) if tracked.phase != Phase::Succeeded => {
            Err(format!("the update {name} is {}, so what it set is not known to run", tracked.phase.name().as_str()))
        }
        Some(tracked) => Ok(tracked.update.changes().cloned().collect()),
    }
}
