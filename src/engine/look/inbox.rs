//! Where hints wait: so many of each sender, senders in turn, and the same hint many times is one.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    domain::{hint::Hint, image::Repository},
    ports::{Hints, Offer},
};

/// Distinct hints of a sender that may wait. One body may have nearly as many.
const OF_A_SENDER: usize = 1024;

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
    order: HashMap<&'static str, VecDeque<Hint>>,
    /// Senders of whom some wait.
    turn: VecDeque<&'static str>,
    closed: bool,
}

impl Inbox {
    /// The next hint. Safe to cancel: a hint is taken only when it is returned.
    ///
    /// Now and then it lets others run, as whoever takes hints that never end would keep a thread for itself: what it has
    /// woken there, such as the connection that its own writes go through, had no turn.
    pub async fn next(&self) -> Hint {
        tokio::task::coop::consume_budget().await;
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
        let sender = inner.turn.pop_front()?;
        let order = inner.order.get_mut(sender)?;
        let hint = order.pop_front()?;
        if !order.is_empty() {
            inner.turn.push_back(sender);
        }
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
        let order = inner.order.entry(hint.sender).or_default();
        match order.len() {
            OF_A_SENDER.. => return Offer::Full,
            before => {
                order.push_back(hint.clone());
                if before == 0 {
                    inner.turn.push_back(hint.sender);
                }
            }
        }
        inner.waiting.insert(hint);
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
        for n in 0..OF_A_SENDER {
            assert_eq!(inbox.offer(hint(n)), Offer::Queued);
        }
        assert_eq!(inbox.offer(hint(OF_A_SENDER)), Offer::Full);
        inbox.close();
        assert_eq!(inbox.offer(hint(1)), Offer::Closed);
    }

    #[tokio::test]
    async fn whoever_takes_hints_without_end_lets_others_run() {
        let inbox = Inbox::default();
        inbox.watch(&hint(0).repository, true);
        let other = tokio::spawn(async {});
        let mut taken = 0;
        while !other.is_finished() {
            inbox.offer(hint(0));
            inbox.next().await;
            taken += 1;
            assert!(taken < OF_A_SENDER, "nobody else had a turn");
        }
    }

    #[test]
    fn a_sender_with_many_keeps_none_of_another_waiting() {
        let inbox = Inbox::default();
        inbox.watch(&hint(0).repository, true);
        for n in 0..2 * OF_A_SENDER {
            inbox.offer(hint(n));
        }
        let others = [0, 1].map(|tag| Hint { sender: "github", ..hint(tag) });
        for other in &others {
            assert_eq!(inbox.offer(other.clone()), Offer::Queued);
        }
        let taken: Vec<Hint> = std::iter::from_fn(|| inbox.take()).collect();
        let of_other: Vec<usize> = (0..taken.len()).filter(|n| taken[*n].sender == "github").collect();
        assert_eq!((of_other, taken.len()), (vec![1, 3], OF_A_SENDER + 2));
        assert_eq!(inbox.offer(hint(0)), Offer::Queued, "there is room again");
        assert_eq!(inbox.take(), Some(hint(0)));
    }
}
