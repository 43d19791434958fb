//! How windows are written: text in, parts out.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::{TimeZone, TimeZoneDatabase},
};

use super::spans::{Days, Part, Span, Weekly};
use crate::domain::{
    nearest::{is_meant, listed},
    text::excerpt,
};

/// The longest text that is read.
const MAX_TEXT: usize = 2048;

const MAX_PARTS: usize = 16;

const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

const ADVICE: &str = "write `Mon-Fri 09:00-17:00 Europe/Berlin`, `2026-12-20..2027-01-02`, several of these joined by \
                      `;`, or `always` or `never`";

/// Why a text is no window, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WindowError(String);

/// The parts, and a text that reads as the same: one for all ways to write these days, times and zones.
pub(super) fn read(text: &str) -> Result<(String, Vec<Part>), WindowError> {
    if text.len() > MAX_TEXT {
        return Err(WindowError(format!("a window of more than {MAX_TEXT} bytes; write fewer parts")));
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(WindowError(format!("an empty window; {ADVICE}")));
    }
    if text.eq_ignore_ascii_case("never") {
        return Ok(("never".to_owned(), Vec::new()));
    }
    if text.eq_ignore_ascii_case("always") {
        let all = Span { start: Timestamp::MIN, end: Timestamp::MAX };
        return Ok(("always".to_owned(), vec![Part::Once(all)]));
    }
    let is_alone = |word: &&str| ["always", "never"].iter().any(|alone| word.eq_ignore_ascii_case(alone));
    if let Some(alone) = text.split([';', ' ', '\t', '\n', '\r']).find(is_alone) {
        return Err(WindowError(format!(
            "`{}` is no window: `{alone}` stands alone; take it out, or all the rest",
            excerpt(text)
        )));
    }
    let pieces: Vec<&str> = text.split(';').map(str::trim).collect();
    if pieces.len() > MAX_PARTS {
        return Err(WindowError(format!("a window of {} parts; write at most {MAX_PARTS}", pieces.len())));
    }
    let (mut texts, mut parts) = (Vec::new(), Vec::new());
    for piece in pieces {
        let shown = if piece.is_empty() { text } else { piece };
        let (text, part) = read_part(piece).map_err(|why| {
            let why = slip(piece).map_or(why, str::to_owned);
            WindowError(format!("`{}` is no window: {why}", excerpt(shown)))
        })?;
        texts.push(text);
        parts.push(part);
    }
    Ok((texts.join("; "), parts))
}

fn read_part(piece: &str) -> Result<(String, Part), String> {
    let words: Vec<&str> = piece.split_ascii_whitespace().collect();
    let (first, rest) = words.split_first().ok_or("an empty part; write one there, or leave out the `;`")?;
    if is_of_dates(first) {
        let zone = read_zone(rest)?;
        let (text, span) = read_dates(first, &zone)?;
        return Ok((format!("{text}{}", shown_zone(&zone)), Part::Once(span)));
    }
    let is_of_times = |word: &str| word.contains(':') || word.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let (days, rest) = if is_of_times(first) { (Days::ALL, &words[..]) } else { (read_days(first)?, rest) };
    let shown_days = if days == Days::ALL { String::new() } else { format!("{} ", show_days(days)) };
    let Some((times, rest)) = rest.split_first() else {
        return Err(format!("no times; for whole days write `{first} 00:00-24:00`"));
    };
    let (start, end) = read_times(times)?;
    let zone = read_zone(rest)?;
    let (end, over_midnight) = end.map_or((Time::midnight(), true), |end| (end, end <= start));
    let shown_end = show_end(if end == Time::midnight() { None } else { Some(end) });
    let text = format!("{shown_days}{}-{shown_end}{}", start.strftime("%H:%M"), shown_zone(&zone));
    Ok((text, Part::Weekly(Weekly { days, start, end, over_midnight, zone })))
}

/// Days of the week, such as `Mon,Wed-Fri`.
fn read_days(word: &str) -> Result<Days, String> {
    if word.contains('/') {
        return Err(format!("`{}` stands first; write days and times, then the time zone", excerpt(word)));
    }
    let read = |name: &str| {
        let at = NAMES.iter().position(|day| day.eq_ignore_ascii_case(name));
        at.ok_or_else(|| {
            if name.is_empty() {
                format!("a day is missing in `{}`; write days as in `Mon,Wed-Fri`", excerpt(word))
            } else {
                format!("`{}` is no day; {}", excerpt(name), listed(name, &NAMES))
            }
        })
    };
    let mut days = Days(0);
    for run in word.split(',') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last) = (read(first)?, read(last)?);
        for n in 0..=(last + 7 - first) % 7 {
            days.0 |= 1 << ((first + n) % 7);
        }
    }
    Ok(days)
}

