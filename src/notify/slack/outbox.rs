//! Updates whose messages may have to change: by channel, each namespace in its turn, each update once. Whoever adds one
//! never waits; what finds no room is found again in the records. How fast a channel may be written to is kept here, too,
//! as it outlives a configuration.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{Channel, Desk, pace::Edits};
use crate::{
    domain::line::Line,
    ports::{Notify, UpdateName},
};

/// How long until it is asked again what there is to tell, where something found no room.
const AGAIN: Duration = Duration::from_secs(60);
/// The same where that could not be asked.
const SOON: Duration = Duration::from_secs(5);
/// As many wait in all. What waits of one namespace in one channel is less than the room that is left, so that there is
/// always room for another.
const MOST: usize = 1000;

/// What waits, for all channels. Clones share it.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Shared>);

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    /// Rung when something comes, or there is room again.
    bell: watch::Sender<()>,
    edits: Edits,
}

#[derive(Default)]
struct Inner {
    lanes: BTreeMap<Arc<str>, Lane>,
    /// When each channel may be posted to, and when it may be asked for anything (monotonic).
    paces: HashMap<Arc<str>, Pace>,
    waiting: usize,
    /// Whether something found no room.
    missed: bool,
}

/// When a channel may be posted to, when it may be edited, and when it may be asked for anything (monotonic).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) post: Duration,
    pub(super) edit: Duration,
    pub(super) rest: Duration,
}

struct Lane {
    channel: Channel,
    /// To be looked at.
    line: Line<UpdateName>,
    /// To be posted, told more below, or edited, when that may be.
    posts: Line<UpdateName>,
    replies: Line<UpdateName>,
    edits: Line<UpdateName>,
    /// What waits, and where.
    waits: HashMap<UpdateName, WaitsIn>,
    /// Those whose time comes later.
    later: BTreeMap<(Duration, UpdateName), ()>,
    counts: HashMap<Arc<str>, usize>,
}

/// Where an update waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitsIn {
    Line,
    Posts,
    Replies,
    Edits,
    Later(Duration),
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

impl Lane {
    fn new(channel: &Channel) -> Self {
        Self {
            channel: channel.clone(),
            line: Line::default(),
            posts: Line::default(),
            replies: Line::default(),
            edits: Line::default(),
            waits: HashMap::new(),
            later: BTreeMap::new(),
            counts: HashMap::new(),
        }
    }

    fn count(&self, namespace: &str) -> usize {
        self.counts.get(namespace).copied().unwrap_or_default()
    }

    fn put(&mut self, update: UpdateName, place: WaitsIn) {
        let namespace = update.namespace.clone();
        if self.waits.insert(update.clone(), place).is_none() {
            *self.counts.entry(namespace.clone()).or_default() += 1;
        }
        let line = match place {
            WaitsIn::Line => &mut self.line,
            WaitsIn::Posts => &mut self.posts,
            WaitsIn::Replies => &mut self.replies,
            WaitsIn::Edits => &mut self.edits,
            WaitsIn::Later(at) => {
                self.later.insert((at, update), ());
                return;
            }
        };
        line.join(&namespace, update, usize::MAX, |_| true);
    }

    /// What was put off is looked at now.
    fn hurry(&mut self, update: &UpdateName) {
        if let Some(WaitsIn::Later(at)) = self.waits.get(update).copied() {
            self.later.remove(&(at, update.clone()));
            self.put(update.clone(), WaitsIn::Line);
        }
    }

    fn take(&mut self, now: Duration, pace: Pace) -> Result<UpdateName, Option<Duration>> {
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, update), ()) = first.remove_entry();
            self.put(update, WaitsIn::Line);
        }
        if pace.rest > now {
            return Err(Some(pace.rest));
        }
        let mut next = self.line.next(|_| true);
        if next.is_none() && pace.post <= now {
            // What nobody has seen yet comes first.
            next = self.posts.next(|_| true).or_else(|| self.replies.next(|_| true));
        }
        if next.is_none() && pace.edit <= now {
            next = self.edits.next(|_| true);
        }
        if let Some((namespace, update)) = next {
            self.waits.remove(&update);
            if let Some(count) = self.counts.get_mut(&namespace) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&namespace);
                }
            }
            return Ok(update);
        }
        let post = (!self.posts.is_empty() || !self.replies.is_empty()).then_some(pace.post);
        let edit = (!self.edits.is_empty()).then_some(pace.edit);
        let later = self.later.first_key_value().map(|((at, _), ())| *at);
        Err([post, edit, later].into_iter().flatten().min())
    }
}

