//! Hosts that asked to wait: nothing is sent to them before their time.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use jiff::Timestamp;

/// The first wait where the host does not say how long; doubled each time it asks again.
const FIRST: Duration = Duration::from_secs(5);
/// The longest of those.
const LONGEST_GUESS: Duration = Duration::from_secs(300);
/// The longest that a host may ask for.
const LONGEST: Duration = Duration::from_secs(3600);
/// When more hosts than this are known, those whose time has passed are forgotten.
const MANY: usize = 1000;

/// Per host: until when, and how many times in a row it has asked.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<String, Hold>>);

#[derive(Debug, Clone, Copy)]
struct Hold {
    until: Duration,
    times: u32,
}

impl Holds {
    /// How long that host must still be left alone.
    pub(super) fn remaining(&self, host: &str, now: Duration) -> Option<Duration> {
        let holds = self.0.lock().unwrap_or_else(|e| e.into_inner());
        holds.get(host).and_then(|hold| hold.until.checked_sub(now)).filter(|rest| !rest.is_zero())
    }

    /// The host asked to wait, for `asked` if it said how long. Returns for how long it is left alone.
    pub(super) fn hold(&self, host: &str, asked: Option<Duration>, now: Duration) -> Duration {
        let mut holds = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if holds.len() >= MANY {
            holds.retain(|_, hold| hold.until > now);
        }
        let hold = holds.entry(host.to_owned()).or_insert(Hold { until: Duration::ZERO, times: 0 });
        // Answers to requests that were on their way together are one refusal, and none shortens the wait.
        let is_new = hold.until <= now;
        let guess =
            if is_new { FIRST.saturating_mul(1 << hold.times.min(10)).min(LONGEST_GUESS) } else { Duration::ZERO };
        let wait = asked.unwrap_or(guess).clamp(Duration::from_secs(1), LONGEST);
        hold.until = hold.until.max(now + wait);
        hold.times = hold.times.saturating_add(u32::from(is_new));
        hold.until - now
    }

    /// The host answered as usual.
    pub(super) fn release(&self, host: &str, now: Duration) {
        let mut holds = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if holds.get(host).is_some_and(|hold| hold.until <= now) {
            holds.remove(host);
        }
    }
}

/// Reads `Retry-After`: seconds or an HTTP date.
pub(super) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        return Some(header.parse().map_or(LONGEST, Duration::from_secs));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
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
    #[case("99999999999999999999999", Some(LONGEST))]
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
    fn a_host_that_does_not_say_how_long_waits_longer_each_time() {
        let holds = Holds::default();
        let mut now = secs(0);
        let mut waits = vec![];
        for _ in 0..9 {
            let wait = holds.hold("a", None, now);
            assert_eq!(holds.remaining("a", now), Some(wait));
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(holds.remaining("a", now), None);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        holds.release("a", now);
        assert_eq!(holds.hold("a", None, now), secs(5));
    }

    #[test]
    fn refusals_of_requests_that_were_on_their_way_together_are_one() {
        let holds = Holds::default();
        for _ in 0..50 {
            assert_eq!(holds.hold("a", None, secs(0)), secs(5));
        }
        assert_eq!(holds.hold("a", Some(secs(9)), secs(0)), secs(9));
        assert_eq!(holds.hold("a", Some(secs(2)), secs(0)), secs(9));
        assert_eq!(holds.hold("a", None, secs(9)), secs(10));
    }

    #[test]
    fn a_host_cannot_hold_itself_back_for_ever_nor_another_host_at_all() {
        let holds = Holds::default();
        assert_eq!(holds.hold("a", Some(Duration::MAX), secs(0)), LONGEST);
        assert_eq!(holds.remaining("b", secs(0)), None);
    }

    #[test]
    fn hosts_whose_time_has_passed_are_forgotten() {
        let holds = Holds::default();
        for n in 0..5000 {
            holds.hold(&n.to_string(), Some(secs(1)), secs(2 * n));
        }
        assert!(holds.0.lock().unwrap().len() <= MANY);
    }

    #[test]
    fn a_late_answer_from_before_does_not_release_a_host() {
        let holds = Holds::default();
        holds.hold("a", Some(secs(60)), secs(0));
        holds.release("a", secs(1));
        assert_eq!(holds.remaining("a", secs(1)), Some(secs(59)));
    }
}
