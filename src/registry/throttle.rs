//! Who asked to wait: nothing is asked of a repository before its time, nor of a host of which several, or its token
//! server, asked that. On a host that many share, one repository's word is not the others'.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{domain::back_off::BackOff, net::Pause};

/// The waits where nobody says how long.
const GUESS: BackOff = BackOff::millis(5_000, 300_000);
/// As many repositories of a host speak for all of it.
const SEVERAL: usize = 3;
/// When more hosts, or parts of a host, than this are known, those whose time has passed are forgotten.
const MANY: usize = 1000;

/// Per host.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<String, Host>>);

/// For what of a host a wait counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// All of it.
    Whole,
    /// A repository of its own, which speaks for it together with others.
    Own(&'a str),
    /// What another host led us to, as whoever has that host likes: a repository of that, or a token server's path.
    Led(&'a str),
}

/// For how long nothing is asked, and whether that holds for the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) rest: Duration,
    pub(super) whole: bool,
    /// Whether it said that it is unavailable, and not that there are too many requests.
    pub(super) is_away: bool,
}

#[derive(Debug, Default)]
struct Host {
    whole: Part,
    parts: HashMap<String, Part>,
}

/// A host, or a part of it.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    pause: Pause,
    /// Whether it was unavailable when that was said last.
    is_away: bool,
    /// Whether it is one of those that speak for their host.
    is_own: bool,
}

impl Throttle {
    /// How long that must still be left alone.
    pub(super) fn remaining(&self, host: &str, scope: Scope<'_>, now: Duration) -> Option<Wait> {
        self.hosts().get(host)?.remaining(scope, now)
    }

    /// The host asked to wait, for `asked` if it said how long. For how long is said.
    pub(super) fn pause(
        &self,
        host: &str,
        scope: Scope<'_>,
        asked: Option<Duration>,
        is_away: bool,
        now: Duration,
    ) -> Wait {
        let mut hosts = self.hosts();
        if hosts.len() >= MANY {
            let is_held = |part: &Part| part.pause.rest(now).is_some();
            hosts.retain(|_, host| is_held(&host.whole) || host.parts.values().any(is_held));
        }
        let host = hosts.entry(host.to_owned()).or_default();
        if host.parts.len() >= MANY {
            host.parts.retain(|_, part| part.pause.rest(now).is_some());
        }
        let Some(part) = scope.part() else {
            host.whole.extend(asked, is_away, now);
            return host.remaining(scope, now).unwrap_or(Wait { rest: GUESS.after(0), whole: true, is_away });
        };
        let part = host.parts.entry(part.to_owned()).or_default();
        part.extend(asked, is_away, now);
        part.is_own = matches!(scope, Scope::Own(_));
        let own = host.parts.values().filter(|part| part.is_own);
        let mut rests: Vec<Duration> = own.filter_map(|part| part.pause.rest(now)).collect();
        rests.sort_unstable_by_key(|rest| std::cmp::Reverse(*rest));
        // For as long as all of the several said.
        if let (Scope::Own(_), Some(rest)) = (scope, rests.get(SEVERAL - 1)) {
            host.whole.extend(asked.map(|_| *rest), is_away, now);
        }
        host.remaining(scope, now).unwrap_or(Wait { rest: GUESS.after(0), whole: false, is_away })
    }

