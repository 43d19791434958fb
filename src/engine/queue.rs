//! Which look is next: one at a time for each source, a few at a time for each host, hints before polls.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::domain::hint::Source;

/// Looks under way at one host. After a restart this is what paces them.
const PER_HOST: usize = 8;
/// Looks under way in all.
const IN_ALL: usize = 512;

/// Sources that are to be looked at. Each stands in it at most once, so it is bounded by what is watched.
///
/// A slow host keeps its own sources waiting, in its own line, and no other's.
#[derive(Debug, Default)]
pub(super) struct Queue {
    hosts: HashMap<Arc<str>, Host>,
    queued: HashSet<Arc<Source>>,
    running: HashSet<Arc<Source>>,
    /// Hosts that have something to start, in turn.
    turn: VecDeque<Arc<str>>,
}

#[derive(Debug, Default)]
struct Host {
    urgent: Line,
    ordinary: Line,
    running: usize,
    in_turn: bool,
}

/// Sources and since when each waits.
type Line = VecDeque<(Arc<Source>, Duration)>;

impl Queue {
    /// Asks for a look. While one is under way the next one waits for its end.
    pub(super) fn push(&mut self, source: &Arc<Source>, urgent: bool, now: Duration) {
        if !self.queued.insert(source.clone()) {
            return;
        }
        let name: Arc<str> = source.repository.host().into();
        let host = self.hosts.entry(name.clone()).or_default();
        if urgent { &mut host.urgent } else { &mut host.ordinary }.push_back((source.clone(), now));
        if !host.in_turn {
            host.in_turn = true;
            self.turn.push_back(name);
        }
    }

    /// Whether more may be taken of what is only due: what is late is told by the poll. Sources that wait for a slow
    /// host are no reason to stop, as that would make all others wait for it too.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() < IN_ALL
    }

    /// How long the one that waits longest for its host has waited.
    pub(super) fn longest_wait(&self, now: Duration) -> Duration {
        let lines = self.hosts.values().flat_map(|host| [&host.urgent, &host.ordinary]);
        lines.filter_map(|line| line.front()).map(|(_, since)| now.saturating_sub(*since)).max().unwrap_or_default()
    }

    /// Whether a look at it is asked for or under way.
    pub(super) fn holds(&self, source: &Arc<Source>) -> bool {
        self.queued.contains(source) || self.running.contains(source)
    }

    /// The next look that may start now.
    pub(super) fn start(&mut self) -> Option<Arc<Source>> {
        if self.running.len() >= IN_ALL {
            return None;
        }
        // Each host is tried once; one that cannot start anything leaves the turn until a look of it ends.
        for _ in 0..self.turn.len() {
            let name = self.turn.pop_front()?;
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            let next = (host.running < PER_HOST).then(|| host.take(&self.running)).flatten();
            let Some(source) = next else {
                host.in_turn = false;
                continue;
            };
            host.running += 1;
            self.queued.remove(&source);
            self.running.insert(source.clone());
            self.turn.push_back(name);
            return Some(source);
        }
        None
    }

    /// A look has ended.
    pub(super) fn ended(&mut self, source: &Arc<Source>) {
        if !self.running.remove(source) {
            return;
        }
        let name: Arc<str> = source.repository.host().into();
        let Some(host) = self.hosts.get_mut(&name) else { return };
        host.running -= 1;
        if host.running == 0 && host.urgent.is_empty() && host.ordinary.is_empty() {
            self.hosts.remove(&name);
        } else if !host.in_turn {
            host.in_turn = true;
            self.turn.push_back(name);
        }
    }
}

impl Host {
    /// The first that is not under way; those that are wait.
    fn take(&mut self, running: &HashSet<Arc<Source>>) -> Option<Arc<Source>> {
        for line in [&mut self.urgent, &mut self.ordinary] {
            if let Some(at) = line.iter().position(|(source, _)| !running.contains(source)) {
                return line.remove(at).map(|(source, _)| source);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{hint::Credentials, image::Repository};

    fn source(name: &str) -> Arc<Source> {
        Arc::new(Source { repository: Repository::parse(name).unwrap(), credentials: Credentials::default() })
    }

    #[test]
    fn a_source_is_looked_at_once_at_a_time_and_hints_go_first() {
        let mut queue = Queue::default();
        let (a, b) = (source("r.io/a"), source("r.io/b"));
        queue.push(&a, false, Duration::ZERO);
        queue.push(&a, true, Duration::ZERO);
        queue.push(&b, true, Duration::ZERO);
        assert_eq!(queue.start(), Some(b.clone()));
        assert_eq!(queue.start(), Some(a.clone()));
        queue.push(&a, true, Duration::ZERO);
        assert_eq!(queue.start(), None, "a look at a is under way");
        assert!(queue.holds(&a));
        queue.ended(&a);
        assert_eq!(queue.start(), Some(a.clone()));
        queue.ended(&a);
        queue.ended(&b);
        assert!(!queue.holds(&a) && queue.hosts.is_empty());
    }

    #[test]
    fn a_slow_host_does_not_hold_up_another() {
        let mut queue = Queue::default();
        for n in 0..2 * IN_ALL {
            queue.push(&source(&format!("slow.io/r{n}")), false, Duration::ZERO);
        }
        while queue.start().is_some() {}
        assert_eq!(queue.running.len(), PER_HOST);
        assert!(queue.has_room(), "what is due elsewhere is taken all the same");
        assert_eq!(queue.longest_wait(Duration::from_secs(7)), Duration::from_secs(7));
        let other = source("quick.io/a");
        queue.push(&other, false, Duration::ZERO);
        assert_eq!(queue.start(), Some(other));
    }
}
