//! One watch for ever: what differs from what was told before is sent, whatever breaks off.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use kube::{
    Api, Resource,
    api::ListParams,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::failure;
use crate::{
    net::foreign,
    ports::{Clock, ClusterChange},
};

/// How long until a kind is asked for again that the cluster does not have.
const ABSENT: Duration = Duration::from_secs(60);

/// After so many failures in a row the list is read anew: the API server may have gone back to an older state.
const ANEW: u32 = 8;

/// Where changes go.
#[derive(Clone)]
pub(super) struct ChangeSender {
    changes: mpsc::Sender<ClusterChange>,
    /// How many watches have not delivered their first list.
    pending: watch::Sender<usize>,
    /// Whether whoever sends is one of these.
    is_counted: bool,
    pub(super) clock: Arc<dyn Clock>,
}

/// The receiver is gone.
pub(super) struct Closed;

impl ChangeSender {
    /// Says that all is told when so many watches have delivered their first list.
    pub(super) fn new(changes: mpsc::Sender<ClusterChange>, watches: usize, clock: Arc<dyn Clock>) -> Self {
        Self { changes, pending: watch::Sender::new(watches), is_counted: true, clock }
    }

    /// For a watch that begins anew: it has delivered before.
    pub(super) fn again(&self) -> Self {
        Self { is_counted: false, ..self.clone() }
    }

    pub(super) async fn send(&self, change: ClusterChange) -> Result<(), Closed> {
        self.changes.send(change).await.map_err(|_| Closed)
    }

    async fn send_some(&self, change: Option<ClusterChange>) -> Result<(), Closed> {
        if let Some(change) = change { self.send(change).await } else { Ok(()) }
    }

    pub(super) async fn delivered(&self) -> Result<(), Closed> {
        if !self.is_counted {
            return Ok(());
        }
        let mut left = 0;
        self.pending.send_modify(|pending| {
            *pending -= 1;
            left = *pending;
        });
        if left == 0 { self.send(ClusterChange::Synced).await } else { Ok(()) }
    }

    /// Waits until all but so many have delivered.
    pub(super) async fn are_left(&self, watches: usize) {
        // It does not fail, as the sender is here.
        _ = self.pending.subscribe().wait_for(|pending| *pending <= watches).await;
    }
}

/// What one watch watches.
pub(super) struct Source<'p, K> {
    pub(super) api: Api<K>,
    pub(super) config: watcher::Config,
    /// What is asked for where the server does not know that selector.
    pub(super) unselected: Option<watcher::Config>,
    /// For messages.
    pub(super) what: String,
    /// Where one can do without the right to it: what is told instead.
    pub(super) without: Option<Without>,
    /// Who does without as long as there is none, or no right to it.
    pub(super) presence: Option<&'p (dyn Presence + Sync)>,
}

/// Is told whether the cluster has what is watched, and gives a right to it. Says so itself.
pub(super) trait Presence {
    /// What is told where it was absent before.
    fn is_there(&self) -> Option<ClusterChange>;
    /// For now: it is asked again. What is told then.
    fn is_absent(&self, error: &watcher::Error) -> Option<ClusterChange>;
    /// Whether the cluster has it all the same, where there is no right to it.
    fn is_kept_from_us(&self) -> BoxFuture<'_, bool>;
}

/// Waits until there is a right to what was not to be read, which is asked for every minute.
pub(super) async fn may_be_read<K>(api: &Api<K>, sender: &ChangeSender)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    loop {
        sender.clock.sleep_until(sender.clock.monotonic() + ABSENT).await;
        if api.list_metadata(&ListParams::default().limit(1)).await.is_ok() {
            return;
        }
    }
}

/// What is made of an object.
pub(super) enum Reading {
    /// It is told where it differs, by that hash, from what was told of it before.
    Told(u64, ClusterChange),
    /// Nothing of it is kept; what is said of it, if anything is.
    Dropped(Option<ClusterChange>),
}

impl<K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static> Source<'_, K> {
    /// All of it, without which nothing goes.
    pub(super) fn new(api: Api<K>, config: watcher::Config, what: String) -> Self {
        Self { api, config, unselected: None, what, without: None, presence: None }
    }

    fn start(&self) -> BoxStream<'static, watcher::Result<Event<K>>> {
        watcher(self.api.clone(), self.config.clone()).boxed()
    }
}

/// What is told of a watch that there is no right to.
pub(super) struct Without {
    pub(super) note: &'static str,
    pub(super) change: Option<ClusterChange>,
}

/// What is known of each object: a hash, and the last list that had it.
struct SeenObjects<Key> {
    entries: HashMap<Key, (u64, u32)>,
    list: u32,
}

