//! What is tried again later, after a growing delay.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Duration,
};

/// Keys with the time (monotonic) at which each is tried again: one time a key.
#[derive(Debug)]
pub(super) struct Retries<K> {
    at: HashMap<K, (Duration, u32)>,
    order: BTreeMap<(Duration, u64), K>,
    serial: u64,
}

impl<K> Default for Retries<K> {
    fn default() -> Self {
        Self { at: HashMap::new(), order: BTreeMap::new(), serial: 0 }
    }
}

impl<K: Clone + Eq + Hash> Retries<K> {
    /// Tries `key` again after `first`, doubled for each time it failed before, at most `longest`; but not before
    /// `least`, which somebody asked for.
    pub(super) fn failed(&mut self, key: K, now: Duration, first: Duration, longest: Duration, least: Duration) {
        let failures = self.at.get(&key).map_or(0, |(_, failures)| failures.saturating_add(1));
        let delay = first.saturating_mul(2u32.saturating_pow(failures.min(20))).min(longest).max(least);
        let at = now + delay;
        self.serial += 1;
        self.order.insert((at, self.serial), key.clone());
        self.at.insert(key, (at, failures));
    }

    /// It went well, or does not matter any more.
    pub(super) fn forget(&mut self, key: &K) {
        self.at.remove(key);
    }

    /// Whether its time has not come yet.
    pub(super) fn waits(&self, key: &K, now: Duration) -> bool {
        self.at.get(key).is_some_and(|(at, _)| *at > now)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.order.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes one whose time has come. How often it failed is remembered.
    pub(super) fn due(&mut self, now: Duration) -> Option<K> {
        while let Some(entry) = self.order.first_entry() {
            let at = entry.key().0;
            if at > now {
                return None;
            }
            let key = entry.remove();
            // Forgotten ones and those that were put off have left an old line behind.
            if self.at.get(&key).is_some_and(|(current, _)| *current == at) {
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_the_longest_and_end_when_it_went_well() {
        let mut retries = Retries::default();
        let mut now = Duration::ZERO;
        let mut delays = Vec::new();
        for _ in 0..5 {
            retries.failed("a", now, S, 5 * S, Duration::ZERO);
            let next = retries.next().unwrap();
            assert!(retries.waits(&"a", now));
            assert_eq!(retries.due(now), None);
            delays.push((next - now).as_secs());
            now = next;
            assert_eq!(retries.due(now), Some("a"));
        }
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        retries.failed("a", now, S, 5 * S, 60 * S);
        assert_eq!(retries.next(), Some(now + 60 * S));
        retries.forget(&"a");
        assert_eq!(retries.due(now + 60 * S), None);
        assert_eq!(retries.next(), None);
    }
}
