//! How long somebody who asked to wait is left alone: for as long as was asked for (`Retry-After`, RFC 9110), else for a
//! guess that grows.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

use crate::domain::back_off::BackOff;

/// The longest that may be asked for: then it is asked again.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// Until when (monotonic) nothing is asked, and how many times in a row that was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pause {
    until: Duration,
    times: u32,
}

impl Pause {
    /// For how long still.
    pub fn rest(&self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|rest| !rest.is_zero())
    }

    /// It asked to wait, for `asked` if it said how long.
    pub fn extend(&mut self, asked: Option<Duration>, guess: BackOff, now: Duration) {
        // Answers to requests that were on their way together are one refusal, and none shortens the wait.
        let is_new = self.until <= now;
        let guess = if is_new { guess.after(self.times) } else { Duration::ZERO };
        let wait = asked.unwrap_or(guess).clamp(Duration::from_secs(1), LONGEST_PAUSE);
        self.until = self.until.max(now + wait);
        self.times = self.times.saturating_add(u32::from(is_new));
    }

    /// It answered as usual. Whether it is free now: the answer may be a late one from before.
    pub fn release(&mut self, now: Duration) -> bool {
        let is_free = self.until <= now;
        if is_free {
            *self = Self::default();
        }
        is_free
    }
}

/// Reads `Retry-After`: seconds or an HTTP date.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        return Some(header.parse().map_or(LONGEST_PAUSE, Duration::from_secs));
    }
    let at = DateTimeParser::new().parse_timestamp(header).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[rstest::rstest]
    #[case("120", Some(secs(120)))]
    #[case(" 7 ", Some(secs(7)))]
    #[case("99999999999999999999999", Some(LONGEST_PAUSE))]
    #[case("Sun, 06 Nov 1994 08:50:37 GMT", Some(secs(60)))]
    #[case("Sun, 06 Nov 1994 08:00:00 GMT", Some(secs(0)))]
    #[case("soon", None)]
    #[case("-5", None)]
    #[case("", None)]
    fn retry_after_is_seconds_or_a_date(#[case] header: &str, #[case] wait: Option<Duration>) {
        let now = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(retry_after(header, now), wait);
    }

    #[test]
    fn refusals_of_requests_that_were_on_their_way_together_are_one() {
        let (mut pause, guess) = (Pause::default(), BackOff::millis(5_000, 300_000));
        let mut extend = |asked: Option<Duration>, now: Duration| {
            pause.extend(asked, guess, now);
            pause.rest(now)
        };
        for _ in 0..50 {
            assert_eq!(extend(None, secs(0)), Some(secs(5)));
        }
        assert_eq!(extend(Some(secs(9)), secs(0)), Some(secs(9)));
        assert_eq!(extend(Some(secs(2)), secs(0)), Some(secs(9)));
        assert_eq!(extend(None, secs(9)), Some(secs(10)));
        assert!(!pause.release(secs(18)), "a late answer from before");
        assert_eq!((pause.rest(secs(18)), pause.rest(secs(19))), (Some(secs(1)), None));
        assert!(pause.release(secs(19)) && pause == Pause::default());
    }
}
