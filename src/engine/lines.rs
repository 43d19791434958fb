//! Who waits to be written: one line for the cluster, one for each Git target, so that a slow one delays no other.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::domain::workload::WorkloadId;

/// Updates that go into one commit at most.
const BATCH: usize = 1000;

/// Every line. A workload stands in one of them at most; its caller sees to that.
#[derive(Debug, Default)]
pub(super) struct Lines {
    cluster: VecDeque<WorkloadId>,
    git: BTreeMap<Arc<str>, Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<WorkloadId>,
    /// When the first of them came (monotonic).
    since: Duration,
    /// Whether a write to the target is under way.
    busy: bool,
}

impl Lines {
    /// Lines a workload up.
    pub(super) fn push(&mut self, target: Option<&Arc<str>>, id: WorkloadId, now: Duration) {
        let Some(target) = target else { return self.cluster.push_back(id) };
        let line = self.git.entry(target.clone()).or_default();
        if line.waiting.is_empty() {
            line.since = now;
        }
        line.waiting.push_back(id);
    }

    /// The next one for the cluster.
    pub(super) fn next(&mut self) -> Option<WorkloadId> {
        self.cluster.pop_front()
    }

    /// A target that is free and whose settle window is over, with those who wait for it.
    pub(super) fn ready(
        &mut self,
        now: Duration,
        settle: impl Fn(&str) -> Duration,
    ) -> Option<(Arc<str>, Vec<WorkloadId>)> {
        let is_ready = |name: &str, line: &Line| line.opens(settle(name)).is_some_and(|at| at <= now);
        let (target, line) = self.git.iter_mut().find(|(name, line)| is_ready(name, line))?;
        line.busy = true;
        let batch = line.waiting.drain(..line.waiting.len().min(BATCH)).collect();
        Some((target.clone(), batch))
    }

    /// A write to a target has ended.
    pub(super) fn ended(&mut self, target: &Arc<str>) {
        if let Some(line) = self.git.get_mut(target) {
            line.busy = false;
            if line.waiting.is_empty() {
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
        let waited = self.cluster.len() + self.git.values().map(|line| line.waiting.len()).sum::<usize>();
        *self = Self::default();
        waited
    }
}

impl Line {
    fn opens(&self, settle: Duration) -> Option<Duration> {
        (!self.busy && !self.waiting.is_empty()).then(|| self.since + settle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::workload::KINDS;

    fn id(name: &str) -> WorkloadId {
        WorkloadId { kind: KINDS[0].kind.clone(), namespace: "n".into(), name: name.into() }
    }

    #[test]
    fn a_target_gathers_for_its_window_and_writes_once_at_a_time() {
        let seconds = Duration::from_secs;
        let (mut lines, settle) = (Lines::default(), |_: &str| seconds(10));
        let (a, b) = (Arc::<str>::from("a"), Arc::<str>::from("b"));
        lines.push(Some(&a), id("1"), seconds(100));
        lines.push(Some(&a), id("2"), seconds(105));
        lines.push(Some(&b), id("3"), seconds(102));
        lines.push(None, id("4"), seconds(106));
        assert_eq!(lines.opens(settle), Some(seconds(110)));
        assert_eq!(lines.ready(seconds(109), settle), None);
        assert_eq!(lines.next(), Some(id("4")), "the cluster waits for no window");
        assert_eq!(lines.ready(seconds(110), settle), Some((a.clone(), vec![id("1"), id("2")])));
        lines.push(Some(&a), id("5"), seconds(111));
        assert_eq!(lines.ready(seconds(130), settle), Some((b.clone(), vec![id("3")])), "a is being written");
        assert_eq!(lines.ready(seconds(130), settle), None);
        lines.ended(&a);
        assert_eq!(lines.ready(seconds(130), settle), Some((a.clone(), vec![id("5")])));
        lines.ended(&a);
        lines.ended(&b);
        assert_eq!((lines.opens(settle), lines.clear()), (None, 0));
    }
}
