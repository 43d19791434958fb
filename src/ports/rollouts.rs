//! Follows rollouts.

use crate::domain::{update::Change, workload::WorkloadId};

/// Follows rollouts. What is seen comes as [`ClusterChange::Rollout`](super::ClusterChange::Rollout) and
/// [`ClusterChange::Pods`](super::ClusterChange::Pods). Never waits.
pub trait Rollouts: Send + Sync {
    /// From now on tell what this workload and the pods of its new revision say.
    fn follow(&self, id: &WorkloadId);

    /// No more.
    fn unfollow(&self, id: &WorkloadId);

    /// Deletes the next pod of a workload that goes back which has these images and was never ready. Where it may not,
    /// that comes as [`ClusterChange::Stuck`](super::ClusterChange::Stuck).
    fn free(&self, id: &WorkloadId, failed: Vec<Change>);
}
