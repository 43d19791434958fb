//! Foreign text for people: what is not seen, what steers a terminal and what begins a line is shown as an escape.
//!
//! Annotations, tags and answers of servers go through here on their way into messages, tables, logs and Events, so that
//! one line stays one line and reads in one direction.

use std::fmt::Write as _;

/// Foreign text for a message: at most 100 characters, escaped.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", escape(&text[..end])),
        None => escape(text),
    }
}

/// The text as one line; what is seen stays as it was written.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c);
    }
    out
}

/// The same, of at most so many bytes. Line breaks and tabs become blanks, as in the words of a server.
pub fn words(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        let end = out.len();
        push(&mut out, if matches!(c, '\n' | '\t') { ' ' } else { c });
        if out.len() > most - '…'.len_utf8() {
            out.truncate(end);
            out.push('…');
            break;
        }
    }
    out
}

/// Whether a character is not shown as it is: control characters, those that turn the direction of text (Unicode
/// Standard Annex #9), line and paragraph separators, and those without width.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Writing to a String does not fail.
        c if is_hidden(c) => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(r"build-(?P<order>\d+)", r"build-(?P<order>\d+)")]
    #[case("a \"quoted\" 'text' ä", "a \"quoted\" 'text' ä")]
    #[case("a\nb\r\tc", r"a\nb\r\tc")]
    #[case("\u{1b}[2J\u{7}\u{9b}", r"\u{1b}[2J\u{7}\u{9b}")]
    #[case("\u{202e}nimda\u{2066}\u{2028}\u{feff}", r"\u{202e}nimda\u{2066}\u{2028}\u{feff}")]
    fn what_is_seen_stays_and_the_rest_is_escaped(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(escape(text), shown);
        assert_eq!(excerpt(text), shown);
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(excerpt(&"ä".repeat(100)), "ä".repeat(100));
        assert_eq!(excerpt(&"ä".repeat(101)), format!("{}…", "ä".repeat(100)));
        assert_eq!(words("a\nb\u{1b}[31m", 1024), r"a b\u{1b}[31m");
        let long = words(&"\u{202e}".repeat(5000), 1024);
        assert!(long.len() <= 1024 && long.ends_with("}…"), "{long}");
    }
}
