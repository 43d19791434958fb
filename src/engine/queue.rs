//! Which look is next: one at a time for each source, a few at a time for each host, hints before polls, and namespaces
//! in turn, none of which may take more than a share.
//!
//! A look that several namespaces want counts as that of the one with the fewest.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::domain::hint::Source;

/// Looks under way at one host. After a restart this is what paces them.
const PER_HOST: usize = 16;
/// Looks under way in all.
const IN_ALL: usize = 512;

/// Sources that are to be looked at. Each stands in it at most once, so it is bounded by what is watched.
///
/// A slow host keeps its own sources waiting, and no other's; so does a namespace with many of them. Nothing here costs
/// more the more sources wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    namespaces: HashMap<Arc<str>, Namespace>,
    /// Namespaces that may have something to start.
    turn: VecDeque<Arc<str>>,
    hosts: HashMap<Arc<str>, Host>,
    queued: HashMap<Arc<Source>, Queued>,
    /// Since when each of those waits.
    since: BTreeSet<(Duration, Arc<Source>)>,
    /// With the namespace whose look it is.
    running: HashMap<Arc<Source>, Arc<str>>,
}

#[derive(Debug, Default)]
struct Namespace {
    urgent: Lines,
    ordinary: Lines,
    running: usize,
    waiting: usize,
    in_turn: bool,
}

/// What one namespace wants, by host.
#[derive(Debug, Default)]
struct Lines {
    hosts: HashMap<Arc<str>, Line>,
    /// Hosts that may be able to start something, in turn.
    ready: VecDeque<Arc<str>>,
}

/// Sources that wait for one host. Those that went into another line meanwhile are passed over.
#[derive(Debug, Default)]
struct Line {
    sources: VecDeque<Arc<Source>>,
    /// Among the ready ones, or waiting for a look at the host to end.
    placed: bool,
}

#[derive(Debug, Default)]
struct Host {
    running: usize,
    /// How many of them each namespace has.
    of: HashMap<Arc<str>, usize>,
    /// Who waits for a look at this host to end.
    waiting: Vec<(Arc<str>, bool)>,
}

#[derive(Debug)]
struct Queued {
    namespace: Arc<str>,
    urgent: bool,
    since: Duration,
}

