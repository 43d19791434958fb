//! `glob:` and `regex:` (docs/policy.md §2.3), and the patterns of the filters: whole tags, in linear time.

use std::sync::Arc;

use regex_syntax::ast;

use super::{
    Judge, MAX_TEXT, Order, PolicyError,
    compiled::{MAX_COMPILED, Matcher, Part},
};
use crate::domain::{
    image::excerpt,
    listing::{EXPLAINED, ListedVersion, TagId, greatest},
    policy::Asked,
    reason::{Code, Reason},
    sortkey::{Key, push_natural, push_number, push_text},
    version::Version,
};

/// A glob or a regex that a tag must match as a whole.
#[derive(Debug)]
pub(in crate::domain) struct Pattern {
    /// As written.
    written: Arc<str>,
    /// What is compiled when a decision needs it.
    text: Arc<str>,
}

impl Pattern {
    /// Reads a glob: `*`, `?`, `[...]` (negated by `!` or `^`), `{a,b}`.
    pub(super) fn glob(text: &str) -> Result<Self, PolicyError> {
        Ok(Self { written: text.into(), text: parse_glob(text)?.regex().into() })
    }

    /// Reads a regex.
    pub(super) fn regex(text: &str) -> Result<Self, PolicyError> {
        let read = |text: &str| ast::parse::Parser::new().parse(text).map_err(|error| pointed(text, &error));
        // On its own first, so that it cannot end the group that is put around it.
        read(text).map_err(|why| unusable(text, &why))?;
        let whole = format!(r"\A(?:{text})\z");
        // A comment at its end (under `(?x)`) would take the rest of the line with it.
        let whole = if read(&whole).is_ok() { whole } else { format!("\\A(?:{text}\n)\\z") };
        Ok(Self { written: text.into(), text: whole.into() })
    }

    /// What is compiled: equal for patterns that are the same.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The pattern, ready to be matched.
    pub(super) fn matcher(&self) -> Result<Matcher, PolicyError> {
        Matcher::of(&self.text).map_err(|error| {
            let why = match error.syntax_error() {
                Some(error) => {
                    let text = error.to_string();
                    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
                }
                None => format!("it takes more than {} KiB when compiled", MAX_COMPILED / 1024),
            };
            unusable(&self.written, &why)
        })
    }
}

fn unusable(text: &str, why: &str) -> PolicyError {
    PolicyError(format!(
        "`{}` is no pattern that can be used: {why}; write for example main-(?P<order>\\d+), without look-around and \
         back-references",
        excerpt(text)
    ))
}

/// A pattern, and how what it matches is compared.
#[derive(Debug)]
pub(in crate::domain) struct Ordered {
    pub(super) pattern: Pattern,
    pub(super) order: Order,
}

/// Why a tag has no place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unordered {
    NoMatch,
    NoKey,
}

impl Order {
    fn key_of(self, part: &str) -> Option<Key> {
        let mut bytes = Vec::with_capacity(part.len() + 8);
        match self {
            Order::Natural => push_natural(&mut bytes, part.as_bytes()),
            Order::Alphabetical => push_text(&mut bytes, part.as_bytes()),
            Order::Numeric if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => {
                push_number(&mut bytes, part.as_bytes());
            }
            Order::Numeric => return None,
            Order::Semver => return Some(Version::parse(part)?.into_key()),
        }
        Some(Key::new(bytes))
    }
}

/// A pattern asked from one current tag.
struct Matching<'a> {
    asked: Asked<'a>,
    matcher: Matcher,
    order: Order,
    current: Option<Key>,
}

impl Ordered {
    pub(super) fn judge<'a>(&self, asked: &Asked<'a>) -> Result<Box<dyn Judge + 'a>, Reason> {
        let matcher = self.pattern.matcher()?;
        let mut matching = Matching { asked: *asked, matcher, order: self.order, current: None };
        matching.current = asked.current.tag.and_then(|tag| matching.key(tag.as_str()).ok());
        Ok(Box::new(matching))
    }
}

