//! Updates whose messages may have to change: by channel, each namespace in its turn, each update once. Whoever adds one
//! never waits; what finds no room is found again in the records.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Channel, Desk};
use crate::{
    domain::line::Line,
    ports::{Notify, UpdateName},
};

/// How long until it is asked again what there is to tell.
const AGAIN: Duration = Duration::from_secs(5);
/// As many wait in all.
const MOST: usize = 1000;

/// What waits, for all channels. Clones share it.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    /// Rung when something comes, or there is room again.
    bell: watch::Sender<()>,
}

#[derive(Default)]
struct Inner {
    lanes: BTreeMap<Arc<str>, Lane>,
    waiting: usize,
    /// Whether something found no room.
    missed: bool,
}

struct Lane {
    channel: Channel,
    line: Line<UpdateName>,
    waits: HashSet<UpdateName>,
    /// Those whose time comes later (monotonic).
    later: BTreeMap<(Duration, UpdateName), ()>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}

impl Notify for Outbox {
    fn changed(&self, update: UpdateName) {
        self.inner().add(&update);
        self.0.bell.send_replace(());
    }
}

impl Inner {
    fn add(&mut self, update: &UpdateName) {
        for lane in self.lanes.values_mut().filter(|lane| lane.channel.serves(&update.namespace)) {
            if lane.waits.contains(update) {
                continue;
            }
            if self.waiting >= MOST {
                self.missed = true;
                continue;
            }
            lane.waits.insert(update.clone());
            lane.line.join(&update.namespace, update.clone(), usize::MAX, |_| true);
            self.waiting += 1;
        }
    }
}

impl Outbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are the channels; nothing waits.
    pub(super) fn serve(&self, channels: &[Channel]) {
        let lane = |channel: &Channel| Lane {
            channel: channel.clone(),
            line: Line::default(),
            waits: HashSet::new(),
            later: BTreeMap::new(),
        };
        let lanes = channels.iter().map(|channel| (channel.id.clone(), lane(channel))).collect();
        *self.inner() = Inner { lanes, waiting: 0, missed: false };
    }

    /// Whether something found no room since that was last asked.
    fn missed(&self) -> bool {
        std::mem::take(&mut self.inner().missed)
    }

    /// Whether half of the room is free.
    fn has_room(&self) -> bool {
        self.inner().waiting < MOST / 2
    }

    /// The next of a channel, or when there is one that waits for its time.
    pub(super) fn next(&self, channel: &str, now: Duration) -> Result<UpdateName, Option<Duration>> {
        let mut inner = self.inner();
        let Some(lane) = inner.lanes.get_mut(channel) else { return Err(None) };
        while let Some(first) = lane.later.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, update), ()) = first.remove_entry();
            lane.line.join(&update.namespace.clone(), update, usize::MAX, |_| true);
        }
        let Some((_, update)) = lane.line.next(|_| true) else {
            return Err(lane.later.first_key_value().map(|((at, _), ())| *at));
        };
        lane.waits.remove(&update);
        inner.waiting -= 1;
        drop(inner);
        self.0.bell.send_replace(());
        Ok(update)
    }

    /// One is thought of again then.
    pub(super) fn later(&self, channel: &str, update: UpdateName, at: Duration) {
        let mut inner = self.inner();
        let Some(lane) = inner.lanes.get_mut(channel) else { return };
        // What has come anew meanwhile is thought of anyway.
        if lane.waits.insert(update.clone()) {
            lane.later.insert((at, update), ());
            inner.waiting += 1;
        }
    }

    /// Finds what there is to tell, at the start and whenever something found no room.
    pub(super) async fn refill(&self, desk: &Desk) {
        let mut bell = self.bell();
        let mut names = VecDeque::new();
        let mut is_due = true;
        loop {
            bell.borrow_and_update();
            if std::mem::take(&mut is_due) || names.is_empty() && self.missed() {
                match desk.messages.open().await {
                    Ok(open) => names = open.into(),
                    Err(error) => {
                        tracing::warn!(why = %error, "which messages in Slack must change is not known; asked again later");
                        desk.clock.sleep_until(desk.clock.monotonic() + AGAIN).await;
                        is_due = true;
                        continue;
                    }
                }
            }
            while self.has_room()
                && let Some(name) = names.pop_front()
            {
                self.changed(name);
            }
            if bell.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes when something has come or gone.
    pub(super) fn bell(&self) -> watch::Receiver<()> {
        self.0.bell.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: &str, namespaces: &[&str]) -> Channel {
        Channel::new(id.to_owned(), id.to_owned(), namespaces.iter().map(ToString::to_string).collect()).unwrap()
    }

    fn update(namespace: &str, number: usize) -> UpdateName {
        UpdateName { namespace: namespace.into(), name: format!("u{number}").into() }
    }

    #[test]
    fn each_waits_once_in_each_channel_of_its_namespace_and_namespaces_take_turns() {
        let outbox = Outbox::default();
        outbox.serve(&[channel("C1", &["*"]), channel("C2", &["shop"])]);
        for number in [0, 1, 1, 2] {
            outbox.changed(update("bank", number));
        }
        outbox.changed(update("shop", 9));
        let all = |channel| -> Vec<String> {
            std::iter::from_fn(|| outbox.next(channel, Duration::ZERO).ok()).map(|it| it.name.to_string()).collect()
        };
        assert_eq!(all("C1"), ["u0", "u9", "u1", "u2"]);
        assert_eq!(all("C2"), ["u9"]);
        assert_eq!(outbox.next("C3", Duration::ZERO), Err(None));
    }

    #[test]
    fn what_finds_no_room_is_told_once_and_what_is_put_off_keeps_its_room() {
        let outbox = Outbox::default();
        outbox.serve(&[channel("C1", &["*"])]);
        (0..MOST).for_each(|number| outbox.changed(update("shop", number)));
        assert!(!outbox.missed() && !outbox.has_room());
        outbox.changed(update("shop", 0));
        assert!(!outbox.missed(), "it waits already");
        outbox.changed(update("shop", MOST));
        assert!(outbox.missed() && !outbox.missed());
        while let Ok(update) = outbox.next("C1", Duration::ZERO) {
            outbox.later("C1", update, Duration::from_secs(3));
        }
        assert!(!outbox.has_room());
        assert_eq!(outbox.next("C1", Duration::from_secs(2)), Err(Some(Duration::from_secs(3))));
        outbox.changed(update("shop", 5));
        let again = std::iter::from_fn(|| outbox.next("C1", Duration::from_secs(3)).ok()).count();
        assert_eq!(again, MOST);
        assert!(outbox.has_room());
    }
}