impl Queue {
    /// Asks for a look for these namespaces. While one is under way the next one waits for its end.
    pub(super) fn push<'a>(
        &mut self,
        source: &Arc<Source>,
        namespaces: impl Iterator<Item = &'a Arc<str>>,
        urgent: bool,
        now: Duration,
    ) {
        let mut since = now;
        if let Some(queued) = self.queued.get(source) {
            if queued.urgent || !urgent {
                return;
            }
            // What stays behind in the ordinary line is passed over there.
            since = queued.since;
            let before = queued.namespace.clone();
            self.unqueue(source);
            self.forget_idle(&before);
        }
        let load = |name: &&Arc<str>| self.namespaces.get(*name).map_or(0, |known| known.running + known.waiting);
        let Some(name) = namespaces.min_by_key(load).cloned() else { return };
        self.queued.insert(source.clone(), Queued { namespace: name.clone(), urgent, since });
        self.since.insert((since, source.clone()));
        self.namespaces.entry(name).or_default().waiting += 1;
        if !self.running.contains_key(source) {
            self.line_up(source);
        }
    }

    /// Puts a source that is queued into its line.
    fn line_up(&mut self, source: &Arc<Source>) {
        let Some(Queued { namespace: name, urgent, .. }) = self.queued.get(source) else { return };
        let (name, urgent) = (name.clone(), *urgent);
        let Some(namespace) = self.namespaces.get_mut(&name) else { return };
        namespace.lines(urgent).push(source);
        self.in_turn(&name);
    }

    /// Whether more may be taken of what is only due: what is late is told by the poll. Sources that wait for a slow
    /// host are no reason to stop, as that would make all others wait for it too.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() < IN_ALL
    }

    /// How long the one that waits longest has waited.
    pub(super) fn longest_wait(&self, now: Duration) -> Duration {
        self.since.first().map(|(since, _)| now.saturating_sub(*since)).unwrap_or_default()
    }

    /// Whether a look at it is asked for or under way.
    pub(super) fn holds(&self, source: &Arc<Source>) -> bool {
        self.queued.contains_key(source) || self.running.contains_key(source)
    }

    /// For which namespace the look is that is under way.
    pub(super) fn whose(&self, source: &Source) -> Arc<str> {
        self.running.get(source).cloned().unwrap_or_default()
    }

    /// The next look that may start now.
    pub(super) fn start(&mut self) -> Option<Arc<Source>> {
        if self.running.len() >= IN_ALL {
            return None;
        }
        let free = IN_ALL - self.running.len();
        for _ in 0..self.turn.len() {
            let name = self.turn.pop_front()?;
            let mut kept = false;
            for urgent in [true, false] {
                let Some(namespace) = self.namespaces.get(&name) else { break };
                // A share of what is free, so that there is always something left for who comes next.
                let share = (free / 3).max(1);
                if namespace.running >= share {
                    kept = true;
                } else if let Some(source) = self.start_of(&name, urgent) {
                    self.turn.push_back(name);
                    return Some(source);
                }
            }
            if kept {
                self.turn.push_back(name);
            } else if let Some(namespace) = self.namespaces.get_mut(&name) {
                namespace.in_turn = false;
                self.forget_idle(&name);
            }
        }
        None
    }

    /// The first of a namespace that its host can take.
    fn start_of(&mut self, name: &Arc<str>, urgent: bool) -> Option<Arc<Source>> {
        let namespace = self.namespaces.get_mut(name)?;
        loop {
            let lines = namespace.lines(urgent);
            let host_name = lines.ready.pop_front()?;
            let Some(line) = lines.hosts.get_mut(&host_name) else { continue };
            let is_here = |source: &Arc<Source>| {
                self.queued.get(source).is_some_and(|queued| queued.urgent == urgent && queued.namespace == *name)
            };
            while line.sources.pop_front_if(|source| !is_here(source)).is_some() {}
            if line.sources.is_empty() {
                lines.hosts.remove(&host_name);
                continue;
            }
            let host = self.hosts.entry(host_name.clone()).or_default();
            let own = host.of.get(name).copied().unwrap_or_default();
            if own >= (PER_HOST - host.running).min(PER_HOST / 2) {
                host.waiting.push((name.clone(), urgent));
                continue;
            }
            let source = line.sources.pop_front()?;
            lines.ready.push_back(host_name);
            host.of.insert(name.clone(), own + 1);
            host.running += 1;
            namespace.running += 1;
            self.unqueue(&source);
            self.running.insert(source.clone(), name.clone());
            return Some(source);
        }
    }

    /// A look has ended.
    pub(super) fn ended(&mut self, source: &Arc<Source>) {
        let Some(name) = self.running.remove(source) else { return };
        let host_name: Arc<str> = source.repository.host().into();
        let mut ready = Vec::new();
        if let Some(host) = self.hosts.get_mut(&host_name) {
            host.running -= 1;
            if let Some(own) = host.of.get_mut(&name) {
                *own -= 1;
                if *own == 0 {
                    host.of.remove(&name);
                }
            }
            ready = std::mem::take(&mut host.waiting);
            if host.running == 0 {
                self.hosts.remove(&host_name);
            }
        }
        if let Some(namespace) = self.namespaces.get_mut(&name) {
            namespace.running -= 1;
        }
        for (name, urgent) in ready {
            if let Some(namespace) = self.namespaces.get_mut(&name) {
                namespace.lines(urgent).ready.push_back(host_name.clone());
                self.in_turn(&name);
            }
        }
        self.line_up(source);
        self.forget_idle(&name);
    }

    fn unqueue(&mut self, source: &Arc<Source>) {
        let Some(queued) = self.queued.remove(source) else { return };
        self.since.remove(&(queued.since, source.clone()));
        if let Some(namespace) = self.namespaces.get_mut(&queued.namespace) {
            namespace.waiting -= 1;
        }
    }

    fn in_turn(&mut self, name: &Arc<str>) {
        if let Some(namespace) = self.namespaces.get_mut(name).filter(|namespace| !namespace.in_turn) {
            namespace.in_turn = true;
            self.turn.push_back(name.clone());
        }
    }

    fn forget_idle(&mut self, name: &Arc<str>) {
        if self.namespaces.get(name).is_some_and(|n| n.running == 0 && n.waiting == 0 && !n.in_turn) {
            self.namespaces.remove(name);
        }
    }
}

