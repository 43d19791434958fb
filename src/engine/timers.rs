//! What is to happen at a time: one time a key.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

/// Keys with the time (monotonic) at which each is due.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    at: HashMap<K, Duration>,
    order: BTreeSet<(Duration, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { at: HashMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + Hash> Timers<K> {
    /// From now on it is due at that time, and at no other.
    pub(crate) fn set(&mut self, key: K, at: Duration) {
        self.forget(&key);
        self.order.insert((at, key.clone()));
        self.at.insert(key, at);
    }

    pub(crate) fn forget(&mut self, key: &K) {
        if let Some((key, at)) = self.at.remove_entry(key) {
            self.order.remove(&(at, key));
        }
    }

    /// When it is due, if it has a time.
    pub(crate) fn of(&self, key: &K) -> Option<Duration> {
        self.at.get(key).copied()
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes one whose time has come.
    pub(crate) fn due(&mut self, now: Duration) -> Option<K> {
        let (at, key) = self.order.first()?;
        if *at > now {
            return None;
        }
        let key = key.clone();
        self.forget(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_time_and_is_due_once() {
        let secs = Duration::from_secs;
        let mut timers = Timers::default();
        timers.set("a", secs(5));
        timers.set("b", secs(3));
        timers.set("a", secs(1));
        assert_eq!((timers.next(), timers.of(&"a")), (Some(secs(1)), Some(secs(1))));
        assert_eq!(timers.due(secs(0)), None);
        assert_eq!([timers.due(secs(9)), timers.due(secs(9)), timers.due(secs(9))], [Some("a"), Some("b"), None]);
        timers.set("a", secs(1));
        timers.forget(&"a");
        assert_eq!((timers.next(), timers.due(secs(9))), (None, None));
    }
}
