//! Deletes the pods that keep a StatefulSet from going back: it does not replace one that is not ready (Kubernetes:
//! StatefulSets, "Forced rollback").

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Preconditions},
};

use super::Shared;
use crate::{
    cluster::{failure, in_time},
    domain::{update::Change, workload::WorkloadId},
    ports::ClusterChange,
};

/// How many are read at once.
const PAGE: u32 = 100;

impl Shared {
    /// Deletes the next pod with these images that was never ready, while all others are whole.
    pub(super) async fn free(&self, id: &WorkloadId, failed: &[Change]) {
        match self.next_in_the_way(id, failed).await {
            Ok(None) => {}
            Ok(Some(pod)) => {
                if let Err(why) = self.delete(id, &pod).await {
                    let name = pod.metadata.name.unwrap_or_default();
                    let stuck = ClusterChange::Stuck(id.clone(), stuck(id, &name, &why));
                    // Nobody listens any more: the program ends.
                    _ = self.send(stuck).await;
                }
            }
            Err(why) => tracing::debug!(workload = %id, why, "which of its pods stand in the way cannot be read yet"),
        }
    }

    async fn next_in_the_way(&self, id: &WorkloadId, failed: &[Change]) -> Result<Option<Pod>, String> {
        let Some((view, selected)) = self.read(id).await else { return Ok(None) };
        let (Some(view), Some(selector)) = (view, selected.all()) else { return Ok(None) };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &id.namespace);
        let mut params = ListParams::default().labels(&selector).limit(PAGE);
        let (mut found, mut is_whole) = (None, true);
        loop {
            let page = match in_time(&self.clock, api.list(&params)).await {
                Some(page) => page.map_err(|error| failure(&error))?,
                None => return Err("no answer in time".to_owned()),
            };
            for pod in page.items.into_iter().filter(|pod| is_its(pod, &view.uid)) {
                let is_failed = has_images(&pod, failed);
                is_whole &= pod.metadata.deletion_timestamp.is_none() && (is_failed || is_ready(&pod));
                if is_failed && was_never_ready(&pod) {
                    found = Some(pod);
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(found.filter(|_| is_whole));
            }
        }
    }

    /// If it is as it was read.
    async fn delete(&self, id: &WorkloadId, pod: &Pod) -> Result<(), String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &id.namespace);
        let (uid, resource_version) = (pod.metadata.uid.clone(), pod.metadata.resource_version.clone());
        let preconditions = Some(Preconditions { uid, resource_version });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match in_time(&self.clock, api.delete(name, &params)).await {
            Some(Ok(_)) => {
                tracing::info!(workload = %id, pod = name, "deleted: it was never ready and kept the rest from going back");
                Ok(())
            }
            Some(Err(kube::Error::Api(status))) if status.code == 403 => Err(failure(&kube::Error::Api(status))),
            // It is tried again.
            Some(Err(_)) | None => Ok(()),
        }
    }
}

fn is_its(pod: &Pod, uid: &str) -> bool {
    pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

fn has_images(pod: &Pod, changes: &[Change]) -> bool {
    let Some(spec) = &pod.spec else { return false };
    changes.iter().all(|change| {
        let all = if change.init { spec.init_containers.as_deref().unwrap_or_default() } else { &spec.containers };
        all.iter().any(|it| *it.name == *change.container && it.image.as_deref() == Some(&*change.to.to_string()))
    })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The kubelet says that it is not ready when it starts it, and then only when that changes.
fn was_never_ready(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return true };
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let started = status.start_time.as_ref().map(|time| time.0.as_second());
    ready.is_none_or(|ready| {
        let since = ready.last_transition_time.as_ref().map(|time| time.0.as_second());
        ready.status != "True" && since.zip(started).is_some_and(|(since, started)| since <= started + 1)
    })
}

fn stuck(id: &WorkloadId, pod: &str, why: &str) -> Arc<str> {
    format!(
        "the pod {pod} was never ready, and a StatefulSet does not replace it: `kubectl -n {} delete pod {pod}` lets what \
         ran before come back (supercargo may not: {why}; deploy/components/rollback lets it)",
        id.namespace
    )
    .into()
}
