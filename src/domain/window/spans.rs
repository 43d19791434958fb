//! What parts mean: from the days and times of a zone to moments, and from one start or end to the next.

use std::time::Duration;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};

/// How far ahead it is looked for a time that is open or closed.
pub const DAYS_AHEAD: i64 = 400;

/// As long everything is gone through before it counts as the same each week: a week, and what begins before it.
const WEEK: SignedDuration = SignedDuration::from_hours(24 * 9);
/// What is over a change of clocks, or a date, begins no longer before it.
const BEFORE: SignedDuration = SignedDuration::from_hours(24 * 2);

/// From the start, included, to the end, not included; empty if the end is not after the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

#[derive(Debug)]
pub(super) enum Part {
    Once(Span),
    Weekly(Weekly),
}

/// At the same times of some days of each week.
#[derive(Debug)]
pub(super) struct Weekly {
    pub(super) days: Days,
    pub(super) start: Time,
    pub(super) end: Time,
    /// Whether the end is on the day after.
    pub(super) over_midnight: bool,
    pub(super) zone: TimeZone,
}

/// Days of the week, a bit each, Monday the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Days(pub(super) u8);

impl Span {
    /// Between two times of a zone; an end of `None` is after all time.
    pub(super) fn between(zone: &TimeZone, start: DateTime, end: Option<DateTime>) -> Self {
        Self { start: begins(zone, start), end: end.map_or(Timestamp::MAX, |end| ends(zone, end)) }
    }

    /// If it is not empty, and not over at `at`.
    fn lasts(self, at: Timestamp) -> Option<Self> {
        (self.start < self.end && at < self.end).then_some(self)
    }
}

impl Days {
    pub(super) const ALL: Self = Self(0b111_1111);

    fn has(self, day: Date) -> bool {
        self.0 & (1 << day.weekday().to_monday_zero_offset()) != 0
    }
}

impl Weekly {
    fn span(&self, day: Date) -> Span {
        let last = if self.over_midnight { day.tomorrow().ok() } else { Some(day) };
        Span::between(&self.zone, day.to_datetime(self.start), last.map(|last| last.to_datetime(self.end)))
    }

    /// The first span that is not over at `at`, of a day from `day` on, and the day after it. Later days start later and
    /// end later.
    fn first(&self, day: Option<Date>, at: Timestamp) -> Option<(Span, Option<Date>)> {
        // What started on an earlier day is over, whatever the clocks did.
        let today = self.zone.to_datetime(at).date();
        let before = today.yesterday().and_then(Date::yesterday).unwrap_or(Date::MIN);
        let mut day = day.map_or(before, |day| day.max(before));
        loop {
            if self.days.has(day)
                && let Some(span) = self.span(day).lasts(at)
            {
                return Some((span, day.tomorrow().ok()));
            }
            day = day.tomorrow().ok()?;
        }
    }
}

/// When a start at that time of a zone is: the end of the skip if it is skipped, the first if it comes twice.
fn begins(zone: &TimeZone, time: DateTime) -> Timestamp {
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => saturating(offset.to_timestamp(time), time),
        AmbiguousOffset::Fold { before, after } => {
            let first = saturating(before.to_timestamp(time), time);
            // Where a table of past changes goes over into a rule, it may seem to come twice: America/Nuuk, 28 October 2023.
            if zone.to_datetime(first) == time { first } else { saturating(after.to_timestamp(time), time) }
        }
        AmbiguousOffset::Gap { .. } => skip_end(zone, time),
    }
}

/// When an end at that time of a zone is: the end of the skip if it is skipped, the second if it comes twice. At midnight
/// it is when the last minute of the day before is over.
fn ends(zone: &TimeZone, time: DateTime) -> Timestamp {
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => saturating(offset.to_timestamp(time), time),
        AmbiguousOffset::Fold { before, after } => {
            let second = saturating(after.to_timestamp(time), time);
            let just_before = second.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(second);
            if time.time() == Time::midnight() && zone.to_datetime(just_before) >= time {
                return saturating(before.to_timestamp(time), time);
            }
            second
        }
        AmbiguousOffset::Gap { .. } => skip_end(zone, time),
    }
}

/// When clocks have gone forward over that time, which is skipped.
fn skip_end(zone: &TimeZone, time: DateTime) -> Timestamp {
    let skipped = zone.to_ambiguous_timestamp(time);
    let (before, after) = (saturating(skipped.earlier(), time), saturating(skipped.later(), time));
    let mut changes = zone.following(before).map(|change| change.timestamp()).take_while(|change| *change <= after);
    changes.find(|change| zone.to_datetime(*change) > time).unwrap_or(after)
}

/// Times that the calendar has and moments have not are at the ends of either.
fn saturating(moment: Result<Timestamp, jiff::Error>, time: DateTime) -> Timestamp {
    moment.unwrap_or(if time.year() < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Windows that must all be open, and freezes that must all be closed; asked of times that only grow.
pub(super) struct Layers<'a>(Vec<Layer<'a>>);

struct Layer<'a> {
    parts: Vec<Cursor<'a>>,
    is_freeze: bool,
}

