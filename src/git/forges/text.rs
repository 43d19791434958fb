//! Foreign text in what forges render as Markdown: names of images, labels of images, words of people.
//!
//! It shows as it was written and does nothing: it mentions nobody, refers to and closes no issue, is no HTML, no link
//! and no quick action of GitLab, and leaves its line and its table cell alone. Where a backslash is not enough - forges
//! look for `@name`, `#1` and addresses in what is rendered, and for `Closes #1` in what was written - a zero-width
//! space ([`BREAK`]) stands within, as Renovate and others do it.

use url::Url;

use crate::domain::text::escape;

/// The longest title, in characters: GitLab and Gitea take 255, and `Draft: ` stands before it.
pub const MAX_TITLE: usize = 240;
/// The longest body, in bytes: GitHub takes 65,536 characters, the others more.
pub const MAX_BODY: usize = 60_000;

/// The longest foreign text, in bytes, before Markdown is escaped.
const MAX_TEXT: usize = 1024;
/// Parts what would mean something together.
const BREAK: char = '\u{200b}';
/// What is a character of Markdown, or of a forge's extension, anywhere in a line. `&` and `<` become entities.
const SPECIAL: &str = "\\`*_{}[]()>#!|~$^";
/// What is one at the begin of a line: lists, headings, rules, quick actions.
const SPECIAL_FIRST: &str = "+-=/:";
/// What a reference begins with: issues, and GitLab's merge requests, epics, labels, snippets, milestones, alerts and
/// `[kind:1]`. People (`@`) have a rule of their own.
const SIGILS: &str = "#!&~$%^[";
/// What stands in a path to something that a link would leave a trace at.
const TRACES: &[&str] = &["issues", "pull", "pulls", "discussions", "merge_requests", "work_items", "epics"];

/// For a title, which is no Markdown: one line of at most [`MAX_TITLE`] characters.
pub fn plain(text: &str) -> String {
    let line = broken(&line(text));
    match line.char_indices().nth(MAX_TITLE) {
        None => line,
        Some(_) => line.chars().take(MAX_TITLE - 1).chain(['…']).collect(),
    }
}

/// For a sentence or a table's cell, also at its begin.
pub fn inline(text: &str) -> String {
    escaped(&line(text))
}

/// For a name or a tag: as code. What cannot stand as code in a cell of a table (`` ` ``, `|`) is escaped instead.
pub fn code(text: &str) -> String {
    let line = line(text);
    match line.is_empty() || line.contains(['`', '|', '\\']) {
        true => escaped(&line),
        false => format!("`{}`", broken(&line)),
    }
}

/// A link to a foreign address. The text alone where it is none of `http` and `https`, or leads to an issue or the
/// like, where the link would be told of.
pub fn link(text: &str, url: &str) -> String {
    let shown = inline(text);
    match target(url) {
        Some(target) if !shown.is_empty() => format!("[{shown}]({target})"),
        _ => shown,
    }
}

/// A whole body, already escaped, cut after a line where it is longer than [`MAX_BODY`].
pub fn body(text: &str) -> String {
    const CUT: &str = "\n\n… (cut)\n";
    if text.len() <= MAX_BODY {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_BODY - CUT.len());
    let end = text[..end].rfind('\n').unwrap_or(end);
    format!("{}{CUT}", text[..end].trim_end())
}

/// One line of at most [`MAX_TEXT`] bytes, its blanks made single, with what cannot be seen as escapes.
fn line(text: &str) -> String {
    let short = &text[..text.floor_char_boundary(MAX_TEXT)];
    let blanks: String = short.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let mut line = escape(&blanks.split_whitespace().collect::<Vec<_>>().join(" "));
    if short.len() < text.len() || line.len() > MAX_TEXT {
        line.truncate(line.floor_char_boundary(MAX_TEXT));
        line.push('…');
    }
    line
}

/// Whether a zero-width space must stand after the character at `at`.
fn breaks(chars: &[char], at: usize) -> bool {
    let follows = |text: &str| {
        let end = chars.len().min(at + 1 + text.len());
        chars[at + 1..end].iter().copied().eq(text.chars())
    };
    let Some(next) = chars.get(at + 1) else { return false };
    match chars[at] {
        // `image@sha256:…` mentions nobody, and is there to be copied.
        '@' => {
            let is_digest = follows("sha256:") && at > 0 && chars[at - 1].is_ascii_alphanumeric();
            *next != ' ' && !is_digest
        }
        c if SIGILS.contains(c) => next.is_alphanumeric() || matches!(next, '"' | '_' | '@' | '{'),
        // `://`, and `www.`, which are links without any marks.
        ':' => follows("//"),
        '.' => at >= 3 && chars[at - 3..at].iter().all(|c| matches!(c, 'w' | 'W')),
        // `GH-1`
        '-' => {
            let is_gh = at >= 2 && matches!(chars[at - 2..at], ['g' | 'G', 'h' | 'H']);
            is_gh && next.is_numeric() && !at.checked_sub(3).is_some_and(|at| chars[at].is_ascii_alphanumeric())
        }
        _ => false,
    }
}

