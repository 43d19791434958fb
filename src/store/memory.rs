//! Records in memory: gone with the process, so whatever depends on them is recovered from the workloads.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use futures::future::{BoxFuture, ready};

use super::KEPT;
use crate::{
    domain::{
        update::{Tracked, UpdateId},
        workload::WorkloadId,
    },
    ports::{RecordError, Records},
};

/// Updates by workload, newest first.
#[derive(Debug, Default)]
pub struct Memory {
    // A plain lock: it is held for a look-up or an insertion, never across an await.
    updates: Mutex<HashMap<WorkloadId, Vec<Tracked>>>,
}

impl Memory {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<WorkloadId, Vec<Tracked>>) -> T) -> T {
        f(&mut self.updates.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Records for Memory {
    fn put(&self, tracked: Tracked) -> BoxFuture<'_, Result<(), RecordError>> {
        self.with(|all| {
            let of = all.entry(tracked.update.workload.clone()).or_default();
            match of.iter_mut().find(|known| known.update.id == tracked.update.id) {
                Some(known) => *known = tracked,
                None => of.insert(0, tracked),
            }
            of.truncate(KEPT);
        });
        Box::pin(ready(Ok(())))
    }

    fn get<'a>(&'a self, id: &'a UpdateId) -> BoxFuture<'a, Result<Option<Tracked>, RecordError>> {
        let found = self.with(|all| all.values().flatten().find(|tracked| tracked.update.id == *id).cloned());
        Box::pin(ready(Ok(found)))
    }

    fn of<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<Vec<Tracked>, RecordError>> {
        let found = self.with(|all| all.get(workload).cloned().unwrap_or_default());
        Box::pin(ready(Ok(found)))
    }

    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), RecordError>> {
        self.with(|all| all.remove(workload));
        Box::pin(ready(Ok(())))
    }
}