impl Matching<'_> {
    /// The place of a tag in the order.
    fn key(&self, tag: &str) -> Result<Key, Unordered> {
        match self.matcher.part(tag) {
            Part::Unmatched => Err(Unordered::NoMatch),
            Part::Absent => Err(Unordered::NoKey),
            Part::Of(part) => self.order.key_of(part).ok_or(Unordered::NoKey),
        }
    }
}

impl Judge for Matching<'_> {
    fn best(&self) -> Vec<TagId> {
        let filters = self.asked.filters;
        let greater = self.asked.listing.tags().take_while(|_| self.asked.limit.goes_on()).filter_map(|(id, tag)| {
            let key = self.key(tag).ok()?;
            let newer = self.current.as_ref().is_none_or(|current| key > *current);
            (newer && filters.pass(tag) && (self.asked.waits)(tag).is_none()).then_some(((key, tag), id))
        });
        greatest(EXPLAINED, greater)
    }

    fn refusal(&self, tag: TagId, _: Option<&ListedVersion>) -> Option<(Code, String)> {
        match (self.key(self.asked.listing.tag(tag)), &self.current, self.asked.current.tag) {
            (Err(Unordered::NoMatch), ..) => Some((Code::NoMatch, format!("does not match `{}`", self.asked.policy))),
            (Err(Unordered::NoKey), ..) => {
                let what = match self.order {
                    Order::Numeric => "digits alone, which `order: numeric` compares",
                    Order::Semver => "a version, which `order: semver` compares",
                    Order::Natural | Order::Alphabetical => "a part that the group `order` matched",
                };
                Some((Code::NoOrderKey, format!("has not {what}")))
            }
            (Ok(key), Some(current), Some(tag)) if key <= *current => {
                let than = if key == *current { "the same place in the order as" } else { "before" };
                Some((Code::NotNewer, format!("{than} `{tag}`")))
            }
            _ => None,
        }
    }
}

/// Whether a glob can be used, without compiling it.
pub(crate) fn check_glob(text: &str) -> Result<(), PolicyError> {
    if text.is_empty() {
        return Err(PolicyError("an empty glob; write globs, joined by commas".to_owned()));
    }
    parse_glob(text).map(drop)
}

/// Whether a regex can be used.
pub(crate) fn check_regex(text: &str) -> Result<(), PolicyError> {
    if text.len() > MAX_TEXT {
        return Err(PolicyError(format!("longer than {MAX_TEXT} bytes: shorten it")));
    }
    Pattern::regex(text).map(drop)
}

fn parse_glob(text: &str) -> Result<globset::Glob, PolicyError> {
    if let Some(odd) = in_no_tag(text) {
        let odd = excerpt(odd.encode_utf8(&mut [0; 4]));
        let why = format!("no tag has a `{odd}`, so it matches nothing; `allow` takes regular expressions");
        return Err(no_glob(text, &why));
    }
    let glob = globset::GlobBuilder::new(text).empty_alternates(true).build();
    glob.map_err(|error| no_glob(text, &error.kind().to_string()))
}

fn no_glob(text: &str, why: &str) -> PolicyError {
    PolicyError(format!("`{}` is no glob: {why}; write for example main-*", excerpt(text)))
}

/// A character outside `[...]` that is no part of a glob and that no tag has.
fn in_no_tag(glob: &str) -> Option<char> {
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        match c {
            '[' => {
                // A `]` that comes first is one of the class.
                let class = rest.as_str();
                let inner = class.strip_prefix(['!', '^']).unwrap_or(class);
                let from = class.len() - inner.len() + usize::from(inner.starts_with(']'));
                // One that is never closed is the parser's to refuse.
                let end = class[from..].find(']')?;
                rest = class[from + end + 1..].chars();
            }
            '_' | '.' | '-' | '*' | '?' | '{' | ',' | '}' | ']' => {}
            c if c.is_ascii_alphanumeric() => {}
            odd => return Some(odd),
        }
    }
    None
}

