//! What a webhook or the poll says: "look at this repository now". Nothing else in it is believed.

use std::sync::Arc;

use super::image::{Digest, Repository, Tag};

/// What made us look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Its time had come.
    Poll,
    /// A registry or CI told us.
    Webhook,
    /// A workload or its rule is new or has changed.
    Change,
}

impl Trigger {
    /// For metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Webhook => "webhook",
            Self::Change => "change",
        }
    }
}

/// A reason to look at a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hint {
    /// Where something may be new.
    pub repository: Repository,
    /// The tag that was pushed, where the sender names one: then one HEAD of it does instead of a listing.
    pub tag: Option<Tag>,
    /// What the tag points to, as the sender says: only a reason to look again if it does not.
    pub digest: Option<Digest>,
    /// Who says so, as metrics name it.
    pub sender: &'static str,
}

/// What a repository is looked at with. Workloads share a look when this is equal, and never else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Where.
    pub repository: Repository,
    /// As whom.
    pub credentials: Credentials,
}

/// Whose credentials a look may use. A namespace's secrets are part of the key, so that they never serve another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credentials {
    /// Pull secrets of one namespace, tried first, in their order.
    pub secrets: Option<PullSecrets>,
    /// Whether the operator's own credentials for the host may be used: the configuration names the namespace.
    pub operator: bool,
}

/// Secrets of type `kubernetes.io/dockerconfigjson`, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PullSecrets {
    /// The namespace that holds them and whose workloads they serve.
    pub namespace: Arc<str>,
    /// Their names, in the pod template's order.
    pub names: Vec<Arc<str>>,
}
