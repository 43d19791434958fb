//! What a server said, or why a request failed, for people.

use std::error::Error;

use crate::domain::text;

/// What is said of a server whose certificate is a CA's own, as `openssl req -x509` makes them if not told otherwise.
const CA_AS_SERVER: &str = "its certificate is a CA's own (CA:TRUE), which no server may show, even where `ca` names it: \
                            make one for the server (openssl req -x509 … -addext basicConstraints=critical,CA:FALSE \
                            -addext subjectAltName=DNS:<host>, or one that the CA signs), and name it, or the CA, in `ca`";

/// The innermost error's text, or what to do about it where that is known.
pub fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    // What the error of webpki is called; its type is not told.
    if text.contains("CaUsedAsEndEntity") { CA_AS_SERVER.to_owned() } else { foreign(&text) }
}

/// A server's text: one line, at most 1 KiB, control characters escaped.
pub fn foreign(text: &str) -> String {
    text::words(text.trim(), 1024)
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn foreign_text_is_one_capped_line_without_control_characters() {
        assert_eq!(foreign("a\nb\u{1b}[31m\n"), "a b\\u{1b}[31m");
        let long = foreign(&"ä".repeat(5000));
        assert!(long.len() <= 1024 && long.ends_with('…'));
    }
}
