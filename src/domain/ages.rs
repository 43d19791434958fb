//! How old tags are, and how long they wait (`min-age`).

use std::{fmt, time::Duration};

use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

use super::{
    history::{History, Since, opens},
    image::{Digest, Tag},
    reason::{Code, Reason},
};

/// How old versions must be, and what is known of that.
#[derive(Debug, Clone, Copy)]
pub struct Ages<'a> {
    /// When they were first seen.
    pub history: &'a History,
    /// How old.
    pub min_age: Duration,
    /// The time.
    pub now: Timestamp,
}

/// Why a version waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// It is too young.
    Young {
        /// Since when it is what it is.
        since: Since,
        /// How old it is.
        age: SignedDuration,
        /// When it is old enough.
        opens: Timestamp,
    },
    /// Nothing says yet since when it is there.
    Unseen,
}

impl Ages<'_> {
    /// Why the tag waits, as far as it is known without asking what it points to now.
    pub fn of_tag(&self, tag: &str) -> Option<Wait> {
        self.wait(self.history.of_tag(tag))
    }

    /// Why the tag waits, as it points to that.
    pub fn of(&self, tag: &Tag, digest: &Digest) -> Option<Wait> {
        self.wait(self.history.of(tag, digest))
    }

    fn wait(&self, since: Option<Since>) -> Option<Wait> {
        let Some(since) = since else { return Some(Wait::Unseen) };
        // A time that is still to come counts as now.
        let since = Since { at: since.at.min(self.now), ..since };
        let opens = opens(since.at, self.min_age);
        let age = self.now.duration_since(since.at);
        (opens > self.now).then_some(Wait::Young { since, age, opens })
    }
}

impl Wait {
    /// When it is old enough, where that is known.
    pub fn opens(&self) -> Option<Timestamp> {
        match self {
            Self::Young { opens, .. } => Some(*opens),
            Self::Unseen => None,
        }
    }

    /// The same at another time.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        match self {
            Self::Young { since, opens, .. } => {
                let age = now.duration_since(since.at).max(SignedDuration::ZERO);
                Self::Young { since: *since, age, opens: *opens }
            }
            Self::Unseen => Self::Unseen,
        }
    }

    /// Whether it ends before the other one.
    pub fn ends_before(&self, other: &Self) -> bool {
        self.opens().unwrap_or(Timestamp::MAX) < other.opens().unwrap_or(Timestamp::MAX)
    }

    /// Why nothing is taken, where that is the next to be old enough.
    pub fn of_next(&self, tag: &Tag) -> Reason {
        Reason::new(Code::TooYoung, format!("`{tag}` is {self}"))
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Young { since, age, opens } = self else {
            return f.write_str("not seen before: some of the new tags are asked for at each look, and at most 400 of a repository may wait at a time");
        };
        let by = if since.pushed { "pushed" } else { "first seen by supercargo" };
        let is_short = opens.duration_since(since.at) < SHORT;
        let (age, since) = (Roughly { age: *age, is_short }, shown(since.at, is_short));
        write!(f, "{age} old ({by} {since}), opens {}", self.shown_opening())
    }
}

impl Wait {
    /// When it is old enough, for people: not before that.
    pub fn shown_opening(&self) -> String {
        let Self::Young { since, opens, .. } = self else { return "later".to_owned() };
        let is_short = opens.duration_since(since.at) < SHORT;
        let unit = if is_short { Unit::Second } else { Unit::Minute };
        let up = TimestampRound::new().smallest(unit).mode(RoundMode::Ceil);
        shown(opens.round(up).unwrap_or(*opens), is_short)
    }
}

/// Up to it seconds are of interest.
const SHORT: SignedDuration = SignedDuration::from_hours(1);

