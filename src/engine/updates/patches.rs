//! Who is patched next in the cluster: a few at a time, namespaces in turn, none of which takes more than half of what
//! is free.

use std::{collections::HashMap, sync::Arc};

use crate::domain::{line::Line, workload::WorkloadId};

/// Patches under way at once.
const PLACES: usize = 16;

/// Workloads that wait to be patched. Each stands in it once at most; its caller sees to that.
#[derive(Debug, Default)]
pub(crate) struct Patches {
    waiting: Line<WorkloadId>,
    /// How many are under way, in all and of each namespace.
    running: usize,
    of: HashMap<Arc<str>, usize>,
}

impl Patches {
    pub(crate) fn push(&mut self, id: WorkloadId) {
        self.waiting.join(&id.namespace.clone(), id, usize::MAX, |_| true);
    }

    /// The next one, which is under way from now on.
    pub(crate) fn next(&mut self) -> Option<WorkloadId> {
        let most = (PLACES - self.running).min(PLACES / 2);
        let (namespace, id) = self.waiting.next(|name| self.of.get(name).copied().unwrap_or_default() < most)?;
        self.running += 1;
        *self.of.entry(namespace).or_default() += 1;
        Some(id)
    }

    /// One of that namespace has ended.
    pub(crate) fn ended(&mut self, namespace: &Arc<str>) {
        let Some(own) = self.of.get_mut(namespace) else { return };
        *own -= 1;
        if *own == 0 {
            self.of.remove(namespace);
        }
        self.running -= 1;
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

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
        assert!(patches.of.is_empty());
    }
}
