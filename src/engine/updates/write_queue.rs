//! Who waits to be written: one line for the cluster, one for each Git target, so that a slow one delays no other.
//!
//! A target writes one batch at a time: what goes to its branch, or else one group's request. Commits go first, but a
//! request that is due goes before a second batch of them: neither holds up the other for more than one batch, however
//! many there are. Within both the namespaces have their turns, so one with very many lets the others in between.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    domain::{target::Route, workload::WorkloadId},
    engine::updates::patches::Patches,
};

/// Updates that go into one commit at most.
const BATCH: usize = 1000;

/// Every line. A workload stands in one of them at most; its caller sees to that.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    pub(crate) cluster: Patches,
    git: BTreeMap<Arc<str>, Line>,
}

/// Those of one namespace, each with the group of its request.
type Share = VecDeque<(Option<Arc<str>>, WorkloadId)>;

#[derive(Debug, Default)]
struct Line {
    commits: Waiting,
    requests: Waiting,
    /// Whether the batch before was one of commits.
    committed: bool,
    /// Whether a write to the target is under way.
    busy: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By namespace, the one whose turn it is first; none of them is empty.
    shares: VecDeque<Share>,
    /// When the first of them came (monotonic).
    since: Duration,
}

impl WriteQueue {
    /// WriteQueue a workload up.
    pub(crate) fn push(&mut self, route: Route, id: WorkloadId, now: Duration) {
        match route {
            Route::Cluster => self.cluster.push(id),
            Route::Commit(target) => self.git.entry(target).or_default().commits.push(None, id, now),
            Route::Request(target, group) => self.git.entry(target).or_default().requests.push(group, id, now),
        }
    }

    /// A way to a target that is free and whose batch window is over, with those who go it.
    pub(crate) fn ready(
        &mut self,
        now: Duration,
        window: impl Fn(&str) -> Duration,
    ) -> Option<(Route, Vec<WorkloadId>)> {
        let is_ready = |name: &str, line: &Line| line.opens(window(name)).is_some_and(|at| at <= now);
        let (target, line) = self.git.iter_mut().find(|(name, line)| is_ready(name, line))?;
        line.busy = true;
        let is_due = |waiting: &Waiting| waiting.opens(window(target)).is_some_and(|at| at <= now);
        line.committed = is_due(&line.commits) && !(line.committed && is_due(&line.requests));
        Some(match line.committed {
            true => (Route::Commit(target.clone()), line.commits.next_commits()),
            false => {
                let (group, batch) = line.requests.next_request();
                (Route::Request(target.clone(), group), batch)
            }
        })
    }

    /// A write to a target has ended.
    pub(crate) fn ended(&mut self, target: &Arc<str>) {
        if let Some(line) = self.git.get_mut(target) {
            line.busy = false;
            if line.len() == 0 {
                self.git.remove(target);
            }
        }
    }

    /// When the next batch window is over.
    pub(crate) fn opens(&self, window: impl Fn(&str) -> Duration) -> Option<Duration> {
        self.git.iter().filter_map(|(name, line)| line.opens(window(name))).min()
    }

    /// Empties all lines; how many waited.
    pub(crate) fn clear(&mut self) -> usize {
        let waited = self.cluster.len() + self.git.values().map(Line::len).sum::<usize>();
        *self = Self::default();
        waited
    }
}

impl Line {
    fn len(&self) -> usize {
        [&self.commits, &self.requests].into_iter().flat_map(|waiting| &waiting.shares).map(VecDeque::len).sum()
    }

    fn opens(&self, window: Duration) -> Option<Duration> {
        let both = [&self.commits, &self.requests].into_iter().filter_map(|waiting| waiting.opens(window));
        both.min().filter(|_| !self.busy)
    }
}

impl Waiting {
    fn push(&mut self, group: Option<Arc<str>>, id: WorkloadId, now: Duration) {
        let Self { shares, since } = self;
        if shares.is_empty() {
            *since = now;
        }
        let is_its = |share: &&mut Share| share.front().is_some_and(|(_, other)| other.namespace == id.namespace);
        match shares.iter_mut().find(is_its) {
            Some(share) => share.push_back((group, id)),
            None => shares.push_back([(group, id)].into()),
        }
    }

    fn opens(&self, window: Duration) -> Option<Duration> {
        (!self.shares.is_empty()).then(|| self.since + window)
    }

