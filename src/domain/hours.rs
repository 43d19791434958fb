//! When the updates of a workload may start: what annotations, policy files and guards ask for together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    demand::Demand,
    window::{self, Window},
};

/// When the updates of a workload may start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Hours {
    /// All of them must be open.
    pub windows: Vec<Demand<Window>>,
    /// None of them may be.
    pub freezes: Vec<Demand<Window>>,
}

impl Hours {
    /// Whether updates may start then.
    pub fn is_open(&self, at: Timestamp) -> bool {
        window::is_open(&values(&self.windows), &values(&self.freezes), at)
    }

    /// What is said where nothing opens.
    pub fn never_opens(&self) -> String {
        let is_never = |demand: &&Demand<Window>| demand.value.is_never();
        let is_always = |demand: &&Demand<Window>| demand.value.is_always();
        let one = self.windows.iter().find(is_never).or_else(|| self.freezes.iter().find(is_always));
        let all = self.windows.iter().chain(&self.freezes).map(|demand| &*demand.by);
        match (one, all.collect::<Vec<_>>().as_slice()) {
            (Some(Demand { by, .. }), _) => format!("{by} never lets an update start: write hours, or use `suspend`"),
            (None, [by]) => format!("{by} leaves no time in the next 400 days: write other hours"),
            (None, all) => {
                format!("no time in the next 400 days is left by {}: correct one of them", all.join(" and "))
            }
        }
    }

    /// The first time from then on at which updates may start; none within 400 days.
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        window::next_open(&values(&self.windows), &values(&self.freezes), at)
    }

    /// When it will have been open for that long from then on; none within 400 days.
    pub fn open_for(&self, at: Timestamp, long: Duration) -> Option<Timestamp> {
        window::open_for(&values(&self.windows), &values(&self.freezes), at, long)
    }

    /// What is left of them where a person overrides all that a person may.
    #[must_use]
    pub fn overridden(&self) -> Self {
        let floors = |demands: &[Demand<Window>]| demands.iter().filter(|demand| demand.is_floor).cloned().collect();
        Self { windows: floors(&self.windows), freezes: floors(&self.freezes) }
    }
}

/// To the minute, as windows are.
pub fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

/// What has happened.
pub fn to_the_second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn values(demands: &[Demand<Window>]) -> Vec<&Window> {
    demands.iter().map(|demand| &demand.value).collect()
}

/// The next openings that were computed last: many workloads have the same hours.
#[derive(Debug, Default)]
pub struct Calendar(Mutex<HashMap<Arc<Hours>, Closed>>);

/// That nothing opens is computed anew after this time.
pub const AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// Not open from the one time up to the other; that may never come.
#[derive(Debug, Clone, Copy)]
struct Closed {
    from: Timestamp,
    opens: Option<Timestamp>,
}

impl Closed {
    fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.opens.unwrap_or(self.from + AGAIN)
    }
}

impl Calendar {
    /// The first time from then on at which updates may start; none within 400 days.
    pub fn next_open(&self, hours: &Arc<Hours>, at: Timestamp) -> Option<Timestamp> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(closed) = lock().get(hours).filter(|closed| closed.covers(at)) {
            return closed.opens;
        }
        let opens = hours.next_open(at);
        let mut known = lock();
        if opens == Some(at) {
            known.remove(hours);
        } else {
            // What is of no workload any more makes room.
            if known.len() == known.capacity() {
                known.retain(|hours, _| Arc::strong_count(hours) > 1);
            }
            known.insert(hours.clone(), Closed { from: at, opens });
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn demand(text: &str) -> Demand<Window> {
        Demand::new(text.parse().unwrap(), text)
    }

    #[rstest::rstest]
    #[case("2026-11-27T10:00:00Z", Some("2026-11-27T10:00:00Z"))]
    #[case("2026-11-27T11:30:00Z", Some("2026-11-27T12:00:00Z"))]
    #[case("2026-11-27T13:00:00Z", Some("2026-11-30T09:00:00Z"))]
    #[case("2026-12-18T13:00:00Z", Some("2027-01-06T09:00:00Z"))]
    fn all_windows_must_be_open_and_no_freeze(#[case] now: &str, #[case] opens: Option<&str>) {
        let windows = vec![demand("Mon-Fri 09:00-17:00"), demand("08:00-13:00")];
        let freezes = vec![demand("11:00-12:00"), demand("2026-12-20..2027-01-05")];
        let (hours, calendar) = (Arc::new(Hours { windows, freezes }), Calendar::default());
        let opens = opens.map(at);
        assert_eq!(hours.next_open(at(now)), opens);
        // Whatever was asked before.
        for before in ["2026-11-01T00:00:00Z", "2026-11-27T11:00:00Z", now, "2027-05-01T18:00:00Z", now] {
            calendar.next_open(&hours, at(before));
            assert_eq!(calendar.next_open(&hours, at(now)), opens, "after {before}");
        }
    }

    /// Where summer time begins, what is open at other hours everywhere else may be open at the same.
    #[rstest::rstest]
    #[case("13:00-13:30 Europe/Berlin", "08:00-08:30 America/New_York", "never", Some("2027-03-14T12:00:00Z"))]
    #[case("13:00-13:30 Europe/Berlin", "Tue 08:00-08:30 America/New_York", "2027-03-16", Some("2027-03-23T12:00:00Z"))]
    #[case(
        "13:00-13:30 Europe/Berlin",
        "08:00-08:30 America/New_York",
        "2027-03-14..2027-03-27",
        Some("2027-10-31T12:00:00Z")
    )]
    #[case(
        "13:00-13:30 Europe/Berlin",
        "07:00-07:30 America/New_York",
        "2027-03-14..2027-03-27",
        Some("2026-11-30T12:00:00Z")
    )]
    #[case("Mon 13:00-13:30 Europe/Berlin", "Tue 00:00-24:00", "never", None)]
    #[case("2027-12-01..2027-12-02", "Wed 00:30-01:00", "never", Some("2027-12-01T00:30:00Z"))]
    #[case("2028-01-15..2028-01-16", "00:30-01:00", "never", None)]
    #[case("Fri 23:00-01:00", "2027-06-05T00:30..2027-06-06", "Sat,Sun 01:00-24:00", Some("2027-06-05T00:30:00Z"))]
    fn what_opens_but_seldom_is_found(
        #[case] one: &str,
        #[case] other: &str,
        #[case] freeze: &str,
        #[case] opens: Option<&str>,
    ) {
        let hours = Hours { windows: vec![demand(one), demand(other)], freezes: vec![demand(freeze)] };
        assert_eq!(hours.next_open(at("2026-11-29T20:00:00Z")), opens.map(at));
    }

    #[test]
    fn what_never_opens_is_known_to() {
        let hours =
            Arc::new(Hours { windows: vec![demand("Sat 09:00-17:00"), demand("Sun 00:00-24:00")], freezes: vec![] });
        let calendar = Calendar::default();
        for now in ["2026-11-27T10:00:00Z", "2026-11-27T10:30:00Z", "2026-11-28T10:00:00Z"] {
            assert_eq!(calendar.next_open(&hours, at(now)), None);
        }
    }
}
