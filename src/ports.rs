//! Every part of the outside world that the engine talks to, on one page.
//!
//! Adapters implement these traits; the engine and the commands know nothing else of them. Errors carry a
//! public text (never a secret, never a registry's body) and a fixed category for metrics.

mod messages;
mod records;
mod rollouts;
mod votes;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::domain::{
    hint::{Hint, Source},
    history::Sighting,
    image::{Digest, ImageRef, Repository, Tag},
    plan::{Approved, Plan, Proposed},
    poll::Schedule,
    reason::Code,
    rollout::{Pods, RolloutView},
    tags::Tags,
    update::{Tracked, WorkloadState},
    votes::Review,
    wish::Wish,
    workload::{Application, ApplicationId, Workload, WorkloadId},
};
pub use messages::{Announced, Explain, Messages, Notify, Person, ReviewOutcome, Reviewers, Right, Spoken, UpdateName};
pub use records::{Histories, PutError, RecordError, Records, Version};
pub use rollouts::Rollouts;
pub use votes::{ObjectName, Proof, Votes};

pub use crate::domain::{
    update::{Outcome, Rehearsal, Standing, Written},
    workload::{ImageManager, Observed},
};

/// Reads registries (OCI distribution-spec). Nothing is cached here but tokens and challenges.
pub trait Registry: Send + Sync {
    /// The same registries, with what is scarce (lookups of names) counted as that namespace's, for tags of at most that
    /// weight: where there are more the error is [`RegistryErrorKind::NoRoom`].
    fn within(&self, namespace: &Arc<str>, room: usize) -> Box<dyn Registry>;

    /// All tags of a repository, or an error: never a part of them.
    fn tags<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Tags, RegistryError>>;

    /// The digest a tag points to now, by one HEAD.
    fn digest<'a>(&'a self, source: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<Digest, RegistryError>>;

    /// Whether an image can be pulled: by its digest, or else by its tag, by one HEAD.
    fn has<'a>(&'a self, source: &'a Source, image: &'a ImageRef) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// The digest and the times of the image a tag points to now.
    fn image<'a>(&'a self, source: &'a Source, tag: &'a Tag) -> BoxFuture<'a, Result<ImageTimes, RegistryError>>;

    /// What an image says of what it was built from. By its digest, where it is written with one.
    fn origin<'a>(&'a self, source: &'a Source, image: &'a ImageRef) -> BoxFuture<'a, Result<Origin, RegistryError>>;
}

/// What an image was built from, as whoever built it says (OCI image-spec, annotations.md). Foreign text of at most
/// 1 KiB each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `org.opencontainers.image.source`: where the source code is.
    pub source: Option<String>,
    /// `org.opencontainers.image.revision`: which of it.
    pub revision: Option<String>,
}

/// When an image came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTimes {
    /// What the tag points to.
    pub digest: Digest,
    /// When it was pushed, where the registry says so.
    pub pushed: Option<Timestamp>,
    /// `created` of the image's configuration.
    pub created: Option<Timestamp>,
}

/// Why a look failed. The text is for the owner of the workload.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct RegistryError {
    /// Which kind of failure.
    pub kind: RegistryErrorKind,
    /// What happened, to what, and what to do next.
    pub message: String,
}

impl RegistryError {
    /// There are more tags than there is room for.
    pub fn no_room(repository: &Repository) -> Self {
        let message = format!("the tags of {repository} take more memory than there is room for");
        Self { kind: RegistryErrorKind::NoRoom, message }
    }
}

/// The kinds of failure of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryErrorKind {
    /// 401 or 403 after trying what we have.
    Auth,
    /// No such repository or tag.
    NotFound,
    /// 429 with or without Retry-After: not before this long.
    Limited(Duration),
    /// 503 with or without Retry-After: not before this long.
    Away(Duration),
    /// No connection, a timeout, a 5xx, or an answer that breaks the protocol or a limit.
    Unavailable,
    /// An address or a redirect that is not to be followed.
    Refused,
    /// A pull secret that could not be read.
    Secret,
    /// The tags take more memory than there is room for now.
    NoRoom,
}

