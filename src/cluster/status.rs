//! What an object says of its rollout, whatever its kind: the fields of `spec` and `status` that Deployments, StatefulSets
//! and DaemonSets have for it.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::domain::{rollout::RolloutView, workload::KindSpec};

/// Below `spec`.
#[derive(Debug, Clone, Default)]
pub(super) struct Strategy {
    pub(super) replicas: Option<i64>,
    pub(super) paused: Option<bool>,
    pub(super) deadline: Option<i64>,
    pub(super) min_ready: Option<i64>,
    /// Of a Deployment it is called `strategy`, of others `updateStrategy`.
    pub(super) update: Option<UpdateStrategy>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UpdateStrategy {
    #[serde(rename = "type")]
    kind: String,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RollingUpdate {
    partition: Option<i64>,
}

/// `status`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    observed_generation: i64,
    replicas: i64,
    updated_replicas: i64,
    available_replicas: i64,
    current_revision: Arc<str>,
    update_revision: Arc<str>,
    desired_number_scheduled: Option<i64>,
    current_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_available: i64,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: Arc<str>,
}

/// What stands for no deadline in `spec.progressDeadlineSeconds`.
const NEVER: i64 = i32::MAX as i64;

fn seconds(seconds: i64) -> Option<Duration> {
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// A hash of the pod template without its images.
pub(super) fn template(object: &Value, kind: &KindSpec) -> Arc<str> {
    let mut template = object.pointer(kind.pod_spec.trim_end_matches("/spec")).cloned().unwrap_or_default();
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in template.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().map(|container| container.remove("image"));
        }
    }
    let hash = Sha256::digest(template.to_string());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// Of a workload of that uid and generation.
pub(super) fn view(uid: &str, generation: i64, strategy: &Strategy, status: &Status) -> RolloutView {
    let is = |kind: &str, value: &str| status.conditions.iter().find(|c| c.kind == kind && c.status == value);
    let overdue = is("Progressing", "False").filter(|condition| condition.reason == "ProgressDeadlineExceeded");
    let update = strategy.update.clone().unwrap_or_default();
    RolloutView {
        uid: uid.into(),
        generation,
        observed: status.observed_generation,
        wanted: status.desired_number_scheduled.or(strategy.replicas).unwrap_or(1),
        total: status.replicas + status.current_number_scheduled,
        updated: status.updated_replicas + status.updated_number_scheduled,
        available: status.available_replicas + status.number_available,
        is_paused: strategy.paused.unwrap_or_default(),
        is_recreate: update.kind == "Recreate",
        is_on_delete: update.kind == "OnDelete",
        partition: update.rolling_update.and_then(|rolling| rolling.partition).unwrap_or_default(),
        revisions: [status.current_revision.clone(), status.update_revision.clone()],
        deadline: strategy.deadline.filter(|seconds| *seconds < NEVER).and_then(seconds),
        min_ready: strategy.min_ready.unwrap_or_default(),
        template: None,
        overdue: overdue.map(|condition| condition.message.clone()),
        refused: is("ReplicaFailure", "True").map(|condition| condition.message.clone()),
    }
}