/// To the minute, `2026-03-01T08:00Z`, or to the second.
fn shown(at: Timestamp, is_short: bool) -> String {
    at.strftime(if is_short { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%MZ" }).to_string()
}

/// A duration in its two largest units: `1d 4h`.
struct Roughly {
    age: SignedDuration,
    is_short: bool,
}

impl fmt::Display for Roughly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.age.as_secs().max(0);
        let minutes = seconds / 60;
        match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
            (0, 0, 0) if self.is_short => write!(f, "{seconds}s"),
            (0, 0, minutes) if self.is_short => write!(f, "{minutes}m {}s", seconds % 60),
            (0, 0, minutes) => write!(f, "{minutes}m"),
            (0, hours, minutes) => write!(f, "{hours}h {minutes}m"),
            (days, hours, _) => write!(f, "{days}d {hours}h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::Sighting;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const DAY: Duration = Duration::from_secs(86_400);

    fn wait(first_seen: &str, pushed: Option<&str>, min_age: Duration, now: &str) -> Option<String> {
        let digest = Digest::parse(&format!("sha256:{}", "a".repeat(64))).unwrap();
        let (tag, first_seen) = (Tag::parse("1.2.0").unwrap(), at(first_seen));
        let sighting = Sighting { tag: tag.clone(), digest: digest.clone(), first_seen, pushed: pushed.map(at) };
        let history = History::new([&sighting]);
        let ages = Ages { history: &history, min_age, now: at(now) };
        assert_eq!(ages.of(&tag, &digest), ages.of_tag("1.2.0"));
        assert_eq!(ages.of_tag("1.3.0"), Some(Wait::Unseen));
        ages.of_tag("1.2.0").map(|wait| wait.to_string())
    }

    #[rstest::rstest]
    #[case::just_seen(
        "2026-03-01T08:00:00Z",
        Some("0m old (first seen by supercargo 2026-03-01T08:00Z), opens 2026-03-04T08:00Z")
    )]
    #[case::hours_old(
        "2026-03-01T09:05:59Z",
        Some("1h 5m old (first seen by supercargo 2026-03-01T08:00Z), opens 2026-03-04T08:00Z")
    )]
    #[case::days_old(
        "2026-03-02T12:30:00Z",
        Some("1d 4h old (first seen by supercargo 2026-03-01T08:00Z), opens 2026-03-04T08:00Z")
    )]
    #[case::a_moment_before(
        "2026-03-04T07:59:59.999Z",
        Some("2d 23h old (first seen by supercargo 2026-03-01T08:00Z), opens 2026-03-04T08:00Z")
    )]
    #[case::old_enough("2026-03-04T08:00:00Z", None)]
    #[case::before_it_was_seen(
        "2026-02-28T08:00:00Z",
        Some("0m old (first seen by supercargo 2026-02-28T08:00Z), opens 2026-03-03T08:00Z")
    )]
    fn a_version_waits_until_it_is_old_enough(#[case] now: &str, #[case] says: Option<&str>) {
        assert_eq!(wait("2026-03-01T08:00:00Z", None, 3 * DAY, now).as_deref(), says);
    }

    #[test]
    fn of_short_ages_seconds_are_shown_and_none_opens_before_it_is_said_to() {
        let minute = Duration::from_secs(60);
        let said = |now| wait("2026-03-01T08:00:00.5Z", None, 5 * minute, now).unwrap();
        assert_eq!(
            said("2026-03-01T08:00:20.5Z"),
            "20s old (first seen by supercargo 2026-03-01T08:00:00Z), opens 2026-03-01T08:05:01Z"
        );
        assert!(said("2026-03-01T08:02:20.5Z").starts_with("2m 20s old"));
        let said = wait("2026-03-01T08:00:20Z", None, 60 * minute, "2026-03-01T08:00:20Z").unwrap();
        assert!(said.ends_with("opens 2026-03-01T09:01Z"), "{said}");
    }

    #[test]
    fn what_the_registry_says_counts_first() {
        let said = wait("2026-03-03T08:00:00Z", Some("2026-03-01T08:00:00Z"), 3 * DAY, "2026-03-03T08:00:00Z");
        assert_eq!(said.as_deref(), Some("2d 0h old (pushed 2026-03-01T08:00Z), opens 2026-03-04T08:00Z"));
        assert_eq!(wait("2026-03-03T08:00:00Z", Some("2026-03-01T08:00:00Z"), 2 * DAY, "2026-03-03T08:00:00Z"), None);
    }

    #[test]
    fn the_longest_age_of_the_latest_time_is_never_reached_and_breaks_nothing() {
        assert!(wait("9999-12-30T00:00:00Z", None, Duration::MAX, "9999-12-30T00:00:00Z").is_some());
    }
}