impl RegistryErrorKind {
    /// The reason code that people see.
    pub fn code(self) -> Code {
        match self {
            Self::Auth => Code::RegistryAuth,
            Self::NotFound => Code::RegistryNotFound,
            Self::Limited(_) => Code::RegistryLimited,
            Self::Unavailable | Self::Away(_) => Code::RegistryUnavailable,
            Self::Refused => Code::RegistryRefused,
            Self::Secret => Code::SecretUnreadable,
            Self::NoRoom => Code::OverLimit,
        }
    }

    /// How long nothing is to be asked, where the registry said so.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::Limited(wait) | Self::Away(wait) => Some(wait),
            _ => None,
        }
    }
}

/// Reads pull secrets by name.
pub trait Secrets: Send + Sync {
    /// The text of `.dockerconfigjson` of that Secret (a `.dockercfg` is wrapped into the newer form); `None` where
    /// there is no such Secret. Kept for ten minutes, unless `fresh` asks for a new reading (after a 401).
    fn docker_config<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        fresh: bool,
    ) -> BoxFuture<'a, Result<Option<SecretString>, SecretError>>;
}

/// Why a Secret could not be read, and what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

/// What the cluster tells about its workloads. Sent over a bounded channel, in order.
#[derive(Debug, Clone)]
pub enum ClusterChange {
    /// A workload is there, new or changed.
    Workload(Box<Workload>),
    /// A workload is gone.
    WorkloadGone(WorkloadId),
    /// An object that could not be decoded; others go on.
    Undecodable(WorkloadId, String),
    /// Something could not be read that may hold policies, and whoever read it has said so.
    Partial,
    /// A Namespace's annotations (ours and Keel's only).
    Namespace(NamespaceDefaults),
    /// A Namespace is gone.
    NamespaceGone(String),
    /// Argo CD has this Application, new or changed.
    Application(Application),
    /// It has it no more.
    ApplicationGone(ApplicationId),
    /// An update that has not ended is remembered, or was changed by whomever; and the object that people vote on, where
    /// somebody must approve it.
    Record(Box<Tracked>, Version, Option<ObjectName>),
    /// Something is remembered by a workload's name, or a person wishes something for it.
    State(WorkloadState, Version, Option<Box<Wish>>),
    /// No pod can be deleted that keeps a workload from going back ([`Rollouts::free`]): why, and what a person can do.
    Stuck(WorkloadId, Arc<str>),
    /// Somebody has voted on an update. A number stands for the object.
    Review(u64, Box<Review>),
    /// That object is there no more.
    ReviewGone(u64),
    /// When the policies of votes were changed last, or what of them is missing. What has a higher number is newer.
    Policies(u64, Result<Timestamp, Arc<str>>),
    /// A record could not be decoded; others go on.
    RecordUndecodable(WorkloadId, String),
    /// Why what is remembered by a workload's name cannot be read; `None` if it can again, or is gone.
    StateUndecodable(WorkloadId, Option<Arc<str>>),
    /// What was seen of a repository is remembered, or was changed by whomever.
    History(Repository, Vec<Sighting>),
    /// Nothing is remembered of it any more.
    HistoryGone(Repository),
    /// Whether what is seen of repositories is remembered: if not, why, and what to do about it.
    HistoriesKept(Result<(), Arc<str>>),
    /// Records are kept elsewhere from now on, where what was remembered before is not: in the cluster, or in memory.
    RecordsElsewhere,
    /// There is no right to something without which nothing goes, in these words; it is tried again.
    Forbidden(String),
    /// There is no right to what is remembered by the workloads' names: what was moved back is not known.
    StatesUnread,
    /// What a workload says of its rollout, which is followed.
    Rollout(WorkloadId, RolloutView),
    /// What the pods of its new revision say.
    Pods(WorkloadId, Pods),
    /// Every watch has delivered its first full list.
    Synced,
}

