//! What came of a write or a reading: record it, tell people, or try again.

use std::time::Duration;

use futures::FutureExt;

use super::run::{Engine, Ports};
use crate::{
    domain::{
        plan::{Approved, Plan},
        reason::Code,
        update::{Phase, Update},
        workload::WorkloadId,
    },
    metrics::{TriggerLabels, UpdateLabels},
    ports::{ClusterChange, ClusterError, Observed, Outcome},
};

/// An update, and what came of writing it.
pub(super) type Written = (Update, Outcome);
/// A workload, and what a reading of it brought.
pub(super) type Read = (WorkloadId, Result<Option<Observed>, ClusterError>);

/// Writes a plan, and records it if that went well.
pub(super) async fn write(ports: &Ports, plan: Plan<Approved>) -> Written {
    let mut update = plan.update().clone();
    let outcome = ports.sink.apply(vec![plan]).await.pop().unwrap_or(Outcome::Gone);
    if let Outcome::Applied { .. } = outcome {
        update.phase = Phase::Progressing;
        if let Err(error) = ports.records.put(update.clone()).await {
            tracing::error!(workload = %update.workload, %error, "updated, but not recorded");
        }
    }
    (update, outcome)
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

    /// Records what came of a write, tells people, or lets it be tried again.
    pub(super) fn written(&mut self, (update, outcome): Written) {
        let id = update.workload.clone();
        let again = self.busy.remove(&id).unwrap_or_default();
        let label = match &outcome {
            Outcome::Applied { .. } => "applied",
            Outcome::Stale => "stale",
            Outcome::Gone => "gone",
            Outcome::Refused(_) => "refused",
            Outcome::Failed(_) => "failed",
        };
        let labels = UpdateLabels { kind: id.kind.as_str().to_owned(), outcome: label };
        self.ports.metrics.updates.get_or_create(&labels).inc();
        self.not_written.insert(id.clone(), update.id.clone());
        match outcome {
            Outcome::Applied { resource_version } => {
                self.write_retries.forget(&id);
                self.not_written.remove(&id);
                if let Some((trigger, at)) = self.state.applied(&update, &resource_version, self.now()) {
                    let seconds = self.now().saturating_sub(at).as_secs_f64();
                    let labels = TriggerLabels { trigger: trigger.as_str() };
                    self.ports.metrics.detect_to_apply.get_or_create(&labels).observe(seconds);
                }
                self.told.updated(&update, &self.state.uid(&id));
            }
            Outcome::Stale => {
                let (first, longest) = (Duration::from_millis(100), Duration::from_secs(60));
                self.write_retries.failed(id.clone(), self.now(), first, longest, Duration::ZERO);
                self.read_again(&id);
            }
            Outcome::Gone => _ = self.not_written.remove(&id),
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

    fn write_failed(&mut self, id: &WorkloadId, why: &str, refused: bool) {
        let seconds = Duration::from_secs;
        let (first, longest) = if refused { (seconds(60), seconds(3600)) } else { (seconds(2), seconds(300)) };
        self.write_retries.failed(id.clone(), self.now(), first, longest, Duration::ZERO);
        tracing::warn!(workload = %id, why, "not written; tried again later");
    }
}