    /// The host answered as usual.
    pub(super) fn release(&self, host: &str, scope: Scope<'_>, now: Duration) {
        let mut hosts = self.hosts();
        let Some(known) = hosts.get_mut(host) else { return };
        let is_free = known.whole.pause.release(now);
        if let Some(part) = scope.part()
            && known.parts.get_mut(part).is_some_and(|part| part.pause.release(now))
        {
            known.parts.remove(part);
        }
        if is_free && known.parts.is_empty() {
            hosts.remove(host);
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Scope<'a> {
    fn part(self) -> Option<&'a str> {
        match self {
            Self::Whole => None,
            Self::Own(part) | Self::Led(part) => Some(part),
        }
    }
}

impl Host {
    fn remaining(&self, scope: Scope<'_>, now: Duration) -> Option<Wait> {
        let part = scope.part().and_then(|part| self.parts.get(part)).copied().unwrap_or_default();
        let [of_part, of_whole] = [part, self.whole].map(|part| part.pause.rest(now).unwrap_or_default());
        let whole = of_whole >= of_part;
        let is_away = if whole { self.whole.is_away } else { part.is_away };
        Some(Wait { rest: of_part.max(of_whole), whole, is_away }).filter(|wait| !wait.rest.is_zero())
    }
}

impl Part {
    fn extend(&mut self, asked: Option<Duration>, is_away: bool, now: Duration) {
        self.pause.extend(asked, GUESS, now);
        self.is_away = is_away;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LONGEST_PAUSE;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn who_does_not_say_how_long_waits_longer_each_time() {
        for scope in [Scope::Whole, Scope::Own("x"), Scope::Led("x")] {
            let throttle = Throttle::default();
            let mut now = secs(0);
            let mut waits = vec![];
            for _ in 0..9 {
                let wait = throttle.pause("a", scope, None, false, now);
                assert_eq!(throttle.remaining("a", scope, now), Some(wait));
                waits.push(wait.rest.as_secs());
                now += wait.rest;
                assert_eq!(throttle.remaining("a", scope, now), None);
            }
            assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
            throttle.release("a", scope, now);
            assert_eq!(throttle.pause("a", scope, None, false, now).rest, secs(5));
        }
    }

    #[test]
    fn nobody_is_held_back_for_ever_nor_another_repository_or_host_at_all() {
        let (throttle, [x, y]) = (Throttle::default(), ["x", "y"].map(Scope::Own));
        let wait = Wait { rest: LONGEST_PAUSE, whole: false, is_away: false };
        assert_eq!(throttle.pause("a", x, Some(Duration::MAX), false, secs(0)), wait);
        assert_eq!(throttle.remaining("a", y, secs(0)), None);
        assert_eq!(throttle.remaining("a", Scope::Whole, secs(0)), None);
        assert_eq!(throttle.remaining("b", x, secs(0)), None);
    }

    #[test]
    fn three_repositories_speak_for_their_host_as_long_as_all_of_them_say() {
        let (throttle, [w, x, y, z]) = (Throttle::default(), ["w", "x", "y", "z"].map(Scope::Own));
        let rest = |at| throttle.remaining("a", z, at).map(|wait| wait.rest);
        throttle.pause("a", w, Some(secs(60)), false, secs(0));
        throttle.pause("a", x, Some(secs(20)), false, secs(0));
        assert_eq!(rest(secs(0)), None);
        throttle.pause("a", y, Some(Duration::MAX), false, secs(10));
        assert_eq!(rest(secs(10)), Some(secs(10)));
        assert_eq!(rest(secs(20)), None);
        // x has passed: two are left, and one more makes three again.
        throttle.pause("a", z, Some(secs(5)), false, secs(20));
        let other = throttle.remaining("a", Scope::Own("other"), secs(20));
        assert_eq!(other, Some(Wait { rest: secs(5), whole: true, is_away: false }));
    }

    #[test]
    fn what_others_led_to_does_not_speak_for_a_host() {
        let throttle = Throttle::default();
        for name in ["w", "x", "y", "z"] {
            throttle.pause("a", Scope::Led(name), Some(secs(60)), false, secs(0));
            assert!(!throttle.remaining("a", Scope::Led(name), secs(0)).unwrap().whole);
        }
        throttle.pause("a", Scope::Own("b"), Some(secs(60)), false, secs(0));
        assert_eq!(throttle.remaining("a", Scope::Own("c"), secs(0)), None);
    }

    #[test]
    fn a_host_that_three_ask_for_without_a_time_waits_longer_each_time() {
        let (throttle, mut now) = (Throttle::default(), secs(0));
        let mut waits = vec![];
        for round in 0..8 {
            for n in 0..3 {
                throttle.pause("a", Scope::Own(&format!("{round}-{n}")), None, false, now);
            }
            let rest = throttle.remaining("a", Scope::Own("other"), now).unwrap().rest;
            waits.push(rest.as_secs());
            now += rest;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn what_a_token_server_says_holds_for_all_that_is_asked_of_it() {
        let throttle = Throttle::default();
        assert_eq!(
            throttle.pause("a", Scope::Whole, Some(secs(30)), false, secs(0)),
            Wait { rest: secs(30), whole: true, is_away: false }
        );
        assert_eq!(throttle.remaining("a", Scope::Whole, secs(29)).unwrap().rest, secs(1));
        assert!(throttle.remaining("a", Scope::Own("x"), secs(0)).unwrap().whole);
    }

    #[test]
    fn hosts_and_repositories_whose_time_has_passed_are_forgotten() {
        let throttle = Throttle::default();
        for n in 0..5000 {
            throttle.pause(&n.to_string(), Scope::Own("x"), Some(secs(1)), false, secs(2 * n));
        }
        assert!(throttle.0.lock().unwrap().len() <= MANY);
        let throttle = Throttle::default();
        for n in 0..5000 {
            throttle.pause("a", Scope::Own(&format!("r{n}")), Some(secs(1)), false, secs(2 * n));
        }
        assert!(throttle.0.lock().unwrap()["a"].parts.len() <= MANY);
    }

    #[test]
    fn a_late_answer_from_before_does_not_release() {
        let throttle = Throttle::default();
        for scope in [Scope::Whole, Scope::Own("x")] {
            throttle.pause("a", scope, Some(secs(60)), false, secs(0));
            throttle.release("a", scope, secs(1));
            assert_eq!(throttle.remaining("a", scope, secs(1)).unwrap().rest, secs(59));
        }
    }
}
