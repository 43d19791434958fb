//! Who asked to wait: nothing is asked of a repository before its time, nor of a host of which several, or a token
//! server, asked that. On a host that many share, one repository's word is not the others'.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::domain::image::Repository;

/// The first wait where nobody says how long; doubled each time it is asked for again.
const FIRST: Duration = Duration::from_secs(5);
/// The longest of those.
const LONGEST_GUESS: Duration = Duration::from_secs(300);
/// The longest that may be asked for: then it is asked again.
const LONGEST: Duration = Duration::from_secs(900);
/// As many repositories of a host speak for all of it.
const SEVERAL: usize = 3;
/// When more hosts, or repositories of a host, than this are known, those whose time has passed are forgotten.
const MANY: usize = 1000;

/// Per host.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<String, Host>>);

#[derive(Debug, Default)]
struct Host {
    whole: Hold,
    repositories: HashMap<Repository, Hold>,
}

/// Until when, and how many times in a row it was asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Hold {
    until: Duration,
    times: u32,
}

/// For how long nothing is asked, and whether that holds for the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) rest: Duration,
    pub(super) whole: bool,
}

impl Holds {
    /// How long that repository, or without one the host, must still be left alone.
    pub(super) fn remaining(&self, host: &str, repository: Option<&Repository>, now: Duration) -> Option<Wait> {
        self.hosts().get(host)?.remaining(repository, now)
    }

    /// The host asked to wait, for `asked` if it said how long; where it was asked for no repository, with all that is
    /// asked of it.
    pub(super) fn hold(
        &self,
        host: &str,
        repository: Option<&Repository>,
        asked: Option<Duration>,
        now: Duration,
    ) -> Wait {
        let mut hosts = self.hosts();
        if hosts.len() >= MANY {
            hosts.retain(|_, host| host.whole.until > now || host.repositories.values().any(|hold| hold.until > now));
        }
        let host = hosts.entry(host.to_owned()).or_default();
        if host.repositories.len() >= MANY {
            host.repositories.retain(|_, hold| hold.until > now);
        }
        match repository {
            None => host.whole.extend(asked, now),
            Some(repository) => {
                host.repositories.entry(repository.clone()).or_default().extend(asked, now);
                let mut rests: Vec<Duration> = host.repositories.values().filter_map(|hold| hold.rest(now)).collect();
                rests.sort_unstable_by_key(|rest| std::cmp::Reverse(*rest));
                // For as long as all of the several said.
                if let Some(rest) = rests.get(SEVERAL - 1) {
                    host.whole.extend(asked.map(|_| *rest), now);
                }
            }
        }
        host.remaining(repository, now).unwrap_or(Wait { rest: FIRST, whole: false })
    }

