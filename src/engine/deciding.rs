//! How the loop decides about a workload.

use std::time::Duration;

use futures::FutureExt;

use crate::{
    domain::{
        annotations::{ContainerRule, Watch},
        update::{Event, Judging, Phase, Proposal, Record, Update},
        workload::{Observed, WorkloadId},
    },
    engine::{
        driver::Engine,
        index::state::State,
        report::rows::{assess, proposal},
        rollbacks::way_back,
        updates::propose::Planned,
    },
    ports::ClusterError,
};

/// As long what a tag was seen to point to is written without a look whether it has moved.
const FRESH: Duration = Duration::from_secs(60);

/// By what it is judged who moved an image of a workload.
pub(super) fn judging(state: &State, id: &WorkloadId) -> Judging {
    let Some(entry) = state.entry(id) else { return Judging::default() };
    let all = &entry.rule.containers;
    let policy = |rule: &ContainerRule| match &rule.state {
        Watch::Watched { policy, .. } => Some(policy.clone()),
        Watch::Follows(_) | Watch::Skipped(..) | Watch::Problem(_) => None,
    };
    let policies = all.iter().filter_map(|rule| {
        // What moves with another is compared as that one is.
        let policy = match &rule.state {
            Watch::Follows(leader) => all.iter().find(|rule| rule.container == *leader).and_then(policy),
            _ => policy(rule),
        };
        Some((rule.container.clone(), rule.init, policy?))
    });
    Judging { policies: policies.collect(), on_reapply: entry.rule.on_reapply }
}

impl Engine<'_> {
    /// Says what is to be said of a workload, and goes on with it.
    pub(super) fn decide(&mut self, id: &WorkloadId) {
        let (mut proposal, plan, votes) = self.proposal(id);
        // What was held for long may not be what it was: a tag may have moved, to what is not to be taken.
        let update = match &plan {
            Planned::Approved(plan) => Some(plan.update()),
            Planned::Proposed(plan) => Some(plan.update()),
            Planned::Nothing => None,
        };
        if update.is_some_and(|update| self.is_new(id, update)) && self.state.is_stale(id, self.now(), FRESH) {
            self.state.again(id, self.now());
            self.effects();
        }
        let looking = self.state.sources_of(id).into_iter().find(|source| self.queue.holds(source));
        if let Proposal::Update(_, is_looking) | Proposal::Ask(.., is_looking) = &mut proposal {
            *is_looking = looking.is_some();
        }
        self.step(id, Event::Proposed(proposal));
        self.attend(id, votes);
        if let Some(source) = looking {
            self.board.await_look(id, &source);
        }
    }

    /// Whether nothing has become of it yet.
    fn is_new(&self, id: &WorkloadId, update: &Update) -> bool {
        let is_known = |record: &Record| record.phase_of(&update.id).is_some();
        update.puts_back.is_none() && !self.board.record(id).is_some_and(is_known)
    }

    /// Says what is to be said of a workload; what is to be written, the plan for it, and whether people's votes matter.
    pub(super) fn proposal(&mut self, id: &WorkloadId) -> (Proposal, Planned, bool) {
        let now = self.ports.clock.now();
        let mut assessment = assess(&self.state, &self.board, id, "cluster", now);
        let plan =
            assessment.as_mut().and_then(|assessment| assessment.plan.take_if(|_| self.state.has_place(id, now)));
        if plan.is_none() {
            self.state.waits_until(id, assessment.as_ref().and_then(|assessment| assessment.opens));
        }
        let votes = assessment.as_ref().is_some_and(|assessment| assessment.votes);
        self.told.assessed(id, &self.state.uid(id), assessment.as_ref(), self.now());
        if let Some(entry) = self.state.entry(id)
            && self.board.record(id).is_some_and(|record| record.is_moved(&entry.workload))
        {
            return (Proposal::Unsure, Planned::Nothing, votes);
        }
        if let Some((proposal, planned)) = way_back(&self.state, &self.board, &self.ledger, id, now) {
            return (proposal, planned, votes);
        }
        let workload = self.state.entry(id).map(|entry| entry.workload.clone());
        let (mut proposal, mut planned) = proposal(assessment, workload.as_ref(), false);
        if let (Planned::Approved(plan), true) = (&planned, votes)
            && !self.has_begun(id, plan.update())
            && !self.is_sure(id)
        {
            (proposal, planned) = (Proposal::Nothing, Planned::Nothing);
        }
        (proposal, planned, votes)
    }

    /// Whether it was brought to Git before.
    fn has_begun(&self, id: &WorkloadId, update: &Update) -> bool {
        let phase = self.board.record(id).and_then(|record| record.phase_of(&update.id));
        matches!(phase, Some(Phase::InGit { .. })) && update.route.target().is_some()
    }

    /// Reads a workload whose image is not what was thought, or that must tell who moved it back.
    pub(super) fn read(&mut self, id: WorkloadId) {
        let workloads = self.ports.workloads.clone();
        self.reads.push(
            async move {
                let read = workloads.get(&id).await;
                (id, read)
            }
            .boxed(),
        );
    }

    pub(super) fn observed(&mut self, id: &WorkloadId, read: Result<Option<Observed>, ClusterError>) {
        if let Err(error) = &read {
            tracing::warn!(workload = %id, why = %error, "not written; tried again later");
        }
        let judging = judging(&self.state, id);
        self.step(id, Event::Observed(read.clone().map_err(|error| error.0), judging));
        if let Ok(Some(observed)) = read {
            self.state.read(observed.workload, self.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        domain::{
            keel::KeelMode,
            workload::{Container, Workload},
        },
        engine::{index::settings::Settings, model::settings},
        ports::ClusterChange,
    };

    #[test]
    fn what_moves_with_another_is_compared_as_that_one_is() {
        let mut state = State::new(Settings { await_namespaces: false, ..settings(KeelMode::Ignore) });
        let container = |name: &str, init| Container {
            name: name.into(),
            image: "registry.example.com/web:1.0.0".into(),
            init,
            index: 0,
        };
        let id: WorkloadId = "shop/Deployment/web".parse().unwrap();
        let annotations = BTreeMap::from([("supercargo.dev/policy".to_owned(), "minor".to_owned())]);
        let workload = Workload::of(id.clone(), vec![container("web", false), container("migrate", true)]);
        let workload = Workload { annotations: annotations.into(), has_annotations: true, ..workload };
        state.change(ClusterChange::Workload(Box::new(workload)), Duration::ZERO);
        let Judging { mut policies, .. } = judging(&state, &id);
        policies.sort_by_key(|(_, init, _)| *init);
        let policies: Vec<_> = policies.iter().map(|(name, init, policy)| (&**name, *init, policy.as_str())).collect();
        assert_eq!(policies, [("web", false, "minor"), ("migrate", true, "minor")]);
    }
}
