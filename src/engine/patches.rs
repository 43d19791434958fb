//! Who is patched next in the cluster: a few at a time, namespaces in turn, none of which takes more than half of what
//! is free.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::domain::workload::WorkloadId;

/// Patches under way at once.
const PLACES: usize = 16;

/// Workloads that wait to be patched. Each stands in it once at most; its caller sees to that.
#[derive(Debug, Default)]
pub(super) struct Patches {
    waiting: HashMap<Arc<str>, VecDeque<WorkloadId>>,
    /// The namespaces that wait, the next first.
    turn: VecDeque<Arc<str>>,
    /// How many are under way, in all and of each namespace.
    running: usize,
    of: HashMap<Arc<str>, usize>,
}

impl Patches {
    pub(super) fn push(&mut self, id: WorkloadId) {
        let waiting = self.waiting.entry(id.namespace.clone()).or_default();
        if waiting.is_empty() {
            self.turn.push_back(id.namespace.clone());
        }
        waiting.push_back(id);
    }

    /// The next one, which is under way from now on.
    pub(super) fn next(&mut self) -> Option<WorkloadId> {
        let free = PLACES - self.running;
        let own = |name: &Arc<str>| self.of.get(name).copied().unwrap_or_default();
        let at = self.turn.iter().position(|name| own(name) < free.min(PLACES / 2))?;
        let name = self.turn.remove(at)?;
        let waiting = self.waiting.get_mut(&name)?;
        let id = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&name);
        } else {
            self.turn.push_back(name.clone());
        }
        self.running += 1;
        *self.of.entry(name).or_default() += 1;
        Some(id)
    }

    /// One of that namespace has ended.
    pub(super) fn ended(&mut self, namespace: &Arc<str>) {
        let Some(own) = self.of.get_mut(namespace) else { return };
        *own -= 1;
        if *own == 0 {
            self.of.remove(namespace);
        }
        self.running -= 1;
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::workload::Kind;

    fn id(namespace: &str, n: usize) -> WorkloadId {
        WorkloadId { kind: Kind("Deployment".into()), namespace: namespace.into(), name: n.to_string().into() }
    }

    #[test]
    fn a_namespace_with_thousands_leaves_places_and_the_next_is_anothers() {
        let mut patches = Patches::default();
        (0..3000).for_each(|n| patches.push(id("many", n)));
        let mut running: VecDeque<_> = std::iter::from_fn(|| patches.next()).collect();
        assert_eq!(running.len(), PLACES / 2);
        patches.push(id("few", 0));
        assert_eq!(patches.next(), Some(id("few", 0)));
        (1..20).for_each(|n| patches.push(id("few", n)));
        running.extend(std::iter::from_fn(|| patches.next()));
        // Every place is taken then, and whoever comes has the next or the one after it.
        while patches.running < PLACES {
            patches.push(id(&format!("other-{}", patches.running), 0));
            running.extend(patches.next());
        }
        patches.push(id("new", 0));
        let mut ended = 0;
        while !patches.of.contains_key("new") {
            patches.ended(&running.pop_front().unwrap().namespace);
            ended += 1;
            running.extend(std::iter::from_fn(|| patches.next()));
        }
        assert!(ended <= 3, "{ended}");
    }

    #[test]
    fn all_have_their_turn_and_nothing_is_left_over() {
        let mut patches = Patches::default();
        for n in 0..100 {
            patches.push(id(["a", "b", "c"][n % 3], n));
        }
        let mut running = VecDeque::new();
        let mut count = 0;
        loop {
            running.extend(std::iter::from_fn(|| patches.next()));
            assert!(running.len() <= PLACES);
            let Some(WorkloadId { namespace, .. }) = running.pop_front() else { break };
            patches.ended(&namespace);
            count += 1;
        }
        assert_eq!((count, patches.len(), patches.running), (100, 0, 0));
        assert!(patches.of.is_empty() && patches.turn.is_empty() && patches.waiting.is_empty());
    }
}
