//! `keel.sh/pollSchedule`: a cron line with seconds first, or `@every 10m`.

use std::time::Duration;

use crate::domain::{
    guard::MIN_INTERVAL,
    image::excerpt,
    poll::{Schedule, show_duration},
};

/// What it is in our grammar, and where that differs. Fails on what Keel cannot read either.
pub(super) fn read(text: &str) -> Result<(String, Vec<String>), String> {
    if let Some(rest) = text.strip_prefix("@every ") {
        let interval = go_duration(rest).ok_or_else(|| format!("`{}` is no duration", excerpt(rest)))?;
        return checked(format!("every {}", show_duration(interval)), Vec::new());
    }
    let zone = "Keel counts in the time zone of its own container; supercargo in UTC, unless `TZ=Area/City ` stands before the line";
    let named = match text {
        "@yearly" | "@annually" => Some("0 0 1 1 *"),
        "@monthly" => Some("0 0 1 * *"),
        "@weekly" => Some("0 0 * * 0"),
        "@daily" | "@midnight" => Some("0 0 * * *"),
        "@hourly" => Some("0 * * * *"),
        _ => None,
    };
    if let Some(line) = named {
        return checked(line.to_owned(), vec![zone.to_owned()]);
    }
    let mut fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let mut differs = Vec::new();
    match fields.len() {
        5 => {
            differs.push(format!(
                "Keel reads the first of five fields as seconds, and this says the same; if minutes were meant, write \
                 `poll: {}`",
                excerpt(text)
            ));
            fields.push("*");
        }
        6 => {}
        _ => return Err("neither five or six cron fields nor `@every 10m`".to_owned()),
    }
    let seconds = fields[0];
    let rest = [
        from_on(fields[1], 59),
        from_on(fields[2], 23),
        from_on(fields[3], 31),
        from_on(fields[4], 12),
        from_on(fields[5], 6),
    ];
    if rest.iter().all(|field| field == "*") {
        let step = match seconds {
            "*" | "?" => Some(1),
            _ => seconds.strip_prefix("*/").and_then(|step| step.parse::<u64>().ok()),
        };
        if let Some(step) = step {
            return checked(format!("every {}", show_duration(Duration::from_secs(step.min(60)))), differs);
        }
    }
    if seconds.parse::<u8>().is_ok_and(|second| second < 60) {
        differs.push("there is no field for seconds: each look falls on a second of the minute that is its own".into());
    } else {
        differs.push("there is no field for seconds: it comes once in each of these minutes, not several times".into());
    }
    differs.push(zone.to_owned());
    checked(rest.join(" "), differs)
}

fn checked(poll: String, mut differs: Vec<String>) -> Result<(String, Vec<String>), String> {
    let schedule = poll.parse::<Schedule>().map_err(|error| error.to_string())?;
    if schedule.shortest_gap().is_some_and(|gap| gap < MIN_INTERVAL) {
        differs.push("more often than every minute is done only where a guard's `minInterval` allows it".into());
    }
    Ok((poll, differs))
}

/// `5/10` (from 5 on, every ten) is `5-59/10` in common cron; `?` is `*`.
fn from_on(field: &str, last: u8) -> String {
    let part = |part: &str| match part.split_once('/') {
        Some((start, step)) if !start.is_empty() && start.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{start}-{last}/{step}")
        }
        _ => part.replace('?', "*"),
    };
    field.split(',').map(part).collect::<Vec<_>>().join(",")
}

/// Go's `time.ParseDuration`, to whole seconds, at least one.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: &[(&str, u64)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let length = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(length)?)?;
        let mut place = length;
        for digit in fraction.bytes() {
            place /= 10;
            nanos = nanos.checked_add(place * u64::from(digit - b'0'))?;
        }
        rest = next;
    }
    Some(Duration::from_secs((nanos / 1_000_000_000).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("@every 10m", "every 10m")]
    #[case("@every 1h30m", "every 1h30m")]
    #[case("@every 1.5h", "every 1h30m")]
    #[case("@every 90s", "every 1m30s")]
    #[case("@every 500ms", "every 1s")]
    #[case("@hourly", "0 * * * *")]
    #[case("0 */5 * * * *", "*/5 * * * *")]
    #[case("30 0 9 * * MON-FRI", "0 9 * * MON-FRI")]
    #[case("*/30 * * * * *", "every 30s")]
    #[case("0 5/15 * ? * *", "5-59/15 * * * *")]
    // Five fields are seconds, minutes, hours, days, months to Keel.
    #[case("*/5 * * * *", "every 5s")]
    #[case("0 9 * * *", "9 * * * *")]
    #[case("*/20 0-10 * * * *", "0-10 * * * *")]
    fn a_schedule_of_keels_is_read_as_keel_does(#[case] keels: &str, #[case] ours: &str) {
        assert_eq!(read(keels).unwrap().0, ours);
    }

    #[rstest::rstest]
    #[case("@every")]
    #[case("@every 10")]
    #[case("@every m")]
    #[case("@every 1.2.3s")]
    #[case("@every .s")]
    #[case("@sometimes")]
    #[case("* * *")]
    #[case("0 61 * * * *")]
    #[case("@every 99999999999h")]
    fn what_keel_cannot_read_is_refused(#[case] keels: &str) {
        assert!(read(keels).is_err(), "{keels}");
    }

    #[test]
    fn five_fields_are_pointed_out() {
        let (_, differs) = read("*/5 * * * *").unwrap();
        assert!(differs[0].contains("write `poll: */5 * * * *`"), "{differs:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(@every )?\\PC{0,30}") {
            let _ = read(&text);
        }
    }
}