/// A Namespace's annotations that are defaults for its workloads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespaceDefaults {
    /// `metadata.name`
    pub name: String,
    /// `supercargo.dev/*` only.
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// Reads single workloads.
pub trait Workloads: Send + Sync {
    /// The workload as it is now, by one GET, with the manager of each container's image; `None` if it is gone.
    fn get<'a>(&'a self, id: &'a WorkloadId) -> BoxFuture<'a, Result<Option<Observed>, ClusterError>>;
}

/// Why the API server did not answer as hoped.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ClusterError(pub String);

/// Writes approved plans to one target (a cluster, a Git branch, a folder).
pub trait Sink: Send + Sync {
    /// Writes each plan, all of them to one target, whole or not at all, and says for each what came of it, in the same order.
    fn apply<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Outcome>>;

    /// How each of these stands, all of them brought to one target before. Changes nothing.
    fn check<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Standing>>;

    /// Whether it would be taken if it were approved: people are not asked about what is refused afterwards. Changes
    /// nothing. Only the API server can be asked; whoever else is written to accepts.
    fn rehearse<'a>(&'a self, _: &'a Plan<Proposed>) -> BoxFuture<'a, Rehearsal> {
        Box::pin(std::future::ready(Rehearsal::Accepted))
    }
}

/// Has a deployer in the cluster look at Git now.
pub trait Refresh: Send + Sync + std::fmt::Debug {
    /// Asks Argo CD for it, for each Application of a namespace whose name is wanted. Returns how many there are.
    fn refresh<'a>(
        &'a self,
        namespace: &'a str,
        wanted: &'a (dyn Fn(&str) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Result<usize, ClusterError>>;
}

/// Tells people on the workload itself (Kubernetes Events). Never waits, never fails the caller.
pub trait Events: Send + Sync {
    /// Queues a notice; the same one again within an hour is counted, not repeated.
    fn publish(&self, notice: Notice);
}

/// One Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// About which workload.
    pub workload: WorkloadId,
    /// Its uid, so that `kubectl describe` shows the Event.
    pub uid: Arc<str>,
    /// `ImageUpdated`, `UpdateBlocked`, `PolicyProblem`, …
    pub reason: &'static str,
    /// Whether it is of type Warning.
    pub warning: bool,
    /// At most 1 KiB.
    pub message: String,
}

/// Takes hints from webhooks. Never waits.
pub trait Hints: Send + Sync {
    /// Whether somebody watches that repository.
    fn offer(&self, hint: Hint) -> Offer;
}

/// What became of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Will be looked at.
    Queued,
    /// No workload uses that repository.
    Unwatched,
    /// The queue is full: the sender should come again.
    Full,
    /// Stopping.
    Closed,
}

/// Keeps the times at which repositories are due. Never waits.
pub trait Polling: Send + Sync {
    /// From now on look at `source` at whichever of these schedules comes first; none at all ends it.
    fn set(&self, source: Source, schedules: Vec<Schedule>);
}

/// Runs what may take long beside the engine's loop: of each namespace one piece of work at a time, namespaces in turn.
pub trait Pool: Send + Sync {
    /// Queues work of a namespace. Never waits.
    fn run(&self, namespace: &Arc<str>, work: Work);
}

/// A piece of work. It is told what it has used of the CPU so far.
pub type Work = Box<dyn FnOnce(&dyn Fn() -> Duration) + Send>;

/// The only clock, so that time can be simulated.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// Time since some fixed point, never going back.
    fn monotonic(&self) -> Duration;
    /// What this thread has used of the CPU: of meaning is the difference between two readings on one thread.
    fn busy(&self) -> Duration {
        self.monotonic()
    }
    /// Returns when `monotonic` has reached `at`.
    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()>;
}