/// What is wrong with a regex, and where.
fn pointed(text: &str, error: &ast::Error) -> String {
    let at = error.span().start.offset;
    match text.get(at..).filter(|rest| !rest.is_empty()) {
        Some(rest) => {
            format!("{}, at character {}: `{}`", error.kind(), text[..at].chars().count() + 1, excerpt(rest))
        }
        None => format!("{}, at its end", error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[rstest::rstest]
    #[case("{1,2}.*", "2.0", true)]
    #[case("1{,-alpine}", "1", true)]
    #[case("1{,-alpine}", "1-alpine", true)]
    #[case("[]a]", "]", true)]
    #[case("**", "a.b", true)]
    #[case("*", "1.2-x_y", true)]
    #[case("a*b", "axxb", true)]
    #[case("a*b", "axxbc", false)]
    fn globs_match_whole_tags(#[case] glob: &str, #[case] tag: &str, #[case] expected: bool) {
        assert_eq!(Pattern::glob(glob).unwrap().matcher().unwrap().matches(tag), expected);
    }

    #[rstest::rstest]
    #[case("a|ab", "ab", true)]
    #[case("(?x) a b # a comment", "ab", true)]
    #[case("(?i)rc", "RC", true)]
    #[case("a", "ab", false)]
    #[case("^a$", "a", true)]
    fn regexes_match_whole_tags(#[case] regex: &str, #[case] tag: &str, #[case] expected: bool) {
        assert_eq!(Pattern::regex(regex).unwrap().matcher().unwrap().matches(tag), expected);
    }

    #[rstest::rstest]
    #[case("a)|(b")]
    #[case("a)(?:b")]
    #[case("(?=a)")]
    #[case(r"(.)\1")]
    #[case(r"\w{1000}{1000}")]
    #[case(r"\p{Grekk}")]
    #[case("(?P<order>a)(?P<order>b)")]
    fn what_does_not_compile_is_refused(#[case] regex: &str) {
        assert!(Pattern::regex(regex).and_then(|pattern| pattern.matcher()).is_err());
    }

    #[rstest::rstest]
    #[case("^1.5.0$", "no tag has a `^`")]
    #[case("regexp:^1", "no tag has a `:`")]
    #[case("1.5.* ", "no tag has a ` `")]
    #[case("1\\.5", "no tag has a `\\`")]
    #[case("(a)", "no tag has a `(`")]
    #[case("[^a]|b", "no tag has a `|`")]
    #[case("[]^]:", "no tag has a `:`")]
    #[case("ü", "no tag has a `ü`")]
    #[case("[^a", "unclosed")]
    fn a_glob_that_no_tag_can_match_is_refused(#[case] glob: &str, #[case] says: &str) {
        let error = Pattern::glob(glob).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(check_glob(glob).unwrap_err().to_string(), error);
    }

    #[rstest::rstest]
    #[case("[^a]")]
    #[case("[]^:]x")]
    #[case("{1,2}.?-[!/]_*")]
    fn what_stands_in_brackets_may_be_anything(#[case] glob: &str) {
        assert!(Pattern::glob(glob).is_ok() && check_glob(glob).is_ok());
    }

    #[rstest::rstest]
    #[case("1.[", "unclosed character class, at character 3: `[`")]
    #[case("ü(a", "unclosed group, at character 2: `(a`")]
    #[case("a(?=b)", "look-around, including look-ahead and look-behind, is not supported, at character 2: `(?=b)`")]
    #[case(r"(.)\1", r"backreferences are not supported, at character 4: `\1`")]
    fn a_mistake_in_a_regex_is_pointed_at(#[case] regex: &str, #[case] says: &str) {
        let error = Pattern::regex(regex).unwrap_err().to_string();
        assert!(error.contains(&format!(": {says};")), "{error}");
    }

    proptest! {
        #[test]
        fn no_pattern_makes_matching_panic(text in r"[a-c*?\[\]{},!^\\()|+.0-9-]{0,30}|.{0,30}", tag in "[a-c0-9.-]{1,20}") {
            for pattern in [Pattern::glob(&text), Pattern::regex(&text)].into_iter().flatten() {
                if let Ok(matcher) = pattern.matcher() {
                    matcher.part(&tag);
                }
            }
        }
    }
}
