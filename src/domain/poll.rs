//! When a repository is due: the values of `supercargo.dev/poll`.
//!
//! All of it is pure: the time and the source's hash are arguments. A schedule is spread by that hash, so that 2,000
//! repositories with one interval never fire together, and so that each fires at the same place after a restart.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration, Timestamp, civil,
    tz::{TimeZone, TimeZoneDatabase},
};

use super::image::excerpt;

/// The longest interval that may be asked for.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The longest text that is read.
const MAX_TEXT: usize = 256;

/// How often to look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Every so often, at a place within the interval that a hash of the source gives.
    Every(Duration),
    /// At the minutes that a cron line names, within the minute at a second that a hash of the source gives.
    Cron(CronLine),
    /// Only when a webhook comes.
    Never,
}

/// Five cron fields and a time zone. Equal if they read the same.
///
/// Held as text: parsed it takes 8 KiB, and anybody who may annotate may write thousands of them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CronLine(Arc<CronInner>);

#[derive(Clone)]
struct CronInner {
    /// As written, blanks made one.
    text: String,
    zone: TimeZone,
    shortest_gap: Duration,
    /// Minutes that come sooner than this after a look are passed over; zero for none.
    at_least: Duration,
}

/// Why a text is no schedule or no duration, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(String);

impl Schedule {
    /// The first time after `after` at which a source is due; `seed` is a hash of the source.
    pub fn next(&self, after: Timestamp, seed: u64) -> Option<Timestamp> {
        match self {
            Self::Every(interval) => next_of_interval(*interval, after, seed),
            Self::Cron(line) => line.next(after, seed),
            Self::Never => None,
        }
    }

    /// The shortest time between two looks; `None` if there are none.
    pub fn shortest_gap(&self) -> Option<Duration> {
        match self {
            Self::Every(interval) => Some(*interval),
            Self::Cron(line) => Some(line.0.shortest_gap.max(line.0.at_least)),
            Self::Never => None,
        }
    }

    /// The same schedule, but never more often than `floor`. A cron line keeps its hours: minutes that come too soon
    /// after a look are passed over.
    #[must_use]
    pub fn at_least(self, floor: Duration) -> Self {
        match self {
            Self::Every(interval) => Self::Every(interval.max(floor)),
            Self::Cron(line) if line.0.shortest_gap < floor => {
                Self::Cron(CronLine(Arc::new(CronInner { at_least: floor, ..(*line.0).clone() })))
            }
            other => other,
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        if text.len() > MAX_TEXT {
            return Err(ScheduleError(format!("a schedule of more than {MAX_TEXT} bytes")));
        }
        let text = text.trim();
        match text {
            "never" => return Ok(Self::Never),
            "" => return Err(ScheduleError(format!("an empty schedule; {ADVICE}"))),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("every ") {
            return Ok(Self::Every(parse_duration(rest.trim())?));
        }
        if text.starts_with('@') {
            return Err(ScheduleError(format!("`{}` is of another grammar; {ADVICE}", excerpt(text))));
        }
        // No cron line is one word.
        if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(char::is_whitespace) {
            return Ok(Self::Every(parse_duration(text)?));
        }
        CronLine::parse(text).map(Self::Cron)
    }
}

const ADVICE: &str = "write `every 10m`, `never`, or five cron fields such as `*/10 6-22 * * Mon-Fri`";

impl CronLine {
    fn parse(text: &str) -> Result<Self, ScheduleError> {
        let bad = |why: &str| ScheduleError(format!("`{}` is no schedule: {why}", excerpt(text)));
        let mut fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let zone = match fields.first().and_then(|first| first.strip_prefix("TZ=")) {
            Some(name) => {
                let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| {
                    bad(&format!("there is no time zone `{}`; write one such as `Europe/Berlin`", excerpt(name)))
                })?;
                fields.remove(0);
                zone
            }
            None => TimeZone::UTC,
        };
        match fields.len() {
            5 => {}
            6 => return Err(bad("six cron fields, but there is no field for seconds; write five, minutes first")),
            _ => return Err(bad(ADVICE)),
        }
        if fields.iter().any(|field| field.split(',').any(str::is_empty)) {
            return Err(bad("an empty part in a list"));
        }
        let five = fields.join(" ");
        let cron = parse_fields(&five).map_err(|error| bad(&excerpt(&error.to_string())))?;
        // Whether it ever comes is asked of forty years only, as the search for a day that never comes is long.
        let once = CronParser::builder().year(Year::Required).seconds(Seconds::Required).build();
        let comes = once
            .parse(&format!("0 {five} 2024-2064"))
            .and_then(|cron| cron.find_next_occurrence(&civil::datetime(2024, 1, 1, 0, 0, 0, 0), true));
        if comes.is_err() {
            return Err(bad("that day never comes"));
        }
        let text = match text.trim().split_once(' ') {
            Some((zone, _)) if zone.starts_with("TZ=") => format!("{zone} {five}"),
            _ => five,
        };
        Ok(Self(Arc::new(CronInner { text, zone, shortest_gap: shortest_gap(&cron), at_least: Duration::ZERO })))
    }

    fn next(&self, after: Timestamp, seed: u64) -> Option<Timestamp> {
        // Cron speaks in minutes: the second within the minute is ours to spread.
        let offset = SignedDuration::from_millis(i64::try_from(seed % 60_000).ok()?);
        // A look may start late; occurrences are whole minutes, so a slack of less than one does no harm.
        let slack = Duration::from_secs(59);
        let wait = SignedDuration::try_from(self.0.at_least.saturating_sub(slack)).ok()?;
        let from = after.checked_sub(offset).ok()?.checked_add(wait).ok()?.to_zoned(self.0.zone.clone());
        let fields = self.0.text.strip_prefix("TZ=").and_then(|rest| rest.split_once(' '));
        let cron = parse_fields(fields.map_or(&self.0.text, |(_, fields)| fields)).ok()?;
        let at = cron.find_next_occurrence(&from, false).ok()?;
        at.timestamp().checked_add(offset).ok()
    }
}

fn parse_fields(five: &str) -> Result<Cron, CronError> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(five)
}

