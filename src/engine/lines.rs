//! Who waits to be written: one line for the cluster, one for each Git target, so that a slow one delays no other.
//!
//! A target writes one batch at a time: all that goes to its branch, or else one group's request. So a commit waits for
//! one request at most, however many there are to be made, and a namespace with many groups lets the others in between.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::domain::{target::Write, update::Update, workload::WorkloadId};

/// Updates that go into one commit at most.
const BATCH: usize = 1000;

/// Where an update goes. What goes the same way may share a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Cluster,
    /// To the branch of this target.
    Commit(Arc<str>),
    /// Into a request to this target, which a group shares.
    Request(Arc<str>, Option<Arc<str>>),
}

/// Every line. A workload stands in one of them at most; its caller sees to that.
#[derive(Debug, Default)]
pub(super) struct Lines {
    cluster: VecDeque<WorkloadId>,
    git: BTreeMap<Arc<str>, Line>,
}

/// Those of one namespace for requests, each with its group.
type Share = VecDeque<(Option<Arc<str>>, WorkloadId)>;

#[derive(Debug, Default)]
struct Line {
    commits: Waiting<VecDeque<WorkloadId>>,
    /// By namespace, the one whose turn it is first; none of them is empty.
    requests: Waiting<VecDeque<Share>>,
    /// Whether a write to the target is under way.
    busy: bool,
}

#[derive(Debug, Default)]
struct Waiting<T> {
    all: T,
    /// When the first of them came (monotonic).
    since: Duration,
}

impl Way {
    pub(super) fn of(update: &Update) -> Self {
        match &update.write {
            Write::Cluster => Self::Cluster,
            Write::Commit(target) => Self::Commit(target.clone()),
            Write::Request(target) => Self::Request(target.clone(), update.group.clone()),
        }
    }

    /// The Git target that it leads to.
    pub(super) fn target(&self) -> Option<&Arc<str>> {
        match self {
            Self::Cluster => None,
            Self::Commit(target) | Self::Request(target, _) => Some(target),
        }
    }
}

impl Lines {
    /// Lines a workload up.
    pub(super) fn push(&mut self, way: Way, id: WorkloadId, now: Duration) {
        match way {
            Way::Cluster => self.cluster.push_back(id),
            Way::Commit(target) => {
                let Waiting { all, since } = &mut self.git.entry(target).or_default().commits;
                if all.is_empty() {
                    *since = now;
                }
                all.push_back(id);
            }
            Way::Request(target, group) => {
                let Waiting { all, since } = &mut self.git.entry(target).or_default().requests;
                if all.is_empty() {
                    *since = now;
                }
                let is_its =
                    |share: &&mut Share| share.front().is_some_and(|(_, other)| other.namespace == id.namespace);
                match all.iter_mut().find(is_its) {
                    Some(share) => share.push_back((group, id)),
                    None => all.push_back([(group, id)].into()),
                }
            }
        }
    }

    /// The next one for the cluster.
    pub(super) fn next(&mut self) -> Option<WorkloadId> {
        self.cluster.pop_front()
    }

    /// A way to a target that is free and whose settle window is over, with those who go it.
    pub(super) fn ready(&mut self, now: Duration, settle: impl Fn(&str) -> Duration) -> Option<(Way, Vec<WorkloadId>)> {
        let is_ready = |name: &str, line: &Line| line.opens(settle(name)).is_some_and(|at| at <= now);
        let (target, line) = self.git.iter_mut().find(|(name, line)| is_ready(name, line))?;
        line.busy = true;
        Some(match line.commits_open(settle(target)).is_some_and(|at| at <= now) {
            true => {
                let waiting = &mut line.commits.all;
                (Way::Commit(target.clone()), waiting.drain(..waiting.len().min(BATCH)).collect())
            }
            false => {
                let (group, batch) = line.next_request();
                (Way::Request(target.clone(), group), batch)
            }
        })
    }

    /// A write to a target has ended.
    pub(super) fn ended(&mut self, target: &Arc<str>) {
        if let Some(line) = self.git.get_mut(target) {
            line.busy = false;
            if line.len() == 0 {
                self.git.remove(target);
            }
        }
    }

    /// When the next settle window is over.
    pub(super) fn opens(&self, settle: impl Fn(&str) -> Duration) -> Option<Duration> {
        self.git.iter().filter_map(|(name, line)| line.opens(settle(name))).min()
    }

    /// Empties all lines; how many waited.
    pub(super) fn clear(&mut self) -> usize {
        let waited = self.cluster.len() + self.git.values().map(Line::len).sum::<usize>();
        *self = Self::default();
        waited
    }
}

