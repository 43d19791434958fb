//! Which look is next: one at a time for each source, a few at a time for each host and of those at many tags, hints
//! before polls, and namespaces in turn, none of which may take more than a share.
//!
//! A look that several namespaces want counts as that of the one with the fewest.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{domain::hint::Source, engine::look::room::Size};

/// Looks under way at one host. After a restart this is what paces them.
const PER_HOST: usize = 16;
/// Looks under way in all.
const IN_ALL: usize = 512;

/// Sources that are to be looked at. Each stands in it at most once, so it is bounded by what is watched.
///
/// A slow host keeps its own sources waiting, and no other's; so does a namespace with many of them. Nothing here costs
/// more the more sources wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    namespaces: HashMap<Arc<str>, Namespace>,
    /// Namespaces that may have something to start.
    turn: VecDeque<Arc<str>>,
    lanes: HashMap<Lane, Places>,
    queued: HashMap<Arc<Source>, Queued>,
    /// Since when each of those waits.
    since: BTreeSet<(Duration, Arc<Source>)>,
    running: HashMap<Arc<Source>, Running>,
}

/// What a look takes a place of while it is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Lane {
    Host(Arc<str>),
    /// Of the memory, which is scarcer where there are many tags.
    Size(Size),
}

#[derive(Debug, Default)]
struct Namespace {
    urgent: Waiting,
    ordinary: Waiting,
    running: usize,
    waiting: usize,
    in_turn: bool,
}

/// What one namespace wants, by lane.
#[derive(Debug, Default)]
struct Waiting {
    lanes: HashMap<Lane, Line>,
    /// Lanes that may be able to start something, in turn.
    ready: VecDeque<Lane>,
}

/// Sources that wait in one lane. Those that went into another line or are looked at meanwhile are passed over.
#[derive(Debug, Default)]
struct Line {
    sources: VecDeque<Arc<Source>>,
    /// Among the ready ones, or waiting for a look in the lane to end.
    placed: bool,
}

/// Those of a lane.
#[derive(Debug, Default)]
struct Places {
    running: usize,
    /// How many of them each namespace has.
    of: HashMap<Arc<str>, usize>,
    /// Who waits for one to end.
    waiting: Vec<(Arc<str>, bool)>,
}

#[derive(Debug)]
struct Queued {
    namespace: Arc<str>,
    size: Size,
    urgent: bool,
    since: Duration,
}

/// A look under way.
#[derive(Debug)]
struct Running {
    /// Whose it is.
    namespace: Arc<str>,
    lane: Lane,
}

/// A look that starts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) source: Arc<Source>,
    /// For which namespace.
    pub(crate) namespace: Arc<str>,
    /// At how many tags.
    pub(crate) size: Size,
}

