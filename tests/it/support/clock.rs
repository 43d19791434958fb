//! A clock that a test moves, so that a day passes at once and nothing is waited for.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use supercargo::ports::Clock;
use tokio::sync::oneshot;

/// Stands still until it is moved. Clones are the same clock. Use it in a `#[tokio::test]` of one thread: there
/// [`SimClock::advance`] lets every task that it woke run until it waits again.
#[derive(Clone)]
pub(crate) struct SimClock(Arc<Mutex<State>>);

struct State {
    monotonic: Duration,
    wall: Timestamp,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
}

impl SimClock {
    /// Starts at this wall-clock time, such as `2026-03-01T12:00:00Z`.
    pub(crate) fn at(wall: &str) -> Self {
        let wall = wall.parse().expect("an RFC 3339 time");
        Self(Arc::new(Mutex::new(State { monotonic: Duration::ZERO, wall, sleepers: Vec::new() })))
    }

    /// Lets this much time pass, from one sleeper's time to the next, so that each wakes at its own.
    pub(crate) async fn advance(&self, by: Duration) {
        settle().await;
        let end = self.monotonic() + by;
        loop {
            let next = self.step(end);
            settle().await;
            if next == end {
                return;
            }
        }
    }

    /// Sets the wall clock forward or back, as an operator or NTP does; the monotonic one is not concerned.
    pub(crate) fn jump(&self, by: SignedDuration) {
        self.0.lock().unwrap().wall += by;
    }

    /// Moves to the next sleeper's time, at most to `end`, and wakes whoever's time has come.
    fn step(&self, end: Duration) -> Duration {
        let mut state = self.0.lock().unwrap();
        state.sleepers.retain(|(_, wake)| !wake.is_closed());
        let first = state.sleepers.iter().map(|(at, _)| *at).min().unwrap_or(end);
        let next = first.clamp(state.monotonic, end);
        let passed = next - state.monotonic;
        state.wall += passed;
        state.monotonic = next;
        for (_, wake) in state.sleepers.extract_if(.., |(at, _)| *at <= next) {
            // Whoever slept may have been dropped meanwhile.
            let _ = wake.send(());
        }
        next
    }
}

/// Lets all other tasks of this thread run until they wait.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().wall
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().monotonic
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.0.lock().unwrap();
        if at <= state.monotonic {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        state.sleepers.push((at, wake));
        Box::pin(async move {
            // The sender is dropped only with the clock, and then nobody waits for it any more.
            let _ = woken.await;
        })
    }
}
