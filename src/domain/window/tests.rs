use std::collections::{BTreeMap, HashSet};

use jiff::{
    SignedDuration,
    civil::{Date, DateTime, Time},
    tz::{TimeZone, TimeZoneDatabase},
};
use proptest::prelude::*;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(text: &str) -> Window {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// A window, hours of UTC from and until which it is asked, and the times in UTC at which it opens and closes in between.
type Case = (&'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    // Plain days and times.
    ("09:00-17:00", "2026-03-06T00 2026-03-08T00", "03-06T09:00/17:00 03-07T09:00/17:00"),
    ("Mon-Fri 09:00-17:00", "2026-03-06T00 2026-03-10T00", "03-06T09:00/17:00 03-09T09:00/17:00"),
    ("sat,SUN 10:00-11:00", "2026-03-06T00 2026-03-10T00", "03-07T10:00/11:00 03-08T10:00/11:00"),
    ("Fri-Mon 10:00-11:00", "2026-03-09T00 2026-03-15T00", "03-09T10:00/11:00 03-13T10:00/11:00 03-14T10:00/11:00"),
    ("Mon,Wed-Fri 10:00-10:01", "2026-03-09T00 2026-03-13T00", "03-09T10:00/10:01 03-11T10:00/10:01 03-12T10:00/10:01"),
    ("Mon-Mon 10:00-11:00", "2026-03-03T00 2026-03-16T00", "03-09T10:00/11:00"),
    ("always", "2026-03-06T00 2026-03-08T00", "03-06T00:00/-"),
    ("never", "2026-03-06T00 2026-03-08T00", ""),
    // Over midnight.
    ("Fri 22:00-06:00", "2026-03-06T00 2026-03-10T00", "03-06T22:00/03-07T06:00"),
    ("Sun 22:00-06:00", "2026-03-08T00 2026-03-10T00", "03-08T22:00/03-09T06:00"),
    ("Mon 22:00-06:00", "2026-03-09T00 2026-03-11T00", "03-09T22:00/03-10T06:00"),
    ("Fri 22:00-06:00", "2026-03-07T03 2026-03-08T00", "03-07T03:00/06:00"),
    ("Fri 22:00-00:00", "2026-03-06T00 2026-03-09T00", "03-06T22:00/03-07T00:00"),
    ("Fri 22:00-24:00", "2026-03-06T00 2026-03-09T00", "03-06T22:00/03-07T00:00"),
    ("Fri 09:00-09:00", "2026-03-06T00 2026-03-09T00", "03-06T09:00/03-07T09:00"),
    ("Fri 00:00-00:00", "2026-03-06T00 2026-03-09T00", "03-06T00:00/03-07T00:00"),
    ("Fri 00:00-24:00", "2026-03-05T00 2026-03-09T00", "03-06T00:00/03-07T00:00"),
    ("Sat,Sun 00:00-24:00", "2026-03-06T00 2026-03-10T00", "03-07T00:00/03-09T00:00"),
    ("Fri 23:59-00:01", "2026-03-06T00 2026-03-09T00", "03-06T23:59/03-07T00:01"),
    ("00:00-24:00", "2026-03-06T00 2026-03-09T00", "03-06T00:00/-"),
    ("09:00-09:00", "2026-03-06T00 2026-03-09T00", "03-06T00:00/-"),
    // Several parts are a union.
    ("10:00-12:00; 11:00-13:00", "2026-03-06T00 2026-03-07T00", "03-06T10:00/13:00"),
    ("10:00-12:00; 12:00-13:00", "2026-03-06T00 2026-03-07T00", "03-06T10:00/13:00"),
    ("12:00-13:00; 10:00-11:00", "2026-03-06T00 2026-03-07T00", "03-06T10:00/11:00 03-06T12:00/13:00"),
    (
        "10:00-11:00;2026-03-06",
        "2026-03-05T00 2026-03-08T00",
        "03-05T10:00/11:00 03-06T00:00/03-07T00:00 03-07T10:00/11:00",
    ),
    ("Sat 00:00-24:00;sun 00:00-12:00 UTC", "2026-03-06T00 2026-03-10T00", "03-07T00:00/03-08T12:00"),
    (
        "09:00-10:00 Europe/Berlin; 09:00-10:00 Asia/Tokyo",
        "2026-01-06T00 2026-01-07T00",
        "01-06T00:00/01:00 01-06T08:00/09:00",
    ),
    // Dates.
    ("2026-12-24", "2026-12-20T00 2026-12-30T00", "12-24T00:00/12-25T00:00"),
    ("2026-12-24..2026-12-24", "2026-12-20T00 2026-12-30T00", "12-24T00:00/12-25T00:00"),
    ("2026-12-24..2026-12-26", "2026-12-20T00 2026-12-30T00", "12-24T00:00/12-27T00:00"),
    ("2026-12-24T18:00..2026-12-26", "2026-12-20T00 2026-12-30T00", "12-24T18:00/12-27T00:00"),
    ("2026-12-24..2026-12-26t06:00", "2026-12-20T00 2026-12-30T00", "12-24T00:00/12-26T06:00"),
    ("2026-12-24T18:00..2026-12-24T18:01", "2026-12-20T00 2026-12-30T00", "12-24T18:00/18:01"),
    ("2026-12-24..2026-12-24T24:00", "2026-12-20T00 2026-12-30T00", "12-24T00:00/12-25T00:00"),
    ("2026-12-24..2026-12-25T00:00", "2026-12-20T00 2026-12-30T00", "12-24T00:00/12-25T00:00"),
    ("2026-12-24 Europe/Berlin", "2026-12-20T00 2026-12-30T00", "12-23T23:00/12-24T23:00"),
    ("2026-07-01..2026-07-31 America/New_York", "2026-06-20T00 2026-08-30T00", "07-01T04:00/08-01T04:00"),
    ("2026-12-24;2026-12-26", "2026-12-20T00 2026-12-30T00", "12-24T00:00/12-25T00:00 12-26T00:00/12-27T00:00"),
    ("2026-01-01..9999-12-31", "2025-12-30T00 2026-01-30T00", "01-01T00:00/-"),
    ("2020-01-01", "2026-03-06T00 2026-03-08T00", ""),
    // A leap day, and the year's end.
    ("2028-02-29", "2028-02-20T00 2028-03-05T00", "02-29T00:00/03-01T00:00"),
    ("2028-02-28T12:00..2028-03-01", "2028-02-20T00 2028-03-05T00", "02-28T12:00/03-02T00:00"),
    ("Tue 22:00-02:00", "2028-02-28T12 2028-03-05T00", "02-29T22:00/03-01T02:00"),
    ("Mon 22:00-02:00", "2028-02-28T12 2028-03-05T00", "02-28T22:00/02-29T02:00"),
    ("22:00-02:00", "2027-02-28T12 2027-03-01T12", "02-28T22:00/03-01T02:00"),
    ("Thu 22:00-06:00 Europe/Berlin", "2026-12-30T00 2027-01-02T00", "12-31T21:00/01-01T05:00"),
    ("2026-12-20..2027-01-02", "2026-12-01T00 2027-02-01T00", "12-20T00:00/01-03T00:00"),
    ("2026-12-31..2027-01-01 Pacific/Kiritimati", "2026-12-01T00 2027-02-01T00", "12-30T10:00/01-01T10:00"),
    ("2026-12-31 Pacific/Pago_Pago", "2026-12-01T00 2027-02-01T00", "12-31T11:00/01-01T11:00"),
    // Berlin, 29 March 2026: 02:00 is 03:00, at 01:00Z.
    ("01:00-04:00 Europe/Berlin", "2026-03-29T00 2026-03-29T20", "03-29T00:00/02:00"),
    ("02:00-02:30 Europe/Berlin", "2026-03-28T00 2026-03-30T20", "03-28T01:00/01:30 03-30T00:00/00:30"),
    ("02:30-03:00 Europe/Berlin", "2026-03-29T00 2026-03-29T20", ""),
    ("02:30-03:30 Europe/Berlin", "2026-03-29T00 2026-03-29T20", "03-29T01:00/01:30"),
    ("01:30-02:30 Europe/Berlin", "2026-03-29T00 2026-03-29T20", "03-29T00:30/01:00"),
    ("02:30-02:15 Europe/Berlin", "2026-03-29T00 2026-03-30T00", "03-29T00:00/03-30T00:15"),
    ("Sun 02:30-02:15 Europe/Berlin", "2026-03-29T00 2026-03-30T23", "03-29T01:00/03-30T00:15"),
    ("Sat 02:30-02:30 Europe/Berlin", "2026-03-28T00 2026-03-30T23", "03-28T01:30/03-29T01:00"),
    ("2026-03-29 Europe/Berlin", "2026-03-28T00 2026-03-30T23", "03-28T23:00/03-29T22:00"),
    ("2026-03-29T02:15..2026-03-29T02:45 Europe/Berlin", "2026-03-28T00 2026-03-30T23", ""),
    ("Sat 22:00-06:00 Europe/Berlin", "2026-03-28T00 2026-03-30T23", "03-28T21:00/03-29T04:00"),
    // Berlin, 25 October 2026: 03:00 is 02:00, at 01:00Z.
    ("01:00-04:00 Europe/Berlin", "2026-10-24T20 2026-10-25T20", "10-24T23:00/10-25T03:00"),
    ("02:00-03:00 Europe/Berlin", "2026-10-24T20 2026-10-25T20", "10-25T00:00/02:00"),
    ("02:15-02:45 Europe/Berlin", "2026-10-24T20 2026-10-25T20", "10-25T00:15/01:45"),
    ("02:30-03:30 Europe/Berlin", "2026-10-24T20 2026-10-25T20", "10-25T00:30/02:30"),
    ("01:30-02:30 Europe/Berlin", "2026-10-24T20 2026-10-25T20", "10-24T23:30/10-25T01:30"),
    ("01:30-02:00 Europe/Berlin", "2026-10-24T20 2026-10-25T20", "10-24T23:30/10-25T01:00"),
    ("Sat 02:30-02:30 Europe/Berlin", "2026-10-24T00 2026-10-25T20", "10-24T00:30/10-25T01:30"),
    ("02:30-02:30 Europe/Berlin", "2026-10-24T20 2026-10-25T20", "10-24T20:00/-"),
    ("2026-10-25 Europe/Berlin", "2026-10-24T00 2026-10-27T00", "10-24T22:00/10-25T23:00"),
    ("Sat 22:00-06:00 Europe/Berlin", "2026-10-24T00 2026-10-26T00", "10-24T20:00/10-25T05:00"),
    // New York, 8 March (07:00Z) and 1 November 2026 (06:00Z).
    ("02:00-03:00 America/New_York", "2026-03-08T00 2026-03-08T20", ""),
    ("02:30-04:00 America/New_York", "2026-03-08T00 2026-03-08T20", "03-08T07:00/08:00"),
    ("01:30-02:30 America/New_York", "2026-11-01T00 2026-11-01T20", "11-01T05:30/07:30"),
    ("01:15-01:45 America/New_York", "2026-11-01T00 2026-11-01T20", "11-01T05:15/06:45"),
    ("Sun 00:00-24:00 America/New_York", "2026-10-31T00 2026-11-03T00", "11-01T04:00/11-02T05:00"),
    // Lord Howe moves by half an hour: 5 April (02:00 is 01:30, 15:00Z the day before), 4 October (02:00 is 02:30, 15:30Z).
    ("01:00-02:00 Australia/Lord_Howe", "2026-04-04T00 2026-04-05T00", "04-04T14:00/15:30"),
    ("01:40-01:50 Australia/Lord_Howe", "2026-04-04T00 2026-04-05T00", "04-04T14:40/15:20"),
    ("02:00-02:30 Australia/Lord_Howe", "2026-10-03T00 2026-10-04T00", ""),
    ("02:15-03:00 Australia/Lord_Howe", "2026-10-03T00 2026-10-04T00", "10-03T15:30/16:00"),
    ("2026-10-04 Australia/Lord_Howe", "2026-10-03T00 2026-10-06T00", "10-03T13:30/10-04T13:00"),
    // Other parts of an hour, and two hours at once.
    ("09:00-17:30 Asia/Kolkata", "2026-03-06T00 2026-03-07T00", "03-06T03:30/12:00"),
    ("00:00-06:00 Asia/Kathmandu", "2026-03-06T00 2026-03-07T00", "03-06T00:00/00:15 03-06T18:15/03-07T00:15"),
    ("Sun 02:30-03:00 Pacific/Chatham", "2026-04-04T00 2026-04-05T12", "04-04T12:45/14:15"),
    ("02:50-03:40 Pacific/Chatham", "2026-09-26T00 2026-09-27T00", ""),
    ("02:00-03:00 Australia/Adelaide", "2026-04-04T00 2026-04-05T00", "04-04T15:30/17:30"),
    ("02:30-03:30 America/St_Johns", "2026-03-08T00 2026-03-08T20", "03-08T05:30/06:00"),
    ("01:30-02:30 Antarctica/Troll", "2026-03-28T20 2026-03-29T20", ""),
    ("01:30-03:30 Antarctica/Troll", "2026-10-24T20 2026-10-25T20", "10-24T23:30/10-25T03:30"),
    ("23:30-24:00 Asia/Pyongyang", "2018-05-04T00 2018-05-05T00", ""),
    ("2018-05-04 Asia/Pyongyang", "2018-05-03T00 2018-05-06T00", "05-03T15:30/05-04T15:00"),
    // Days that do not start at midnight, or end twice at it.
    ("Sun 00:00-06:00 America/Santiago", "2026-09-05T12 2026-09-08T00", "09-06T04:00/09:00"),
    ("Sat 20:00-24:00 America/Santiago", "2026-04-04T12 2026-04-06T00", "04-04T23:00/04-05T04:00"),
    ("2026-04-04 America/Santiago", "2026-04-03T00 2026-04-07T00", "04-04T03:00/04-05T04:00"),
    ("2026-04-24 Africa/Cairo", "2026-04-22T00 2026-04-27T00", "04-23T22:00/04-24T21:00"),
    ("2026-04-23 Africa/Cairo", "2026-04-22T00 2026-04-27T00", "04-22T22:00/04-23T22:00"),
    ("Sat 23:00-24:00 America/Nuuk", "2026-03-28T12 2026-03-29T20", ""),
    ("Sat 23:30-00:30 America/Nuuk", "2026-03-28T12 2026-03-29T20", "03-29T01:00/01:30"),
    ("2026-11-01 America/Havana", "2026-10-30T00 2026-11-04T00", "11-01T04:00/11-02T05:00"),
    ("2026-10-31 America/Havana", "2026-10-30T00 2026-11-04T00", "10-31T04:00/11-01T04:00"),
    ("Sat 20:00-00:00 America/Havana", "2026-10-31T12 2026-11-02T00", "11-01T00:00/04:00"),
    ("Sat 20:00-00:30 America/Havana", "2026-10-31T12 2026-11-02T00", "11-01T00:00/05:30"),
    ("2026-10-31T20:00..2026-11-01T00:00 America/Havana", "2026-10-31T12 2026-11-02T00", "11-01T00:00/04:00"),
    ("Sun 00:30-00:45 America/Havana", "2026-11-01T00 2026-11-02T00", "11-01T04:30/05:45"),
    // 29 October 2006: 00:01 is 23:01 of the day before, at 02:31Z.
    ("2006-10-28 America/St_Johns", "2006-10-27T00 2006-11-01T00", "10-28T02:30/10-29T03:30"),
    ("2006-10-29 America/St_Johns", "2006-10-27T00 2006-11-01T00", "10-29T02:30/10-30T03:30"),
    // Apia had no 30 December 2011, a Friday: after the 29th came the 31st, at 10:00Z of the 30th.
    ("2011-12-30 Pacific/Apia", "2011-12-25T00 2012-01-05T00", ""),
    ("2011-12-29 Pacific/Apia", "2011-12-25T00 2012-01-05T00", "12-29T10:00/12-30T10:00"),
    ("2011-12-29..2011-12-31 Pacific/Apia", "2011-12-25T00 2012-01-05T00", "12-29T10:00/12-31T10:00"),
    ("Fri 09:00-17:00 Pacific/Apia", "2011-12-25T00 2012-01-05T00", ""),
    ("Thu 22:00-06:00 Pacific/Apia", "2011-12-25T00 2012-01-05T00", "12-30T08:00/10:00"),
    ("09:00-10:00 Pacific/Apia", "2011-12-29T12 2011-12-31T12", "12-29T19:00/20:00 12-30T19:00/20:00"),
];

/// `MM-DDTHH:MM/MM-DDTHH:MM` for each time it is open, the second date only if it is another, `-` if it never closes.
fn spans(window: &Window, from: Timestamp, until: Timestamp) -> String {
    let (mut now, mut found) = (from, Vec::new());
    while let Some(opens) = window.next_open(now).filter(|opens| *opens < until) {
        let closes = window.next_closed(opens);
        let shown = closes.map_or("-".to_owned(), |closes| {
            let is_same_day = closes.strftime("%F").to_string() == opens.strftime("%F").to_string();
            closes.strftime(if is_same_day { "%H:%M" } else { "%m-%dT%H:%M" }).to_string()
        });
        found.push(format!("{}/{shown}", opens.strftime("%m-%dT%H:%M")));
        let Some(closes) = closes else { break };
        now = closes;
    }
    found.join(" ")
}

#[test]
fn windows_open_and_close_as_the_table_says() {
    let mut wrong = Vec::new();
    for (text, hours, want) in CASES {
        let (from, until) = hours.split_once(' ').unwrap();
        let found = spans(&window(text), time(&format!("{from}:00Z")), time(&format!("{until}:00Z")));
        if found != *want {
            wrong.push(format!("{text}, {hours}:\n  found {found}\n  want  {want}"));
        }
    }
    assert!(CASES.len() >= 60);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[rstest::rstest]
#[case("fri-MON,wed 22:00-06:00 europe/berlin", "Wed,Fri-Mon 22:00-06:00 Europe/Berlin")]
#[case("  Sat,Sun   00:00-00:00  ;\n sun 09:00-10:00", "Sat,Sun 00:00-24:00; Sun 09:00-10:00")]
#[case("Mon-Sun 09:00-17:00 UTC", "09:00-17:00")]
#[case("Mon,Tue,Wed 09:00-17:00 utc", "Mon-Wed 09:00-17:00")]
#[case("Sun-Mon 09:00-17:00", "Sun,Mon 09:00-17:00")]
#[case("Tue-Mon 09:00-09:00", "09:00-09:00")]
#[case("ALWAYS", "always")]
#[case(" never ", "never")]
#[case("2026-12-24..2026-12-24", "2026-12-24")]
#[case("2026-12-24t06:00..2026-12-26t24:00 asia/tokyo", "2026-12-24T06:00..2026-12-26T24:00 Asia/Tokyo")]
#[case("09:00-17:00 Etc/GMT-5", "09:00-17:00 Etc/GMT-5")]
#[case("09:00-17:00 est5edt", "09:00-17:00 EST5EDT")]
fn a_window_prints_as_it_reads(#[case] text: &str, #[case] shown: &str) {
    assert_eq!(window(text).to_string(), shown);
    assert_eq!(window(shown), window(text));
}

#[test]
fn windows_are_equal_if_they_read_the_same() {
    let all = ["Mon-Fri 09:00-17:00", "mon,tue,wed,thu,fri 09:00-17:00 UTC", "Mon-Fri 09:00-17:01", "always"];
    assert_eq!(all.map(window).into_iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(format!("{:?}", window("sat 00:00-24:00")), "Window(\"Sat 00:00-24:00\")");
}

#[rstest::rstest]
#[case("", "an empty window; write `Mon-Fri 09:00-17:00 Europe/Berlin`")]
#[case(" \n ", "an empty window")]
#[case("25:00-26:00", "`25:00` is no time of a day; write one from `00:00` to `23:59`")]
#[case("09:00-25:00", "`25:00` is no time of a day")]
#[case("09:60-10:00", "`09:60` is no time of a day")]
#[case("09:00-24:01", "`24:01` is no time of a day")]
#[case("24:00-06:00", "`24:00` ends a day and starts none; write `00:00`")]
#[case("9:00-17:00", "`9:00` is no time; write two digits each, as in `09:00`")]
#[case("9am-5pm", "`9am` is no time")]
#[case("0900-1700", "`0900` is no time")]
#[case("09:00-17:00:00", "`17:00:00` is no time")]
#[case("09:00-+7:00", "`+7:00` is no time")]
#[case("09:00", "write both, as in `09:00-17:00`")]
#[case("09:00-", "write both, as in `09:00-17:00`")]
#[case("-17:00", "write both, as in `09:00-17:00`")]
#[case("09:00 - 17:00", "leave out the blanks around `,`, `-` and `..`")]
#[case("Mon, Wed 09:00-17:00", "leave out the blanks around")]
#[case("2026-12-24 .. 2026-12-26", "leave out the blanks around")]
#[case("09:00\u{2013}17:00", "the line in it is no `-`; write that")]
#[case("true", "`true` is no window: write `always` or `never`")]
#[case("None", "write `always` or `never`")]
#[case("09:00-12:00,13:00-17:00", "join parts by `;`, as in `09:00-12:00; 13:00-17:00`")]
#[case("2026-12-24 09:00-17:00", "write dates with times as in `2026-12-20T18:00..2027-01-02T06:00`")]
#[case("2026-12-24 18:00..2026-12-26 06:00", "write dates with times as in")]
#[case("Mon-Xyz 09:00-17:00", "`Xyz` is no day; write `Mon`, `Tue`, `Wed`, `Thu`, `Fri`, `Sat` or `Sun`")]
#[case("Mno 09:00-17:00", "is `Mon` meant?")]
#[case("Monday 09:00-17:00", "`Monday` is no day; write `Mon`")]
#[case("Mon- 09:00-17:00", "a day is missing in `Mon-`; write days as in `Mon,Wed-Fri`")]
#[case("Mon,,Tue 09:00-17:00", "a day is missing in `Mon,,Tue`")]
#[case("Mon-Wed-Fri 09:00-17:00", "`Wed-Fri` is no day")]
#[case("Sat,Sun", "no times; for whole days write `Sat,Sun 00:00-24:00`")]
#[case("sometimes", "`sometimes` is no day")]
#[case("Mon Tue 09:00-17:00", "days stand first; write `Mon-Fri 09:00-17:00`")]
#[case("Europe/Berlin 09:00-17:00", "write days and times, then the time zone")]
#[case(
    "09:00-17:00 Europe/Berlinn",
    "no time zone `Europe/Berlinn`; write one such as `Europe/Berlin`, or none for UTC; is `Europe/Berlin` meant?"
)]
#[case("09:00-17:00 Berlin", "is `Europe/Berlin` meant?")]
#[case("09:00-17:00 America/NewYork", "is `America/New_York` meant?")]
#[case("09:00-17:00 Mars/Olympus", "no time zone `Mars/Olympus`; write one such as `Europe/Berlin`, or none for UTC")]
#[case("09:00-17:00 +02:00", "no time zone `+02:00`")]
#[case("09:00-17:00 Etc/Unknown", "no time zone `Etc/Unknown`")]
#[case("09:00-17:00 etc/unknown", "no time zone `etc/unknown`")]
#[case("09:00-17:00 Factory", "no time zone `Factory`")]
#[case("09:00-17:00 ../../etc/passwd", "no time zone `../../etc/passwd`")]
#[case("09:00-17:00 Mon-Fri", "days stand first; write `Mon-Fri 09:00-17:00`")]
#[case("09:00-17:00 UTC 18:00-19:00", "`18:00-19:00` comes after the end; join parts by `;`")]
#[case("2026-12-24 2026-12-25", "no time zone `2026-12-25`")]
#[case("2026-12-26..2026-12-24", "it ends before it starts; write the earlier first: `2026-12-24..2026-12-26`")]
#[case("2026-12-24T18:00..2026-12-24T06:00", "write the earlier first: `2026-12-24T06:00..2026-12-24T18:00`")]
#[case("2026-12-24T18:00..2026-12-24T18:00", "it ends when it starts; write a later end than `2026-12-24T18:00`")]
#[case("2026-12-24..2026-12-24T00:00", "it ends when it starts")]
#[case("2026-12-24..", "lacks one of its two ends; write both, as in `2026-12-20..2027-01-02`")]
#[case("..2026-12-24", "lacks one of its two ends")]
#[case("..", "lacks one of its two ends")]
#[case("2026-12-24...2026-12-25", "`.2026-12-25` is no date")]
#[case("2026-12-24T18:00", "`2026-12-24T18:00` has no end; write both")]
#[case("2026-12-24T24:00..2026-12-26", "`24:00` ends a day and starts none")]
#[case("2026-12-24T25:00..2026-12-26", "`25:00` is no time of a day")]
#[case("2026-12-24T..2026-12-26", "`` is no time")]
#[case("2027-02-29", "the calendar has no `2027-02-29`")]
#[case("2026-13-01", "the calendar has no `2026-13-01`")]
#[case("2026-1-1", "`2026-1-1` is no date; write year, month and day, as in `2026-12-24`")]
#[case("24.12.2026..26.12.2026", "`24.12.2026` is no date")]
#[case("0026-12-24", "`0026-12-24` is too long ago; write a date from 1970 on")]
#[case("Mon 2026-12-24", "`2026` is no time")]
#[case("always; 09:00-17:00", "`always` stands alone; take it out, or all the rest")]
#[case("09:00-17:00;Never", "`Never` stands alone")]
#[case("always;never", "`always` stands alone")]
#[case("always Europe/Berlin", "`always` stands alone")]
#[case("09:00-17:00;", "an empty part; write one there, or leave out the `;`")]
#[case(";", "an empty part")]
#[case("09:00-17:00;;2026-12-24", "an empty part")]
#[case("09:00-17:00; 10:00-x", "`10:00-x` is no window: `x` is no time")]
fn a_mistake_says_what_to_write(#[case] text: &str, #[case] says: &str) {
    let error = text.parse::<Window>().unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn what_is_too_long_is_refused() {
    let parts = |count: usize| vec!["09:00-17:00"; count].join(";");
    assert!(parts(16).parse::<Window>().is_ok());
    let error = parts(17).parse::<Window>().unwrap_err().to_string();
    assert_eq!(error, "a window of 17 parts; write at most 16");
    let blanks = |count: usize| format!("09:00-17:00{}", " ".repeat(count - 11));
    assert!(blanks(2048).parse::<Window>().is_ok());
    let error = blanks(2049).parse::<Window>().unwrap_err().to_string();
    assert_eq!(error, "a window of more than 2048 bytes; write fewer parts");
}

#[test]
fn every_zone_of_the_data_is_read_and_prints_as_it_reads() {
    let data = TimeZoneDatabase::bundled();
    for name in data.available().filter(|name| name.as_str() != "Factory") {
        let read = window(&format!("09:00-17:00 {}", name.as_str()));
        assert_eq!(window(&read.to_string()), read);
        assert!(read.next_open(time("2026-03-06T00:00:00Z")).is_some(), "{read}");
    }
}

#[test]
fn the_start_is_open_and_the_end_is_not() {
    let nine = window("09:00-17:00");
    let nanosecond = SignedDuration::from_nanos(1);
    let (start, end) = (time("2026-03-06T09:00:00Z"), time("2026-03-06T17:00:00Z"));
    assert_eq!(
        [start - nanosecond, start, end - nanosecond, end].map(|at| nine.is_open(at)),
        [false, true, true, false]
    );
    assert_eq!(nine.next_open(start - nanosecond), Some(start));
    assert_eq!(nine.next_open(start + nanosecond), Some(start + nanosecond));
    assert_eq!(nine.next_closed(end - nanosecond), Some(end));
    assert_eq!(nine.next_closed(start - nanosecond), Some(start - nanosecond));
}

#[test]
fn an_opening_is_looked_for_400_days_ahead() {
    let day = window("2027-04-10");
    assert_eq!(day.next_open(time("2026-03-06T00:00:00Z")), Some(time("2027-04-10T00:00:00Z")));
    assert_eq!(day.next_open(time("2026-03-05T23:59:59Z")), None);
    let closing = window("2026-01-01..2027-04-09");
    assert_eq!(closing.next_closed(time("2026-03-06T00:00:00Z")), Some(time("2027-04-10T00:00:00Z")));
    assert_eq!(closing.next_closed(time("2026-03-05T23:59:59Z")), None);
    assert_eq!(window("always").next_closed(time("2026-03-06T00:00:00Z")), None);
    assert_eq!(window("never").next_open(time("2026-03-06T00:00:00Z")), None);
    assert_eq!(window("00:00-24:00 Europe/Berlin").next_closed(time("2026-03-06T00:00:00Z")), None);
}

#[test]
fn nothing_fails_at_the_ends_of_time() {
    let ends = [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX];
    for text in
        ["always", "never", "22:00-06:00 Europe/Berlin", "Mon 09:00-09:00", "9999-12-30..9999-12-31", "1970-01-01"]
    {
        let window = window(text);
        for (n, at) in ends.into_iter().enumerate() {
            let (opens, closes) = (window.next_open(at), window.next_closed(at));
            assert!(opens.is_none_or(|opens| opens >= at) && closes.is_none_or(|closes| closes >= at), "{text} {at}");
            assert_eq!(window.open_between(at, at), Duration::ZERO);
            assert_eq!(window.open_between(at, ends[0]), Duration::ZERO);
            assert!(n == 2 || window.is_open(at) == (opens == Some(at)), "{text} {at}");
        }
    }
    assert!(window("always").open_between(Timestamp::MIN, Timestamp::MAX) > Duration::from_secs(600_000_000_000));
}

#[test]
fn all_windows_must_be_open_and_no_freeze() {
    let at = |hour: &str| time(&format!("2026-03-06T{hour}:00Z"));
    let (early, late) = (window("08:00-12:00"), window("10:00-14:00"));
    let (noon, day) = (window("11:00-11:30"), window("2026-03-07"));
    let (windows, freezes) = ([&early, &late], [&noon, &day]);
    for (hour, open) in [("09:00", false), ("10:00", true), ("11:00", false), ("11:30", true), ("12:00", false)] {
        assert_eq!(is_open(&windows, &freezes, at(hour)), open, "{hour}");
    }
    assert_eq!(next_open(&windows, &freezes, at("08:00")), Some(at("10:00")));
    assert_eq!(next_open(&windows, &freezes, at("11:10")), Some(at("11:30")));
    // The day after is frozen.
    assert_eq!(next_open(&windows, &freezes, at("12:00")), Some(time("2026-03-08T10:00:00Z")));
    assert_eq!(open_between(&windows, &freezes, at("00:00"), time("2026-03-08T00:00:00Z")), Duration::from_secs(5400));
    assert!(
        is_open(&[], &[], at("00:00")) && is_open(&[], &[&noon], at("00:00")) && !is_open(&[], &[&noon], at("11:00"))
    );
    assert_eq!(next_open(&[], &[&day], time("2026-03-07T05:00:00Z")), Some(time("2026-03-08T00:00:00Z")));
}

#[test]
fn windows_and_freezes_that_leave_nothing_never_open() {
    let at = time("2026-03-06T00:00:00Z");
    let (always, never) = (window("always"), window("never"));
    assert_eq!(next_open(&[&always, &never], &[], at), None);
    assert_eq!(next_open(&[&always], &[&always], at), None);
    assert_eq!(next_open(&[&window("02:00-02:30")], &[&window("02:00-03:00")], at), None);
    assert_eq!(next_open(&[&window("Mon 09:00-17:00"), &window("Tue 09:00-17:00")], &[], at), None);
    assert_eq!(next_open(&[&always], &[&window("2026-01-01..2028-01-01")], at), None);
    // All but a gap of one minute.
    let freeze = window("2026-01-01..2026-09-09T12:00; 2026-09-09T12:01..2030-01-01");
    assert_eq!(next_open(&[&always], &[&freeze], at), Some(time("2026-09-09T12:00:00Z")));
    assert_eq!(next_open(&[&window("02:00-02:30")], &[&freeze], at), None);
}

/// Written to take long: no part ever meets another, and none is ever near.
#[test]
fn the_worst_that_can_be_written_is_looked_through_by_its_starts_and_ends() {
    let parts = |odd: usize| {
        let part = |n: usize| {
            format!("{:02}:{:02}-{:02}:{:02} Europe/Berlin", n / 2, 30 * (n % 2), n.div_ceil(2), 30 * ((n + 1) % 2))
        };
        let all: Vec<String> = (0..16).map(|n| part(10 + 2 * n + odd)).collect();
        window(&all.join(";"))
    };
    let (even, odd) = (parts(0), parts(1));
    let at = time("2026-03-06T00:00:00Z");
    assert_eq!(next_open(&[&even, &odd], &[], at), None);
    assert!(next_open(&[&even], &[&odd], at).is_some());
}

// The oracle. It asks for the local time of each minute, and never for the minute of a local time.

const ZONES: [&str; 18] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "America/St_Johns",
    "Antarctica/Troll",
    "America/Havana",
    "Atlantic/Azores",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Nuuk",
    "Pacific/Apia",
    "Asia/Pyongyang",
    "Africa/Casablanca",
];

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// How many minutes are looked at.
const MINUTES: usize = 3 * 24 * 60;
/// How many minutes more on both sides, for what began before, or ends after.
const MARGIN: usize = 2 * 24 * 60;

fn minute_after(from: Timestamp, minutes: usize) -> Timestamp {
    from + SignedDuration::from_mins(i64::try_from(minutes).unwrap())
}

#[derive(Debug, Clone)]
enum Asked {
    Weekly {
        days: u8,
        start: u16,
        end: u16,
        zone: usize,
    },
    /// Minutes after the first that is looked at.
    Once {
        start: i64,
        end: i64,
        whole: bool,
        zone: usize,
    },
}

/// The local time of each minute, by zone.
type Locals = BTreeMap<&'static str, Vec<DateTime>>;

/// A part as text, and for each minute from `from` on whether it is open.
fn expected(asked: &Asked, from: Timestamp, near: usize, locals: &mut Locals) -> (String, Vec<bool>) {
    let first = from - SignedDuration::from_mins(i64::try_from(MARGIN).unwrap());
    let name = match asked {
        Asked::Weekly { zone, .. } | Asked::Once { zone, .. } => *ZONES.get(*zone).unwrap_or(&ZONES[near]),
    };
    let local = &**locals.entry(name).or_insert_with(|| {
        let zone = zone(name);
        (0..MINUTES + 2 * MARGIN).map(|minute| zone.to_datetime(minute_after(first, minute))).collect()
    });
    let mut open = vec![false; local.len()];
    let mut fill = |start: DateTime, end: DateTime, near: std::ops::Range<usize>| {
        let local = &local[near.clone()];
        let begins = local.iter().position(|time| *time >= start).unwrap_or(local.len());
        let last_before = local.iter().rposition(|time| *time < end).map_or(0, |last| last + 1);
        let ends = match local.iter().rposition(|time| *time == end) {
            Some(second) if end.time() != Time::midnight() => second,
            _ => last_before,
        };
        for minute in begins..ends {
            open[near.start + minute] = true;
        }
    };
    let clock =
        |minutes: u16| Time::new(i8::try_from(minutes / 60).unwrap(), i8::try_from(minutes % 60).unwrap(), 0, 0);
    let text = match asked {
        Asked::Weekly { days, start, end, .. } => {
            let mut day: Date = local[0].date();
            let last = local[local.len() - 1].date();
            while day <= last {
                if days & (1 << day.weekday().to_monday_zero_offset()) != 0 {
                    let ends = if end > start { *end } else { end + 1440 };
                    let end_day = if ends >= 1440 { day.tomorrow().unwrap() } else { day };
                    let (start, end) = (clock(*start).unwrap(), clock(ends % 1440).unwrap());
                    // No local time is as far as that from the same time in UTC.
                    let midnight = TimeZone::UTC.to_timestamp(day.to_datetime(Time::midnight())).unwrap();
                    let at = midnight.duration_since(first).as_mins();
                    let within = |minute: i64| usize::try_from(minute.max(0)).unwrap().min(local.len());
                    fill(day.to_datetime(start), end_day.to_datetime(end), within(at - 1000)..within(at + 3800));
                }
                day = day.tomorrow().unwrap();
            }
            let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
            let listed: Vec<&str> = (0..7).filter(|day| days & (1 << day) != 0).map(|day| names[day]).collect();
            let show = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
            format!("{} {}-{} {name}", listed.join(","), show(*start), show(*end))
        }
        Asked::Once { start, end, whole, .. } => {
            let at = |minutes: i64| TimeZone::UTC.to_datetime(from + SignedDuration::from_mins(minutes));
            let (start, end) = (at(*start), at(*end));
            if *whole {
                let after = end.date().tomorrow().unwrap();
                fill(start.date().into(), after.into(), 0..local.len());
                format!("{}..{} {name}", start.date(), end.date())
            } else {
                fill(start, end, 0..local.len());
                format!("{}..{} {name}", start.strftime("%FT%H:%M"), end.strftime("%FT%H:%M"))
            }
        }
    };
    (text, open[MARGIN..MARGIN + MINUTES].to_vec())
}

/// A window, and whether it is open in each minute.
fn asked(parts: &[Asked], from: Timestamp, near: usize, locals: &mut Locals) -> (Window, Vec<bool>) {
    let (texts, opens): (Vec<String>, Vec<Vec<bool>>) =
        parts.iter().map(|part| expected(part, from, near, locals)).unzip();
    let open = (0..MINUTES).map(|minute| opens.iter().any(|open| open[minute])).collect();
    (window(&texts.join(";")), open)
}

/// Times near those that are doubled or skipped, and any.
fn minute_of_day() -> impl Strategy<Value = u16> {
    prop_oneof![0u16..1440, (0u16..17).prop_map(|quarter| quarter * 15), (92u16..96).prop_map(|quarter| quarter * 15)]
}

/// One of the list, or past its end for that near whose change of the clocks it is asked.
fn any_zone() -> impl Strategy<Value = usize> {
    0..4 * ZONES.len()
}

fn any_part() -> impl Strategy<Value = Asked> {
    let week_end = prop_oneof![4 => minute_of_day(), 1 => Just(1440u16)];
    prop_oneof![
        3 => (1u8..128, minute_of_day(), week_end, any_zone())
            .prop_map(|(days, start, end, zone)| Asked::Weekly { days, start, end, zone }),
        1 => (-2_000i64..5_000, 1i64..3_000, any::<bool>(), any_zone())
            .prop_map(|(start, length, whole, zone)| Asked::Once { start, end: start + length, whole, zone }),
    ]
}

fn any_window() -> impl Strategy<Value = Vec<Asked>> {
    proptest::collection::vec(any_part(), 1..4)
}

/// The first minute that is looked at, and a zone: some days before a change of the clocks, or any from 2000 to 2044.
fn any_time() -> impl Strategy<Value = (Timestamp, usize)> {
    let second = 946_684_800i64..2_340_000_000;
    (second, proptest::bool::weighted(0.8), 1..ZONES.len(), 0i64..3 * 1440).prop_map(|(second, near, name, before)| {
        let at = Timestamp::from_second(second - second % 60).unwrap();
        let change = zone(ZONES[name]).following(at).next().map(|change| change.timestamp());
        let at = change.filter(|_| near).map_or(at, |change| change - SignedDuration::from_mins(before));
        (Timestamp::from_second(at.as_second() - at.as_second().rem_euclid(60)).unwrap(), name)
    })
}

/// What is open by the answers, against what is open by the minute.
fn agrees(
    open: &[bool],
    from: Timestamp,
    seconds: &[i64],
    is_open: impl Fn(Timestamp) -> bool,
    next_open: impl Fn(Timestamp) -> Option<Timestamp>,
    open_between: impl Fn(Timestamp, Timestamp) -> Duration,
) -> Result<(), TestCaseError> {
    for (minute, open) in open.iter().enumerate() {
        let at = minute_after(from, minute);
        if minute % 5 == 0 {
            prop_assert_eq!(is_open(at), *open, "{}", at);
        }
    }
    for seconds in seconds {
        let at = from + SignedDuration::from_secs(*seconds);
        let minute = usize::try_from(seconds / 60).unwrap();
        let want = if open[minute] {
            Some(at)
        } else {
            open[minute..].iter().position(|open| *open).map(|more| minute_after(from, minute + more))
        };
        let end = minute_after(from, MINUTES);
        prop_assert_eq!(next_open(at).filter(|found| *found < end), want, "{}", at);
        prop_assert_eq!(is_open(at), open[minute], "{}", at);
    }
    let [a, b, ..] = seconds else { return Ok(()) };
    let (a, b) = (a.min(b) / 60, a.max(b) / 60);
    let at = |minute: i64| from + SignedDuration::from_mins(minute);
    let range = usize::try_from(a).unwrap()..usize::try_from(b).unwrap();
    let count = u64::try_from(open[range].iter().filter(|open| **open).count()).unwrap();
    prop_assert_eq!(open_between(at(a), at(b)), Duration::from_secs(60 * count));
    let mut times: Vec<Timestamp> = seconds.iter().map(|seconds| from + SignedDuration::from_secs(*seconds)).collect();
    times.sort();
    let sum: Duration = times.windows(2).map(|pair| open_between(pair[0], pair[1])).sum();
    prop_assert_eq!(open_between(times[0], times[times.len() - 1]), sum);
    Ok(())
}

fn any_seconds() -> impl Strategy<Value = Vec<i64>> {
    proptest::collection::vec(0..i64::try_from(MINUTES).unwrap() * 60, 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_window_is_open_when_one_of_its_parts_is(parts in any_window(), (from, near) in any_time(), seconds in any_seconds()) {
        let (window, open) = asked(&parts, from, near, &mut Locals::new());
        agrees(
            &open, from, &seconds,
            |at| window.is_open(at), |at| window.next_open(at), |a, b| window.open_between(a, b),
        )?;
        let closed: Vec<bool> = open.iter().map(|open| !open).collect();
        agrees(
            &closed, from, &seconds,
            |at| !window.is_open(at), |at| window.next_closed(at),
            |a, b| Duration::try_from(b.duration_since(a)).unwrap() - window.open_between(a, b),
        )?;
        let shown = window.to_string();
        prop_assert_eq!(shown.parse::<Window>(), Ok(window));
    }

    #[test]
    fn layers_are_open_when_all_windows_are_and_no_freeze_is(
        windows in proptest::collection::vec(any_window(), 0..3),
        freezes in proptest::collection::vec(any_window(), 0..3),
        (from, near) in any_time(),
        seconds in any_seconds(),
    ) {
        let mut locals = Locals::new();
        let (windows, opens): (Vec<_>, Vec<_>) = windows.iter().map(|parts| asked(parts, from, near, &mut locals)).unzip();
        let (freezes, closes): (Vec<_>, Vec<_>) = freezes.iter().map(|parts| asked(parts, from, near, &mut locals)).unzip();
        let is_now = |minute: usize| opens.iter().all(|open| open[minute]) && !closes.iter().any(|open| open[minute]);
        let open: Vec<bool> = (0..MINUTES).map(is_now).collect();
        let (windows, freezes): (Vec<_>, Vec<_>) = (windows.iter().collect(), freezes.iter().collect());
        agrees(
            &open, from, &seconds,
            |at| is_open(&windows, &freezes, at),
            |at| next_open(&windows, &freezes, at),
            |a, b| open_between(&windows, &freezes, a, b),
        )?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        if let Err(error) = text.parse::<Window>() {
            prop_assert!(error.to_string().contains("window"));
        }
    }

    #[test]
    fn no_text_that_is_almost_right_panics(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "Mon", "Fri", "sun", "-", "-", ",", ";", " ", " ", "..", ":", "T", "09:00", "24:00", "00:00", "25:00",
                "17:00-18:00", "2026-12-24", "9999-12-31", "2026-02-30", "1970-01-01", "Europe/Berlin", "Etc/Unknown",
                "always", "never", "ü", "é", "\u{0}", "\n", "0", "99",
            ]),
            0..12,
        ),
        second in any::<i32>(),
    ) {
        let Ok(window) = pieces.concat().parse::<Window>() else { return Ok(()) };
        let at = Timestamp::from_second(i64::from(second)).unwrap();
        prop_assert_eq!(window.is_open(at), window.next_open(at) == Some(at));
        prop_assert_eq!(!window.is_open(at), window.next_closed(at) == Some(at));
        prop_assert_eq!(window.to_string().parse::<Window>(), Ok(window));
    }
}