/// Runs of three days and more as such, in the order of the days they start on.
fn show_days(days: Days) -> String {
    let has = |day: usize| days.0 & (1 << (day % 7)) != 0;
    let mut runs = Vec::new();
    for first in (0..7).filter(|day| has(*day) && !has(day + 6)) {
        let length = (1..7).find(|n| !has(first + n)).unwrap_or(7);
        let name = |n: usize| NAMES[(first + n) % 7];
        match length {
            1 => runs.push(name(0).to_owned()),
            2 => runs.push(format!("{},{}", name(0), name(1))),
            _ => runs.push(format!("{}-{}", name(0), name(length - 1))),
        }
    }
    runs.join(",")
}

/// Two times of the day, such as `09:00-17:00`; an end of `None` is `24:00`.
fn read_times(word: &str) -> Result<(Time, Option<Time>), String> {
    let Some((start, end)) = word.split_once('-').filter(|(start, end)| !start.is_empty() && !end.is_empty()) else {
        return Err(format!("`{}` is not a start and an end; write both, as in `09:00-17:00`", excerpt(word)));
    };
    Ok((read_start(start)?, read_clock(end)?))
}

fn read_start(text: &str) -> Result<Time, String> {
    read_clock(text)?.ok_or_else(|| "`24:00` ends a day and starts none; write `00:00`".to_owned())
}

/// A time of the day, of two digits each; `None` is `24:00`.
fn read_clock(text: &str) -> Result<Option<Time>, String> {
    let numbers = text.split_once(':').and_then(|(hour, minute)| Some((digits(hour, 2)?, digits(minute, 2)?)));
    let Some((hour, minute)) = numbers else {
        return Err(format!("`{}` is no time; write two digits each, as in `09:00`", excerpt(text)));
    };
    if (hour, minute) == (24, 0) {
        return Ok(None);
    }
    let time = i8::try_from(hour).and_then(|hour| Ok((hour, i8::try_from(minute)?)));
    time.ok().and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok()).map(Some).ok_or_else(|| {
        format!("`{}` is no time of a day; write one from `00:00` to `23:59`, or `24:00` as an end", excerpt(text))
    })
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<i16> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn show_end(time: Option<Time>) -> String {
    time.map_or_else(|| "24:00".to_owned(), |time| time.strftime("%H:%M").to_string())
}

/// Whether a word can only be meant as one of dates.
fn is_of_dates(word: &str) -> bool {
    let year = word.bytes().take_while(u8::is_ascii_digit).count();
    word.contains("..") || (year > 2 && word[year..].starts_with('-') && word[year + 1..].contains('-'))
}

/// A date, or two with or without times.
fn read_dates(word: &str, zone: &TimeZone) -> Result<(String, Span), String> {
    let Some((first, last)) = word.split_once("..") else {
        let (day, time) = read_moment(word)?;
        if time.is_some() {
            return Err(format!("`{word}` has no end; write both, as in `2026-12-20T18:00..2027-01-02T06:00`"));
        }
        let span = Span::between(zone, day.to_datetime(Time::midnight()), end_of(day, None));
        return Ok((day.to_string(), span));
    };
    if first.is_empty() || last.is_empty() {
        return Err(format!(
            "`{}` lacks one of its two ends; write both, as in `2026-12-20..2027-01-02`",
            excerpt(word)
        ));
    }
    let ((first_day, start), (last_day, end)) = (read_moment(first)?, read_moment(last)?);
    let (start, shown_start) = match start {
        Some(time) => {
            let time = time.ok_or("`24:00` ends a day and starts none; write the next date and `00:00`")?;
            (time, format!("T{}", time.strftime("%H:%M")))
        }
        None => (Time::midnight(), String::new()),
    };
    let start = first_day.to_datetime(start);
    let ends = end_of(last_day, end);
    if ends.is_some_and(|ends| ends == start) {
        return Err(format!("it ends when it starts; write a later end than `{last}`"));
    }
    if ends.is_some_and(|ends| ends < start) {
        return Err(format!("it ends before it starts; write the earlier first: `{last}..{first}`"));
    }
    let shown_end = end.map_or_else(String::new, |time| format!("T{}", show_end(time)));
    let text = if shown_start.is_empty() && shown_end.is_empty() && first_day == last_day {
        first_day.to_string()
    } else {
        format!("{first_day}{shown_start}..{last_day}{shown_end}")
    };
    Ok((text, Span::between(zone, start, ends)))
}