/// By its hours and minutes alone, as if every day matched.
fn shortest_gap(cron: &Cron) -> Duration {
    const DAY: u64 = 24 * 60;
    let (hours, minutes) = (cron.pattern.hours.values(), cron.pattern.minutes.values());
    let times: Vec<u64> =
        hours.iter().flat_map(|h| minutes.iter().map(move |m| u64::from(*h) * 60 + u64::from(*m))).collect();
    let first = times.first().copied().unwrap_or(0);
    let last = times.last().copied().unwrap_or(0);
    let within = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(DAY);
    Duration::from_secs(60 * within.min(DAY - last + first))
}

/// Reads `30s`, `5m`, `1h30m`, `2d`: whole numbers with units, the larger first, from a second to a year.
pub fn parse_duration(text: &str) -> Result<Duration, ScheduleError> {
    let bad = || {
        let hint =
            if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() { " (the unit is missing)" } else { "" };
        ScheduleError(format!("`{}` is no duration{hint}; write `30s`, `5m`, `1h30m`, `2d`", excerpt(text)))
    };
    let mut rest = text;
    let mut seconds: u64 = 0;
    let mut units: &[(char, u64)] = &[('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit = rest[digits..].chars().next().ok_or_else(bad)?;
        let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(bad)?;
        seconds = number.checked_mul(units[at].1).and_then(|part| seconds.checked_add(part)).ok_or_else(bad)?;
        units = &units[at + 1..];
        rest = &rest[digits + unit.len_utf8()..];
    }
    let duration = Duration::from_secs(seconds);
    if duration.is_zero() || duration > LONGEST {
        return Err(ScheduleError(format!("`{}` is not between 1s and 366d", excerpt(text))));
    }
    Ok(duration)
}

/// Prints a duration the way [`parse_duration`] reads it; parts of a second are dropped.
pub fn show_duration(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    let mut out = String::new();
    for (unit, length) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        if seconds >= length {
            out += &format!("{}{unit}", seconds / length);
            seconds %= length;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// The first time after `after` that is `seed` nanoseconds past a multiple of the interval.
fn next_of_interval(interval: Duration, after: Timestamp, seed: u64) -> Option<Timestamp> {
    let length = i128::try_from(interval.as_nanos()).ok().filter(|length| *length > 0)?;
    // Mixed, as seeds that differ in their last bits only would fall together.
    let phase = i128::from(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)) % length;
    let since = (after.as_nanosecond() - phase).rem_euclid(length);
    Timestamp::from_nanosecond(after.as_nanosecond() + (length - since)).ok()
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => write!(f, "every {}", show_duration(*interval)),
            Self::Cron(line) => f.write_str(&line.0.text),
            Self::Never => f.write_str("never"),
        }
    }
}

impl fmt::Debug for CronLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CronLine({:?}, at least {:?})", self.0.text, self.0.at_least)
    }
}

