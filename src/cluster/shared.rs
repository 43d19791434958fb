//! Equal values, kept once: thousands of workloads share namespaces, container names, images and annotations.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashSet},
    hash::Hash,
    sync::Arc,
};

/// What workloads share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) texts: Pool<str>,
    pub(super) annotations: Pool<BTreeMap<String, String>>,
}

/// Values of one type that somebody holds.
pub(super) struct Pool<T: ?Sized> {
    all: HashSet<Arc<T>>,
    /// When this many are held, those that nobody else holds are dropped.
    prune_at: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { all: HashSet::new(), prune_at: 0 }
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    /// The value that is equal, if there is one.
    pub(super) fn share<V: Borrow<T> + Into<Arc<T>>>(&mut self, value: V) -> Arc<T> {
        if let Some(shared) = self.all.get(value.borrow()) {
            return shared.clone();
        }
        if self.all.len() >= self.prune_at {
            self.all.retain(|value| Arc::strong_count(value) > 1);
            self.prune_at = (self.all.len() * 2).max(1024);
        }
        let shared: Arc<T> = value.into();
        self.all.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_forgotten_ones_are_dropped() {
        let mut texts = Pool::<str>::default();
        let kept = texts.share("kept");
        assert!(Arc::ptr_eq(&kept, &texts.share("kept")));
        for n in 0..10_000 {
            texts.share(format!("image:{n}").as_str());
        }
        assert!(texts.all.len() <= 1025, "{}", texts.all.len());
        assert!(Arc::ptr_eq(&kept, &texts.share("kept")));

        let map = |value: &str| BTreeMap::from([("supercargo.dev/policy".to_owned(), value.to_owned())]);
        let mut annotations = Pool::default();
        let kept = annotations.share(map("minor"));
        assert!(Arc::ptr_eq(&kept, &annotations.share(map("minor"))));
        assert!(!Arc::ptr_eq(&kept, &annotations.share(map("patch"))));
    }
}
