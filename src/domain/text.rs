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

/// JSON with what is not seen as escapes, which reads the same: it stands only within strings there. Line feeds stay.
pub fn json(text: &str) -> String {
    quoted(text, |out, c| c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}")))
}

/// The same of JSON that is read as YAML, which knows no pairs of surrogates.
pub fn yaml(text: &str) -> String {
    quoted(text, |out, c| match u32::from(c) {
        code @ ..=0xffff => write!(out, "\\u{code:04x}"),
        code => write!(out, "\\U{code:08x}"),
    })
}

fn quoted(text: &str, push: impl Fn(&mut String, char) -> std::fmt::Result) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Writing to a String does not fail.
            c if c != '\n' && is_hidden(c) => _ = push(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

/// Whether a character is not shown as it is: control characters, line and paragraph separators, and what Unicode calls
/// `Default_Ignorable_Code_Point` or gives no width, such as what turns the direction of text (Standard Annex #9), tags
/// and variation selectors.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
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
    fn hidden_is_what_unicode_says_is_not_seen() {
        let unseen =
            regex::Regex::new(r"^[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Zl}\p{Zp}\u{fff9}-\u{fffb}]$").unwrap();
        let differs: Vec<char> =
            ('\0'..=char::MAX).filter(|c| is_hidden(*c) != unseen.is_match(c.encode_utf8(&mut [0; 4]))).collect();
        assert!(differs.is_empty(), "{differs:?}");
    }

    #[test]
    fn json_reads_the_same() {
        let text = "a\n\u{202e}\u{e0041}\u{7f}ä\\\"";
        let shown = json(&serde_json::to_string_pretty(&[text]).unwrap());
        assert!(
            !shown.contains(|c| c != '\n' && is_hidden(c)) && shown.contains(r"\u202e\udb40\udc41\u007fä"),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap()[0], text);
        let shown = yaml(&serde_json::to_string_pretty(&[text]).unwrap());
        assert!(!shown.contains(|c| c != '\n' && is_hidden(c)) && shown.contains(r"\u202e\U000e0041"), "{shown}");
        assert_eq!(serde_saphyr::from_str::<[String; 1]>(&shown).unwrap()[0], text);
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