impl Inner {
    fn add(&mut self, update: &UpdateName) {
        let (waiting, missed) = (&mut self.waiting, &mut self.missed);
        for lane in self.lanes.values_mut().filter(|lane| lane.channel.serves(&update.namespace)) {
            if lane.waits.contains_key(update) {
                lane.hurry(update);
            } else if lane.count(&update.namespace) < MOST - *waiting {
                lane.put(update.clone(), WaitsIn::Line);
                *waiting += 1;
            } else {
                *missed = true;
            }
        }
    }
}

impl Outbox {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are the channels; nothing waits.
    pub(super) fn serve(&self, channels: &[Channel]) {
        let mut inner = self.inner();
        inner.lanes = channels.iter().map(|channel| (channel.id.clone(), Lane::new(channel))).collect();
        (inner.waiting, inner.missed) = (0, false);
    }

    /// How fast messages may be edited.
    pub(super) fn edits(&self) -> &Edits {
        &self.0.edits
    }

    /// How fast a channel may be written to.
    pub(super) fn pace(&self, channel: &str) -> Pace {
        self.inner().paces.get(channel).copied().unwrap_or_default()
    }

    /// Changes that.
    pub(super) fn set_pace(&self, channel: &Arc<str>, change: impl FnOnce(&mut Pace)) {
        change(self.inner().paces.entry(channel.clone()).or_default());
    }

    /// Whether one more of that namespace would find room somewhere.
    fn admits(&self, namespace: &str) -> bool {
        let inner = self.inner();
        let serving = inner.lanes.values().filter(|lane| lane.channel.serves(namespace));
        let mut counts = serving.map(|lane| lane.count(namespace)).peekable();
        // What nobody is told of is dropped at once.
        counts.peek().is_none() || counts.any(|count| count < MOST - inner.waiting)
    }

    /// The next of a channel, or when there is one.
    pub(super) fn next(&self, channel: &str, now: Duration) -> Result<UpdateName, Option<Duration>> {
        let mut inner = self.inner();
        let pace = inner.paces.get(channel).copied().unwrap_or_default();
        let Some(lane) = inner.lanes.get_mut(channel) else { return Err(None) };
        let update = lane.take(now, pace)?;
        inner.waiting -= 1;
        drop(inner);
        self.0.bell.send_replace(());
        Ok(update)
    }

    /// One waits there, unless it has come anew meanwhile.
    pub(super) fn put(&self, channel: &str, update: UpdateName, place: WaitsIn) {
        let mut inner = self.inner();
        let Some(lane) = inner.lanes.get_mut(channel) else { return };
        if !lane.waits.contains_key(&update) {
            lane.put(update, place);
            inner.waiting += 1;
        }
    }

