//! Writing a string as a YAML scalar that every reader takes for that string.
//!
//! YAML 1.1 (libyaml, PyYAML, Ruby), YAML 1.2 and Go's readers, which mix both, differ in which plain texts are
//! numbers, dates or truth values. What any of them would take for something else is quoted.

use std::fmt::Write as _;

/// How a string is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Plain if it can be; `typed` where a tag says that it is a string, whatever it looks like.
    Plain { in_flow: bool, typed: bool },
    /// In `'`, if it can be.
    Single,
    /// In `"`, which is JSON too.
    Double,
}

/// The string in that style, or in the next one that can hold it.
pub(super) fn render(value: &str, style: Style) -> String {
    match style {
        Style::Plain { in_flow, typed } if is_plain(value, in_flow) && (typed || !is_resolved(value)) => {
            value.to_owned()
        }
        Style::Single if value.chars().all(is_printable) => format!("'{}'", value.replace('\'', "''")),
        _ => double_quoted(value),
    }
}

fn double_quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            // In JSON's way, which YAML shares.
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
    out
}

/// Whether a character may stand unescaped and is no line break to any reader.
fn is_printable(c: char) -> bool {
    match c {
        '\t' | ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{FEFF}' => false,
        c => matches!(c, '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..),
    }
}

/// Whether a text can stand without quotes, as one line, and end where it ends.
fn is_plain(value: &str, in_flow: bool) -> bool {
    let (Some(first), Some(last)) = (value.chars().next(), value.chars().last()) else { return false };
    // Some of these may start a plain text if the next character is right; quoting them is never wrong.
    let is_option = value.strip_prefix("--").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
    let indicator = "-?:,[]{}#&*!|>'\"%@`".contains(first) && !is_option;
    // libyaml and PyYAML end a plain text in flow style at a `?` too.
    let inner = |c: char| c != '\t' && is_printable(c) && !(in_flow && ",[]{}?".contains(c));
    !indicator
        && !first.is_whitespace()
        && !last.is_whitespace()
        && last != ':'
        && value.chars().all(inner)
        && !value.contains(": ")
        && !value.contains(" #")
        && !value.starts_with("...")
}

/// Whether some reader takes a plain text for something else than a string.
fn is_resolved(value: &str) -> bool {
    const WORDS: [&str; 14] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "=", "<<", ".nan"];
    WORDS.iter().any(|word| value.eq_ignore_ascii_case(word)) || is_number(value) || is_date(value)
}

/// Integers and floats of YAML 1.1, 1.2 and Go: signs, underscores, other bases, exponents, base 60.
fn is_number(value: &str) -> bool {
    let unsigned = value.strip_prefix(['-', '+']).unwrap_or(value);
    if unsigned.eq_ignore_ascii_case(".inf") {
        return true;
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    // Ruby lets commas part digits too.
    let digits = unsigned.replace(['_', ','], "").to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return rest.chars().all(|c| c.is_digit(radix));
        }
    }
    // Base 60: 1:30, 190:20:30.15.
    match digits.rsplit_once(':') {
        None => is_float(&digits),
        Some((places, last)) => places.split(':').all(all_digits) && is_float(last),
    }
}

fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once('e').map_or((text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fits = exponent.map(|e| e.strip_prefix(['-', '+']).unwrap_or(e)).is_none_or(|e| !e.is_empty() && all_digits(e));
    all_digits(whole) && all_digits(fraction) && fits
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Dates and times: `2024-01-15`, `2024-1-5`, with anything after a `T` or a space.
fn is_date(value: &str) -> bool {
    let mut parts = value.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let day = rest.split(['T', 't', ' ']).next().unwrap_or_default();
    let fits = year.len() == 4 && (1..=2).contains(&month.len()) && (1..=2).contains(&day.len());
    fits && [year, month, day].into_iter().all(all_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Style = Style::Plain { in_flow: false, typed: false };
    const FLOW: Style = Style::Plain { in_flow: true, typed: false };

    #[test]
    fn what_would_read_as_something_else_is_quoted() {
        let numbers =
            "1.10 1e3 1234e567 1.5E-3 0x1F 0X1f 0o17 017 0b101 1_000 +1 -1 .5 5. -.INF .NaN 1:30 190:20:30.15";
        let dates = "2024-01-15 2024-1-5 2024-01-15T10:00:00Z";
        let words = "null ~ Yes off n Y TRUE = <<";
        let syntax = "a: #a *a &a !a | > @a %a `a {a} [a] ... --- -a ? , 'a \"a";
        let spaced = ["", " a", "a ", "a: b", "a #b", "- a", "a\tb", "a\nb", "a\u{85}b", "a\u{2028}b", "\u{feff}a"];
        let split = [numbers, dates, words, syntax].into_iter().flat_map(|list| list.split(' '));
        for value in split.chain(spaced) {
            let written = render(value, BLOCK);
            assert!(written.len() > value.len() + 1 && written.starts_with('"'), "{value:?} was written as {written}");
        }
    }

    #[test]
    fn what_reads_as_itself_stays_plain() {
        let values = "1.27.3 nginx:1.27 v1.10 2024.01.15 2024-01-15-abc 1.10-alpine 0xyz 1e3a nope a#b a-b über😀 it's \
                      registry.example.com:5000/team/web:1.0@sha256:aa";
        for value in values.split_whitespace() {
            assert_eq!(render(value, BLOCK), value);
        }
    }

    #[rstest::rstest]
    #[case("a,b", FLOW, "\"a,b\"")]
    #[case("a}", FLOW, "\"a}\"")]
    #[case("a?b", FLOW, "\"a?b\"")]
    #[case("a?b", BLOCK, "a?b")]
    #[case("nginx:1.27", FLOW, "nginx:1.27")]
    #[case("a,b", BLOCK, "a,b")]
    #[case("1.10", Style::Plain { in_flow: false, typed: true }, "1.10")]
    #[case("it's", Style::Single, "'it''s'")]
    #[case("a\nb", Style::Single, "\"a\\nb\"")]
    #[case("q\"\\\u{7}", Style::Double, "\"q\\\"\\\\\\u0007\"")]
    fn quoting_is_kept_where_it_can_be(#[case] value: &str, #[case] style: Style, #[case] written: &str) {
        assert_eq!(render(value, style), written);
    }
}