/// With zero-width spaces where they are needed, and nothing else.
fn broken(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let part = |at: usize| [Some(chars[at]), breaks(&chars, at).then_some(BREAK)];
    (0..chars.len()).flat_map(part).flatten().collect()
}

fn escaped(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    // `1.` and `1)` begin a list.
    let digits = chars.iter().take_while(|c| c.is_ascii_digit()).count();
    let mut out = String::with_capacity(line.len() * 2);
    for (at, &c) in chars.iter().enumerate() {
        let is_last = chars.get(at + 1).is_none_or(|next| *next == ' ');
        let in_list = at == digits && at > 0 && matches!(c, '.' | ')') && is_last;
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            c if SPECIAL.contains(c) || (at == 0 && SPECIAL_FIRST.contains(c)) || in_list => out.extend(['\\', c]),
            c => out.push(c),
        }
        out.extend(breaks(&chars, at).then_some(BREAK));
    }
    out
}

/// An address as it may stand in `(…)`.
fn target(url: &str) -> Option<String> {
    let url = Url::parse(url.trim()).ok().filter(|url| url.as_str().len() <= MAX_TEXT)?;
    let leaves_trace = url.path_segments().is_some_and(|mut parts| parts.any(|part| TRACES.contains(&part)));
    let is_plain = url.username().is_empty() && url.password().is_none() && url.host().is_some();
    if !matches!(url.scheme(), "http" | "https") || !is_plain || leaves_trace {
        return None;
    }
    let encode = |c: char| match c {
        '&' => "&amp;".to_owned(),
        c if c.is_ascii_alphanumeric() || "-.:/?=%+,;~#".contains(c) => c.to_string(),
        // What is left is ASCII: all else was encoded when the address was read.
        c => format!("%{:02X}", u32::from(c)),
    };
    Some(url.as_str().chars().map(encode).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    /// With `·` for the zero-width space.
    fn seen(text: &str) -> String {
        text.replace(BREAK, "·")
    }

    #[rstest::rstest]
    #[case("registry.example.com:5000/team/web", "registry.example.com:5000/team/web")]
    #[case("web@sha256:abc", "web@sha256:abc")]
    #[case("@sha256:abc", "@·sha256:abc")]
    #[case("thanks @alice and @org/team", "thanks @·alice and @·org/team")]
    #[case("a@example.com", "a@·example.com")]
    #[case("Closes #1, fixes GH-2", "Closes \\#·1, fixes GH-·2")]
    #[case("resolves owner/repo#3", "resolves owner/repo\\#·3")]
    #[case("äGH-2, ä@sha256:b", "äGH-·2, ä@·sha256:b")]
    #[case("high-5, ugh-1", "high-5, ugh-1")]
    #[case("!4 &5 ~6 $7 %8 ^alert#9", "\\!·4 &amp;·5 \\~·6 \\$·7 %·8 \\^·alert\\#·9")]
    #[case("~\"a label\" [issue:1]", "\\~·\"a label\" \\[·issue:1\\]")]
    #[case("see https://evil.example/x", "see https:·//evil.example/x")]
    #[case("www.evil.example", "www.·evil.example")]
    #[case("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert\\(1\\)\\>")]
    #[case("&lt;b&gt;", "&amp;·lt;b&amp;·gt;")]
    #[case("a | b ` c", "a \\| b \\` c")]
    #[case("a\nb\r\n\tc", "a b c")]
    #[case("/merge", "\\/merge")]
    #[case("- item", "\\- item")]
    #[case("12. item", "12\\. item")]
    #[case("1.2.3", "1.2.3")]
    #[case("# head", "\\# head")]
    #[case("=====", "\\=====")]
    #[case("```sh", "\\`\\`\\`sh")]
    #[case("![x](http://a)", "\\!\\[·x\\]\\(http:·//a\\)")]
    #[case("\u{202e}gpj.exe\u{200b}", r"\\u\{202e\}gpj.exe\\u\{200b\}")]
    #[case("\u{7}\u{1b}[31mred", r"\\u\{7\}\\u\{1b\}\[·31mred")]
    #[case("", "")]
    fn foreign_text_shows_and_does_nothing(#[case] text: &str, #[case] want: &str) {
        assert_eq!(seen(&inline(text)), want);
    }

    #[rstest::rstest]
    #[case("v1.2.3", "`v1.2.3`")]
    #[case("web@sha256:abc", "`web@sha256:abc`")]
    #[case("Closes #1", "`Closes #·1`")]
    #[case("a`b", "a\\`b")]
    #[case("a|b", "a\\|b")]
    #[case(" ", "")]
    fn code_is_code_where_it_can_be(#[case] text: &str, #[case] want: &str) {
        assert_eq!(seen(&code(text)), want);
    }

    #[rstest::rstest]
    #[case("https://github.com/o/r/compare/v1...v2", "[x](https://github.com/o/r/compare/v1...v2)")]
    #[case("http://a.example/p(1)_*?q=1&r=|#f", "[x](http://a.example/p%281%29%5F%2A?q=1&amp;r=%7C#f)")]
    #[case("https://a.example/@user", "[x](https://a.example/%40user)")]
    #[case("https://a.example/ä b", "[x](https://a.example/%C3%A4%20b)")]
    #[case("https://a.example/) [y](https://b.example", "[x](https://a.example/%29%20%5By%5D%28https://b.example)")]
    #[case("https://github.com/o/r/issues/1", "x")]
    #[case("https://gitlab.com/o/r/-/merge_requests/1", "x")]
    #[case("javascript:alert(1)", "x")]
    #[case("data:text/html,x", "x")]
    #[case("//a.example", "x")]
    #[case("https://user:secret@a.example/", "x")]
    #[case("nonsense", "x")]
    fn only_addresses_of_the_web_are_linked(#[case] url: &str, #[case] want: &str) {
        assert_eq!(link("x", url), want);
    }

    #[test]
    fn titles_and_bodies_have_an_end() {
        assert_eq!(seen(&plain("Update @a to\n#1 \u{1b}[0m")), r"Update @·a to #·1 \u{1b}[·0m");
        let title = plain(&"ä".repeat(400));
        assert_eq!((title.chars().count(), title.ends_with('…')), (MAX_TITLE, true));
        let long = body(&"| ä | row |\n".repeat(10_000));
        assert!(long.len() <= MAX_BODY && long.ends_with("| ä | row |\n\n… (cut)\n"), "{}", &long[long.len() - 50..]);
        assert_eq!(body("short"), "short");
    }

    /// A text of what could do something, and of anything else.
    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[-@#!&~$%^|`<>\\\\()\\[\\]{}*_+=/:.\\n 0-9a-zA-Z\u{200b}\u{202e}]{0,6}",
            Just("Closes #1".to_owned()),
            Just("https://a.example/".to_owned()),
            Just("www.".to_owned()),
            Just("GH-".to_owned()),
            any::<String>(),
        ];
        proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn nothing_that_does_something_is_left(text in text()) {
            let acts = r#"(?i)[#!~$^][0-9a-z"_]|(^|[^0-9a-z])@[0-9a-z_-]|://|www\.[a-z0-9]|(^|[^0-9a-z])gh-[0-9]"#;
            let acts = Regex::new(acts).unwrap();
            for shown in [plain(&text), inline(&text), code(&text), link(&text, "nonsense")] {
                prop_assert!(!acts.is_match(&shown), "{shown:?}");
                prop_assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
                prop_assert!(shown.len() <= 6 * MAX_TEXT);
            }
            let shown = inline(&text);
            prop_assert!(!shown.starts_with(['/', '-', '+', '=', '>', '#', ':', ' ']), "{shown:?}");
            let mut chars = shown.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => prop_assert!(chars.next().is_some_and(|c| c.is_ascii_punctuation()), "{shown:?}"),
                    c => prop_assert!(!"`|<>*_[]()#!~".contains(c), "{shown:?}"),
                }
            }
        }

        #[test]
        fn what_is_escaped_reads_as_before(text in "[ -~]{0,40}") {
            let mut read = inline(&text).replace(BREAK, "").replace("&lt;", "<");
            read = Regex::new(r"\\([!-/:-@\[-`{-~])").unwrap().replace_all(&read, "$1").replace("&amp;", "&");
            prop_assert_eq!(read, text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
}
