//! What is new of an update, as facts. Sentences are made where they are sent.

use std::sync::Arc;

use super::{HeldBy, Hold, SeenRule, Update};
use crate::domain::{reason::Reason, votes::Approval, workload::WorkloadId};

/// What is new of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It was written, or the cluster runs what was written to Git.
    Updated(Update),
    /// It is in Git, or in a request.
    Committed(Update, Reason),
    /// An admission or a Git server refused it, in its words.
    Refused(Update, String),
    /// It could not be written, or how it stands could not be found out; it is tried again.
    Failed(Update, String),
    /// Its rollout stands still, or has ended.
    Rollout(Update, Rollout),
    /// It waits for people to approve it; why it could not be tried whether it would be taken, if it could not.
    ApprovalNeeded(Update, Approval, Option<Arc<str>>),
    /// Somebody said no, or too few yes in time.
    Refusal(Update, Reason),
    /// Somebody moved an image back, which is respected.
    Held(WorkloadId, Hold),
    /// Annotations went or came with an image that was moved back, and which stay in force.
    TakenAway(WorkloadId, Box<SeenRule>),
    /// A person wants it, or all, left as it is.
    Stopped(WorkloadId, HeldBy),
}

/// What is new of the rollout of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// It runs.
    Succeeded,
    /// Nobody can tell whether it does, and why.
    NotFollowed(Reason),
    /// It has no pods that could tell.
    NotProved(Reason),
    /// It stands still for what is not the image's fault.
    Stalled(Reason),
    /// It does not run.
    Failed(Reason),
    /// Somebody set other images meanwhile.
    Superseded,
    /// What was there before runs again.
    RolledBack(Reason),
}

impl Rollout {
    /// In one word, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::NotFollowed(_) | Self::NotProved(_) => "not-followed",
            Self::Stalled(_) => "stalled",
            Self::Failed(_) => "failed",
            Self::Superseded => "superseded",
            Self::RolledBack(_) => "rolled-back",
        }
    }

    /// Why, where something is to be said.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::NotFollowed(reason) | Self::NotProved(reason) | Self::Stalled(reason) => Some(reason),
            Self::Failed(reason) | Self::RolledBack(reason) => Some(reason),
            Self::Succeeded | Self::Superseded => None,
        }
    }
}
