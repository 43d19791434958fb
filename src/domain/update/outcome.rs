//! What whoever writes an update answers.

use std::sync::Arc;

use super::{Hold, LeftOut};
use crate::domain::reason::{Code, Reason};

/// What came of writing an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Written, as the server answered it.
    Applied(Written),
    /// In Git, from where a deployer brings it to the cluster: the commit or the pull request.
    Committed(Reason),
    /// The same, but for some of its changes.
    Partly(Reason, Vec<LeftOut>),
    /// Not written, and not before something changes: who moved it back, who closed the request, what is in the way.
    Blocked(Reason),
    /// Not written, as a person moved it back in Git: that is held.
    MovedBack(Reason, Box<Hold>),
    /// What was tested no longer holds: decide again on what is there now.
    Stale,
    /// The workload is gone.
    Gone,
    /// An admission, a quota, a validation or a Git server's rule refused it, in its own words.
    Refused(String),
    /// It could not be tried or the answer was lost: try again later.
    Failed(String),
}

impl Outcome {
    /// In one word, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Committed(said) | Self::Partly(said, _) if said.code == Code::RequestOpen => "proposed",
            Self::Committed(_) | Self::Partly(..) => "committed",
            Self::Blocked(_) | Self::MovedBack(..) => "blocked",
            Self::Stale => "stale",
            Self::Gone => "gone",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }

    /// The workload, if it was written.
    pub fn written(&self) -> Option<&Written> {
        if let Self::Applied(written) = self { Some(written) } else { None }
    }
}

/// A workload as the API server answered that it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// `metadata.resourceVersion`: what a watch says of an older version is out of date.
    pub resource_version: Arc<str>,
    /// The annotation [`LAST_UPDATE`](super::LAST_UPDATE).
    pub note: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// The image of each container, init ones last: an admission may have made it another than was asked for.
    pub images: Vec<(Arc<str>, Arc<str>)>,
    /// A hash of the pod template without its images: whether only these have changed since.
    pub template: Arc<str>,
    /// Whether all its pods were available, with the images that were there before.
    pub was_done: bool,
}

/// What whoever writes an update says of one that is not approved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsal {
    /// It would be written.
    Accepted,
    /// It would be refused, in these words.
    Refused(String),
    /// It cannot be said, and why.
    Unknown(String),
}

/// How an update stands that was brought to Git before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is there, but for what is left out: the commit or the pull request.
    InGit(Reason, Vec<LeftOut>),
    /// It is not, and is not to be written before something changes.
    Blocked(Reason),
    /// A person moved it back there: that is held.
    MovedBack(Reason, Box<Hold>),
    /// It is to be written again: the branch has moved, or it is no longer there.
    Due,
    /// It could not be found out.
    Failed(String),
}
