//! What is remembered of updates, and of when tags were first seen.

use futures::future::BoxFuture;

use crate::domain::{
    history::{Seen, Sighting},
    update::{Tracked, UpdateId, WorkloadState},
    workload::WorkloadId,
};

/// What must be remembered about updates. Nothing is written over that was not seen. One conformance suite serves every
/// store.
///
/// Of a workload ten updates are kept that have ended: the older ones go when another ends.
pub trait Records: Send + Sync {
    /// Writes an update where it was seen as of that version; `None`: where there is none of its id yet.
    fn put<'a>(&'a self, update: &'a Tracked, seen: Option<&'a Version>) -> BoxFuture<'a, Result<Version, PutError>>;

    /// A workload's update of that id.
    fn get<'a>(
        &'a self,
        workload: &'a WorkloadId,
        id: &'a UpdateId,
    ) -> BoxFuture<'a, Result<Option<(Tracked, Version)>, RecordError>>;

    /// A workload's updates, newest first.
    fn of<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<Vec<(Tracked, Version)>, RecordError>>;

    /// What is remembered by a workload's name.
    fn state<'a>(
        &'a self,
        workload: &'a WorkloadId,
    ) -> BoxFuture<'a, Result<Option<(WorkloadState, Version)>, RecordError>>;

    /// Writes that, as [`Records::put`] does. What is empty may be there no more afterwards.
    fn put_state<'a>(
        &'a self,
        state: &'a WorkloadState,
        seen: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, PutError>>;

    /// Whether what is remembered by a workload's name is, for now, in this process alone, where no person can change it.
    fn is_in_memory(&self, _: &WorkloadId) -> bool {
        false
    }

    /// Forgets the updates of a workload that is gone. What is remembered by its name stays.
    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), RecordError>>;
}

/// Remembers when it was first seen what tags point to. One conformance suite serves every store.
pub trait Histories: Send + Sync {
    /// Adds to what is remembered of a repository ([`Seen::merged`]): whoever adds to it at the same time loses nothing.
    /// Returns all that is remembered of it then.
    fn add<'a>(&'a self, seen: &'a Seen) -> BoxFuture<'a, Result<Vec<Sighting>, PutError>>;
}

/// The version of what is remembered: a resourceVersion, or a counter. Only the store that gave it understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub Box<str>);

/// Why something was not remembered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// It is not what was seen: read it again.
    #[error("somebody else wrote it meanwhile")]
    Conflict,
    /// The store does not take it: a quota, an admission, a right that is missing. In its words.
    #[error("the record of updates was refused: {0}")]
    Refused(String),
    /// The store does not answer: try again later.
    #[error("the record of updates is not available: {0}")]
    Unavailable(String),
}

/// Why a record could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the record of updates is not available: {0}")]
pub struct RecordError(pub String);

impl From<RecordError> for PutError {
    fn from(RecordError(why): RecordError) -> Self {
        Self::Unavailable(why)
    }
}