/// Follows one watch for ever. `read` says what is made of an object, `gone` what is told where it is gone.
pub(super) async fn follow<K, Key>(
    mut source: Source<'_, K>,
    mut read: impl FnMut(K) -> (Key, Reading),
    key: impl Fn(&K) -> Key,
    gone: impl Fn(Key) -> Option<ClusterChange>,
    sender: &ChangeSender,
) -> Result<(), Closed>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    Key: Hash + Eq + Clone,
{
    let mut known = SeenObjects { entries: HashMap::new(), list: 0 };
    let mut delivered = false;
    let mut failures = 0;
    let mut events = source.start();
    let mut delays = delays();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                if let Some(without) = source.without.as_ref().filter(|_| is(&error, 403) && !delivered) {
                    tracing::info!(what = source.what, "no right to read it: {}", without.note);
                    if let Some(change) = &without.change {
                        sender.send(change.clone()).await?;
                    }
                    return sender.delivered().await;
                }
                if let Some(unselected) = source.unselected.take_if(|_| is(&error, 400)) {
                    tracing::debug!(what = source.what, "the API server does not know the selector: all are read");
                    source.config = unselected;
                    events = source.start();
                    continue;
                }
                let is_absent = match source.presence.filter(|_| is(&error, 403)) {
                    Some(presence) => delivered || !presence.is_kept_from_us().await,
                    None => is(&error, 404),
                };
                // What the cluster does not have is no more than empty.
                if is_absent {
                    if let Some(presence) = source.presence {
                        sender.send_some(presence.is_absent(&error)).await?;
                    }
                    if !std::mem::replace(&mut delivered, true) {
                        if source.presence.is_none() {
                            let again = ABSENT;
                            tracing::warn!(what = source.what, ?again, "this cluster does not have them; asked again");
                        }
                        sender.delivered().await?;
                    }
                    sender.clock.sleep_until(sender.clock.monotonic() + ABSENT).await;
                    // A watch that goes on says nothing where nothing has changed; a list says that it may be read.
                    events = source.start();
                    continue;
                }
                if is(&error, 403) && !delivered {
                    sender.send(ClusterChange::Forbidden(format!("{}: {}", source.what, words(&error)))).await?;
                }
                failures += 1;
                let delay = delays.next().unwrap_or(MAX_DELAY);
                tracing::warn!(what = source.what, error = words(&error), ?delay, "the watch broke off");
                sender.clock.sleep_until(sender.clock.monotonic() + delay).await;
                // The watcher would resume at a place that the API server has just called gone.
                if matches!(&error, watcher::Error::WatchStartFailed(_)) && is(&error, 410) || failures % ANEW == 0 {
                    events = source.start();
                }
                continue;
            }
        };
        // That a list begins says nothing yet; only an answer ends a series of failures.
        if failures > 0 && !matches!(event, Event::Init) {
            failures = 0;
            delays = self::delays();
        }
        if let Some(presence) = source.presence.filter(|_| !matches!(event, Event::Init)) {
            sender.send_some(presence.is_there()).await?;
        }
        match event {
            Event::Init => known.list += 1,
            Event::InitApply(object) | Event::Apply(object) => match read(object) {
                (key, Reading::Told(hash, change)) => {
                    if known.entries.insert(key, (hash, known.list)).is_none_or(|(before, _)| before != hash) {
                        sender.send(change).await?;
                    }
                }
                (key, Reading::Dropped(said)) => {
                    known.entries.remove(&key);
                    sender.send_some(said).await?;
                }
            },
            Event::Delete(object) => {
                let key = key(&object);
                if known.entries.remove(&key).is_some() {
                    sender.send_some(gone(key)).await?;
                }
            }
            Event::InitDone => {
                let list = known.list;
                let missing: Vec<Key> =
                    known.entries.extract_if(|_, (_, seen)| *seen != list).map(|(key, _)| key).collect();
                for key in missing {
                    sender.send_some(gone(key)).await?;
                }
                if !std::mem::replace(&mut delivered, true) {
                    sender.delivered().await?;
                }
            }
        }
    }
    Ok(())
}

pub(super) const MAX_DELAY: Duration = Duration::from_secs(30);

pub(super) fn delays() -> impl Iterator<Item = Duration> {
    use backon::BackoffBuilder;
    let builder = backon::ExponentialBuilder::default();
    builder
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

pub(super) fn is(error: &watcher::Error, code: u16) -> bool {
    match error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            matches!(e, kube::Error::Api(status) if status.code == code)
        }
        watcher::Error::WatchError(status) => status.code == code,
        watcher::Error::NoResourceVersion => false,
    }
}

pub(super) fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            failure(e)
        }
        watcher::Error::WatchError(status) => {
            foreign(&format!("{} ({} {})", status.message, status.code, status.reason))
        }
        other => foreign(&other.to_string()),
    }
}
