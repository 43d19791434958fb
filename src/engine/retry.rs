//! What is tried again later, after a growing delay.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Duration,
};

/// Keys with the time (monotonic) at which each is tried again: one time a key.
#[derive(Debug)]
pub(super) struct Retries<K> {
    at: HashMap<K, Waiting>,
    /// A line for each key whose time has not been taken yet.
    order: BTreeMap<(Duration, u64), K>,
    serial: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// Its line in the order.
    line: (Duration, u64),
    failures: u32,
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
        let failures = self.at.get(&key).map_or(0, |waiting| waiting.failures.saturating_add(1));
        self.forget(&key);
        let delay = first.saturating_mul(2u32.saturating_pow(failures.min(20))).min(longest).max(least);
        self.serial += 1;
        let line = (now + delay, self.serial);
        self.order.insert(line, key.clone());
        self.at.insert(key, Waiting { line, failures });
    }

    /// It went well, or does not matter any more.
    pub(super) fn forget(&mut self, key: &K) {
        if let Some(waiting) = self.at.remove(key) {
            self.order.remove(&waiting.line);
        }
    }

    /// Whether it has a time, come or not.
    pub(super) fn knows(&self, key: &K) -> bool {
        self.at.contains_key(key)
    }

    /// Whether its time has not come yet.
    pub(super) fn waits(&self, key: &K, now: Duration) -> bool {
        self.at.get(key).is_some_and(|waiting| waiting.line.0 > now)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.order.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes one whose time has come. How often it failed is remembered.
    pub(super) fn due(&mut self, now: Duration) -> Option<K> {
        let entry = self.order.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
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

    #[test]
    fn a_key_that_fails_again_and_again_stands_in_line_once() {
        let mut retries = Retries::default();
        for _ in 0..1000 {
            retries.failed("a", Duration::ZERO, S, 300 * S, Duration::ZERO);
        }
        assert_eq!((retries.order.len(), retries.at.len()), (1, 1));
        retries.forget(&"a");
        assert_eq!((retries.order.len(), retries.at.len()), (0, 0));
    }
}
