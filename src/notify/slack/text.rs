//! Foreign text in messages: it is shown as it is written, and does nothing (docs.slack.dev, "Formatting message text").

use crate::domain::text::words;

/// Text of at most so many bytes. `&`, `<` and `>` begin what Slack acts on, such as mentions.
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in words(text, most).chars() {
        let end = out.len();
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
        if out.len() > most {
            out.truncate(end);
            break;
        }
    }
    out
}

/// Text between backticks, which would end what stands between them.
pub(super) fn code(text: &str, most: usize) -> String {
    format!("`{}`", plain(&text.replace('`', "'"), most - 2))
}

/// Plain text within Markdown of Slack's: what would mark it up is kept from that by a character of no width before it.
pub(super) fn quoted(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in plain(text, most).chars() {
        if matches!(c, '*' | '_' | '~' | '`') {
            if out.len() + 4 > most {
                break;
            }
            out.push('\u{2060}');
        }
        out.push(c);
    }
    cut(out, most)
}

fn cut(mut text: String, most: usize) -> String {
    while text.len() > most {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("1.0.0", "`1.0.0`")]
    #[case("<!channel>", "`&lt;!channel&gt;`")]
    #[case("a`b``<@U1>", "`a'b''&lt;@U1&gt;`")]
    #[case("a\nb\u{202e}c", "`a b\\u{202e}c`")]
    fn foreign_text_stays_between_its_backticks_and_calls_nobody(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(code(text, 100), shown);
    }

    #[test]
    fn what_marks_text_up_does_not() {
        assert_eq!(quoted("*a* _b_ <!here>", 100), "\u{2060}*a\u{2060}* \u{2060}_b\u{2060}_ &lt;!here&gt;");
    }

    #[test]
    fn it_is_never_longer_than_it_may_be() {
        for text in ["&".repeat(500), "`*".repeat(500), "ä".repeat(500), "<!channel>".repeat(99)] {
            for most in [10, 100, 101, 102, 103] {
                assert!(plain(&text, most).len() <= most && code(&text, most).len() <= most);
                assert!(quoted(&text, most).len() <= most);
            }
        }
    }
}