impl Queue {
    /// Asks for a look for these namespaces. While one is under way the next one waits for its end.
    pub(crate) fn push<'a>(
        &mut self,
        source: &Arc<Source>,
        namespaces: impl Iterator<Item = &'a Arc<str>>,
        size: Size,
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
        self.queued.insert(source.clone(), Queued { namespace: name.clone(), size, urgent, since });
        self.since.insert((since, source.clone()));
        self.namespaces.entry(name).or_default().waiting += 1;
        if !self.running.contains_key(source) {
            self.line_up(source);
        }
    }

    /// Puts a source that is queued into its line.
    fn line_up(&mut self, source: &Arc<Source>) {
        let Some(Queued { namespace: name, size, urgent, .. }) = self.queued.get(source) else { return };
        let (name, lane, urgent) = (name.clone(), Lane::of(source, *size), *urgent);
        let Some(namespace) = self.namespaces.get_mut(&name) else { return };
        namespace.lines(urgent).push(source, lane);
        self.in_turn(&name);
    }

    /// Whether more may be taken of what is only due: what is late is told by the poll. Sources that wait for a slow
    /// host are no reason to stop, as that would make all others wait for it too.
    pub(crate) fn has_room(&self) -> bool {
        self.running.len() < IN_ALL
    }

    /// How long the one that waits longest has waited.
    pub(crate) fn longest_wait(&self, now: Duration) -> Duration {
        self.since.first().map(|(since, _)| now.saturating_sub(*since)).unwrap_or_default()
    }

    /// Whether a look at it is asked for or under way.
    pub(crate) fn holds(&self, source: &Arc<Source>) -> bool {
        self.queued.contains_key(source) || self.running.contains_key(source)
    }

    /// The next look that may start now.
    pub(crate) fn start(&mut self) -> Option<Start> {
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
                } else if let Some(start) = self.start_of(&name, urgent) {
                    self.turn.push_back(name);
                    return Some(start);
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

    /// The first of a namespace whose lane has a place.
    fn start_of(&mut self, name: &Arc<str>, urgent: bool) -> Option<Start> {
        let namespace = self.namespaces.get_mut(name)?;
        loop {
            let lines = namespace.lines(urgent);
            let lane = lines.ready.pop_front()?;
            let Some(line) = lines.lanes.get_mut(&lane) else { continue };
            let is_here = |source: &Arc<Source>| {
                let queued = self.queued.get(source).filter(|_| !self.running.contains_key(source));
                queued.is_some_and(|queued| {
                    queued.urgent == urgent && queued.namespace == *name && Lane::of(source, queued.size) == lane
                })
            };
            while line.sources.pop_front_if(|source| !is_here(source)).is_some() {}
            if line.sources.is_empty() {
                lines.lanes.remove(&lane);
                continue;
            }
            let places = self.lanes.entry(lane.clone()).or_default();
            let own = places.of.get(name).copied().unwrap_or_default();
            if own >= (lane.places() - places.running).min(lane.places().div_ceil(2)) {
                places.waiting.push((name.clone(), urgent));
                continue;
            }
            let source = line.sources.pop_front()?;
            let size = self.queued.get(&source)?.size;
            lines.ready.push_back(lane.clone());
            places.of.insert(name.clone(), own + 1);
            places.running += 1;
            namespace.running += 1;
            self.unqueue(&source);
            self.running.insert(source.clone(), Running { namespace: name.clone(), lane });
            return Some(Start { source, namespace: name.clone(), size });
        }
    }

    /// A look has ended.
    pub(crate) fn ended(&mut self, source: &Arc<Source>) {
        let Some(Running { namespace: name, lane }) = self.running.remove(source) else { return };
        let mut ready = Vec::new();
        if let Some(places) = self.lanes.get_mut(&lane) {
            places.running -= 1;
            if let Some(own) = places.of.get_mut(&name) {
                *own -= 1;
                if *own == 0 {
                    places.of.remove(&name);
                }
            }
            ready = std::mem::take(&mut places.waiting);
            if places.running == 0 {
                self.lanes.remove(&lane);
            }
        }
        if let Some(namespace) = self.namespaces.get_mut(&name) {
            namespace.running -= 1;
        }
        for (name, urgent) in ready {
            if let Some(namespace) = self.namespaces.get_mut(&name) {
                namespace.lines(urgent).ready.push_back(lane.clone());
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
    fn lines(&mut self, urgent: bool) -> &mut Waiting {
        if urgent { &mut self.urgent } else { &mut self.ordinary }
    }
}

impl Waiting {
    fn push(&mut self, source: &Arc<Source>, lane: Lane) {
        let line = self.lanes.entry(lane.clone()).or_default();
        line.sources.push_back(source.clone());
        if !std::mem::replace(&mut line.placed, true) {
            self.ready.push_back(lane);
        }
    }
}

impl Lane {
    fn of(source: &Source, size: Size) -> Self {
        if size.places().is_some() { Self::Size(size) } else { Self::Host(source.repository.host().into()) }
    }

    fn places(&self) -> usize {
        match self {
            Self::Host(_) => PER_HOST,
            Self::Size(size) => size.places().unwrap_or(PER_HOST),
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
            self.push(&source, [Arc::from(namespace)].iter(), Size::Few, urgent, Duration::ZERO);
            source
        }

        fn sized(&mut self, namespace: &str, name: &str, size: Size) -> Arc<Source> {
            let source = source(name);
            self.push(&source, [Arc::from(namespace)].iter(), size, false, Duration::ZERO);
            source
        }

        fn next(&mut self) -> Option<Arc<Source>> {
            self.start().map(|start| start.source)
        }

        fn start_all(&mut self) -> Vec<Arc<Source>> {
            std::iter::from_fn(|| self.next()).collect()
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
        assert_eq!(queue.next(), None, "a look at a is under way");
        assert!(queue.holds(&a));
        queue.ended(&a);
        assert_eq!(queue.next(), Some(a.clone()));
        queue.ended(&a);
        queue.ended(&b);
        assert!(!queue.holds(&a));
        assert_eq!(queue.next(), None);
        assert!(queue.lanes.is_empty() && queue.namespaces.is_empty() && queue.since.is_empty(), "{queue:?}");
    }

    #[test]
    fn a_namespace_whose_look_became_anothers_is_forgotten() {
        let mut queue = Queue::default();
        let source = queue.of("x", "r.io/a", false);
        assert_eq!(queue.next(), Some(source.clone()));
        queue.of("y", "r.io/a", false);
        queue.of("z", "r.io/a", true);
        queue.ended(&source);
        assert_eq!(queue.next(), Some(source.clone()));
        queue.ended(&source);
        assert_eq!(queue.next(), None);
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
        assert_eq!(queue.next(), Some(other));
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
            assert_eq!(queue.next(), (n < PER_HOST).then(|| source.clone()), "{n}");
            let source = queue.of(&name, &format!("{name}.io/a"), true);
            assert_eq!(queue.next(), Some(source), "{n}");
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
    fn of_looks_at_the_most_tags_one_is_under_way_and_namespaces_have_their_turn() {
        let mut queue = Queue::default();
        let large: Vec<_> = (0..3).map(|n| queue.sized("tenant", &format!("h{n}.io/r"), Size::Most)).collect();
        let many: Vec<_> = (0..9).map(|n| queue.sized("tenant", &format!("h{n}.io/m"), Size::Many)).collect();
        let first = queue.start_all();
        assert_eq!(first.len(), 3, "one and half of four: {first:?}");
        assert!(first.contains(&large[0]) && first.contains(&many[0]) && first.contains(&many[1]));
        let few = queue.sized("tenant", "h0.io/few", Size::Few);
        let own = queue.sized("neighbour", "h0.io/own", Size::Most);
        assert_eq!(queue.start_all(), [few]);
        queue.ended(&large[0]);
        assert_eq!(queue.start_all(), [large[1].clone()], "it waits since longer");
        queue.ended(&large[1]);
        assert_eq!(queue.next(), Some(own.clone()));
        queue.ended(&own);
        assert_eq!(
            queue.start(),
            Some(Start { source: large[2].clone(), namespace: "tenant".into(), size: Size::Most })
        );
    }

    #[test]
    fn a_look_that_became_one_at_many_tags_does_not_start_from_its_old_line() {
        let mut queue = Queue::default();
        for n in 0..PER_HOST {
            queue.of("x", &format!("r.io/r{n}"), false);
        }
        let started = queue.start_all();
        let source = queue.of("x", "r.io/a", false);
        queue.of("x", "r.io/a", true);
        for source in &started {
            queue.ended(source);
        }
        assert_eq!(queue.next(), Some(source.clone()));
        queue.ended(&source);
        queue.sized("x", "r.io/a", Size::Most);
        let mut starts = std::iter::from_fn(|| queue.start());
        let start = starts.find(|start| start.source == source);
        assert_eq!(start.map(|start| start.size), Some(Size::Most));
        assert_eq!(queue.running[&source].lane, Lane::Size(Size::Most));
    }

    #[test]
    fn a_look_for_many_counts_as_that_of_the_namespace_with_the_fewest() {
        let mut queue = Queue::default();
        for n in 0..4 * IN_ALL {
            queue.of("tenant", &format!("h{n}.io/r"), true);
        }
        queue.start_all();
        let shared = source("r.io/shared");
        queue.push(&shared, [Arc::from("tenant"), Arc::from("neighbour")].iter(), Size::Few, true, Duration::ZERO);
        assert_eq!(queue.next(), Some(shared));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_and_ends_every_source_has_its_look(
            steps in proptest::collection::vec((0usize..3, 0usize..4, 0usize..30, proptest::bool::ANY, 0usize..6), 1..300)
        ) {
            let mut queue = Queue::default();
            let (mut running, mut wanted) = (VecDeque::new(), HashMap::new());
            for (what, namespace, n, urgent, size) in steps {
                if what == 0 && let Some(source) = running.pop_front() {
                    queue.ended(&source);
                } else {
                    let source = source(&format!("h{}.io/r{n}", n % 3));
                    let size = [Size::Many, Size::Most].get(size).copied().unwrap_or_default();
                    let namespace = Arc::from(format!("n{namespace}"));
                    queue.push(&source, [namespace].iter(), size, urgent, Duration::ZERO);
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
            proptest::prop_assert!(queue.lanes.is_empty() && queue.since.is_empty());
            queue.start();
            proptest::prop_assert!(queue.namespaces.is_empty(), "{:?}", queue);
        }
    }
}
