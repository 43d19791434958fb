//! Clears away what is kept of no update any longer: of each workload the ten newest stay that have ended.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use kube::api::Preconditions;

use super::{
    names,
    object::Found,
    requests::{Failure, Requests},
    store::WORKLOAD,
    update::ImageUpdate,
};
use crate::domain::{update::KEPT, workload::WorkloadId};

/// Workloads of which an update has ended, one after the other.
pub(super) struct Clearing {
    requests: Requests,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    workloads: HashSet<WorkloadId>,
    /// Whether somebody sees to them.
    is_seen_to: bool,
}

impl Clearing {
    pub(super) fn new(requests: Requests) -> Self {
        Self { requests, waiting: Mutex::default() }
    }

    /// Another update of it has ended. Does not wait.
    pub(super) fn clear(self: &Arc<Self>, workload: WorkloadId) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.workloads.insert(workload);
        if !std::mem::replace(&mut waiting.is_seen_to, true) {
            tokio::spawn(Self::see_to(self.clone()));
        }
    }

    async fn see_to(self: Arc<Self>) {
        while let Some(workload) = self.next() {
            if let Err(why) = self.clear_one(&workload).await {
                tracing::debug!(%workload, why, "the records of old updates are not cleared away");
            }
        }
    }

    fn next(&self) -> Option<WorkloadId> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let next = waiting.workloads.iter().next().cloned();
        match &next {
            Some(workload) => _ = waiting.workloads.remove(workload),
            None => waiting.is_seen_to = false,
        }
        next
    }

    async fn clear_one(&self, workload: &WorkloadId) -> Result<(), String> {
        /// When it came, and which it is.
        type Ended = ((Option<Timestamp>, Timestamp), String, String);
        let mut ended: Vec<Ended> = Vec::new();
        let each = |found: Found<ImageUpdate>| {
            let Ok(object) = &found.object else { return };
            let metadata = &object.metadata;
            let is_of = object.spec.workload.id(&metadata.namespace).is_ok_and(|(id, _)| id == *workload);
            // What a finalizer holds is not asked for again.
            if is_of && object.is_over() && metadata.deletion_timestamp.is_none() {
                ended.push((object.age(), metadata.name.clone(), metadata.uid.clone()));
            }
        };
        let label = format!("{WORKLOAD}={}", names::label(workload));
        self.requests.each(&workload.namespace, &label, each).await.map_err(|error| error.to_string())?;
        ended.sort();
        let mut all = Ok(());
        for (_, name, uid) in ended.iter().take(ended.len().saturating_sub(KEPT)) {
            let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
            match self.requests.delete::<ImageUpdate>(&workload.namespace, name, preconditions).await {
                Ok(()) | Err(Failure::NotAsSeen | Failure::NamespaceGone | Failure::Taken) => {}
                Err(
                    Failure::TooLarge(why)
                    | Failure::Refused(why)
                    | Failure::NoRight(why)
                    | Failure::NoKind(why)
                    | Failure::Unavailable(why),
                ) => {
                    all = Err(format!("{name}: {why}"));
                }
            }
        }
        all
    }
}
