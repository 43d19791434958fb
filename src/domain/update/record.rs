//! What is remembered of one workload's updates.

use std::{sync::Arc, time::Duration};

use super::{Change, LastUpdate, Phase, Tracked, Update, UpdateId};
use crate::domain::{
    back_off::BackOff,
    reason::Reason,
    workload::{Container, ImageManager, Observed, Workload},
};

/// Moved-back images that are remembered of each workload.
const KEPT: usize = 20;

/// What is remembered of one workload's updates. Times are monotonic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Whose they are: a workload that is made again under the same name is another one.
    pub(super) uid: Arc<str>,
    /// The update that is thought of, under way, or was written last.
    pub(super) current: Option<Tracked>,
    /// What we set last in each container.
    applied: Vec<Change>,
    /// Images that we had set and somebody took away again.
    moved_back: Vec<MovedBack>,
    /// What is being done for it.
    pub(super) under_way: Option<UnderWay>,
    /// Something came up meanwhile.
    pub(super) again: bool,
    /// When it is to be tried or checked again.
    pub(super) wait: Option<Wait>,
    /// Until when the plan waits for the other looks of its workload, and whether that time has come.
    pub(super) held: Option<(Duration, bool)>,
}

/// An image that we had set and somebody took away again.
#[derive(Debug, Clone, PartialEq)]
struct MovedBack {
    image: String,
    /// Who did, and what follows.
    text: String,
}

/// What is being done for a workload. Until it has ended nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnderWay {
    /// It stands in the queue of writes.
    Queued,
    Writing,
    Checking,
    Reading,
}

/// Why nothing is tried before a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It was not written.
    NotWritten,
    /// It stands in Git, or may not go there: that is seen to again.
    Check,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wait {
    pub(super) why: Why,
    failures: u32,
    pub(super) until: Duration,
    /// Whether that time has come.
    pub(super) is_over: bool,
}

impl Record {
    /// Takes in who the workload is. Where nothing is remembered, what it says itself of our last update is believed:
    /// an undo of its rollout restores an old annotation.
    pub(super) fn belongs_to(&mut self, workload: &Workload) {
        if self.uid != workload.uid && !self.uid.is_empty() {
            self.forget();
        }
        self.uid.clone_from(&workload.uid);
        if self.applied.is_empty()
            && let Some(LastUpdate { changes, .. }) = LastUpdate::of(workload)
        {
            self.applied = changes;
        }
    }

    /// The workload is gone: nothing is remembered, but what is under way will end.
    pub(super) fn forget(&mut self) {
        *self = Self { under_way: self.under_way, again: self.again, ..Self::default() };
    }

    /// The update that is thought of, under way, or was written last.
    pub fn current(&self) -> Option<&Tracked> {
        self.current.as_ref()
    }

    /// What was said of that very update, if it is the current one.
    pub fn phase_of(&self, update: &UpdateId) -> Option<&Phase> {
        self.current.as_ref().filter(|current| current.update.id == *update).map(|current| &current.phase)
    }

    /// What was said of the current update, and of what is left out.
    pub fn said(&self) -> impl Iterator<Item = &Reason> {
        self.current.iter().flat_map(|current| current.phase.reasons())
    }

    /// Whether its plan waits for the other looks of its workload.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether there is nothing to remember, nor anything under way.
    pub fn is_empty(&self) -> bool {
        self.current.is_none()
            && self.applied.is_empty()
            && self.moved_back.is_empty()
            && self.under_way.is_none()
            && self.wait.is_none()
            && self.held.is_none()
    }

    /// When it is next to be woken.
    pub fn wakes_at(&self) -> Option<Duration> {
        let wait = self.wait.filter(|wait| !wait.is_over).map(|wait| wait.until);
        let held = self.held.filter(|(_, is_over)| !is_over).map(|(until, _)| until);
        held.into_iter().chain(wait).min()
    }

    /// Whether nothing is to be tried now.
    pub(super) fn waits(&self, now: Duration) -> bool {
        self.wait.is_some_and(|wait| wait.until > now)
    }

    /// Nothing is tried before a delay, which grows.
    pub(super) fn wait(&mut self, why: Why, back_off: BackOff, now: Duration) {
        let failures = self.wait.filter(|wait| wait.why == why).map_or(0, |wait| wait.failures.saturating_add(1));
        self.wait = Some(Wait { why, failures, until: now + back_off.after(failures), is_over: false });
    }

    /// Whether every image of an update runs.
    pub(super) fn runs(update: &Update, workload: &Workload) -> bool {
        let runs = |change: &Change| {
            let image = change.to.to_string();
            container(workload, change).is_some_and(|container| *container.image == *image)
        };
        update.changes().all(runs)
    }

    /// Remembers that we set these images.
    pub(super) fn set(&mut self, update: &Update) {
        for change in update.changes() {
            self.applied.retain(|old| old.container != change.container || old.init != change.init);
            self.applied.push(change.clone());
        }
    }

    /// Whether we set this image before, it is not there now, and nobody has looked yet who moved it.
    pub fn is_unconfirmed(&self, change: &Change) -> bool {
        let to = change.to.to_string();
        let set = self.applied.iter().any(|applied| {
            applied.container == change.container && applied.init == change.init && applied.to.to_string() == to
        });
        set && self.why_not_again(&to).is_none()
    }

    /// Who moved that image back, if somebody did.
    pub fn why_not_again(&self, image: &str) -> Option<&str> {
        self.moved_back.iter().find(|moved| moved.image == image).map(|moved| moved.text.as_str())
    }

    /// Remembers who moved back what we set, by a fresh reading.
    pub(super) fn note_moved_back(&mut self, observed: &Observed) {
        for change in &self.applied {
            let to = change.to.to_string();
            let now = container(&observed.workload, change).filter(|now| *now.image != *to);
            let Some(now) = now else { continue };
            let manager = observed.image_managers.iter().find(|manager| manager.container == *change.container);
            let text = format!(
                "{} moved container {} from {to} back to {}; {to} is not set again, only a newer image will be",
                manager.map_or_else(|| "another field manager".to_owned(), describe),
                change.container,
                now.image,
            );
            self.moved_back.retain(|moved| moved.image != to);
            self.moved_back.push(MovedBack { image: to, text });
            if self.moved_back.len() > KEPT {
                self.moved_back.remove(0);
            }
        }
    }
}

fn container<'w>(workload: &'w Workload, change: &Change) -> Option<&'w Container> {
    workload.containers.iter().find(|c| c.name == change.container && c.init == change.init)
}

fn describe(manager: &ImageManager) -> String {
    match manager.time {
        Some(time) => format!("{} (at {time})", manager.manager),
        None => manager.manager.clone(),
    }
}
