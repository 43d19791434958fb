//! The objects whose status holds what is not ours: they are read before it is written, so that nothing of that is lost.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use super::object::Custom;

/// Which objects these are.
#[derive(Debug, Default)]
pub(super) struct Crowded {
    hashes: RandomState,
    all: Mutex<HashSet<u64>>,
}

impl Crowded {
    /// What stands for an object here.
    pub(super) fn key<T: Custom>(&self, namespace: &str, name: &str) -> u64 {
        self.hashes.hash_one((T::PLURAL, namespace, name))
    }

    pub(super) fn has(&self, key: u64) -> bool {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    /// Whether it is one of them.
    pub(super) fn note(&self, key: u64, holds_more: bool) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if holds_more {
            all.insert(key);
        } else {
            all.remove(&key);
        }
    }
}