impl Line {
    fn len(&self) -> usize {
        self.commits.all.len() + self.requests.all.iter().map(VecDeque::len).sum::<usize>()
    }

    fn opens(&self, settle: Duration) -> Option<Duration> {
        let requests = (!self.requests.all.is_empty()).then(|| self.requests.since + settle);
        self.commits_open(settle).into_iter().chain(requests).min().filter(|_| !self.busy)
    }

    fn commits_open(&self, settle: Duration) -> Option<Duration> {
        (!self.commits.all.is_empty()).then(|| self.commits.since + settle)
    }

    /// The group that has waited longest in the namespace whose turn it is, and all who wait for its request, of
    /// whatever namespace.
    fn next_request(&mut self) -> (Option<Arc<str>>, Vec<WorkloadId>) {
        let shares = &mut self.requests.all;
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

    fn request(group: &str) -> Way {
        Way::Request("a".into(), Some(group.into()))
    }

    #[test]
    fn a_target_gathers_for_its_window_and_writes_once_at_a_time() {
        let seconds = Duration::from_secs;
        let (mut lines, settle) = (Lines::default(), |_: &str| seconds(10));
        let (a, b) = (Way::Commit("a".into()), Way::Commit("b".into()));
        lines.push(a.clone(), id("1"), seconds(100));
        lines.push(a.clone(), id("2"), seconds(105));
        lines.push(b.clone(), id("3"), seconds(102));
        lines.push(Way::Cluster, id("4"), seconds(106));
        assert_eq!(lines.opens(settle), Some(seconds(110)));
        assert_eq!(lines.ready(seconds(109), settle), None);
        assert_eq!(lines.next(), Some(id("4")), "the cluster waits for no window");
        assert_eq!(lines.ready(seconds(110), settle), Some((a.clone(), vec![id("1"), id("2")])));
        lines.push(a.clone(), id("5"), seconds(111));
        assert_eq!(lines.ready(seconds(130), settle), Some((b.clone(), vec![id("3")])), "a is being written");
        assert_eq!(lines.ready(seconds(130), settle), None);
        lines.ended(a.target().unwrap());
        assert_eq!(lines.ready(seconds(130), settle), Some((a.clone(), vec![id("5")])));
        lines.ended(a.target().unwrap());
        lines.ended(b.target().unwrap());
        assert_eq!((lines.opens(settle), lines.clear()), (None, 0));
    }

    #[test]
    fn a_commit_waits_for_one_request_however_many_there_are() {
        let seconds = Duration::from_secs;
        let (mut lines, settle) = (Lines::default(), |_: &str| seconds(10));
        for n in 0..60 {
            lines.push(request(&format!("g{n}")), id(&n.to_string()), seconds(100));
        }
        assert_eq!(lines.ready(seconds(110), settle), Some((request("g0"), vec![id("0")])));
        lines.push(Way::Commit("a".into()), id_in("m", "web"), seconds(110));
        lines.push(Way::Commit("a".into()), id_in("m", "api"), seconds(112));
        lines.ended(&"a".into());
        assert_eq!(lines.ready(seconds(119), settle), Some((request("g1"), vec![id("1")])), "commits gather still");
        lines.ended(&"a".into());
        assert_eq!(lines.opens(settle), Some(seconds(110)));
        let commits = vec![id_in("m", "web"), id_in("m", "api")];
        assert_eq!(lines.ready(seconds(120), settle), Some((Way::Commit("a".into()), commits)));
        assert_eq!(lines.clear(), 58);
    }

    #[test]
    fn namespaces_have_their_requests_made_in_turn_and_share_those_of_a_group() {
        let (mut lines, settle) = (Lines::default(), |_: &str| Duration::ZERO);
        for group in ["1", "2", "3", "shared"] {
            lines.push(request(group), id_in("many", group), Duration::ZERO);
        }
        lines.push(request("few"), id_in("few", "web"), Duration::ZERO);
        lines.push(request("shared"), id_in("few", "api"), Duration::ZERO);
        lines.push(Way::Request("a".into(), None), id_in("one", "web"), Duration::ZERO);
        let mut made = Vec::new();
        while let Some((way, ids)) = lines.ready(Duration::ZERO, settle) {
            let Way::Request(_, group) = way else { panic!("{way:?}") };
            made.push((group.unwrap_or_default().to_string(), ids.len()));
            lines.ended(&"a".into());
        }
        let want = [("1", 1), ("few", 1), ("", 1), ("2", 1), ("shared", 2), ("3", 1)];
        assert_eq!(made, want.map(|(group, count)| (group.to_owned(), count)));
        assert_eq!(lines.clear(), 0);
    }
}