    /// The host answered as usual.
    pub(super) fn release(&self, host: &str, repository: Option<&Repository>, now: Duration) {
        let mut hosts = self.hosts();
        let Some(known) = hosts.get_mut(host) else { return };
        if known.whole.until <= now {
            known.whole = Hold::default();
        }
        if let Some(repository) = repository
            && known.repositories.get(repository).is_some_and(|hold| hold.until <= now)
        {
            known.repositories.remove(repository);
        }
        if known.repositories.is_empty() && known.whole.times == 0 {
            hosts.remove(host);
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn remaining(&self, repository: Option<&Repository>, now: Duration) -> Option<Wait> {
        let own = repository.and_then(|repository| self.repositories.get(repository)?.rest(now));
        let (own, whole) = (own.unwrap_or_default(), self.whole.rest(now).unwrap_or_default());
        Some(Wait { rest: own.max(whole), whole: whole >= own }).filter(|wait| !wait.rest.is_zero())
    }
}

impl Hold {
    fn rest(&self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|rest| !rest.is_zero())
    }

    fn extend(&mut self, asked: Option<Duration>, now: Duration) {
        // Answers to requests that were on their way together are one refusal, and none shortens the wait.
        let is_new = self.until <= now;
        let guess =
            if is_new { FIRST.saturating_mul(1 << self.times.min(10)).min(LONGEST_GUESS) } else { Duration::ZERO };
        let wait = asked.unwrap_or(guess).clamp(Duration::from_secs(1), LONGEST);
        self.until = self.until.max(now + wait);
        self.times = self.times.saturating_add(u32::from(is_new));
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

    fn repository(name: &str) -> Repository {
        Repository::parse(&format!("a.io/{name}")).unwrap()
    }

    #[test]
    fn who_does_not_say_how_long_waits_longer_each_time() {
        for repository in [None, Some(&repository("x"))] {
            let holds = Holds::default();
            let mut now = secs(0);
            let mut waits = vec![];
            for _ in 0..9 {
                let wait = holds.hold("a", repository, None, now);
                assert_eq!(holds.remaining("a", repository, now), Some(wait));
                waits.push(wait.rest.as_secs());
                now += wait.rest;
                assert_eq!(holds.remaining("a", repository, now), None);
            }
            assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
            holds.release("a", repository, now);
            assert_eq!(holds.hold("a", repository, None, now).rest, secs(5));
        }
    }

    #[test]
    fn refusals_of_requests_that_were_on_their_way_together_are_one() {
        let (holds, x) = (Holds::default(), repository("x"));
        let hold = |asked, now| holds.hold("a", Some(&x), asked, now).rest;
        for _ in 0..50 {
            assert_eq!(hold(None, secs(0)), secs(5));
        }
        assert_eq!(hold(Some(secs(9)), secs(0)), secs(9));
        assert_eq!(hold(Some(secs(2)), secs(0)), secs(9));
        assert_eq!(hold(None, secs(9)), secs(10));
    }

    #[test]
    fn nobody_is_held_back_for_ever_nor_another_repository_or_host_at_all() {
        let (holds, [x, y]) = (Holds::default(), ["x", "y"].map(repository));
        let wait = Wait { rest: LONGEST, whole: false };
        assert_eq!(holds.hold("a", Some(&x), Some(Duration::MAX), secs(0)), wait);
        assert_eq!(holds.remaining("a", Some(&y), secs(0)), None);
        assert_eq!(holds.remaining("a", None, secs(0)), None);
        assert_eq!(holds.remaining("b", Some(&x), secs(0)), None);
    }

    #[test]
    fn three_repositories_speak_for_their_host_as_long_as_all_of_them_say() {
        let (holds, [w, x, y, z]) = (Holds::default(), ["w", "x", "y", "z"].map(repository));
        let rest = |at| holds.remaining("a", Some(&z), at).map(|wait| wait.rest);
        holds.hold("a", Some(&w), Some(secs(60)), secs(0));
        holds.hold("a", Some(&x), Some(secs(20)), secs(0));
        assert_eq!(rest(secs(0)), None);
        holds.hold("a", Some(&y), Some(Duration::MAX), secs(10));
        assert_eq!(rest(secs(10)), Some(secs(10)));
        assert_eq!(rest(secs(20)), None);
        // x has passed: two are left, and one more makes three again.
        holds.hold("a", Some(&z), Some(secs(5)), secs(20));
        let other = holds.remaining("a", Some(&repository("other")), secs(20));
        assert_eq!(other, Some(Wait { rest: secs(5), whole: true }));
    }

    #[test]
    fn a_host_that_three_ask_for_without_a_time_waits_longer_each_time() {
        let (holds, mut now) = (Holds::default(), secs(0));
        let mut waits = vec![];
        for round in 0..8 {
            for n in 0..3 {
                holds.hold("a", Some(&repository(&format!("{round}-{n}"))), None, now);
            }
            let rest = holds.remaining("a", Some(&repository("other")), now).unwrap().rest;
            waits.push(rest.as_secs());
            now += rest;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn what_a_token_server_says_holds_for_all_that_is_asked_of_it() {
        let holds = Holds::default();
        assert_eq!(holds.hold("a", None, Some(secs(30)), secs(0)), Wait { rest: secs(30), whole: true });
        assert_eq!(holds.remaining("a", None, secs(29)).unwrap().rest, secs(1));
        assert!(holds.remaining("a", Some(&repository("x")), secs(0)).unwrap().whole);
    }

    #[test]
    fn hosts_and_repositories_whose_time_has_passed_are_forgotten() {
        let holds = Holds::default();
        for n in 0..5000 {
            holds.hold(&n.to_string(), Some(&repository("x")), Some(secs(1)), secs(2 * n));
        }
        assert!(holds.0.lock().unwrap().len() <= MANY);
        let holds = Holds::default();
        for n in 0..5000 {
            let name = repository(&format!("r{n}"));
            holds.hold("a", Some(&name), Some(secs(1)), secs(2 * n));
        }
        assert!(holds.0.lock().unwrap()["a"].repositories.len() <= MANY);
    }

    #[test]
    fn a_late_answer_from_before_does_not_release() {
        let (holds, x) = (Holds::default(), repository("x"));
        for repository in [None, Some(&x)] {
            holds.hold("a", repository, Some(secs(60)), secs(0));
            holds.release("a", repository, secs(1));
            assert_eq!(holds.remaining("a", repository, secs(1)).unwrap().rest, secs(59));
        }
    }
}
