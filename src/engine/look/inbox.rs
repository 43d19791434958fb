//! Where hints wait: bounded, and the same hint many times is one.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    domain::{hint::Hint, image::Repository},
    ports::{Hints, Offer},
};

/// Distinct hints that may wait.
const CAPACITY: usize = 4096;

/// A queue of distinct hints. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    // Held for a look-up or an insertion, never across an await.
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    watched: HashSet<Repository>,
    waiting: HashSet<Hint>,
    order: VecDeque<Hint>,
    closed: bool,
}

impl Inbox {
    /// The next hint. Safe to cancel: a hint is taken only when it is returned.
    pub async fn next(&self) -> Hint {
        loop {
            let notified = self.shared.wake.notified();
            if let Some(hint) = self.take() {
                return hint;
            }
            notified.await;
        }
    }

    /// From now on hints for `repository` are taken, or not.
    pub(crate) fn watch(&self, repository: &Repository, watched: bool) {
        let mut inner = self.lock();
        if watched {
            inner.watched.insert(repository.clone());
        } else {
            inner.watched.remove(repository);
        }
    }

    /// No more hints are taken.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    fn take(&self) -> Option<Hint> {
        let mut inner = self.lock();
        let hint = inner.order.pop_front()?;
        inner.waiting.remove(&hint);
        Some(hint)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hints for Inbox {
    fn offer(&self, hint: Hint) -> Offer {
        let mut inner = self.lock();
        if inner.closed {
            return Offer::Closed;
        }
        if !inner.watched.contains(&hint.repository) {
            return Offer::Unwatched;
        }
        if inner.waiting.contains(&hint) {
            return Offer::Queued;
        }
        if inner.order.len() >= CAPACITY {
            return Offer::Full;
        }
        inner.waiting.insert(hint.clone());
        inner.order.push_back(hint);
        drop(inner);
        self.shared.wake.notify_one();
        Offer::Queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::Tag;

    fn hint(tag: usize) -> Hint {
        let (repository, tag) = (Repository::parse("r.io/a").unwrap(), Tag::parse(&tag.to_string()).unwrap());
        Hint { repository, tag: Some(tag), digest: None, sender: "distribution" }
    }

    #[tokio::test]
    async fn the_same_hint_many_times_is_one_and_the_queue_is_bounded() {
        let inbox = Inbox::default();
        assert_eq!(inbox.offer(hint(0)), Offer::Unwatched);
        inbox.watch(&hint(0).repository, true);
        for _ in 0..10_000 {
            assert_eq!(inbox.offer(hint(0)), Offer::Queued);
        }
        assert_eq!(inbox.next().await, hint(0));
        assert!(inbox.take().is_none());
        for n in 0..CAPACITY {
            assert_eq!(inbox.offer(hint(n)), Offer::Queued);
        }
        assert_eq!(inbox.offer(hint(CAPACITY)), Offer::Full);
        inbox.close();
        assert_eq!(inbox.offer(hint(1)), Offer::Closed);
    }
}