/// A date, and a time if there is one; of that, `None` is `24:00`.
fn read_moment(text: &str) -> Result<(Date, Option<Option<Time>>), String> {
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(read_clock(time)?)),
        None => (text, None),
    };
    let fields: Vec<&str> = date.split('-').collect();
    let numbers = match fields[..] {
        [year, month, day] => digits(year, 4).zip(digits(month, 2)).zip(digits(day, 2)),
        _ => None,
    };
    let Some(((year, month), day)) = numbers else {
        return Err(format!("`{}` is no date; write year, month and day, as in `2026-12-24`", excerpt(date)));
    };
    if year < 1970 {
        return Err(format!("`{date}` is too long ago; write a date from 1970 on"));
    }
    let day_of_month = i8::try_from(month).and_then(|month| Ok((month, i8::try_from(day)?)));
    let date = day_of_month.ok().and_then(|(month, day)| Date::new(year, month, day).ok());
    let date = date.ok_or_else(|| format!("the calendar has no `{}`; write a day that it has", excerpt(text)))?;
    Ok((date, time))
}

/// Where a range with that last date ends; `None` is the end of all days.
fn end_of(day: Date, time: Option<Option<Time>>) -> Option<DateTime> {
    match time.flatten() {
        Some(time) => Some(day.to_datetime(time)),
        None => day.tomorrow().ok().map(|next| next.to_datetime(Time::midnight())),
    }
}

/// What follows days and times, or dates: the name of a time zone, or nothing.
fn read_zone(words: &[&str]) -> Result<TimeZone, String> {
    let name = match words {
        [] => return Ok(TimeZone::UTC),
        [name] => *name,
        [_, more, ..] => {
            return Err(format!("`{}` comes after the end; join parts by `;`, as in `{EXAMPLE}`", excerpt(more)));
        }
    };
    zone(name)
}

/// The time zone of that name in the data that is built in; or what to write.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    let data = TimeZoneDatabase::bundled();
    // Both are in the data, and mean that nobody has said which zone it is.
    let is_said = |zone: &TimeZone| !zone.is_unknown() && zone.iana_name() != Some("Factory");
    data.get(name).ok().filter(is_said).ok_or_else(|| {
        let names: Vec<_> = data.available().filter(|name| name.as_str() != "Factory").collect();
        let names = || names.iter().map(|name| name.as_str());
        let is_its_city = |zone: &&str| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
        let meant = match names().find(is_its_city) {
            Some(zone) => format!("; is `{zone}` meant?"),
            None => is_meant(name, names().filter(|zone| may_be_near(name, zone)), ""),
        };
        let name = excerpt(name);
        format!("there is no time zone `{name}`; write one such as `Europe/Berlin`, or none for UTC{meant}")
    })
}

/// Whether two names may differ by few letters, told by which letters they have: quick, as there are 600 names.
fn may_be_near(name: &str, zone: &str) -> bool {
    let mut surplus = [0i32; 256];
    name.bytes().for_each(|b| surplus[usize::from(b.to_ascii_lowercase())] += 1);
    zone.bytes().for_each(|b| surplus[usize::from(b.to_ascii_lowercase())] -= 1);
    let missing: i32 = surplus.iter().map(|n| (-n).max(0)).sum();
    usize::try_from(missing).is_ok_and(|missing| missing * 3 <= zone.len())
}

/// What is to be written where it is easily seen what was meant.
fn slip(piece: &str) -> Option<&'static str> {
    let words: Vec<&str> = piece.split_ascii_whitespace().collect();
    let is_any = |test: &dyn Fn(&str) -> bool| words.iter().any(|word| test(word));
    let follows = |test: &dyn Fn(&str) -> bool| words.get(1).is_some_and(|word| test(word));
    let is_switch = |word: &str| ["true", "false", "yes", "no", "on", "off", "none"].contains(&word);
    if is_switch(&piece.to_ascii_lowercase()) {
        Some("write `always` or `never`")
    } else if piece.contains(['\u{2013}', '\u{2014}']) {
        Some("the line in it is no `-`; write that")
    } else if words.len() > 1 && is_any(&|word| [",", "-", ".."].contains(&word) || word.ends_with(',')) {
        Some("leave out the blanks around `,`, `-` and `..`")
    } else if is_any(&|word| word.contains(',') && word.contains(':')) {
        Some("join parts by `;`, as in `09:00-12:00; 13:00-17:00`")
    } else if words.first().is_some_and(|word| is_of_dates(word)) && follows(&|word| word.contains(':')) {
        Some("write dates with times as in `2026-12-20T18:00..2027-01-02T06:00`")
    } else if follows(&|word| read_days(word).is_ok()) {
        Some("days stand first; write `Mon-Fri 09:00-17:00`")
    } else {
        None
    }
}

const EXAMPLE: &str = "Mon-Fri 09:00-17:00; Sat 09:00-12:00";

fn shown_zone(zone: &TimeZone) -> String {
    match zone.iana_name() {
        None | Some("UTC") => String::new(),
        Some(name) => format!(" {name}"),
    }
}
