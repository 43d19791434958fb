//! In memory: gone with the process, so whatever depends on updates is recovered from the workloads, and what was seen is
//! seen again, later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::{BoxFuture, ready};

use crate::{
    domain::{
        history::{Seen, Sighting},
        image::Repository,
        update::{KEPT, Tracked, UpdateId, WorkloadState},
        workload::WorkloadId,
    },
    ports::{Clock, Histories, PutError, RecordError, Records, Version},
};

/// What is remembered of each workload and repository.
pub struct Memory {
    // Plain locks: held for a look-up or an insertion, never across an await.
    all: Mutex<HashMap<WorkloadId, Of>>,
    seen: Mutex<HashMap<Repository, Vec<Sighting>>>,
    clock: Arc<dyn Clock>,
}

/// What is remembered of one workload.
#[derive(Debug, Default)]
struct Of {
    /// Newest first.
    updates: Vec<(Tracked, u64)>,
    state: Option<(WorkloadState, u64)>,
    /// The last version that was given.
    last: u64,
}

impl Memory {
    /// Nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { all: Mutex::default(), seen: Mutex::default(), clock }
    }

    /// What was seen of a repository.
    pub fn sightings(&self, repository: &Repository) -> Vec<Sighting> {
        self.with_seen(|all| all.get(repository).cloned().unwrap_or_default())
    }

    fn with_seen<T>(&self, f: impl FnOnce(&mut HashMap<Repository, Vec<Sighting>>) -> T) -> T {
        f(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<WorkloadId, Of>) -> T) -> T {
        f(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of_one<T: Default>(&self, workload: &WorkloadId, f: impl FnOnce(&Of) -> T) -> T {
        self.with(|all| all.get(workload).map(f).unwrap_or_default())
    }
}

impl Of {
    /// The version of what is written in place of that, if it is what was seen.
    fn next(&mut self, there: Option<u64>, seen: Option<&Version>) -> Result<u64, PutError> {
        if there.map(version).as_ref() != seen {
            return Err(PutError::Conflict);
        }
        self.last += 1;
        Ok(self.last)
    }
}

impl Records for Memory {
    fn put<'a>(&'a self, update: &'a Tracked, seen: Option<&'a Version>) -> BoxFuture<'a, Result<Version, PutError>> {
        let put = |all: &mut HashMap<WorkloadId, Of>| {
            let of = all.entry(update.update.workload.clone()).or_default();
            let at = of.updates.iter().position(|(known, _)| known.update.id == update.update.id);
            let new = of.next(at.map(|at| of.updates[at].1), seen)?;
            match at {
                Some(at) => of.updates[at] = (update.clone(), new),
                None => of.updates.insert(0, (update.clone(), new)),
            }
            let mut ended = 0;
            of.updates.retain(|(known, _)| {
                ended += usize::from(known.phase.is_over());
                !known.phase.is_over() || ended <= KEPT
            });
            Ok(version(new))
        };
        Box::pin(ready(self.with(put)))
    }

    fn get<'a>(
        &'a self,
        workload: &'a WorkloadId,
        id: &'a UpdateId,
    ) -> BoxFuture<'a, Result<Option<(Tracked, Version)>, RecordError>> {
        let find = |of: &Of| of.updates.iter().find(|(known, _)| known.update.id == *id).map(seen);
        Box::pin(ready(Ok(self.of_one(workload, find))))
    }

    fn of<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<Vec<(Tracked, Version)>, RecordError>> {
        Box::pin(ready(Ok(self.of_one(workload, |of| of.updates.iter().map(seen).collect()))))
    }

    fn state<'a>(
        &'a self,
        workload: &'a WorkloadId,
    ) -> BoxFuture<'a, Result<Option<(WorkloadState, Version)>, RecordError>> {
        Box::pin(ready(Ok(self.of_one(workload, |of| of.state.as_ref().map(seen)))))
    }

    fn put_state<'a>(
        &'a self,
        state: &'a WorkloadState,
        seen: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, PutError>> {
        let put = |all: &mut HashMap<WorkloadId, Of>| {
            let of = all.entry(state.workload.clone()).or_default();
            let new = of.next(of.state.as_ref().map(|(_, version)| *version), seen)?;
            of.state = Some((state.clone(), new));
            Ok(version(new))
        };
        Box::pin(ready(self.with(put)))
    }

    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), RecordError>> {
        self.with(|all| {
            if let Some(of) = all.get_mut(workload) {
                of.updates.clear();
                if of.state.as_ref().is_none_or(|(state, _)| state.is_empty()) {
                    all.remove(workload);
                }
            }
        });
        Box::pin(ready(Ok(())))
    }
}

impl Histories for Memory {
    fn add<'a>(&'a self, seen: &'a Seen) -> BoxFuture<'a, Result<Vec<Sighting>, PutError>> {
        let now = self.clock.now();
        let merged = self.with_seen(|all| {
            let of = all.entry(seen.repository.clone()).or_default();
            *of = seen.merged(std::mem::take(of), now);
            of.clone()
        });
        Box::pin(ready(Ok(merged)))
    }
}

fn version(number: u64) -> Version {
    Version(number.to_string().into())
}

fn seen<T: Clone>((what, number): &(T, u64)) -> (T, Version) {
    (what.clone(), version(*number))
}
