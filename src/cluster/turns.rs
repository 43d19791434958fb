//! Reads of Secrets take turns: ten a second in all, the namespaces one after the other. A tenant with thousands of
//! names waits for itself; the API server and the other tenants hardly notice.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{domain::line::Line, ports::Clock};

/// One turn takes this long, once [`AT_ONCE`] were taken at once.
const EACH: Duration = Duration::from_millis(100);
const AT_ONCE: u32 = 10;
/// How many may wait in one namespace: two workloads' with as many as count. Who waits for them holds up others.
pub(super) const MOST: usize = 40;

/// Whose turn it is.
pub(super) struct Turns(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    line: Line<oneshot::Sender<()>>,
    /// Until when the turns taken so far last.
    taken: Duration,
    /// Whether somebody hands out turns to those who wait.
    is_open: bool,
}

impl Turns {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { clock, state: Mutex::default() }))
    }

    /// Returns when it is this one's turn; `false` if too many wait in that namespace.
    pub(super) async fn take(&self, namespace: &str) -> bool {
        let turn = {
            let mut state = self.0.state();
            let now = self.0.clock.monotonic();
            if !state.is_open && state.next_at() <= now {
                state.take(now);
                return true;
            }
            let (yours, turn) = oneshot::channel();
            if !state.line.join(namespace, yours, MOST, |yours| !yours.is_closed()) {
                return false;
            }
            if !std::mem::replace(&mut state.is_open, true) {
                tokio::spawn(hand_out(self.0.clone()));
            }
            turn
        };
        turn.await.is_ok()
    }
}

/// Until nobody waits any more.
async fn hand_out(inner: Arc<Inner>) {
    loop {
        let next = inner.state().hand_out(inner.clock.monotonic());
        let Some(at) = next else { return };
        inner.clock.sleep_until(at).await;
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the next turn can be taken.
    fn next_at(&self) -> Duration {
        self.taken.saturating_sub(EACH * (AT_ONCE - 1))
    }

    fn take(&mut self, now: Duration) {
        self.taken = self.taken.max(now) + EACH;
    }

    /// Gives away what turns there are; when there is another one, if anybody waits for it.
    fn hand_out(&mut self, now: Duration) -> Option<Duration> {
        while self.next_at() <= now {
            let Some((_, yours)) = self.line.next(|_| true) else {
                self.is_open = false;
                return None;
            };
            // Who has gone away takes none.
            if yours.send(()).is_ok() {
                self.take(now);
            }
        }
        Some(self.next_at())
    }
}