    /// As many as one commit takes, of each namespace in turn.
    fn next_commits(&mut self) -> Vec<WorkloadId> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(mut share) = self.shares.pop_front()
        {
            batch.extend(share.pop_front().map(|(_, id)| id));
            if !share.is_empty() {
                self.shares.push_back(share);
            }
        }
        batch
    }

    /// The group that has waited longest in the namespace whose turn it is, and all who wait for its request, of
    /// whatever namespace.
    fn next_request(&mut self) -> (Option<Arc<str>>, Vec<WorkloadId>) {
        let shares = &mut self.shares;
        let group = shares.front().and_then(|share| share.front()).and_then(|(group, _)| group.clone());
        let mut batch = Vec::new();
        for share in shares.iter_mut() {
            share.retain(|(other, id)| {
                let goes = *other == group && batch.len() < BATCH;
                if goes {
                    batch.push(id.clone());
                }
                !goes
            });
        }
        shares.rotate_left(1);
        shares.retain(|share| !share.is_empty());
        (group, batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::workload::KINDS;

    fn id(name: &str) -> WorkloadId {
        id_in("n", name)
    }

    fn id_in(namespace: &str, name: &str) -> WorkloadId {
        WorkloadId { kind: KINDS[0].kind.clone(), namespace: namespace.into(), name: name.into() }
    }

    fn request(group: &str) -> Route {
        Route::Request("a".into(), Some(group.into()))
    }

    #[test]
    fn a_target_gathers_for_its_window_and_writes_once_at_a_time() {
        let seconds = Duration::from_secs;
        let (mut queue, window) = (WriteQueue::default(), |_: &str| seconds(10));
        let (a, b) = (Route::Commit("a".into()), Route::Commit("b".into()));
        queue.push(a.clone(), id("1"), seconds(100));
        queue.push(a.clone(), id("2"), seconds(105));
        queue.push(b.clone(), id("3"), seconds(102));
        queue.push(Route::Cluster, id("4"), seconds(106));
        assert_eq!(queue.opens(window), Some(seconds(110)));
        assert_eq!(queue.ready(seconds(109), window), None);
        assert_eq!(queue.cluster.next(), Some(id("4")), "the cluster waits for no window");
        assert_eq!(queue.ready(seconds(110), window), Some((a.clone(), vec![id("1"), id("2")])));
        queue.push(a.clone(), id("5"), seconds(111));
        assert_eq!(queue.ready(seconds(130), window), Some((b.clone(), vec![id("3")])), "a is being written");
        assert_eq!(queue.ready(seconds(130), window), None);
        queue.ended(a.target().unwrap());
        assert_eq!(queue.ready(seconds(130), window), Some((a.clone(), vec![id("5")])));
        queue.ended(a.target().unwrap());
        queue.ended(b.target().unwrap());
        assert_eq!((queue.opens(window), queue.clear()), (None, 0));
    }

    #[test]
    fn a_commit_waits_for_one_request_however_many_there_are() {
        let seconds = Duration::from_secs;
        let (mut queue, window) = (WriteQueue::default(), |_: &str| seconds(10));
        for n in 0..60 {
            queue.push(request(&format!("g{n}")), id(&n.to_string()), seconds(100));
        }
        assert_eq!(queue.ready(seconds(110), window), Some((request("g0"), vec![id("0")])));
        queue.push(Route::Commit("a".into()), id_in("m", "web"), seconds(110));
        queue.push(Route::Commit("a".into()), id_in("m", "api"), seconds(112));
        queue.ended(&"a".into());
        assert_eq!(queue.ready(seconds(119), window), Some((request("g1"), vec![id("1")])), "commits gather still");
        queue.ended(&"a".into());
        assert_eq!(queue.opens(window), Some(seconds(110)));
        let commits = vec![id_in("m", "web"), id_in("m", "api")];
        assert_eq!(queue.ready(seconds(120), window), Some((Route::Commit("a".into()), commits)));
        assert_eq!(queue.clear(), 58);
    }

    #[test]
    fn a_namespace_with_very_many_commits_leaves_room_in_each_for_the_others() {
        let (mut queue, window) = (WriteQueue::default(), |_: &str| Duration::ZERO);
        for n in 0..3 * BATCH {
            queue.push(Route::Commit("a".into()), id_in("many", &n.to_string()), Duration::ZERO);
        }
        let few = [id_in("few", "web"), id_in("few", "api")];
        few.iter().for_each(|id| queue.push(Route::Commit("a".into()), id.clone(), Duration::ZERO));
        let (_, batch) = queue.ready(Duration::ZERO, window).unwrap();
        assert_eq!(batch[..4], [id_in("many", "0"), few[0].clone(), id_in("many", "1"), few[1].clone()]);
        assert_eq!((batch.len(), queue.clear()), (BATCH, 2 * BATCH + 2));
    }

    #[test]
    fn commits_without_end_and_requests_without_end_let_each_other_in() {
        let (mut queue, window) = (WriteQueue::default(), |_: &str| Duration::ZERO);
        let mut made = String::new();
        for n in 0..8 {
            let now = Duration::from_secs(n);
            queue.push(Route::Commit("a".into()), id_in("commits", &n.to_string()), now);
            queue.push(request(&n.to_string()), id_in("requests", &n.to_string()), now);
            let (way, _) = queue.ready(now, window).unwrap();
            made.push(if matches!(way, Route::Commit(_)) { 'c' } else { 'r' });
            queue.ended(&"a".into());
        }
        assert_eq!(made, "crcrcrcr");
    }

    #[test]
    fn namespaces_have_their_requests_made_in_turn_and_share_those_of_a_group() {
        let (mut queue, window) = (WriteQueue::default(), |_: &str| Duration::ZERO);
        for group in ["1", "2", "3", "shared"] {
            queue.push(request(group), id_in("many", group), Duration::ZERO);
        }
        queue.push(request("few"), id_in("few", "web"), Duration::ZERO);
        queue.push(request("shared"), id_in("few", "api"), Duration::ZERO);
        queue.push(Route::Request("a".into(), None), id_in("one", "web"), Duration::ZERO);
        let mut made = Vec::new();
        while let Some((way, ids)) = queue.ready(Duration::ZERO, window) {
            let Route::Request(_, group) = way else { panic!("{way:?}") };
            made.push((group.unwrap_or_default().to_string(), ids.len()));
            queue.ended(&"a".into());
        }
        let want = [("1", 1), ("few", 1), ("", 1), ("2", 1), ("shared", 2), ("3", 1)];
        assert_eq!(made, want.map(|(group, count)| (group.to_owned(), count)));
        assert_eq!(queue.clear(), 0);
    }
}
