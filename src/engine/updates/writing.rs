//! One write to the store, and what came of it.

use std::sync::Arc;

use crate::{
    domain::{
        update::{Tracked, WorkloadState},
        workload::WorkloadId,
    },
    ports::{PutError, Records, Version},
};

/// Something to be written.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// An update as far as it has come.
    Update(Box<Tracked>),
    /// What is remembered by a workload's name.
    State(Box<WorkloadState>),
    /// The workload's updates are forgotten.
    Forget(WorkloadId),
}

/// A write under way, or what came of it.
pub(crate) struct Writing {
    pub(crate) entry: Entry,
    pub(super) seen: Option<Version>,
}

/// What came of a write.
pub(crate) enum StoreAnswer {
    Written(Option<Version>),
    /// What is there instead.
    Taken(Stored),
    Failed(PutError),
}

/// What is there instead of what was seen.
pub(crate) enum Stored {
    Update(Option<(Box<Tracked>, Version)>),
    State(Option<(Box<WorkloadState>, Version)>),
}

impl Entry {
    pub(crate) fn workload(&self) -> &WorkloadId {
        match self {
            Self::Update(tracked) => &tracked.update.workload,
            Self::State(state) => &state.workload,
            Self::Forget(workload) => workload,
        }
    }

    pub(super) fn is_state(&self) -> bool {
        matches!(self, Self::State(_))
    }

    /// Whether a newer one says all that it does.
    pub(super) fn is_said_by(&self, newer: &Self) -> bool {
        match (self, newer) {
            (Self::Update(one), Self::Update(newer)) => one.update.id == newer.update.id && !one.phase.is_over(),
            (Self::State(_), Self::State(_)) | (Self::Forget(_), Self::Forget(_)) => true,
            _ => false,
        }
    }

    /// Gives an update the name that the engine has for it; returns which of those it had in the store.
    pub(super) fn rename(&mut self) -> u32 {
        let Self::Update(tracked) = self else { return 0 };
        let (id, nth) = tracked.update.id.split();
        tracked.update.id = id;
        nth
    }
}

impl Writing {
    /// Writes it. Where something else is there than was seen, that is read.
    pub(crate) async fn end(self, records: Arc<dyn Records>) -> (Self, StoreAnswer) {
        let answer = self.put(&*records).await.unwrap_or_else(StoreAnswer::Failed);
        (self, answer)
    }

    async fn put(&self, records: &dyn Records) -> Result<StoreAnswer, PutError> {
        let seen = self.seen.as_ref();
        let (put, workload) = match &self.entry {
            Entry::Update(tracked) => (records.put(tracked, seen).await, &tracked.update.workload),
            Entry::State(state) => (records.put_state(state, seen).await, &state.workload),
            Entry::Forget(workload) => {
                records.forget(workload).await?;
                return Ok(StoreAnswer::Written(None));
            }
        };
        match (put, &self.entry) {
            (Ok(version), _) => Ok(StoreAnswer::Written(Some(version))),
            (Err(PutError::Conflict), Entry::Update(tracked)) => {
                let found = records.get(workload, &tracked.update.id).await?;
                // That of a workload that was deleted, and made again under its name, is another one's.
                let found = found.filter(|(found, _)| found.update.uid == tracked.update.uid);
                Ok(StoreAnswer::Taken(Stored::Update(found.map(|(found, version)| (Box::new(found), version)))))
            }
            (Err(PutError::Conflict), _) => {
                let found = records.state(workload).await?;
                Ok(StoreAnswer::Taken(Stored::State(found.map(|(state, version)| (Box::new(state), version)))))
            }
            (Err(error), _) => Err(error),
        }
    }
}
