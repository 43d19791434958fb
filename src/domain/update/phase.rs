//! How far an update has come.

use serde::{Deserialize, Serialize};

use super::{LeftOut, Update};
use crate::domain::reason::Reason;

/// How far an update has come. Later ones are RollingBack, Succeeded, RolledBack, Failed, Rejected and Expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase")]
pub enum Phase {
    /// Decided, every gate is open; it waits for its turn to be written.
    Proposed,
    /// Something keeps it from being written until that changes.
    Waiting {
        /// What.
        reason: Reason,
    },
    /// Being written, or tried again later.
    Applying,
    /// In Git, from where a deployer brings it to the cluster.
    InGit {
        /// The commit or the request.
        reason: Reason,
        /// What is not brought with the others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<LeftOut>,
    },
    /// Written; the rollout goes on.
    Progressing,
    /// Another one took its place before it was written, or before it ran.
    Superseded,
}

/// An update and its phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// Which.
    #[serde(flatten)]
    pub update: Update,
    /// How far it has come.
    #[serde(flatten)]
    pub phase: Phase,
}

impl Phase {
    /// What was said of it, where something was.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Waiting { reason } | Self::InGit { reason, .. } => Some(reason),
            Self::Proposed | Self::Applying | Self::Progressing | Self::Superseded => None,
        }
    }

    /// What was said of it, and of what is left out.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        let left = if let Self::InGit { left, .. } = self { &left[..] } else { &[] };
        self.reason().into_iter().chain(left.iter().map(|left| &left.reason))
    }

    /// Whether nothing more is done for it.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Progressing | Self::Superseded)
    }
}
