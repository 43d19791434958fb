//! When what is closed opens: what is too young, by source, and windows, by workload. These times are the wall clock's, which
//! may be set: it is read anew every 30 seconds.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// Between two readings of the wall clock.
const LONGEST: Duration = Duration::from_secs(30);
/// By as much a clock may be put right without notice.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// One time a key.
#[derive(Debug)]
pub(crate) struct Openings<K> {
    at: HashMap<K, Timestamp>,
    order: BTreeSet<(Timestamp, K)>,
    /// What the wall clock said last.
    read: Timestamp,
}

impl<K> Default for Openings<K> {
    fn default() -> Self {
        Self { at: HashMap::new(), order: BTreeSet::new(), read: Timestamp::MIN }
    }
}

impl<K: Clone + Ord + Hash> Openings<K> {
    /// Something opens there then, and nothing before; or nothing does.
    pub(crate) fn set(&mut self, key: &K, at: Option<Timestamp>) {
        if let Some((key, at)) = self.at.remove_entry(key) {
            self.order.remove(&(at, key));
        }
        if let Some(at) = at {
            self.at.insert(key.clone(), at);
            self.order.insert((at, key.clone()));
        }
    }

    /// What was set by a clock that is set back since says nothing: all of it is due.
    fn read(&mut self, now: Timestamp) {
        if now < self.read.checked_sub(SLACK).unwrap_or(self.read) {
            self.at.values_mut().for_each(|at| *at = now);
            self.order = self.at.iter().map(|(key, at)| (*at, key.clone())).collect();
        }
        self.read = now;
    }

    /// When that is.
    pub(crate) fn of(&self, key: &K) -> Option<Timestamp> {
        self.at.get(key).copied()
    }

    /// How long it is until the next one is due, or the clock is to be read again.
    pub(crate) fn wait(&mut self, now: Timestamp) -> Option<Duration> {
        self.read(now);
        let (at, _) = self.order.first()?;
        Some(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LONGEST))
    }

    /// Takes one whose time has come.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<K> {
        self.read(now);
        let (at, key) = self.order.first()?;
        if *at > now {
            return None;
        }
        let key = key.clone();
        self.set(&key, None);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_once_by_the_wall_clock_however_that_is_set() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let (one, other) = ("a", "b");
        let mut openings = Openings::default();
        assert_eq!(openings.wait(at(0)), None);
        openings.set(&one, Some(at(5000)));
        openings.set(&other, Some(at(5000)));
        openings.set(&one, Some(at(1000)));
        assert_eq!(openings.wait(at(0)), Some(LONGEST));
        assert_eq!(openings.wait(at(999)), Some(Duration::from_secs(1)));
        assert_eq!(openings.due(at(999)), None);
        assert_eq!(openings.wait(at(2000)), Some(Duration::ZERO), "the clock was set");
        assert_eq!(openings.due(at(2000)), Some(one));
        assert_eq!(openings.due(at(2000)), None);
        assert_eq!(openings.due(at(1500)), Some(other), "the clock was set back");
        openings.set(&other, None);
        assert_eq!(openings.wait(at(9000)), None);
    }
}
