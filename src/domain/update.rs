//! The unit of work: one change of one workload, from the proposal to its end.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    image::{Digest, ImageRef, Tag},
    reason::Reason,
    target::Write,
    workload::WorkloadId,
};

/// The name of an [`Update`]: the same changes of the same workload have the same id, so an effect that is
/// keyed by it is not done twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpdateId(pub Arc<str>);

/// One image of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// The image that was there.
    pub from: ImageRef,
    /// The image to run.
    pub to: ImageRef,
}

/// What a new image was chosen by and from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The tag that was chosen.
    pub tag: Tag,
    /// The digest it pointed to when looked at, where one was asked for.
    pub digest: Option<Digest>,
    /// When the look was made.
    pub seen: Timestamp,
}

/// How far an [`Update`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Phase {
    /// Decided, not yet gated.
    Proposed,
    /// A gate is closed.
    Waiting,
    /// Being written.
    Applying,
    /// Written; the rollout goes on.
    Progressing,
    /// Runs.
    Succeeded,
    /// Undone.
    RolledBack,
    /// Could not be written or does not run.
    Failed,
    /// A newer one took its place.
    Superseded,
    /// A person said no.
    Rejected,
    /// Nobody answered in time.
    Expired,
}

/// One change of one workload: all its approved images go into one patch and one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// See [`UpdateId`].
    pub id: UpdateId,
    /// The workload that changes.
    pub workload: WorkloadId,
    /// One a container; never empty.
    pub changes: Vec<Change>,
    /// The policies that chose, as written, one for each change.
    pub policies: Vec<Arc<str>>,
    /// What each change was chosen from.
    pub evidence: Vec<Evidence>,
    /// Where it is written.
    #[serde(default)]
    pub write: Write,
    /// Whose pull request it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Arc<str>>,
    /// How far it has come.
    pub phase: Phase,
    /// When it was proposed.
    pub proposed: Timestamp,
}

/// A change of an update that is not made with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    pub init: bool,
    /// Why.
    pub reason: Reason,
}

impl LeftOut {
    /// Whether it is this change.
    pub fn is(&self, change: &Change) -> bool {
        (&self.container, self.init) == (&change.container, change.init)
    }
}

impl Update {
    /// Without the changes that are not made.
    #[must_use]
    pub fn without(mut self, left: &[LeftOut]) -> Self {
        let is_kept: Vec<bool> = self.changes.iter().map(|change| !left.iter().any(|left| left.is(change))).collect();
        fn keep<T>(all: &mut Vec<T>, is_kept: &[bool]) {
            let mut kept = is_kept.iter();
            all.retain(|_| kept.next().copied().unwrap_or(true));
        }
        keep(&mut self.changes, &is_kept);
        keep(&mut self.policies, &is_kept);
        keep(&mut self.evidence, &is_kept);
        self
    }
}

/// What `supercargo.dev/last-update` says to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUpdate {
    /// The update's id.
    pub id: UpdateId,
    /// When it was written.
    pub at: Timestamp,
    /// What it changed.
    pub changes: Vec<Change>,
}

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl UpdateId {
    /// The id of these changes of this workload: a hash of both.
    pub fn of(workload: &WorkloadId, changes: &[Change]) -> Self {
        use sha2::{Digest as _, Sha256};
        let mut hash = Sha256::new();
        hash.update(workload.to_string());
        for change in changes {
            hash.update(format!("\n{} {} {} {}", change.container, change.init, change.from, change.to));
        }
        let hex: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        Self(hex.into())
    }
}
