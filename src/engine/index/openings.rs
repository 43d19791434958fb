//! When what is closed opens: what is too young, by source, and windows, by workload. These times are the wall clock's, which
//! may be set: it is read anew every 30 seconds.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

use jiff::Timestamp;

/// Between two readings of the wall clock.
const LONGEST: Duration = Duration::from_secs(30);

/// One time a key.
#[derive(Debug)]
pub(crate) struct Openings<K> {
    at: HashMap<K, Timestamp>,
    order: BTreeSet<(Timestamp, K)>,
}

impl<K> Default for Openings<K> {
    fn default() -> Self {
        Self { at: HashMap::new(), order: BTreeSet::new() }
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

    /// When that is.
    pub(crate) fn of(&self, key: &K) -> Option<Timestamp> {
        self.at.get(key).copied()
    }

    /// How long it is until the next one is due, or the clock is to be read again.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let (at, _) = self.order.first()?;
        Some(Duration::try_from(at.duration_since(now)).unwrap_or_default().min(LONGEST))
    }

    /// Takes one whose time has come.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<K> {
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
        openings.set(&other, None);
        assert_eq!(openings.wait(at(9000)), None);
    }
}
