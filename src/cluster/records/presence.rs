//! Whether the cluster has our kinds, and gives a right to them: until it does, memory takes over.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::{cluster::follow, ports::ClusterChange};

/// What is not there now: a kind's plural, in a namespace or (`None`) in all.
type Absent = (&'static str, Option<String>);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Presence {
    absent: Mutex<HashSet<Absent>>,
}

impl Presence {
    /// Whether memory takes over for that kind in that namespace.
    pub(super) fn is_absent(&self, plural: &'static str, namespace: &str) -> bool {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.contains(&(plural, None)) || absent.contains(&(plural, Some(namespace.to_owned())))
    }

    /// Keeps up what one watch finds out.
    pub(super) fn of(&self, plural: &'static str, namespace: Option<String>) -> Kept<'_> {
        Kept { presence: self, key: (plural, namespace) }
    }
}

/// What one watch finds out.
pub(super) struct Kept<'p> {
    presence: &'p Presence,
    key: Absent,
}

impl follow::Presence for Kept<'_> {
    fn is_there(&self) -> Option<ClusterChange> {
        let mut absent = self.presence.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = absent.remove(&self.key);
        if is_new && absent.is_empty() {
            tracing::info!("updates are recorded in the cluster from now on");
        }
        is_new.then_some(ClusterChange::RecordsElsewhere)
    }

    fn is_absent(&self, why: &str) {
        let mut absent = self.presence.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = absent.is_empty();
        if absent.insert(self.key.clone()) && is_first {
            tracing::warn!(
                why,
                "updates are remembered in memory only, as the kinds for their records cannot be read: an administrator \
                 runs `supercargo crds | kubectl apply --server-side -f -` and gives the rights of deploy/base; asked \
                 again every minute"
            );
        }
    }
}
