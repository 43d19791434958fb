//! When each repository is looked at: every source has one place in a queue that is ordered by due time.
//!
//! The queue never grows beyond what is watched, however slow the consumer is: a source that is overdue stays where
//! it is, and the looks it missed become one. So a consumer takes a source only when it can look at it, and
//! `supercargo_poll_overdue_seconds` tells how far it is behind.
//!
//! Due times are kept on the monotonic clock: a wall clock set forward or back neither makes all sources due at once
//! nor silences them. After such a jump every due time is computed again and the earlier one holds; that is a look
//! too many at worst, never a lost one.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};

use crate::{
    domain::{hint::Source, poll::Schedule},
    metrics::Metrics,
    ports::{Clock, Polling},
};

/// Two looks at one source are never closer than this. It also keeps a look that comes a moment before its time by
/// the wall clock from being repeated at that time.
const SHORTEST: Duration = Duration::from_millis(100);
/// How often the wall clock is compared with the monotonic one, and the metric brought up to date.
const CHECK: Duration = Duration::from_secs(30);
/// A wall clock that moved by less than this against the monotonic one is left alone.
const DRIFT: SignedDuration = SignedDuration::from_secs(2);

/// The handle: says what is to be polled. Clones are the same queue.
#[derive(Clone)]
pub struct Poll(Arc<Shared>);

/// Makes a queue, and the task that sends each source when it is due. The task ends when `due` has no receiver.
///
/// A source that is new, or whose rule changed, is first due at its next time by the rule: looking at it at once is
/// the caller's act.
pub fn start(
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    due: mpsc::Sender<Source>,
) -> (Poll, impl Future<Output = ()> + Send + 'static) {
    let now = Now::read(&*clock);
    let queue = Queue { entries: HashMap::new(), order: BTreeSet::new(), offset: now.offset() };
    let shared = Arc::new(Shared { clock, queue: Mutex::new(queue), changed: Notify::new() });
    (Poll(Arc::clone(&shared)), run(shared, metrics, due))
}

impl Polling for Poll {
    fn set(&self, source: Source, schedules: Vec<Schedule>) {
        let now = Now::read(&*self.0.clock);
        if self.0.queue().set(source, schedules, now) {
            self.0.changed.notify_one();
        }
    }
}

struct Shared {
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    changed: Notify,
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct Now {
    wall: Timestamp,
    monotonic: Duration,
}

/// The sources, and in `order` one key for each that has a due time: removing one leaves nothing behind.
struct Queue {
    entries: HashMap<Arc<Source>, Scheduled>,
    order: BTreeSet<(Duration, Arc<Source>)>,
    /// Wall clock less monotonic clock when the due times were computed.
    offset: SignedDuration,
}

struct Scheduled {
    schedules: Vec<Schedule>,
    due: Option<Duration>,
}

async fn run(shared: Arc<Shared>, metrics: Arc<Metrics>, due: mpsc::Sender<Source>) {
    loop {
        let now = Now::read(&*shared.clock);
        let first = {
            let mut queue = shared.queue();
            queue.follow_jump(now);
            queue.first()
        };
        let overdue = first.map_or(Duration::ZERO, |first| now.monotonic.saturating_sub(first));
        metrics.poll_overdue.set(overdue.as_secs_f64());
        let is_due = first.is_some_and(|first| first <= now.monotonic);
        let check = now.monotonic + CHECK;
        let wake = first.filter(|_| !is_due).map_or(check, |first| first.min(check));
        tokio::select! {
            biased;
            permit = due.reserve(), if is_due => match permit {
                // Waiting for room took time, and the source may have gone meanwhile.
                Ok(permit) => if let Some(source) = shared.queue().take(Now::read(&*shared.clock)) {
                    permit.send(source);
                },
                Err(_) => return,
            },
            () = due.closed() => return,
            () = shared.changed.notified() => {}
            () = shared.clock.sleep_until(wake) => {}
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    fn read(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), monotonic: clock.monotonic() }
    }

    fn offset(self) -> SignedDuration {
        self.wall.as_duration().saturating_sub(SignedDuration::try_from(self.monotonic).unwrap_or(SignedDuration::MAX))
    }
}

impl Queue {
    /// Whether anything changed. A source whose rules are as before keeps its time.
    fn set(&mut self, source: Source, mut schedules: Vec<Schedule>, now: Now) -> bool {
        let mut seen = HashSet::new();
        schedules.retain(|schedule| seen.insert(schedule.clone()));
        let known = self.entries.get_key_value(&source).map(|(source, entry)| (Arc::clone(source), entry));
        let source = match known {
            Some((_, entry)) if entry.schedules == schedules => return false,
            Some((source, entry)) => {
                if let Some(due) = entry.due {
                    self.order.remove(&(due, Arc::clone(&source)));
                }
                source
            }
            None => Arc::new(source),
        };
        if schedules.is_empty() {
            self.entries.remove(&source);
        } else {
            let due = next_due(&schedules, &source, now);
            self.order.extend(due.map(|due| (due, Arc::clone(&source))));
            self.entries.insert(source, Scheduled { schedules, due });
        }
        true
    }

    fn first(&self) -> Option<Duration> {
        self.order.first().map(|(due, _)| *due)
    }

    /// The source that waits longest, if its time has come; it gets its next time, counted from now.
    fn take(&mut self, now: Now) -> Option<Source> {
        if self.first()? > now.monotonic {
            return None;
        }
        let (_, source) = self.order.pop_first()?;
        let entry = self.entries.get_mut(&source)?;
        entry.due = next_due(&entry.schedules, &source, now);
        self.order.extend(entry.due.map(|due| (due, Arc::clone(&source))));
        Some(Source::clone(&source))
    }

    fn follow_jump(&mut self, now: Now) {
        if (now.offset().saturating_sub(self.offset)).abs() < DRIFT {
            return;
        }
        self.offset = now.offset();
        self.order.clear();
        for (source, entry) in &mut self.entries {
            entry.due = entry.due.into_iter().chain(next_due(&entry.schedules, source, now)).min();
            self.order.extend(entry.due.map(|due| (due, Arc::clone(source))));
        }
    }
}

fn next_due(schedules: &[Schedule], source: &Source, now: Now) -> Option<Duration> {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let seed = hasher.finish();
    let after = now.wall.checked_add(SHORTEST).ok()?;
    let next = schedules.iter().filter_map(|schedule| schedule.next(after, seed)).min()?;
    let wait = Duration::try_from(next.duration_since(now.wall)).unwrap_or_default().max(SHORTEST);
    now.monotonic.checked_add(wait)
}