impl Namespace {
    fn lines(&mut self, urgent: bool) -> &mut Lines {
        if urgent { &mut self.urgent } else { &mut self.ordinary }
    }
}

impl Lines {
    fn push(&mut self, source: &Arc<Source>) {
        let host: Arc<str> = source.repository.host().into();
        let line = self.hosts.entry(host.clone()).or_default();
        line.sources.push_back(source.clone());
        if !std::mem::replace(&mut line.placed, true) {
            self.ready.push_back(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{hint::Credentials, image::Repository};

    fn source(name: &str) -> Arc<Source> {
        Arc::new(Source { repository: Repository::parse(name).unwrap(), credentials: Credentials::default() })
    }

    impl Queue {
        fn of(&mut self, namespace: &str, name: &str, urgent: bool) -> Arc<Source> {
            let source = source(name);
            self.push(&source, [Arc::from(namespace)].iter(), urgent, Duration::ZERO);
            source
        }

        fn start_all(&mut self) -> Vec<Arc<Source>> {
            std::iter::from_fn(|| self.start()).collect()
        }
    }

    #[test]
    fn a_source_is_looked_at_once_at_a_time_and_hints_go_first() {
        let mut queue = Queue::default();
        let a = queue.of("x", "r.io/a", false);
        queue.of("x", "r.io/a", false);
        let b = queue.of("x", "r.io/b", false);
        queue.of("x", "r.io/b", true);
        assert_eq!(queue.start_all(), [b.clone(), a.clone()]);
        queue.of("x", "r.io/a", true);
        assert_eq!(queue.start(), None, "a look at a is under way");
        assert!(queue.holds(&a));
        queue.ended(&a);
        assert_eq!(queue.start(), Some(a.clone()));
        queue.ended(&a);
        queue.ended(&b);
        assert!(!queue.holds(&a));
        assert_eq!(queue.start(), None);
        assert!(queue.hosts.is_empty() && queue.namespaces.is_empty() && queue.since.is_empty(), "{queue:?}");
    }

    #[test]
    fn a_namespace_whose_look_became_anothers_is_forgotten() {
        let mut queue = Queue::default();
        let source = queue.of("x", "r.io/a", false);
        assert_eq!(queue.start(), Some(source.clone()));
        queue.of("y", "r.io/a", false);
        queue.of("z", "r.io/a", true);
        queue.ended(&source);
        assert_eq!(queue.start(), Some(source.clone()));
        queue.ended(&source);
        assert_eq!(queue.start(), None);
        assert!(queue.namespaces.is_empty(), "{queue:?}");
    }

    #[test]
    fn a_slow_host_does_not_hold_up_another() {
        let mut queue = Queue::default();
        for n in 0..2 * IN_ALL {
            queue.of("x", &format!("slow.io/r{n}"), false);
        }
        assert_eq!(queue.start_all().len(), PER_HOST / 2);
        assert!(queue.has_room(), "what is due elsewhere is taken all the same");
        assert_eq!(queue.longest_wait(Duration::from_secs(7)), Duration::from_secs(7));
        let other = queue.of("x", "quick.io/a", false);
        assert_eq!(queue.start(), Some(other));
    }

    #[test]
    fn a_namespace_takes_at_most_a_quarter_and_every_other_still_finds_room() {
        let mut queue = Queue::default();
        for n in 0..4 * IN_ALL {
            queue.of("tenant", &format!("h{}.io/r{n}", n % 200), n % 2 == 0);
        }
        let taken = queue.start_all().len();
        assert!((IN_ALL / 4..=IN_ALL / 3 + 1).contains(&taken), "{taken}");
        for n in 0..200 {
            let name = format!("neighbour-{n}");
            let source = queue.of(&name, &format!("r.io/{name}"), true);
            assert_eq!(queue.start(), (n < PER_HOST).then(|| source.clone()), "{n}");
            let source = queue.of(&name, &format!("{name}.io/a"), true);
            assert_eq!(queue.start(), Some(source), "{n}");
        }
    }

    #[test]
    fn at_one_host_a_namespace_leaves_room_and_each_has_its_turn() {
        let mut queue = Queue::default();
        for n in 0..100 {
            queue.of("tenant", &format!("r.io/r{n}"), true);
        }
        let first = queue.start_all();
        assert_eq!(first.len(), PER_HOST / 2);
        let own = queue.of("neighbour", "r.io/own", false);
        assert_eq!(queue.start_all(), std::slice::from_ref(&own));
        queue.of("neighbour", "r.io/own", true);
        queue.ended(&own);
        assert!(queue.start_all().contains(&own));
        // Whatever ends, in the end all have been looked at.
        let mut running: VecDeque<_> = first.into_iter().chain([own]).collect();
        let mut ended = 0;
        while let Some(source) = running.pop_front() {
            queue.ended(&source);
            ended += 1;
            running.extend(queue.start_all());
        }
        assert_eq!(ended, 101, "{queue:?}");
        assert!(queue.queued.is_empty() && queue.running.is_empty());
    }

    #[test]
    fn a_look_for_many_counts_as_that_of_the_namespace_with_the_fewest() {
        let mut queue = Queue::default();
        for n in 0..4 * IN_ALL {
            queue.of("tenant", &format!("h{n}.io/r"), true);
        }
        queue.start_all();
        let shared = source("r.io/shared");
        queue.push(&shared, [Arc::from("tenant"), Arc::from("neighbour")].iter(), true, Duration::ZERO);
        assert_eq!(queue.start(), Some(shared));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_and_ends_every_source_has_its_look(
            steps in proptest::collection::vec((0usize..3, 0usize..4, 0usize..30, proptest::bool::ANY), 1..300)
        ) {
            let mut queue = Queue::default();
            let (mut running, mut wanted) = (VecDeque::new(), HashMap::new());
            for (what, namespace, n, urgent) in steps {
                if what == 0 && let Some(source) = running.pop_front() {
                    queue.ended(&source);
                } else {
                    let source = queue.of(&format!("n{namespace}"), &format!("h{}.io/r{n}", n % 3), urgent);
                    *wanted.entry(source).or_insert(0) = 1;
                }
                for source in queue.start_all() {
                    proptest::prop_assert!(!running.contains(&source), "twice at a time");
                    wanted.insert(source.clone(), 0);
                    running.push_back(source);
                }
            }
            while let Some(source) = running.pop_front() {
                queue.ended(&source);
                for source in queue.start_all() {
                    wanted.insert(source.clone(), 0);
                    running.push_back(source);
                }
            }
            proptest::prop_assert!(wanted.values().all(|left| *left == 0), "{queue:?}");
            proptest::prop_assert!(queue.hosts.is_empty() && queue.since.is_empty());
            queue.start();
            proptest::prop_assert!(queue.namespaces.is_empty(), "{:?}", queue);
        }
    }
}
