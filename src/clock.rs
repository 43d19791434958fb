//! The system's clock: the only place that reads it.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::ports::Clock;

/// The machine's wall clock and its monotonic one, which starts at zero when this is made.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn busy(&self) -> Duration {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(used).unwrap_or_default()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let at = tokio::time::Instant::from_std(self.start + at);
        Box::pin(tokio::time::sleep_until(at))
    }
}
