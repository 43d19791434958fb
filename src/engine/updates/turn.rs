//! The turn of workloads to be written: what is written or checked together, and what came of it.

use std::sync::Arc;

use crate::{
    domain::{
        plan::{Approved, Plan, Proposed},
        reason::{Code, Reason},
        target::Route,
        update::{Act, Event, Outcome, Rehearsal, Standing, Update},
        workload::WorkloadId,
    },
    engine::updates::{board::Acts, propose::Planned},
    ports::{Observed, Sink, Workloads},
};

/// What is written, checked, or tried whether it would be taken, by one route.
#[derive(Default)]
pub(crate) struct Batch {
    write: Vec<Plan<Approved>>,
    check: Vec<Plan<Approved>>,
    /// What brings back what ran before.
    back: Vec<Plan<Approved>>,
    rehearse: Vec<Plan<Proposed>>,
}

/// What came of a batch: of each update, what is to be told of it.
pub(crate) type Ended = (Route, Vec<(Update, SinkAnswer)>);

/// What came of an update.
pub(crate) enum SinkAnswer {
    Written(Outcome),
    Checked(Standing),
    Rehearsed(Rehearsal),
}

impl Batch {
    /// Takes in a workload's plan, if it is to be written or checked now.
    pub(crate) fn take(&mut self, id: &WorkloadId, plan: Planned, acts: &Acts) {
        let does = |act: Act| acts.iter().any(|(of, other)| of == id && *other == act);
        match plan {
            Planned::Approved(plan) if does(Act::Write) && plan.update().puts_back.is_some() => self.back.push(plan),
            Planned::Approved(plan) if does(Act::Write) => self.write.push(plan),
            Planned::Approved(plan) if does(Act::Check) => self.check.push(plan),
            Planned::Proposed(plan) if does(Act::Rehearse) => self.rehearse.push(plan),
            Planned::Approved(_) | Planned::Proposed(_) | Planned::Nothing => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.write.is_empty() && self.check.is_empty() && self.back.is_empty() && self.rehearse.is_empty()
    }

    /// With something more in each plan.
    pub(crate) fn with(self, more: impl Fn(Vec<Plan<Approved>>) -> Vec<Plan<Approved>>) -> Self {
        let [write, check, back] = [self.write, self.check, self.back].map(more);
        Self { write, check, back, rehearse: self.rehearse }
    }

    /// Checks and writes.
    pub(crate) async fn end(self, route: Route, sink: Arc<dyn Sink>, workloads: Arc<dyn Workloads>) -> Ended {
        let updates = |plans: &[Plan<Approved>]| plans.iter().map(|plan| plan.update().clone()).collect::<Vec<_>>();
        let mut ended = Vec::with_capacity(self.check.len() + self.write.len() + self.back.len());
        let mut write = self.write;
        for plan in self.back {
            let update = plan.update().clone();
            match may_go_back(plan, &*workloads).await {
                Ok(plan) => write.push(plan),
                Err(outcome) => ended.push((update, SinkAnswer::Written(outcome))),
            }
        }
        let (checked, written) = (updates(&self.check), updates(&write));
        if !checked.is_empty() {
            ended.extend(checked.into_iter().zip(sink.check(self.check).await.into_iter().map(SinkAnswer::Checked)));
        }
        if !written.is_empty() {
            ended.extend(written.into_iter().zip(sink.apply(write).await.into_iter().map(SinkAnswer::Written)));
        }
        for plan in self.rehearse {
            let rehearsal = sink.rehearse(&plan).await;
            ended.push((plan.into_update(), SinkAnswer::Rehearsed(rehearsal)));
        }
        (route, ended)
    }
}

/// The plan on the workload as it is now, where nothing but its images has changed since those ran that it brings back.
async fn may_go_back(plan: Plan<Approved>, workloads: &dyn Workloads) -> Result<Plan<Approved>, Outcome> {
    let expected = plan.update().puts_back.as_ref().and_then(|back| back.template.clone());
    match workloads.get(&plan.update().workload).await {
        Ok(Some(Observed { template, .. })) if expected.is_some_and(|expected| expected != template) => {
            let message = "it does not run, and is not rolled back: more of its pod template has changed than its images, \
                           since what ran before did; set an image by hand";
            Err(Outcome::Blocked(Reason::new(Code::RollbackNotPossible, message)))
        }
        Ok(Some(Observed { workload, .. })) => Ok(plan.on(Arc::new(workload))),
        Ok(None) => Err(Outcome::Gone),
        Err(error) => Err(Outcome::Failed(error.0)),
    }
}

impl SinkAnswer {
    /// What has happened to that update.
    pub(crate) fn event(self, update: &Update) -> Event {
        match self {
            Self::Written(outcome) => Event::Written(update.id.clone(), outcome),
            Self::Checked(standing) => Event::Checked(update.id.clone(), standing),
            Self::Rehearsed(rehearsal) => Event::Rehearsed(update.id.clone(), rehearsal),
        }
    }
}
