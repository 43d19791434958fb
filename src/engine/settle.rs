//! What came of a write or a reading: record it, tell people, or try again.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;

use super::{inputs::Ports, run::Engine};
use crate::{
    domain::{
        hint::Trigger,
        plan::{Approved, Plan},
        reason::Code,
        report::Verdict,
        update::{Phase, Update},
        workload::WorkloadId,
    },
    metrics::{TriggerLabels, UpdateLabels},
    ports::{ClusterChange, ClusterError, Observed, Outcome},
};

/// The Git target (or the cluster), each update, and what came of writing it.
pub(super) type Written = (Option<Arc<str>>, Vec<(Update, Outcome)>);
/// A workload, and what a reading of it brought.
pub(super) type Read = (WorkloadId, Result<Option<Observed>, ClusterError>);

/// Writes plans to one target, and records each that went well.
pub(super) async fn write(ports: &Ports, target: Option<Arc<str>>, plans: Vec<Plan<Approved>>) -> Written {
    let updates: Vec<Update> = plans.iter().map(|plan| plan.update().clone()).collect();
    let outcomes = ports.sink.apply(plans).await;
    let mut written = Vec::with_capacity(updates.len());
    for (mut update, outcome) in updates.into_iter().zip(outcomes) {
        if let Outcome::Partly(_, left) = &outcome {
            update = update.without(left);
        }
        update.phase = match outcome {
            Outcome::Applied { .. } => Phase::Progressing,
            Outcome::Committed(_) | Outcome::Partly(..) => Phase::Applying,
            _ => Phase::Proposed,
        };
        if update.phase != Phase::Proposed {
            record(ports, &update).await;
        }
        written.push((update, outcome));
    }
    (target, written)
}

async fn record(ports: &Ports, update: &Update) {
    if let Err(error) = ports.records.put(update.clone()).await {
        tracing::error!(workload = %update.workload, %error, "updated, but not recorded");
    }
}

impl Engine<'_> {
    /// Reads a workload whose image is not what was thought, or that must tell who moved it back.
    pub(super) fn read_again(&mut self, id: &WorkloadId) {
        self.busy.insert(id.clone(), false);
        let (workloads, id) = (self.ports.workloads.clone(), id.clone());
        self.reads.push(
            async move {
                let read = workloads.get(&id).await;
                (id, read)
            }
            .boxed(),
        );
    }

    pub(super) fn read(&mut self, (id, read): Read) {
        self.busy.remove(&id);
        match read {
            Ok(Some(observed)) => {
                self.state.moved_back(&observed);
                self.state.change(ClusterChange::Workload(Box::new(observed.workload)), self.now());
                self.state.assess_later(&id);
            }
            Ok(None) => self.state.change(ClusterChange::WorkloadGone(id), self.now()),
            Err(error) => self.write_failed(&id, &error.to_string(), false),
        }
    }

    /// A write has ended.
    pub(super) fn written(&mut self, (target, written): Written) {
        if let Some(target) = &target {
            self.lines.ended(target);
        }
        for (update, outcome) in written {
            if target.is_none() {
                self.lines.cluster.ended(&update.workload.namespace);
            }
            self.settle(update, outcome);
        }
    }

    /// Records what came of a write, tells people, or lets it be tried again.
    fn settle(&mut self, update: Update, outcome: Outcome) {
        let id = update.workload.clone();
        let again = self.busy.remove(&id).unwrap_or_default();
        let label = match &outcome {
            Outcome::Applied { .. } => "applied",
            Outcome::Committed(said) | Outcome::Partly(said, _) if said.code == Code::RequestOpen => "proposed",
            Outcome::Committed(_) | Outcome::Partly(..) => "committed",
            Outcome::Blocked(_) => "blocked",
            Outcome::Stale => "stale",
            Outcome::Gone => "gone",
            Outcome::Refused(_) => "refused",
            Outcome::Failed(_) => "failed",
        };
        let labels = UpdateLabels { kind: id.kind.as_str().to_owned(), outcome: label };
        self.ports.metrics.updates.get_or_create(&labels).inc();
        if self.not_written.insert(id.clone(), update.id.clone()).as_ref() != Some(&update.id) {
            self.checks.forget(&id);
        }
        let (outcome, left) = match outcome {
            Outcome::Partly(said, left) => (Outcome::Committed(said), left),
            other => (other, Vec::new()),
        };
        match outcome {
            Outcome::Applied { resource_version } => {
                self.write_retries.forget(&id);
                self.not_written.remove(&id);
                let cause = self.state.applied(&update, &resource_version, self.now());
                self.observe(cause);
                self.told.updated(&update, &self.state.uid(&id));
            }
            Outcome::Committed(said) => {
                self.write_retries.forget(&id);
                let before = self.state.in_git_as(&update.id, &id);
                let known =
                    before.is_some_and(|known| known.verdict == Verdict::Waiting && known.said.code == said.code);
                let cause = self.state.in_git(&update, &said, left, Verdict::Waiting);
                if !known {
                    self.observe(cause);
                    self.told.committed(&update, &self.state.uid(&id), &said);
                }
                self.check_later(&id);
                self.state.assess_later(&id);
            }
            Outcome::Blocked(said) => {
                self.write_retries.forget(&id);
                self.state.in_git(&update, &said, left, Verdict::Blocked);
                self.check_later(&id);
                self.state.assess_later(&id);
            }
            Outcome::Stale => {
                let (first, longest) = (Duration::from_millis(100), Duration::from_secs(60));
                self.write_retries.failed(id.clone(), self.now(), first, longest, Duration::ZERO);
                self.read_again(&id);
            }
            Outcome::Gone => _ = self.not_written.remove(&id),
            // Taken apart above.
            Outcome::Partly(..) => {}
            Outcome::Refused(why) => {
                self.write_failed(&id, &why, true);
                self.told.refused(&update, &self.state.uid(&id), &why);
            }
            Outcome::Failed(why) => {
                self.write_failed(&id, &why, false);
                self.told.count(&id, Code::WriteFailed);
            }
        }
        if again {
            self.state.assess_later(&id);
        }
    }

    /// The cluster runs what was written to Git.
    pub(super) fn arrived(&mut self, mut update: Update) {
        self.checks.forget(&update.workload);
        self.not_written.remove(&update.workload);
        update.phase = Phase::Progressing;
        self.told.updated(&update, &self.state.uid(&update.workload));
        let ports = self.ports;
        self.records.push(async move { record(ports, &update).await }.boxed());
    }

    fn observe(&self, cause: Option<(Trigger, Duration)>) {
        if let Some((trigger, at)) = cause {
            let seconds = self.now().saturating_sub(at).as_secs_f64();
            let labels = TriggerLabels { trigger: trigger.as_str() };
            self.ports.metrics.detect_to_apply.get_or_create(&labels).observe(seconds);
        }
    }

    /// What stands in Git is seen to again: whether it was moved back, its request merged or closed.
    fn check_later(&mut self, id: &WorkloadId) {
        let seconds = Duration::from_secs;
        self.checks.failed(id.clone(), self.now(), seconds(30), seconds(600), Duration::ZERO);
    }

    fn write_failed(&mut self, id: &WorkloadId, why: &str, refused: bool) {
        let seconds = Duration::from_secs;
        let (first, longest) = if refused { (seconds(60), seconds(3600)) } else { (seconds(2), seconds(300)) };
        self.write_retries.failed(id.clone(), self.now(), first, longest, Duration::ZERO);
        tracing::warn!(workload = %id, why, "not written; tried again later");
    }
}