/// A place among the spans of a part.
struct Cursor<'a> {
    part: &'a Part,
    /// The first that was not over when it was last asked.
    span: Option<Span>,
    /// The day from which to go on.
    day: Option<Date>,
}

impl<'a> Cursor<'a> {
    fn new(part: &'a Part) -> Self {
        Self { part, span: None, day: None }
    }

    /// The first span that is not over at `at`.
    fn at(&mut self, at: Timestamp) -> Option<Span> {
        if self.span.is_none_or(|span| span.end <= at) {
            self.span = match self.part {
                Part::Once(span) => span.lasts(at),
                Part::Weekly(weekly) => weekly.first(self.day, at).map(|(span, next)| {
                    self.day = next;
                    span
                }),
            };
        }
        self.span
    }
}

impl Layer<'_> {
    /// Whether one of the parts is open, and until when that is sure to last.
    fn at(&mut self, at: Timestamp) -> (bool, Timestamp) {
        let (mut open_until, mut closed_until) = (None, Timestamp::MAX);
        for span in self.parts.iter_mut().filter_map(|part| part.at(at)) {
            if span.start <= at {
                open_until = open_until.max(Some(span.end));
            } else {
                closed_until = closed_until.min(span.start);
            }
        }
        open_until.map_or((false, closed_until), |until| (true, until))
    }
}

impl<'a> Layers<'a> {
    pub(super) fn new(windows: impl Iterator<Item = &'a [Part]>, freezes: impl Iterator<Item = &'a [Part]>) -> Self {
        let layer = |parts: &'a [Part], is_freeze| Layer { parts: parts.iter().map(Cursor::new).collect(), is_freeze };
        Self(windows.map(|parts| layer(parts, false)).chain(freezes.map(|parts| layer(parts, true))).collect())
    }

    pub(super) fn is_open(&mut self, at: Timestamp) -> bool {
        self.at(at).0
    }

    /// The first time from `at` on that is open, or closed.
    pub(super) fn next(mut self, at: Timestamp, open: bool) -> Option<Timestamp> {
        let last = at.saturating_add(SignedDuration::from_hours(24 * DAYS_AHEAD)).ok()?;
        let (mut now, mut regular_since) = (at, at);
        loop {
            let (is_open, until) = self.at(now);
            if is_open == open {
                return Some(now);
            }
            now = until;
            if now.duration_since(regular_since) > WEEK {
                // Each week is like the last one until then, if that is still to come.
                regular_since = self.irregular(regular_since)?;
                now = now.max(regular_since.checked_sub(BEFORE).unwrap_or(now));
            }
            // Beyond the end of time nothing changes.
            if now > last || now == Timestamp::MAX {
                return None;
            }
        }
    }

    /// The first time from then on at which the clocks of a zone are changed, or a date begins or is over.
    fn irregular(&self, at: Timestamp) -> Option<Timestamp> {
        let of = |part: &Part| match part {
            Part::Once(Span { start, end }) => [*start, *end].into_iter().find(|time| *time > at),
            Part::Weekly(Weekly { zone, .. }) => zone.following(at).next().map(|change| change.timestamp()),
        };
        self.0.iter().flat_map(|layer| &layer.parts).filter_map(|cursor| of(cursor.part)).min()
    }

    pub(super) fn open_between(mut self, a: Timestamp, b: Timestamp) -> Duration {
        let (mut now, mut sum) = (a, Duration::ZERO);
        while now < b {
            let (is_open, until) = self.at(now);
            let until = until.min(b);
            if is_open {
                sum += Duration::try_from(until.duration_since(now)).unwrap_or_default();
            }
            now = until;
        }
        sum
    }

    pub(super) fn open_for(mut self, at: Timestamp, long: Duration) -> Option<Timestamp> {
        let last = at.saturating_add(SignedDuration::from_hours(24 * DAYS_AHEAD)).ok()?;
        let (mut now, mut left) = (at, SignedDuration::try_from(long).ok()?);
        while now <= last && now < Timestamp::MAX {
            let (is_open, until) = self.at(now);
            let there = until.duration_since(now);
            match is_open {
                true if left <= there => return now.checked_add(left).ok().filter(|end| *end <= last),
                true => left -= there,
                false => {}
            }
            now = until;
        }
        None
    }

    /// Whether all lets through, and until when that is sure to last: a time after `at`, unless that is the last.
    fn at(&mut self, at: Timestamp) -> (bool, Timestamp) {
        let mut open_until = Timestamp::MAX;
        for layer in &mut self.0 {
            let (is_open, until) = layer.at(at);
            // What is behind it need not be looked at until then.
            if is_open == layer.is_freeze {
                return (false, until);
            }
            open_until = open_until.min(until);
        }
        (true, open_until)
    }
}
