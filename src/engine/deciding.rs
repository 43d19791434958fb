//! How the loop decides about a workload.

use std::time::Duration;

use crate::{
    domain::{
        plan::{Approved, Plan},
        update::{Event, Proposal, Record},
        workload::WorkloadId,
    },
    engine::{
        driver::Engine,
        report::rows::{assess, proposal},
    },
};

/// As long what a tag was seen to point to is written without a look whether it has moved.
const FRESH: Duration = Duration::from_secs(60);

impl Engine<'_> {
    /// Says what is to be said of a workload, and goes on with it.
    pub(super) fn decide(&mut self, id: &WorkloadId) {
        let (mut proposal, plan) = self.proposal(id, false);
        // What was held for long may not be what it was: a tag may have moved, to what is not to be taken.
        if plan.is_some_and(|plan| self.is_new(id, &plan)) && self.state.is_stale(id, self.now(), FRESH) {
            self.state.again(id, self.now());
            self.effects();
        }
        let looking = self.state.sources_of(id).into_iter().find(|source| self.queue.holds(source));
        if let (Proposal::Update(_, is_looking), true) = (&mut proposal, looking.is_some()) {
            *is_looking = true;
        }
        self.step(id, Event::Proposed(proposal));
        if let Some(source) = looking {
            self.board.hold(id, &source);
        }
    }

    /// Whether nothing has become of it yet.
    fn is_new(&self, id: &WorkloadId, plan: &Plan<Approved>) -> bool {
        self.board.record(id).and_then(|record: &Record| record.phase_of(&plan.update().id)).is_none()
    }

    /// Says what is to be said of a workload; what is to be written, and the plan for it.
    pub(super) fn proposal(&mut self, id: &WorkloadId, is_looking: bool) -> (Proposal, Option<Plan<Approved>>) {
        let now = self.ports.clock.now();
        let mut assessment = assess(&self.state, &self.board, id, "cluster", now);
        let plan =
            assessment.as_mut().and_then(|assessment| assessment.plan.take_if(|_| self.state.has_place(id, now)));
        if plan.is_none() {
            self.state.waits_until(id, assessment.as_ref().and_then(|assessment| assessment.opens));
        }
        self.told.assessed(id, &self.state.uid(id), assessment.as_ref(), self.now());
        let workload = self.state.entry(id).map(|entry| &entry.workload);
        proposal(assessment, workload, is_looking)
    }
}
