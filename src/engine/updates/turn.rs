//! The turn of workloads to be written: what is written or checked together, and what came of it.

use std::sync::Arc;

use crate::{
    domain::{
        plan::{Approved, Plan},
        target::Route,
        update::{Act, Event, Outcome, Standing, Update},
        workload::WorkloadId,
    },
    engine::updates::board::Acts,
    ports::Sink,
};

/// What is written, and what is checked, by one route.
#[derive(Default)]
pub(crate) struct Batch {
    write: Vec<Plan<Approved>>,
    check: Vec<Plan<Approved>>,
}

/// What came of a batch: of each update, what is to be told of it.
pub(crate) type Ended = (Route, Vec<(Update, SinkAnswer)>);

/// What came of an update.
pub(crate) enum SinkAnswer {
    Written(Outcome),
    Checked(Standing),
}

impl Batch {
    /// Takes in a workload's plan, if it is to be written or checked now.
    pub(crate) fn take(&mut self, id: &WorkloadId, plan: Option<Plan<Approved>>, acts: &Acts) {
        let Some(plan) = plan else { return };
        let does = |act: Act| acts.iter().any(|(of, other)| of == id && *other == act);
        if does(Act::Write) {
            self.write.push(plan);
        } else if does(Act::Check) {
            self.check.push(plan);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.write.is_empty() && self.check.is_empty()
    }

    /// With something more in each plan.
    pub(crate) fn with(self, more: impl Fn(Vec<Plan<Approved>>) -> Vec<Plan<Approved>>) -> Self {
        let [write, check] = [self.write, self.check].map(more);
        Self { write, check }
    }

    /// Checks and writes.
    pub(crate) async fn end(self, route: Route, sink: Arc<dyn Sink>) -> Ended {
        let updates = |plans: &[Plan<Approved>]| plans.iter().map(|plan| plan.update().clone()).collect::<Vec<_>>();
        let (checked, written) = (updates(&self.check), updates(&self.write));
        let mut ended = Vec::with_capacity(checked.len() + written.len());
        if !checked.is_empty() {
            ended.extend(checked.into_iter().zip(sink.check(self.check).await.into_iter().map(SinkAnswer::Checked)));
        }
        if !written.is_empty() {
            ended.extend(written.into_iter().zip(sink.apply(self.write).await.into_iter().map(SinkAnswer::Written)));
        }
        (route, ended)
    }
}

impl SinkAnswer {
    /// What has happened to that update.
    pub(crate) fn event(self, update: &Update) -> Event {
        match self {
            Self::Written(outcome) => Event::Written(update.id.clone(), outcome),
            Self::Checked(standing) => Event::Checked(update.id.clone(), standing),
        }
    }
}