impl PartialEq for CronInner {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.at_least) == (&other.text, other.at_least)
    }
}

impl Eq for CronInner {}

impl std::hash::Hash for CronInner {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.text, self.at_least).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    #[rstest::rstest]
    #[case("30s", 30)]
    #[case("5m", 300)]
    #[case("90m", 5400)]
    #[case("1h30m", 5400)]
    #[case("2d", 172_800)]
    #[case("1d1h1m1s", 90_061)]
    fn a_duration_is_read(#[case] text: &str, #[case] seconds: u64) {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        let shown = show_duration(Duration::from_secs(seconds));
        assert_eq!(parse_duration(&shown), Ok(Duration::from_secs(seconds)));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("10")]
    #[case("m")]
    #[case("0s")]
    #[case("1m1h")]
    #[case("1m1m")]
    #[case("1.5h")]
    #[case("-5m")]
    #[case("5 m")]
    #[case("5ms")]
    #[case("5M")]
    #[case("1ü")]
    #[case("367d")]
    #[case("99999999999999999999s")]
    #[case("18446744073709551615d")]
    fn what_is_no_duration_is_refused(#[case] text: &str) {
        assert!(parse_duration(text).is_err(), "{text}");
    }

    #[rstest::rstest]
    #[case("10", "the unit is missing")]
    #[case("400d", "not between 1s and 366d")]
    #[case("@every 10m", "of another grammar")]
    #[case("@hourly", "of another grammar")]
    #[case("every 0s", "not between 1s and 366d")]
    #[case("every 10", "the unit is missing")]
    #[case("0 */5 * * * *", "no field for seconds")]
    #[case("* * * *", "write `every 10m`")]
    #[case("61 * * * *", "no schedule")]
    #[case("a b c d e", "no schedule")]
    #[case(", * * * *", "an empty part")]
    #[case("1,,2 * * * *", "an empty part")]
    #[case("0 0 31 2 *", "never comes")]
    #[case("TZ=Europe/Berlim 0 9 * * *", "no time zone `Europe/Berlim`")]
    #[case("TZ= 0 9 * * *", "no time zone")]
    #[case("", "empty")]
    #[case("sometimes", "no schedule")]
    fn a_mistake_says_what_to_write(#[case] text: &str, #[case] says: &str) {
        let error = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[rstest::rstest]
    #[case("every 10m", "every 10m")]
    #[case("10m", "every 10m")]
    #[case("  every  1h30m ", "every 1h30m")]
    #[case("never", "never")]
    #[case("*/5  9-17 * *  Mon-Fri", "*/5 9-17 * * Mon-Fri")]
    #[case("TZ=Europe/Berlin   0 9 * * *", "TZ=Europe/Berlin 0 9 * * *")]
    fn a_schedule_prints_as_it_reads(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(schedule(text).to_string(), shown);
        assert_eq!(schedule(shown), schedule(text));
    }

    #[test]
    fn two_thousand_sources_with_one_interval_fall_apart_and_stay_where_they_are() {
        let every = schedule("every 10m");
        let now = time("2026-03-01T12:00:00Z");
        let firsts: BTreeSet<Timestamp> = (0..2000).map(|seed| every.next(now, seed).unwrap()).collect();
        assert_eq!(firsts.len(), 2000);
        let in_the_first_minute = firsts.iter().filter(|at| at.duration_since(now).as_secs() < 60).count();
        assert!((150..250).contains(&in_the_first_minute), "{in_the_first_minute} of 2000 in a tenth of the interval");
        for seed in [0, 1, u64::MAX] {
            let first = every.next(now, seed).unwrap();
            let after_restart = every.next(first, seed).unwrap();
            assert_eq!(after_restart.duration_since(first).as_secs(), 600);
            let middle = first.checked_add(SignedDuration::from_secs(123)).unwrap();
            assert_eq!(every.next(middle, seed).unwrap(), after_restart);
        }
    }

    #[test]
    fn a_cron_line_keeps_its_minute_in_its_own_time_zone() {
        let nine = schedule("TZ=Europe/Berlin 0 9 * * *");
        assert_eq!(nine.next(time("2026-03-28T00:00:00Z"), 0), Some(time("2026-03-28T08:00:00Z")));
        // Summer time began that night.
        assert_eq!(nine.next(time("2026-03-29T00:00:00Z"), 0), Some(time("2026-03-29T07:00:00Z")));
        let spread = nine.next(time("2026-03-28T00:00:00Z"), 61_500).unwrap();
        assert_eq!(spread, time("2026-03-28T08:00:01.5Z"));
        // From its own time on it is the next day's turn, from just before it is its own.
        assert_eq!(nine.next(spread, 61_500), Some(time("2026-03-29T07:00:01.5Z")));
        assert_eq!(nine.next(time("2026-03-28T08:00:01Z"), 61_500), Some(spread));
    }

    #[test]
    fn a_fixed_time_in_the_hour_that_is_skipped_or_doubled_comes_once() {
        let half_past_two = schedule("TZ=Europe/Berlin 30 2 * * *");
        let skipped = half_past_two.next(time("2026-03-28T12:00:00Z"), 0).unwrap();
        assert_eq!(skipped, time("2026-03-29T01:00:00Z"));
        assert_eq!(half_past_two.next(skipped, 0), Some(time("2026-03-30T00:30:00Z")));
        let doubled = half_past_two.next(time("2026-10-24T12:00:00Z"), 0).unwrap();
        assert_eq!(doubled, time("2026-10-25T00:30:00Z"));
        assert_eq!(half_past_two.next(doubled, 0), Some(time("2026-10-26T01:30:00Z")));
    }

    #[test]
    fn an_interval_in_cron_goes_on_through_the_doubled_hour() {
        let often = schedule("TZ=Europe/Berlin */30 * * * *");
        let mut at = time("2026-10-24T23:59:00Z");
        for expected in ["00:00", "00:30", "01:00", "01:30", "02:00"] {
            at = often.next(at, 0).unwrap();
            assert_eq!(at, time(&format!("2026-10-25T{expected}:00Z")));
        }
    }

    #[rstest::rstest]
    #[case("* * * * *", 60)]
    #[case("*/5 * * * *", 300)]
    #[case("0,7 * * * *", 420)]
    #[case("0 9-17 * * *", 3600)]
    #[case("0 9 * * 1", 86_400)]
    #[case("55 23 * * *", 86_400)]
    #[case("0,50 0,23 * * *", 600)]
    fn a_cron_line_knows_how_often_it_comes(#[case] text: &str, #[case] seconds: u64) {
        assert_eq!(schedule(text).shortest_gap(), Some(Duration::from_secs(seconds)));
    }

    #[test]
    fn a_floor_thins_a_cron_line_and_keeps_its_hours() {
        let floor = Duration::from_secs(600);
        let thinned = schedule("*/4 9 * * *").at_least(floor);
        assert_eq!(thinned.shortest_gap(), Some(floor));
        // The looks start a little late, as they do.
        let late = SignedDuration::from_millis(700);
        let mut at = time("2026-03-01T09:00:00Z");
        for expected in ["09:12", "09:24", "09:36", "09:48"] {
            let next = thinned.next(at, 30_000).unwrap();
            assert_eq!(next, time(&format!("2026-03-01T{expected}:30Z")));
            at = next.checked_add(late).unwrap();
        }
        assert_eq!(thinned.next(at, 30_000), Some(time("2026-03-02T09:00:30Z")));
        assert_eq!(schedule("every 30s").at_least(floor), Schedule::Every(floor));
        assert_eq!(schedule("0 9 * * *").at_least(floor), schedule("0 9 * * *"));
        assert_eq!(Schedule::Never.at_least(floor), Schedule::Never);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Schedule>();
            let _ = parse_duration(&text);
        }

        #[test]
        fn what_reads_as_cron_has_a_next_time_after_now(
            text in "[0-9*/,LW#-]{1,5} [0-9*/,-]{1,4} [0-9*/,LW-]{1,4} [0-9*/,A-Z-]{1,4} [0-9*/,LA-Z#-]{1,4}",
            now in 0i64..4_000_000_000,
            seed: u64,
        ) {
            if let Ok(schedule) = text.parse::<Schedule>() {
                let now = Timestamp::from_second(now).unwrap();
                let next = schedule.next(now, seed);
                prop_assert!(next.is_some_and(|next| next > now), "{text}: {next:?}");
            }
        }

        #[test]
        fn the_next_time_of_an_interval_is_within_it(seconds in 1u64..100_000_000, now in 0i64..4_000_000_000, seed: u64) {
            let now = Timestamp::from_second(now).unwrap();
            let next = Schedule::Every(Duration::from_secs(seconds)).next(now, seed).unwrap();
            prop_assert!(next > now);
            prop_assert!(next.duration_since(now).unsigned_abs() <= Duration::from_secs(seconds));
        }
    }
}