    /// Finds what there is to tell, at the start and whenever something found no room.
    pub(super) async fn refill(&self, desk: &Desk) {
        let mut bell = self.bell();
        let mut names: Line<UpdateName> = Line::default();
        let mut due = Some(Duration::ZERO);
        loop {
            bell.borrow_and_update();
            let now = desk.clock.monotonic();
            if std::mem::take(&mut self.inner().missed) {
                due = due.or(Some(now + AGAIN));
            }
            if due.is_some_and(|due| due <= now) {
                match desk.messages.open().await {
                    Ok(open) => {
                        (names, due) = (Line::default(), None);
                        for name in open {
                            names.join(&name.namespace.clone(), name, usize::MAX, |_| true);
                        }
                    }
                    Err(error) => {
                        let what = "which messages in Slack must change is not known; asked again later";
                        tracing::warn!(why = %error, "{what}");
                        due = Some(now + SOON);
                    }
                }
            }
            while let Some((_, name)) = names.next(|namespace| self.admits(namespace)) {
                self.changed(name);
            }
            let wait = async {
                match due {
                    Some(at) => desk.clock.sleep_until(at).await,
                    None => futures::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                changed = bell.changed() => if changed.is_err() { return },
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

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn channel(id: &str, namespaces: &[&str]) -> Channel {
        let mut globs = globset::GlobSetBuilder::new();
        namespaces.iter().for_each(|pattern| _ = globs.add(globset::Glob::new(pattern).unwrap()));
        let namespaces = namespaces.iter().map(ToString::to_string).collect();
        Channel::new(id.to_owned(), id, namespaces, globs.build().unwrap())
    }

    fn update(namespace: &str, number: usize) -> UpdateName {
        UpdateName { namespace: namespace.into(), name: format!("u{number}").into() }
    }

    fn all(outbox: &Outbox, channel: &str, now: Duration) -> Vec<String> {
        std::iter::from_fn(|| outbox.next(channel, now).ok()).map(|it| it.name.to_string()).collect()
    }

    #[test]
    fn each_waits_once_in_each_channel_of_its_namespace_and_namespaces_take_turns() {
        let outbox = Outbox::default();
        outbox.serve(&[channel("C1", &["*"]), channel("C2", &["shop"])]);
        for number in [0, 1, 1, 2] {
            outbox.changed(update("bank", number));
        }
        outbox.changed(update("shop", 9));
        assert_eq!(all(&outbox, "C1", secs(0)), ["u0", "u9", "u1", "u2"]);
        assert_eq!(all(&outbox, "C2", secs(0)), ["u9"]);
        assert_eq!(outbox.next("C3", secs(0)), Err(None));
    }

    #[test]
    fn however_many_wait_of_one_namespace_there_is_room_for_another() {
        let outbox = Outbox::default();
        outbox.serve(&[channel("C1", &["*"]), channel("C2", &["bank"])]);
        (0..2 * MOST).for_each(|number| outbox.changed(update("shop", number)));
        assert!(std::mem::take(&mut outbox.inner().missed) && !outbox.admits("shop") && outbox.admits("bank"));
        outbox.changed(update("bank", 7));
        assert!(!outbox.inner().missed);
        assert_eq!(all(&outbox, "C2", secs(0)), ["u7"]);
        assert_eq!(all(&outbox, "C1", secs(0))[1], "u7");
        assert!(outbox.admits("shop"));
    }

    #[test]
    fn what_is_put_off_comes_in_time_or_when_it_changes_again() {
        let outbox = Outbox::default();
        outbox.serve(&[channel("C1", &["*"])]);
        outbox.put("C1", update("shop", 1), WaitsIn::Later(secs(60)));
        assert_eq!(outbox.next("C1", secs(1)), Err(Some(secs(60))));
        outbox.changed(update("shop", 1));
        assert_eq!(all(&outbox, "C1", secs(1)), ["u1"]);
        outbox.put("C1", update("shop", 2), WaitsIn::Later(secs(60)));
        assert_eq!(all(&outbox, "C1", secs(60)), ["u2"]);
    }

    #[test]
    fn posts_and_edits_wait_for_their_pace_and_a_channel_that_rests_for_all() {
        let outbox = Outbox::default();
        outbox.serve(&[channel("C1", &["*"])]);
        outbox.put("C1", update("shop", 1), WaitsIn::Posts);
        outbox.put("C1", update("shop", 2), WaitsIn::Edits);
        outbox.set_pace(&"C1".into(), |pace| *pace = Pace { post: secs(5), edit: secs(3), rest: secs(0) });
        assert_eq!(outbox.next("C1", secs(1)), Err(Some(secs(3))));
        assert_eq!(all(&outbox, "C1", secs(3)), ["u2"]);
        outbox.set_pace(&"C1".into(), |pace| pace.rest = secs(10));
        assert_eq!(outbox.next("C1", secs(6)), Err(Some(secs(10))));
        outbox.serve(&[channel("C1", &["*"])]);
        outbox.changed(update("shop", 3));
        assert_eq!(outbox.next("C1", secs(6)), Err(Some(secs(10))), "also with another configuration");
        assert_eq!(all(&outbox, "C1", secs(10)), ["u3"]);
    }
}
