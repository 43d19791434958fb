//! Whether the cluster has our kinds: until it does, memory takes over. Where it has them and gives no right to them it does
//! not: what they hold would be done again.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use kube::{Client, runtime::watcher};

use super::object::{GROUP, VERSION};
use crate::{cluster::follow, ports::ClusterChange};

/// What is not there now: a kind's plural, in a namespace or (`None`) in all.
type Absent = (&'static str, Option<String>);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Presence {
    absent: Mutex<HashSet<Absent>>,
    /// Whether it was said that there is no right to what is there.
    said: AtomicBool,
}

impl Presence {
    /// Whether memory takes over for that kind in that namespace.
    pub(super) fn is_absent(&self, plural: &'static str, namespace: &str) -> bool {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.contains(&(plural, None)) || absent.contains(&(plural, Some(namespace.to_owned())))
    }

    /// Keeps up what one watch finds out.
    pub(super) fn of<'p>(
        &'p self,
        plural: &'static str,
        namespace: Option<String>,
        client: &'p Client,
    ) -> WatchPresence<'p> {
        WatchPresence { presence: self, key: (plural, namespace), client }
    }
}

/// What one watch finds out.
pub(super) struct WatchPresence<'p> {
    presence: &'p Presence,
    key: Absent,
    client: &'p Client,
}

impl follow::Presence for WatchPresence<'_> {
    fn is_there(&self) -> Option<ClusterChange> {
        let mut absent = self.presence.absent.lock().unwrap_or_else(PoisonError::into_inner);
        self.presence.said.store(false, Ordering::Relaxed);
        let is_new = absent.remove(&self.key);
        if is_new && absent.is_empty() {
            tracing::info!("updates are recorded in the cluster from now on");
        }
        is_new.then_some(ClusterChange::RecordsElsewhere)
    }

    fn is_absent(&self, error: &watcher::Error) -> Option<ClusterChange> {
        let mut absent = self.presence.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = absent.insert(self.key.clone());
        if is_new && absent.len() == 1 {
            tracing::warn!(
                why = follow::words(error),
                "updates are remembered in memory only, as the definitions of their records cannot be read: an administrator \
                 runs `supercargo crds | kubectl apply --server-side -f -` and gives the rights of deploy/base; asked \
                 again every minute"
            );
        }
        is_new.then_some(ClusterChange::RecordsElsewhere)
    }

    /// By the API server's discovery, which everybody may read who has a name there.
    fn is_kept_from_us(&self) -> BoxFuture<'_, bool> {
        async move {
            let is_there = match self.client.list_api_group_resources(&format!("{GROUP}/{VERSION}")).await {
                Ok(kinds) => kinds.resources.iter().any(|kind| kind.name == self.key.0),
                Err(kube::Error::Api(status)) => status.code != 404,
                Err(_) => true,
            };
            if is_there && !self.presence.said.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "the cluster has the definitions of the records of updates, but gives no right to them: as long as what \
                     was moved back is not known nothing is begun; an administrator gives the rights of deploy/base"
                );
            }
            is_there
        }
        .boxed()
    }
}
