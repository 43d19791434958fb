//! As which version the state of each workload was seen in the store.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use crate::{domain::workload::WorkloadId, ports::Version};

/// Of every workload of which anything is remembered: so the key is a hash of its name. Should two have the same one, the
/// store refuses the version of the other, and it is read again.
#[derive(Default)]
pub(super) struct Versions {
    hasher: RandomState,
    seen: HashMap<u64, Version>,
}

impl Versions {
    /// It is there as it was seen now, or is not.
    pub(super) fn see(&mut self, workload: &WorkloadId, version: Option<Version>) {
        let key = self.hasher.hash_one(workload);
        match version {
            Some(version) => self.seen.insert(key, version),
            None => self.seen.remove(&key),
        };
    }

    pub(super) fn of(&self, workload: &WorkloadId) -> Option<&Version> {
        self.seen.get(&self.hasher.hash_one(workload))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}
